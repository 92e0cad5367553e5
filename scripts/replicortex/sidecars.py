"""The inheritance principle of BIDS: which sidecars and tables apply to a file. Standard library only."""

# ruff: noqa: PTH118, PTH208 - strings, as in the walk
from __future__ import annotations

import codecs
import os
from collections.abc import Iterator
from typing import Any

from .bids import datatype_of, parts_of, split_name
from .errors import InputError
from .files import FAULTS, parse_json
from .walk import is_table, read_ignore, read_small

TABLES = {"events": ".tsv", "channels": ".tsv", "electrodes": ".tsv", "coordsystem": ".json"}
"""Suffix and extension of the files that go with a recording."""

_INHERITED = frozenset([".json", ".tsv", ".bval", ".bvec"])
_WITH_SENSORS = frozenset(["eeg", "emg", "ieeg", "meg", "motion", "nirs"])


class Inheritance:
    """The inheritable files of some folders.

    Parameters
    ----------
    base : Inheritance | None
        What lies above; its files are known here too.
    """

    def __init__(self, base: Inheritance | None = None) -> None:
        # (folder, suffix, extension) -> [(number of entities, path, entities)]
        self._files: dict[tuple[str, str, str], list] = dict(base._files) if base else {}
        self._chains: dict[tuple[str, str, str], list] = {}
        self._kinds: set[tuple[str, str]] = set(base._kinds) if base else set()

    def offer(self, path: str) -> None:
        """Enter a file if it can be inherited; all are entered before the first question."""
        entities, suffix, extension = parts_of(path)
        if extension in _INHERITED:
            key = path.rpartition("/")[0], suffix, extension
            self._files.setdefault(key, []).append((len(entities), path, frozenset(entities)))
            self._kinds.add((suffix, extension))

    def applicable(self, folder: str, entities: frozenset[str], suffix: str, extension: str) -> list[str]:
        """Return the files that apply, the nearest last.

        A file applies if it lies in ``folder`` or above and its entities (``task-rest``) are among
        ``entities``. Of two in one folder the one with more entities is nearer.
        """
        if (suffix, extension) not in self._kinds:
            return []
        return [path for _, path, own in self._chain(folder, suffix, extension) if own <= entities]

    def _chain(self, folder: str, suffix: str, extension: str) -> list:
        """Return the files of a kind from the root down to ``folder``."""
        key = folder, suffix, extension
        if key not in self._chains:
            levels = (self._files.get((level, suffix, extension), ()) for level in _levels(folder))
            self._chains[key] = [file for files in levels for file in sorted(files)]
        return self._chains[key]

    def tables(self, folder: str, entities: frozenset[str], datatype: str | None) -> dict[str, str | None]:
        """Return the nearest file of each kind in ``TABLES``, None where there is none.

        Electrodes and their coordinate system may name a space that the recording does not. The first space
        that has both is taken, none before the others and these by alphabet: a folder's order has no say.
        """
        found: dict[str, str | None] = dict.fromkeys(TABLES)
        if datatype not in _WITH_SENSORS:
            return found | {"events": self._nearest(folder, entities, "events")}
        found |= {suffix: self._nearest(folder, entities, suffix) for suffix in ("events", "channels")}
        if self._kinds.isdisjoint([("electrodes", ".tsv"), ("coordsystem", ".json")]):
            return found
        choices = [entities, *(entities | {space} for space in sorted(self._spaces(folder) - entities))]
        pairs = [
            {suffix: self._nearest(folder, choice, suffix) for suffix in ("electrodes", "coordsystem")}
            for choice in choices
        ]
        return found | max(pairs, key=lambda pair: (pair["electrodes"] is not None, pair["coordsystem"] is not None))

    def _nearest(self, folder: str, entities: frozenset[str], suffix: str) -> str | None:
        applying = self.applicable(folder, entities, suffix, TABLES[suffix])
        return applying[-1] if applying else None

    def _spaces(self, folder: str) -> set[str]:
        """Return the spaces that electrodes or coordinate systems in ``folder`` or above name."""
        files = self._chain(folder, "electrodes", ".tsv") + self._chain(folder, "coordsystem", ".json")
        return {entity for *_, own in files for entity in own if entity.startswith("space-")}


def merge(sidecars: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the fields of sidecars, the nearest last; null takes a field back to absent."""
    merged: dict[str, Any] = {}
    for sidecar in sidecars:
        merged |= sidecar
    return {name: value for name, value in merged.items() if value is not None}


def merged_sidecar(root: str | os.PathLike, path: str) -> dict[str, Any]:
    """Return the metadata of a file by the inheritance principle: the nearest sidecar that has a field wins.

    Parameters
    ----------
    root : path
        The dataset.
    path : str
        The file, relative to ``root``, POSIX.

    Raises
    ------
    InputError
        If the path is not that of a BIDS file below ``root``, or a sidecar is not a JSON object inside it.
    """
    root, folder, parts = _place(root, path)
    found = []
    for sidecar in _listed(root, folder).applicable(folder, frozenset(parts[0]), parts[1], ".json"):
        if not os.path.realpath(os.path.join(root, sidecar)).startswith(root + "/"):
            raise InputError(sidecar, *FAULTS["leaves"])
        try:
            found.append(read_object(root, sidecar))
        except ValueError as error:
            raise InputError(sidecar, str(error), "repair or remove the file") from None
    return merge(found)


def associated(root: str | os.PathLike, path: str) -> dict[str, str | None]:
    """Return the files of ``TABLES`` that go with a recording, relative to ``root``; None for none.

    Raises
    ------
    InputError
        If the path is not that of a BIDS file below ``root``.
    """
    root, folder, parts = _place(root, path)
    return _listed(root, folder).tables(folder, frozenset(parts[0]), datatype_of(path))


def read_object(root: str, path: str, content: bytes | None = None) -> dict[str, Any]:
    """Read a JSON object, a byte-order mark allowed; ``content`` is that of the file where it has been read already.

    Raises
    ------
    ValueError
        Saying what is wrong, if it is not readable or no object.
    """
    try:
        if content is None:
            content = read_small(f"{root}/{path}")
        content = parse_json(content.removeprefix(codecs.BOM_UTF8).decode())
    except OSError as error:
        raise ValueError(f"not readable ({error.strerror})") from None
    except ValueError as error:
        raise ValueError(f"not readable as JSON ({error})") from None
    if not isinstance(content, dict):
        raise ValueError("not a JSON object")
    return content


def _place(root: str | os.PathLike, path: str) -> tuple[str, str, tuple[list[str], str, str]]:
    """Return the real root, the folder and the parts of the name of a file below it."""
    root = os.path.realpath(root)
    folder, _, name = path.rpartition("/")
    parts = split_name(name)
    if parts is None or path.startswith("/") or ".." in folder.split("/"):
        raise InputError(path, f"not the path of a BIDS file below {root}", "check the path")
    return root, folder, parts


def _listed(root: str, folder: str) -> Inheritance:
    """List ``folder`` and the folders above it."""
    inheritance = Inheritance()
    ignored = read_ignore(root)
    for level in _levels(folder):
        for name in os.listdir(os.path.join(root, level)):
            path = f"{level}/{name}" if level else name
            if name[0] != "." and (is_table(name) or not (ignored and ignored(path, False))):
                inheritance.offer(path)
    return inheritance


def _levels(folder: str) -> Iterator[str]:
    """Yield the folders from the root (empty) down to ``folder``."""
    yield ""
    end = -1
    while folder and (end := folder.find("/", end + 1)) != -1:
        yield folder[:end]
    if folder:
        yield folder
