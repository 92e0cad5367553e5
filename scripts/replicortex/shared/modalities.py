"""Several modalities of the same people, of which some are missing: what a fold knows of them, and every pattern.

A bundle holds an array a modality and, for each that may be missing, a boolean ``present_<modality>``; a bundle
without any such flag has the one modality ``x``. Row columns (sex, age, a cognitive score) can be modalities too, as
in clinical use, where they are missing as often as images.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from ..bundle import Bundle
from ..errors import InputError, did_you_mean
from ..files import MISSING
from .moments import moments
from .predictions import classified

PRESENT = "present_"
#: The name of the scores of a pattern of modalities begins so; its modalities follow, joined.
_SCORES, _JOIN = "y_score_", "+"
#: Every pattern of modalities is judged up to this many; beyond, single ones, all, and all but one.
_MOST_WHOLE = 6

Pattern = tuple[int, ...]


class Inputs:
    """Modalities as arrays of numbers, standardised by the training rows that have them; zero where one is missing.

    Numbers have mean 0 and standard deviation 1 a variable, volumes over all their voxels; a constant variable is
    zero. Text is one column a level, none of which is set for a level that no training row had.

    Parameters
    ----------
    columns : sequence of str
        Row columns that are modalities of their own, beside the arrays.
    order : sequence of str or None
        Modalities to take, in that order; all of the arrays and then the columns, where ``None``.
    """

    def __init__(self, columns: Sequence[str] = (), order: Sequence[str] | None = None) -> None:
        self.columns = columns
        self.order = order

    def fit(self, train: Bundle) -> Inputs:
        """Learn means, spreads and levels.

        Raises
        ------
        InputError
            If a modality is not there, or no training row has it.
        """
        self.names_ = self._ordered(train)
        self.kinds_, self.shapes_, self.means_, self.scales_, self.levels_ = {}, {}, {}, {}, {}
        for name in self.names_:
            raw, here = _raw(train, name, self.columns)
            if not here.any():
                raise InputError(f"modality {name}", "no training row has it", "leave it out in the study card")
            if raw.dtype.kind == "U":
                self.kinds_[name], self.levels_[name] = "category", np.unique(raw[here])
                self.shapes_[name] = [len(self.levels_[name])]
                continue
            self.kinds_[name] = "volume" if raw.ndim == 4 else "numbers"
            self.shapes_[name] = list(raw.shape[1:])
            if raw.ndim == 4:
                self.means_[name] = np.float64(raw[here].mean(dtype=np.float64))
                self.scales_[name] = np.float64(raw[here].std(dtype=np.float64)) or np.float64(np.inf)
            else:
                self.means_[name], self.scales_[name] = moments(raw[here])
        return self

    def transform(self, rows: Bundle) -> tuple[list[np.ndarray], np.ndarray]:
        """Return the modalities in order, float32, and which rows have them, boolean of shape (n_rows, n_modalities).

        Raises
        ------
        InputError
            If a modality has another shape than in training.
        """
        arrays, flags = [], []
        for name in self.names_:
            raw, here = _raw(rows, name, self.columns)
            flags.append(here)
            if self.kinds_[name] == "category":
                made = raw[:, None] == self.levels_[name]
            else:
                if raw.dtype.kind == "U" or list(raw.shape[1:]) != self.shapes_[name]:
                    raise InputError(f"modality {name}", "has another form than in training", "use one feature card")
                made = np.nan_to_num((raw - self.means_[name]) / self.scales_[name], nan=0.0, posinf=0.0, neginf=0.0)
            made = np.asarray(made, dtype=np.float32)
            made[~here] = 0.0
            arrays.append(made)
        return arrays, np.column_stack(flags)

    def told(self) -> dict[str, Any]:
        """Return all that it is and has learned, as plain values for :meth:`of`."""
        return dict(vars(self))

    @classmethod
    def of(cls, told: Mapping[str, Any]) -> Inputs:
        """Return the inputs that :meth:`told` so."""
        made = cls()
        vars(made).update(told)
        return made

    def _ordered(self, bundle: Bundle) -> list[str]:
        flagged = [name.removeprefix(PRESENT) for name in bundle.arrays if name.startswith(PRESENT)]
        known = [*(sorted(flagged) or ["x"]), *self.columns]
        for name in [*self.columns, *(self.order or [])]:
            if name not in known or (name in self.columns and name not in bundle.rows):
                there = [*known, *bundle.rows] if name in self.columns else known
                raise InputError(f"modality {name!r}", "is not there", did_you_mean(name, set(there) - {name}))
        return list(self.order or known)


def _raw(bundle: Bundle, name: str, columns: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Return the values of a modality, (n_rows, ...) or text (n_rows,), and which rows have it."""
    if name in columns:
        column = bundle.rows[name]
        if column.dtype.kind == "U":
            return column, ~np.isin(column, MISSING)
        return column.astype(np.float64)[:, None], np.isfinite(column.astype(np.float64))
    if name not in bundle.arrays:
        raise InputError(f"modality {name!r}", "is not in the features", did_you_mean(name, bundle.arrays))
    values = np.asarray(bundle[name])
    if values.ndim not in (2, 4):
        # Matrices and series have no encoder of their own here.
        values = values.reshape(len(values), -1)
    flag = bundle.arrays.get(PRESENT + name)
    return values, np.ones(len(values), dtype=bool) if flag is None else np.asarray(flag, dtype=bool)


def patterns(n_modalities: int) -> list[Pattern]:
    """Return the patterns of modalities that are judged, as indices: all of them first, then by size downwards."""
    everyone = tuple(range(n_modalities))
    sizes = range(n_modalities, 0, -1)
    if n_modalities > _MOST_WHOLE:
        sizes = [n_modalities, n_modalities - 1, 1]
    return [pattern for size in sizes for pattern in itertools.combinations(everyone, size)]


def with_patterns(
    test: Bundle,
    names: Sequence[str],
    present: np.ndarray,
    score: Callable[[np.ndarray], np.ndarray],
    classes: Sequence[str],
) -> Bundle:
    """Return the predictions for rows as they are, and as if each pattern of modalities were all that there is.

    Parameters
    ----------
    names : sequence of str
        Modalities.
    present : ndarray of shape (n_rows, n_modalities), bool
        Which rows have them.
    score : callable
        Gives class scores (n_rows, n_classes) for rows of which only the modalities flagged may be looked at.
    classes : sequence of str

    Returns
    -------
    Bundle
        ``y_score`` for the rows' own patterns, ``y_score_<a>+<b>`` for each pattern, and ``present``, which says for
        which rows a pattern can be judged, with axis ``modality``.
    """
    made = classified(test, score(present), np.asarray(classes))
    arrays: dict[str, np.ndarray] = {**made.arrays, "present": present.astype(np.uint8)}
    for pattern in patterns(len(names)):
        kept = np.zeros(len(names), dtype=bool)
        kept[list(pattern)] = True
        arrays[_SCORES + _JOIN.join(names[i] for i in pattern)] = np.asarray(score(present & kept), dtype=np.float64)
    return Bundle(arrays, made.rows, {**made.axes, "modality": list(names)}, made.meta)


def scored_patterns(target: np.ndarray, predictions: Bundle) -> dict[tuple[str, ...], float]:
    """Return the area under the curve of every pattern of modalities, over the rows that have all of them.

    For more than two classes the mean over pairs of classes. A pattern of which the rows lack a class is left out;
    nothing is returned for predictions without patterns.
    """
    if "present" not in predictions.arrays or "modality" not in predictions.axes:
        return {}
    names, classes = list(predictions.axes["modality"]), list(predictions.axes["class"])
    present = np.asarray(predictions["present"], dtype=bool)
    of_class = np.array([target == name for name in classes])
    found = {}
    for name, y_score in predictions.arrays.items():
        if not name.startswith(_SCORES):
            continue
        pattern = tuple(name.removeprefix(_SCORES).split(_JOIN))
        rows = present[:, [names.index(entry) for entry in pattern]].all(axis=1)
        area = _area(of_class[:, rows], np.asarray(y_score)[rows])
        if area == area:
            found[pattern] = area
    return found


def area_under_curve(target: np.ndarray, y_score: np.ndarray, classes: Sequence[str]) -> float:
    """Return the area, for more than two classes its mean over pairs of classes; ``nan`` if there is one class only."""
    return _area(np.array([target == name for name in classes]), y_score)


def _area(of_class: np.ndarray, y_score: np.ndarray) -> float:
    """Return the area, given which rows are of which class (n_classes, n_rows); this is asked some 100,000 times."""
    areas = []
    for a, b in itertools.combinations(range(len(of_class)), 2):
        difference = y_score[:, b] - y_score[:, a]
        negative, positive = np.sort(difference[of_class[a]]), difference[of_class[b]]
        if len(negative) and len(positive):
            # Of the pairs in order those of the same height count half.
            below = np.searchsorted(negative, positive, "left") + np.searchsorted(negative, positive, "right")
            areas.append(below.sum() / (2 * len(positive) * len(negative)))
    return float(np.mean(areas)) if areas else float("nan")


def by_pattern(values: Mapping[str, float]) -> dict[frozenset[str], float]:
    """Return values by pattern of modalities instead of by the pattern's name."""
    return {frozenset(name.split(_JOIN)): float(value) for name, value in values.items()}


def subsets(names: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Yield every pattern of modalities and its name."""
    for size in range(1, len(names) + 1):
        for pattern in itertools.combinations(names, size):
            yield pattern, _JOIN.join(pattern)
