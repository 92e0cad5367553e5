"""What the two mixed models of tables share: rows by site, a path of sparse solutions, and their predictions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from ..bundle import Bundle
from ..errors import InputError, did_you_mean
from .mixed_models import Likelihood, Sites, mixed_path
from .predictions import regressed
from .sparse_models import Models, SparseMethod


class MixedMethod(SparseMethod):
    """A sparse mixed model with a random intercept of each level of a row column; parameter ``site``."""

    tasks = frozenset({"regress"})

    @property
    def freedom(self) -> float:
        """Degrees of freedom of the distribution of a site; infinite for a Gaussian."""
        return np.inf

    def models(
        self, z: np.ndarray, rows: Mapping[str, np.ndarray], target: np.ndarray, amounts: Sequence[float] | None
    ) -> Models:
        """Return the models of a path, whose amounts are shares of the greatest of these rows."""
        return self.of_freedom(z, rows, target, self.freedom)

    def of_freedom(self, z: np.ndarray, rows: Mapping[str, np.ndarray], target: np.ndarray, freedom: float) -> Models:
        """Return the models for some degrees of freedom."""
        model, names = self._likelihood(z, rows, target, freedom)
        path = mixed_path(model, self.penalised(), self.shares, tolerance=self.tolerance)
        unpacked = [model.unpacked(at) for at in path.arguments]
        added = {"site": names, "intercept": np.array([model.intercepts(at) for at in path.arguments])}
        added["weight"] = np.array([model.weights(at) for at in path.arguments])
        return Models(
            coefficients=np.array([b for b, *_ in unpacked]),
            intercepts=np.array([m for _, m, *_ in unpacked]),
            amounts=self.shares,
            iterations=path.iterations,
            residuals=path.residuals,
            added=added,
        )

    def _likelihood(
        self, z: np.ndarray, rows: Mapping[str, np.ndarray], target: np.ndarray, freedom: float
    ) -> tuple[Likelihood, np.ndarray]:
        if self.site not in rows:
            known = [name for name in rows if name not in ("row_id", "target", "label")]
            fault = f"the rows have no column {self.site!r}"
            raise InputError("site", fault, did_you_mean(self.site, known) + "; name it in covariates of the study")
        names, code = np.unique(np.asarray(rows[self.site]).astype(str), return_inverse=True)
        order = np.argsort(code, kind="stable")
        return Likelihood(np.asfortranarray(z[order]), target[order], Sites.of(code[order]), freedom), names

    def quality(self, values: np.ndarray, target: np.ndarray) -> float:
        """Return the mean absolute error, negative: squares would leave the choice to sites that are far off."""
        return -float(np.mean(np.abs(target - values)))

    def more_found(self, z: np.ndarray, rows: Mapping[str, np.ndarray], target: np.ndarray, place: int) -> dict:
        """Return names, intercepts and weights of sites."""
        kept = ("intercept", "weight")
        return {"site": self.added_["site"], **{f"site_{name}": self.added_[name] for name in kept}}

    def predict(self, test: Bundle) -> Bundle:
        """Return predicted numbers, with the intercept of the row's site where training rows were of it."""
        return regressed(test, self.values(test.with_rows(site=test.rows[self.site])))
