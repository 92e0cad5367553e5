"""Remove what a storage policy does not keep. Never raw data, never a table, a figure or a verdict."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..cards import read_yaml
from ..driver import Run
from ..errors import InputError
from ..files import readable
from ..storage import AGAIN, REMOVED, File, files

_RESULTS = Path("results")
#: Folders that hold nothing but what is removed; the datasets are not among them.
_PRUNED = ("derivatives", "features", "preprocessed", "runs")


def clean_results(
    project: Path,
    configuration: Mapping[str, Any] | None = None,
    storage: str | None = None,
    yes: bool = False,
    as_json: bool = False,
) -> None:
    """Show what a storage policy removes, by kind; with ``yes`` remove it.

    Parameters
    ----------
    project : Path
        The folder of the Snakefile.
    configuration : mapping or None
        What is laid over ``config.yaml``.
    storage : str or None
        ``lean``, ``standard`` or ``full``; None for that of the configuration.
    yes : bool
        Remove, and not only show.
    as_json : bool
        Print JSON instead of text.

    Raises
    ------
    InputError
        If the policy is unknown, there are no results, or a run is going on.

    """
    if storage is None:
        # Only this key: also what a card that is refused has left can be removed.
        given = {**(read_yaml(project / "config" / "config.yaml") or {}), **(configuration or {})}
        storage = given.get("storage", "standard")
    if storage not in REMOVED:
        raise InputError("storage", f"no policy {storage!r}", f"choose one of: {', '.join(REMOVED)}")
    gone = [file for file in files(_RESULTS) if file.kind in REMOVED[storage]]
    kinds: dict[str, list[float]] = {}
    for file in gone:
        had = kinds.setdefault(file.kind, [0, 0])
        kinds[file.kind] = [had[0] + file.size, had[1] + 1]
    if yes:
        run = Run(Path.cwd())
        run.enter()
        try:
            # Looked for again: what was there before the lock was taken may be in use no more, or made anew.
            gone = [file for file in files(_RESULTS) if file.kind in REMOVED[storage]]
            _remove(gone)
        finally:
            run.leave([], ended_well=True)
    if as_json:
        listed = {kind: {"bytes": size, "files": count, "again": AGAIN[kind]} for kind, (size, count) in kinds.items()}
        document = {"storage": storage, "removed": yes, "kinds": listed}
        print(json.dumps(document | {"paths": [str(_RESULTS / file.path) for file in gone]}, indent=2))
        return
    for kind, (size, count) in sorted(kinds.items()):
        print(f"{kind:<14} {count:>8} files {readable(size):>10}   made again: {AGAIN[kind]}")
    total = readable(sum(file.size for file in gone))
    if not gone:
        print(f"storage {storage}: nothing to remove")
    elif yes:
        print(f"storage {storage}: {len(gone)} files removed, {total}")
    else:
        command = f"python scripts/clean_results.py --storage {storage} --yes"
        print(
            f"storage {storage}: would remove {len(gone)} files, {total}; nothing is removed yet. To do it: {command}"
        )


def _remove(gone: list[File]) -> None:
    """Unlink files, then folders that this left empty. A store's record goes before the files that it lists."""
    folders = set()
    for file in sorted(gone, key=lambda file: (".replicortex" not in file.path.parts, file.path)):
        path = _RESULTS / file.path
        path.unlink(missing_ok=True)
        folders |= {_RESULTS / parent for parent in file.path.parents if parent.parts and parent.parts[0] in _PRUNED}
    for folder in sorted(folders, key=lambda path: -len(path.parts)):
        if folder.is_dir() and not folder.is_symlink() and not any(folder.iterdir()):
            folder.rmdir()
