"""Brings the contacts between neurons and their functional connections together: one table of ordered pairs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from pydantic import Field

from ..components import Preprocessor, component
from ..errors import InputError
from ..files import atomic, read_json
from ..shared.raw_files import inside
from ..shared.relations import read_relations
from ..shared.words import digits, text

_CHEMICAL, _GAP, _FUNCTIONAL = "_desc-chemical_", "_desc-gap_", "_desc-functional_"


@component
class ConnectomePairs(Preprocessor):
    """Merge the graphs of one annotation and an atlas of signal propagation to a table of ordered pairs of neurons.

    Takes the matrices ``*_desc-chemical_relmat.tsv``; beside each may lie that of gap junctions (``desc-gap``), which
    are taken as undirected: sources list a junction once or twice. The atlas (``desc-functional``) is that of the same
    subject or of another. Its sidecar says what it measures: ``q`` is a false discovery rate, a connection below
    ``alpha``, and ``n/a`` a pair that was not measured; ``amplitude`` is not 0 for a connection and does not tell what
    was measured, so that all pairs of a neuron with one as a source and a neuron with one as a target count as
    measured. Neurons that the annotation does not have (``n/a`` throughout) are left out.

    Parameters
    ----------
    atlas : str
        Subject whose ``desc-functional`` table is the atlas; the subject itself if empty.
    alpha : float
        False discovery rate below which a pair is functional.
    """

    datatypes = ("micr",)
    suffixes = ("relmat",)
    main = "_desc-pairs_relmat.tsv"

    atlas: Annotated[str, Field(pattern=r"^[A-Za-z0-9]*$")] = ""
    alpha: Annotated[float, Field(gt=0, lt=1)] = 0.05

    def takes(self, recording: Mapping[str, str]) -> bool:
        """Return whether a recording is a matrix of chemical synapses."""
        return super().takes(recording) and _CHEMICAL in recording["path"].rpartition("/")[2]

    def inputs(self, recording: Mapping[str, str], root: Path) -> list[Path]:
        """Return the matrices of gap junctions and of the atlas, those that are there, and the atlas' sidecar."""
        named = [self._sibling(recording, _GAP), *self._of_atlas(recording, root)]
        paths = [inside(root, name) for name in named]
        return [path for path in paths if path.is_file()]

    def preprocess(
        self, recording: Mapping[str, str], root: Path, out: Path, parents: Sequence[Path] = ()
    ) -> dict[str, Any]:
        """Write the table of pairs; see :class:`Preprocessor`.

        Columns are ``node_from``, ``node_to``, ``chemical`` and ``gap`` (numbers of contacts) and ``functional``
        (1, 0, or ``n/a`` where not measured), a row an ordered pair of two neurons.

        Raises
        ------
        InputError
            If a table is damaged, counts are negative, or there is no atlas.
        """
        import pandas as pd

        name = recording["path"]
        nodes, chemical = read_relations(inside(root, name), name)
        _refuse_negative(chemical, name)
        known = np.isfinite(chemical).any(axis=1) | np.isfinite(chemical).any(axis=0)
        if known.sum() < 2:
            raise InputError(name, "has fewer than two neurons with a value", "restore the table")
        nodes = [node for node, here in zip(nodes, known, strict=True) if here]
        chemical = np.nan_to_num(chemical[np.ix_(known, known)])
        junctions = self._sibling(recording, _GAP)
        gap = np.zeros_like(chemical)
        if inside(root, junctions).is_file():
            gap = _placed(*read_relations(inside(root, junctions), junctions), nodes)
            _refuse_negative(gap, junctions)
            gap = np.nan_to_num(np.fmax(gap, gap.T))
        functional = self._functional(recording, root, nodes)
        row, column = np.nonzero(~np.eye(len(nodes), dtype=bool))
        names = np.array(nodes)
        pairs = {"chemical": chemical, "gap": gap, "functional": functional}
        table = pd.DataFrame(
            {"node_from": names[row], "node_to": names[column], **{key: m[row, column] for key, m in pairs.items()}}
        )
        main = f"{name.rpartition('/')[2].partition(_CHEMICAL)[0]}{self.main}"
        with atomic(out / main) as temporary:
            table.to_csv(temporary, sep="\t", index=False, na_rep="n/a", float_format="%.7g", lineterminator="\n")
        measured = np.isfinite(table["functional"].to_numpy())
        return {
            "Description": "Ordered pairs of neurons: contacts, and whether the second answers to the first",
            "MainFile": main,
            "Atlas": self.atlas or "of the same subject",
            "Quality": {
                "n_neurons": float(len(nodes)),
                "n_pairs": float(measured.sum()),
                "functional": float(np.nanmean(table["functional"])) if measured.any() else float("nan"),
                "synapses": float(chemical.sum()),
            },
        }

    def _sibling(self, recording: Mapping[str, str], kind: str) -> str:
        folder, _, name = recording["path"].rpartition("/")
        return f"{folder}/{name.replace(_CHEMICAL, kind)}"

    def _of_atlas(self, recording: Mapping[str, str], root: Path) -> list[str]:
        """Return the names of the atlas and its sidecar in the dataset."""
        if self.atlas:
            folder = f"sub-{self.atlas}/micr"
            found = sorted(path.name for path in inside(root, folder).glob(f"sub-{self.atlas}*{_FUNCTIONAL}relmat.tsv"))
            if len(found) != 1:
                fault = f"holds {len(found)} tables *{_FUNCTIONAL}relmat.tsv"
                raise InputError(folder, fault, "correct atlas in the preprocessing card, or add the atlas")
            name = f"{folder}/{found[0]}"
        else:
            name = self._sibling(recording, _FUNCTIONAL)
        return [name, f"{name.removesuffix('.tsv')}.json"]

    def _functional(self, recording: Mapping[str, str], root: Path, nodes: Sequence[str]) -> np.ndarray:
        """Return 1, 0 or ``nan`` for each ordered pair of ``nodes``."""
        name, sidecar = self._of_atlas(recording, root)
        atlas, values = read_relations(inside(root, name), name)
        told = read_json(inside(root, sidecar)) if inside(root, sidecar).is_file() else {}
        measure = told.get("Measure") if isinstance(told, Mapping) else None
        if measure == "q":
            found = np.where(np.isfinite(values), values < self.alpha, np.nan)
        elif measure == "amplitude":
            there = np.nan_to_num(values) != 0
            np.fill_diagonal(there, False)
            found = np.where(np.outer(there.any(axis=1), there.any(axis=0)), there, np.nan)
        else:
            raise InputError(sidecar, "does not say Measure q or amplitude", "add it to the sidecar of the atlas")
        return _placed(atlas, found, nodes)

    def described(self) -> str:
        """Return what it does, in words."""
        of = f"that of {self.atlas}" if self.atlas else "that of the same animal"
        return text(
            "Chemical synapses and gap junctions, the latter taken as undirected, were brought together with an atlas"
            f" of signal propagation, {of}; a pair of neurons counted as functional at a false discovery rate below"
            f" {digits(self.alpha)}."
        )


def _placed(nodes: Sequence[str], values: np.ndarray, wanted: Sequence[str]) -> np.ndarray:
    """Return ``values`` in the order of ``wanted`` nodes; ``nan`` for those that it does not have."""
    place = {node: i for i, node in enumerate(nodes)}
    index = np.array([place.get(node, -1) for node in wanted])
    out = values[np.ix_(index, index)].astype(float)
    out[index < 0], out[:, index < 0] = np.nan, np.nan
    return out


def _refuse_negative(matrix: np.ndarray, name: str) -> None:
    if np.any(matrix < 0) or np.isinf(matrix).any():
        raise InputError(name, "holds a number of contacts below 0 or without end", "restore the table")
