"""Coefficients that a fit found, beside those that were planted."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np


def planted_and_found(
    fold: Mapping[str, Any], truth: Mapping[str, Any] | None, array: str = "coefficients"
) -> tuple[np.ndarray, np.ndarray] | None:
    """Return planted and found coefficients of all variables that a fit names, (p,) each.

    ``None`` without a truth, where none were planted, or where the fit does not have the array.

    Parameters
    ----------
    fold : mapping
        Record of a fold; ``found`` has ``variable`` and the array.
    truth : mapping or None
        ``coefficients``, of the planted variables by name, in units of the target over those of the variable.
    """
    planted = (truth or {}).get("coefficients")
    found = fold.get("found", {})
    if not planted or "variable" not in found or array not in found:
        return None
    names = [str(name) for name in found["variable"]]
    # A planted variable that the fit was not given has a coefficient of zero there.
    names += [name for name in planted if name not in set(names)]
    values = np.zeros(len(names))
    values[: len(found[array])] = np.asarray(found[array], dtype=float)
    return np.array([float(planted.get(name, 0.0)) for name in names]), values
