"""Choices of the odd one among three objects: a row a choice."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path

import numpy as np

from ..bundle import Bundle
from ..components import Extractor, component
from ..errors import InputError
from ..files import read_tsv
from ..shared.mri_files import header, rows_of, sidecar
from ..shared.words import listed

_COLUMNS = ("object_1", "object_2", "object_3", "response")


@component
class Triplets(Extractor):
    """The three objects of each trial and the response, from tables of behaviour (``*_beh.tsv``).

    The tables have the columns ``object_1``, ``object_2``, ``object_3`` (names) and ``response``; their sidecar lists
    the names of all objects under ``Objects``, and may give ``ObjectFeatures`` (``Values``: a list of numbers an
    object).

    Parameters
    ----------
    features : bool
        Whether the features of objects are taken along, where the sidecar has them.
    """

    datatypes = ("beh",)
    suffixes = ("beh",)
    tiny = {}

    features: bool = True

    def extract(self, recording: Mapping[str, str], path: Path, classes: Mapping[str, list[str]]) -> Bundle:
        """Return ``x`` of shape (n_trials, 3), float32: numbers of the objects, in the order of the axis ``object``.

        The axis ``object_features`` holds a list of numbers for each object, if there are any. Trials without a
        response are left out.

        Raises
        ------
        InputError
            If a column is lacking, an object is not listed or stands twice in a trial, or nothing was answered.
        """
        name = recording["path"]
        absent = [column for column in _COLUMNS if column not in header(path)]
        if absent:
            raise InputError(name, f"lacks the column {listed(absent)}", "choose another feature, or name the columns")
        about = sidecar(path)
        objects = about.get("Objects")
        if not isinstance(objects, list) or len(set(map(str, objects))) != len(objects) or len(objects) < 3:
            raise InputError(name, "its sidecar has no list Objects of different names", "add it to task-*_beh.json")
        number = {str(entry): place for place, entry in enumerate(objects)}
        rows = [row for row in read_tsv(path) if row["response"] != "n/a"]
        if not rows:
            raise InputError(name, "has no trial with a response", "exclude the recording")
        shown = [[row[column] for column in _COLUMNS[:3]] for row in rows]
        odd = next((names for names in shown if len(set(names)) < 3 or not number.keys() >= set(names)), None)
        if odd is not None:
            fault = f"shows {listed([entry[:40] for entry in odd])}, not three different ones of the list Objects"
            raise InputError(name, fault, "correct the table or its sidecar")
        x = np.array([[number[entry] for entry in names] for names in shown], dtype=np.float32)
        table = rows_of(recording, len(rows))
        meaning = {value: label for label, values in classes.items() for value in values}
        table["label"] = np.array([meaning.get(row["response"], "n/a") for row in rows])
        axes = {"object": [str(entry) for entry in objects]}
        if self.features and "ObjectFeatures" in about:
            axes["object_features"] = _features(about["ObjectFeatures"], len(objects), name)
        return Bundle({"x": x}, table, axes, {"fitted": []})

    def described(self, suffixes: Collection[str] = ()) -> str:
        """Return what it does, in words."""
        along = ", and the features of objects that come with the dataset" if self.features else ""
        return f"The three objects of every trial and the one that was named the odd one were taken from tables{along}."


def _features(stated: object, n_objects: int, name: str) -> list[list[float]]:
    """Return the features of objects that a sidecar states."""
    try:
        values = np.asarray(stated["Values"], dtype=np.float64)
    except (TypeError, ValueError, KeyError):
        values = np.empty(0)
    if values.ndim != 2 or len(values) != n_objects or not np.isfinite(values).all():
        fault = f"ObjectFeatures: Values are not a list of numbers for each of {n_objects} objects"
        raise InputError(name, fault, "correct the sidecar, or leave features out by the feature card")
    return values.tolist()
