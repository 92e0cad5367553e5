"""Spatial weights times feature weights: each response has one receptive field that is the same for all channels.

Klindt, Ecker, Euler & Bethge (2017), Neural system identification for large populations separating "what" and "where".
doi:10.48550/arXiv.1711.02653

Reproduced: a response is a weighted sum over places of a weighted sum over channels, with a mask of places and weights
of channels of its own, both learned from the responses of that unit.

Differs: masks and weights are found by alternating ridge regressions, each of which is solved exactly, instead of by
gradient descent with an L1 penalty; masks may be negative, and are drawn towards the mean over places, so that the
strongest penalty gives the mean. The core is the frozen network that gives the features, as in
doi:10.48550/arXiv.2505.17329, and is not trained. The penalty is chosen on a part of the training stimuli.
"""

from __future__ import annotations

from typing import Annotated, Any

import numpy as np
from pydantic import Field, PositiveInt

from ..bundle import Bundle
from ..components import Method, component
from ..shared.encoding import encoded, explained, rows_of, tokens_of, training
from ..shared.words import count, numbers, percent, text

#: Numbers of the products of places and responses that are held at once.
_BLOCK = 1 << 26


@component
class EncoderFactorised(Method):
    """One mask of places and one vector of weights of channels for each response.

    Parameters
    ----------
    penalties : list of float
        Choices of the ridge penalty, over the number of stimuli: on the weights, and on how far the mask is from even
        where the weights have the length that an even mask is worth.
    iterations : int
        Pairs of regressions.
    validation : float
        Share of the training stimuli on which the penalty of each response is chosen.
    """

    tasks = frozenset({"encode"})
    needs = ("response",)
    tiny = {"penalties": [0.01, 0.1], "iterations": 8}
    state = ("mask_", "weights_", "intercept_", "mean_", "scale_", "penalties_")

    penalties: Annotated[list[Annotated[float, Field(gt=0)]], Field(min_length=1)] = [
        0.001,
        0.01,
        0.03,
        0.1,
        0.3,
        1.0,
        3.0,
        10.0,
    ]
    iterations: PositiveInt = 12
    validation: Annotated[float, Field(gt=0, lt=0.5)] = 0.2

    def fit(self, train: Bundle, seed: int) -> None:
        """Choose a penalty for each response, then fit it on all training stimuli.

        Time a pair of regressions: O(n_stimuli n_responses (n_tokens n_channels + n_tokens^2 + n_channels^2)).
        """
        shown = training(train, self.context.stimuli)
        tokens = np.asarray(tokens_of(shown.rows, self.context.stimuli), dtype=np.float32)
        self.mean_, spread = tokens.mean(axis=(0, 1)), tokens.std(axis=(0, 1))
        self.scale_ = np.where(spread > 1e-6 * np.abs(self.mean_), spread, np.inf).astype(np.float32)
        tokens = (tokens - self.mean_) / self.scale_
        y, n = shown.responses.astype(np.float32), len(shown.rows)
        held = np.random.default_rng(seed).permutation(n) < max(round(self.validation * n), 2)
        scores, start = [], None
        # From the strongest penalty to the weakest, each from where the last one ended.
        ordered = sorted(self.penalties, reverse=True)
        for penalty in ordered if len(ordered) > 1 else ():
            start = self._alternate(tokens[~held], y[~held], np.full(y.shape[1], penalty), start)
            scores.append(explained(y[held], _predict(tokens[held], *start), y[~held].mean(axis=0)))
        best = np.argmax(scores, axis=0) if scores else np.zeros(y.shape[1], dtype=int)
        self.penalties_ = np.array(ordered, dtype=np.float64)[best]
        self.mask_, self.weights_, self.intercept_ = self._alternate(tokens, y, self.penalties_, start)

    def _alternate(
        self, tokens: np.ndarray, y: np.ndarray, penalty: np.ndarray, start: tuple[np.ndarray, ...] | None
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return masks (n_responses, n_tokens) of length 1, weights (n_responses, n_channels) and intercepts."""
        n_tokens = tokens.shape[1]
        even = np.full((y.shape[1], n_tokens), n_tokens**-0.5, np.float32)
        mask = even if start is None else start[0]
        for _ in range(self.iterations):
            weights, _ = _regress(tokens, mask, y, penalty, "npc,rp->rnc")
            weights = weights / np.maximum(np.linalg.norm(weights, axis=1, keepdims=True), 1e-12)
            # As long as the even mask is worth: what that leaves is what a mask of its own must explain.
            pooled = np.einsum("npc,rp,rc->nr", tokens, even, weights, optimize=True)
            pooled = pooled - pooled.mean(axis=0)
            length = (pooled * y).sum(axis=0) / np.maximum((pooled**2).sum(axis=0), 1e-12)
            length = np.where(np.abs(length) < 1e-6, 1e-6, length)
            mask, _ = _regress(tokens, weights * length[:, None], y, penalty * length**2, "npc,rc->rnp", even)
            mask = mask / np.maximum(np.linalg.norm(mask, axis=1, keepdims=True), 1e-12)
        weights, intercept = _regress(tokens, mask, y, penalty, "npc,rp->rnc")
        return mask, weights, intercept

    def predict(self, test: Bundle) -> Bundle:
        """Return the responses (n_rows, n_responses) to the stimuli of the rows."""
        names, index = np.unique(test.rows["target"].astype(str), return_inverse=True)
        tokens = np.asarray(tokens_of(rows_of(names, self.context.stimuli), self.context.stimuli), dtype=np.float64)
        tokens = (tokens - self.mean_) / self.scale_
        return encoded(test, _predict(tokens, self.mask_, self.weights_, self.intercept_)[index])

    def n_configurations(self) -> int:
        """Return the number of penalties."""
        return len(self.penalties)

    def chosen(self) -> dict[str, Any]:
        """Return the usual penalty."""
        return {"penalty": float(np.median(self.penalties_))}

    def described(self, task: str = "encode") -> str:
        """Return what it does, in words."""
        chosen = (
            f"The penalty of each response was chosen among {numbers(sorted(self.penalties))} times the number of"
            f" stimuli on {percent(self.validation)} of the training stimuli."
            if len(self.penalties) > 1
            else f"The penalty was {numbers(self.penalties)} times the number of stimuli."
        )
        return text(
            "Factorised linear models [@klindt2017] gave each response a mask of places and weights of channels, found"
            " by"
            f" alternating ridge regressions ({count(self.iterations, 'pair')}) on standardised channels.",
            chosen,
        )


def _regress(
    tokens: np.ndarray, partner: np.ndarray, y: np.ndarray, penalty: np.ndarray, sums: str, around: Any = None
) -> tuple[np.ndarray, np.ndarray]:
    """Return the other factor (n_responses, n) and intercepts, given one: an exact ridge regression each.

    The penalty is on the distance from zero, or from ``around``.
    """
    size = tokens.shape[0] * (tokens.shape[2] if sums.endswith("c") else tokens.shape[1])
    step = max(_BLOCK // size, 1)
    found, intercepts = [], []
    for first in range(0, y.shape[1], step):
        part = slice(first, first + step)
        z = np.einsum(sums, tokens, partner[part], optimize=True)
        mean, centre = z.mean(axis=1), y[:, part].mean(axis=0)
        z = z - mean[:, None]
        left = (y[:, part] - centre).T[:, :, None]
        start = np.zeros_like(mean) if around is None else around[part]
        left = left - np.matmul(z, start[:, :, None])
        gram = np.matmul(z.transpose(0, 2, 1), z).astype(np.float64)
        diagonal = np.arange(gram.shape[1])
        # A touch keeps it solvable where the partner is zero.
        gram[:, diagonal, diagonal] += penalty[part, None] * len(y) + 1e-9
        along = np.matmul(z.transpose(0, 2, 1), left).astype(np.float64)
        factor = start + np.linalg.solve(gram, along)[..., 0].astype(np.float32)
        found.append(factor)
        intercepts.append(centre - (mean * factor).sum(axis=1))
    return np.concatenate(found), np.concatenate(intercepts)


def _predict(tokens: np.ndarray, mask: np.ndarray, weights: np.ndarray, intercept: np.ndarray) -> np.ndarray:
    masked = np.einsum("npc,rp->nrc", tokens, mask.astype(tokens.dtype), optimize=True)
    return np.einsum("nrc,rc->nr", masked, weights) + intercept
