"""What there is in a results folder, finished or not: what is missing is left out, what is damaged is told."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..errors import InputError
from ..files import read_json, read_tsv

#: The ending of a simulated dataset's twin without the planted effect.
ABSENT = "-absent"
_NAME = re.compile(r"[a-z][a-z0-9_]*(-[a-z0-9_]+)*")


@dataclass
class RunFolder:
    """A run of a study: its cards, and what it has so far."""

    name: str
    path: Path
    told: Mapping[str, Any]
    claims: Mapping[str, Any] | None
    checks: Mapping[str, Mapping[str, Any]]

    @property
    def card(self) -> Mapping[str, Any]:
        """The study card as it was resolved; nothing if the run was made before that was written down."""
        return self.told.get("card", {})

    @property
    def study(self) -> str:
        """Name of the study."""
        return self.told.get("study") or (self.claims or {}).get("study") or self.name

    @property
    def dataset(self) -> str:
        """Name of the dataset."""
        return self.told.get("dataset") or (self.claims or {}).get("dataset") or ""

    @property
    def paper(self) -> Mapping[str, Any]:
        """Title, authors, year and DOI of the paper."""
        return self.card.get("paper") or (self.claims or {}).get("paper") or {}

    @property
    def datasets(self) -> list[str]:
        """The dataset, and its twin without the effect."""
        return sorted(self.told.get("datasets", {})) or [name for name in (self.dataset,) if name]

    @property
    def restricted(self) -> bool:
        """Whether the data must stay among those who have access."""
        return any(card.get("restricted", False) for card in self.told.get("datasets", {}).values())


@dataclass
class Folder:
    """A results folder."""

    path: Path
    runs: list[RunFolder]
    faults: list[str] = field(default_factory=list)

    @property
    def datasets(self) -> dict[str, dict[str, Any]]:
        """The datasets of the runs, each with its card, as far as it is known."""
        found: dict[str, dict[str, Any]] = {}
        for run in self.runs:
            for name in run.datasets:
                found.setdefault(name, dict(run.told.get("datasets", {}).get(name, {})))
            twin = run.dataset + ABSENT
            if (self.path / "datasets" / twin).is_dir():
                found.setdefault(twin, dict(run.told.get("datasets", {}).get(twin, {})))
        # They become parts of paths.
        return {name: found[name] for name in sorted(found) if _NAME.fullmatch(name)}

    def table(self, *parts: str) -> list[dict[str, str]]:
        """Return the rows of a table below the folder; none where there is none."""
        return self._read(read_tsv, *parts) or []

    def document(self, *parts: str) -> Any:
        """Return a JSON document below the folder; None where there is none."""
        return self._read(read_json, *parts)

    def text(self, *parts: str) -> str:
        """Return a text below the folder; empty where there is none."""
        path = self.path.joinpath(*parts)
        return path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""

    def _read(self, reader: Any, *parts: str) -> Any:
        path = self.path.joinpath(*parts)
        if not path.is_file():
            return None
        try:
            return reader(path)
        except InputError as error:
            self.faults.append(f"{'/'.join(parts)}: {error.fault}")
            return None


def opened(results: Path, runs: Iterable[str] | None = None, known: Sequence[Mapping[str, Any]] = ()) -> Folder:
    """Return what there is in a results folder.

    Parameters
    ----------
    results : Path
        The folder.
    runs : iterable of str, optional
        The runs to show, in this order; all that are there by default.
    known : sequence of mapping
        Runs that may not have written anything yet, as :func:`replicortex.described.described` has them.

    Raises
    ------
    InputError
        If the folder is not there, or has no run.
    """
    if not results.is_dir():
        raise InputError(results, "no such folder", "run the workflow first, or correct the path")
    told = {entry["run"]: entry for entry in known}
    there = sorted(path.name for path in (results / "runs").glob("*") if path.is_dir() and _NAME.fullmatch(path.name))
    names = list(runs) if runs is not None else list(dict.fromkeys([*told, *there]))
    folder = Folder(results, [])
    for name in names:
        path = results / "runs" / name
        checks = {
            found.stem: folder.document("runs", name, "checks", found.name)
            for found in sorted((path / "checks").glob("*.json"))
        }
        folder.runs.append(
            RunFolder(
                name=name,
                path=path,
                told=folder.document("runs", name, "card.json") or told.get(name, {}),
                claims=folder.document("runs", name, "claims.json"),
                checks={family: check for family, check in checks.items() if isinstance(check, dict)},
            )
        )
    folder.runs = [run for run in folder.runs if run.told or run.claims or run.path.is_dir()]
    if not folder.runs:
        raise InputError(results, "has no run to show", "run the workflow first, or name the results folder")
    return folder
