"""What sparse models of tables share: standardised variables, nested search of the penalty, and what was found.

A subclass says how a path of solutions is made; this module chooses among them on training rows, and hands on the
coefficients in the units of the variables, so that metrics can compare them with what was planted.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..bundle import Bundle
from ..components import Method
from .linear_search import task_folds
from .moments import moments
from .penalties import SHAPES, Penalty
from .vectors import as_matrix, variable_names
from .words import searched, spaced


@dataclass(frozen=True)
class Models:
    """Models for a falling amount of penalty, of standardised variables.

    Parameters
    ----------
    coefficients : ndarray of shape (n_amounts, p)
    intercepts : ndarray of shape (n_amounts,)
    amounts : ndarray of shape (n_amounts,)
        Lambda.
    iterations : ndarray of int of shape (n_amounts,)
    residuals : ndarray of shape (n_amounts,)
        By how much the conditions of a stationary point are missed.
    added : mapping of str to ndarray
        What more is added to predictions: site names, and the intercepts of each for every amount.
    """

    coefficients: np.ndarray
    intercepts: np.ndarray
    amounts: np.ndarray
    iterations: np.ndarray
    residuals: np.ndarray
    added: Mapping[str, np.ndarray]


class SparseMethod(Method):
    """A sparse model; it has the parameters ``penalty``, ``n_amounts``, ``least_share`` and ``n_inner``."""

    state = ("moments_", "weights_", "added_", "classes_", "search_", "found_")

    @abstractmethod
    def models(
        self, z: np.ndarray, rows: Mapping[str, np.ndarray], target: np.ndarray, amounts: Sequence[float] | None
    ) -> Models:
        """Return models of standardised ``z`` (n, p) for these amounts, or where ``None`` for a grid of its own."""

    @abstractmethod
    def quality(self, values: np.ndarray, target: np.ndarray) -> float:
        """Return how good predictions of held-out rows are, greater is better."""

    def more_found(self, z: np.ndarray, rows: Mapping[str, np.ndarray], target: np.ndarray, place: int) -> dict:
        """Return what else a fit finds out, beside coefficients; ``place`` is that of the amount chosen."""
        return {}

    @property
    def shares(self) -> np.ndarray:
        """Amounts of penalty tried, in those of the least that leaves no variable; all of them leave some."""
        return np.geomspace(1.0, self.least_share, self.n_amounts + 1)[1:]

    def penalised(self) -> Penalty:
        """Return the penalty."""
        return Penalty(self.penalty, SHAPES[self.penalty])

    def fit(self, train: Bundle, seed: int) -> None:
        """Choose the amount of penalty in inner folds, then fit on all training rows."""
        x, rows, target = as_matrix(train), train.rows, self.checked(train.rows["target"])
        self.moments_ = moments(x)
        z = self._standardised(x, self.moments_)
        made = self.models(z, rows, target, None)
        folds = task_folds(train, self.n_inner, seed) if len(made.amounts) > 1 else []
        scores = np.zeros((len(folds), len(made.amounts)))
        for number, (inner, held) in enumerate(folds):
            of = moments(x[inner])
            sides = [{name: column[side] for name, column in rows.items()} for side in (inner, held)]
            tried = self.models(self._standardised(x[inner], of), sides[0], target[inner], made.amounts)
            z_held = self._standardised(x[held], of)
            for place in range(len(made.amounts)):
                values = _predicted(z_held, sides[1], tried, place)
                scores[number, place] = self.quality(values, target[held])
        # The first of equals is the model with the fewest variables.
        place = int(np.argmax(scores.mean(axis=0))) if len(folds) else len(made.amounts) // 2
        scale = self.moments_[1]
        self.weights_ = [made.coefficients[place], float(made.intercepts[place])]
        self.added_ = {name: value if name == "site" else value[place] for name, value in made.added.items()}
        names = variable_names(train, "x", x.shape[1])
        if len(set(names)) < len(names):
            # Coefficients are told by name.
            names = [str(number) for number in range(len(names))]
        # Those that are out come after those that are in, by what they would be taken by.
        marginal = np.abs(z.T @ (target - target.mean()))
        order = np.lexsort((-marginal, -np.abs(self.weights_[0])))
        self.search_ = {
            "penalty_amount": float(made.amounts[place]),
            "share": float(self.shares[place]),
            "n_selected": int(np.count_nonzero(self.weights_[0])),
            **({"inner_score": float(scores.mean(axis=0)[place])} if len(folds) else {}),
            "ranking": [names[index] for index in order[:100]],
        }
        self.found_ = {
            "variable": np.array(names),
            "coefficients": self.weights_[0] / scale,
            "iterations": made.iterations,
            "residuals": made.residuals,
            **self.more_found(z, rows, target, place),
        }

    def checked(self, target: np.ndarray) -> np.ndarray:
        """Return the target in the form that models take."""
        self.classes_ = np.empty(0)
        return np.asarray(target, dtype=np.float64)

    def values(self, test: Bundle) -> np.ndarray:
        """Return predicted numbers, or log odds."""
        z = self._standardised(as_matrix(test), self.moments_)
        values = z @ self.weights_[0] + self.weights_[1]
        return values + _of_sites(test.rows, self.added_)

    @staticmethod
    def _standardised(x: np.ndarray, of: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
        # What is missing is the mean of the training rows.
        return np.nan_to_num((x - of[0]) / of[1], copy=False, nan=0.0, posinf=0.0, neginf=0.0)

    def chosen(self) -> dict[str, Any]:
        """Return the amount of penalty, the number of variables, and names, the largest coefficients first."""
        return dict(self.search_)

    def found(self) -> dict[str, np.ndarray]:
        """Return ``variable`` (names) and ``coefficients`` (p,) in units of the target over those of the variable.

        And ``iterations`` and ``residuals`` (violation of the conditions of a stationary point) of each amount tried.
        """
        return dict(self.found_)

    def n_configurations(self) -> int:
        """Return the number of amounts tried."""
        return self.n_amounts

    def search_words(self) -> str:
        """Return what the nested search chose."""
        return searched(
            self.n_inner,
            spaced(
                "the amount of penalty, as a share of the least that leaves no variable,",
                round(float(self.shares.min()), 4),
                round(float(self.shares.max()), 4),
                self.n_amounts,
            ),
        )


def _predicted(z: np.ndarray, rows: Mapping[str, np.ndarray], made: Models, place: int) -> np.ndarray:
    added = {name: value if name == "site" else value[place] for name, value in made.added.items()}
    return z @ made.coefficients[place] + made.intercepts[place] + _of_sites(rows, added)


def _of_sites(rows: Mapping[str, np.ndarray], added: Mapping[str, np.ndarray]) -> np.ndarray | float:
    """Return the intercept of each row's site; 0, what is expected, of a site that no training row had."""
    if not added:
        return 0.0
    names, values = added["site"], added["intercept"]
    site = np.asarray(rows["site"]).astype(str)
    place = np.minimum(np.searchsorted(names, site), len(names) - 1)
    return np.where(names[place] == site, values[place], 0.0)
