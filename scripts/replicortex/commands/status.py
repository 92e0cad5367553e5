"""Show where every recording and run stands, also while a run goes on."""

from __future__ import annotations

GROUP = "run"
SCRIPT = "show_status"
