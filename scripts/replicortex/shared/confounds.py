"""Confounds of a BOLD series, by the definitions and under the names of fMRIPrep (2x), as nilearn reads them.

Framewise displacement: Power et al. 2012, doi:10.1016/j.neuroimage.2011.10.018. DVARS: the same, standardised as by
T. Nichols (2013, arXiv:1704.01469). CompCor: Behzadi et al. 2007, doi:10.1016/j.neuroimage.2007.04.042. Expansion of
parameters: Satterthwaite et al. 2013, doi:10.1016/j.neuroimage.2012.08.052.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ..files import to_tsv

MOTION = ("trans_x", "trans_y", "trans_z", "rot_x", "rot_y", "rot_z")
#: How the columns of each kind of CompCor begin, and the name of its mask, in the order of fMRIPrep.
ANATOMICAL = {"c_comp_cor": "CSF", "w_comp_cor": "WM", "a_comp_cor": "combined"}
#: Share of voxels, those that vary most, that temporal CompCor takes.
_MOST_VARIABLE = 0.02


def framewise_displacement(parameters: np.ndarray, radius: float = 50.0) -> np.ndarray:
    """Return the framewise displacement (mm) of each volume against the one before; ``nan`` for the first.

    Parameters
    ----------
    parameters : ndarray of shape (n_volumes, 6)
        Three translations (mm), three rotations (rad).
    radius : float
        Of the sphere that stands for the head (mm).

    """
    steps = np.abs(np.diff(parameters, axis=0))
    return np.r_[np.nan, steps[:, :3].sum(axis=1) + radius * steps[:, 3:].sum(axis=1)]


def dvars(series: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return DVARS and standardised DVARS of each volume; ``nan`` for the first.

    The change from volume to volume, as root mean square over voxels, in units where the median of the series is
    1000; and over what is expected of the voxels' robust standard deviations and lag-one autocorrelations. Voxels
    whose robust standard deviation is zero are left out. The same as ``nipype.algorithms.confounds.compute_dvars``
    with ``remove_zerovariance``, which calls nitime for each voxel.

    Parameters
    ----------
    series : ndarray of shape (n_voxels, n_volumes)
        Of the brain.

    """
    series = np.asarray(series, dtype=np.float32)
    series = series / np.median(series) * 1000
    upper, lower = np.percentile(series, [75, 25], axis=1, method="lower")
    spread = (upper - lower) / 1.349
    series, spread = series[spread > 0], spread[spread > 0]
    centred = series - series.mean(axis=1, keepdims=True)
    # Yule-Walker estimate of order one: the biased autocovariance at lag one over that at lag zero.
    ar1 = (centred[:, 1:] * centred[:, :-1]).sum(axis=1) / (centred**2).sum(axis=1)
    expected = (np.sqrt(2 * (1 - ar1)) * spread).mean()
    plain = np.sqrt(np.square(np.diff(series, axis=1)).mean(axis=0))
    return np.r_[np.nan, plain], np.r_[np.nan, plain / expected]


def n_non_steady(means: np.ndarray) -> int:
    """Return how many volumes at the start are outliers, before magnetisation is steady: nipype's detector.

    Parameters
    ----------
    means : ndarray of shape (n_volumes,)
        Mean of each volume; the first 50 are compared.

    """
    from nipype.algorithms.confounds import is_outlier

    first = np.asarray(means[:50], dtype=float)
    if np.median(np.abs(first - np.median(first))) == 0:
        return 0
    return int(is_outlier(first))


def expand(name: str, values: np.ndarray) -> dict[str, np.ndarray]:
    """Return a confound with its derivative and the squares of both, under fMRIPrep's names."""
    derivative = np.r_[np.nan, np.diff(values)]
    return {
        name: values,
        f"{name}_derivative1": derivative,
        f"{name}_power2": values**2,
        f"{name}_derivative1_power2": derivative**2,
    }


def compcor(
    series: np.ndarray,
    masks: Mapping[str, np.ndarray],
    repetition_time: float,
    n_skipped: int,
    high_pass_s: float = 128.0,
    variance: float = 0.5,
) -> tuple[dict[str, np.ndarray], dict[str, Any], dict[str, np.ndarray]]:
    """Return the components of CompCor, what is known of each, and the cosines that they are free of.

    Those of ``masks`` are anatomical; temporal CompCor takes the 2 % of all voxels that vary most after removal
    of quadratic trends. Computed by nipype's functions on the volumes from ``n_skipped`` on; before, all are zero.

    Parameters
    ----------
    series : ndarray of shape (n_voxels, n_volumes)
        Of the brain.
    masks : mapping of str to ndarray of bool, shape (n_voxels,)
        By name: CSF, WM, combined.
    repetition_time : float
        s.
    n_skipped : int
        Volumes at the start.
    high_pass_s : float
        Slower periods (s) are removed first, by cosines.
    variance : float
        Components are kept until they explain this share.

    Returns
    -------
    components : dict of str to ndarray of shape (n_volumes,)
    metadata : dict of str to dict
        ``Method``, ``Mask``, ``SingularValue`` ... as of fMRIPrep.
    cosines : dict of str to ndarray of shape (n_volumes,)

    """
    import nibabel as nib
    from nipype.algorithms.confounds import _compute_tSTD, compute_noise_components, regress_poly

    steady = np.array(series[:, n_skipped:], dtype=np.float32)
    deviation = _compute_tSTD(regress_poly(2, steady)[0], 0, axis=-1)
    threshold = np.percentile(deviation, np.round(100 * (1 - _MOST_VARIABLE)))
    kinds = {"t_comp_cor": ("tCompCor", "", deviation >= threshold)}
    kinds |= {prefix: ("aCompCor", name, masks[name]) for prefix, name in ANATOMICAL.items() if name in masks}
    components, metadata, basis = {}, {}, np.empty((steady.shape[1], 0))
    # nipype takes images, whose sides have a limit: the voxels stand in a plane, filled up with what no mask takes.
    side = int(np.ceil(np.sqrt(len(steady))))
    image = np.zeros((side * side, steady.shape[1]), dtype=np.float32)
    image[: len(steady)] = steady
    image = image.reshape(side, side, 1, -1)
    for prefix, (method, name, mask) in kinds.items():
        plane = np.zeros(side * side, dtype=np.uint8)
        plane[: len(mask)] = mask
        placed = nib.Nifti1Image(plane.reshape(side, side, 1), np.eye(4))
        found, basis, facts = compute_noise_components(
            image, [placed], variance, "cosine", 0, high_pass_s, repetition_time, mask_names=[name]
        )
        for number, values in enumerate(found.T):
            # The sign of a singular vector is free: the largest entry is made positive.
            values = values * np.sign(values[np.abs(values).argmax()])
            column = f"{prefix}_{number:02d}"
            components[column] = np.r_[np.zeros(n_skipped), values]
            metadata[column] = {
                "Method": method,
                "Retained": True,
                "SingularValue": float(facts["singular_value"][number]),
                "VarianceExplained": float(facts["variance_explained"][number]),
                "CumulativeVarianceExplained": float(facts["cumulative_variance_explained"][number]),
            } | ({"Mask": name} if name else {})
    cosines = basis.T if basis.size else []
    return components, metadata, {f"cosine{k:02d}": np.r_[np.zeros(n_skipped), row] for k, row in enumerate(cosines)}


def spikes(prefix: str, volumes: np.ndarray, n_volumes: int) -> dict[str, np.ndarray]:
    """Return one column for each of ``volumes``: one there, zero elsewhere."""
    return {f"{prefix}{k:02d}": np.eye(n_volumes)[volume] for k, volume in enumerate(volumes)}


def confounds(
    series: np.ndarray,
    masks: Mapping[str, np.ndarray],
    parameters: np.ndarray,
    repetition_time: float,
    n_skipped: int,
    *,
    high_pass_s: float = 128.0,
    fd_mm: float = 0.5,
    std_dvars: float = 1.5,
) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Return the columns of the table of confounds, and what its sidecar says of them.

    Parameters
    ----------
    series : ndarray of shape (n_voxels, n_volumes)
        Realigned signals of the brain.
    masks : mapping of str to ndarray of bool, shape (n_voxels,)
        ``CSF``, ``WM`` and ``combined`` among these voxels.
    parameters : ndarray of shape (n_volumes, 6)
        Motion, in the order of :data:`MOTION` (mm, rad).
    repetition_time : float
        s.
    n_skipped : int
        Volumes at the start before magnetisation is steady.
    high_pass_s : float
        Slowest period (s) that the cosines leave.
    fd_mm, std_dvars : float
        Volumes above are motion outliers.

    """
    n_volumes = series.shape[1]
    displacement = framewise_displacement(parameters)
    plain, standardised = dvars(series)
    columns: dict[str, np.ndarray] = {}
    signals = {
        "global_signal": series.mean(axis=0, dtype=np.float64),
        "csf": series[masks["CSF"]].mean(axis=0, dtype=np.float64),
        "white_matter": series[masks["WM"]].mean(axis=0, dtype=np.float64),
    }
    for name, values in signals.items():
        columns |= expand(name, values)
    columns |= {"std_dvars": standardised, "dvars": plain, "framewise_displacement": displacement}
    components, metadata, cosines = compcor(series, masks, repetition_time, n_skipped, high_pass_s)
    columns |= components | cosines
    columns |= spikes("non_steady_state_outlier", np.arange(n_skipped), n_volumes)
    for name, values in zip(MOTION, parameters.T, strict=True):
        columns |= expand(name, values)
    with np.errstate(invalid="ignore"):
        outliers = np.flatnonzero((displacement > fd_mm) | (standardised > std_dvars))
    columns |= spikes("motion_outlier", outliers, n_volumes)
    described = {
        "framewise_displacement": {"Description": "Power et al. 2012, sphere of 50 mm", "Units": "mm"},
        "dvars": {"Description": "RMS change between volumes where the median of the series is 1000"},
        "std_dvars": {"Description": "DVARS over what is expected of temporal standard deviation and AR(1)"},
    }
    for name in MOTION:
        unit = "mm" if name.startswith("trans") else "rad"
        what = "Displacement of the head against the reference, rotated about its centre in the order x, y, z"
        described[name] = {"Description": what, "Units": unit}
    return columns, described | metadata


def to_table(columns: Mapping[str, np.ndarray]) -> str:
    """Return columns as the text of a table; what is not defined is ``n/a``.

    Ten digits are kept: beyond them stand rounding errors.
    """
    values = {name: [float(f"{value:.10g}") for value in column] for name, column in columns.items()}
    names = list(values)
    return to_tsv((dict(zip(names, row, strict=True)) for row in zip(*values.values(), strict=True)), names)
