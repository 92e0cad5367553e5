"""Draw every figure again from the tables beside it, or check that it would be the same."""

from __future__ import annotations

GROUP = "results"
SCRIPT = "redraw_figures"
ASKS = False
