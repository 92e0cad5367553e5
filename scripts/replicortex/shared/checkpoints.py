"""Published weights: found where they lie, checked, and read into a network without running any code of theirs.

A source is a file of the user (``~`` and ``${NAME}`` are replaced) or ``hub:owner/name@revision/file``, which is looked
up in the cache that the tools of the hub share (``HF_HUB_CACHE``, else ``hub`` below ``HF_HOME``, else
``~/.cache/huggingface/hub``). Nothing is downloaded here: ``replicortex prefetch`` does that.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import math
import os
import pickle
import re
import stat
import sys
import warnings
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, model_validator

from ..errors import InputError
from ..files import read_json, sha256_of

#: Where models of the hub are; the variable ``HF_ENDPOINT`` of the hub's own tools names another place.
HUB = "https://huggingface.co"
#: A file larger than this is not taken for the weights of a network, unless the caller says so.
MAX_BYTES = 20 << 30
_INDEX = ".index.json"
_SAFE, _PICKLED = (".safetensors",), (".pt", ".pth", ".bin", ".ckpt")
#: Under what a training script keeps the weights of its network, beside its optimiser and its settings.
_KEPT_UNDER = ("state_dict", "model_state_dict", "model", "module", "network", "net")
_MOST_SHARDS, _MOST_NAMES = 1000, 200
_COMMIT = r"[0-9a-f]{40}"
_REMEDY = "save it as safetensors where you trust it"


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
        raise InputError(f"weights {_plain(source)}", "not an address", "write hub:owner/name@revision/file")
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
        head = f"weights {_plain(self.source)}: {self.n_loaded} arrays ({self.n_values:,} numbers) read"
        lines = [f"{head}; SHA-256 {self.sha256}; licence {_plain(self.licence)}"]
        for what, names in self._faults():
            lines.append(f"  {what}: {len(names)}, {_some(names, 8)}")
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
            names = [_plain(entry) for entry in getattr(self, name)]
            found |= {f"n_{name}": len(names), name: names[:_MOST_NAMES]}
        return found


_LEDGERS: list[list[Report]] = []


@contextlib.contextmanager
def ledger() -> Iterator[list[Report]]:
    """Yield a list to which every checkpoint that is read meanwhile is added."""
    entries: list[Report] = []
    _LEDGERS.append(entries)
    try:
        yield entries
    finally:
        _LEDGERS.remove(entries)


# ---- where it is


def public(source: str) -> str:
    """Return a source as it may be handed on: of the user's own files the name alone, not where they lie."""
    return _plain(source if source.startswith("hub:") else PurePosixPath(source).name)


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
    where = f"weights {_plain(source)}"
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
    if not path.name.endswith(_INDEX):
        return [path]
    names = sorted(set(shard_map(path, where).values()))
    found = []
    for name in names:
        part = path.parent / name
        if not part.is_file():
            raise InputError(where, f"its part {_plain(name)} is not there", "fetch all parts into its folder")
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
            raise InputError(where, f"its index names {_plain(name)}, no file beside it", "do not use this checkpoint")
        if not name.endswith(_SAFE + _PICKLED):
            raise InputError(where, f"its index names {_plain(name)}, no weights", "do not use this checkpoint")
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
        raise InputError(where, f"{_plain(path.name)} is a link that leads out of {root}", "copy the file there")


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


# ---- what is in it


class _Arrays:
    """Arrays of a checkpoint by name, each read when it is asked for."""

    def __init__(self, names: Iterable[str], get: Callable[[str], Any]) -> None:
        self.names, self.get = list(names), get


def _read(path: Path, within: str | None, where: str) -> _Arrays:
    if path.name.endswith(_INDEX):
        told = shard_map(path, where)
        shards = {name: _read(path.parent / name, within, where) for name in sorted(set(told.values()))}
        for name, shard in told.items():
            if name not in shards[shard].names:
                raise InputError(where, f"{_plain(name)} is not in {shard}, as its index says", "fetch it again")
        return _Arrays(told, lambda name: shards[told[name]].get(name))
    if path.name.endswith(_SAFE):
        return _safe(path, where)
    if path.name.endswith(_PICKLED):
        return _pickled(path, within, where)
    known = ", ".join([*_SAFE, *_PICKLED, _INDEX])
    raise InputError(where, "a file of an unknown kind", f"take one that ends in one of {known}")


def _safe(path: Path, where: str) -> _Arrays:
    from safetensors import SafetensorError, safe_open

    def get(name: str) -> Any:
        with safe_open(path, framework="pt", device="cpu") as file:
            return file.get_tensor(name)

    try:
        with safe_open(path, framework="pt", device="cpu") as file:
            return _Arrays(file.keys(), get)
    except (SafetensorError, OSError, ValueError) as error:
        raise InputError(where, f"not readable as safetensors ({_plain(error)})", "fetch it again") from None


def _pickled(path: Path, within: str | None, where: str) -> _Arrays:
    """Read what ``torch.save`` wrote, nothing but tensors and plain values."""
    import torch

    try:
        zipped = zipfile.is_zipfile(path)
        if zipped:
            with zipfile.ZipFile(path) as archive:
                if any(entry.compress_type != zipfile.ZIP_STORED for entry in archive.infolist()):
                    raise InputError(where, "a compressed archive, which torch does not write", _REMEDY)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about forms of pickles; what is not read is refused below
            content = torch.load(path, map_location="cpu", weights_only=True, mmap=zipped)
    except (InputError, MemoryError):
        raise
    except Exception as error:
        # torch, pickle and zipfile fail in as many ways as files are damaged.
        if isinstance(error, pickle.UnpicklingError):
            code = re.search(r"GLOBAL ([\w.]+)", str(error))
            fault = f"asks for {code[1]}, which is code and no weights" if code else "not what torch writes of weights"
            raise InputError(where, fault, _REMEDY) from None
        fault = f"not readable ({type(error).__name__}: {_plain(next(iter(str(error).splitlines()), ''))})"
        raise InputError(where, fault, "fetch it again") from None
    found = _state(content, within, where)
    return _Arrays(found, found.__getitem__)


def _state(content: Any, within: str | None, where: str) -> dict[str, Any]:
    """Return the tensors by name that a training script kept, perhaps under a name beside other things."""
    import torch

    if within is not None:
        for step in within.split("."):
            if not isinstance(content, Mapping) or step not in content:
                has = _some(content, 8) if isinstance(content, Mapping) else "no names"
                raise InputError(where, f"has nothing under {within}", f"name one of: {has}")
            content = content[step]
    if not isinstance(content, Mapping):
        raise InputError(where, f"holds a {type(content).__name__} and no arrays by name", "take the state_dict")
    tensors = {name: value for name, value in content.items() if isinstance(value, torch.Tensor)}
    inner = [name for name in _KEPT_UNDER if isinstance(content.get(name), Mapping)]
    if within is None and not tensors and len(inner) == 1:
        return _state(content, inner[0], where)
    if not tensors:
        raise InputError(where, f"holds no arrays, but {_some(content, 8)}", "say `within` which of these they are")
    return {str(name): value for name, value in tensors.items()}


# ---- into the network


def load_weights(
    module: Any,
    source: str | Weights,
    *,
    sha256: str | None = None,
    licence: str | None = None,
    rename: Mapping[str, str] | Callable[[str], str | None] | None = None,
    strict: bool = True,
    prefix: str | None = None,
    within: str | None = None,
    max_bytes: int = MAX_BYTES,
) -> Report:
    """Fill a network with published weights; it is left as it was if they are refused.

    Parameters
    ----------
    module : torch.nn.Module
        The network. Numbers are converted to the precision that it has.
    source : str or Weights
        See :class:`Weights`; safetensors, what ``torch.save`` wrote (nothing but tensors and plain values is read of
        it), or the index of a model in several files of either kind.
    sha256, licence : str, optional
        See :class:`Weights`, which brings its own.
    rename : mapping of str to str, or callable, optional
        Regular expressions and what stands in their place, each applied to every name in this order; or a function
        that returns the name in the network, None for what is to be left out.
    strict : bool
        Whether every array of the network must be there, in its shape, and nothing else.
    prefix : str, optional
        Of the names to take, removed before ``rename``: a network within a larger one, or what a compiler adds.
        Other names are left out.
    within : str, optional
        Under which entry of the file the arrays are, steps separated by dots; the usual ones are found.
    max_bytes : int
        Largest size of all files.

    Returns
    -------
    Report
        What was read and what was not; it is printed to the log, too.

    Raises
    ------
    InputError
        If the file is not there, is another than ``sha256`` says, holds code, is damaged, or does not fit.
    """
    if isinstance(source, Weights):
        source, sha256, licence = source.source, source.sha256, source.licence
    where = f"weights {_plain(source)}"
    path, file = locate(source), hub_file(source)
    files = parts(path, where, cache_folder() / file.folder if file else None)
    _check_sizes(files, max_bytes, where)
    found = check_digest(files, sha256, where)
    arrays = _read(path, within, where)
    names = _names(arrays.names, prefix, rename, where)
    report = _fill(module, names, arrays, strict, where, public(source), found, licence or "not told")
    print(report, file=sys.stderr)
    if sha256 is None:
        print(f"{where}: not verified; give `sha256: {found}` in the card", file=sys.stderr)
    for entries in _LEDGERS:
        entries.append(report)
    return report


def _check_sizes(files: list[Path], max_bytes: int, where: str) -> None:
    total = 0
    for path in files:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise InputError(where, "not a regular file", "name the file")
        if not status.st_size:
            raise InputError(where, f"{_plain(path.name)} is empty", "fetch it again")
        total += status.st_size
    if total > max_bytes:
        raise InputError(where, f"has {total} bytes, more than {max_bytes}", "take a smaller model, or raise the limit")


def _names(
    names: list[str], prefix: str | None, rename: Mapping[str, str] | Callable[[str], str | None] | None, where: str
) -> dict[str, str]:
    """Return the names in the file by the names in the network."""
    found: dict[str, str] = {}
    for name in names:
        if prefix is not None and not name.startswith(prefix):
            continue
        new: str | None = name.removeprefix(prefix or "")
        if callable(rename):
            new = rename(new)
        else:
            for pattern, replacement in (rename or {}).items():
                new = re.sub(pattern, replacement, new)
        if new is None:
            continue
        if new in found:
            fault = f"{_plain(found[new])} and {_plain(name)} would both be {_plain(new)}"
            raise InputError(where, fault, "correct how names are changed")
        found[new] = name
    if not found:
        raise InputError(where, f"has no name that begins with {prefix}", f"it has: {_some(names, 8)}")
    return found


def _fill(
    module: Any,
    names: dict[str, str],
    arrays: _Arrays,
    strict: bool,
    where: str,
    source: str,
    sha256: str,
    licence: str,
) -> Report:
    import torch

    own = {name: value for name, value in module.state_dict(keep_vars=True).items() if isinstance(value, torch.Tensor)}
    if any(value.is_meta for value in own.values()):
        raise ValueError("the network is on the meta device: build it first")
    learnt = {name for name, _ in module.named_parameters(remove_duplicate=False)}
    fits, mismatched = {}, {}
    for name in own.keys() & names.keys():
        there = arrays.get(names[name])
        if _kind(there) != _kind(own[name]) or there.shape != own[name].shape:
            mismatched[name] = (_shape(there, own[name]), _shape(own[name], there))
        elif name in learnt and there.is_floating_point() and torch.isnan(there).any():
            raise InputError(where, f"{_plain(name)} holds values that are no numbers", "fetch it again")
        else:
            fits[name] = there
    # Files written before batches were counted lack the count, and nothing else depends on it.
    missing = [name for name in own if name not in names and not name.endswith("num_batches_tracked")]
    unexpected = [name for name in names if name not in own]
    n_values = sum(math.prod(own[name].shape) for name in fits)
    wrong = dict(sorted(mismatched.items()))
    report = Report(source, sha256, licence, len(fits), n_values, tuple(missing), tuple(unexpected), wrong)
    faults = [f"{len(entries)} {what}: {_some(entries, 3)}" for what, entries in report._faults()]
    if not fits or (strict and faults):
        fault = f"does not fit the network: {'; '.join(faults)}"
        raise InputError(where, fault, "take the weights of this very configuration")
    with torch.no_grad():
        for name, there in fits.items():
            own[name].copy_(there)
    return report


def _kind(value: Any) -> str:
    """Return what a tensor can be converted within: real, complex, or whole numbers; nothing else is taken."""
    import torch

    if value.is_quantized or value.layout != torch.strided:
        return "packed"
    return "real" if value.is_floating_point() else "complex" if value.is_complex() else "whole"


def _shape(value: Any, other: Any) -> str:
    shape = "x".join(map(str, value.shape)) or "one number"
    return shape if _kind(value) == _kind(other) else f"{shape} {_kind(value)}"


def _some(names: Iterable[Any], most: int) -> str:
    found = [_plain(name) for name in names]
    return ", ".join(found[:most]) + (", ..." if len(found) > most else "") or "nothing"


def _plain(text: Any) -> str:
    """Return a text of a stranger in one line of letters."""
    text = "".join(letter if letter.isprintable() else "?" for letter in " ".join(str(text).split()))
    return text if len(text) <= 160 else f"{text[:157]}..."
