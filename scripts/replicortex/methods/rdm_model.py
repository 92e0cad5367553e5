"""A candidate model of a region: its dissimilarities, held against those of people.

Kriegeskorte et al. (2008), Matching categorical object representations in inferior temporal cortex of man and monkey.
doi:10.1016/j.neuron.2008.10.043

Reproduced: the dissimilarities of a model are compared by their ranks with those measured in each person; nothing of
the person is used. Without a model the mean of ranks of the other people is what is compared, the lower bound of the
noise ceiling (Nili et al. 2014, doi:10.1371/journal.pcbi.1003553). Differs: people are held out one at a
time, which makes the ceiling a prediction like all others; the upper bound, which contains the person, is none and is
left out. The log-likelihood is that of ranks which are normal about the model's, with the correlation found in the
training people.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.stats import rankdata

from ..bundle import Bundle
from ..components import Method, component
from ..errors import InputError, did_you_mean
from ..shared.rdm import pooled
from ..shared.words import text


@component
class RdmModel(Method):
    """Dissimilarities that one model says everybody has.

    Parameters
    ----------
    model : str or None
        Name of the model, one of the features' axis ``model``; ``None`` for the other people.
    """

    tasks = frozenset({"infer"})
    needs = ("pair",)
    tiny = {}
    state = ("rdm_", "correlation_")

    model: str | None = None

    def fit(self, train: Bundle, seed: int) -> None:
        """Take the model, or the mean of ranks of the training rows; find how well it fits these."""
        x = np.asarray(train["x"], dtype=np.float64)
        if self.model is None:
            self.rdm_ = pooled(x, "spearman")
        else:
            known = [str(name) for name in train.axes.get("model", ())]
            if self.model not in known:
                raise InputError("features", f"have no model {self.model!r}", did_you_mean(self.model, known))
            self.rdm_ = np.asarray(train["models"], dtype=np.float64)[0, known.index(self.model)]
        found = np.mean(_standard(x) @ _standard(self.rdm_[None])[0]) / x.shape[1]
        # One that fits perfectly would say that anything else is impossible.
        self.correlation_ = float(np.clip(found, -0.999, 0.999))

    def predict(self, test: Bundle) -> Bundle:
        """Return ``log_likelihood`` (n_rows,), ``y_pred`` and ``response``, the model's and the measured pairs."""
        x = np.asarray(test["x"], dtype=np.float64)
        left = 1 - self.correlation_**2
        gap = _standard(x) - self.correlation_ * _standard(self.rdm_[None])
        density = -0.5 * (np.log(2 * np.pi * left) * x.shape[1] + (gap**2).sum(axis=1) / left)
        arrays = {"log_likelihood": density, "y_pred": np.tile(self.rdm_, (len(x), 1)), "response": x}
        return Bundle(arrays, test.rows, {"pair": list(test.axes.get("pair", range(x.shape[1])))}, test.meta)

    def chosen(self) -> dict[str, Any]:
        """Return the correlation of ranks in the training rows."""
        return {"training_correlation": self.correlation_}

    def described(self, task: str = "infer") -> str:
        """Return what it does, in words."""
        if self.model is None:
            return "The mean of ranks of the other participants' matrices is the lower noise ceiling [@nili2014]."
        return text(
            f"The model “{self.model}” has one matrix of dissimilarities for everybody, which was compared with that of"
            " each participant [@kriegeskorte2008b]."
        )


def _standard(rdms: np.ndarray) -> np.ndarray:
    """Return the ranks of each row with mean 0 and variance 1; 0 where all are the same."""
    ranks = rankdata(rdms, axis=1)
    ranks -= ranks.mean(axis=1, keepdims=True)
    scale = ranks.std(axis=1, keepdims=True)
    return np.divide(ranks, scale, out=np.zeros_like(ranks), where=scale > 0)
