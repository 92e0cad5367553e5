"""One table for the features of a dataset: whatever learns from them depends on it instead of on every block."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ..files import digest_of, read_tsv, to_tsv, write_text

COLUMNS = ["block", "n_recordings", "n_rows", "digest"]


def collect_features(tables: Sequence[Path], out: Path) -> None:
    """Write a row a block; it changes only where its features do.

    Parameters
    ----------
    tables : sequence of Path
        The status tables of feature extraction, one a block.
    out : Path
        The table to write: ``block`` (``0of4``), how many recordings and rows it has, and the ``digest`` of these.
    """
    rows = []
    for table in tables:
        taken = [row for row in read_tsv(table) if row["status"] == "ok"]
        digest = digest_of([[row["recording"], row["suffix"], row["digest"]] for row in taken])
        n_rows = sum(int(row["n_rows"]) for row in taken)
        rows.append({"block": table.stem, "n_recordings": len(taken), "n_rows": n_rows, "digest": digest})
    write_text(out, to_tsv(rows, COLUMNS))
