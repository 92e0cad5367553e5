"""Penalties that make coefficients exactly zero: the absolute value, SCAD and MCP.

Fan & Li (2001), doi:10.1198/016214501753382273 (SCAD); Zhang (2010), doi:10.1214/09-AOS729 (MCP). Both rise like the
absolute value at zero, so that small coefficients become zero, and are constant from some size on, so that large ones
are not shrunk.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from .words import digits

Kind = Literal["l1", "scad", "mcp"]
#: Where SCAD and MCP turn constant, in units of lambda: Fan and Li's choice, and the usual one of MCP.
SHAPES = {"l1": np.inf, "scad": 3.7, "mcp": 3.0}


def soft(x: np.ndarray, by: np.ndarray | float) -> np.ndarray:
    """Return ``x`` with its magnitude reduced by ``by``, and zero where that is the greater."""
    return x - np.clip(x, -by, by)


@dataclass(frozen=True)
class Penalty:
    """A penalty of single coefficients; ``amount`` (lambda) is a number, or one of each coefficient, 0 for none.

    The penalty is the absolute value times ``amount`` plus a smooth concave part, whose gradient has the Lipschitz
    constant ``concavity``: what is not smooth is then soft thresholding alone, and the rest can be accelerated.

    Parameters
    ----------
    kind : {"l1", "scad", "mcp"}
    shape : float
        From ``shape * amount`` on SCAD (its a, above 2) and MCP (its gamma, above 1) are constant.
    """

    kind: Kind = "scad"
    shape: float = 3.7

    @property
    def concavity(self) -> float:
        """Lipschitz constant of the gradient of the concave part."""
        return {"l1": 0.0, "scad": 1 / (self.shape - 1), "mcp": 1 / self.shape}[self.kind]

    def value(self, x: np.ndarray, amount: np.ndarray | float) -> float:
        """Return the sum of the penalties."""
        size = np.abs(x)
        if self.kind == "l1":
            return float(np.sum(amount * size))
        if self.kind == "mcp":
            inside = size <= self.shape * amount
            return float(
                np.sum(np.where(inside, amount * size - size**2 / (2 * self.shape), self.shape * amount**2 / 2))
            )
        a = self.shape
        middle = (2 * a * amount * size - size**2 - amount**2) / (2 * (a - 1))
        flat = np.where(size <= a * amount, middle, amount**2 * (a + 1) / 2)
        return float(np.sum(np.where(size <= amount, amount * size, flat)))

    def concave_gradient(self, x: np.ndarray, amount: np.ndarray | float) -> np.ndarray:
        """Return the gradient of the concave part, the penalty less ``amount`` times the absolute value."""
        if self.kind == "l1":
            return np.zeros_like(x)
        if self.kind == "mcp":
            reach = np.asarray(amount, dtype=float)
            return -np.clip(x / self.shape, -reach, reach)
        # Zero up to amount, then falling until the penalty is constant.
        return -np.clip(soft(x, amount) / (self.shape - 1), -np.asarray(amount), amount)

    def slope(self, x: np.ndarray, amount: np.ndarray | float) -> np.ndarray:
        """Return the derivative of the penalty where ``x`` is not zero; of either side, ``amount``, where it is."""
        return amount * np.sign(x) + self.concave_gradient(x, amount)

    def prox(self, x: np.ndarray, amount: np.ndarray | float, step: float = 1.0) -> np.ndarray:
        """Return the minimiser of ``(z - x)^2 / 2 + step * penalty(z)``, coefficient by coefficient.

        It is unique, and this formula right, for steps below the inverse of ``concavity``.
        """
        if step * self.concavity >= 1:
            raise ValueError(f"step {step:g} is too long for a penalty of concavity {self.concavity:g}")
        near = soft(x, step * np.asarray(amount, dtype=float))
        if self.kind == "l1":
            return near
        if self.kind == "mcp":
            return np.where(np.abs(x) <= self.shape * amount, near / (1 - step / self.shape), x)
        a = self.shape
        middle = ((a - 1) * x - np.sign(x) * step * a * amount) / (a - 1 - step)
        size = np.abs(x)
        return np.where(size <= (1 + step) * amount, near, np.where(size <= a * amount, middle, x))

    def residual(self, x: np.ndarray, gradient: np.ndarray, amount: np.ndarray | float) -> np.ndarray:
        """Return by how much each coefficient misses the conditions of a stationary point (Karush, Kuhn and Tucker).

        Parameters
        ----------
        gradient : ndarray
            Of the loss, at ``x``.
        """
        at_zero = np.maximum(np.abs(gradient) - amount, 0)
        return np.where(x == 0, at_zero, np.abs(gradient + self.slope(x, amount)))

    def described(self) -> str:
        """Return its name in words."""
        if self.kind == "l1":
            return "an L1 penalty [@tibshirani1996]"
        name, source = {"scad": ("SCAD", "[@fan2001]"), "mcp": ("MCP", "[@zhang2010]")}[self.kind]
        return f"the {name} penalty (constant from {digits(self.shape)} times lambda on) {source}"
