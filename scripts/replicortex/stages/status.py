"""One table of what became of every recording, stage by stage."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ..files import read_tsv, to_tsv, write_text

COLUMNS = ["dataset", "recipe", "stage", "recording", "subject", "session", "status", "reason"]


def collect_status(preprocessed: Sequence[Path], features: Sequence[Path], out: Path) -> None:
    """Write a row per recording and stage, failures first.

    Parameters
    ----------
    preprocessed, features : sequence of Path
        The tables of the blocks, below ``preprocessed/<dataset>/<preprocessing>/`` and
        ``features/<dataset>/<preprocessing>/<feature>/``.
    out : Path
        The table to write.
    """
    rows = []
    for stage, tables, depth in (("preprocess", preprocessed, 2), ("features", features, 3)):
        for table in tables:
            dataset, *recipe = table.parts[-depth - 1 : -1]
            rows += [{**row, "dataset": dataset, "recipe": "/".join(recipe), "stage": stage} for row in read_tsv(table)]
    rows.sort(key=lambda row: (row["status"] == "ok", row["dataset"], row["recipe"], row["stage"], row["recording"]))
    write_text(out, to_tsv(rows, COLUMNS))
    failed = [row for row in rows if row["status"] != "ok"]
    print(f"{len(rows)} results, {len(failed)} failed")
    for row in failed:
        print(f"{row['dataset']} {row['stage']} {row['recording']}: {row['reason']}")
