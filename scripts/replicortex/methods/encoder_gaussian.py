"""A Gaussian receptive field for each response, and weights of the channels inside it.

St-Yves & Naselaris (2018), The feature-weighted receptive field: an interpretable encoding model for complex feature
spaces. NeuroImage 180. doi:10.1016/j.neuroimage.2017.06.035

Reproduced: every response has a Gaussian pooling field of one place and one size, the same for all channels; the fields
are candidates on a grid of places and sizes, of which each response takes the one that predicts held-out training
stimuli best, with ridge weights on the pooled channels.

Differs: weights are found by ridge regression in closed form, with a penalty chosen along with the field, instead of by
gradient descent with early stopping; there is no non-linearity after pooling.
"""

from __future__ import annotations

from typing import Annotated, Any

import numpy as np
from pydantic import Field

from ..bundle import Bundle
from ..components import Method, component
from ..shared.encoding import RidgePath, encoded, explained, places, rows_of, tokens_of, training
from ..shared.words import numbers, percent, text

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]


@component
class EncoderGaussian(Method):
    """One Gaussian field and one vector of weights of channels for each response.

    Parameters
    ----------
    side : int
        Places a side of the grid of candidates.
    sizes : list of float
        Standard deviations of the candidates, over the side of the picture.
    penalties : list of float
        Choices of the ridge penalty on standardised channels.
    validation : float
        Share of the training stimuli on which field and penalty are chosen.
    """

    tasks = frozenset({"encode"})
    needs = ("response",)
    tiny = {"side": 3, "sizes": [0.3, 2.0], "penalties": [0.1, 10.0]}
    state = ("weights_", "intercept_", "field_", "penalties_")

    side: Annotated[int, Field(ge=2)] = 11
    sizes: Annotated[list[Positive], Field(min_length=1)] = [0.05, 0.1, 0.15, 0.25, 0.4, 1.0]
    penalties: Annotated[list[Positive], Field(min_length=1)] = [0.1, 1.0, 10.0, 100.0, 1000.0]
    validation: Annotated[float, Field(gt=0, lt=0.5)] = 0.2

    def fit(self, train: Bundle, seed: int) -> None:
        """Choose field and penalty of each response, then fit its weights on all training stimuli."""
        shown = training(train, self.context.stimuli)
        tokens = np.asarray(tokens_of(shown.rows, self.context.stimuli), dtype=np.float32)
        y, n = shown.responses, len(shown.rows)
        held = np.random.default_rng(seed).permutation(n) < max(round(self.validation * n), 2)
        fields = self._fields(places(self.context.stimuli))
        best = np.full(y.shape[1], -np.inf)
        field, penalty = np.zeros(y.shape[1], dtype=int), np.full(y.shape[1], self.penalties[0], dtype=float)
        for number, weights in enumerate(fields):
            pooled = np.einsum("npc,p->nc", tokens, weights, optimize=True)
            path, usual = RidgePath(pooled[~held]), y[~held].mean(axis=0)
            along = path.along(pooled[held])
            for amount in self.penalties:
                inner, centre = path.shrunk(y[~held], amount)
                score = explained(y[held], along @ inner + centre, usual)
                better = score > best
                best[better], field[better], penalty[better] = score[better], number, amount
        self.field_, self.penalties_ = field, penalty
        self.weights_ = np.zeros((tokens.shape[2], y.shape[1]))
        self.intercept_ = np.zeros(y.shape[1])
        for number in np.unique(field):
            mine = np.flatnonzero(field == number)
            pooled = np.einsum("npc,p->nc", tokens, fields[number], optimize=True)
            self.weights_[:, mine], self.intercept_[mine] = RidgePath(pooled).coefficients(y[:, mine], penalty[mine])

    def _fields(self, where: np.ndarray) -> np.ndarray:
        """Return the candidates, (n_fields, n_tokens), each of sum 1."""
        edges = [np.linspace(0, where[:, axis].max(), self.side if np.ptp(where[:, axis]) else 1) for axis in (0, 1)]
        centres = np.array([[row, column] for row in edges[0] for column in edges[1]])
        far = ((where[None] - centres[:, None]) ** 2).sum(axis=2)
        # A field narrower than the tokens are apart takes the nearest one.
        made = np.concatenate([np.exp(-(far - far.min(axis=1, keepdims=True)) / (2 * s**2)) for s in self.sizes])
        return (made / made.sum(axis=1, keepdims=True)).astype(np.float32)

    def predict(self, test: Bundle) -> Bundle:
        """Return the responses (n_rows, n_responses) to the stimuli of the rows."""
        stimuli = self.context.stimuli
        names, index = np.unique(test.rows["target"].astype(str), return_inverse=True)
        tokens = np.asarray(tokens_of(rows_of(names, stimuli), stimuli), dtype=np.float64)
        fields = self._fields(places(stimuli))
        y_pred = np.empty((len(names), len(self.intercept_)))
        for number in np.unique(self.field_):
            mine = np.flatnonzero(self.field_ == number)
            pooled = np.einsum("npc,p->nc", tokens, fields[number], optimize=True)
            y_pred[:, mine] = pooled @ self.weights_[:, mine] + self.intercept_[mine]
        return encoded(test, y_pred[index])

    def n_configurations(self) -> int:
        """Return the number of places, sizes and penalties."""
        return self.side**2 * len(self.sizes) * len(self.penalties)

    def chosen(self) -> dict[str, Any]:
        """Return the usual penalty and size."""
        per_size = len(self.field_) and np.median(self.field_ // (self.side**2))
        return {
            "penalty": float(np.median(self.penalties_)),
            "size": float(self.sizes[min(int(per_size), len(self.sizes) - 1)]),
        }

    def described(self, task: str = "encode") -> str:
        """Return what it does, in words."""
        return text(
            "Feature-weighted receptive fields [@st2018] gave each response a Gaussian field and ridge weights of"
            " the"
            " channels pooled in it.",
            f"Its place (of {self.side} by {self.side}), its standard deviation ({numbers(self.sizes)} of the side of"
            " the"
            f" picture) and the ridge penalty ({numbers(self.penalties)}) were those that predicted"
            f" {percent(self.validation)} of the training stimuli best.",
        )
