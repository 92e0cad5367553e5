"""A run of a study, as its page shows it."""

from __future__ import annotations

import json
import re
import shlex
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote

from ..history import JobRecord
from .claims import counted, viewed
from .datasets import origin
from .folder import Folder, RunFolder
from .machine import bill, of_run
from .scores import for_script, in_words, panels, unit_rows
from .words import count, flat, hidden, plural, words

_DOI = re.compile(r"10\.\d{4,9}/\S+")
#: Rows of scores by unit that a page holds at most.
_MOST_ROWS = 2000
#: Files of a run that name nobody, and are offered beside its page.
DOWNLOADS = ("claims.json", "summary.tsv", "numbers.tsv", "methods.md", "references.bib", "card.json")


def doi_link(text: str) -> str:
    """Return the address of a DOI; empty if the text holds none."""
    found = _DOI.search(text or "")
    return f"https://doi.org/{quote(found[0].rstrip('.,;)'), safe='/:;()._-')}" if found else ""


def study(folder: Folder, run: RunFolder, history: Sequence[JobRecord]) -> dict[str, Any]:
    """Return what the page of a run shows; whatever is not there yet is empty."""
    claims = viewed([run.claims]) if run.claims else []
    summary = folder.table("runs", run.name, "summary.tsv")
    found = panels(run, summary) if summary else []
    evaluation = run.card.get("evaluation", {})
    rows = unit_rows(found)
    behind = of_run(history, run.name)
    return {
        "run": run,
        "name": run.name,
        "study": run.study,
        "paper": {**run.paper, "link": doi_link(str(run.paper.get("doi", "")))},
        "dataset": run.dataset,
        "dataset_title": run.told.get("datasets", {}).get(run.dataset, {}).get("title") or run.dataset,
        "origin": origin(run.dataset, run.told.get("datasets", {}).get(run.dataset, {})),
        "facts": _facts(folder, run),
        "deviations": run.card.get("deviations", []),
        "claims": claims,
        "counts": counted(claims),
        "surprises": sum(bool(claim["surprises"]) for claim in claims),
        "methods": _methods(run),
        "panels": found,
        "metrics": list(dict.fromkeys(panel["metric"] for panel in found)),
        "scores_data": for_script(found),
        "scores_words": in_words(found),
        "unit_rows": rows if len(rows) <= _MOST_ROWS else [],
        "n_unit_rows": len(rows),
        "n_nulls": len([name for name in _variants(summary) if name.startswith("null-")]),
        "figures": _figures(folder, run),
        "numbers": _numbers(folder.table("runs", run.name, "numbers.tsv")),
        "methods_html": folder.text("runs", run.name, "methods.html"),
        "bill": bill(behind, run.told.get("energy")),
        "versions": _versions(run),
        "deployed": _deployed(behind),
        "cards": _cards(run),
        "command": _command(run),
        "environment": run.told.get("environment", []),
        "lost": _lost(folder, run),
        "evaluation": evaluation,
        "downloads": [name for name in DOWNLOADS if (run.path / name).is_file()],
    }


def _variants(summary: Sequence[Mapping[str, str]]) -> list[str]:
    return list(dict.fromkeys(row["variant"] for row in summary))


def _facts(folder: Folder, run: RunFolder) -> list[tuple[str, str]]:
    """Return what was evaluated, on what, in pairs of name and value."""
    evaluation, facts = run.card.get("evaluation", {}), []
    offers = next((check["offers"] for check in run.checks.values() if isinstance(check.get("offers"), Mapping)), {})
    people = [
        plural(int(offers[key]), key.removesuffix("s"))
        for key in ("subjects", "sessions", "recordings")
        if offers.get(key)
    ]
    facts.append(("Offered by the dataset", ", ".join(people)))
    if "task" in evaluation:
        target = evaluation.get("target")
        classes = ", ".join(words(name) for name in evaluation.get("classes", []))
        facts.append(
            ("Task", f"{evaluation['task']}{f' {words(target)}' if target else ''}{f': {classes}' if classes else ''}")
        )
    for key, title in (("schemes", "Evaluated"), ("metrics", "Scored by")):
        told = [
            f"{words(name)}{f' ({flat(params)})' if params else ''}" for name, params in evaluation.get(key, {}).items()
        ]
        facts.append((title, "; ".join(told)))
    facts.append(("Beside the features", ", ".join(map(words, evaluation.get("covariates", [])))))
    nulls = evaluation.get("null_variants")
    facts.append(("Repeated with permuted labels", plural(nulls, "time") if nulls else ""))
    recipes = [entry.get("title") or words(entry["name"]) for entry in run.told.get("recipes", [])]
    facts.append(("Preprocessing", ", then ".join(recipes)))
    feature = run.told.get("feature", {})
    facts.append(("Features", feature.get("title") or words(feature.get("name", ""))))
    return [(title, text) for title, text in facts if text]


def _methods(run: RunFolder) -> list[dict[str, Any]]:
    checked = {name: method for check in run.checks.values() for name, method in check.get("methods", {}).items()}
    labels = {entry["name"]: entry["label"] for entry in (run.claims or {}).get("methods", [])}
    named = dict(run.card.get("methods", {})) or {name: {"label": label} for name, label in labels.items()}
    return [
        {
            "name": name,
            "label": method.get("label") or words(name),
            "role": method.get("role", ""),
            "component": checked.get(name, method).get("component", name),
            "budget": count(checked.get(name, {}).get("n_configurations")),
            "params": [
                (words(key), flat(value)) for key, value in sorted(checked.get(name, method).get("params", {}).items())
            ],
        }
        for name, method in named.items()
    ]


def _figures(folder: Folder, run: RunFolder) -> list[dict[str, Any]]:
    place = run.path / "figures"
    order = list(run.card.get("figures", {}))
    names = sorted(path.stem for path in place.glob("*.svg"))
    names.sort(key=lambda name: order.index(name) if name in order else len(order))
    found = []
    for name in names:
        spec = folder.document("runs", run.name, "figures", f"{name}.json")
        spec = spec if isinstance(spec, Mapping) else {}
        title = str(spec.get("title") or words(name).capitalize())
        found.append(
            {
                "name": name,
                "title": title,
                "alt": str(spec.get("alt") or f"{title} of {run.name}; the table linked below has its numbers."),
                "caption": str(spec.get("caption") or ""),
                "files": [
                    (label, f"{name}.{ending}")
                    for label, ending in (("SVG", "svg"), ("PDF", "pdf"), ("table", "tsv"), ("specification", "json"))
                    if (place / f"{name}.{ending}").is_file()
                ],
            }
        )
    return found


def _numbers(rows: Sequence[Mapping[str, str]]) -> list[dict[str, str]]:
    return [
        {
            "name": row.get("name", ""),
            "text": row.get("text") or row.get("value", ""),
            "n": row.get("n", "n/a"),
            "unit": row.get("unit", "n/a"),
            "where": row.get("where", ""),
        }
        for row in rows
    ]


def _versions(run: RunFolder) -> list[dict[str, Any]]:
    return [
        {"family": family, "packages": sorted(check["versions"].items())}
        for family, check in sorted(run.checks.items())
        if isinstance(check.get("versions"), Mapping)
    ]


def _deployed(history: Sequence[JobRecord]) -> list[str]:
    """Return in which environments the jobs of a run ran, in words."""
    counts = Counter(
        f"the container {hidden(job.container).rpartition('/')[2]}" if job.container
        else "a conda environment" if job.conda
        else "the Python that started Snakemake"
        for job in history
        if job.status == "done"
    )  # fmt: skip
    return [f"{plural(n, 'job')} in {name}" for name, n in sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))]


def _cards(run: RunFolder) -> list[tuple[str, str]]:
    """Return the cards as text."""
    named = {
        "study, as resolved": run.card,
        **{f"dataset {name}": card for name, card in run.told.get("datasets", {}).items()},
        **{f"preprocessing {card['name']}": card for card in run.told.get("recipes", [])},
        f"features {run.told.get('feature', {}).get('name', '')}": run.told.get("feature"),
    }
    return [(title, json.dumps(card, indent=2, ensure_ascii=False)) for title, card in named.items() if card]


def _command(run: RunFolder) -> str:
    """Return the command that makes the results of a run again, quoted for a shell."""
    configuration = run.told.get("configuration")
    if not configuration:
        return ""
    given = [
        f"{key}={json.dumps(value, ensure_ascii=False) if isinstance(value, Mapping | list) else value}"
        for key, value in configuration.items()
    ]
    return shlex.join(["snakemake", "--profile", "config/profiles/local", "--cores", "2", "--config", *given])


def _lost(folder: Folder, run: RunFolder) -> list[dict[str, Any]]:
    """Return how many recordings went through each stage of a run, and why the others did not."""
    recipes = [entry["name"] for entry in run.told.get("recipes", [])]
    feature = run.told.get("feature", {}).get("name", "")
    titles = {("preprocess", name): "Recordings preprocessed" for name in recipes}
    if len(recipes) > 1:
        titles = {key: f"{title} ({words(key[1])})" for key, title in titles.items()}
    if recipes:
        titles["features", f"{recipes[-1]}/{feature}"] = "Recordings with features"
    groups: dict[tuple[str, str], list[Mapping[str, str]]] = {key: [] for key in titles}
    for row in folder.table("status.tsv"):
        if row["dataset"] == run.dataset and (row["stage"], row["recipe"]) in groups:
            groups[row["stage"], row["recipe"]].append(row)
    found = []
    for key, rows in groups.items():
        reasons = Counter(hidden(row["reason"]) for row in rows if row["status"] != "ok")
        lost = [{"reason": reason, "n": n} for reason, n in reasons.most_common()]
        if rows:
            found.append({"stage": titles[key], "used": sum(row["status"] == "ok" for row in rows), "reasons": lost})
    return found
