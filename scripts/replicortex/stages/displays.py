"""Show what preprocessing gave of a whole dataset, without anybody's name: means, shares, numbers of quality."""

from __future__ import annotations

import hashlib
import os
import shutil
import sys
import traceback
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..components import Audience, Display, make
from ..damage import read_table
from ..errors import InputError
from ..files import temporary_prefix, to_json, write_text
from ..private import without_names
from ..shared.group_displays import numbers_display, summarized
from ..shared.printed import counted
from .blocks import IDENTITY, name_of
from .quality import outlying

#: Columns of the table of quality that are no numbers.
_TOLD = {*IDENTITY, "status", "reason", "n_outlying", "outlying"}
#: People that a value must come from; of a restricted dataset, and of any other.
_FEWEST_RESTRICTED, _FEWEST = 10, 2


def show_quality(
    quality: Path,
    manifests: Sequence[Path],
    derivatives: Path,
    display: str,
    out: Path,
    restricted: bool = False,
    most: int | None = None,
) -> None:
    """Write displays of a dataset after one recipe, and ``index.json``, which lists them.

    Recordings are opened one at a time. Of a dataset with more than ``most``, a sample is looked into that does not
    change from run to run: first one recording of every person, then a second, in the order of a hash of their names.

    Parameters
    ----------
    quality : Path
        The table of quality.
    manifests : sequence of Path
        What preprocessing wrote.
    derivatives : Path
        The derivative dataset.
    display : str
        The component that knows the modality.
    out : Path
        Folder that is written, in place of an earlier one. Nothing in it names a person.
    restricted : bool
        Show only means, and over ten people at least; else every value comes from two.
    most : int, optional
        Recordings to look into; by default what the component says.

    Raises
    ------
    InputError
        If a table is missing or damaged. A recording that can not be shown is counted in the captions.
    """
    rows = [row for row in read_table(quality, [*IDENTITY, "status", "outlying"]) if row["status"] == "ok"]
    listed = [row for path in manifests for row in read_table(path, [*IDENTITY, "status", "path"])]
    done = [row for row in listed if row["status"] == "ok"]
    component: Display = make("displays", display, {})
    chosen = _sample(done, component.most if most is None else most)
    numbers, faults = _look(component, chosen, derivatives)
    seen = [row for row in chosen if name_of(row) in numbers]
    told = _told(len(listed), len(done), len(chosen), len(seen), faults)
    temporary = out.with_name(f"{temporary_prefix(out)}{os.getpid()}")
    temporary.mkdir(parents=True)
    try:
        made = component.show(temporary, _audience(chosen, restricted, told)) if _enough(seen, restricted) else []
        made += _show_numbers(temporary, rows, numbers, restricted, len(listed) - len(done))
        write_text(temporary / "index.json", to_json(made))
        shutil.rmtree(out, ignore_errors=True)
        temporary.replace(out)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _sample(rows: Sequence[Mapping[str, str]], most: int) -> list[Mapping[str, str]]:
    """Return at most ``most`` recordings: of each person one before any second."""
    drawn = sorted(rows, key=lambda row: hashlib.blake2b(name_of(row).encode(), digest_size=8).digest())
    before: Counter[str] = Counter()
    turns = []
    for row in drawn:
        turns.append(before[row["subject"]])
        before[row["subject"]] += 1
    order = sorted(range(len(drawn)), key=lambda index: turns[index])
    return [drawn[index] for index in order[:most]]


def _look(
    component: Display, rows: Sequence[Mapping[str, str]], derivatives: Path
) -> tuple[dict[str, dict[str, float]], Counter[str]]:
    """Let a component take in recordings; return the numbers of each, and how many could not be, by fault."""
    numbers: dict[str, dict[str, float]] = {}
    faults: Counter[str] = Counter()
    for number, row in enumerate(rows, start=1):
        path = derivatives / row["path"]
        try:
            if not path.is_file():
                raise InputError(path.name, "is not kept", "make the derivatives again")
            numbers[name_of(row)] = component.look(row, path)
            news = "seen"
        except MemoryError:
            raise
        except Exception as error:
            # As where recordings are worked through: one that is odd is counted, and the others go on.
            if not isinstance(error, InputError):
                traceback.print_exc()
            news = error.fault if isinstance(error, InputError) else f"is not readable ({type(error).__name__})"
            faults[without_names(news, "a file", "a file")] += 1
        print(f"[{number}/{len(rows)}] {row['recording']}: {news}", file=sys.stderr, flush=True)
    return numbers, faults


def _told(listed: int, done: int, chosen: int, seen: int, faults: Mapping[str, int]) -> str:
    """Return of which recordings a display is, as a sentence."""
    parts = [f"Of {counted(listed, 'recording')}, {seen} {'is' if seen == 1 else 'are'} shown"]
    if listed > done:
        parts.append(f"{listed - done} failed in preprocessing")
    if done > chosen:
        parts.append(f"{done - chosen} were left out by drawing a sample")
    parts += [f"{n} left out because each {fault}" if n > 1 else f"1 left out because it {fault}"
              for fault, n in sorted(faults.items())]  # fmt: skip
    return "; ".join(parts) + "."


def _enough(rows: Sequence[Mapping[str, str]], restricted: bool) -> bool:
    return len({row["subject"] for row in rows}) >= (_FEWEST_RESTRICTED if restricted else _FEWEST)


def _audience(rows: Sequence[Mapping[str, str]], restricted: bool, sample: str) -> Audience:
    """Return who looks; where data are restricted, with as many recordings a value as are surely of enough people."""
    per_person = max(Counter(row["subject"] for row in rows).values(), default=1)
    return Audience(_FEWEST_RESTRICTED * per_person if restricted else _FEWEST, restricted, sample)


def _show_numbers(
    folder: Path,
    rows: Sequence[Mapping[str, str]],
    more: Mapping[str, Mapping[str, float]],
    restricted: bool,
    failed: int,
) -> list[dict[str, str]]:
    """Write the display of the numbers of the table of quality, and of those that the component found itself."""
    if restricted and not _enough(rows, restricted):
        return []
    found: list[dict[str, Any]] = []
    odd = []
    for row in rows:
        own = more.get(name_of(row), {})
        found.append({name: float(row[name]) for name in row if name not in _TOLD and row[name] != "n/a"} | own)
        odd.append([] if row["outlying"] == "n/a" else row["outlying"].split(", "))
    names = sorted({name for own in more.values() for name in own})
    suffixes = np.array([row["suffix"] for row in rows])
    for suffix in sorted(set(suffixes)):
        here = np.flatnonzero(suffixes == suffix)
        for index, also in zip(here, outlying([{"numbers": found[i]} for i in here], names), strict=True):
            odd[index] = [*odd[index], *also]
    told = f"{counted(len(rows), 'recording')}{f'; {failed} more failed in preprocessing' if failed else ''}."
    audience = _audience(rows, restricted, told)
    if not restricted:
        # Points without a name show nobody.
        audience = Audience(1, False, told)
    return numbers_display(folder, summarized(found, odd), audience)
