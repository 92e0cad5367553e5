"""Cortical measures of people at many sites and a score that a few of them tell, which some sites may have wrong.

A BIDS derivative dataset: what a surface reconstruction would have measured, without the images. Variables follow each
other along the surface and resemble their neighbours, a first-order autoregression as in studies of sparse regression.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field

from ..components import Simulator, component
from ..files import to_json, write_text
from ..shared.sim_surface import along_surface, refuse_neighbours, spread_support, variable_names
from ..shared.sim_tables import PARTICIPANTS, describe_tables
from ..shared.words import count, digits, percent

#: Thickness of the cortex: mean over variables and standard deviation over people, mm.
MEAN, DEVIATION = 2.6, 0.15
#: Score: mean, and standard deviation within a site whose scores are right.
LEVEL, SPREAD = 100.0, 15.0

Count = Annotated[int, Field(ge=1)]
NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]


@component
class SiteScores(Simulator):
    """People with a table of thickness each, and a score: linear in a small support, plus an intercept of the site.

    The variables of the support count the same, with either sign. At contaminated sites, if there are any, what they
    tell is turned round and magnified, as by a score that was coded the other way on another scale. If the truth is
    absent people keep score and site and get variables that know nothing of them.

    Parameters
    ----------
    contrast : {"clean", "contaminated"}
        Whether the scores of all sites are right.
    n_sites, n_per_site : int
        Number of sites, and of people at each.
    n_variables, n_support : int
        Number of variables, and of those that tell something.
    share : float
        Share of the variance of the score within a site that the support explains.
    smoothness : float
        Correlation of neighbouring variables; it falls as its powers with the distance.
    site_effect : float
        Standard deviation of the intercepts of sites, in those of the score within a site.
    contaminated : float
        Share of the sites that are contaminated.
    turned : float
        By how much what the support tells is multiplied there, beside its sign.

    Raises
    ------
    InputError
        If the support is too large for its variables to stand apart.
    """

    datatype = "anat"
    tiny = {"n_sites": 2, "n_per_site": 2, "n_variables": 60, "n_support": 3}

    contrast: Literal["clean", "contaminated"] = "clean"
    n_sites: Count = 20
    n_per_site: Count = 16
    n_variables: Count = 1000
    n_support: Count = 10
    share: Annotated[float, Field(ge=0, le=1)] = 0.8
    smoothness: Annotated[float, Field(ge=0, lt=1)] = 0.5
    site_effect: NotNegative = 0.3
    contaminated: Annotated[float, Field(ge=0, lt=0.5)] = 0.1
    turned: NotNegative = 3.0

    def __post_init__(self) -> None:
        """Refuse a support whose variables would be neighbours."""
        refuse_neighbours(self.n_support, self.n_variables, "simulators/site_scores")

    @property
    def variables(self) -> list[str]:
        """Names of the variables, in their order along the surface."""
        return variable_names(self.n_variables)

    def support(self, seed: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the indices of the support, one in each stretch of the surface, and their signs."""
        return spread_support(self.n_support, self.n_variables, seed)

    def wrong_sites(self, seed: int) -> np.ndarray:
        """Return the numbers (0, 1, ...) of the contaminated sites."""
        number = round(self.contaminated * self.n_sites) if self.contrast == "contaminated" else 0
        return np.sort(np.random.default_rng([seed, 0, 1]).permutation(self.n_sites)[:number])

    def person(self, subject: int, truth: str, seed: int) -> tuple[int, float, str, np.ndarray]:
        """Return site (0, 1, ...), score, sex and thickness (mm) of ``subject`` (1, 2, ...).

        Nothing but the thickness depends on ``truth``.
        """
        rng = np.random.default_rng([seed, subject])
        site = (subject - 1) // self.n_per_site
        x = along_surface(rng, self.n_variables, self.smoothness)
        indices, signs = self.support(seed)
        told = np.sqrt(self.share / self.n_support) * float(signs @ x[indices])
        told *= -self.turned if site in self.wrong_sites(seed) else 1.0
        noise = np.sqrt(1 - self.share) * rng.standard_normal()
        intercept = self.site_effect * np.random.default_rng([seed, 0, 2 + site]).standard_normal()
        sex = str(rng.choice(["F", "M"]))
        if truth != "planted":
            x = along_surface(np.random.default_rng([seed, subject, 1]), self.n_variables, self.smoothness)
        return site, LEVEL + SPREAD * (told + noise + intercept), sex, MEAN + DEVIATION * x

    def simulate(self, root: Path, truth: str, seed: int) -> dict[str, Any]:
        """Write the dataset and return what was planted; see :class:`~replicortex.components.Simulator`."""
        n_subjects = self.n_sites * self.n_per_site
        rows, width = [], max(2, len(str(n_subjects)))
        for subject in range(1, n_subjects + 1):
            site, score, sex, thickness = self.person(subject, truth, seed)
            name = f"sub-{subject:0{width}d}"
            lines = [f"{variable}\t{value:.4f}" for variable, value in zip(self.variables, thickness, strict=True)]
            stem = root / name / "anat" / f"{name}_desc-thickness_morph"
            write_text(stem.with_suffix(".tsv"), "\n".join(["variable\tvalue", *lines]) + "\n")
            write_text(stem.with_suffix(".json"), to_json(_SIDECAR))
            rows.append({"participant_id": name, "score": round(score, 3), "sex": sex, "site": f"site{site + 1:02d}"})
        columns = {
            "score": {"Description": "Score of a simulated test.", "Units": "point"},
            **{key: PARTICIPANTS[key] for key in ("sex", "site")},
        }
        describe_tables(root, "Simulated thickness of the cortex and a score", _README, rows, "morph", columns)
        indices, signs = self.support(seed)
        size = SPREAD / DEVIATION * np.sqrt(self.share / self.n_support)
        names = [self.variables[index] for index in indices]
        return {
            "contrast": self.contrast,
            "truth": truth,
            "support": names,
            "coefficients": {name: float(sign * size) for name, sign in zip(names, signs, strict=True)},
            "contaminated_sites": [f"site{site + 1:02d}" for site in self.wrong_sites(seed)],
        }

    def described(self) -> str:
        """Return what it does, in words."""
        wrong = (
            f" At {percent(self.contaminated)} of the sites what they tell is turned round and multiplied by"
            f" {digits(self.turned)}."
            if self.contrast == "contaminated"
            else ""
        )
        return (
            f"Cortical thickness of {count(self.n_per_site, 'participant')} at each of {count(self.n_sites, 'site')}"
            f" was simulated: {digits(self.n_variables)} variables, each correlated by {digits(self.smoothness)} with"
            f" its neighbours. A score is linear in {count(self.n_support, 'variable')} of the same weight with either"
            f" sign, which explain {percent(self.share)} of its variance within a site, and has an intercept of the"
            f" site of {digits(self.site_effect)} standard deviations.{wrong}"
        )


_SIDECAR = {
    "Description": "Mean thickness of the cortex, a row a variable in the order along the surface.",
    "Units": "mm",
}
_README = """\
Simulated thickness of the cortex and a score
=============================================

No person was recorded. Each table holds the thickness of the cortex (mm) at places along a made-up surface, a row a
place. Neighbouring places resemble each other. A score, sex and site are in the table of participants.
"""
