"""OASIS-1 and OASIS-2 as one dataset of two cohorts in which nobody is twice.

Marcus et al. (2007), doi:10.1162/jocn.2007.19.9.1498; Marcus et al. (2010), doi:10.1162/jocn.2009.21407.

The two share people under different names: sex, age, education, social status, mini-mental state, clinical rating and
the volume of the skull of 112 of the 150 people of OASIS-2 are those of a person of OASIS-1, at one visit or another.
A model that is trained on the one and tested on the other has seen them. Education is in years in OASIS-2 and in five
levels in OASIS-1; here it is in levels.
"""

from __future__ import annotations

import csv
import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from ..components import Reader, component
from ..errors import InputError, did_you_mean
from ..files import open_text, to_json, write_text

CROSS, LONGITUDINAL = "oasis_cross-sectional.csv", "oasis_longitudinal.csv"
#: Where a column of the common tables stands in either file.
_COLUMNS = {
    CROSS: {
        "id": "ID", "sex": "M/F", "age": "Age", "education": "Educ", "ses": "SES", "mmse": "MMSE", "cdr": "CDR",
        "etiv": "eTIV", "nwbv": "nWBV", "asf": "ASF",
    },
    LONGITUDINAL: {
        "id": "Subject ID", "visit": "Visit", "group": "Group", "sex": "Sex", "age": "Age", "education": "EDUC",
        "ses": "SES", "mmse": "MMSE", "cdr": "CDR", "etiv": "eTIV", "nwbv": "nWBV", "asf": "ASF",
    },
}  # fmt: skip
#: What numbers may be at all: what is outside is damage.
_RANGES = {
    "age": (5, 120), "education": (0, 40), "ses": (1, 5), "mmse": (0, 30), "cdr": (0, 3), "etiv": (800, 2600),
    "nwbv": (0.4, 1), "asf": (0.5, 2.5),
}  # fmt: skip
#: Greatest relative difference of the skull's volume, and difference of the brain's share of it, of one scan.
_SAME_SKULL, _SAME_BRAIN = 0.002, 0.015
_MOST_BYTES = 1 << 24
#: Names of the variables in the tables, and where they come from. The clinical rating, which is the label, is not one.
_VARIABLES = {
    "MMSE": "mmse", "nWBV": "nwbv", "eTIV": "etiv", "ASF": "asf", "age": "age", "male": "male",
    "education": "education", "social_status": "ses",
}  # fmt: skip
_SIDECAR = {
    "Description": "Scores, volumes and what is known of the person, a row a variable.",
    "Units": {
        "MMSE": "points of 30", "nWBV": "share of the skull's volume", "eTIV": "cm^3", "ASF": "factor", "age": "year",
        "male": "1 or 0", "education": "levels 1 (no high school) to 5 (beyond college)",
        "social_status": "levels 1 (highest) to 5",
    },
}  # fmt: skip


@component
class OasisCohorts(Reader):
    """Reads both tables: the first scan of everybody in OASIS-1, the first visit of everybody in OASIS-2.

    Parameters
    ----------
    same_people : {"merge", "keep"}
        Whether people who are in both cohorts count for OASIS-1 alone, or stand in both (as if that were not known).
    """

    tiny = {}

    same_people: Literal["merge", "keep"] = "merge"

    def read(self, source: Path, root: Path) -> list[dict[str, Any]]:
        """Write a table a person (``anat/*_desc-clinical_morph.tsv``); see :class:`~replicortex.components.Reader`.

        Raises
        ------
        InputError
            If a table is missing, lacks a column, or a cell is not what it can be.
        """
        first = [row for row in _table(source, CROSS) if not row["id"].endswith("_MR2")]
        visits = _table(source, LONGITUDINAL)
        by_person: dict[str, list[dict[str, Any]]] = {}
        for visit in sorted(visits, key=lambda row: (row["id"], row["visit"])):
            by_person.setdefault(visit["id"], []).append(visit)
        if len({row["id"] for row in first}) < len(first):
            raise InputError(CROSS, "names a scan twice", "keep one row a scan")
        rows = []
        for row in first:
            own = re.fullmatch(r"(OAS1_\d{4})_MR1", row["id"])
            if own is None:
                raise InputError(CROSS, f"names the scan {row['id']!r}", "names are such as OAS1_0001_MR1")
            rows.append(self._write(root, own[1], "oasis1", row, 1, None))
        for name, of in by_person.items():
            if not re.fullmatch(r"OAS2_\d{4}", name):
                raise InputError(LONGITUDINAL, f"names the person {name!r}", "names are such as OAS2_0001")
            if len({visit["visit"] for visit in of}) < len(of):
                raise InputError(LONGITUDINAL, f"gives a visit of {name} twice", "keep one row a visit")
            twin = same_person(of, first)
            if twin is not None and self.same_people == "merge":
                continue
            rows.append(self._write(root, name, "oasis2", of[0], len(of), twin))
        return rows

    def _write(
        self, root: Path, name: str, cohort: str, row: Mapping[str, Any], n_visits: int, twin: str | None
    ) -> dict[str, Any]:
        """Write the table of a person; return the row of the table of participants."""
        subject = f"sub-{name.replace('_', '')}"
        told = {**row, "male": {"M": 1, "F": 0}[row["sex"]]}
        lines = [f"{variable}\t{_shown(told[key])}" for variable, key in _VARIABLES.items()]
        stem = root / subject / "anat" / f"{subject}_desc-clinical_morph"
        stem.parent.mkdir(parents=True)
        write_text(stem.with_suffix(".tsv"), "\n".join(["variable\tvalue", *lines]) + "\n")
        write_text(stem.with_suffix(".json"), to_json(_SIDECAR))
        # BIDS has no ages above 89 in the table of participants; the person's own table has the number.
        age = "89+" if row["age"] > 89 else row["age"]
        about = {"age": age, "sex": row["sex"], "site": cohort, "cdr": row["cdr"], "group": row.get("group")}
        return {
            "participant_id": subject,
            **{key: value if isinstance(value, str) else _shown(value) for key, value in about.items()},
            "n_visits": n_visits,
            "also": None if twin is None else f"sub-{twin.replace('_', '')[:-3]}",
        }

    def described(self) -> str:
        """Return what it does, in words."""
        same = {
            "merge": "people who are in both, by sex, age, education, social status, mini-mental state, clinical rating"
            " and volumes at any visit, counted for OASIS-1 alone",
            "keep": "people who are in both were left in both",
        }
        return (
            "The first scans of OASIS-1 [@marcus2007] and the first visits of OASIS-2 [@marcus2010] were put together"
            f" as two cohorts; {same[self.same_people]}. Education in years was brought to the five levels of OASIS-1."
        )


def same_person(visits: Sequence[Mapping[str, Any]], first: Sequence[Mapping[str, Any]]) -> str | None:
    """Return the scan of OASIS-1 that is one of these visits: everything known is the same, but for rounding."""
    for visit in visits:
        for other in first:
            exact = all(visit[key] == other[key] for key in ("sex", "age", "education", "ses", "mmse", "cdr"))
            if (
                exact
                and abs(visit["etiv"] - other["etiv"]) <= _SAME_SKULL * other["etiv"]
                and abs(visit["nwbv"] - other["nwbv"]) <= _SAME_BRAIN
            ):
                return other["id"]
    return None


def level_of(years: float) -> int:
    """Return the level of education that OASIS-1 has for years of it: 12 is high school, 16 is college."""
    return 1 if years < 12 else 2 if years == 12 else 3 if years < 16 else 4 if years == 16 else 5


def _table(source: Path, name: str) -> list[dict[str, Any]]:
    """Return the rows of a file under common names; numbers as numbers, ``None`` where nothing stands."""
    path = source / name
    if not path.resolve().is_relative_to(source.resolve()) or not path.is_file():
        raise InputError(name, "no such file in the source folder", "get the tables of OASIS-1 and OASIS-2")
    columns = _COLUMNS[name]
    try:
        with open_text(path, _MOST_BYTES) as stream:
            reader = csv.DictReader(stream)
            header = reader.fieldnames or []
            lines = list(reader)
    except (csv.Error, UnicodeDecodeError, ValueError) as error:
        raise InputError(name, f"is no readable table ({error})", "get it anew") from None
    lacking = next((column for column in columns.values() if column not in header), None)
    if lacking is not None:
        raise InputError(name, f"has no column {lacking!r}", did_you_mean(lacking, header))
    if not lines:
        raise InputError(name, "has no row", "get it anew")
    rows = []
    for number, line in enumerate(lines, start=2):
        if None in line or None in line.values():
            raise InputError(name, f"line {number} has another number of cells than the header", "get it anew")
        row: dict[str, Any] = {key: line[column].strip() for key, column in columns.items()}
        for key, (low, high) in _RANGES.items():
            row[key] = _number(row[key], low, high, f"{name}, line {number}", columns[key])
        for key in ("etiv", "nwbv", "age"):
            if row[key] is None:
                raise InputError(f"{name}, line {number}", f"has no {columns[key]}", "get it anew")
        if row["sex"] not in ("M", "F"):
            raise InputError(f"{name}, line {number}", f"sex is {row['sex']!r}", "M or F is meant")
        if name == LONGITUDINAL:
            row["visit"] = _number(row["visit"], 1, 50, f"{name}, line {number}", "Visit")
            row["education"] = None if row["education"] is None else level_of(row["education"])
        rows.append(row)
    return rows


def _number(cell: str, low: float, high: float, where: str, column: str) -> float | None:
    if cell in ("", "N/A", "n/a"):
        return None
    try:
        value = float(cell)
    except ValueError:
        value = math.nan
    if not low <= value <= high:
        raise InputError(where, f"{column} is {cell!r}, which is no number from {low:g} to {high:g}", "correct it")
    return value


def _shown(value: float | None) -> str:
    return "n/a" if value is None else f"{value:g}"
