"""Remove noise from the series of a BOLD run: nuisance regression, censoring, filters, as named strategies."""

from __future__ import annotations

import math
import tempfile
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass as pydantic_dataclass

from ..errors import InputError
from .mri_files import confounds_path, read_columns
from .words import band, count, digits, listed, text

Strategy = Literal[
    "none", "6p", "24p", "9p", "36p", "36p_scrubbing", "simple", "simple_gsr", "scrubbing", "scrubbing_gsr",
    "compcor", "compcor6",
]  # fmt: skip
Model = Literal["none", "basic", "power2", "derivatives", "full"]
Positive = Annotated[float, Field(gt=0)]

_SIMPLE = {"high_pass": True, "motion": "full", "wm_csf": "basic"}
_SCRUB = {"scrub": 5, "fd_threshold": 0.5, "std_dvars_threshold": 1.5}
_P36 = {"high_pass": True, "motion": "full", "wm_csf": "full", "global_signal": "full"}
#: What each strategy takes from the table of confounds, in the words of ``nilearn.interfaces.fmriprep``.
PRESETS: dict[str, dict[str, Any]] = {
    "none": {},
    "6p": {"motion": "basic"},
    "24p": {"motion": "full"},
    "9p": {"high_pass": True, "motion": "basic", "wm_csf": "basic", "global_signal": "basic"},
    "36p": _P36,
    "36p_scrubbing": {**_P36, **_SCRUB},
    "simple": _SIMPLE,
    "simple_gsr": {**_SIMPLE, "global_signal": "basic"},
    "scrubbing": {**_SIMPLE, "wm_csf": "full", **_SCRUB},
    "scrubbing_gsr": {**_SIMPLE, "wm_csf": "full", "global_signal": "basic", **_SCRUB},
    "compcor": {"high_pass": True, "motion": "full", "compcor": "anat_combined", "n_compcor": "all"},
    "compcor6": {"high_pass": True, "motion": "full", "compcor": "anat_combined", "n_compcor": 6},
}


@dataclass(frozen=True)
class Plan:
    """What to do with the series of one run.

    Parameters
    ----------
    kept : ndarray of shape (n_kept,)
        Numbers of the volumes that stay.
    confounds : ndarray of shape (n_volumes, n_confounds) or None
    tr : float
        Seconds between volumes, NaN if unknown.

    """

    kept: np.ndarray
    confounds: np.ndarray | None
    tr: float

    @property
    def contiguous(self) -> bool:
        """Return whether no volume is missing between two that stay."""
        return bool((np.diff(self.kept) == 1).all())


@pydantic_dataclass(config=ConfigDict(extra="forbid"), kw_only=True, frozen=True)
class Denoise:
    """How noise is removed, in the order of ``nilearn.signal.clean``: detrending, filters, regression, scaling.

    Signals and confounds are filtered alike, so that no step brings back what another one removed (Lindquist et
    al. 2019, doi:10.1002/hbm.24528). The strategies, as compared by Ciric et al. (2017,
    doi:10.1016/j.neuroimage.2017.03.020) and Parkes et al. (2018, doi:10.1016/j.neuroimage.2017.12.073):

    - ``none``: no regression
    - ``6p``, ``24p``: head motion; with derivatives and squares (Friston et al. 1996,
      doi:10.1002/mrm.1910350312)
    - ``9p``: 6 of motion, white matter, CSF, global signal
    - ``36p``: motion, white matter, CSF and global signal, each with derivatives and squares (Satterthwaite et al.
      2013, doi:10.1016/j.neuroimage.2012.08.052); ``36p_scrubbing`` drops volumes with motion too
    - ``simple``: 24 of motion, white matter, CSF (Fox et al. 2005, doi:10.1073/pnas.0504136102); ``simple_gsr``
      takes the global signal too
    - ``scrubbing``: as ``simple`` with 8 of white matter and CSF, and volumes with motion dropped, with segments
      shorter than 5 volumes between them (Power et al. 2014, doi:10.1016/j.neuroimage.2013.08.048);
      ``scrubbing_gsr``
    - ``compcor``: 24 of motion and the anatomical components that explain half of the variance (Behzadi et al.
      2007, doi:10.1016/j.neuroimage.2007.04.042); ``compcor6`` takes 6 components

    All but ``none``, ``6p`` and ``24p`` regress out the slow cosines of the table, unless ``high_pass`` does that.

    Parameters
    ----------
    strategy : str
        One of the above.
    motion, wm_csf, global_signal : {"none", "basic", "power2", "derivatives", "full"} or None
        Replace what the strategy takes; ``None`` leaves it.
    compcor : str or None
        Masks of the components, replacing those of the strategy.
    n_compcor : int, "all" or None
    scrub : int or None
        Drop volumes with motion, and segments shorter than this between them; 0 drops no segments.
    fd_threshold : float or None
        Framewise displacement (mm) above which a volume is dropped; needs scrubbing.
    std_dvars_threshold : float or None
    standardize : {"zscore", "none"}
        Scale each series to a variance of one.
    detrend : bool
        Remove a linear trend.
    low_pass, high_pass : float or None
        Edges (Hz) of a Butterworth filter of order 5, run forth and back.
    smoothing_fwhm : float or None
        Width (mm) of a Gaussian with which images are smoothed before anything else.
    dummy_volumes : int
        Volumes dropped at the start, besides those that the confounds mark as not in a steady state.
    min_volumes : int
    min_seconds : float
        A run of which less remains is refused.

    """

    strategy: Strategy = "simple"
    motion: Model | None = None
    wm_csf: Model | None = None
    global_signal: Model | None = None
    compcor: (
        Literal["anat_combined", "anat_separated", "temporal", "temporal_anat_combined", "temporal_anat_separated"]
        | None
    ) = None
    n_compcor: Annotated[int, Field(ge=1)] | Literal["all"] | None = None
    scrub: Annotated[int, Field(ge=0)] | None = None
    fd_threshold: Positive | None = None
    std_dvars_threshold: Positive | None = None
    standardize: Literal["zscore", "none"] = "zscore"
    detrend: bool = True
    low_pass: Positive | None = None
    high_pass: Positive | None = None
    smoothing_fwhm: Positive | None = None
    dummy_volumes: Annotated[int, Field(ge=0)] = 0
    min_volumes: Annotated[int, Field(ge=2)] = 20
    min_seconds: Annotated[float, Field(ge=0)] = 0.0

    def __post_init__(self) -> None:
        taken = self.taken()
        for key in ("fd_threshold", "std_dvars_threshold"):
            if getattr(self, key) is not None and "scrub" not in taken:
                raise ValueError(f"{key} has no effect where nothing is scrubbed: set scrub, or another strategy")
        if self.n_compcor is not None and "compcor" not in taken:
            raise ValueError("n_compcor has no effect without compcor: set compcor, or another strategy")
        if self.low_pass is not None and self.high_pass is not None and self.high_pass >= self.low_pass:
            raise ValueError("high_pass is not below low_pass")

    def taken(self) -> dict[str, Any]:
        """Return what is taken from the confounds: the strategy, with what replaces it."""
        names = ("motion", "wm_csf", "global_signal", "compcor", "n_compcor", "scrub", "fd_threshold",
                 "std_dvars_threshold")  # fmt: skip
        stated = {name: getattr(self, name) for name in names if getattr(self, name) is not None}
        preset = PRESETS[self.strategy]
        if "scrub" in stated:
            preset = {**_SCRUB, **preset}
        if "compcor" in stated:
            # The slow cosines were removed before the components were estimated.
            preset = {"n_compcor": "all", **preset, "high_pass": True}
        return {name: value for name, value in {**preset, **stated}.items() if value != "none"}

    def described(self) -> str:
        """Return what is done, in words; see :class:`replicortex.components.Component`."""
        taken = self.taken()
        filtered = self.low_pass is not None or self.high_pass is not None
        steps = [
            "detrended" if self.detrend else "",
            f"filtered ({band(self.high_pass, self.low_pass)}, Butterworth of order 5 in both directions)"
            if filtered
            else "",
            "cleared of confounds by linear regression" if self._regressors(taken) else "",
            "scaled to unit variance" if self.standardize == "zscore" else "",
        ]
        done = listed(step for step in steps if step) if any(steps) else "left as they were"
        return text(
            f"Images were first smoothed by {digits(self.smoothing_fwhm)} mm." if self.smoothing_fwhm else "",
            f"Series were {done} (nilearn [@abraham2014]).",
            f"The confounds were {listed(self._regressors(taken))}." if self._regressors(taken) else "",
            "Signals and confounds were filtered alike [@lindquist2019]."
            if filtered and self._regressors(taken)
            else "",
            self._censoring(taken),
        )

    def _regressors(self, taken: dict[str, Any]) -> list[str]:
        """Return the confounds that are regressed out, in words."""
        forms = {
            "basic": "",
            "power2": " with their squares",
            "derivatives": " with their derivatives",
            "full": " with their derivatives and the squares of both",
        }
        found = []
        if "motion" in taken:
            source = " [@friston1996]" if taken["motion"] == "full" else ""
            found.append(f"six parameters of head motion{forms[taken['motion']]}{source}")
        if "wm_csf" in taken:
            form = forms[taken["wm_csf"]]
            found.append(
                f"the mean signals of white matter and cerebrospinal fluid{form} [@fox2005; @satterthwaite2013]"
            )
        if "global_signal" in taken:
            found.append(f"the global signal{forms[taken['global_signal']].replace('their', 'its')}")
        if "compcor" in taken:
            number = taken.get("n_compcor", "all")
            which = "that explain half of the variance" if number == "all" else f"(the first {number})"
            masks = taken["compcor"].replace("_", " ").replace("anat", "anatomical")
            found.append(f"the {masks} CompCor components {which} [@behzadi2007]")
        if "high_pass" in taken and self.high_pass is None:
            found.append("slow cosines")
        return found

    def _censoring(self, taken: dict[str, Any]) -> str:
        """Return which volumes and runs are left out, in words."""
        said = []
        if "scrub" in taken:
            limits = f"above {digits(taken['fd_threshold'])} mm of framewise displacement [@power2012] or"
            limits += f" {digits(taken['std_dvars_threshold'])} of standardised DVARS"
            short = f", with segments of fewer than {taken['scrub']} volumes between them" if taken["scrub"] else ""
            said.append(f"Volumes {limits} were censored{short} [@power2014].")
        if self.dummy_volumes:
            said.append(f"The first {count(self.dummy_volumes, 'volume')} of each run were dropped.")
        least = f"{self.min_volumes} volumes" + (f" or {digits(self.min_seconds)} s" if self.min_seconds else "")
        said.append(f"Runs of which fewer than {least} remained were excluded.")
        return " ".join(said)

    def plan(self, path: Path, name: str, n_volumes: int, tr: float) -> Plan:
        """Return what to do with the run of ``path``, whose series have ``n_volumes``.

        Raises
        ------
        InputError
            If the confounds are missing, do not fit the series or lack a column, a filter edge does not fit
            ``tr``, or too little remains.

        """
        confounds, kept = self._confounds(path, name, n_volumes)
        kept = kept[kept >= self.dummy_volumes]
        edges = [edge for edge in (self.low_pass, self.high_pass) if edge is not None]
        if (edges or self.min_seconds) and not math.isfinite(tr):
            raise InputError(name, "its repetition time is not known", "give RepetitionTime in its JSON sidecar")
        if edges and max(edges) >= 0.5 / tr:
            fault = f"a filter edge of {max(edges):g} Hz is not below {0.5 / tr:g} Hz, half of the sampling rate"
            raise InputError(name, fault, "lower it in the feature card")
        seconds = len(kept) * tr
        if len(kept) < self.min_volumes or (self.min_seconds and seconds < self.min_seconds):
            length = f" ({seconds:.0f} s)" if math.isfinite(tr) else ""
            needed = f"{self.min_volumes} volumes" + (f" and {self.min_seconds:g} s" if self.min_seconds else "")
            fault = f"{len(kept)} of {n_volumes} volumes{length} remain after censoring, needs {needed}"
            raise InputError(name, fault, "relax min_volumes, min_seconds or the scrubbing, or exclude the run")
        if confounds is not None and confounds.shape[1] >= len(kept) - 2:
            fault = f"{len(kept)} volumes remain for {confounds.shape[1]} confounds, which would explain everything"
            raise InputError(name, fault, "choose a strategy with fewer confounds")
        return Plan(kept, confounds, tr)

    def _confounds(self, path: Path, name: str, n_volumes: int) -> tuple[np.ndarray | None, np.ndarray]:
        """Return confounds (n_volumes, n) or ``None``, and the numbers of the volumes that stay."""
        table, taken = confounds_path(path), self.taken()
        if table is None:
            if not taken:
                return None, np.arange(n_volumes)
            remedy = "provide its *_desc-confounds_timeseries.tsv, or set denoise: {strategy: none}"
            raise InputError(name, f"has no table of confounds for the strategy {self.strategy}", remedy)
        columns = read_columns(table, table.name)
        length = len(next(iter(columns.values())))
        if length != n_volumes:
            fault = f"has {length} rows where {name} has {n_volumes} volumes"
            raise InputError(table.name, fault, "restore the file of this run")
        if not taken:
            marks = [values for column, values in columns.items() if column.startswith("non_steady_state")]
            return None, np.flatnonzero(~np.any([mark > 0 for mark in marks], axis=0) if marks else np.ones(length))
        return self._load(table, taken, length)

    def _load(self, table: Path, taken: dict[str, Any], length: int) -> tuple[np.ndarray | None, np.ndarray]:
        from nilearn.interfaces.fmriprep import load_confounds

        parts = ("high_pass", "motion", "wm_csf", "global_signal", "compcor", "scrub")
        strategy = tuple(part for part in parts if part in taken)
        settings = {key: value for key, value in taken.items() if key != "high_pass"}
        with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            # nilearn looks for the table of an image by its name; ours may be that of a table of series.
            copy = Path(folder) / "sub-x_desc-confounds_timeseries.tsv"
            for file in (table, table.with_suffix(".json")):
                if file.is_file():
                    copy.with_suffix(file.suffix).write_bytes(file.read_bytes())
            image = str(Path(folder) / "sub-x_desc-preproc_bold.nii.gz")
            try:
                frame, kept = load_confounds(image, strategy, demean=True, **settings)
            except (ValueError, KeyError, TypeError, IndexError) as error:
                fault = f"can not serve the strategy {self.strategy} ({str(error).replace(folder, '')[:200]})"
                raise InputError(table.name, fault, "choose another strategy, or restore the file") from None
        kept = np.arange(length) if kept is None else np.asarray(kept)
        if self.high_pass is not None:
            # The filter removes what the cosines stand for; filtered cosines would be noise scaled up.
            frame = frame[[column for column in frame.columns if not column.startswith("cosine")]]
        values = frame.to_numpy(float)
        if not np.isfinite(values).all():
            column = frame.columns[~np.isfinite(values).all(axis=0)][0]
            raise InputError(table.name, f"{column} has missing values", "choose a strategy without it")
        values = values[:, np.ptp(values[kept], axis=0) > 0] if len(kept) else values
        return (values if values.shape[1] else None), kept

    def clean(self, series: np.ndarray, plan: Plan, *, filtered: bool = True, scaled: bool = True) -> np.ndarray:
        """Return ``series`` (n_volumes, n) cleaned by ``plan``: (n_kept, n), float64.

        Volumes that are dropped are filled by cubic splines for the filter and dropped after it.

        Parameters
        ----------
        series : ndarray of shape (n_volumes, n)
            None of them constant.
        plan : Plan
        filtered, scaled : bool
            Whether to apply the filter, and to scale as ``standardize`` says.

        """
        from nilearn import signal

        low, high = (self.low_pass, self.high_pass) if filtered else (None, None)
        all_kept = len(plan.kept) == len(series)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return signal.clean(
                np.asarray(series, dtype=np.float64),
                detrend=self.detrend,
                standardize="zscore_sample" if scaled and self.standardize == "zscore" else None,
                sample_mask=None if all_kept else plan.kept,
                confounds=plan.confounds,
                low_pass=low,
                high_pass=high,
                filter="butterworth" if low or high else False,
                t_r=plan.tr if math.isfinite(plan.tr) else None,
            )
