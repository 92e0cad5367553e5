"""Draw the figures of a folder again, from their tables and specs alone: no raw data, no workflow."""

from __future__ import annotations

import multiprocessing
import sys
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

from ..components import make
from ..errors import InputError
from ..files import atomic, read_json, sha256_of, to_json
from .figures import ENDINGS, PICTURES, checksums, draw_again, made_by, pictures_of

#: Where figures lie below a folder of results, of a site, of a run, or in a folder of figures.
_PLACES = ("*.json", "figures/*.json", "figures/*/*.json", "*/figures/*.json", "runs/*/figures/*.json")
_TOLD = ("title", "alt", "caption")
#: Some at a time: starting a process for each figure would take longer than drawing it.
_CHUNK = 8


def redraw_figures(folders: Sequence[Path], check: bool = False, out: Path | None = None, jobs: int = 1) -> int:
    """Draw every figure below some folders again, or check that every one comes out as it is.

    Parameters
    ----------
    folders : sequence of Path
        Folders of results, of a site, or of figures. ``results`` if empty.
    check : bool
        Write nothing; say which pictures or words differ from the checksums of their specs.
    out : Path or None
        A folder for the figures, in the place of their own. Only what differs from what is there is written.
    jobs : int
        Processes at a time.

    Returns
    -------
    int
        How many figures are damaged or, with ``check``, differ. Each is told in a line on standard error.

    Raises
    ------
    InputError
        If a folder is not there, or has no figures.
    """
    specs = [(path, folder) for folder in folders or [Path("results")] for path in find(folder)]
    work = partial(_told, check=check, out=out)
    if jobs > 1 and len(specs) > 1:
        # Forked: the commands of this project have no guard against being imported by their own processes.
        with ProcessPoolExecutor(min(jobs, len(specs)), multiprocessing.get_context("fork")) as pool:
            faults = _said(pool.map(work, specs, chunksize=_CHUNK))
    else:
        faults = _said(map(work, specs))
    done = "come out as they are" if check else "drawn"
    print(f"{len(specs) - faults} of {len(specs)} figures {done}")
    return faults


def find(folder: Path) -> list[Path]:
    """Return the specs of the figures below a folder.

    Raises
    ------
    InputError
        If the folder is not there, or has none.
    """
    if not folder.is_dir():
        raise InputError(folder, "no such folder", "name a folder of results, or of a site")
    found = {path for place in _PLACES for path in folder.glob(place) if _is_spec(path)}
    if not found:
        raise InputError(folder, "has no figures", "name a folder of results, or run the workflow first")
    return sorted(found)


def _is_spec(path: Path) -> bool:
    """Return whether a JSON file looks like that of a figure: other files of a figure stand beside it."""
    return any(path.with_suffix(ending).is_file() for ending in ENDINGS.values()) or path.parent.name == "figures"


def _said(faults: Iterable[str | None]) -> int:
    """Print each fault as it comes; return how many there are."""
    number = 0
    for fault in filter(None, faults):
        print(f"error: {fault}", file=sys.stderr)
        number += 1
    return number


def _told(place: tuple[Path, Path], *, check: bool, out: Path | None) -> str | None:
    """Redraw one figure; return what is wrong with it, in a line."""
    path, folder = place
    try:
        spec = read_spec(path)
        if check:
            differing = differences(path, spec)
            reason = f"{', '.join(differing)} {'do' if len(differing) > 1 else 'does'} not come out as before"
            return str(InputError(path, reason, _why(spec))) if differing else None
        target = path if out is None else out / path.relative_to(folder)
        _redraw(path, spec, target)
    except InputError as error:
        return str(error)
    return None


def read_spec(path: Path) -> dict[str, Any]:
    """Read the spec of a figure, and compare its table with the checksum.

    Raises
    ------
    InputError
        If it is no spec, names files elsewhere, or the table is not the one that was drawn.
    """
    spec = read_json(path)
    try:
        names = {kind: spec["files"][kind]["name"] for kind in ENDINGS}
        digest, known = spec["files"]["table"]["sha256"], {key: str(spec[key]) for key in ("figure", *_TOLD)}
    except (KeyError, TypeError) as error:
        raise InputError(path, f"no spec of a figure: it lacks {error}", "make the figure again") from None
    if names != {kind: path.with_suffix(ending).name for kind, ending in ENDINGS.items()}:
        raise InputError(path, "names files that are not beside it under its own name", "make the figure again")
    table = path.with_suffix(ENDINGS["table"])
    if not table.is_file():
        raise InputError(table, "no such file", "make the figure again")
    if sha256_of(table) != digest:
        raise InputError(table, "is not the table that was drawn (its checksum differs)", "make the figure again")
    return {**spec, **known}


def differences(path: Path, spec: Mapping[str, Any]) -> list[str]:
    """Return which pictures and words of a figure do not come out again; writes nothing beside it."""
    files = spec["files"]
    with tempfile.TemporaryDirectory() as folder:
        fresh = Path(folder) / path.name
        told = _draw(spec, path.with_suffix(ENDINGS["table"]), fresh)
        drawn = {kind: sha256_of(fresh.with_suffix(ENDINGS[kind])) for kind in PICTURES}
    here = {kind: path.with_suffix(ENDINGS[kind]) for kind in PICTURES}
    changed = [f"{kind} ({here[kind].name})" for kind in PICTURES if drawn[kind] != files[kind].get("sha256")]
    changed += [
        f"the file {there.name}"
        for kind, there in here.items()
        if drawn[kind] == files[kind].get("sha256") and not (there.is_file() and sha256_of(there) == drawn[kind])
    ]
    return changed + [key for key in _TOLD if told[key] != spec[key]]


def _draw(spec: Mapping[str, Any], table: Path, fresh: Path) -> dict[str, str]:
    """Draw a table as a spec says; a table that the code of today can not draw is bad input."""
    made = make("figures", spec["figure"], spec.get("params"))
    try:
        return draw_again(made, table, pictures_of(fresh))
    except (KeyError, ValueError, TypeError, IndexError) as error:
        fault = f"can not be drawn by this version ({type(error).__name__}: {error})"
        raise InputError(table, fault, "make the figure again") from None


def _why(spec: Mapping[str, Any]) -> str:
    """Return why a figure may come out differently: other code, or another version of what draws."""
    now, then = made_by(spec["figure"]), spec.get("software", {})
    versions = {name: (then.get(name), new) for name, new in now["software"].items()}
    other = [f"{name} {old} then, {new} now" for name, (old, new) in versions.items() if old != new]
    other += ["the code that draws it has changed"] if spec.get("code") != now["code"] else []
    return ", ".join(other) or "its files were changed: draw it again"


def _redraw(path: Path, spec: dict[str, Any], target: Path) -> None:
    """Draw a figure to ``target``; what is there already with the same content is left alone."""
    with tempfile.TemporaryDirectory() as folder:
        fresh = Path(folder) / path.name
        table = fresh.with_suffix(ENDINGS["table"])
        table.write_bytes(path.with_suffix(ENDINGS["table"]).read_bytes())
        told = _draw(spec, table, fresh)
        names = {kind: path.with_suffix(ending).name for kind, ending in ENDINGS.items()}
        spec = {**spec, **told, **made_by(spec["figure"]), "files": checksums(fresh.parent, names)}
        fresh.write_text(to_json(spec), encoding="utf-8")
        for one in sorted(fresh.parent.iterdir()):
            there = target.with_name(one.name)
            if not (there.is_file() and there.read_bytes() == one.read_bytes()):
                _copy(one, there)


def _copy(source: Path, target: Path) -> None:
    with atomic(target) as temporary:
        temporary.write_bytes(source.read_bytes())
