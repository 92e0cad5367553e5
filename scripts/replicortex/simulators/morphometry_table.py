"""Cortical measures of many people as a table a person, of which a few tell age and diagnosis.

A BIDS derivative dataset: what a surface reconstruction would have measured, without the images. Variables follow
each other along the surface and resemble their neighbours; sites differ in level and in the age of their people.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field

from ..components import Simulator, component
from ..files import to_json, write_text
from ..shared.sim_surface import along_surface, refuse_neighbours, spread_support, variable_names
from ..shared.sim_tables import describe_tables
from ..shared.words import count, digits, percent

MEASURE = "thickness"
#: Thickness of the cortex: mean over variables, their range about it, and standard deviation over people, mm.
MEAN, RANGE, DEVIATION = 2.6, 0.5, 0.15
#: Age over people: mean and standard deviation within a site, years.
AGE, AGE_DEVIATION = 50.0, 10.0

Count = Annotated[int, Field(ge=1)]
NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]


@dataclass(frozen=True)
class Person:
    """One subject: what the table of participants says, and its thickness ``(n_variables,)``, mm."""

    age: float
    sex: str
    site: str
    diagnosis: str
    thickness: np.ndarray


@component
class MorphometryTable(Simulator):
    """People with a table of thickness each, and an outcome that depends on a small support of the variables.

    The score of a person is a sum over the support, equally weighted with either sign, of the standardised
    variable (``linear``) or of its square (``quadratic``), in which it is uncorrelated with every variable. Age is
    linear in the score plus noise; the log odds of the diagnosis are linear in it. If the truth is absent people
    keep age and diagnosis and get variables that know nothing of them; sites stay as they are.

    Parameters
    ----------
    contrast : {"linear", "quadratic"}
        How the outcomes depend on the support.
    n_subjects, n_variables, n_support : int
        Number of people, of variables, and of those that tell something.
    share : float
        Share of the variance of age within a site that the score explains.
    log_odds : float
        Change of the log odds of the diagnosis over one standard deviation of the score.
    smoothness : float
        Correlation of neighbouring variables; it falls as its powers with the distance (AR(1)).
    n_sites : int
        Number of sites.
    site_effect : float
        Standard deviation of what a site adds to a variable, in those over people.
    site_age : float
        Standard deviation of the mean age of sites, years.

    Raises
    ------
    InputError
        If the support is too large for its variables to stand apart.
    """

    datatype = "anat"
    tiny = {"n_subjects": 4, "n_variables": 60, "n_support": 3}

    contrast: Literal["linear", "quadratic"] = "linear"
    n_subjects: Count = 300
    n_variables: Count = 1000
    n_support: Count = 20
    share: Annotated[float, Field(ge=0, le=1)] = 0.9
    log_odds: NotNegative = 3.0
    smoothness: Annotated[float, Field(ge=0, lt=1)] = 0.5
    n_sites: Count = 4
    site_effect: NotNegative = 0.2
    site_age: NotNegative = 2.0

    def __post_init__(self) -> None:
        """Refuse a support whose variables would be neighbours."""
        refuse_neighbours(self.n_support, self.n_variables, "simulators/morphometry_table")

    @property
    def variables(self) -> list[str]:
        """Names of the variables, in their order along the surface."""
        return variable_names(self.n_variables)

    def support(self, seed: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the indices of the support, one in each stretch of the surface, and their signs."""
        return spread_support(self.n_support, self.n_variables, seed)

    def person(self, subject: int, truth: str, seed: int) -> Person:
        """Return ``subject`` (1, 2, ...). Nothing but the thickness depends on ``truth``."""
        rng = np.random.default_rng([seed, subject])
        site = (subject - 1) % self.n_sites
        of_site = np.random.default_rng([seed, 0, 1 + site])
        x = along_surface(rng, self.n_variables, self.smoothness)
        indices, signs = self.support(seed)
        told = x[indices] if self.contrast == "linear" else (x[indices] ** 2 - 1) / np.sqrt(2)
        score = signs @ told / np.sqrt(self.n_support)
        noise = rng.standard_normal()
        age = AGE + AGE_DEVIATION * (np.sqrt(self.share) * score + np.sqrt(1 - self.share) * noise)
        age += self.site_age * of_site.standard_normal()
        patient = rng.random() < 1 / (1 + np.exp(-self.log_odds * score))
        if truth != "planted":
            x = along_surface(np.random.default_rng([seed, subject, 1]), self.n_variables, self.smoothness)
        x = x + self.site_effect * of_site.standard_normal(self.n_variables)
        level = MEAN + RANGE * np.random.default_rng([seed, 0]).uniform(-1, 1, self.n_variables)
        return Person(
            age=round(float(np.clip(age, 1, 99)), 2),
            sex=str(rng.choice(["F", "M"])),
            site=f"site{site + 1}",
            diagnosis="patient" if patient else "control",
            thickness=level + DEVIATION * x,
        )

    def simulate(self, root: Path, truth: str, seed: int) -> dict[str, Any]:
        """Write the dataset and return what was planted; see :class:`~replicortex.components.Simulator`."""
        rows, width = [], max(2, len(str(self.n_subjects)))
        for subject in range(1, self.n_subjects + 1):
            person = self.person(subject, truth, seed)
            name = f"sub-{subject:0{width}d}"
            lines = [
                f"{variable}\t{value:.4f}" for variable, value in zip(self.variables, person.thickness, strict=True)
            ]
            stem = root / name / "anat" / f"{name}_desc-{MEASURE}_morph"
            write_text(stem.with_suffix(".tsv"), "\n".join(["variable\tvalue", *lines]) + "\n")
            write_text(stem.with_suffix(".json"), to_json(_SIDECAR))
            about = {key: vars(person)[key] for key in ("age", "sex", "site", "diagnosis")}
            rows.append({"participant_id": name, **about})
        describe_tables(root, "Simulated thickness of the cortex", _README, rows, "morph")
        indices, signs = self.support(seed)
        return {
            "contrast": self.contrast,
            "truth": truth,
            "support": [self.variables[index] for index in indices],
            "signs": signs.tolist(),
            "share": self.share,
            "log_odds": self.log_odds,
        }

    def described(self) -> str:
        """Return what it does, in words."""
        form = "" if self.contrast == "linear" else "the squares of "
        return (
            f"Cortical thickness of {count(self.n_subjects, 'participant')} at {count(self.n_sites, 'site')} was"
            f" simulated: {digits(self.n_variables)} variables, each correlated by {digits(self.smoothness)} with its"
            " neighbours. Age and the log odds of the diagnosis depend on a sum of"
            f" {form}{count(self.n_support, 'variable')} with either sign, which explains {percent(self.share)} of the"
            " variance of age within a site. Sites differ in the level of the variables and in the age of their"
            " participants."
        )


_SIDECAR = {
    "Description": "Mean thickness of the cortex, a row a variable in the order along the surface.",
    "Units": "mm",
}
_README = """\
Simulated thickness of the cortex
=================================

No person was recorded. Each table holds the thickness of the cortex (mm) at places along a made-up surface, a row a
place. Neighbouring places resemble each other, sites differ in level, and age, sex and diagnosis are in the table of
participants.
"""
