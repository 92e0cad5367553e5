"""Cursor movements of a stationary linear-Gaussian process, and what an array of neurons says of them.

Sessions in NWB: spikes of tuned neurons, or signals whose sign is as likely as not to be turned, for which the best
linear decoder knows nothing (Burkhart et al. 2020, doi:10.1162/neco_a_01275, section on mixtures).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field

from ..components import Simulator, component
from ..errors import InputError
from ..files import to_json, write_text
from ..shared.nwb import write_nwb
from ..shared.sim_tables import describe_tables
from ..shared.words import count, digits, text

TASK = "cursor"
#: Time between trials, s.
PAUSE = 1.0
#: Variances of the noise of the two components of the mixture.
VARIANCES = (1.0, 5.0)

Count = Annotated[int, Field(ge=1)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]


@dataclass(frozen=True)
class Session:
    """One subject's session.

    Parameters
    ----------
    velocity : ndarray of shape (n_trials, n_steps, n_dims)
        What the cursor does; of unit variance.
    signals : ndarray of shape (n_trials, n_steps, n_observed)
        What is observed: signals, or expected spikes in a step.
    """

    velocity: np.ndarray
    signals: np.ndarray


@component
class LatentCursor(Simulator):
    """Sessions of trials in which a cursor moves and neurons are observed.

    The velocity has ``z[t] = A z[t-1] + noise``, unit variance, and ``A = persistence I - coupling``, the same coupling
    between all dimensions; every trial begins anew. With ``spikes`` a neuron fires as a Poisson process whose log rate
    is linear in velocity and speed. With ``mixture`` signals are a linear function of the velocity whose sign is drawn
    anew in each step, with noise of variance 1 or 5 by the sign. If the truth is absent, neurons are those of
    another cursor.

    Parameters
    ----------
    contrast : {"spikes", "mixture"}
        How the velocity shows.
    n_subjects, n_trials, n_dims, n_observed : int
        Number of people (a session each), trials, dimensions of the velocity, and neurons or signals.
    duration, step : float
        Of a trial, and from one state to the next, s.
    persistence, coupling : float
        Of the state.
    rate : float
        Firing at rest, spikes/s: the median over neurons.
    depth : float
        Standard deviation over neurons of the change of the log rate with the velocity in each dimension.
    speed_depth : float
        The same with the speed, beyond the direction.
    scale : float
        Units of the velocity at one standard deviation, m/s.
    """

    datatype = "ephys"
    tiny = {"n_subjects": 2, "n_trials": 4, "duration": 2.0, "n_observed": 8}

    contrast: Literal["spikes", "mixture"] = "spikes"
    n_subjects: Count = 6
    n_trials: Count = 50
    n_dims: Count = 2
    n_observed: Count = 60
    duration: Positive = 5.0
    step: Positive = 0.1
    persistence: Annotated[float, Field(gt=-1, lt=1)] = 0.95
    coupling: NotNegative = 0.05
    rate: Positive = 8.0
    depth: NotNegative = 0.4
    speed_depth: NotNegative = 0.4
    scale: Positive = 0.1

    def __post_init__(self) -> None:
        """Refuse a state that is not stationary, and trials shorter than two steps."""
        if np.abs(np.linalg.eigvalsh(self.transition)).max() >= 1:
            fault = f"persistence {self.persistence:g} with coupling {self.coupling:g} gives no stationary state"
            raise InputError("simulators/latent_cursor", fault, "lower coupling")
        if self.n_steps < 2:
            raise InputError("simulators/latent_cursor", "a trial is shorter than two steps", "lengthen duration")

    @property
    def n_steps(self) -> int:
        """Steps in a trial."""
        return round(self.duration / self.step)

    @property
    def transition(self) -> np.ndarray:
        """Matrix that brings a velocity to the next."""
        return self.persistence * np.eye(self.n_dims) - self.coupling * np.ones((self.n_dims, self.n_dims))

    def path(self, rng: np.random.Generator) -> np.ndarray:
        """Return velocities (n_trials, n_steps, n_dims)."""
        a = self.transition
        root = np.linalg.cholesky(np.eye(self.n_dims) - a @ a.T)
        z = rng.standard_normal((self.n_trials, self.n_steps, self.n_dims))
        for t in range(1, self.n_steps):
            z[:, t] = z[:, t - 1] @ a.T + z[:, t] @ root.T
        return z

    def session(self, subject: int, truth: str, seed: int) -> Session:
        """Return the session of ``subject`` (1, 2, ...). What is observed is the same whether or not it means this."""
        z = self.path(np.random.default_rng([seed, subject, 0]))
        rng = np.random.default_rng([seed, subject, 1])
        shape = (self.n_trials, self.n_steps)
        if self.contrast == "mixture":
            loadings = rng.standard_normal((self.n_observed, self.n_dims)) / np.sqrt(self.n_dims)
            first = rng.random(shape) < 0.5
            noise = np.sqrt(np.where(first, *VARIANCES))[..., None] * rng.standard_normal((*shape, self.n_observed))
            signals = np.where(first, 1, -1)[..., None] * (z @ loadings.T) + noise
        else:
            base = np.log(self.rate) + 0.5 * rng.standard_normal(self.n_observed)
            slopes = self.depth * rng.standard_normal((self.n_observed, self.n_dims))
            of_speed = self.speed_depth * rng.standard_normal(self.n_observed)
            speed = np.linalg.norm(z, axis=2) - np.sqrt(self.n_dims)
            # No neuron fires faster than 200 a second.
            signals = self.step * np.exp(np.minimum(base + z @ slopes.T + speed[..., None] * of_speed, np.log(200)))
        if truth != "planted":
            z = self.path(np.random.default_rng([seed, subject, 2]))
        return Session(z, signals)

    def simulate(self, root: Path, truth: str, seed: int) -> dict[str, Any]:
        """Write the dataset and return what was planted; see :class:`~replicortex.components.Simulator`."""
        import pandas as pd

        # A bin of analysis begins with the trial; samples lie in the middle of their steps.
        begins = np.arange(self.n_trials) * (self.n_steps * self.step + PAUSE)
        middle = (begins[:, None] + self.step * (np.arange(self.n_steps) + 0.5)).ravel()
        trials = pd.DataFrame({"start_time": begins, "stop_time": begins + self.n_steps * self.step})
        participants = []
        for subject in range(1, self.n_subjects + 1):
            label = f"sub-{subject:02d}"
            session = self.session(subject, truth, seed)
            series = {"cursor_velocity": (self.scale * _flat(session.velocity), middle, "m/s")}
            spikes = None
            if self.contrast == "mixture":
                series["signals"] = (_flat(session.signals), middle, "a.u.")
            else:
                spikes = self._spikes(session.signals, begins, np.random.default_rng([seed, subject, 3]))
            name = f"{label}_task-{TASK}_ephys"
            path = root / label / "ephys" / f"{name}.nwb"
            write_nwb(path, spikes=spikes, series=series, trials=trials, identifier=f"simulated-{seed}-{label}")
            write_text(path.with_suffix(".json"), to_json({"TaskName": TASK}))
            participants.append({"participant_id": label})
        what = {"spikes": "spikes of tuned neurons", "mixture": "signals whose sign is drawn anew in each step"}
        readme = text(
            f"Simulated: {count(self.n_subjects, 'session')} in which a cursor moved and {what[self.contrast]} were"
            " recorded. Each is a file of Neurodata Without Borders with its trials; samples lie in the middle of their"
            " steps. The velocity is the behaviour to be decoded.\n"
        )
        describe_tables(root, "Simulated cursor movements and neurons", readme, participants, "ephys", {})
        write_text(root / ".bidsignore", "ephys\n")
        return {
            "contrast": self.contrast,
            "transition": self.transition.tolist(),
            "units_of_velocity": self.scale,
            "n_observed": self.n_observed,
        }

    def _spikes(self, expected: np.ndarray, begins: np.ndarray, rng: np.random.Generator) -> list[np.ndarray]:
        """Return the spike times of each neuron, drawn evenly within the steps."""
        starts = begins[:, None] + self.step * np.arange(self.n_steps)
        counts = rng.poisson(expected)
        trains = []
        for neuron in range(expected.shape[2]):
            of_step = np.repeat(starts.ravel(), counts[..., neuron].ravel())
            # Not to the very end of a step, which is the beginning of the next.
            trains.append(np.sort(of_step + self.step * 0.999 * rng.random(len(of_step))))
        return trains

    def described(self) -> str:
        """Return what it does, in words."""
        shown = {
            "spikes": f"Each of {count(self.n_observed, 'neuron')} fired as a Poisson process whose log rate was"
            f" linear in velocity and speed, with a median of {digits(self.rate)} spikes/s at rest.",
            "mixture": f"Each of {count(self.n_observed, 'signal')} was a linear function of the velocity, whose sign"
            " was drawn anew in each step for all, with noise of variance 1 or 5 by the sign.",
        }[self.contrast]
        return text(
            f"Sessions of {count(self.n_subjects, 'participant')} with {count(self.n_trials, 'trial')} of"
            f" {digits(self.duration)} s were simulated, in which a cursor moved in {count(self.n_dims, 'dimension')}"
            f" as a stationary linear-Gaussian process with steps of {digits(self.step)} s.",
            shown,
        )


def _flat(values: np.ndarray) -> np.ndarray:
    """Return values of trials, one after another."""
    return values.reshape(-1, values.shape[2])
