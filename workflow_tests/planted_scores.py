"""Scores with a known answer: what scoring, claims and figures are tested on."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from replicortex.files import to_json, write_text
from replicortex.shared.tables import write_table
from replicortex.stages.choices import collect_choices
from replicortex.stages.claims import judge_claims
from replicortex.stages.score import COLUMNS
from replicortex.stages.summarize import summarize_run

NULLS = ("null-1", "null-2", "null-3")
CARD = {
    "run": "planted",
    "study": "planted",
    "dataset": "planted",
    "paper": {"title": "A paper"},
    "labels": {},
}


def planted_scores(
    means: Mapping[str, float],
    *,
    n_subjects: int = 8,
    n_sessions: int = 2,
    schemes: Iterable[str] = ("within_session",),
    variants: Iterable[str] = ("observed", *NULLS),
    null_means: Mapping[str, float] | None = None,
    spread: float = 0.03,
    noise: float = 0.02,
    seed: int = 0,
) -> pd.DataFrame:
    """Return fold scores of methods whose mean over subjects is known up to noise.

    Subjects differ by ``spread``, the same for all methods; folds by ``noise``. In every variant but
    ``observed`` methods have ``null_means`` (0.5 by default).
    """
    generator = np.random.default_rng(seed)
    rows = []
    for scheme, variant in itertools.product(schemes, variants):
        folds = range(2 if scheme == "within_session" else 1)
        ability = spread * generator.standard_normal(n_subjects)
        units = itertools.product(means, range(n_subjects), range(n_sessions), folds)
        for method, subject, session, fold in units:
            centre = means[method] if variant == "observed" else (null_means or {}).get(method, 0.5)
            value = np.clip(centre + ability[subject] + noise * generator.standard_normal(), 0, 1)
            row = ("planted", method, variant, scheme, f"{subject}_{session}_{fold}", "0")
            row += (
                f"{subject + 1:02d}",
                str(session + 1),
                "roc_auc",
                "greater",
                0.0,
                1.0,
                "subject",
                float(value),
                0.05,
                8,
                0.5,
                None,
            )
            rows.append(dict(zip(COLUMNS, row, strict=True)))
    return pd.DataFrame(rows)


def run_folder(
    folder: Path, scores: pd.DataFrame, claims: list[dict], n_configurations: int = 8, **card
) -> dict[str, Path]:
    """Summarise and judge ``scores`` in ``folder``; return its result files by their names for figures."""
    paths = {
        "scores": folder / "scores.tsv",
        "summary": folder / "summary.tsv",
        "claims": folder / "claims.json",
        "choices": folder / "choices.tsv",
    }
    parts = []
    for (method, variant), part in scores.groupby(["method", "variant"]):
        parts.append(folder / variant / method / "scores.tsv")
        write_table(part, parts[-1])
    summarize_run(parts, paths["scores"], paths["summary"])
    card = {**CARD, **card}
    judge_claims({**card, "claims": claims}, paths["scores"], paths["claims"])
    collect_choices(_records(scores, folder, n_configurations), paths["choices"])
    return paths


def _records(scores: pd.DataFrame, folder: Path, n_configurations: int) -> list[Path]:
    """Write records of fits to go with the scores: by its number each fold chooses one of eight penalties."""
    paths = []
    for method, part in scores[scores["variant"] == "observed"].groupby("method"):
        chosen = {"penalty": 0.0, "kernel": "rbf", "inner_score": 0.7, "names": ["left", "out"]}
        keys = sorted({f"{row.scheme}|{row.fold}" for row in part.itertuples(index=False)})
        folds = {
            key: {"chosen": {**chosen, "penalty": 10.0 ** (number % 8)}, "n_train": 16, "n_test": 8}
            for number, key in enumerate(keys)
        }
        paths.append(folder / "observed" / method / "fit.json")
        record = {"name": method, "seed": 0, "n_configurations": n_configurations, "folds": folds}
        write_text(paths[-1], to_json(record))
    return paths


def better(method: str = "a", than: str = "b", **changes) -> dict:
    """Return a claim of kind ``better``."""
    claim = {
        "name": f"{method}_beats_{than}",
        "text": f"The method {method} is better than the method {than}.",
        "kind": "better",
        "method": method,
        "than": than,
        "metric": "roc_auc",
        "scheme": "within_session",
        "unit": "subject",
        "under_null": "fails",
    }
    return {**claim, **changes}
