"""Electrodes and spectra of many EEG recordings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import mne
import numpy as np
from matplotlib.axes import Axes
from matplotlib.image import AxesImage

from ..components import Audience
from ..files import to_tsv, write_text
from .group_displays import Running, covered, entry, headed, rounded
from .style import BLUE, INK, WIDTH, drawing, place

#: Spectra are taken to this grid (Hz).
_FREQUENCIES = np.arange(1.0, 100.5, 0.5)
#: Electrodes that share a topography at least; more of them are not named in it.
_FEWEST, _NAMED = 8, 40
#: Radius of a head (m), by which the unit of positions is told.
_HEAD = 0.095


class Electrodes:
    """How often each electrode was bad, and how large its signal was where it was good."""

    def __init__(self) -> None:
        self.total = 0
        self._bad: dict[str, Running] = {}
        self._amplitudes: dict[str, list[float]] = {}
        self._places: dict[str, Running] = {}

    def add(
        self, names: Sequence[str], bad: np.ndarray, amplitudes: np.ndarray, positions: Mapping[str, np.ndarray]
    ) -> None:
        """Take in one recording.

        Parameters
        ----------
        names : sequence of str
            EEG channels.
        bad : ndarray of shape (n_channels,)
            Boolean.
        amplitudes : ndarray of shape (n_channels,)
            µV; NaN where there is none.
        positions : mapping of str to ndarray of shape (3,)
            Of electrodes, all in one unit: m, cm or mm.
        """
        self.total += 1
        for name, is_bad, amplitude in zip(names, bad, amplitudes, strict=True):
            self._bad.setdefault(name, Running(())).add(np.asarray(float(is_bad)))
            if np.isfinite(amplitude):
                self._amplitudes.setdefault(name, []).append(float(amplitude))
        metres = _in_metres(positions)
        for name in set(metres) & set(names):
            self._places.setdefault(name, Running((3,))).add(metres[name])

    def show(self, folder: Path, audience: Audience) -> list[dict[str, str]]:
        """Write ``electrodes.tsv`` and, where positions are known, ``electrodes.svg``."""
        rows = [self._row(name, audience) for name in self._bad if self._bad[name].count >= audience.fewest]
        if not rows:
            return []
        rows.sort(key=lambda row: (-row["bad_percent"], row["electrode"]))
        write_text(folder / "electrodes.tsv", to_tsv(rows, ["electrode", "n", "bad_percent", "amplitude_uv"]))
        worst = [row for row in rows[:3] if row["bad_percent"] > 0]
        often = ", ".join(f"{row['electrode']} ({row['bad_percent']:.0f} %)" for row in worst)
        middle = np.nanmedian([np.nan if row["amplitude_uv"] is None else row["amplitude_uv"] for row in rows])
        said = f"{len(rows)} electrodes; " + (f"most often bad: {often}" if often else "none was ever bad")
        said += f". {'Mean' if audience.means_only else 'Median'} amplitude, median electrode: {middle:.3g} µV."
        how = (
            f"Share of recordings in which an electrode was bad (interpolated or left out), and the "
            f"{'mean' if audience.means_only else 'median'} over recordings of its robust standard deviation (0.74 "
            f"times the interquartile range) where it was good. {audience.sample}"
        )
        made = []
        if self._draw(folder / "electrodes.svg", f"Two heads from above. {said}", rows):
            made.append(
                entry("electrodes", "Electrodes", "svg", "electrodes.svg", f"Two heads from above. {said}", how)
            )
        table = entry("electrodes_table", "Electrodes, numbers", "table", "electrodes.tsv", f"Table. {said}", how)
        return [*made, table]

    def _row(self, name: str, audience: Audience) -> dict[str, object]:
        values = self._amplitudes.get(name, [])
        usual = (np.mean if audience.means_only else np.median)(values) if len(values) >= audience.fewest else None
        known = self._bad[name]
        return {
            "electrode": name,
            "n": int(known.count),
            "bad_percent": rounded(100 * float(known.mean)),
            "amplitude_uv": None if usual is None else rounded(float(usual)),
        }

    def _draw(self, path: Path, alt: str, rows: Sequence[Mapping[str, object]]) -> bool:
        """Draw both numbers on the head; return whether enough positions are known."""
        placed = {name: known.mean for name, known in self._place_of(rows).items()}
        shares = {row["electrode"]: row["bad_percent"] for row in rows}
        sizes = {row["electrode"]: row["amplitude_uv"] for row in rows if row["amplitude_uv"] is not None}
        if min(len(set(placed) & set(shares)), len(set(placed) & set(sizes))) < _FEWEST:
            return False
        height = 6.6
        top = max(shares.values()) or 1.0
        panels = (
            ("Bad", shares, "% of recordings", "Oranges", (0, top)),
            ("Amplitude", sizes, "µV", "viridis", (min(sizes.values()), max(sizes.values()))),
        )
        with drawing(path, height, "Electrodes", alt) as figure:
            headed(figure, "Electrodes")
            for number, (title, values, unit, colours, limits) in enumerate(panels):
                axes = place(figure, 0.3 + 6.0 * number, 0.85, 5.2, 4.6)
                names = [name for name in placed if name in values]
                image = _topography(
                    axes, [placed[n] for n in names], names, [values[n] for n in names], colours, limits
                )
                axes.set_title(title, loc="center")
                bar = place(figure, 1.3 + 6.0 * number, 5.7, 3.2, 0.16)
                drawn = figure.colorbar(image, cax=bar, orientation="horizontal")
                drawn.outline.set(linewidth=0.4, edgecolor=INK)
                drawn.ax.locator_params(nbins=4)
                drawn.ax.text(1.04, 0.5, unit, transform=drawn.ax.transAxes, va="center", fontsize=6)
        return True

    def _place_of(self, rows: Sequence[Mapping[str, object]]) -> dict[str, Running]:
        return {row["electrode"]: self._places[row["electrode"]] for row in rows if row["electrode"] in self._places}


def _topography(
    axes: Axes,
    positions: Sequence[np.ndarray],
    names: Sequence[str],
    values: Sequence[float],
    colours: str,
    limits: tuple[float, float],
) -> AxesImage:
    """Draw values on a head seen from above, with its nose on top; return the image."""
    info = mne.create_info(list(names), 1.0, "eeg")
    info.set_montage(mne.channels.make_dig_montage(dict(zip(names, positions, strict=True)), coord_frame="head"))
    few = len(names) <= _NAMED
    image, _ = mne.viz.plot_topomap(
        np.array(values), info, axes=axes, show=False, cmap=colours, vlim=limits, contours=0, sensors=True,
        names=list(names) if few else None, extrapolate="head",
    )  # fmt: skip
    for text in axes.texts:
        # Names lie on colours of every lightness.
        text.set(fontsize=4.5, bbox={"facecolor": "white", "alpha": 0.7, "edgecolor": "none", "pad": 0.4})
    return image


def _in_metres(positions: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return positions in m: the unit among m, cm and mm by which a head is nearest to its usual size."""
    if not positions:
        return {}
    size = float(np.median(np.linalg.norm(list(positions.values()), axis=1)))
    scale = min((1.0, 1e-2, 1e-3), key=lambda unit: abs(np.log(max(size, 1e-9) * unit / _HEAD)))
    return {name: scale * position for name, position in positions.items()}


class Spectra:
    """Power spectra of recordings."""

    def __init__(self) -> None:
        self._spectra: list[np.ndarray] = []

    def add(self, frequencies: np.ndarray, power: np.ndarray) -> None:
        """Take in the power (µV²/Hz) of one recording; what is beyond its ``frequencies`` (Hz) is not known."""
        with np.errstate(divide="ignore"):
            decibel = 10 * np.log10(power)
        there = np.interp(_FREQUENCIES, frequencies, decibel, left=np.nan, right=np.nan)
        self._spectra.append(np.where(np.isfinite(there), there, np.nan))

    def show(self, folder: Path, audience: Audience) -> list[dict[str, str]]:
        """Draw the group's spectrum to ``spectrum.svg``, and write it to ``spectrum.tsv``."""
        spectra = np.array(self._spectra).reshape(-1, len(_FREQUENCIES))
        total = len(spectra)
        known = np.isfinite(spectra).sum(axis=0) >= covered(total, audience)
        if total < audience.fewest or known.sum() < 2:
            return []
        shown = spectra[:, known]
        if audience.means_only:
            middle, deviation = np.nanmean(shown, axis=0), np.nanstd(shown, axis=0, ddof=1)
            low, high, names = middle - deviation, middle + deviation, ("mean", "one standard deviation on each side")
        else:
            low, middle, high = np.nanpercentile(shown, [5, 50, 95], axis=0)
            names = ("median", "5 to 95 % of recordings")
        rows = [
            dict(zip(("frequency_hz", names[0], "low", "high"), map(rounded, row), strict=True))
            for row in zip(_FREQUENCIES[known], middle, low, high, strict=True)
        ]
        write_text(folder / "spectrum.tsv", to_tsv(rows, list(rows[0])))
        there = _FREQUENCIES[known]
        at = sorted({int(np.argmin(np.abs(there - wanted))) for wanted in (2, 10, 20, 40)})
        levels = ", ".join(f"{middle[i]:.1f} dB at {there[i]:g} Hz" for i in at)
        alt = f"Power from {there[0]:g} to {there[-1]:g} Hz, {names[0]} of {total} recordings: {levels}."
        _draw_spectrum(folder / "spectrum.svg", alt, there, (low, middle, high), names)
        caption = (
            f"Power (Welch) of the median good channel of each recording: {names[0]} over recordings (line) and "
            f"{names[1]} (band). {audience.sample}"
        )
        return [
            entry("spectrum", "Spectrum", "svg", "spectrum.svg", alt, caption),
            entry("spectrum_table", "Spectrum, numbers", "table", "spectrum.tsv", alt, f"In dB (µV²/Hz). {caption}"),
        ]


def _draw_spectrum(
    path: Path, alt: str, frequencies: np.ndarray, levels: Sequence[np.ndarray], names: tuple[str, str]
) -> None:
    low, middle, high = levels
    height = 6.0
    with drawing(path, height, "Spectrum", alt) as figure:
        headed(figure, "Spectrum")
        axes = place(figure, 1.2, 0.8, WIDTH - 1.7, height - 2.4)
        axes.fill_between(frequencies, low, high, color=BLUE, alpha=0.25, linewidth=0, label=names[1])
        axes.plot(frequencies, middle, color=BLUE, linewidth=1.2, label=names[0])
        axes.set(xlabel="frequency (Hz)", ylabel="power (dB, µV²/Hz)", xlim=(frequencies[0], frequencies[-1]))
        axes.grid(color="#EDEDED", linewidth=0.5)
        axes.set_axisbelow(True)
        figure.legend(*axes.get_legend_handles_labels(), loc="lower center", ncols=2)
