"""What decoders of what was shown share: their targets, the low-level branch's codes, and the pictures they hand on."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..bundle import Bundle
from ..errors import InputError
from .encoding import rows_of

#: Names of what is shown that predictions may be judged on, the array that decoders predict first.
JUDGED = ("pooled", "tokens")


def flat(responses: np.ndarray) -> np.ndarray:
    """Return responses as vectors, (n_rows, n_inputs), float32."""
    values = np.asarray(responses, dtype=np.float32)
    return values.reshape(len(values), -1)


def targets(stimuli: Bundle | None, names: np.ndarray, target: str) -> np.ndarray:
    """Return the embeddings of stimuli, (n, n_tokens, width), float32; one token if ``target`` is "pooled".

    Raises
    ------
    InputError
        If there are no features of stimuli, or one that was shown has none.
    """
    rows = rows_of(np.asarray(names, dtype=str), stimuli)
    values = np.asarray(stimuli[target][rows], dtype=np.float32)
    return values[:, None] if values.ndim == 2 else values


def pictures(stimuli: Bundle, names: Sequence[str]) -> np.ndarray | None:
    """Return the pictures of stimuli, (n, colours, height, width), ``None`` where the provider gives none."""
    if "pixels" not in stimuli.arrays:
        return None
    return np.asarray(stimuli["pixels"][rows_of(np.asarray(names, dtype=str), stimuli)], dtype=np.float32)


def judged_on(stimuli: Bundle, target: str, *, pixels: bool) -> tuple[str, ...]:
    """Return the arrays of the stimuli that the stage is to add to predictions."""
    return (target, *(["pixels"] if pixels and "pixels" in stimuli.arrays else []))


def nearest(predicted: np.ndarray, gallery: np.ndarray) -> np.ndarray:
    """Return for each prediction the number of the gallery's embedding of the greatest cosine."""
    units = [values.reshape(len(values), -1).astype(np.float64) for values in (predicted, gallery)]
    units = [values / np.maximum(np.linalg.norm(values, axis=1, keepdims=True), 1e-12) for values in units]
    return (units[0] @ units[1].T).argmax(axis=1)


def retrieved(test: Bundle, y_embedding: np.ndarray, **arrays: np.ndarray) -> Bundle:
    """Return predicted embeddings, flattened, as a predictions bundle, with what else a method hands on.

    Parameters
    ----------
    y_embedding : ndarray of shape (n_rows, ...)
    arrays : ndarray
        Such as ``y_prior`` and ``y_backbone`` (embeddings) and ``y_low_level`` and ``y_semantic`` (pictures).
    """
    made = {"y_embedding": y_embedding.reshape(len(y_embedding), -1)}
    for name, values in arrays.items():
        made[name] = values if values.ndim == 4 else values.reshape(len(values), -1)
    return Bundle({name: values.astype(np.float32) for name, values in made.items()}, test.rows)


def check_finite(values: np.ndarray, what: str) -> None:
    """Refuse responses that are no numbers.

    Raises
    ------
    InputError
        Naming ``what``.
    """
    if not np.isfinite(values).all():
        raise InputError(what, "holds values that are no numbers", "exclude the recordings")
