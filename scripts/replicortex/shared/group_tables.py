"""Tables of regions over many people: mean connectivity, and means of variables."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ..components import Audience
from ..errors import InputError
from ..files import read_tsv, to_tsv, write_text
from .func_series import read_relmat
from .group_displays import Running, covered, entry, headed, rounded
from .mri_files import number, read_columns
from .style import drawing, place

#: Regions whose names still have room beside a matrix.
_NAMED = 40


class VariableMeans:
    """Mean and deviation of each variable of tables with the columns ``variable`` and ``value``."""

    def __init__(self) -> None:
        self.total = 0
        self._variables: dict[str, Running] = {}

    def add(self, path: Path) -> None:
        """Take in one table."""
        for row in read_tsv(path):
            known = self._variables.setdefault(row["variable"], Running(()))
            known.add(np.asarray(number(row["value"])))
        self.total += 1

    def show(self, folder: Path, audience: Audience) -> list[dict[str, str]]:
        """Write ``variables.tsv``: n, mean and standard deviation of each variable that enough recordings have."""
        rows = [
            {
                "variable": name,
                "n": int(known.count),
                "mean": rounded(float(known.mean)),
                "sd": rounded(float(known.deviation)),
            }
            for name, known in self._variables.items()
            if known.count >= audience.fewest
        ]
        if not rows:
            return []
        write_text(folder / "variables.tsv", to_tsv(rows, ["variable", "n", "mean", "sd"]))
        caption = f"Mean and standard deviation over recordings, in the units of the dataset. {audience.sample}"
        alt = f"Table of {len(rows)} variables over {self.total} recordings."
        return [entry("variables", "Variables", "table", "variables.tsv", alt, caption)]


class MeanConnectivity:
    """The mean matrix of correlations between regions, by Fisher's z."""

    def __init__(self) -> None:
        self.total = 0
        self.names: list[str] = []
        self._running: Running | None = None

    def add_series(self, path: Path) -> None:
        """Take in a table of series, a column a region, as it is: nothing is regressed out."""
        columns = read_columns(path, path.name)
        values = np.column_stack(list(columns.values()))
        known = np.isfinite(values).all(axis=0) & (np.ptp(np.nan_to_num(values), axis=0) > 0)
        matrix = np.full((len(columns), len(columns)), np.nan)
        if known.sum() > 1:
            matrix[np.ix_(known, known)] = np.corrcoef(values[:, known].T)
        self._add(list(columns), matrix, path.name)

    def add_matrix(self, path: Path) -> None:
        """Take in a matrix of correlations.

        Raises
        ------
        InputError
            If it holds other values than correlations have.
        """
        names, matrix = read_relmat(path, path.name)
        if np.nanmax(np.abs(matrix), initial=0) > 1 + 1e-6:
            raise InputError(path.name, "holds values beyond 1, which no correlation has", "nothing is to be done")
        self._add(names, matrix, path.name)

    def _add(self, names: list[str], matrix: np.ndarray, name: str) -> None:
        if self._running is None:
            self.names, self._running = names, Running(matrix.shape)
        if names != self.names:
            raise InputError(name, "has other regions than the others", "choose one atlas")
        # Exact correlations of one, such as the diagonal's, have no finite z.
        self._running.add(np.arctanh(np.clip(matrix, -0.999999, 0.999999)))
        self.total += 1

    def show(self, folder: Path, audience: Audience) -> list[dict[str, str]]:
        """Draw the mean matrix to ``connectivity.svg``, and write it to ``connectivity.tsv``."""
        if self._running is None or self.total < audience.fewest or len(self.names) < 2:
            return []
        enough = self._running.count >= covered(self.total, audience)
        mean = np.where(enough, np.tanh(self._running.mean), np.nan)
        np.fill_diagonal(mean, np.nan)
        pairs = mean[np.triu_indices(len(mean), 1)]
        if not np.isfinite(pairs).any():
            return []
        title = "Mean connectivity"
        lines = zip(self.names, mean.round(4).tolist(), strict=True)
        rows = [{"region": name, **dict(zip(self.names, line, strict=True))} for name, line in lines]
        write_text(folder / "connectivity.tsv", to_tsv(rows, ["region", *self.names]))
        low, middle, high = np.nanpercentile(pairs, [5, 50, 95])
        alt = (
            f"Matrix of {len(self.names)} regions, {self.total} recordings: the mean correlation of two regions has "
            f"the median {middle:.2f}, 5 to 95 % {low:.2f} to {high:.2f}."
        )
        order = _order(mean)
        _draw(folder / "connectivity.svg", title, alt, mean[np.ix_(order, order)], [self.names[i] for i in order])
        caption = (
            f"Correlations between regions as the tables give them, averaged by Fisher's z; regions that are alike "
            f"stand together. White: fewer than {covered(self.total, audience)} recordings. {audience.sample}"
        )
        made = [entry("connectivity", title, "svg", "connectivity.svg", alt, caption)]
        if len(self.names) <= _NAMED:  # more cells are for programs, and not for a page
            made.append(entry("connectivity_table", f"{title}, numbers", "table", "connectivity.tsv", alt, caption))
        return made


def _order(mean: np.ndarray) -> np.ndarray:
    """Return the order of regions by which those with correlated series are neighbours: hierarchical clustering."""
    from scipy.cluster.hierarchy import leaves_list, linkage, optimal_leaf_ordering

    above = np.triu_indices(len(mean), 1)
    distances = 1 - np.nan_to_num(mean[above])
    return leaves_list(optimal_leaf_ordering(linkage(distances, "average"), distances))


def _draw(path: Path, title: str, alt: str, mean: np.ndarray, names: list[str]) -> None:
    named = len(names) <= _NAMED
    left, side = (2.6, 7.0) if named else (0.6, 8.6)
    height = 0.8 + side + (2.4 if named else 0.6)
    with drawing(path, height, title, alt) as figure:
        headed(figure, title)
        axes = place(figure, left, 0.8, side, side)
        top = float(np.nanmax(np.abs(mean)))
        shown = axes.imshow(mean, cmap="RdBu_r", vmin=-top, vmax=top, interpolation="none")
        axes.spines[:].set_visible(False)
        if named:
            axes.set_xticks(range(len(names)), names, rotation=90, fontsize=5)
            axes.set_yticks(range(len(names)), names, fontsize=5)
            axes.tick_params(length=0)
        else:
            axes.set_xticks([])
            axes.set_yticks([])
            axes.set_xlabel(f"{len(names)} regions")
        bar = place(figure, left + side + 0.35, 0.8 + side / 4, 0.2, side / 2)
        drawn = figure.colorbar(shown, cax=bar)
        drawn.outline.set_linewidth(0.4)
        drawn.set_label("mean correlation")
