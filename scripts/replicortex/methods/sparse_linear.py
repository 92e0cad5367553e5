"""Sparse linear or logistic regression with the SCAD, MCP or L1 penalty, by an accelerated gradient method.

Yang K., Asgharian M., Bhatnagar S. 2020, Accelerated gradient methods for sparse statistical learning with nonconvex
penalties. doi:10.48550/arXiv.2009.10629; penalties: Fan & Li 2001, doi:10.1198/016214501753382273; Zhang 2010,
doi:10.1214/09-AOS729

Reproduced: the accelerated gradient method of Ghadimi and Lan with the settings that minimise the bound of its rate,
restarts, the solution path with the sequential strong rule, for squared errors and for two classes.
Differs: a check brings back what the rule left out wrongly (for penalties that are not convex the rule is a guess);
iterations end by the size of the gradient mapping; the amount of penalty is chosen by nested cross-validation.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Literal

import numpy as np
from pydantic import Field, PositiveFloat, PositiveInt

from ..bundle import Bundle
from ..components import component
from ..errors import InputError
from ..shared.accelerated import Loss, greatest_amount, solution_path
from ..shared.linear_search import quick_score
from ..shared.predictions import predicted, two_columns
from ..shared.sparse_models import Models, SparseMethod
from ..shared.words import count, digits, text


@component
class SparseLinear(SparseMethod):
    """Linear regression of numbers, logistic regression of two classes, with a penalty that selects variables.

    Parameters
    ----------
    penalty : {"scad", "mcp", "l1"}
        Which penalty; L1 is the lasso.
    n_amounts : int
        Amounts of penalty that the nested search tries.
    least_share : float
        The least of them, as a share of the least that leaves no variable.
    n_inner : int
        Inner folds of the search.
    solver : {"accelerated", "proximal_gradient"}
        The paper's method, or the plain one that it is compared with; both find the same.
    tolerance : float
        Greatest entry of the gradient mapping at which iterations end, as a share of the greatest amount of penalty.

    Notes
    -----
    A path costs O(n p) for every amount of penalty and O(m^2) for every iteration, m being the variables left by the
    rule; memory is a few times that of the features in double precision.
    """

    tasks = frozenset({"classify", "regress"})
    tiny = {"n_amounts": 8, "n_inner": 2}

    penalty: Literal["scad", "mcp", "l1"] = "scad"
    n_amounts: PositiveInt = 50
    least_share: Annotated[float, Field(gt=0, lt=1)] = 0.1
    n_inner: PositiveInt = 5
    solver: Literal["accelerated", "proximal_gradient"] = "accelerated"
    tolerance: PositiveFloat = 1e-6

    def checked(self, target: np.ndarray) -> np.ndarray:
        """Return numbers, or for two classes whether a row is of the second."""
        if target.dtype.kind != "U":
            return super().checked(target)
        self.classes_ = np.unique(target)
        if len(self.classes_) != 2:
            fault = f"are of {count(len(self.classes_), 'class', 'classes')}"
            raise InputError("training rows", fault, "choose two classes in the study card")
        return target == self.classes_[1]

    def models(
        self, z: np.ndarray, rows: Mapping[str, np.ndarray], target: np.ndarray, amounts: Sequence[float] | None
    ) -> Models:
        """Return the models of the solution path."""
        loss = Loss(z, target)
        greatest = greatest_amount(loss) or 1.0
        amounts = np.asarray(greatest * self.shares if amounts is None else amounts)
        # Rows must not decide when to stop by the units of the target.
        path = solution_path(
            loss,
            self.penalised(),
            amounts,
            solver=self.solver,
            tolerance=self.tolerance * float(amounts[0]),
            most_share=1 / 3,
        )
        if loss.logistic:
            coefficients, intercepts = path.coefficients[:, :-1], path.coefficients[:, -1]
        else:
            coefficients = path.coefficients
            intercepts = target.mean() - coefficients @ z.mean(axis=0)
        return Models(coefficients, intercepts, amounts, path.iterations, path.residuals, {})

    def quality(self, values: np.ndarray, target: np.ndarray) -> float:
        """Return the area under the curve, or the share of the variance that is explained."""
        if target.dtype == bool:
            return quick_score(target, two_columns(values), np.array([False, True]))
        spread = float(np.sum((target - target.mean()) ** 2))
        return 1 - float(np.sum((target - values) ** 2)) / spread if spread > 0 else 0.0

    def predict(self, test: Bundle) -> Bundle:
        """Return log odds, or predicted numbers."""
        values = self.values(test)
        return predicted(test, two_columns(values) if len(self.classes_) else values, self.classes_)

    def described(self, task: str = "classify") -> str:
        """Return what it does, in words."""
        model = "A linear regression" if task == "regress" else "A logistic regression"
        solver = {
            "accelerated": "an accelerated gradient method for penalties that are not convex [@yang2020; @ghadimi2016]",
            "proximal_gradient": "the proximal gradient method",
        }[self.solver]
        return text(
            f"{model} with {self.penalised().described()} was fitted to standardised variables by {solver}, along a"
            " path of amounts of penalty, with the sequential strong rule [@tibshirani2012] and a check of all"
            f" variables, until no entry of the gradient mapping was above {digits(self.tolerance)} of the greatest"
            " amount; the path ended once a third as many variables were in as there were rows.",
            self.search_words(),
        )
