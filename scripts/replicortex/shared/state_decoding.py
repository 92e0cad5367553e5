"""What decoders of a moving state share: comparable inputs, stretches of time, and how predictions are handed on."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from ..bundle import Bundle
from ..errors import InputError
from .binned import segment_edges
from .filters import Edges, StateModel


@dataclasses.dataclass(frozen=True)
class Stretches:
    """Rows in the order of time within stretches, and where they stand in the bundle.

    Parameters
    ----------
    order : ndarray of int of shape (n,)
        Row of the bundle of each row here.
    edges : list of (int, int)
        First row and row after the last of each stretch, here.
    names : ndarray of str of shape (n,)
        Stretch of each row here: subject, session, run and segment.
    """

    order: np.ndarray
    edges: Edges
    names: np.ndarray


def stretches(bundle: Bundle) -> Stretches:
    """Return the stretches of the rows of a bundle; rows without ``segment`` are one stretch a run.

    A stretch of which a splitter took only a part stays one as long as its rows follow each other.
    """
    rows = bundle.rows
    columns = [rows[name].astype(str) for name in ("subject", "session", "run", "segment") if name in rows]
    names = np.array(["|".join(entry) for entry in zip(*columns, strict=True)])
    onset = np.asarray(rows["onset"], dtype=float) if "onset" in rows else np.arange(len(bundle), dtype=float)
    order = np.lexsort((onset, names))
    edges = segment_edges(names[order])
    # Where a part of a stretch is held out, the rest is two stretches: the filter knows of no gap.
    step = np.diff(onset[order])
    usual = np.median(step[step > 0]) if np.any(step > 0) else 1.0
    cuts = {first for first, _ in edges} | set((np.flatnonzero(step > 1.5 * usual) + 1).tolist())
    starts = sorted(cuts)
    edges = list(zip(starts, [*starts[1:], len(order)], strict=True)) if len(order) else []
    return Stretches(order, edges, names[order])


def edges_within(found: Stretches, held: np.ndarray) -> tuple[list[tuple[int, int]], np.ndarray]:
    """Return the stretches of the rows ``held`` (a mask), numbered among these rows, and which rows they are."""
    rows = np.flatnonzero(held)
    starts = np.array([first for first, _ in found.edges])
    begins = np.isin(rows, starts)
    begins[1:] |= np.diff(rows) > 1
    begins[:1] = True
    cuts = np.flatnonzero(begins).tolist()
    return list(zip(cuts, [*cuts[1:], len(rows)], strict=True)), rows


def left_out_together(found: Stretches, fewest: int = 5, blocks: int = 10) -> np.ndarray:
    """Return for each row the stretch with which it is left out when settings are chosen.

    Where there are fewer than ``fewest`` stretches, time is cut into as many ``blocks``.
    """
    if len(np.unique(found.names)) >= fewest:
        return found.names
    return np.char.mod("%02d", np.arange(len(found.names)) * blocks // max(len(found.names), 1))


def refuse_mixed_inputs(train: Bundle) -> None:
    """Refuse rows of several sessions whose inputs have numbers instead of names: they are not the same neurons."""
    sessions = set(zip(train.rows["subject"].astype(str), train.rows["session"].astype(str), strict=True))
    if "slot" in train.axes and len(sessions) > 1:
        raise InputError(
            "features",
            f"number their inputs, and {len(sessions)} sessions are to be learned from at once",
            "choose a scheme within sessions, or recordings whose inputs have names",
        )


def learn_inputs(x: np.ndarray, n_components: int | None) -> dict[str, np.ndarray]:
    """Return what brings inputs ``(n, p)`` to principal components of unit variance ``(n, k)``, k at most ``p``.

    Inputs that never change are left out. Without ``n_components`` inputs are standardised and not turned.
    """
    mean, sd = x.mean(axis=0), x.std(axis=0)
    alive = sd > 1e-9 * max(sd.max(initial=0), np.finfo(float).tiny)
    if not alive.any():
        # Nothing to learn from: one input that is always 0.
        return {"mean": mean, "weights": np.zeros((x.shape[1], 1))}
    if n_components is None:
        return {"mean": mean, "weights": np.diag(np.where(alive, 1 / np.where(alive, sd, 1), 0))[:, alive]}
    values, vectors = np.linalg.eigh(np.cov((x - mean)[:, alive], rowvar=False, ddof=0).reshape(alive.sum(), -1))
    kept = np.argsort(values)[::-1][: min(n_components, int(np.sum(values > 1e-9 * values.max())))]
    # The sign of a component is arbitrary: its greatest weight is positive on every machine.
    vectors = vectors[:, kept] * np.sign(vectors[np.abs(vectors[:, kept]).argmax(axis=0), kept])
    weights = np.zeros((x.shape[1], len(kept)))
    weights[alive] = vectors / np.sqrt(values[kept])
    return {"mean": mean, "weights": weights}


def inputs_of(learned: dict[str, np.ndarray], x: np.ndarray) -> np.ndarray:
    """Return inputs ``(n, p)`` as components ``(n, k)``."""
    return (x - learned["mean"]) @ learned["weights"]


def flat(bundle: Bundle, order: np.ndarray) -> np.ndarray:
    """Return the inputs of rows as one row of numbers each."""
    x = np.asarray(bundle["x"], dtype=np.float64)
    return x.reshape(len(x), -1)[order]


def state_of(model: dict[str, np.ndarray], gain: float = 1.0) -> StateModel:
    """Return the state model of stored arrays, the noise of its transition multiplied by ``gain``."""
    return StateModel(model["a"], model["g"] * gain, model["s"])


def decoded(test: Bundle, found: Stretches, mean: np.ndarray, cov: np.ndarray) -> Bundle:
    """Return predictions: ``y_pred`` (n, d) and ``y_cov`` (n, d, d), in the order of the rows of ``test``."""
    back = np.empty_like(found.order)
    back[found.order] = np.arange(len(back))
    arrays = {"y_pred": mean[back], "y_cov": cov[back]}
    return Bundle(arrays, test.rows, {"output": list(test.axes.get("output", []))}, {"fitted": []})


def relative_error(z: np.ndarray, mean: np.ndarray) -> float:
    """Return the mean squared error of a prediction, each output in units of its variance."""
    return float(np.mean((z - mean) ** 2 / np.maximum(np.mean(z**2, axis=0), 1e-300)))


def plain(values: dict[str, Any]) -> dict[str, Any]:
    """Return numbers of numpy as those of Python."""
    return {name: float(value) for name, value in values.items()}
