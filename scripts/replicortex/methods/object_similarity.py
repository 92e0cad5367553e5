"""Similarities from known features of the objects, with a fitted weight of each feature.

Peterson, Abbott & Griffiths (2018), Evaluating (and improving) the correspondence between deep neural networks and
human representations. Cognitive Science 42. doi:10.1111/cogs.12670

Reproduced: the similarity of two objects is the dot product of their features (a published embedding, word vectors,
activations of a network), each feature with a weight that is fitted to what people say, with an L2 penalty chosen on
data kept back. Differs: weights are fitted to choices of the odd one out by multinomial logistic regression, and drawn
towards one weight for all features, so that a great penalty leaves the plain dot product.
"""

from __future__ import annotations

from typing import Annotated, Any

import numpy as np
from pydantic import Field

from ..bundle import Bundle
from ..components import Method, component
from ..errors import InputError
from ..shared.predictions import classified
from ..shared.triplets import KEPT, POSITIONS, likelihood, objects_of, odd_one, softmax
from ..shared.words import among, percent, searched, text

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
#: Steps of Newton's method; it converges in less than ten, since the loss is convex.
_MOST_STEPS, _DONE = 30, 1e-9


@component
class ObjectSimilarity(Method):
    """The pair with the greatest weighted dot product of features stays together.

    Parameters
    ----------
    penalties : list of float
        Weights of the squared distance of the features' weights from their common one; chosen on choices kept back
        where there are several. From 1e6 on features have the same weight.
    validation : float
        Share of the training choices that are kept back for it.
    """

    tasks = frozenset({"classify"})
    needs = ("object", "object_features")
    tiny = {"penalties": [1.0, 1e6]}
    state = ("weights_", "chosen_")

    penalties: Annotated[list[Positive], Field(min_length=1)] = [
        *(1.0e6, 1.0e4, 3.0e3, 1.0e3, 300.0, 100.0, 30.0, 10.0, 3.0, 1.0, 0.3, 0.1),
    ]
    validation: Annotated[float, Field(gt=0, lt=0.5)] = 0.1

    def fit(self, train: Bundle, seed: int) -> None:
        """Choose the penalty, then fit the weights on all training choices."""
        products, odd = _products(train), odd_one(train)
        held = np.zeros(len(odd), dtype=bool)
        self.chosen_ = {"penalty": self.penalties[0]}
        if len(self.penalties) > 1:
            held[np.random.default_rng(seed).permutation(len(odd))[: round(self.validation * len(odd))]] = True
            fits = [_fitted(products[~held], odd[~held], penalty) for penalty in self.penalties]
            scores = [likelihood(products[held] @ weights, odd[held]) for weights in fits]
            best = int(np.argmax(scores))
            self.chosen_ = {"penalty": self.penalties[best], "inner_score": scores[best]}
        self.weights_ = _fitted(products, odd, self.chosen_["penalty"])

    def predict(self, test: Bundle) -> Bundle:
        """Return the score of each position to be the odd one, and the objects ``x`` for metrics of the truth."""
        told = classified(test, _products(test) @ self.weights_, np.array(POSITIONS))
        axes = {**told.axes, "object": test.axes["object"]}
        return Bundle({**told.arrays, "x": np.asarray(test["x"])}, told.rows, axes, told.meta)

    def chosen(self) -> dict[str, Any]:
        """Return penalty and inner score."""
        return dict(self.chosen_)

    def found(self) -> dict[str, np.ndarray]:
        """Return the weights of the features."""
        return {"weights": self.weights_}

    def n_configurations(self) -> int:
        """Return the number of configurations tried."""
        return len(self.penalties)

    def described(self, task: str = "classify") -> str:
        """Return what it does, in words."""
        tuned = searched(1, among("the penalty on differences between weights", self.penalties))
        return text(
            "The similarity of two objects was the weighted dot product of their features, the weights fitted to the"
            " choices by multinomial logistic regression [@peterson2018].",
            tuned.replace(
                "nested search over one inner fold", f"{percent(self.validation)} of the training choices, kept back"
            ),
        )


def _products(bundle: Bundle) -> np.ndarray:
    """Return the products of the features of the pair that stays, scaled: (n_rows, 3, n_features)."""
    features = np.asarray(bundle.axes["object_features"], dtype=np.float64)
    if features.shape[:1] != (len(bundle.axes["object"]),) or features.ndim != 2:
        raise InputError("features", "do not have features of every object", "choose another feature card")
    # Of all pairs of objects, whichever were shown.
    size = np.linalg.norm(features @ features.T) / len(features)
    parts = features[objects_of(bundle)] / np.sqrt(max(size, 1e-12))
    return np.stack([parts[:, a] * parts[:, b] for a, b in KEPT], axis=1)


def _fitted(products: np.ndarray, odd: np.ndarray, penalty: float) -> np.ndarray:
    """Return the weights of features (n_features,): Newton's method on the penalised log-likelihood.

    Cost: O(n_rows n_features^2) a step.
    """
    n_features = products.shape[2]
    common = np.full((n_features, n_features), 1 / n_features)
    # Differences between weights are penalised, their mean (how sure choices are) nearly not.
    shrinkage = penalty * (np.eye(n_features) - common) + 1e-3 * common
    weights, observed = np.zeros(n_features), products[np.arange(len(odd)), odd].sum(axis=0)
    value = -np.inf
    for _ in range(_MOST_STEPS):
        chances = softmax(products @ weights)
        expected = np.einsum("np,npf->nf", chances, products)
        gradient = observed - expected.sum(axis=0) - shrinkage @ weights
        spread = np.einsum("np,npf,npg->fg", chances, products, products, optimize=True) - expected.T @ expected
        step = np.linalg.solve(spread + shrinkage, gradient)
        scale = 1.0
        while scale > 1e-6:
            tried = weights + scale * step
            reached = len(odd) * likelihood(products @ tried, odd) - 0.5 * tried @ shrinkage @ tried
            if reached >= value:
                break
            scale /= 2
        weights, gained, value = tried, reached - value, reached
        if gained < _DONE * max(1.0, abs(value)):
            break
    return weights
