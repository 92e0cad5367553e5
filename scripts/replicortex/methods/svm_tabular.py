"""Support vector machine with a Gaussian kernel on tables, explained by Shapley values.

Cortes C., Vapnik V. 1995, Support-vector networks. doi:10.1007/BF00994018
Bloch L., Friedrich C. M. 2022, doi:10.1007/s42979-022-01371-y (the workflow)

Reproduced: the third black box of the workflow; cost and kernel width chosen by cross-validation on training rows;
Shapley values that know nothing of the model, exact for few variables and sampled for more.
Differs: values are of the decision value, and sampled by orders of the variables where these are many.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field, PositiveFloat, PositiveInt

from ..components import component
from ..shared.tabular import Explain, TabularMethod


@component
class SvmTabular(TabularMethod):
    """Support vector machine for two classes, radial basis functions.

    Parameters
    ----------
    cost : list of float
        Costs of violations that the nested search tries.
    width : list of float
        Factors on the kernel's coefficient 1 / n_variables (of standardised variables) that it tries.
    groups, selection, most_selected, n_inner, explain
        As in ``xgboost_tabular``.
    """

    tiny = {
        "cost": [1.0], "width": [0.5], "n_inner": 2,
        "explain": {"n_background": 4, "n_rows": 10, "repeats": 1, "refits": 1},
    }  # fmt: skip
    grid = {"cost": "the cost", "width": "the factor on the kernel's coefficient"}
    standardised = True

    cost: Annotated[list[PositiveFloat], Field(min_length=1)] = [0.1, 1.0, 10.0, 100.0]
    width: Annotated[list[PositiveFloat], Field(min_length=1)] = [0.1, 1.0]
    groups: list[str] | None = None
    selection: Literal["none", "forward"] = "none"
    most_selected: PositiveInt = 10
    n_inner: PositiveInt = 3
    explain: Explain = Explain()

    def fitted(self, x: np.ndarray, positive: np.ndarray, configuration: Mapping[str, Any], seed: int) -> Any:
        """Return the machine as its support vectors, their weights, the intercept, and the kernel's coefficient."""
        from sklearn.svm import SVC

        gamma = configuration["width"] / x.shape[1]
        machine = SVC(C=configuration["cost"], gamma=gamma, cache_size=100).fit(x, positive)
        return [machine.support_vectors_, machine.dual_coef_[0], float(machine.intercept_[0]), gamma]

    def margin(self, model: Any, x: np.ndarray) -> np.ndarray:
        """Return decision values."""
        vectors, weights, intercept, gamma = model
        values = np.empty(len(x))
        # Blocks that stay in the processor's cache, and in place: to ask for memory would take longer than to count.
        step = max(1, (1 << 16) // max(1, len(vectors)))
        across, size = 2 * gamma * vectors.T, gamma * (vectors**2).sum(axis=1)
        for start in range(0, len(x), step):
            rows = x[start : start + step]
            near = rows @ across
            near -= size
            near -= gamma * (rows**2).sum(axis=1)[:, None]
            np.exp(np.minimum(near, 0, out=near), out=near)
            values[start : start + step] = near @ weights
        return values + intercept

    def described(self, task: str = "classify") -> str:
        """Return what it does, in words."""
        return self.words("A support vector machine with a Gaussian kernel [@cortes1995]", sampled=True)
