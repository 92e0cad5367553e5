"""What metrics of spiking networks share: likelihood by spike, and which found state is which planted one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ..bundle import Bundle
from .hmm import matched


def gain_per_spike(predictions: Bundle, reference: str) -> float:
    """Return ``log_likelihood`` beyond that of ``reference``, over the number of spikes, bits; ``nan`` if not told."""
    arrays = predictions.arrays
    if not {"log_likelihood", reference, "n_events"} <= arrays.keys():
        return float("nan")
    n = float(np.sum(arrays["n_events"]))
    gain = float(np.sum(np.asarray(arrays["log_likelihood"]) - np.asarray(arrays[reference])))
    return gain / n / np.log(2) if n else float("nan")


def of_subject(fold: Mapping[str, Any], truth: Mapping[str, Any] | None, name: str) -> np.ndarray | None:
    """Return what was planted under ``name`` in the one subject that a fold was fitted on; ``None`` if unknown."""
    subjects = {subject for entry in fold.get("seen", []) for subject in entry["subjects"]}
    planted = (truth or {}).get(name, {})
    if len(subjects) != 1 or not isinstance(planted, Mapping):
        return None
    value = planted.get(subjects.pop())
    return None if value is None else np.asarray(value, dtype=float)


def found_states(fold: Mapping[str, Any], truth: Mapping[str, Any] | None) -> tuple[np.ndarray, np.ndarray] | None:
    """Return planted weights and the found states that they are, one for each planted state; ``None`` if unknown.

    States are matched so that the weights agree most: this favours what is found a little, by as much for every
    method, and what is expected by chance is stated accordingly.
    """
    planted, found = of_subject(fold, truth, "weights"), fold.get("found", {}).get("weights")
    if planted is None or found is None:
        return None
    found = np.asarray(found, dtype=float)
    if found.shape[1:] != planted.shape[1:] or len(found) < len(planted) or not found.any() or not planted.any():
        return None
    flat = [values.reshape(len(values), -1) for values in (planted, found)]
    centred = [values - values.mean(axis=1, keepdims=True) for values in flat]
    return planted, matched(centred[0] @ centred[1].T)
