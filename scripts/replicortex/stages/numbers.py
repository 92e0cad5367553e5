"""Every number that a paper's text would quote of a run, each once, under a name of its own."""

from __future__ import annotations

import math
import re
import statistics
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ..damage import read_record, read_table
from ..files import read_tsv, to_tsv, write_text
from ..private import without_names
from ..shared.printed import counted, estimate, plain, probability, words

COLUMNS = ["name", "value", "ci_low", "ci_high", "n", "unit", "text", "where", "source"]
#: Where a dataset is restricted, smaller groups of people than this are not counted out.
FEWEST = 5
#: What is told of participants beside what is predicted and what methods may use; with more values it is no grouping.
_DEMOGRAPHIC = frozenset({"age", "sex", "gender", "hand", "handedness", "group", "site"})
_MOST_GROUPS = 12
#: What tells of one recording or subject, or of a place on disk, in a reason.
_CALLED = re.compile(r"\b(?:subject|participant) \S+")
_CONTROLS = {"null": "with permuted labels", "absent": "simulated without the effect"}


def collect_numbers(
    about: Mapping[str, Any],
    scores: Path,
    summary: Path,
    claims: Path,
    choices: Path,
    targets: Path,
    participants: Path,
    content: Path,
    validation: Path,
    checks: Sequence[Path],
    preprocessed: Sequence[Path],
    features: Sequence[Path],
    out: Path,
) -> None:
    """Write the numbers of a run, a row each.

    Parameters
    ----------
    about : mapping
        ``task``; ``target`` where it is a variable of the participants; ``columns``: those of their table that the run
        uses; ``seeds`` and ``null_variants`` (numbers); ``version`` of the dataset where it has one; ``restricted``:
        whether small groups of people are to be left out.
    scores, summary, claims, choices : path
        ``scores.tsv``, ``summary.tsv``, ``claims.json`` and ``choices.tsv`` of the run.
    targets : path
        ``targets.tsv`` of its observed variant: what rows were used.
    participants, content, validation : path
        Table of participants, index and validation of the dataset.
    checks : sequence of path
        Checks of the run: software, tuning budgets.
    preprocessed, features : sequence of path
        Tables of the blocks: what became of each recording.
    out : path
        Written: ``name`` (unique), ``value`` with ``ci_low`` and ``ci_high`` (95 %), ``n`` units of the kind ``unit``,
        ``text`` as a paper would print it, ``where`` it holds, and the ``source`` below the folder of results.

    Raises
    ------
    DamagedError
        If a table or record is damaged.
    """
    restricted = about.get("restricted", False)
    document = read_record(claims, ["claims", "methods", "run"])
    labels = {entry["name"]: entry["label"] for entry in document["methods"]}
    rows = read_table(targets, ["row_id", "subject", "session", "target"])
    found: list[dict[str, Any]] = [
        *_sample(rows, targets),
        *_targets(rows, about, targets, restricted=restricted),
        *_people(participants, {row["subject"] for row in rows}, about["columns"], restricted=restricted),
        *_recordings(preprocessed, features),
        *_evaluation(choices, about, labels),
        *_scores(summary, scores, labels),
        *_claims(document["claims"], labels, claims),
        *_dataset(content, validation, about),
        *_software(checks),
    ]
    write_text(out, to_tsv(_unique(found), COLUMNS))


def _number(name: str, value: float | None, text: str, source: Path, **more: Any) -> dict[str, Any]:
    """Return a row; its source is named from the folder of results on."""
    parts = source.parts
    below = parts[parts.index("results") + 1 :] if "results" in parts else parts[-1:]
    return {"name": name, "value": value, "text": text, "source": "/".join(below), **more}


def _count(name: str, number: int, noun: str, source: Path, where: str) -> dict[str, Any]:
    return _number(name, number, counted(number, noun), source, where=where, unit=noun)


def _unique(rows: Iterable[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Yield rows with a number after a name that was there before: labels of different spelling may become alike."""
    seen: Counter[str] = Counter()
    for row in rows:
        name = ".".join(re.sub(r"\W+", "_", part).strip("_") or "x" for part in row["name"].split("\0"))
        seen[name] += 1
        yield {**row, "name": name if seen[name] == 1 else f"{name}.{seen[name]}"}


def _named(*parts: str) -> str:
    """Return a name of several parts, which may hold any sign."""
    return "\0".join(parts)


def _sample(rows: Sequence[Mapping[str, str]], source: Path) -> Iterator[dict[str, Any]]:
    """Yield what was used to fit and to predict."""
    where = "used to fit and to predict, observed data"
    yield _count(_named("sample", "subjects"), len({row["subject"] for row in rows}), "subject", source, where)
    sessions = {(row["subject"], row["session"]) for row in rows}
    yield _count(_named("sample", "sessions"), len(sessions), "session", source, where)
    yield _count(_named("sample", "rows"), len(rows), "row", source, where)
    per = list(Counter(row["subject"] for row in rows).values())
    yield _sizes(_named("sample", "rows_per_subject"), per, source, f"median and range over subjects, {where}")


def _sizes(name: str, numbers: Sequence[int], source: Path, where: str, **more: Any) -> dict[str, Any]:
    """Return the median of some numbers of rows, with their range if they are not all the same."""
    median = statistics.median(numbers)
    middle = f"{median:g}"
    text = middle if len(set(numbers)) == 1 else f"{middle} ({min(numbers)} to {max(numbers)})"
    return _number(name, median, text, source, where=where, unit="row", **more)


def _targets(
    rows: Sequence[Mapping[str, str]], about: Mapping[str, Any], source: Path, *, restricted: bool
) -> Iterator[dict[str, Any]]:
    """Yield classes with their rows and subjects, or the distribution of what is to be predicted."""
    if about["task"] == "regress":
        subjects = {row["subject"]: float(row["target"]) for row in rows}
        yield _distribution(_named("target"), list(subjects.values()), source, about["target"], restricted=restricted)
        return
    classes = sorted({row["target"] for row in rows}) if about["task"] == "classify" else []
    if classes:
        yield _count(_named("classes"), len(classes), "class", source, "to tell apart") | {
            "text": f"{len(classes)} classes"
        }
    subjects = {label: len({row["subject"] for row in rows if row["target"] == label}) for label in classes}
    hidden = _hidden(subjects) if restricted else {}
    for label, number in subjects.items():
        name, where = _named("class", label, "subjects"), f"class {words(label)}"
        yield _people_count(name, number, source, where, hidden.get(label))
        if label not in hidden:
            n_rows = sum(row["target"] == label for row in rows)
            yield _count(_named("class", label, "rows"), n_rows, "row", source, where)


def _hidden(groups: Mapping[str, int]) -> dict[str, str]:
    """Return what stands in the place of the numbers of small groups of people.

    Of one that is hidden alone the number would follow from that of all: then the next smallest is hidden with it.
    """
    small = {name: f"<{FEWEST} subjects" for name, number in groups.items() if number < FEWEST}
    others = [name for name in groups if name not in small]
    if len(small) == 1 and others:
        small[min(others, key=groups.__getitem__)] = "not shown"
    return small


def _people_count(name: str, number: int, source: Path, where: str, hidden: str | None) -> dict[str, Any]:
    """Return a number of people, or what stands in its place."""
    if hidden is not None:
        return _number(name, None, hidden, source, where=where, unit="subject")
    return _count(name, number, "subject", source, where)


def _distribution(
    name: str, values: Sequence[float], source: Path, what: str, *, restricted: bool, unit: str = ""
) -> dict[str, Any]:
    """Return mean and standard deviation; the range tells of single people, and goes where a dataset is restricted."""
    spread = f" \N{PLUS-MINUS SIGN} {plain(statistics.stdev(values))}" if len(values) > 1 else ""
    ends = "" if restricted else f" ({plain(min(values))} to {plain(max(values))})"
    mean = statistics.fmean(values)
    if restricted and len(values) < FEWEST:
        mean, spread = None, "n/a"
    where = f"{words(what)}: mean \N{PLUS-MINUS SIGN} standard deviation over subjects" + (", range" if ends else "")
    text = f"{'' if mean is None else plain(mean)}{spread}{ends}"
    return _number(name, mean, text, source, where=where, n=len(values), unit=unit or None)


def _people(
    participants: Path, used: set[str], columns: Sequence[str], *, restricted: bool
) -> Iterator[dict[str, Any]]:
    """Yield age and groups of the subjects that were used, as far as the table of participants tells."""
    table = read_tsv(participants) if participants.is_file() else []
    rows = [row for row in table if row.get("participant_id", "").removeprefix("sub-") in used]
    for column in [name for name in (rows[0] if rows else {}) if name.lower() in _DEMOGRAPHIC or name in columns]:
        known = [row[column] for row in rows if row[column] not in ("n/a", "")]
        values = [_float(value) for value in known]
        groups = Counter(known)
        if known and None not in values and (len(groups) > _MOST_GROUPS or column.lower() == "age"):
            name = _named("participants", column)
            unit = "year" if column.lower() == "age" else ""
            yield _distribution(name, values, participants, column, restricted=restricted, unit=unit)
        elif len(groups) <= _MOST_GROUPS:
            hidden = _hidden(groups) if restricted else {}
            for value, number in sorted(groups.items()):
                name, where = _named("participants", column, value), f"{words(column)} {value}"
                yield _people_count(name, number, participants, where, hidden.get(value))


def _float(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def _recordings(preprocessed: Sequence[Path], features: Sequence[Path]) -> Iterator[dict[str, Any]]:
    """Yield how many recordings there were, how many were left out at each stage, and why."""
    stages = (("preprocessing", preprocessed, "was preprocessed"), ("features", features, "gave features"))
    for stage, tables, verb in stages:
        rows = [row for table in tables for row in read_table(table, ["recording", "status", "reason"])]
        if not rows:
            continue
        source = tables[0].parent
        lost = Counter(plain_reason(row["reason"]) for row in rows if row["status"] != "ok")
        counts = {
            "found": (len(rows), f"that came to {stage}"),
            "used": (len(rows) - sum(lost.values()), f"of which each {verb}"),
            "excluded": (sum(lost.values()), f"left out at {stage}"),
        }
        for key, (number, where) in counts.items():
            yield _count(_named("recordings", stage, key), number, "recording", source, where)
        for place, (reason, number) in enumerate(sorted(lost.items(), key=lambda item: (-item[1], item[0])), start=1):
            name = _named("recordings", stage, "excluded", str(place))
            yield _count(name, number, "recording", source, f"left out at {stage}: {reason}")


def plain_reason(reason: str) -> str:
    """Return why a recording was left out, without what would tell which recording or where it lies."""
    _, _, rest = reason.partition(": ")
    fault = (rest or reason).rpartition("; ")
    told = _CALLED.sub("\N{HORIZONTAL ELLIPSIS}", without_names(fault[0] or fault[2]))
    return " ".join(told.split()) or "no reason given"


def _evaluation(choices: Path, about: Mapping[str, Any], labels: Mapping[str, str]) -> Iterator[dict[str, Any]]:
    """Yield folds of every scheme with their sizes, seeds, permutations, and how many configurations methods try."""
    rows = read_table(choices, ["method", "scheme", "fold", "seed", "n_train", "n_test", "n_configurations"])
    for scheme in sorted({row["scheme"] for row in rows}):
        folds = {row["fold"]: row for row in rows if row["scheme"] == scheme}
        where = f"scheme {words(scheme)}"
        yield _count(_named("folds", scheme), len(folds), "fold", choices, where)
        for key, use in (("n_train", "to fit on"), ("n_test", "held out")):
            sizes, told = [int(row[key]) for row in folds.values()], f"{where}: rows {use} in a fold"
            yield _sizes(_named("folds", scheme, key), sizes, choices, f"{told}, median and range", n=len(folds))
    yield _count(_named("seeds"), about["seeds"], "seed", choices, "of the fits")
    n_null = about["null_variants"]
    yield _count(_named("permutations"), n_null, "permutation", choices, "of the labels, the whole evaluation each")
    smallest, where = 1 / (1 + n_null), "smallest p that these permutations can give"
    yield _number(_named("permutations", "smallest_p"), smallest, probability(smallest), choices, where=where)
    for method, number in {row["method"]: int(row["n_configurations"]) for row in rows}.items():
        where = f"tried by {labels.get(method, method)} in every fold"
        yield _count(_named("configurations", method), number, "configuration", choices, where)


def _units(scores: Path) -> dict[str, str]:
    """Return over what the means of each metric are; the table is as long as there are subjects, and not kept."""
    with scores.open(encoding="utf-8") as stream:
        header = stream.readline().rstrip("\n").split("\t")
        metric, per = header.index("metric"), header.index("per")
        cells = (line.rstrip("\n").split("\t") for line in stream)
        return {row[metric]: "fold" if row[per] == "fold" else "subject" for row in cells}


def _scores(summary: Path, scores: Path, labels: Mapping[str, str]) -> Iterator[dict[str, Any]]:
    """Yield the mean of every method, scheme and metric with its interval, beside chance and the controls."""
    units = _units(scores)
    columns = ["method", "variant", "scheme", "metric", "unit", "n_units", "mean", "ci_low", "ci_high", "chance"]
    table = [row for row in read_table(summary, [*columns, "null_mean", "p_permutation"]) if row["unit"] == "subject"]
    order = list(labels)
    table.sort(key=lambda row: (row["scheme"], row["metric"], order.index(row["method"]), row["variant"] != "observed"))
    for row in table:
        if row["variant"] not in ("observed", "absent"):
            continue
        place = _named("score", row["scheme"], row["metric"], row["method"])
        where = f"{labels.get(row['method'], row['method'])}, {words(row['scheme'])}, {words(row['metric'])}"
        mean, low, high = (_value(row[name]) for name in ("mean", "ci_low", "ci_high"))
        unit = units[row["metric"]]
        over, common = f"mean over {unit}s", {"n": int(row["n_units"]), "unit": unit}
        estimated = {"ci_low": _known(low), "ci_high": _known(high), **common}
        text = estimate(mean, low, high)
        if row["variant"] == "absent":
            where += f", {over}, {_CONTROLS['absent']}"
            yield _number(_named(place, "absent_mean"), mean, text, summary, where=where, **estimated)
            continue
        yield _number(_named(place, "mean"), mean, text, summary, where=f"{where}, {over}", **estimated)
        for name, meant in (("chance", "expected by chance"), ("null_mean", f"mean {_CONTROLS['null']}")):
            value = _value(row[name])
            if not math.isnan(value):
                yield _number(_named(place, name), value, plain(value), summary, where=f"{where}, {meant}", **common)
        p, where = _value(row["p_permutation"]), f"{where}, permutation test"
        if not math.isnan(p):
            yield _number(_named(place, "p_permutation"), p, probability(p), summary, where=where, **common)


def _claims(claims: Sequence[Mapping[str, Any]], labels: Mapping[str, str], source: Path) -> Iterator[dict[str, Any]]:
    """Yield effect, p and verdict of every claim, as observed and in its controls."""
    verdicts = Counter(claim["verdict"] for claim in claims)
    yield _count(_named("claims"), len(claims), "claim", source, "of the study")
    for verdict, number in sorted(verdicts.items()):
        yield _count(_named("claims", verdict), number, "claim", source, f"with the verdict {verdict}")
    for claim in claims:
        named = [labels.get(name, name) for name in (claim.get("method"), claim.get("than")) if name]
        about = [*([" against ".join(named)] if named else []), words(claim["scheme"]), words(claim["metric"])]
        for variant in ("observed", *_CONTROLS):
            if variant in claim["results"]:
                before = "" if variant == "observed" else f"{variant}_"
                where = ", ".join([*about, *([_CONTROLS[variant]] if before else [])])
                yield from _result(claim, claim["results"][variant], before, where, source)


def _result(
    claim: Mapping[str, Any], result: Mapping[str, Any], before: str, where: str, source: Path
) -> Iterator[dict[str, Any]]:
    place, common = _named("claim", claim["name"]), {"n": result["n"], "unit": claim["unit"]}

    def named(key: str) -> str:
        return _named(place, before + key)

    if result["effect"] is not None:
        numbers = [math.nan if result[key] is None else result[key] for key in ("effect", "ci_low", "ci_high")]
        ends = {"ci_low": result["ci_low"], "ci_high": result["ci_high"]}
        text = estimate(*numbers)
        yield _number(named("effect"), result["effect"], text, source, where=f"{where}, effect", **ends, **common)
    for key, meant in (("p", "p"), ("p_holm", "p after Holm over the claims of the study")):
        if result.get(key) is not None:
            text = probability(result[key])
            yield _number(named(key), result[key], text, source, where=f"{where}, {meant}", **common)
    if result.get("smd") is not None and not before:
        told = f"{where}, standardised mean difference"
        yield _number(named("smd"), result["smd"], plain(result["smd"]), source, where=told, **common)
    reason = f" ({result['reason']})" if result.get("reason") else ""
    yield _number(named("verdict"), None, result["verdict"], source, where=f"{where}, verdict{reason}", **common)


def _dataset(content: Path, validation: Path, about: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield what identifies the dataset, and what the validator says of it."""
    index = read_record(content, ["digest", "n_files", "n_subjects", "n_recordings"])
    yield _number(_named("dataset", "digest"), None, index["digest"], content, where="of names and contents of files")
    if about.get("version"):
        yield _number(_named("dataset", "version"), None, str(about["version"]), content, where="of the dataset")
    for key, noun in (("n_subjects", "subject"), ("n_recordings", "recording"), ("n_files", "file")):
        yield _count(_named("dataset", key.removeprefix("n_")), index[key], noun, content, "in the dataset")
    checked = read_record(validation, ["skipped"])
    if checked["skipped"]:
        yield _number(_named("dataset", "validator"), None, "not validated", validation, where="BIDS validator")
        return
    for severity in ("error", "warning"):
        number = checked["counts"].get(severity, 0)
        yield _count(_named("dataset", f"{severity}s"), number, severity, validation, "by the BIDS validator")
    yield _number(_named("dataset", "validator"), None, str(checked["validator"]), validation, where="BIDS validator")


def _software(checks: Sequence[Path]) -> Iterator[dict[str, Any]]:
    """Yield the versions of the packages that components import, in every environment that takes part."""
    for path in checks:
        for package, version in sorted(read_record(path, ["software"])["software"].items()):
            where = f"in the environment {path.stem}"
            yield _number(_named("software", path.stem, package), None, str(version), path, where=where)


def _value(text: str) -> float:
    return math.nan if text == "n/a" else float(text)


def _known(value: float) -> float | None:
    return None if math.isnan(value) else value
