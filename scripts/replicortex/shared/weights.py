"""Published weights: what a card says of them, where they lie, and whether they are what they should be.

A source is a file of the user (``~`` and ``${NAME}`` are replaced) or ``hub:owner/name@revision/file``, which is looked
up in the cache that the tools of the hub share (``HF_HUB_CACHE``, else ``hub`` below ``HF_HOME``, else
``~/.cache/huggingface/hub``). Nothing is downloaded here: ``replicortex prefetch`` does that.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, model_validator

from ..errors import InputError
from ..files import read_json, sha256_of

#: Where models of the hub are; the variable ``HF_ENDPOINT`` of the hub's own tools names another place.
HUB = "https://huggingface.co"
INDEX = ".index.json"
SAFE, PICKLED = (".safetensors",), (".pt", ".pth", ".bin", ".ckpt")
_MOST_SHARDS, _MOST_NAMES = 1000, 200
_COMMIT = r"[0-9a-f]{40}"


class HubFile(NamedTuple):
    """A file of a model on the hub."""

    owner: str
    name: str
    revision: str
    file: str

    @property
    def folder(self) -> str:
        """The folder of the model in the cache."""
        return f"models--{self.owner}--{self.name}"

    def address(self, revision: str | None = None) -> str:
        """Return where it is downloaded from."""
        base = os.environ.get("HF_ENDPOINT", HUB).rstrip("/")
        return f"{base}/{self.owner}/{self.name}/resolve/{revision or self.revision}/{self.file}"

    def beside(self, file: str) -> HubFile:
        """Return the file of that name in the same folder of the same model."""
        return self._replace(file=str(PurePosixPath(self.file).parent / file))


def hub_file(source: str) -> HubFile | None:
    """Return what ``hub:owner/name@revision/file`` names, None for a path.

    Raises
    ------
    InputError
        If it begins with ``hub:`` and is not written so.
    """
    if not source.startswith("hub:"):
        return None
    word = r"([A-Za-z0-9_][A-Za-z0-9._-]*)"
    found = re.fullmatch(rf"hub:{word}/{word}@{word}/([A-Za-z0-9._/-]+)", source)
    parts = found[4].split("/") if found else [".."]
    if {"", ".", ".."} & set(parts) or ".." in source:
        raise InputError(f"weights {in_a_line(source)}", "not an address", "write hub:owner/name@revision/file")
    return HubFile(*found.groups())


class Weights(BaseModel):
    """Published weights that a study card names: ``weights: {source, sha256, licence}``.

    Parameters
    ----------
    source : str
        A file, or ``hub:owner/name@revision/file``; the file may be the index of a model in several files.
    sha256 : str, optional
        The SHA-256 digest (64 hex digits) that it must have. Of several files, that of what ``sha256sum`` prints for
        the index and the parts in order of their names. Must be given where ``revision`` is not a commit (40 hex
        digits): what a branch means may change.
    licence : str, optional
        Under what licence they may be used; said before they are downloaded, and in the record of the fit.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    source: Annotated[str, Field(min_length=1, max_length=1000)]
    sha256: Annotated[str, Field(pattern=r"^[0-9a-fA-F]{64}$")] | None = None
    licence: Annotated[str, Field(min_length=1, max_length=200)] | None = None

    @model_validator(mode="after")
    def _fixed(self) -> Weights:
        try:
            file = hub_file(self.source)
        except InputError as error:
            raise ValueError(str(error)) from None
        if file is not None and self.sha256 is None and not re.fullmatch(_COMMIT, file.revision):
            raise ValueError(f"revision {file.revision} is no commit and may change: give the commit, or sha256")
        return self

    def described(self) -> str:
        """Return a sentence for the Methods section."""
        known = [f"SHA-256 {self.sha256.lower()}"] if self.sha256 else ["content not verified"]
        known += [f"licence {self.licence}"] if self.licence else []
        return f"Its weights started from the published {public(self.source)} ({', '.join(known)})."


@dataclasses.dataclass(frozen=True)
class Report:
    """What was read of a checkpoint.

    Parameters
    ----------
    source, sha256, licence : str
        Where from, the digest found (see :class:`Weights`), and the licence as far as it was told.
    n_loaded, n_values : int
        Arrays of the network that were filled, and the numbers in them.
    missing, unexpected : tuple of str
        Arrays of the network that the file lacks, which stay as they were; names of the file that were not used.
    mismatched : mapping of str to (str, str)
        Arrays of another shape or kind: what the file has, and what the network has.
    """

    source: str
    sha256: str
    licence: str
    n_loaded: int
    n_values: int
    missing: tuple[str, ...] = ()
    unexpected: tuple[str, ...] = ()
    mismatched: Mapping[str, tuple[str, str]] = dataclasses.field(default_factory=dict)

    def __str__(self) -> str:
        head = f"weights {in_a_line(self.source)}: {self.n_loaded} arrays ({self.n_values:,} numbers) read"
        lines = [f"{head}; SHA-256 {self.sha256}; licence {in_a_line(self.licence)}"]
        for what, names in self._faults():
            lines.append(f"  {what}: {len(names)}, {some_of(names, 8)}")
        return "\n".join(lines)

    def _faults(self) -> list[tuple[str, list[str]]]:
        other = [f"{name} ({there} there, {here} here)" for name, (there, here) in self.mismatched.items()]
        told = {"missing there": self.missing, "not of the network": self.unexpected, "of another shape": other}
        return [(what, list(names)) for what, names in told.items() if names]

    def told(self) -> dict[str, Any]:
        """Return it as plain JSON values, of long lists the first names and the number of all."""
        found: dict[str, Any] = {name: getattr(self, name) for name in ("source", "sha256", "licence")}
        found |= {"n_loaded": self.n_loaded, "n_values": self.n_values}
        for name in ("missing", "unexpected", "mismatched"):
            names = [in_a_line(entry) for entry in getattr(self, name)]
            found |= {f"n_{name}": len(names), name: names[:_MOST_NAMES]}
        return found


LEDGERS: list[list[Report]] = []


@contextlib.contextmanager
def ledger() -> Iterator[list[Report]]:
    """Yield a list to which every checkpoint that is read meanwhile is added."""
    entries: list[Report] = []
    LEDGERS.append(entries)
    try:
        yield entries
    finally:
        LEDGERS.remove(entries)


# ---- where it is


def public(source: str) -> str:
    """Return a source as it may be handed on: of the user's own files the name alone, not where they lie."""
    return in_a_line(source if source.startswith("hub:") else PurePosixPath(source).name)


def cache_folder() -> Path:
    """Return the folder in which the tools of the hub keep what they downloaded."""
    if os.environ.get("HF_HUB_CACHE"):
        return Path(os.environ["HF_HUB_CACHE"]).expanduser()
    caches = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache")
    return Path(os.environ.get("HF_HOME") or caches / "huggingface").expanduser() / "hub"


def cached(file: HubFile) -> tuple[Path, bool]:
    """Return where the cache has a file of the hub, or would have it, and whether it is there."""
    root = cache_folder() / file.folder
    commit = file.revision
    note = root / "refs" / file.revision
    if not re.fullmatch(_COMMIT, commit) and note.is_file():
        told = note.read_bytes()[:100].decode("ascii", "replace").strip()
        commit = told if re.fullmatch(_COMMIT, told) else commit
    path = root / "snapshots" / commit / file.file
    return path, path.is_file()


def locate(source: str) -> Path:
    """Return the file that a source names.

    Raises
    ------
    InputError
        If it is not there; the line says what to fetch and where to put it.
    """
    file = hub_file(source)
    where = f"weights {in_a_line(source)}"
    if file is None:
        path = Path(os.path.expandvars(source)).expanduser()
        if path.is_dir():
            raise InputError(where, "a folder", "name the file in it, or the index of its parts")
        if not path.exists():
            raise InputError(where, "no such file", "correct the path, or put the file there")
        return path
    path, there = cached(file)
    if not there:
        remedy = f"run `replicortex prefetch` where there is a network, or download {file.address()} to {path}"
        raise InputError(where, "not in the cache of the hub", remedy)
    _check_inside(path, cache_folder() / file.folder, where)
    return path


def parts(path: Path, where: str, root: Path | None = None) -> list[Path]:
    """Return the files of a checkpoint: the file itself, or its index and all parts that this names.

    Parameters
    ----------
    path : Path
        The file.
    where : str
        What errors name.
    root : Path, optional
        The folder that parts may not leave; that of the index by default.

    Raises
    ------
    InputError
        If the index is not one, names a file outside its folder, or one that is not there.
    """
    if not path.name.endswith(INDEX):
        return [path]
    names = sorted(set(shard_map(path, where).values()))
    found = []
    for name in names:
        part = path.parent / name
        if not part.is_file():
            raise InputError(where, f"its part {in_a_line(name)} is not there", "fetch all parts into its folder")
        _check_inside(part, root or path.parent, where)
        found.append(part)
    return [path, *found]


def shard_map(path: Path, where: str) -> dict[str, str]:
    """Return which file has which array, as the index of a checkpoint in several files says.

    Raises
    ------
    InputError
        If it is no such index, or names anything but files beside it.
    """
    index = read_json(path)
    told = index.get("weight_map") if isinstance(index, dict) else None
    if not isinstance(told, dict) or not told or not all(isinstance(name, str) for name in told.values()):
        raise InputError(where, "an index without a weight_map", "fetch it again")
    names = set(told.values())
    for name in sorted(names):
        if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9._-]*", name) or ".." in name:
            raise InputError(
                where, f"its index names {in_a_line(name)}, no file beside it", "do not use this checkpoint"
            )
        if not name.endswith(SAFE + PICKLED):
            raise InputError(where, f"its index names {in_a_line(name)}, no weights", "do not use this checkpoint")
    if len(names) > _MOST_SHARDS:
        raise InputError(where, f"more than {_MOST_SHARDS} parts", "do not use this checkpoint")
    return told


def _check_inside(path: Path, root: Path, where: str) -> None:
    """Refuse a link that leads out of its folder: whoever made the folder decides what is read, and no more."""
    try:
        inside = path.resolve(strict=True).is_relative_to(root.resolve(strict=True))
    except (OSError, RuntimeError):
        inside = False
    if not inside:
        raise InputError(where, f"{in_a_line(path.name)} is a link that leads out of {root}", "copy the file there")


def digest(files: list[Path]) -> str:
    """Return the SHA-256 of a file; of several, that of what ``sha256sum`` prints for them in order of their names."""
    found = {path.name: sha256_of(path) for path in files}
    if len(files) == 1:
        return next(iter(found.values()))
    text = "".join(f"{value}  {name}\n" for name, value in sorted(found.items()))
    return hashlib.sha256(text.encode()).hexdigest()


def check_digest(files: list[Path], sha256: str | None, where: str) -> str:
    """Return the digest of a checkpoint if it is the right one.

    Raises
    ------
    InputError
        If it is another than ``sha256``.
    """
    found = digest(files)
    if sha256 is not None and found != sha256.lower():
        raise InputError(where, f"its SHA-256 is {found} instead of {sha256.lower()}", "fetch it again, or correct it")
    return found


def some_of(names: Iterable[Any], most: int) -> str:
    """Return the first of some names as words of a line."""
    found = [in_a_line(name) for name in names]
    return ", ".join(found[:most]) + (", ..." if len(found) > most else "") or "nothing"


def in_a_line(text: Any) -> str:
    """Return a text of a stranger in one line of letters."""
    text = "".join(letter if letter.isprintable() else "?" for letter in " ".join(str(text).split()))
    return text if len(text) <= 160 else f"{text[:157]}..."
