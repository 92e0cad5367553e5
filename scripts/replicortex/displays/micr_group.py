"""Graphs seen by microscopy, of a whole dataset: how dense they are, and how often a connection goes both ways."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from ..components import Audience, Display, component
from ..errors import InputError
from ..shared.relations import read_relations


@component
class MicrGroup(Display):
    """Numbers of each graph; the nodes of two datasets need not be the same."""

    def look(self, recording: Mapping[str, str], path: Path) -> dict[str, float]:
        """Return density, and the share of connections that are answered by one the other way.

        Of tables of pairs the chemical synapses are the connections. Tables of something else have neither.

        Raises
        ------
        InputError
            If the table is damaged.
        """
        import pandas as pd

        if path.name.endswith("_desc-pairs_relmat.tsv"):
            table = pd.read_csv(path, sep="\t", dtype={"node_from": str, "node_to": str}, na_values=["n/a"])
            if not {"node_from", "node_to", "chemical"} <= set(table.columns):
                raise InputError(path.name, "is no table of pairs", "have preprocessing make it again")
            graph = table.pivot(index="node_from", columns="node_to", values="chemical")
            there = np.nan_to_num(graph.reindex(index=graph.columns).to_numpy(float)) != 0
        elif path.name.endswith("_relmat.tsv"):
            there = np.nan_to_num(read_relations(path, path.name)[1]) != 0
        else:
            return {}
        np.fill_diagonal(there, False)
        n = len(there)
        numbers = {"density": float(there.sum() / max(1, n * (n - 1)))}
        return numbers | ({"reciprocity": float((there & there.T).sum() / there.sum())} if there.any() else {})

    def show(self, folder: Path, audience: Audience) -> list[dict[str, str]]:
        """Return nothing of its own: the numbers are shown with those that preprocessing stated."""
        return []
