"""Measures of the quality of a T1-weighted image and of what was made of it.

As MRIQC defines them (Esteban et al. 2017, doi:10.1371/journal.pone.0184661), restated: contrasts by medians and
scaled median absolute deviations of the tissues, entropy focus criterion (Atkinson et al. 1997), ratio of energies
of foreground and background, and the bias. The width of the point spread is that of Forman et al. (1995,
doi:10.1002/mrm.1910330508), which takes neighbours for correlated by a Gaussian kernel.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

_MAD_TO_SD = 1.4826


def dice(one: np.ndarray, other: np.ndarray) -> float:
    """Return twice the overlap of two masks over the sum of their sizes; 0 if both are empty."""
    total = int(one.sum()) + int(other.sum())
    return 2 * float((one & other).sum()) / total if total else 0.0


def contrasts(image: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    """Return CJV, CNR, the SNR of each tissue and how bright white matter is in the image.

    Parameters
    ----------
    image, labels : array, (x, y, z)
        Values; 1 for grey matter, 2 for white matter, 3 for CSF.

    Returns
    -------
    dict
        ``cjv`` (less is better), ``cnr`` (here without the noise of air, which images without a skull lack),
        ``snr_gm``, ``snr_wm``, ``snr_csf``, ``wm2max``. What is not defined is left out.

    """
    middle, spread, found = {}, {}, {}
    for name, label in (("gm", 1), ("wm", 2), ("csf", 3)):
        values = image[labels == label]
        if values.size > 1:
            middle[name] = float(np.median(values))
            spread[name] = _MAD_TO_SD * float(np.median(np.abs(values - middle[name])))
            deviation = float(values.std()) * np.sqrt(values.size / (values.size - 1))
            if deviation > 0:
                found[f"snr_{name}"] = middle[name] / deviation
    if "gm" in middle and "wm" in middle:
        between = abs(middle["wm"] - middle["gm"])
        if between > 0:
            found["cjv"] = (spread["wm"] + spread["gm"]) / between
        noise = np.hypot(spread["wm"], spread["gm"])
        if noise > 0:
            found["cnr"] = between / noise
        found["wm2max"] = middle["wm"] / float(np.percentile(image, 99.95))
    return {name: float(value) for name, value in found.items()}


def entropy_focus(image: np.ndarray) -> float:
    """Return the entropy of the energy of an image: 0 if it lies in one voxel, 1 if all voxels share it."""
    values = np.abs(image.ravel()).astype(float)
    share = values / np.sqrt(np.sum(values**2))
    n = share.size
    return float(np.sum(share * np.log(share + 1e-16)) / (n / np.sqrt(n) * np.log(1 / np.sqrt(n))))


def energy_ratio(image: np.ndarray, mask: np.ndarray) -> float | None:
    """Return the median energy in the mask over that outside; ``None`` where the outside is zero."""
    outside = float(np.median(image[~mask].astype(float) ** 2)) if not mask.all() else 0.0
    return float(np.median(image[mask].astype(float) ** 2)) / outside if outside > 0 else None


def smoothness(image: np.ndarray, mask: np.ndarray, spacing: np.ndarray) -> float | None:
    """Return the full width at half maximum (mm, mean of the axes) of the smoothness of values in a mask."""
    values = image.astype(float)
    variance = float(values[mask].var())
    widths = []
    for axis in range(3):
        both = np.take(mask, range(1, mask.shape[axis]), axis) & np.take(mask, range(mask.shape[axis] - 1), axis)
        steps = np.diff(values, axis=axis)[both]
        # The correlation of neighbours that a Gaussian kernel gives; none if there is no correlation.
        correlation = 1 - float(np.mean(steps**2)) / (2 * variance) if steps.size and variance > 0 else 0.0
        if not 0 < correlation < 1:
            return None
        widths.append(float(spacing[axis]) * np.sqrt(-2 * np.log(2) / np.log(correlation)))
    return float(np.mean(widths))


def volumes(tissues: Mapping[str, np.ndarray], mask: np.ndarray, voxel_ml: float) -> dict[str, float]:
    """Return the volumes (mL) of the tissues, by probability, and of what is inside of the mask (``icv_ml``)."""
    found = {f"{name.lower()}_ml": float(data.sum(dtype=float)) * voxel_ml for name, data in tissues.items()}
    return {**found, "icv_ml": float(mask.sum()) * voxel_ml}
