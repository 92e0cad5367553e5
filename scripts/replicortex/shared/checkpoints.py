"""Published weights, read into a network without running any code of theirs.

Where they lie and whether they are the right ones is the business of :mod:`replicortex.shared.weights`.
"""

from __future__ import annotations

import math
import re
import stat
import sys
import warnings
import zipfile
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from ..errors import InputError
from .weights import (
    INDEX,
    LEDGERS,
    PICKLED,
    SAFE,
    Report,
    Weights,
    cache_folder,
    check_digest,
    hub_file,
    in_a_line,
    locate,
    parts,
    public,
    shard_map,
    some_of,
)

#: A file larger than this is not taken for the weights of a network, unless the caller says so.
MAX_BYTES = 20 << 30
#: Under what a training script keeps the weights of its network, beside its optimiser and its settings.
_KEPT_UNDER = ("state_dict", "model_state_dict", "model", "module", "network", "net")
_REMEDY = "save it as safetensors where you trust it"
# ---- what is in it


class _Arrays:
    """Arrays of a checkpoint by name, each read when it is asked for."""

    def __init__(self, names: Iterable[str], get: Callable[[str], Any]) -> None:
        self.names, self.get = list(names), get


def _read(path: Path, within: str | None, where: str) -> _Arrays:
    if path.name.endswith(INDEX):
        told = shard_map(path, where)
        shards = {name: _read(path.parent / name, within, where) for name in sorted(set(told.values()))}
        for name, shard in told.items():
            if name not in shards[shard].names:
                raise InputError(where, f"{in_a_line(name)} is not in {shard}, as its index says", "fetch it again")
        return _Arrays(told, lambda name: shards[told[name]].get(name))
    if path.name.endswith(SAFE):
        return _safe(path, where)
    if path.name.endswith(PICKLED):
        return _pickled(path, within, where)
    known = ", ".join([*SAFE, *PICKLED, INDEX])
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
        raise InputError(where, f"not readable as safetensors ({in_a_line(error)})", "fetch it again") from None


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
        if type(error).__name__ == "UnpicklingError":
            code = re.search(r"GLOBAL ([\w.]+)", str(error))
            fault = f"asks for {code[1]}, which is code and no weights" if code else "not what torch writes of weights"
            raise InputError(where, fault, _REMEDY) from None
        fault = f"not readable ({type(error).__name__}: {in_a_line(next(iter(str(error).splitlines()), ''))})"
        raise InputError(where, fault, "fetch it again") from None
    found = _state(content, within, where)
    return _Arrays(found, found.__getitem__)


def _state(content: Any, within: str | None, where: str) -> dict[str, Any]:
    """Return the tensors by name that a training script kept, perhaps under a name beside other things."""
    import torch

    if within is not None:
        for step in within.split("."):
            if not isinstance(content, Mapping) or step not in content:
                has = some_of(content, 8) if isinstance(content, Mapping) else "no names"
                raise InputError(where, f"has nothing under {within}", f"name one of: {has}")
            content = content[step]
    if not isinstance(content, Mapping):
        raise InputError(where, f"holds a {type(content).__name__} and no arrays by name", "take the state_dict")
    tensors = {name: value for name, value in content.items() if isinstance(value, torch.Tensor)}
    inner = [name for name in _KEPT_UNDER if isinstance(content.get(name), Mapping)]
    if within is None and not tensors and len(inner) == 1:
        return _state(content, inner[0], where)
    if not tensors:
        raise InputError(where, f"holds no arrays, but {some_of(content, 8)}", "say `within` which of these they are")
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
    where = f"weights {in_a_line(source)}"
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
    for entries in LEDGERS:
        entries.append(report)
    return report


def _check_sizes(files: list[Path], max_bytes: int, where: str) -> None:
    total = 0
    for path in files:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise InputError(where, "not a regular file", "name the file")
        if not status.st_size:
            raise InputError(where, f"{in_a_line(path.name)} is empty", "fetch it again")
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
            fault = f"{in_a_line(found[new])} and {in_a_line(name)} would both be {in_a_line(new)}"
            raise InputError(where, fault, "correct how names are changed")
        found[new] = name
    if not found:
        raise InputError(where, f"has no name that begins with {prefix}", f"it has: {some_of(names, 8)}")
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
            raise InputError(where, f"{in_a_line(name)} holds values that are no numbers", "fetch it again")
        else:
            fits[name] = there
    # Files written before batches were counted lack the count, and nothing else depends on it.
    missing = [name for name in own if name not in names and not name.endswith("num_batches_tracked")]
    unexpected = [name for name in names if name not in own]
    n_values = sum(math.prod(own[name].shape) for name in fits)
    wrong = dict(sorted(mismatched.items()))
    report = Report(source, sha256, licence, len(fits), n_values, tuple(missing), tuple(unexpected), wrong)
    faults = [f"{len(entries)} {what}: {some_of(entries, 3)}" for what, entries in report._faults()]
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
