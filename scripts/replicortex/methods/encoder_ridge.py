"""Ridge regression from the features of what is shown to responses: the usual linear encoding model.

Naselaris, Kay, Nishimoto & Gallant (2011), Encoding and decoding in fMRI. doi:10.1016/j.neuroimage.2010.07.073

Reproduced: a linear model of each response on all features of a stimulus (all channels at all places, or their mean
over places, or those of one token), ridge penalties chosen by cross-validation inside the training stimuli from a wide
and fine grid, one for each response or one for all, whichever predicts held-out stimuli better.

Differs: responses to a stimulus are averaged over its presentations before fitting.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field

from ..bundle import Bundle
from ..components import Method, component
from ..shared.encoding import RidgePath, encoded, rows_of, search, tokens_of, training
from ..shared.words import searched, spaced, text


@component
class EncoderRidge(Method):
    """Ridge regression of every response on the features of a stimulus.

    Parameters
    ----------
    features : {"all", "mean", "first"}
        All channels of all tokens; their mean over tokens; or those of the first token, the class token of many
        networks.
    lowest, highest : float
        Ends of the grid of penalties on standardised features.
    n_penalties, n_inner : int
        Penalties, evenly spaced on a logarithmic scale, and inner folds over stimuli.
    """

    tasks = frozenset({"encode"})
    needs = ("response",)
    # With as few stimuli as tests have, no model of all places can be right.
    tiny = {"features": "mean", "n_penalties": 9, "n_inner": 3}
    state = ("weights_", "intercept_", "penalties_", "gain_")

    features: Literal["all", "mean", "first"] = "all"
    lowest: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 1e-2
    highest: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 1e7
    n_penalties: Annotated[int, Field(ge=2)] = 29
    n_inner: Annotated[int, Field(ge=2)] = 5

    def fit(self, train: Bundle, seed: int) -> None:
        """Choose penalties and fit. Memory is that of the features of the training stimuli, float64."""
        shown = training(train, self.context.stimuli)
        x = self._features(shown.rows)
        penalties = np.geomspace(self.lowest, self.highest, self.n_penalties)
        self.penalties_, _, self.gain_ = search(x, shown.responses, penalties, self.n_inner, seed)
        weights, intercept = RidgePath(x).coefficients(shown.responses, self.penalties_)
        self.weights_, self.intercept_ = weights.astype(np.float32), intercept

    def _features(self, rows: np.ndarray) -> np.ndarray:
        tokens = np.asarray(tokens_of(rows, self.context.stimuli), dtype=np.float64)
        if self.features == "all":
            return tokens.reshape(len(tokens), -1)
        return tokens.mean(axis=1) if self.features == "mean" else tokens[:, 0]

    def predict(self, test: Bundle) -> Bundle:
        """Return the responses (n_rows, n_responses) to the stimuli of the rows."""
        names, index = np.unique(test.rows["target"].astype(str), return_inverse=True)
        x = self._features(rows_of(names, self.context.stimuli))
        return encoded(test, (x @ self.weights_ + self.intercept_)[index])

    def n_configurations(self) -> int:
        """Return the penalties, one for each response or one for all."""
        return 2 * self.n_penalties

    def chosen(self) -> dict[str, Any]:
        """Return the usual penalty and by how much own penalties were better than one for all."""
        return {"penalty": float(np.median(self.penalties_)), "gain_of_own_penalties": self.gain_}

    def described(self, task: str = "encode") -> str:
        """Return what it does, in words."""
        what = {
            "all": "all channels at all places of a stimulus",
            "mean": "the mean over places of each channel of a stimulus",
            "first": "the channels of the first token of a stimulus",
        }[self.features]
        grid = spaced("ridge penalty", self.lowest, self.highest, self.n_penalties)
        return text(
            f"Ridge regression [@hoerl1970] of each response on {what}, standardised on the training stimuli"
            " [@naselaris2011].",
            searched(self.n_inner, grid),
            "A penalty for each response, or one for all, was taken, whichever predicted better.",
        )
