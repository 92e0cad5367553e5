"""Show what jobs used of what they asked for."""

from __future__ import annotations

GROUP = "run"
SCRIPT = "show_efficiency"
ASKS = False
