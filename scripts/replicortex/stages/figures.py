"""Draw a figure: the table first, then the picture from the table as it stands in its file."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..components import make
from ..errors import InputError
from ..files import read_tsv, to_tsv, write_text


def draw_figure(
    figure: str,
    params: Mapping[str, Any],
    scores: str | os.PathLike,
    summary: str | os.PathLike,
    claims: str | os.PathLike,
    table: str | os.PathLike,
    picture: str | os.PathLike,
) -> None:
    """Write the table of a figure, read it back, and draw it.

    Whoever has the table has everything that the picture shows.

    Parameters
    ----------
    figure : str
        The component.
    params : mapping
        Its parameters.
    scores, summary, claims : path
        ``scores.tsv``, ``summary.tsv`` and ``claims.json`` of the run.
    table, picture : path
        Written: ``<name>.tsv`` and ``<name>.svg``.

    Raises
    ------
    InputError
        If the run has nothing to show in this figure.
    """
    made = make("figures", figure, params)
    rows = made.table({"scores": Path(scores), "summary": Path(summary), "claims": Path(claims)})
    if not rows:
        raise InputError(f"figure {figure}", "the run has nothing to draw", "leave it out of the study card")
    write_text(table, to_tsv(rows, list(dict.fromkeys(key for row in rows for key in row))))
    made.draw(read_tsv(table), Path(picture))
