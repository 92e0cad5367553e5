"""Show the verdicts of a finished run."""

from __future__ import annotations

GROUP = "results"
SCRIPT = "show_claims"
ASKS = False
