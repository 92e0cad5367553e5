"""Checkpoints of a training: what it needs to go on as if it had never been interrupted."""

from __future__ import annotations

import hashlib
import inspect
import io
import json
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..files import atomic
from .rows import lazy

#: Layout of the file; another one is not read.
_FORMAT = 1
#: Bytes of an array up to which all of it is digested, and rows that are where it is larger.
_WHOLE, _SAMPLED = 256 << 20, 1024
#: Bytes that are digested at a time.
_PIECE = 4 << 20


def write_checkpoint(path: Path, state: Mapping[str, Any], digest: str) -> None:
    """Write ``state`` (tensors and plain values) atomically; a kill leaves the checkpoint before."""
    import torch

    with atomic(path) as temporary:
        torch.save({**state, "format": _FORMAT, "digest": digest}, temporary)


def read_checkpoint(path: Path, digest: str) -> dict[str, Any] | None:
    """Return the state in ``path``; None if there is none, it is damaged, or of another training.

    Nothing in the file is run: torch reads tensors and plain values from it and refuses all else.
    """
    import torch

    if not path.is_file():
        return None
    try:
        state = torch.load(io.BytesIO(path.read_bytes()), map_location="cpu", weights_only=True)
    except Exception:
        # Damaged in as many ways as zip files and pickles are; training then begins again, which is always right.
        return None
    same = isinstance(state, dict) and state.get("format") == _FORMAT and state.get("digest") == digest
    return state if same else None


def digest_of_training(
    network: Any, functions: Sequence[Any], arrays: Mapping[str, Any], settings: Mapping[str, Any], rows: np.ndarray
) -> str:
    """Return what tells this training from any other: start, code, data, settings, rows.

    The weights at the start stand for architecture, seed and parents. Of arrays above 256 MB, 1,024 rows spread over
    all are digested, since reading all would cost as much as an epoch.
    """
    import torch

    digest = hashlib.blake2b(digest_size=16)
    digest.update(json.dumps([torch.__version__, dict(settings)], sort_keys=True, default=told).encode())
    digest.update(re.sub(r"0x[0-9a-f]+", "", repr(network)).encode())
    for name, tensor in network.state_dict().items():
        digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}".encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    for function in functions:
        digest.update(told(function).encode())
    for source in _sources(network, functions):
        digest.update(source.read_bytes())
    digest.update(np.ascontiguousarray(rows).tobytes())
    for name, values in sorted(arrays.items()):
        values = lazy(values)
        digest.update(f"{name} {values.shape} {values.dtype}".encode())
        of_row = int(np.prod(values.shape[1:], dtype=np.int64)) * values.dtype.itemsize
        step = 1 if of_row * len(values) <= _WHOLE else max(1, len(values) // _SAMPLED)
        # By pieces: a selection must not become a copy of everything.
        length = step * max(1, _PIECE // max(of_row, 1))
        for start in range(0, len(values), length):
            digest.update(np.ascontiguousarray(values[slice(start, start + length, step)]))
    return digest.hexdigest()


def told(value: Any) -> str:
    """Return what a function or value is, in text that is the same in every process."""
    if value is None or isinstance(value, bool | int | float | str | np.generic):
        return repr(value)
    if isinstance(value, np.ndarray):
        return hashlib.blake2b(np.ascontiguousarray(value).tobytes(), digest_size=16).hexdigest()
    if isinstance(value, Mapping):
        return "{" + ",".join(f"{key}:{told(entry)}" for key, entry in sorted(value.items())) + "}"
    if isinstance(value, list | tuple):
        return "[" + ",".join(map(told, value)) + "]"
    if inspect.ismethod(value):
        return told(value.__func__) + told(value.__self__)
    if hasattr(value, "func") and hasattr(value, "keywords"):
        return told(value.func) + told(value.args) + told(value.keywords)
    if inspect.isfunction(value):
        cells = [_content(cell) for cell in value.__closure__ or ()]
        return _code(value.__code__) + told(value.__defaults__ or ()) + told(cells)
    if hasattr(value, "__dataclass_fields__"):
        known = {name: getattr(value, name) for name in value.__dataclass_fields__}
        return type(value).__qualname__ + told({k: v for k, v in known.items() if not hasattr(v, "parameters")})
    return type(value).__qualname__


def _content(cell: Any) -> Any:
    try:
        return cell.cell_contents
    except ValueError:
        # Not bound yet.
        return None


def _code(code: Any) -> str:
    # Sets have another order in every process.
    constants = [
        _code(entry)
        if inspect.iscode(entry)
        else repr(sorted(map(repr, entry)) if isinstance(entry, frozenset) else entry)
        for entry in code.co_consts
    ]
    return hashlib.blake2b(code.co_code + repr((code.co_names, constants)).encode(), digest_size=16).hexdigest()


def _sources(network: Any, functions: Sequence[Any]) -> list[Path]:
    """Return the source files that decide on the result: of network and functions, and what components share."""
    found = [type(entry) for entry in network.modules()]
    for function in functions:
        while hasattr(function, "func"):
            function = function.func
        found.append(function if inspect.ismethod(function) or inspect.isfunction(function) else type(function))
    # torch's release stands in the digest; what was typed into a prompt has no file.
    files = {_file(entry) for entry in found if not (entry.__module__ or "").startswith(("torch.", "builtins"))}
    # A loss calls functions of other files; which ones is not known, so that all count that are in use.
    shared = __name__.rpartition(".")[0] + "."
    files |= {getattr(module, "__file__", None) for name, module in sys.modules.items() if name.startswith(shared)}
    return sorted(Path(name) for name in files if name and Path(name).is_file())


def _file(entry: Any) -> str | None:
    try:
        return inspect.getsourcefile(entry)
    except TypeError:
        return None
