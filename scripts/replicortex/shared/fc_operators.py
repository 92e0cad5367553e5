"""Operators from region time series to pairwise functional connectivity: one bank for all studies.

Every operator takes the series of one window, of shape ``(n_volumes, n_regions)``, and returns a symmetric matrix
``(n_regions, n_regions)``. Intermediate results that several operators use (ranks, spectra, analytic signals,
the shrunk covariance) are computed once a window. The idea of a bank of pairwise statistics is that of Cliff et
al. (2023), doi:10.1038/s43588-023-00519-x; each operator below names its own source.

Cost, with ``T`` volumes and ``R`` regions: all operators take time in ``R^2``; Kendall's tau, distance
correlation and ``mi_binned`` in ``T^2 R^2``, ``T^2 R^2`` and ``T R^2`` of matrix products; dynamic time warping
``T w R^2`` with a band of ``w`` volumes. Memory is at most ``8 R T^2`` bytes (distance correlation), ``8 R^2 w`` for
time warping and ``8 R^2 T`` in chunks for Granger causality; the rest is smaller.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy import signal
from scipy.stats import rankdata

from ..errors import InputError
from .fc import covariance

#: Band of spontaneous BOLD fluctuations, Hz.
BAND = (0.01, 0.1)
#: Half-overlapping segments of Welch's method: MATLAB's default for coherence.
N_SEGMENTS = 8
#: Below this many volumes the spectra and regressions are not defined.
MIN_VOLUMES = 16


@dataclass(frozen=True)
class Operator:
    """One operator: what it computes, where it comes from, its words in a text, and whether its values have a sign."""

    compute: Callable[[Window], np.ndarray]
    source: str
    words: str
    signed: bool


#: All operators by name, in the order of their definition.
BANK: dict[str, Operator] = {}


def _operator(name: str, source: str, words: str, *, signed: bool = False) -> Callable:
    def register(function: Callable[[Window], np.ndarray]) -> Callable[[Window], np.ndarray]:
        BANK[name] = Operator(function, source, words, signed)
        return function

    return register


class Window:
    """One window of region series with what several operators need.

    Parameters
    ----------
    series : ndarray of shape (n_volumes, n_regions)
        No series may be constant.
    repetition_time : float
        Time between volumes, s.
    band : tuple of float
        The band (Hz) over which spectra are averaged and to which analytic signals are limited.
    max_lag : int
        Greatest shift (volumes) of lagged cross-correlation and half-width of the band of time warping.
    order : int
        Order of the autoregressions of Granger causality.
    n_bins : int
        Equally filled bins of the binned mutual information.
    """

    def __init__(
        self,
        series: np.ndarray,
        repetition_time: float,
        band: tuple[float, float] = BAND,
        max_lag: int = 5,
        order: int = 2,
        n_bins: int = 4,
    ) -> None:
        self.series = np.asarray(series, dtype=np.float64)
        self.repetition_time, self.band = float(repetition_time), band
        self.max_lag, self.order, self.n_bins = max_lag, order, n_bins

    @property
    def n_volumes(self) -> int:
        """Number of volumes."""
        return self.series.shape[0]

    @property
    def n_regions(self) -> int:
        """Number of regions."""
        return self.series.shape[1]

    @cached_property
    def centred(self) -> np.ndarray:
        """Series without their mean."""
        return self.series - self.series.mean(axis=0)

    @cached_property
    def z(self) -> np.ndarray:
        """Series of zero mean and unit (population) variance."""
        return self.centred / np.sqrt((self.centred**2).mean(axis=0))

    @cached_property
    def correlation(self) -> np.ndarray:
        """Pearson correlation."""
        return _correlation(self.series)

    @cached_property
    def shrunk(self) -> np.ndarray:
        """Covariance of the standardised series, shrunk (Ledoit & Wolf)."""
        return covariance(self.z)

    @cached_property
    def precision(self) -> np.ndarray:
        """Inverse of the shrunk covariance."""
        return _symmetric(np.linalg.inv(self.shrunk))

    @cached_property
    def spectra(self) -> np.ndarray:
        """Cross-spectra within the band, ``(n_frequencies, n_regions, n_regions)``, complex."""
        length = max(8, int(2 * self.n_volumes / (N_SEGMENTS + 1)))
        starts = np.arange(0, self.n_volumes - length + 1, length - length // 2)
        parts = self.series[starts[:, None] + np.arange(length)]
        parts = (parts - parts.mean(axis=1, keepdims=True)) * signal.get_window("hann", length)[None, :, None]
        spectrum = np.fft.rfft(parts, axis=1)[:, self._in_band(length)]
        return np.einsum("sfi,sfj->fij", spectrum.conj(), spectrum, optimize=True)

    @cached_property
    def coherency(self) -> np.ndarray:
        """Normalised cross-spectra within the band."""
        power = np.einsum("fii->fi", self.spectra).real
        return self.spectra / np.sqrt(power[:, :, None] * power[:, None, :])

    @cached_property
    def analytic(self) -> np.ndarray:
        """Analytic signals of the series limited to the band, ``(n_volumes, n_regions)``, complex."""
        spectrum = np.fft.fft(self.centred, axis=0)
        kept = np.zeros(self.n_volumes)
        kept[self._in_band(self.n_volumes)] = 2
        return np.fft.ifft(spectrum * kept[:, None], axis=0)

    def _in_band(self, length: int) -> np.ndarray:
        """Return the indices of the positive frequencies of a transform that lie within the band."""
        frequencies = np.fft.rfftfreq(length, self.repetition_time)
        inside = np.flatnonzero((frequencies >= self.band[0]) & (frequencies <= self.band[1]) & (frequencies > 0))
        if not inside.size:
            fault = f"no frequency of {length} volumes of {self.repetition_time:g} s lies in {list(self.band)} Hz"
            raise InputError("fc_operators", fault, "widen band or take longer windows")
        return inside


def bank(window: Window, names: Sequence[str]) -> np.ndarray:
    """Return the matrices of operators ``names`` for one window, of shape ``(n_operators, n_regions, n_regions)``.

    Raises
    ------
    InputError
        If a series is constant, not finite or shorter than 16 volumes.
    """
    if window.n_volumes < MIN_VOLUMES:
        raise InputError("fc_operators", f"a window has {window.n_volumes} volumes", f"give {MIN_VOLUMES} or more")
    if not np.isfinite(window.series).all():
        raise InputError("fc_operators", "a series holds n/a or infinite values", "interpolate or drop them")
    # Rounding leaves a constant column a spread of about its own size times the machine's precision.
    spread, size = window.series.std(axis=0), np.abs(window.series).max(axis=0)
    constant = np.flatnonzero(spread <= 1e-12 * size)
    if constant.size:
        raise InputError("fc_operators", f"the series of region {constant[0] + 1} is constant", "drop the region")
    return np.stack([BANK[name].compute(window) for name in names])


# Amplitude, zero lag.


@_operator("covariance", "sample covariance of the series as they are", "sample covariance", signed=True)
def _sample_covariance(window: Window) -> np.ndarray:
    return window.centred.T @ window.centred / (window.n_volumes - 1)


@_operator("pearson", "Pearson (1895), doi:10.1098/rspl.1895.0041", "Pearson correlation [@pearson1895]", signed=True)
def _pearson(window: Window) -> np.ndarray:
    return window.correlation


@_operator(
    "spearman",
    "Spearman (1904), doi:10.2307/1412159; ties share the mean rank",
    "Spearman correlation [@spearman1904]",
    signed=True,
)
def _spearman(window: Window) -> np.ndarray:
    return _correlation(rankdata(window.series, axis=0))


@_operator(
    "kendall", "Kendall (1938), doi:10.1093/biomet/30.1-2.81; tau-b", "Kendall's tau-b [@kendall1938]", signed=True
)
def _kendall(window: Window) -> np.ndarray:
    # All pairs of volumes, one distance at a time: a matrix product instead of a sort for every pair of regions.
    x = window.series
    concordance = np.zeros((window.n_regions, window.n_regions))
    for lag in range(1, window.n_volumes):
        sign = np.sign(x[lag:] - x[:-lag])
        concordance += sign.T @ sign
    untied = np.sqrt(np.diag(concordance))
    return concordance / np.outer(untied, untied)


@_operator(
    "ledoit_wolf",
    "Ledoit & Wolf (2004), doi:10.1016/S0047-259X(03)00096-4; of standardised series",
    "correlation from Ledoit and Wolf's covariance [@ledoit2004]",
    signed=True,
)
def _ledoit_wolf(window: Window) -> np.ndarray:
    scale = np.sqrt(np.diag(window.shrunk))
    return window.shrunk / np.outer(scale, scale)


@_operator(
    "precision",
    "inverse of the Ledoit-Wolf covariance; Smith et al. (2011), doi:10.1016/j.neuroimage.2010.08.063",
    "precision [@smith2011]",
    signed=True,
)
def _precision(window: Window) -> np.ndarray:
    return window.precision


@_operator(
    "partial",
    "partial correlation from the Ledoit-Wolf precision; Marrelec et al. (2006), doi:10.1016/j.neuroimage.2005.12.057",
    "partial correlation [@marrelec2006]",
    signed=True,
)
def _partial(window: Window) -> np.ndarray:
    scale = np.sqrt(np.diag(window.precision))
    partial = -window.precision / np.outer(scale, scale)
    np.fill_diagonal(partial, 1.0)
    return partial


@_operator(
    "euclidean",
    "Euclidean distance of the standardised series: sqrt(2 T (1 - r)), greater is less alike",
    "Euclidean distance of the standardised series",
)
def _euclidean(window: Window) -> np.ndarray:
    distance = np.sqrt(2 * window.n_volumes * np.clip(1 - window.correlation, 0, None))
    np.fill_diagonal(distance, 0.0)  # the root turns rounding into 1e-7
    return distance


# Dependence of any form.


@_operator(
    "mi_gaussian",
    "mutual information of Gaussian variables (nat); Cover & Thomas (2006), doi:10.1002/047174882X",
    "mutual information of Gaussian variables [@cover2006]",
)
def _mi_gaussian(window: Window) -> np.ndarray:
    # The diagonal, and two equal series, would be infinite; doubles can tell no more from one than this.
    unexplained = np.clip(1 - window.correlation**2, np.finfo(float).eps, None)
    np.fill_diagonal(unexplained, np.finfo(float).eps)
    return -0.5 * np.log(unexplained)


@_operator(
    "mi_binned",
    "mutual information of equally filled bins (nat, plug-in); Steuer et al. (2002), "
    "doi:10.1093/bioinformatics/18.suppl_2.S231",
    "mutual information of equally filled bins [@steuer2002]",
)
def _mi_binned(window: Window) -> np.ndarray:
    n, n_bins = window.n_volumes, window.n_bins
    bins = ((rankdata(window.series, axis=0, method="ordinal") - 1) * n_bins // n).astype(int)
    member = (bins[:, :, None] == np.arange(n_bins)).reshape(n, -1).astype(np.float64)
    joint = (member.T @ member / n).reshape(window.n_regions, n_bins, window.n_regions, n_bins).swapaxes(1, 2)
    alone = member.mean(axis=0).reshape(window.n_regions, n_bins)
    independent = alone[:, None, :, None] * alone[None, :, None, :]
    with np.errstate(divide="ignore", invalid="ignore"):
        terms = np.where(joint > 0, joint * np.log(joint / independent), 0.0)
    return _symmetric(terms.sum(axis=(2, 3)))


@_operator(
    "distance_correlation",
    "Szekely, Rizzo & Bakirov (2007), doi:10.1214/009053607000000505",
    "distance correlation [@szekely2007]",
)
def _distance_correlation(window: Window) -> np.ndarray:
    x = window.z.T
    distance = np.abs(x[:, :, None] - x[:, None, :])
    mean = distance.mean(axis=1)
    distance += mean.mean(axis=1)[:, None, None] - mean[:, :, None] - mean[:, None, :]
    flat = distance.reshape(len(x), -1)
    covariance = flat @ flat.T
    scale = np.sqrt(np.diag(covariance))
    return np.sqrt(np.clip(covariance / np.outer(scale, scale), 0, None))


# Frequencies and phases.


@_operator(
    "coherence",
    "magnitude-squared coherence (Welch, Hann, 8 half-overlapping segments), mean over the band; Sun "
    "et al. (2004), doi:10.1016/j.neuroimage.2003.09.036",
    "magnitude-squared coherence [@sun2004]",
)
def _coherence(window: Window) -> np.ndarray:
    return (np.abs(window.coherency) ** 2).mean(axis=0)


@_operator(
    "imaginary_coherence",
    "magnitude of the imaginary part of coherency's band mean; Nolte et al. (2004), doi:10.1016/j.clinph.2004.04.029",
    "imaginary coherence [@nolte2004]",
)
def _imaginary_coherence(window: Window) -> np.ndarray:
    return np.abs(window.coherency.imag.mean(axis=0))


@_operator(
    "phase_locking",
    "phase locking value; Lachaux et al. (1999), doi:10.1002/(SICI)1097-0193(1999)8:4<194::AID-HBM4>3.0.CO;2-C",
    "phase locking value [@lachaux1999]",
)
def _phase_locking(window: Window) -> np.ndarray:
    phase = window.analytic / np.maximum(np.abs(window.analytic), np.finfo(float).tiny)
    return np.abs(phase.conj().T @ phase) / window.n_volumes


@_operator(
    "phase_lag_index", "phase lag index; Stam et al. (2007), doi:10.1002/hbm.20346", "phase lag index [@stam2007]"
)
def _phase_lag_index(window: Window) -> np.ndarray:
    total = np.zeros((window.n_regions, window.n_regions))
    for row in window.analytic:
        total += np.sign(_imaginary(row))
    return np.abs(total) / window.n_volumes


@_operator(
    "weighted_phase_lag_index",
    "weighted phase lag index; Vinck et al. (2011), doi:10.1016/j.neuroimage.2011.01.055",
    "weighted phase lag index [@vinck2011]",
)
def _weighted_phase_lag_index(window: Window) -> np.ndarray:
    total, weight = np.zeros((2, window.n_regions, window.n_regions))
    for row in window.analytic:
        imaginary = _imaginary(row)
        total += imaginary
        weight += np.abs(imaginary)
    # Without any phase difference (the diagonal) there is none to weigh.
    return np.abs(total) / np.where(weight > 0, weight, 1)


@_operator(
    "envelope_correlation",
    "correlation of amplitude envelopes within the band; Hipp et al. (2012), doi:10.1038/nn.3101, "
    "without orthogonalisation",
    "correlation of amplitude envelopes [@hipp2012]",
    signed=True,
)
def _envelope_correlation(window: Window) -> np.ndarray:
    return _correlation(np.abs(window.analytic))


# Lags and warps.


@_operator(
    "lagged_correlation",
    "cross-correlation of greatest magnitude within the lags, with its sign; Mitra et al. (2014), "
    "doi:10.1152/jn.00804.2013",
    "greatest lagged cross-correlation [@mitra2014]",
    signed=True,
)
def _lagged_correlation(window: Window) -> np.ndarray:
    z, n = window.z, window.n_volumes
    best = window.correlation.copy()
    for lag in range(1, min(window.max_lag, n // 4) + 1):
        # Divided by all volumes, not by those that overlap: long lags must not win by chance.
        forward = z[:-lag].T @ z[lag:] / n
        for shifted in (forward, forward.T):
            best = np.where(np.abs(shifted) > np.abs(best), shifted, best)
    return best


@_operator(
    "dynamic_time_warping",
    "warped distance of the standardised series in a band of max_lag volumes (Sakoe & Chiba 1978, "
    "doi:10.1109/TASSP.1978.1163055); greater is less alike",
    "dynamic time warping [@sakoe1978]",
)
def _dynamic_time_warping(window: Window) -> np.ndarray:
    rows, columns = np.triu_indices(window.n_regions, 1)
    a, b = np.ascontiguousarray(window.z.T)[rows], np.ascontiguousarray(window.z.T)[columns]
    matrix = np.zeros((window.n_regions, window.n_regions))
    # Blocks of pairs keep the table of costs in the cache.
    for start in range(0, len(rows), 1024):
        here = slice(start, start + 1024)
        matrix[rows[here], columns[here]] = _warped(a[here].T, b[here].T, window.max_lag)
    return matrix + matrix.T


@_operator(
    "granger",
    "Geweke (1982), doi:10.1080/01621459.1982.10477803: linear feedback from either to the other, "
    "both directions added so that the matrix is symmetric",
    "Granger causality in both directions [@geweke1982]",
)
def _granger(window: Window) -> np.ndarray:
    feedback = granger(window.z, window.order)
    return feedback + feedback.T


# What operators are made of.


def _symmetric(matrix: np.ndarray) -> np.ndarray:
    return (matrix + matrix.T) / 2


def _correlation(x: np.ndarray) -> np.ndarray:
    centred = x - x.mean(axis=0)
    # Two divisions by the norm keep the diagonal at one within rounding and never leave [-1, 1] after clipping.
    norm = np.linalg.norm(centred, axis=0)
    return np.clip(_symmetric((centred / norm).T @ (centred / norm)), -1, 1)


def _imaginary(row: np.ndarray) -> np.ndarray:
    """Return Im(a b*) for all pairs of one volume's analytic signals; exactly antisymmetric."""
    product = np.outer(row.imag, row.real)
    return product - product.T


def _warped(a: np.ndarray, b: np.ndarray, width: int) -> np.ndarray:
    """Return the warped distances of pairs of series, each ``(n_volumes, n_pairs)``, all pairs at once.

    The least sum of squared differences over monotone paths that stay within ``width`` volumes, and its root.
    """
    n, n_pairs = a.shape
    # Column ``j - i + width + 1`` of the table of row ``i``; infinite margins on both sides.
    before = np.full((2 * width + 3, n_pairs), np.inf)
    # The path starts where both begin: the corner before the first row.
    before[width + 1] = 0.0
    for i in range(n):
        low, high = max(0, i - width), min(n - 1, i + width)
        cost = (a[i] - b[low : high + 1]) ** 2
        now = np.full_like(before, np.inf)
        for j in range(low, high + 1):
            at = j - i + width + 1
            # Above is (i - 1, j), one column to the right in the row before; the corner is the same column.
            step = np.minimum(before[at + 1], before[at])
            np.minimum(step, now[at - 1], out=step)
            now[at] = cost[j - low] + step
        before = now
    return np.sqrt(before[width + 1])


def granger(z: np.ndarray, order: int) -> np.ndarray:
    """Return the linear feedback from region ``i`` to region ``j`` at entry ``(i, j)``.

    The log ratio of residual variances of an autoregression of ``j`` on its own past and on the past of both, each
    with ``order`` lags and no constant (series have no mean). Normal equations of all pairs are solved together.

    Parameters
    ----------
    z : ndarray of shape (n_volumes, n_regions)
        Standardised series.
    """
    n, n_regions = z.shape
    past = np.stack([z[order - lag : n - lag] for lag in range(1, order + 1)], axis=2)
    now = z[order:]
    own = np.einsum("trp,trq->rpq", past, past)
    target = np.einsum("trp,tr->rp", past, now)
    power = (now**2).sum(axis=0)
    alone = power - np.einsum("rp,rp->r", target, np.linalg.solve(own, target[..., None])[..., 0])
    flat = past.reshape(len(past), -1)
    cross = (flat.T @ flat).reshape(n_regions, order, n_regions, order)
    effect = (flat.T @ now).reshape(n_regions, order, n_regions)
    feedback = np.zeros((n_regions, n_regions))
    for j in range(n_regions):
        others = np.flatnonzero(np.arange(n_regions) != j)
        gram = np.empty((len(others), 2 * order, 2 * order))
        gram[:, :order, :order] = own[j]
        gram[:, order:, order:] = own[others]
        gram[:, order:, :order] = cross[others, :, j, :]
        gram[:, :order, order:] = gram[:, order:, :order].swapaxes(1, 2)
        right = np.concatenate([np.broadcast_to(target[j], (len(others), order)), effect[others, :, j]], axis=1)
        both = power[j] - np.einsum("rp,rp->r", right, np.linalg.solve(gram, right[..., None])[..., 0])
        feedback[others, j] = np.log(np.maximum(alone[j] / both, 1.0))
    return feedback
