"""Tables of behaviour of a whole dataset: how much of them is missing."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from ..components import Audience, Display, component
from ..files import read_tsv


@component
class BehGroup(Display):
    """Numbers of each table; what its columns mean only the study knows."""

    def look(self, recording: Mapping[str, str], path: Path) -> dict[str, float]:
        """Return the share of cells that are ``n/a``, or without anything in them."""
        cells = [cell for row in read_tsv(path) for cell in row.values()]
        return {"missing_share": sum(cell in ("n/a", "") for cell in cells) / len(cells)} if cells else {}

    def show(self, folder: Path, audience: Audience) -> list[dict[str, str]]:
        """Return nothing of its own: the numbers are shown with those that preprocessing stated."""
        return []
