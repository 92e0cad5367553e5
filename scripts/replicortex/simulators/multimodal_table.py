"""Tables of several modalities of the same people, each with its own share of information about a diagnosis.

A BIDS derivative dataset of tables. How well the best possible decision does on each pattern of modalities is known in
closed form, so that a method can be held against what the modalities at hand allow.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import numpy as np
from pydantic import Field
from scipy.stats import norm

from ..components import Simulator, component
from ..errors import InputError
from ..files import to_json, write_text
from ..shared.modalities import subsets
from ..shared.sim_tables import describe_tables
from ..shared.words import count, digits, listed, percent

Count = Annotated[int, Field(ge=1)]
Share = Annotated[float, Field(ge=0, lt=1)]
#: Mean and standard deviation of every variable over people, in made-up units.
MEAN, DEVIATION = 10.0, 1.0


@component
class MultimodalTable(Simulator):
    """People with a table of several modalities, and a diagnosis that each modality tells something of.

    Variables are Gaussian with the same covariance in patients and controls. In modality m patients differ from
    controls along one direction, by as much as makes m alone worth an index of ``information[m]`` (d': the distance
    of the means in standard deviations of the best score). All modalities also share a nuisance, such as age or head
    size: one number a person that moves each of them along a direction of its own. In all modalities but the last this
    direction overlaps with that of the diagnosis, so that the two can hardly be told apart; the last shows the
    nuisance for what it is. What to make of one modality therefore depends on which others are there. If the truth is
    absent the diagnosis moves nothing.

    Parameters
    ----------
    information : dict of str to float
        Names of the modalities and what each alone is worth.
    n_subjects, n_variables : int
        Number of people, half of them patients, and of the variables of each modality.
    nuisance : float
        Standard deviation that the nuisance adds along its direction, in those of the variables.
    overlap : float
        Cosine between the directions of nuisance and diagnosis, in all modalities but the last.
    missing : float
        Probability with which a person lacks a modality; each by itself, but never all of them.

    Raises
    ------
    InputError
        If there are fewer than two modalities, or one has less than two variables.
    """

    datatype = "anat"
    tiny = {"n_subjects": 6, "n_variables": 4, "missing": 0.3}

    information: dict[str, Annotated[float, Field(ge=0)]] = {
        "volume": 1.3, "thickness": 1.0, "metabolism": 0.8, "perfusion": 0.6,
    }  # fmt: skip
    n_subjects: Annotated[int, Field(ge=2)] = 400
    n_variables: Count = 12
    nuisance: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 2.0
    overlap: Share = 0.9
    missing: Share = 0.0

    def __post_init__(self) -> None:
        """Refuse what can not be made."""
        if len(self.information) < 2 or self.n_variables < 2:
            fault = f"{len(self.information)} modalities of {self.n_variables} variable(s)"
            raise InputError("simulators/multimodal_table", fault, "give at least two of two variables")

    def directions(self, seed: int) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
        """Return, for each modality, how patients differ from controls and what a unit of nuisance adds."""
        rng = np.random.default_rng([seed, 0])
        effects, loadings = {}, {}
        for number, (name, index) in enumerate(self.information.items(), start=1):
            first, second = np.linalg.qr(rng.standard_normal((self.n_variables, 2)))[0].T
            overlap = self.overlap if number < len(self.information) else 0.0
            along = overlap * first + np.sqrt(1 - overlap**2) * second
            loadings[name] = DEVIATION * self.nuisance * along
            # What the effect is worth beside noise and nuisance, for a length of one.
            unit = _index(first, loadings[name])
            effects[name] = index / unit * first
        return effects, loadings

    def attainable(self, seed: int) -> dict[str, float]:
        """Return the area under the curve of the best decision on every pattern: that of a linear discriminant."""
        effects, loadings = self.directions(seed)
        found = {}
        for pattern, name in subsets(list(self.information)):
            stacked = [np.concatenate([part[entry] for entry in pattern]) for part in (effects, loadings)]
            found[name] = float(norm.cdf(_index(*stacked) / np.sqrt(2)))
        return found

    def simulate(self, root: Path, truth: str, seed: int) -> dict[str, Any]:
        """Write the dataset and return what was planted; see :class:`~replicortex.components.Simulator`."""
        effects, loadings = self.directions(seed)
        rows, width = [], max(2, len(str(self.n_subjects)))
        patients = np.random.default_rng([seed, 1]).permutation(np.arange(self.n_subjects) % 2)
        for subject in range(1, self.n_subjects + 1):
            rng = np.random.default_rng([seed, 2, subject])
            patient, nuisance = bool(patients[subject - 1]), rng.standard_normal()
            shown = patient if truth == "planted" else False
            there = rng.random(len(effects)) >= self.missing
            if not there.any():
                there[rng.integers(len(there))] = True
            lines = []
            for modality, here in zip(effects, there, strict=True):
                x = MEAN + DEVIATION * rng.standard_normal(self.n_variables)
                x = x + (shown - 0.5) * effects[modality] + nuisance * loadings[modality]
                values = [f"{value:.4f}" if here else "n/a" for value in x]
                lines += [f"{modality}_{number:02d}\t{value}" for number, value in enumerate(values, start=1)]
            name = f"sub-{subject:0{width}d}"
            stem = root / name / "anat" / f"{name}_desc-multimodal_morph"
            write_text(stem.with_suffix(".tsv"), "\n".join(["variable\tvalue", *lines]) + "\n")
            write_text(stem.with_suffix(".json"), to_json(_SIDECAR))
            about = {"age": round(float(np.clip(rng.normal(70, 7), 50, 95)), 1), "sex": str(rng.choice(["F", "M"]))}
            group = "patient" if patient else "control"
            rows.append({"participant_id": name, **about, "site": "site1", "diagnosis": group})
        describe_tables(root, "Simulated tables of several modalities", _README, rows, "morph")
        facts = {"contrast": "incomplete" if self.missing else "complete", "truth": truth}
        # In both, as what is held against the design: without the effect nothing comes near it.
        attainable = self.attainable(seed)
        return {**facts, "information": dict(self.information), "attainable": attainable, "missing": self.missing}

    def described(self) -> str:
        """Return what it does, in words."""
        worth = listed(f"{name} {digits(value)}" for name, value in self.information.items())
        lacking = f", each lacked by {percent(self.missing)} of them" if self.missing else ", which all of them have"
        return (
            f"Tables of {count(len(self.information), 'modality', 'modalities')} with"
            f" {count(self.n_variables, 'variable')} each were simulated for"
            f" {count(self.n_subjects, 'participant')}{lacking}. Patients differ from controls by an index of"
            f" discrimination of {worth}. All modalities share a nuisance of {digits(self.nuisance)} times the standard"
            f" deviation of a variable, with a cosine of {digits(self.overlap)} to the effect but for the last"
            " modality, which shows it by itself."
        )


def _index(effect: np.ndarray, loading: np.ndarray) -> float:
    """Return the discrimination index of an effect beside white noise and one nuisance, by Sherman and Morrison."""
    variance = DEVIATION**2
    white = effect @ effect / variance
    shared = (effect @ loading / variance) ** 2 / (1 + loading @ loading / variance)
    return float(np.sqrt(white - shared))


_SIDECAR = {"Description": "Measures of several modalities, a row a variable; n/a where a modality was not measured."}
_README = """\
Simulated tables of several modalities
======================================

No person was recorded. Each table holds made-up measures of volume, thickness, metabolism and the like, a row a
variable, without units. A modality that was not measured in a person has n/a in all of its rows. The diagnosis is in
the table of participants.
"""
