"""Matrices between named nodes as tables (``*_relmat.tsv``): written and read, directed or not."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ..errors import InputError
from ..files import atomic

#: No connectome of neurons that are known by name is larger.
_MOST_NODES = 5000


def write_relations(path: Path, nodes: Sequence[str], matrix: np.ndarray) -> None:
    """Write ``matrix`` (row to column) with a first column ``Node``; ``nan`` becomes ``n/a``, zeros stay short."""
    import pandas as pd

    path.parent.mkdir(parents=True, exist_ok=True)
    table = pd.DataFrame(matrix, index=pd.Index(nodes, name="Node"), columns=list(nodes))
    with atomic(path) as temporary:
        table.to_csv(temporary, sep="\t", na_rep="n/a", float_format="%.7g", lineterminator="\n")


def read_relations(path: Path, name: str) -> tuple[list[str], np.ndarray]:
    """Return the nodes and the matrix ``[from, to]`` of a table; ``nan`` where it says ``n/a``.

    Raises
    ------
    InputError
        If it is not readable, has no column ``Node``, or rows and columns are not the same nodes in the same order.
    """
    import pandas as pd

    try:
        table = pd.read_csv(path, sep="\t", dtype={0: str}, na_values=["n/a"], keep_default_na=False, index_col=False)
    except FileNotFoundError:
        raise InputError(name, "no such table", "restore it") from None
    except (ValueError, UnicodeDecodeError) as error:
        raise InputError(name, f"not a readable table ({error})", "repair it") from None
    columns = [str(column) for column in table.columns]
    if not columns or columns[0] != "Node":
        raise InputError(name, f"its first column is {columns[0][:40] if columns else ''!r}, not Node", "name it so")
    nodes = columns[1:]
    if len(nodes) > _MOST_NODES or table.iloc[:, 0].tolist() != nodes:
        raise InputError(name, "its rows and its columns are not the same nodes in the same order", "order them")
    try:
        return nodes, table.iloc[:, 1:].to_numpy(np.float64)
    except ValueError as error:
        raise InputError(name, f"holds what is no number ({error})", "write a number or n/a") from None
