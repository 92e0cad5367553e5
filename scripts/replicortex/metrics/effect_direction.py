"""Whether attributions say of known variables that they work in the known direction."""

from __future__ import annotations

import numpy as np
from pydantic import Field
from scipy.stats import rankdata

from ..bundle import Bundle
from ..components import component
from ..shared.handed_on import HandedOn
from ..shared.tabular import named
from ..shared.words import listed, plain


@component
class EffectDirection(HandedOn):
    """Mean over variables of the rank correlation of a variable with its attribution, times the expected sign.

    Of the variables named those count that the features have and the model uses as a player of their own; for a
    variable whose attributions are all zero the correlation is zero.

    Parameters
    ----------
    variables : dict of str to float
        Names, or patterns of names (``*`` for any text), and whether a greater value should speak for the second class
        (1) or against it (-1).
    """

    bounds = (-1.0, 1.0)
    whole = True
    arrays = ("attribution", "player", "value")
    tiny = {"variables": {"V1": 1}}

    variables: dict[str, float] = Field(min_length=1)

    def judge(self, predictions: Bundle) -> float:
        """Return the mean; ``nan`` where no such variable was explained by itself."""
        names = [str(name) for name in predictions.axes["variable"]]
        player, found = np.asarray(predictions["player"][0]), []
        for name, sign in named(self.variables, names).items():
            place = names.index(name)
            # An aspect of several variables has no value of its own.
            if player[place] < 0 or np.count_nonzero(player == player[place]) > 1:
                continue
            values = rankdata(predictions["value"][:, place])
            told = rankdata(np.round(predictions["attribution"][:, place], 12))
            spread = values.std() * told.std()
            # Ranks of equal numbers have no spread.
            rho = np.mean((values - values.mean()) * (told - told.mean())) / spread if spread > 0 else 0.0
            found.append(np.sign(sign) * rho)
        return float(np.mean(found)) if found else float("nan")

    def chance(self, target: np.ndarray) -> float:
        """Return zero."""
        return 0.0

    def described(self) -> str:
        """Return what it does, in words."""
        sides = [
            (
                listed(plain(name.replace("*", "")) for name, sign in self.variables.items() if np.sign(sign) == side),
                how,
            )
            for side, how in ((-1, "lower"), (1, "raise"))
            if any(np.sign(sign) == side for sign in self.variables.values())
        ]
        expected = "; ".join(f"{names} should {how} the risk" for names, how in sides)
        return (
            "The direction of effects is the rank correlation [@spearman1904] of a variable with its attribution over"
            f" held-out participants, with the expected sign, averaged over variables ({expected}); its chance is 0."
        )
