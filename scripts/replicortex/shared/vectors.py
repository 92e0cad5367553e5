"""Feature bundles as matrices: one row a recording, one column a number."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from ..bundle import Bundle
from ..errors import InputError, did_you_mean
from .words import listed, plain

#: Axes that stand first in an array by contract: a bank of operators by edges, a stack of maps by voxels.
_LEADING = ("operator", "map")


def as_matrix(bundle: Bundle, array: str = "x", select: Mapping[str, str | Sequence[str]] | None = None) -> np.ndarray:
    """Return one array of ``bundle`` as a matrix.

    Parameters
    ----------
    bundle : Bundle
    array : str
        Name of the array.
    select : mapping of str to str or sequence of str
        Entries to keep along named axes: ``{"operator": "pearson"}``.

    Returns
    -------
    ndarray of shape (n_rows, n_features), float64
        Of matrices between regions, shape ``(n_rows, R, R)``, the entries above the diagonal, row by row (and
        those below it after them where the matrices are not symmetric); everything else in its order.

    Raises
    ------
    InputError
        If there is no such array, axis or entry.
    """
    if array not in bundle.arrays:
        raise InputError("features", f"have no array {array!r}", did_you_mean(array, bundle.arrays))
    values, names = bundle[array], _dimensions(bundle, array)
    for axis, entries in (select or {}).items():
        dimension = names.index(axis) if axis in names else _find(bundle, array, axis)
        keep = _positions(bundle.axes[axis], [entries] if isinstance(entries, str) else entries, axis)
        # A run of neighbours is a view: a bank is far larger than what is taken from it.
        index = slice(keep[0], keep[0] + 1) if len(keep) == 1 else keep
        values = values[(slice(None),) * (dimension + 1) + (index,)]
    values = np.asarray(values, dtype=np.float64)
    n_regions = len(bundle.axes.get("region", ()))
    if n_regions > 1 and values.ndim > 2 and values.shape[-2:] == (n_regions, n_regions):
        row, column = np.triu_indices(n_regions, 1)
        upper, lower = values[..., row, column], values[..., column, row]
        same = np.allclose(upper, lower, rtol=1e-4, atol=1e-5, equal_nan=True)
        values = upper if same else np.concatenate([upper, lower], axis=-1)
    return values.reshape(len(bundle), -1)


def variable_names(bundle: Bundle, array: str, n_variables: int) -> list[str]:
    """Return names of the columns of :func:`as_matrix`; their numbers where no one axis names them all."""
    if bundle[array].shape[1:] == (n_variables,):
        for names in bundle.axes.values():
            if len(names) == n_variables:
                return [str(name) for name in names]
    return [str(number) for number in range(n_variables)]


def _dimensions(bundle: Bundle, array: str) -> list[str | None]:
    """Return the axis of each dimension after the first, where its length says so, without doubt."""
    lengths = {name: len(entries) for name, entries in bundle.axes.items()}
    found: list[str | None] = []
    for size in bundle[array].shape[1:]:
        fitting = [name for name, length in lengths.items() if length == size]
        found.append(fitting[0] if len(fitting) == 1 else None)
    return found


def _find(bundle: Bundle, array: str, axis: str) -> int:
    """Return the dimension of an axis whose length alone does not tell it. A bundle file keeps no order of axes."""
    if axis not in bundle.axes:
        raise InputError("features", f"have no axis {axis!r}", did_you_mean(axis, bundle.axes))
    size = len(bundle.axes[axis])
    fitting = [number for number, length in enumerate(bundle[array].shape[1:]) if length == size]
    if not fitting:
        raise InputError("features", f"array {array!r} has no axis {axis!r}", "select along axes that it has")
    if axis in _LEADING or len(fitting) == 1:
        return fitting[0]
    raise InputError(
        "features", f"axis {axis!r} is as long as another of array {array!r}", "select along operator or map only"
    )


def _positions(entries: Sequence, wanted: Sequence, axis: str) -> list[int]:
    known = [str(entry) for entry in entries]
    if not wanted:
        raise InputError("select", f"names no entry of axis {axis!r}", "name one, or leave the axis out")
    for entry in wanted:
        if str(entry) not in known:
            raise InputError("select", f"axis {axis!r} has no entry {entry!r}", did_you_mean(str(entry), known))
    return [known.index(str(entry)) for entry in wanted]


def array_words(array: str, select: Mapping[str, str | Sequence[str]]) -> str:
    """Return in words what :func:`as_matrix` takes."""
    known = {"x": "the features", "cov": "the covariance matrices of the regions", "fc": "the regions' connectivity"}
    shown = known.get(array, f"the array “{plain(array)}” of the features")
    chosen = [
        f"{plain(axis)} {listed(map(plain, [wanted] if isinstance(wanted, str) else wanted), 'or')}"
        for axis, wanted in select.items()
    ]
    return f"{shown} ({'; '.join(chosen)})" if chosen else shown
