"""A second real sample: training volumes, returned as if they had been generated.

Heusel et al. (2017), GANs trained by a two time-scale update rule converge to a local Nash equilibrium (which
introduced the Frechet distance of generated images). doi:10.48550/arXiv.1706.08500

Reproduced: the distance between two samples of real data, below which no generator can be told from the real thing.
Differs: it generates nothing. It is the floor of every distance between distributions, and what a check of
memorisation must find. Its model is the training volumes themselves, which no other model here keeps: of people who
did not agree to it, it may not be handed on.
"""

from __future__ import annotations

import numpy as np

from ..bundle import Bundle
from ..components import Method, component
from ..shared.generation import generated


@component
class RealSample(Method):
    """Draws training volumes without replacement, again from the start where more are asked for than there are."""

    tasks = frozenset({"generate"})
    needs = ("x_mm", "y_mm", "z_mm")
    state = ("volumes_", "seed_")
    tiny = {}

    def fit(self, train: Bundle, seed: int) -> None:
        """Keep the training volumes."""
        self.volumes_, self.seed_ = np.asarray(train["x"], dtype=np.float32), seed

    def predict(self, test: Bundle) -> Bundle:
        """Return one training volume for each held-out row."""
        rng = np.random.default_rng([self.seed_, 1])
        n_rounds = -(-len(test) // len(self.volumes_))
        order = np.concatenate([rng.permutation(len(self.volumes_)) for _ in range(n_rounds)])[: len(test)]
        return generated(test, self.volumes_[order])

    def described(self, task: str = "generate") -> str:
        """Return what it does, in words."""
        return (
            "Volumes of training participants, drawn at random, stood for generated ones: the distance between two"
            " samples of real data is the floor of what a generator can reach [@heusel2017]."
        )
