"""Remove what a storage policy does not keep; without --yes only show it."""

from __future__ import annotations

GROUP = "results"
SCRIPT = "clean_results"
