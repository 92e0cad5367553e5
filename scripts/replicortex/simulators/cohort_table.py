"""Cognitive scores and volumes of people of two cohorts, of which some decide on the diagnosis and others only follow.

A BIDS derivative dataset: what a memory clinic and a segmentation would have measured, without the images. Some
variables are noisy copies of those that count, others correlate with each other and with nothing else, so that it is
known which variables an explanation should name.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field

from ..components import Simulator, component
from ..files import to_json, write_text
from ..shared.sim_tables import PARTICIPANTS, describe_tables
from ..shared.words import count, digits, percent

#: Name, mean and standard deviation, the latent quantity that it shows, the correlation with it, and the unit.
VARIABLES = (
    ("delayed_recall", 8.0, 3.0, "memory", 1.0, "words"),
    ("immediate_recall", 11.0, 3.0, "memory", 0.8, "words"),
    ("orientation", 9.0, 1.0, "orientation", 1.0, "points"),
    ("fluency", 18.0, 5.0, "fluency", 1.0, "words"),
    ("left_hippocampus", 3500.0, 400.0, "hippocampus", 1.0, "mm^3"),
    ("right_hippocampus", 3600.0, 400.0, "hippocampus", 0.9, "mm^3"),
    ("left_amygdala", 1500.0, 200.0, "amygdala", 1.0, "mm^3"),
    ("right_amygdala", 1600.0, 200.0, "amygdala", 0.9, "mm^3"),
    ("entorhinal", 1800.0, 300.0, "hippocampus", 0.7, "mm^3"),
    ("left_caudate", 3400.0, 400.0, "caudate", 1.0, "mm^3"),
    ("right_caudate", 3500.0, 400.0, "caudate", 0.95, "mm^3"),
    ("pallidum", 1700.0, 200.0, "pallidum", 1.0, "mm^3"),
    ("age", 73.0, 7.0, "age", 1.0, "year"),
    ("education", 14.0, 3.0, "education", 1.0, "year"),
)
#: What decides on the diagnosis: the variable, and the sign of its effect on the risk.
SUPPORT = {"delayed_recall": -1, "orientation": -1, "left_hippocampus": -1, "left_amygdala": -1, "age": 1}
#: Volumes, by the end of their names: a scanner measures them all greater or smaller.
REGIONS = ("hippocampus", "amygdala", "entorhinal", "caudate", "pallidum")

Count = Annotated[int, Field(ge=1)]
NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]


@dataclass(frozen=True)
class Person:
    """One subject: what the table of participants says, and its values by variable, ``nan`` where one is missing."""

    sex: str
    site: str
    diagnosis: str
    values: dict[str, float]


@component
class CohortTable(Simulator):
    """People of a study and of an external cohort, with a table each of scores, volumes, age and education.

    The log odds of the diagnosis are a sum over the support (``additive``); or the risk is high if two of three things
    are bad, recall, orientation and the hippocampus or amygdala together with age, whatever they are beyond
    that (``threshold``), which no weighted sum can say. If the truth is absent people keep diagnosis and cohort and get
    variables that know nothing of them.

    Parameters
    ----------
    contrast : {"additive", "threshold"}
        How the diagnosis depends on the support.
    n_study, n_external : int
        Number of people of either cohort.
    log_odds : float
        Change of the log odds over one standard deviation of the score, or between few and many bad things.
    cognition_share : float
        Weight of the cognitive scores over that of the volumes.
    scanner : float
        By how many standard deviations the external cohort's scanner measures volumes greater.
    missing : float
        Share of the values of cognitive scores that are missing.
    """

    datatype = "anat"
    tiny = {"n_study": 5, "n_external": 4}

    contrast: Literal["additive", "threshold"] = "threshold"
    n_study: Count = 400
    n_external: Count = 150
    log_odds: NotNegative = 5.0
    cognition_share: NotNegative = 1.5
    scanner: NotNegative = 0.2
    missing: Annotated[float, Field(ge=0, lt=0.5)] = 0.02

    def person(self, subject: int, truth: str, seed: int) -> Person:
        """Return ``subject`` (1, 2, ...). Nothing but the values depends on ``truth``."""
        rng = np.random.default_rng([seed, subject])
        site = "study" if subject <= self.n_study else "external"
        latent = _latent(rng)
        sick = rng.random() < 1 / (1 + np.exp(-self.log_odds * self._score(latent)))
        sex = str(rng.choice(["F", "M"]))
        if truth != "planted":
            latent = _latent(np.random.default_rng([seed, subject, 1]))
        noise = np.random.default_rng([seed, subject, 2])
        values = {}
        for name, mean, deviation, of, shared, _ in VARIABLES:
            z = shared * latent[of] + np.sqrt(1 - shared**2) * noise.standard_normal()
            z += self.scanner * (site == "external" and name.endswith(REGIONS))
            values[name] = mean + deviation * z
        for name in ("delayed_recall", "immediate_recall", "orientation", "fluency"):
            if noise.random() < self.missing:
                values[name] = np.nan
        return Person(sex=sex, site=site, diagnosis="patient" if sick else "control", values=values)

    def _score(self, latent: dict[str, float]) -> float:
        """Return the score that the log odds are proportional to, about zero on average."""
        weight = self.cognition_share
        told = {"memory": weight, "orientation": weight, "hippocampus": 1.0, "amygdala": 1.0, "age": -0.5}
        if self.contrast == "additive":
            return float(-sum(w * latent[name] for name, w in told.items()) / np.sqrt(sum(w**2 for w in told.values())))
        bad = {name: float(latent[name] * np.sign(w) < -0.2) for name, w in told.items()}
        # Two things are bad together: sums of single effects can not say so.
        double = max(
            min(bad["memory"], max(bad["hippocampus"], bad["amygdala"])),
            min(bad["orientation"], bad["hippocampus"]),
            min(bad["memory"], bad["orientation"]),
            min(bad["hippocampus"], bad["amygdala"], bad["age"]),
        )
        return double - 0.5

    def simulate(self, root: Path, truth: str, seed: int) -> dict[str, Any]:
        """Write the dataset and return what was planted; see :class:`~replicortex.components.Simulator`."""
        n_subjects = self.n_study + self.n_external
        rows, width = [], max(2, len(str(n_subjects)))
        for subject in range(1, n_subjects + 1):
            person = self.person(subject, truth, seed)
            name = f"sub-{subject:0{width}d}"
            lines = [f"{key}\t{value:.3f}".replace("nan", "n/a") for key, value in person.values.items()]
            stem = root / name / "anat" / f"{name}_desc-clinic_morph"
            write_text(stem.with_suffix(".tsv"), "\n".join(["variable\tvalue", *lines]) + "\n")
            write_text(stem.with_suffix(".json"), to_json(_SIDECAR))
            about = {key: vars(person)[key] for key in ("sex", "site", "diagnosis")}
            rows.append({"participant_id": name, **about})
        columns = {key: PARTICIPANTS[key] for key in ("sex", "site", "diagnosis")}
        describe_tables(root, "Simulated cognitive scores and volumes", _README, rows, "morph", columns)
        return {
            "contrast": self.contrast,
            "truth": truth,
            "support": list(SUPPORT),
            "signs": dict(SUPPORT),
            "log_odds": self.log_odds,
        }

    def described(self) -> str:
        """Return what it does, in words."""
        form = {
            "additive": "The log odds of the diagnosis are a weighted sum of five variables (delayed recall,"
            " orientation, left hippocampus, left amygdala and age)",
            "threshold": "The log odds of the diagnosis are high if two of the variables that decide on it (delayed"
            " recall, orientation, left hippocampus, left amygdala; age with both volumes) are bad together",
        }
        return (
            f"Cognitive scores and volumes of {count(self.n_study, 'participant')} of a study and"
            f" {count(self.n_external, 'participant')} of an external cohort were simulated,"
            f" {len(VARIABLES)} variables. {form[self.contrast]}, with a slope of {digits(self.log_odds)} and a weight"
            f" of {digits(self.cognition_share)} of the scores over the volumes; other variables are noisy copies of"
            f" these, or tell nothing. The external scanner measures volumes {digits(self.scanner)} standard deviations"
            f" greater, and {percent(self.missing)} of the scores are missing."
        )


def _latent(rng: np.random.Generator) -> dict[str, float]:
    """Return the quantities behind the variables, standard normal each."""
    names = dict.fromkeys(of for _, _, _, of, _, _ in VARIABLES)
    return dict(zip(names, rng.standard_normal(len(names)).tolist(), strict=True))


_SIDECAR = {
    "Description": "Cognitive scores, volumes of regions, age and education, a row a variable.",
    "Units": {name: unit for name, *_, unit in VARIABLES},
}
_README = """\
Simulated cognitive scores and volumes
======================================

No person was recorded. Each table holds scores of cognitive tests, volumes of regions of the brain (mm^3), age and
education (years) of a person, a row a variable; a few scores are missing. The column site of the table of participants
tells the people of a study from those of an external cohort, whose scanner is another.
"""
