"""From what jobs of a pilot took to what the jobs of the whole study should ask for; and whether they kept to it."""

from __future__ import annotations

import json
import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from ..dryrun import Job, planned
from ..errors import InputError
from ..files import write_text
from ..measured import Subjects, Taken, per_unit, reused, taken
from .plan import read_cards, stated

#: A recommendation below these costs more in restarts than it saves.
_LEAST_MEM_MB, _LEAST_MINUTES = 500, 10
_STEP_MEM_MB = 100


def recommend(
    project: Path,
    configuration: Mapping[str, Any] | None = None,
    out: Path = Path("results/recommended"),
    margin: float = 1.5,
    quantile: float = 0.95,
    check: bool = False,
    as_json: bool = False,
) -> bool:
    """Write ``config.yaml`` of a workflow profile; with ``check`` compare the benchmarks with the one written before.

    Parameters
    ----------
    project : Path
        The folder of the Snakefile.
    configuration : mapping or None
        What is laid over ``config.yaml``.
    out : Path
        Folder of the profile.
    margin : float
        What is asked for is this many times what was measured.
    quantile : float
        Of the jobs of a rule, the share that the measured value covers; the largest job counts at least without margin.
    check : bool
        Write nothing: name the rules whose jobs took more than the profile gives them.
    as_json : bool
        Print JSON instead of text.

    Returns
    -------
    bool
        Whether all jobs kept to the profile; always true without ``check``.

    Raises
    ------
    InputError
        If there is no benchmark, or with ``check`` no profile.

    """
    if not 1 <= margin <= 100 or not 0 < quantile <= 1:
        raise InputError("recommend", "margin below 1 or above 100, or quantile not in (0, 1]", "correct the number")
    cards = read_cards(project, configuration)
    every = planned(project, configuration, everything=True)
    by_rule: dict[str, list[Job]] = defaultdict(list)
    for job in every:
        by_rule[job.rule].append(job)
    seen = {job.outputs[0]: found for job in every if (found := taken(job)) is not None}
    if not seen:
        raise InputError("results/benchmarks", "no benchmark of any job", "run a few blocks first, then ask again")
    if check:
        return _check(by_rule, seen, out, as_json)
    subjects = Subjects(stated(cards))
    rows = {
        rule: row for rule, jobs in by_rule.items() if (row := _row(jobs, seen, subjects, margin, quantile)) is not None
    }
    costs = _costs(every, seen, subjects)
    write_text(out / "config.yaml", _profile(rows, costs, margin, quantile))
    if as_json:
        print(json.dumps({"rules": rows, "seconds_per_subject": costs, "profile": str(out)}, indent=2))
    else:
        _show(rows, costs, out)
    return True


def _row(
    jobs: Sequence[Job], seen: Mapping[str, Taken], subjects: Subjects, margin: float, quantile: float
) -> dict[str, Any] | None:
    """Return what the jobs of a rule should ask for, sized for the largest of them that is planned."""
    # A job that found part of its work done took less than such a job takes.
    done = [(job, seen[job.outputs[0]]) for job in jobs if job.outputs[0] in seen and not reused(job)]
    if not done:
        return None
    largest = max(subjects.of(job) for job in jobs)
    units = [subjects.of(job) for job, _ in done]
    seconds = _expected(units, [found.seconds for _, found in done], largest, quantile)
    memory = [(unit, found.mem_mb) for unit, (_, found) in zip(units, done, strict=True) if found.mem_mb is not None]
    row: dict[str, Any] = {
        "measured_jobs": len(done),
        "largest_subjects": largest,
        "measured_seconds": max(found.seconds for _, found in done),
        "asked_runtime": max((job.runtime or 0) for job in jobs),
        "asked_mem_mb": max((job.mem_mb or 0) for job in jobs),
        "runtime": max(_LEAST_MINUTES, math.ceil(seconds * margin / 60)),
        "mem_mb": None,
    }
    if memory:
        sizes, values = zip(*memory, strict=True)
        # Memory seldom grows with subjects one after the other: it is scaled only where jobs of two sizes say so.
        peak = _expected(sizes, values, largest, quantile) if len(set(sizes)) > 1 else _quantile(values, quantile)
        # The largest job seen counts without the margin: it has to fit in any case.
        needed = max(peak * margin, *values)
        row["mem_mb"] = max(_LEAST_MEM_MB, _STEP_MEM_MB * math.ceil(needed / _STEP_MEM_MB))
        row["measured_mem_mb"] = max(values)
    return row


def _expected(units: Sequence[float], values: Sequence[float], largest: float, quantile: float) -> float:
    """Return what a job of ``largest`` units takes: the trend over units, times how far jobs lie above it."""
    fixed, slope = per_unit(units, values)
    trend = [fixed + slope * unit for unit in units]
    ratios = [value / expected for value, expected in zip(values, trend, strict=True) if expected > 0]
    return (fixed + slope * largest) * max(_quantile(ratios, quantile), 1.0) if ratios else max(values)


def _quantile(values: Sequence[float], quantile: float) -> float:
    """Return the smallest value that covers the share ``quantile`` of ``values``."""
    return sorted(values)[math.ceil(quantile * len(values)) - 1]


def _costs(jobs: Sequence[Job], seen: Mapping[str, Taken], subjects: Subjects) -> dict[str, float]:
    """Return seconds a subject by preprocessing recipe, from all blocks that were done in one go."""
    total: dict[str, list[float]] = defaultdict(lambda: [0.0, 0.0])
    for job in jobs:
        is_recipe = "block" in job.wildcards and job.outputs[0].startswith("results/preprocessed/")
        if is_recipe and job.outputs[0] in seen and not reused(job):
            had = total[job.wildcards["preprocessing"]]
            total[job.wildcards["preprocessing"]] = [had[0] + seen[job.outputs[0]].seconds, had[1] + subjects.of(job)]
    return {name: round(seconds / units, 2) for name, (seconds, units) in sorted(total.items()) if units}


def _profile(rows: Mapping[str, Any], costs: Mapping[str, float], margin: float, quantile: float) -> str:
    """Return the profile; memory and time grow with each attempt, as in the rules."""
    lines = [
        "# Resources by rule, from benchmarks. Use it beside a profile of the engine:",
        "#     snakemake --profile config/profiles/slurm --workflow-profile results/recommended",
        f"# The {quantile:g} quantile of what jobs took, times {margin:g}; for the largest block that is planned.",
    ]
    for name, cost in costs.items():
        lines.append(f"# config/preprocessing/{name}.yaml: seconds_per_subject: {cost:g}")
    asked = {}
    for rule, row in sorted(rows.items()):
        asked[rule] = {"runtime": f"{row['runtime']} * 4 ** (attempt - 1)"}
        if row["mem_mb"] is not None:
            asked[rule]["mem_mb"] = f"{row['mem_mb']} * attempt"
    return "\n".join(lines) + "\n" + yaml.safe_dump({"set-resources": asked}, sort_keys=True)


def _show(rows: Mapping[str, Any], costs: Mapping[str, float], out: Path) -> None:
    width = max(len(rule) for rule in rows) if rows else 4
    memory, minutes = "memory measured -> asked (was)", "minutes measured -> asked (was)"
    print(f"{'rule':<{width}}  {'jobs':>5}  {memory:>34}  {minutes:>34}")
    for rule, row in rows.items():
        memory = "too short to see" if row["mem_mb"] is None else _change(row, "mem_mb", row["measured_mem_mb"])
        minutes = _change(row, "runtime", row["measured_seconds"] / 60)
        print(f"{rule:<{width}}  {row['measured_jobs']:>5}  {memory:>34}  {minutes:>34}")
    for name, cost in costs.items():
        print(f"{name}: {cost:g} seconds a subject; put it in the card: it decides how many subjects make one job")
    print(f"written: {out / 'config.yaml'}; use it: --workflow-profile {out}")


def _change(row: Mapping[str, Any], name: str, measured: float) -> str:
    return f"{measured:.1f} -> {row[name]} ({row[f'asked_{name}']})"


def _check(by_rule: Mapping[str, Sequence[Job]], seen: Mapping[str, Taken], out: Path, as_json: bool) -> bool:
    """Name the rules whose jobs took more than the profile gives a first attempt."""
    path = out / "config.yaml"
    try:
        asked = yaml.safe_load(path.read_text(encoding="utf-8"))["set-resources"]
        limits = {
            rule: {name: int(str(value).partition("*")[0]) for name, value in given.items()}
            for rule, given in asked.items()
        }
    except FileNotFoundError:
        raise InputError(path, "no such profile", "let recommend write one first") from None
    except (yaml.YAMLError, ValueError, KeyError, TypeError, AttributeError, UnicodeDecodeError):
        raise InputError(path, "is not a profile of recommend", "let recommend write it again") from None
    rows = []
    for rule, jobs in by_rule.items():
        found = [seen[job.outputs[0]] for job in jobs if job.outputs[0] in seen]
        limit = limits.get(rule, {})
        for name, values in (
            ("mem_mb", [one.mem_mb for one in found if one.mem_mb is not None]),
            ("runtime", [one.seconds / 60 for one in found]),
        ):
            if name in limit and values:
                over = sum(value > limit[name] for value in values)
                used = round(max(values), 2)
                rows.append({"rule": rule, "resource": name, "given": limit[name], "used": used, "over": over})
    exceeded = [row for row in rows if row["over"]]
    if as_json:
        print(json.dumps({"ok": not exceeded, "rows": rows}, indent=2))
        return not exceeded
    for row in rows:
        verdict = f"{row['over']} jobs took more" if row["over"] else "ok"
        print(f"{row['rule']:<20} {row['resource']:<8} given {row['given']:>8}, most used {row['used']:>10}: {verdict}")
    print(f"{len(exceeded)} of {len(rows)} limits exceeded" if rows else "nothing that the profile names has run yet")
    return not exceeded
