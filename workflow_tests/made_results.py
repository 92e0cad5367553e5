"""Results folders for tests of the pages: of the form that the workflow writes, with contents that are known."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from replicortex.files import to_json, to_tsv, write_text

SCORES = [
    "run", "method", "variant", "scheme", "seed", "subject", "session", "metric", "better", "per", "value",
    "ci_low", "ci_high", "n", "n_folds", "chance", "null", "reason", "lowest", "highest",
]  # fmt: skip
SUMMARY = [
    "run", "method", "variant", "scheme", "metric", "better", "unit", "n_units", "mean", "ci_low", "ci_high",
    "chance", "null_mean", "p_permutation",
]  # fmt: skip
PICTURE = '<svg xmlns="http://www.w3.org/2000/svg" width="340" height="200"><rect width="340" height="200"/></svg>\n'


def claim(name: str, verdict: str, effect: float, **changes: Any) -> dict[str, Any]:
    """A claim that one method is better than another, and what was found."""

    def result(said: str, value: float, wanted: str) -> dict[str, Any]:
        numbers = {"effect": value, "ci_low": value - 0.1, "ci_high": value + 0.1, "p": 0.02, "smd": 1.0}
        found = {"verdict": said, "n": 12, "n_subjects": 12, "alpha": 0.05, "better": "greater", "reason": None}
        as_expected = "n/a" if wanted == "n/a" else "yes" if said == wanted else "no"
        return {**numbers, **found, "expected": wanted, "as_expected": as_expected}

    control = "holds" if verdict == "invalid" else "fails"
    return {
        "name": name,
        "text": f"What the paper says of {name}.",
        "kind": "better",
        "method": "new",
        "than": "old",
        "metric": "accuracy",
        "scheme": "k_fold",
        "unit": "subject",
        "min_effect": 0.0,
        "verdict": verdict,
        "results": {"observed": result(verdict, effect, "n/a"), "null": result(control, 0.0, "fails")},
    } | changes


def add_run(
    results: Path,
    name: str,
    claims: Sequence[dict[str, Any]],
    *,
    dataset: str = "made",
    card: dict[str, Any] | None = None,
    told: dict[str, Any] | None = None,
    subjects: Sequence[str] = ("01", "02", "03"),
    n_figures: int = 1,
    methods: dict[str, str] | None = None,
) -> Path:
    """Write a finished run and return its folder; ``card`` changes its dataset card, ``told`` what is told of it."""
    folder = results / "runs" / name
    labels = methods or {"new": "New", "old": "Old"}
    paper = {"title": f"The paper of {name}", "authors": "A. Author", "year": 2020, "doi": "10.1000/made"}
    study = {
        "paper": paper,
        "methods": {key: {"label": label, "role": "baseline", "params": {"size": 2}} for key, label in labels.items()},
        "evaluation": {
            "task": "classify",
            "classes": ["left", "right"],
            "schemes": {"k_fold": {"folds": 5}},
            "metrics": {"accuracy": {}},
            "null_variants": 2,
        },
        "figures": {f"figure_{number}": {} for number in range(n_figures)},
        "deviations": ["Everything: it is made up."],
    }
    described = {
        "run": name,
        "study": name.partition("-")[0],
        "dataset": dataset,
        "simulated": False,
        "card": study,
        "datasets": {dataset: {"title": "Made up", "licence": "CC0", **(card or {})}},
        "recipes": [{"name": "average_reference", "title": "A recipe", "modality": "eeg"}],
        "feature": {"name": "epochs", "title": "Some features"},
        "configuration": {"scale": "demo", "runs": [{"study": name.partition("-")[0], "dataset": dataset}]},
        "environment": [],
        **(told or {}),
    }
    write_text(folder / "card.json", json.dumps(described))
    named = [{"name": key, "label": label} for key, label in labels.items()]
    write_text(
        folder / "claims.json",
        to_json({"run": name, "study": described["study"], "dataset": dataset, "paper": paper, "methods": named,
                 "simulated": False, "contrast": None, "claims": list(claims)}),
    )  # fmt: skip
    same = {"run": name, "scheme": "k_fold", "metric": "accuracy", "better": "greater", "chance": 0.5}
    scores, summary = [], []
    for place, method in enumerate(labels):
        for number, subject in enumerate(subjects):
            value = 0.5 + 0.1 * place + 0.001 * number
            scores.append(
                {**same, "method": method, "variant": "observed", "seed": 0, "subject": subject, "per": "subject",
                 "value": value, "ci_low": value - 0.1, "ci_high": value + 0.1, "n": 30, "n_folds": 5, "null": 0.5,
                 "lowest": 0.0, "highest": 1.0}
            )  # fmt: skip
        for variant, mean in (("observed", 0.55 + 0.1 * place), ("null-1", 0.5), ("null-2", 0.48)):
            summary.append(
                {**same, "method": method, "variant": variant, "unit": "subject", "n_units": len(subjects),
                 "mean": mean, "ci_low": mean - 0.05, "ci_high": mean + 0.05, "null_mean": 0.49, "p_permutation": 1 / 3}
            )  # fmt: skip
    write_text(folder / "scores.tsv", to_tsv(scores, SCORES))
    write_text(folder / "summary.tsv", to_tsv(summary, SUMMARY))
    checked = {key: {"component": key, "n_configurations": 4, "params": {"size": 2}} for key in labels}
    offers = {"subjects": len(subjects), "sessions": len(subjects), "recordings": len(subjects)}
    write_text(
        folder / "checks" / "signal.json",
        to_json({"methods": checked, "offers": offers, "versions": {"numpy": "2.0.0", "replicortex": "0.1.0"}}),
    )
    for number in range(n_figures):
        stem = folder / "figures" / f"figure_{number}"
        write_text(stem.with_suffix(".svg"), PICTURE)
        write_text(stem.with_suffix(".tsv"), "method\tvalue\nnew\t0.6\n")
        write_text(
            stem.with_suffix(".json"), to_json({"title": f"Figure {number}", "alt": "A box.", "caption": "Said."})
        )
    return folder


def add_dataset(
    results: Path,
    name: str = "made",
    *,
    participants: Sequence[dict[str, Any]] = (),
    quality: Sequence[dict[str, Any]] = (),
    problems: Sequence[str] = (),
    warnings: Sequence[tuple[str, str]] = (),
) -> Path:
    """Write what the workflow knows of a dataset and return its folder."""
    folder = results / "datasets" / name
    write_text(
        folder / "content.json",
        to_json({"digest": "0" * 32, "n_files": 10, "n_recordings": len(quality), "n_subjects": len(participants),
                 "problems": list(problems)}),
    )  # fmt: skip
    rows = [{"severity": "warning", "code": code, "message": message} for code, message in warnings]
    write_text(folder / "validation.tsv", to_tsv(rows, ["severity", "code", "subCode", "location", "message"]))
    write_text(
        folder / "validation.json",
        to_json({"counts": {"warning": len(rows)}, "codes": {}, "schema": "1.2.7", "skipped": False,
                 "validator": "a validator"}),
    )  # fmt: skip
    if participants:
        write_text(folder / "participants.tsv", to_tsv(participants, list(participants[0])))
    if quality:
        columns = ["recording", "subject", "session", "status", "reason", "n_outlying", "outlying"]
        numbers = [key for key in quality[0] if key not in columns]
        write_text(
            results / "quality" / name / "average_reference.tsv",
            to_tsv(quality, [*columns, *numbers]),
        )
    return folder


def add_status(results: Path, rows: Sequence[dict[str, str]]) -> None:
    """Write the table of what became of recordings."""
    columns = ["dataset", "recipe", "stage", "recording", "subject", "session", "status", "reason"]
    write_text(results / "status.tsv", to_tsv(rows, columns))
