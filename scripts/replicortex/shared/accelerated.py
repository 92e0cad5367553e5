"""Sparse linear and logistic regression by an accelerated gradient method for penalties that are not convex.

Yang, Asgharian & Bhatnagar (2020), Accelerated gradient methods for sparse statistical learning with nonconvex
penalties. doi:10.48550/arXiv.2009.10629, after Ghadimi & Lan (2016), doi:10.1007/s10107-015-0871-8; screening by
Tibshirani and others (2012), doi:10.1111/j.1467-9868.2011.01004.x.

What is minimised is ``loss(b) + sum of penalty(b_j)``, the loss being the mean over rows of half the squared error or
of the negative log-likelihood of two classes. Scale: an iteration costs O(n m), or O(m^2) for squared errors, for the m
variables that the rule leaves; a path adds O(n p) for every amount of penalty and every check.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy.special import expit

from .penalties import Penalty, soft

Solver = Literal["accelerated", "proximal_gradient"]


@dataclass(frozen=True)
class Solution:
    """Coefficients (p,), the iterations that they took, and whether the gap asked for was reached."""

    x: np.ndarray
    n_iterations: int
    converged: bool


def minimise(
    gradient: Callable[[np.ndarray], np.ndarray],
    lipschitz: float,
    penalty: Penalty,
    amount: np.ndarray | float,
    start: np.ndarray,
    *,
    solver: Solver = "accelerated",
    tolerance: float = 1e-7,
    most: int = 5000,
) -> Solution:
    """Return a stationary point of a smooth loss plus a penalty.

    The concave part of the penalty goes to the loss. ``accelerated`` has the damping that minimises the bound of the
    rate of convergence, steps of 0.99 / L, and begins anew where the iterates slow down; ``proximal_gradient`` has the
    same steps and nothing else.

    Parameters
    ----------
    gradient : callable
        Of the loss, (m,) to (m,).
    lipschitz : float
        A Lipschitz constant of it, for a convex loss.
    amount : float or ndarray of shape (m,)
        Lambda of the penalty.
    start : ndarray of shape (m,)
    tolerance : float
        Greatest entry of the gradient mapping, the change of a proximal gradient step over its length, at the end.
    most : int
        Iterations after which it gives up.
    """
    # The Hessian of a convex loss is never negative, that of the concave part never positive: the greater of both.
    step = 0.99 / max(lipschitz, penalty.concavity, 1e-300)
    reach = step * np.asarray(amount, dtype=float)
    x, middle, best = start, start, start
    damping, before, speed, since = 1.0, 1.0, 1.0, 0
    concave = penalty.kind != "l1"
    for number in range(1, most + 1):
        if solver == "accelerated":
            if before > speed and number - since >= 3:
                damping, since = 1.0, number
            else:
                damping = 2 / (1 + np.sqrt(1 + 4 / damping**2))
            moved = best + damping * (x - best)
            change = moved - middle
            before, speed = speed, float(np.sqrt(change @ change))
            middle = moved
        else:
            middle = best
        slope = gradient(middle)
        if concave:
            slope = slope + penalty.concave_gradient(middle, amount)
        best = soft(middle - step * slope, reach)
        if np.abs(middle - best).max(initial=0.0) <= tolerance * step:
            return Solution(best, number, True)
        if solver == "accelerated":
            x = soft(x - step / damping * slope, reach / damping)
    return Solution(best, most, False)


class Loss:
    """Mean over rows of half the squared error, or of the negative log-likelihood of two classes.

    Parameters
    ----------
    x : ndarray of shape (n, p)
        Standardised; of squared errors at least centred, which takes the place of an intercept.
    y : ndarray of shape (n,)
        Numbers, centred here; or truth values, which make the loss logistic, with an intercept as a further
        coefficient at the end that is not penalised.
    """

    def __init__(self, x: np.ndarray, y: np.ndarray) -> None:
        self.logistic = y.dtype == bool
        self.n_rows, self.n_variables = x.shape
        self.x = np.asfortranarray(np.column_stack([x, np.ones(len(x))]) if self.logistic else x)
        self.y = y.astype(float) if self.logistic else y - y.mean()

    def start(self) -> np.ndarray:
        """Return the coefficients of a model without variables."""
        b = np.zeros(self.x.shape[1])
        if self.logistic:
            b[-1] = np.log(self.y.sum() / (len(self.y) - self.y.sum()))
        return b

    def amounts(self, amount: float) -> np.ndarray | float:
        """Return lambda of each coefficient."""
        if not self.logistic:
            return amount
        return np.append(np.full(self.n_variables, float(amount)), 0.0)

    def value(self, b: np.ndarray) -> float:
        """Return the loss."""
        margin = self.x @ b
        if self.logistic:
            return float(np.mean(np.logaddexp(0, margin) - self.y * margin))
        return float(np.mean((self.y - margin) ** 2) / 2)

    def gradient(self, b: np.ndarray) -> np.ndarray:
        """Return its gradient; only the variables that are not zero are read to make the margin. O(n p)."""
        used = np.flatnonzero(b)
        margin = self.x[:, used] @ b[used]
        return (expit(margin) - self.y if self.logistic else margin - self.y) @ self.x / self.n_rows

    def among(self, columns: np.ndarray) -> tuple[Callable[[np.ndarray], np.ndarray], float]:
        """Return the gradient of the loss as a function of these coefficients alone, and its Lipschitz constant."""
        z = self.x[:, columns]
        small = len(columns) <= self.n_rows
        gram = (z.T @ z if small else z @ z.T) / self.n_rows
        largest = float(np.linalg.eigvalsh(gram)[-1]) if len(columns) else 0.0
        if self.logistic:
            return lambda b: (expit(z @ b) - self.y) @ z / self.n_rows, largest / 4
        if not small:
            return lambda b: (z @ b - self.y) @ z / self.n_rows, largest
        along = self.y @ z / self.n_rows
        return lambda b: gram @ b - along, largest


@dataclass(frozen=True)
class Path:
    """Solutions for a falling amount of penalty.

    Parameters
    ----------
    coefficients : ndarray of shape (n_amounts, p)
        With the intercept at the end if the loss is logistic.
    iterations : ndarray of int of shape (n_amounts,)
        Of the solver, repeats after a failed check included.
    residuals : ndarray of shape (n_amounts,)
        Greatest violation of the conditions of a stationary point over all variables.
    n_tried : ndarray of int of shape (n_amounts,)
        Variables that the rule left.
    n_failed : int
        Variables that it left out and the check brought back.
    """

    coefficients: np.ndarray
    iterations: np.ndarray
    residuals: np.ndarray
    n_tried: np.ndarray
    n_failed: int


def greatest_amount(loss: Loss) -> float:
    """Return the smallest amount of penalty that leaves no variable."""
    return float(np.abs(loss.gradient(loss.start())[: loss.n_variables]).max(initial=0.0))


def solution_path(
    loss: Loss,
    penalty: Penalty,
    amounts: Sequence[float],
    *,
    solver: Solver = "accelerated",
    tolerance: float = 1e-7,
    most: int = 5000,
    most_share: float = np.inf,
) -> Path:
    """Return the solutions for ``amounts``, from the greatest to the least, each starting from the one before.

    The sequential strong rule leaves out variables whose gradient at the last solution is below twice this amount less
    the last; a check of all variables then brings back what it left out wrongly, and solves again. Once more variables
    are in than ``most_share`` of the number of rows the path ends, and its last solution stands for the rest.
    """
    b, gradient = loss.start(), loss.gradient(loss.start())
    penalised = np.ones(len(b), dtype=bool)
    penalised[loss.n_variables :] = False
    last = max(float(np.abs(gradient[penalised]).max(initial=0.0)), max(amounts, default=0.0))
    found, iterations, residuals, tried, n_failed = [], [], [], [], 0
    for amount in amounts:
        if found and np.count_nonzero(b[penalised]) > most_share * loss.n_rows:
            found.append(b)
            iterations.append(0)
            residuals.append(residuals[-1])
            tried.append(0)
            continue
        lam = loss.amounts(amount)
        keep = ~penalised | (b != 0) | (np.abs(gradient) >= 2 * amount - last)
        n_iterations = 0
        while True:
            columns = np.flatnonzero(keep)
            slope, lipschitz = loss.among(columns)
            here = lam[columns] if isinstance(lam, np.ndarray) else lam
            solution = minimise(
                slope, lipschitz, penalty, here, b[columns], solver=solver, tolerance=tolerance, most=most
            )
            n_iterations += solution.n_iterations
            b = np.zeros(len(b))
            b[columns] = solution.x
            gradient = loss.gradient(b)
            wrong = ~keep & (np.abs(gradient) > amount + tolerance)
            if not wrong.any():
                break
            n_failed += int(wrong.sum())
            keep |= wrong
        found.append(b)
        iterations.append(n_iterations)
        residuals.append(float(penalty.residual(b, gradient, lam).max(initial=0.0)))
        tried.append(len(columns))
        last = amount
    return Path(np.array(found), np.array(iterations), np.array(residuals), np.array(tried), n_failed)
