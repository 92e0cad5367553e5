"""Verdicts on a paper's claims: the test of each claim on the observed scores, and the same on its controls.

How a claim is judged
---------------------
Units are subjects, sessions (nested in subjects: signs flip and bootstraps draw subject by subject) or
datasets. Tests are one-sided sign-flip tests on units (Wilcoxon's from 20 on) at the claim's ``alpha``. Where
subjects are scored together their units are jackknife pseudo-values, and the test is the t test on these. Such
tests are about new subjects given the fitted models; that folds share training rows makes them somewhat liberal
(Nadeau & Bengio 2003, doi:10.1023/A:1024068626366).

- *better*, *monotone*: ``holds`` if the test rejects, else ``fails``.
- *at_least*, *recovers*: ``holds`` if the mean is above the value, ``fails`` if it is below, each at level
  ``alpha`` (the value lies outside the test's interval); ``undecided`` if the interval contains the value.
- *beats_twins*: ``holds`` if the test rejects for all the twins that it names, else ``fails``. Networks, not people,
  are what is compared, and what changes places (:mod:`replicortex.shared.dead_salmons`): against random weights
  within folds, against permuted targets as a whole. ``p_max`` is the same p adjusted for all such claims of the study
  on one scheme that name the same twins; the interval is over people and twins.
- *equals_chance*: ``holds`` if both one-sided tests put the mean inside chance +- margin, ``fails`` if one
  puts it outside, else ``undecided``.

Any claim is ``undecided`` where even the clearest result could not reach ``alpha`` with the units there are.

A claim is ``invalid``, whatever the observed scores say, if a control does not do what ``under_null`` says.
There are two controls: ``null``, each unit's mean over all variants with permuted targets (more sensitive
than any one of them), and ``absent``, simulated data in which nothing was planted. They are judged at 0.01
rather than 0.05, since with many claims and two controls each a sound study would otherwise often be called
invalid; where 0.01 is out of reach of the number of units, at the smallest attainable p, so that no control
is without teeth. Where units train one another's folds, a control's p is that of scores which are not independent
(:func:`replicortex.shared.statistics.spread_p`): without an effect the factor is known, and a p that ignores it would
call one sound claim in twenty invalid.
"""

from __future__ import annotations

import functools
import math
import os
import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from ..claims import Claim, parse_claims
from ..components import load
from ..damage import read_record
from ..errors import InputError
from ..files import digest_of, read_json, to_json, to_tsv, write_text
from ..shared.dead_salmons import TwinTest, exchange_test, permuted_test, twin_interval
from ..shared.statistics import (
    bootstrap_mean,
    combined_effect,
    equivalence_p,
    holm,
    minimal_p,
    paired_p,
    spread_p,
    standardised_mean_difference,
    stouffer,
)
from ..shared.tables import read_scores, unit_means
from .summarize import is_null

ALPHA_NULL = 0.01
COLUMNS = [
    "run", "claim", "variant", "verdict", "effect", "ci_low", "ci_high", "n", "n_subjects",
    "p", "p_against", "p_holm", "p_max", "alpha", "smd", "kind", "method", "than", "metric", "scheme", "unit",
    "expected", "as_expected", "reason",
]  # fmt: skip
_KEYS = ["method", "variant", "scheme", "seed", "subject", "session", "metric", "better", "per"]


def judge_claims(
    card: Mapping[str, Any],
    scores: str | os.PathLike,
    out: str | os.PathLike,
    truth: str | os.PathLike | None = None,
    folds: Sequence[str | os.PathLike] = (),
) -> None:
    """Judge the claims of one run.

    Parameters
    ----------
    card : mapping
        ``run``, ``study``, ``dataset`` (names), ``paper`` (mapping), ``claims`` (as in the study card),
        ``labels`` (method and its name in figures: a mapping, or pairs in the order of the figures' rows) and
        ``schemes`` (names of splitters; none if not given).
    scores : path
        The run's ``scores.tsv``.
    out : path
        ``claims.json`` to write: the claims, each with its ``verdict`` and ``results`` by variant.
    truth : path, optional
        ``truth.json`` of a simulated dataset: under which contrast a claim must hold.
    folds : sequence of path
        ``scores.tsv`` of every variant, fold by fold: what claims ``beats_twins`` are judged by, whose units are
        networks.

    Raises
    ------
    InputError
        If a claim is not in the vocabulary, or asks for a value that is not better than chance.
    """
    claims = parse_claims(card["claims"], f"study {card['study']}")
    cells = read_scores([scores], [*_KEYS, "value", "chance", "lowest", "highest"])
    contrast = None if truth is None else _contrast(truth)
    crossed = {scheme for scheme in card.get("schemes", ()) if load("splitters", scheme).crossed}
    by_unit = _Scores(cells, read_scores(folds, ["fold"]) if folds else None, crossed)
    judged = [_judge(claim, by_unit, contrast, claims, simulated=truth is not None) for claim in claims]
    for result, p in zip(
        (entry["results"]["observed"] for entry in judged),
        holm([_number(entry["results"]["observed"]["p"]) for entry in judged]),
        strict=True,
    ):
        result["p_holm"] = p
    document = {
        **{key: card[key] for key in ("run", "study", "dataset", "paper")},
        "methods": [{"name": name, "label": label} for name, label in dict(card["labels"]).items()],
        "simulated": truth is not None,
        "contrast": contrast,
        "claims": judged,
    }
    write_text(out, to_json(_finite(document)))


def collect_claims(documents: Sequence[str | os.PathLike], out: str | os.PathLike) -> None:
    """Write ``claims.tsv``: a row per claim and variant of every run, then the combinations over datasets.

    Parameters
    ----------
    documents : sequence of path
        The ``claims.json`` of all runs.
    out : path
        The table to write.
    """
    read = [read_record(path, ["run", "claims"]) for path in documents]
    rows = [row for document in read for row in claim_rows(document)]
    write_text(out, to_tsv([*rows, *combine_claims(read)], COLUMNS))


def claim_rows(document: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the rows of one ``claims.json``, a row per claim and variant."""
    return [
        _row(document["run"], claim, variant, result)
        for claim in document["claims"]
        for variant, result in sorted(claim["results"].items(), key=lambda item: _variant_order(item[0]))
    ]


def _row(run: str, claim: Mapping[str, Any], variant: str, result: Mapping[str, Any]) -> dict[str, Any]:
    named = {key: claim.get(key) for key in ("kind", "method", "than", "metric", "scheme", "unit")}
    if claim["kind"] == "monotone":
        named["method"] = ", ".join(claim["methods"])
    return {"run": run, "claim": claim["name"], "variant": variant, **named, **result}


def _variant_order(variant: str) -> tuple[int, int]:
    """Order observed, absent, null (pooled), null-1, null-2, ..., null-10, random-1, ..."""
    number = re.fullmatch(r"(null|random)-(\d+)", variant)
    kinds = ("observed", "absent", "null", "null-", "random-")
    return (kinds.index(f"{number[1]}-"), int(number[2])) if number else (kinds.index(variant), 0)


def _judge(
    claim: Claim, scores: _Scores, contrast: str | None, claims: Sequence[Claim], *, simulated: bool
) -> dict[str, Any]:
    """Return the claim with its result in every variant and its verdict."""
    applies = _does_not_apply(claim, contrast, simulated=simulated)
    results = {}
    for variant in scores.variants:
        if applies:
            results[variant] = _undecided(applies)
        elif claim.kind == "beats_twins":
            results[variant] = _test_twins(claim, scores, variant, claims)
        else:
            results[variant] = _test_scores(claim, scores, variant)
        results[variant] |= _expectation(claim, variant, results[variant]["verdict"], contrast)
    observed = results["observed"]
    controls = {name: results[name] for name in ("absent", "null") if name in results}
    wrong = [name for name, result in controls.items() if result["as_expected"] == "no"]
    if wrong:
        observed["verdict"] = "invalid"
        observed["as_expected"] = "no" if observed["expected"] == "holds" else "n/a"
        observed["reason"] = f"{results[wrong[0]]['verdict']} in {' and '.join(wrong)}, where it must not"
    elif not any(result["as_expected"] == "yes" for result in controls.values()):
        observed["reason"] = "; ".join(filter(None, [observed["reason"], "no control was decided"]))
    return {**claim.model_dump(mode="json"), "verdict": observed["verdict"], "results": results}


def _contrast(truth: str | os.PathLike) -> str | None:
    """Return which contrast was planted, ``None`` if nothing was."""
    told = read_json(truth)
    try:
        return told["facts"]["contrast"] if told["truth"] == "planted" else None
    except KeyError as error:
        raise InputError(truth, f"does not tell {error}", "simulate the dataset again") from None


def _does_not_apply(claim: Claim, contrast: str | None, *, simulated: bool) -> str | None:
    """Return why the claim can not be judged on this dataset, or ``None``."""
    wanted = claim.applies.truth if claim.applies else False
    if wanted is True and not simulated:
        return "applies only to simulated data, whose truth is known"
    if isinstance(wanted, list) and contrast not in wanted:
        return f"applies only to data simulated with the contrast {' or '.join(wanted)}"
    return None


def _expectation(claim: Claim, variant: str, verdict: str, contrast: str | None) -> dict[str, str]:
    """Return what was to happen in a variant and whether it did; an undecided test contradicts nothing."""
    expected = claim.under_null
    if variant == "observed":
        expected = "holds" if contrast in claim.planted else "n/a"
    elif variant.startswith("random-"):
        # Networks without training are what others are compared with, no control of the evaluation.
        expected = "n/a"
    if expected == "n/a" or verdict == "undecided":
        return {"expected": expected, "as_expected": "n/a"}
    return {"expected": expected, "as_expected": "yes" if verdict == expected else "no"}


class _Scores:
    """The scores of a run by unit: averaged once, looked up by every claim.

    ``null``, the pool of the variants with permuted targets, is a variant like the others.
    """

    def __init__(
        self, cells: pd.DataFrame, folds: pd.DataFrame | None = None, crossed: Collection[str] = frozenset()
    ) -> None:
        self.crossed = crossed
        pooled = cells[is_null(cells["variant"])].assign(variant="null")
        self.cells = pd.concat([cells, pooled], ignore_index=True)
        self.variants = sorted(set(self.cells["variant"]) | {"observed"}, key=_variant_order)
        smaller = self.cells.loc[self.cells["better"] == "smaller", "metric"]
        self.sign = dict.fromkeys(self.cells["metric"], 1.0) | dict.fromkeys(smaller, -1.0)
        self.bounds = self.cells.groupby("metric")[["lowest", "highest"]].first().astype(float)
        self.symmetric = {name: (per != "pseudo").all() for name, per in self.cells.groupby("metric")["per"]}
        by_key = self.cells.groupby(["variant", "scheme", "metric"])["method"]
        self.scored = {key: set(methods) for key, methods in by_key}
        self.folds = None
        if folds is not None:
            pooled = folds[is_null(folds["variant"])].assign(variant="null")
            self.folds = pd.concat([folds, pooled], ignore_index=True)
        self._tables: dict[str, dict[tuple[str, str, str], pd.DataFrame]] = {}
        self._folds: dict[tuple[str, str, str], pd.DataFrame] = {}

    def table(self, unit: str, key: tuple[str, str, str]) -> pd.DataFrame:
        """Return values and chances of every method (columns) by unit (rows) of a variant, scheme, metric."""
        if unit not in self._tables:
            by = ["variant", "scheme", "metric"]
            wide = unit_means(self.cells, unit, [*by, "method"])
            wide = wide.set_index([*by, "subject", "session", "method"]).unstack("method")
            self._tables[unit] = dict(iter(wide.groupby(level=by)))
        return self._tables[unit][key]

    def of_networks(
        self, family: Sequence[Claim], claim: Claim, variant: str, twins: str
    ) -> tuple[np.ndarray | None, int]:
        """Return scores of each claim of a family, (n_claims, n_folds, 1 + n_twins), and the number of twins.

        The variant's own network comes first. Signs are turned so that greater is better; folds are those that all
        variants have. ``None`` if there are none.
        """
        names = [name for name in self.variants if name.startswith(f"{twins}-")]
        if self.folds is None or not names:
            return None, 0
        tables = [
            self.sign.get(one.metric, 1.0) * self._of_folds(one).reindex(columns=[variant, *names]) for one in family
        ]
        own = tables[[one.name for one in family].index(claim.name)].dropna()
        if not len(own):
            return None, 0
        # Claims that can not be told in these folds do not take part in the adjustment.
        tables = [table.reindex(own.index) for table in tables]
        spare = own * 0
        return np.stack([(spare if table.isna().any(axis=None) else table).to_numpy() for table in tables]), len(names)

    def _of_folds(self, claim: Claim) -> pd.DataFrame:
        """Return the scores of a claim's method by fold and seed (rows) and variant (columns)."""
        key = claim.scheme, claim.metric, claim.method
        if key not in self._folds:
            chosen = self.folds
            for column, name in zip(("scheme", "metric", "method"), key, strict=True):
                chosen = chosen[chosen[column] == name]
            self._folds[key] = chosen.groupby(["fold", "seed", "variant"])["value"].mean().unstack("variant")
        return self._folds[key]

    def of_people(self, claim: Claim, variant: str, twins: str) -> tuple[np.ndarray, np.ndarray]:
        """Return the scores of each subject, (n,), and those by each twin, (n, n_twins); greater is better."""
        names = [name for name in self.variants if name.startswith(f"{twins}-")]
        rows = self.cells[(self.cells["scheme"] == claim.scheme) & (self.cells["metric"] == claim.metric)]
        rows = rows[rows["method"] == claim.method]
        wide = (
            rows.groupby(["subject", "variant"])["value"].mean().unstack("variant").reindex(columns=[variant, *names])
        )
        table = self.sign[claim.metric] * wide.dropna().to_numpy()
        return table[:, 0], table[:, 1:]


def _test_scores(claim: Claim, scores: _Scores, variant: str) -> dict[str, Any]:
    """Test a claim on the scores of one variant."""
    key = (variant, claim.scheme, claim.metric)
    lacking = [name for name in claim.methods_named if name not in scores.scored.get(key, ())]
    if lacking:
        return _undecided(
            f"no {claim.metric} of {', '.join(lacking)} by {claim.scheme}:"
            " the dataset does not allow the scheme, or it was not run"
        )
    table, names = scores.table(claim.unit, key), list(claim.methods_named)
    value, chance = table["value"][names].to_numpy(), table["chance"][names].to_numpy()
    complete = ~np.isnan(value).any(axis=1)
    if not complete.any():
        return _undecided(f"no {claim.unit} has a defined {claim.metric}")
    sign = scores.sign[claim.metric]
    subjects = table.index.get_level_values("subject").to_numpy()[complete]
    symmetric = scores.symmetric[claim.metric]
    shown = _shown(claim, value[complete], chance[complete], sign, symmetric=symmetric)
    control = variant != "observed"
    # One unit stands for a dataset, and others do not train it.
    crossed = control and claim.unit != "dataset" and claim.scheme in scores.crossed
    result = _test(claim, shown, sign, subjects, control=control, symmetric=symmetric, crossed=crossed)
    if claim.kind in ("at_least", "recovers"):
        lowest, highest = scores.bounds.loc[claim.metric]
        result |= {
            "ci_low": float(np.fmax(result["ci_low"], lowest)),
            "ci_high": float(np.fmin(result["ci_high"], highest)),
        }
    if claim.unit == "dataset":
        result["n_subjects"] = int(scores.table("subject", key)["value"][names].notna().all(axis=1).sum())
    if not complete.all():
        told = f"{np.count_nonzero(~complete)} of {len(complete)} {claim.unit}s left out: score not defined"
        result["reason"] = "; ".join(filter(None, [result["reason"], told]))
    return result


def _test_twins(claim: Claim, scores: _Scores, variant: str, claims: Sequence[Claim]) -> dict[str, Any]:
    """Test whether a method scores better in a variant than in those where the networks learned nothing."""
    if variant.startswith("random-") or (variant.startswith("null") and "null" in claim.against):
        return _undecided("this is what the claim compares with")
    family = [one for one in claims if one.kind == "beats_twins" and _family(one) == _family(claim)]
    parts = {}
    for twins in claim.against:
        values, n_twins = scores.of_networks(family, claim, variant, twins)
        if values is None:
            lacking = f"no {claim.metric} of {claim.method} by {claim.scheme} with {twins} twins in the same folds"
            return _undecided(lacking)
        own = next(number for number, one in enumerate(family) if one.name == claim.name)
        # Folds of one permutation share it; folds of a random network only where they share the draw.
        n_folds = values.shape[1]
        whole = twins == "null" or claim.unit == "dataset"
        values = values.mean(axis=1, keepdims=True) if whole else values
        tested = permuted_test(values[:, 0]) if twins == "null" else exchange_test(values)
        parts[twins] = (tested, own, n_twins)
    return _of_twins(claim, scores, variant, parts, n_folds if claim.unit == "fold" else 1)


def _family(claim: Claim) -> tuple[Any, ...]:
    return claim.scheme, claim.unit, tuple(sorted(claim.against))


def _of_twins(
    claim: Claim, scores: _Scores, variant: str, parts: Mapping[str, tuple[TwinTest, int, int]], n_units: int
) -> dict[str, Any]:
    """Return the result of a comparison with twins; of several kinds the hardest to beat decides."""
    hardest = max(parts, key=lambda name: np.nan_to_num(parts[name][0].p[parts[name][1]], nan=2.0))
    tested, own, _ = parts[hardest]
    smallest = max(part[0].smallest for part in parts.values())
    network, others = scores.of_people(claim, variant, hardest)
    low, high = twin_interval(network, others)
    result = {
        "effect": float(tested.effect[own]),
        "ci_low": low,
        "ci_high": high,
        "smd": math.nan,
        "n": n_units,
        "n_twins": {name: part[2] for name, part in parts.items()},
        "n_subjects": len(network),
        "p": float(tested.p[own]),
        "p_against": math.nan,
        "p_max": float(max(part[0].p_max[part[1]] for part in parts.values())),
        "better": "greater" if scores.sign[claim.metric] > 0 else "smaller",
    }
    told = " and ".join(f"{part[2]} {name}" for name, part in parts.items())
    alpha = _level(claim, smallest, control=variant != "observed")
    return result | _verdict(claim, result["p"], math.nan, smallest, f"{told} twin(s)", alpha)


def _shown(claim: Claim, value: np.ndarray, chance: np.ndarray, sign: float, *, symmetric: bool) -> np.ndarray:
    """Return the quantity of each unit whose mean is the claim's effect.

    Parameters
    ----------
    value, chance : ndarray of shape (n_units, n_methods)
        Columns in the order of ``claim.methods_named``.
    sign : float
        -1 where smaller scores are better.
    """
    if claim.kind == "better":
        return sign * (value[:, 0] - value[:, 1])
    if claim.kind == "equals_chance":
        return value[:, 0] - chance[:, 0]
    if claim.kind == "monotone":
        rising = sign * value if claim.direction == "improves" else -sign * value
        return _trend(rising) if symmetric else _slope(rising)
    if sign * (claim.value - chance[:, 0].mean()) <= 0:
        raise InputError(
            f"claim {claim.name}",
            f"value {claim.value:g} is not better than chance ({chance[:, 0].mean():g})",
            "state a value that a method without knowledge does not reach",
        )
    return value[:, 0]


def _trend(value: np.ndarray) -> np.ndarray:
    """Return each row's rank correlation with the order of the columns (the terms of Page's trend test)."""
    from scipy.stats import rankdata

    ranks = rankdata(value, axis=1)
    ranks -= ranks.mean(axis=1, keepdims=True)
    order = np.arange(value.shape[1]) - (value.shape[1] - 1) / 2
    norm = np.linalg.norm(ranks, axis=1) * np.linalg.norm(order)
    return np.divide(ranks @ order, norm, out=np.zeros(len(value)), where=norm > 0)


def _slope(value: np.ndarray) -> np.ndarray:
    """Return each row's slope along the columns: pseudo-values mean something in their mean, not in their ranks."""
    order = np.arange(value.shape[1]) - (value.shape[1] - 1) / 2
    return value @ order / (order @ order)


def _test(
    claim: Claim,
    shown: np.ndarray,
    sign: float,
    subjects: np.ndarray | None,
    *,
    control: bool,
    symmetric: bool = True,
    crossed: bool = False,
) -> dict[str, Any]:
    """Return effect, interval, p-values and verdict from one quantity a unit; ``crossed`` if these train each other."""
    n = len(shown)
    n_subjects = n if subjects is None else len(np.unique(subjects))
    p, p_against = _p_values(claim, shown, sign, subjects, symmetric=symmetric)
    smallest = minimal_p(n_subjects)
    alpha = _level(claim, smallest, control=control)
    if crossed and smallest <= alpha:
        p, p_against, smallest = spread_p(p), spread_p(p_against), spread_p(smallest)
        alpha = max(alpha, smallest)
    low, high = bootstrap_mean(shown, subjects)
    result = {
        "effect": float(shown.mean()) if n else math.nan,
        "ci_low": low,
        "ci_high": high,
        "smd": standardised_mean_difference(shown)
        if claim.kind in ("better", "equals_chance", "monotone")
        else math.nan,
        "n": n,
        "n_subjects": n_subjects,
        "p": p,
        "p_against": p_against,
        "better": "greater" if sign > 0 else "smaller",
    }
    return result | _verdict(claim, p, p_against, smallest, f"{n_subjects} independent unit(s)", alpha)


def _p_values(
    claim: Claim, shown: np.ndarray, sign: float, subjects: np.ndarray | None, *, symmetric: bool
) -> tuple[float, float]:
    """Return the p-values for the claim and for its opposite; ``nan`` where not rejecting is the opposite."""
    test = functools.partial(paired_p, clusters=subjects, symmetric=symmetric)
    if claim.kind == "better":
        return test(shown - claim.min_effect), math.nan
    if claim.kind == "monotone":
        return test(shown), math.nan
    if claim.kind == "equals_chance":
        outside = [test(side * shown - claim.margin) for side in (1, -1)]
        return equivalence_p(shown, claim.margin, subjects, symmetric=symmetric), min(outside)
    above = sign * (shown - claim.value)
    return test(above), test(-above)


def _level(claim: Claim, smallest: float, *, control: bool) -> float:
    """Return the level at which a claim is judged, given the smallest p that could come out."""
    return min(claim.alpha, max(ALPHA_NULL, smallest)) if control else claim.alpha


def _verdict(claim: Claim, p: float, p_against: float, smallest: float, units: str, alpha: float) -> dict[str, Any]:
    """Return verdict, level and reason from the p-values and the smallest that could have come out."""
    if smallest > alpha or math.isnan(p):
        reason = f"{units}: the smallest attainable p is {smallest:.3g}, alpha is {alpha:g}"
        return {"verdict": "undecided", "alpha": alpha, "reason": reason}
    if p <= alpha:
        return {"verdict": "holds", "alpha": alpha, "reason": None}
    if math.isnan(p_against) or p_against <= alpha:
        return {"verdict": "fails", "alpha": alpha, "reason": None}
    bound = "chance +- margin" if claim.kind == "equals_chance" else f"{claim.value:g}"
    return {"verdict": "undecided", "alpha": alpha, "reason": f"the interval does not decide about {bound}"}


def _undecided(reason: str) -> dict[str, Any]:
    """Return the result of a test that could not be made."""
    nothing = dict.fromkeys(("effect", "ci_low", "ci_high", "smd", "p", "p_against", "alpha", "better"))
    return {"verdict": "undecided", **nothing, "n": 0, "n_subjects": 0, "reason": reason}


def combine_claims(documents: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Combine each claim of a study over its datasets, if two or more have measured data and a test.

    p-values by Stouffer's method and effects by the mean, both weighted by the root of the number of subjects
    (for unit ``dataset`` the datasets themselves are the units of one test). Simulated datasets take no part:
    an effect that was planted is no evidence about the world. Of several runs on one dataset the first by
    name counts.

    Parameters
    ----------
    documents : sequence of mapping
        ``claims.json`` of several runs.

    Returns
    -------
    list of dict
        Rows as of :func:`claim_rows`, the run being ``<study> (all datasets)``; ``observed`` and ``null``.
    """
    groups: dict[tuple[str, str, str], dict[str, dict[str, Any]]] = {}
    for document in sorted(documents, key=lambda entry: entry["run"]):
        for claim in document["claims"]:
            stated = {key: value for key, value in claim.items() if key not in ("verdict", "results")}
            if not document["simulated"] and claim["results"]["observed"]["n"]:
                key = (document["study"], claim["name"], digest_of(stated))
                groups.setdefault(key, {}).setdefault(document["dataset"], {**claim, "run": document["run"]})
    rows = []
    for (study, _, _), by_dataset in groups.items():
        if len(by_dataset) > 1:
            rows += _combine(f"{study} (all datasets)", list(by_dataset.values()))
    return rows


def _combine(run: str, judged: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the rows of one claim combined over datasets."""
    stated = {key: value for key, value in judged[0].items() if key not in ("verdict", "results", "run")}
    claim = parse_claims([stated], run)[0]
    results = {}
    for variant in ("observed", "null"):
        parts = [entry["results"][variant] for entry in judged if entry["results"].get(variant, {}).get("n")]
        if len(parts) > 1:
            result = _combined_result(claim, parts, control=variant == "null")
            results[variant] = result | _expectation(claim, variant, result["verdict"], None)
    observed = results["observed"]
    invalid = [entry["run"] for entry in judged if entry["verdict"] == "invalid"]
    if invalid or results.get("null", {}).get("as_expected") == "no":
        observed["verdict"] = "invalid"
        observed["reason"] = (
            f"invalid in {', '.join(invalid)}" if invalid else "its controls together do what they must not"
        )
    return [_row(run, stated, variant, result) for variant, result in results.items()]


def _combined_result(claim: Claim, parts: list[dict[str, Any]], *, control: bool) -> dict[str, Any]:
    if claim.unit == "dataset" and claim.kind != "beats_twins":
        effects = np.array([part["effect"] for part in parts])
        result = _test(claim, effects, 1.0 if parts[0]["better"] == "greater" else -1.0, None, control=control)
        return result | {"n_subjects": sum(part["n_subjects"] for part in parts)}
    weights = [part["n_subjects"] for part in parts]
    p, p_against = (stouffer([_number(part[key]) for part in parts], weights) for key in ("p", "p_against"))
    smallest = stouffer([minimal_p(n) for n in weights], weights)
    effect = combined_effect([part["effect"] for part in parts], weights)
    # The intervals' half widths stand for the errors of the effects; independent datasets add in square.
    halves = np.array([(_number(part["ci_high"]) - _number(part["ci_low"])) / 2 for part in parts])
    shares = np.sqrt(weights) / np.sqrt(weights).sum()
    half = float(np.sqrt(((shares * halves) ** 2).sum()))
    result = {
        "effect": effect,
        "ci_low": effect - half,
        "ci_high": effect + half,
        "smd": combined_effect([_number(part["smd"]) for part in parts], weights),
        "n": sum(part["n"] for part in parts),
        "n_subjects": sum(weights),
        "p": p,
        "p_against": p_against,
    }
    alpha = _level(claim, smallest, control=control)
    return result | _verdict(claim, p, p_against, smallest, f"{len(parts)} datasets", alpha)


def _number(value: float | None) -> float:
    return math.nan if value is None else value


def _finite(value: Any) -> Any:
    """Return plain JSON values, what is not finite as ``None``."""
    if isinstance(value, Mapping):
        return {key: _finite(entry) for key, entry in value.items()}
    if isinstance(value, list):
        return [_finite(entry) for entry in value]
    if isinstance(value, np.generic):
        value = value.item()
    return None if isinstance(value, float) and not math.isfinite(value) else value
