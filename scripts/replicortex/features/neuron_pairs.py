"""Ordered pairs of neurons: their contacts, the paths between them, and whether one answers to the other."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from ..bundle import Bundle
from ..components import Extractor, component
from ..errors import DamagedError, InputError
from ..shared.relations import read_relations
from ..shared.words import count, text

#: Labels of pairs, as dataset cards name them under ``classes``.
FUNCTIONAL, SILENT = "functional", "silent"


@component
class NeuronPairs(Extractor):
    """What the connectome says of each ordered pair of neurons whose functional connection was measured.

    Contacts are weighted and summed over synapses and gap junctions to ``w``, ``[from, to]``. A signal that leaves a
    neuron is shared out among its targets: ``p`` is ``w`` with rows that sum to 1, and ``p`` to the power of ``k`` is
    how much of it arrives after ``k`` steps. The same of the connectome turned round (``w`` transposed) stands beside
    it. Each pair sees the whole connectome and no other pair's functional connection. Reads the tables of the engine
    ``connectome_pairs``; a plain matrix gives its pairs without labels. Cost: O(hops n^3) for n neurons.

    Parameters
    ----------
    hops : int
        Greatest number of steps.
    weights : {"log", "count", "binary"}
        Whether a number of contacts counts as its logarithm (of one more), as it is, or as one.
    """

    datatypes = ("micr",)
    suffixes = ("relmat",)
    tiny = {"hops": 2}

    hops: Annotated[int, Field(ge=1, le=20)] = 6
    weights: Literal["log", "count", "binary"] = "log"

    def extract(self, recording: Mapping[str, str], path: Path, classes: Mapping[str, list[str]]) -> Bundle:
        """Return ``x`` of shape (n_pairs, n_variables), float32; ``axes`` is ``variable``.

        Variables are ``chemical`` and ``gap`` (logarithms of one more than the number), ``from_out``, ``from_in``,
        ``to_out`` and ``to_in`` (logarithms of one more than the sum of a neuron's weights), ``hop1``, ``hop2``, ...
        and ``reversed1``, ... Row columns are ``node_from``, ``node_to`` and ``label``: the class that has
        ``functional`` or ``silent`` among its values.
        """
        nodes, chemical, gap, functional = self._graphs(recording, path)
        weighted = {"log": np.log1p, "count": np.asarray, "binary": lambda m: (m > 0).astype(float)}[self.weights]
        w = weighted(chemical) + weighted(gap)
        out, into = np.log1p(w.sum(axis=1)), np.log1p(w.sum(axis=0))
        row, column = np.nonzero(np.isfinite(functional) & ~np.eye(len(nodes), dtype=bool))
        columns = {
            "chemical": np.log1p(chemical)[row, column],
            "gap": np.log1p(gap)[row, column],
            "from_out": out[row],
            "from_in": into[row],
            "to_out": out[column],
            "to_in": into[column],
        }
        for name, graph in (("hop", w), ("reversed", w.T)):
            columns |= {f"{name}{k}": m[row, column] for k, m in enumerate(walks(graph, self.hops), start=1)}
        names, value = np.array(nodes), functional[row, column]
        meant = {entry: name for name, entries in classes.items() for entry in entries}
        of_value = np.array([meant.get(SILENT, "n/a"), meant.get(FUNCTIONAL, "n/a"), "n/a"])
        n = len(row)
        stem = f"{recording['recording']}_{recording['suffix']}"
        rows = {
            "row_id": np.array([f"{stem}_{nodes[i]}_{nodes[j]}" for i, j in zip(row, column, strict=True)], dtype=str),
            **{key: np.full(n, recording[key]) for key in ("subject", "session", "run", "recording")},
            "node_from": names[row],
            "node_to": names[column],
            "label": of_value[value.astype(int)],
        }
        return Bundle(
            {"x": np.stack([*columns.values()], axis=1).astype(np.float32)},
            rows,
            {"variable": list(columns)},
            {"weights": self.weights, "n_neurons": len(nodes), "fitted": []},
        )

    def _graphs(self, recording: Mapping[str, str], path: Path) -> tuple[list[str], np.ndarray, np.ndarray, np.ndarray]:
        """Return neurons, chemical synapses, gap junctions and functional connections (1, 0, 2 unlabelled, ``nan``)."""
        import pandas as pd

        if not path.name.endswith("_desc-pairs_relmat.tsv"):
            nodes, matrix = read_relations(path, recording["path"])
            matrix = np.abs(np.nan_to_num(matrix))
            np.fill_diagonal(matrix, 0)
            if not len(nodes):
                raise InputError(recording["path"], "has no node", "restore the table")
            return nodes, matrix, np.zeros_like(matrix), np.full(matrix.shape, 2.0)
        try:
            table = pd.read_csv(
                path, sep="\t", dtype={"node_from": str, "node_to": str}, na_values=["n/a"], keep_default_na=False
            )
            nodes = list(dict.fromkeys([*table["node_from"], *table["node_to"]]))
            place = {node: i for i, node in enumerate(nodes)}
            row, column = (table[key].map(place).to_numpy(int) for key in ("node_from", "node_to"))
            found = []
            for key, fill in (("chemical", 0.0), ("gap", 0.0), ("functional", np.nan)):
                matrix = np.full((len(nodes), len(nodes)), fill)
                matrix[row, column] = table[key].to_numpy(float)
                found.append(matrix)
        except (KeyError, TypeError, ValueError) as error:
            raise DamagedError(path, f"is no table of pairs ({error})") from None
        return nodes, *found

    def described(self, suffixes: Collection[str] = ()) -> str:
        """Return what it does, in words."""
        kind = {"log": "the logarithm of one more than their number", "count": "their number", "binary": "being there"}
        return text(
            f"Contacts between neurons were weighted by {kind[self.weights]} and summed over synapses and gap"
            " junctions. For each ordered pair of neurons whose functional connection was measured, the features are"
            " the contacts, the numbers of connections of both neurons, and the share of a signal that arrives after"
            f" one to {count(self.hops, 'step')} when each neuron shares it out among its targets, along the"
            " connectome and along the same with every connection turned round."
        )


def walks(graph: np.ndarray, hops: int) -> list[np.ndarray]:
    """Return the powers 1 to ``hops`` of ``graph`` with rows that sum to 1; those of a neuron without targets to 0."""
    leaving = graph.sum(axis=1, keepdims=True)
    step = np.divide(graph, leaving, out=np.zeros_like(graph, dtype=float), where=leaving > 0)
    found = [step]
    for _ in range(hops - 1):
        found.append(found[-1] @ step)
    return found
