"""Fitted values as bytes: the same value gives the same bytes, and reading them runs no code.

Numbers, text, arrays and containers of these are written as JSON with arrays beside it; all else, such as estimators of
scikit-learn, by skops. To import skops takes longer than many fits, since it looks through all of scikit-learn.
"""

from __future__ import annotations

import io
import json
import re
import zipfile
from collections.abc import Sequence
from typing import Any

import numpy as np

from .errors import InputError

_PLAIN = "plain.json"
#: Numbers, truth values and text; objects would need pickle.
_KINDS = "biufcU"


def written(value: Any) -> bytes:
    """Return ``value`` as bytes for :func:`read`, a zip."""
    arrays: list[np.ndarray] = []
    try:
        told = _told(value, arrays)
    except TypeError:
        import skops.io

        return _canonical(skops.io.dumps(value))
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        # A fixed date, so that the same value gives the same bytes.
        archive.writestr(zipfile.ZipInfo(_PLAIN), json.dumps(told, ensure_ascii=True))
        for number, array in enumerate(arrays):
            content = io.BytesIO()
            np.lib.format.write_array(content, array, allow_pickle=False)
            archive.writestr(zipfile.ZipInfo(f"{number}.npy"), content.getvalue())
    return buffer.getvalue()


def read(content: bytes, trusted: Sequence[str] = ()) -> Any:
    """Return what :func:`written` was given.

    Parameters
    ----------
    content : bytes
    trusted : sequence of str
        Full names of the classes that may be built beside those that skops knows to be safe.

    Raises
    ------
    InputError
        If the content names another class. Whatever else is wrong with it raises what zipfile, JSON, numpy or skops
        raise.
    """
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        if _PLAIN in archive.namelist():
            return _made(json.loads(archive.read(_PLAIN)), archive)
    import skops.io

    strange = sorted(set(skops.io.get_untrusted_types(data=content)) - set(trusted))
    if strange:
        raise InputError("model", f"holds {', '.join(strange)}", "read only models that this workflow wrote")
    return skops.io.loads(content, trusted=list(trusted))


def _told(value: Any, arrays: list[np.ndarray]) -> Any:
    """Return ``value`` as JSON that tells kinds apart; its arrays are added to ``arrays``."""
    kind = type(value)
    if value is None or kind in (bool, int, float, str):
        return value
    if kind in (list, tuple):
        return [kind.__name__, *(_told(entry, arrays) for entry in value)]
    if kind is dict and all(type(key) is str for key in value):
        return {key: _told(entry, arrays) for key, entry in value.items()}
    if (kind is np.ndarray or isinstance(value, np.generic)) and value.dtype.kind in _KINDS:
        arrays.append(np.asarray(value))
        return ["array" if kind is np.ndarray else "scalar", len(arrays) - 1]
    raise TypeError(f"{kind.__name__} is not plain")


def _made(told: Any, archive: zipfile.ZipFile) -> Any:
    if isinstance(told, dict):
        return {key: _made(entry, archive) for key, entry in told.items()}
    if not isinstance(told, list):
        return told
    kind, *rest = told
    if kind in ("list", "tuple"):
        entries = [_made(entry, archive) for entry in rest]
        return entries if kind == "list" else tuple(entries)
    if kind not in ("array", "scalar"):
        raise ValueError(f"unknown kind {kind!r}")
    (number,) = rest
    array = np.lib.format.read_array(io.BytesIO(archive.read(f"{int(number)}.npy")), allow_pickle=False)
    return array if kind == "array" else array[()]


def _canonical(content: bytes) -> bytes:
    """Return what skops wrote with memory addresses replaced by numbers and dates removed: same model, same bytes."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    schema = members.pop("schema.json").decode()
    # skops names objects and their files by ``id()``.
    addresses = dict.fromkeys(re.findall(r'"__id__": (\d+)', schema))
    addresses |= dict.fromkeys(name.rpartition(".")[0] for name in re.findall(r'"file": "([^"]+)"', schema))
    numbers = {address: str(number) for number, address in enumerate(addresses)}
    schema = re.sub(r'("__id__": )(\d+)', lambda match: match[1] + numbers[match[2]], schema)
    schema = re.sub(r'("file": ")([^".]+)', lambda match: match[1] + numbers[match[2]], schema)
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr(zipfile.ZipInfo("schema.json"), schema)
        for name, data in sorted(members.items(), key=lambda item: int(numbers[item[0].rpartition(".")[0]])):
            stem, _, ending = name.rpartition(".")
            archive.writestr(zipfile.ZipInfo(f"{numbers[stem]}.{ending}"), data)
    return buffer.getvalue()
