"""Show jobs, hours, disk and inodes that are still to come."""

from __future__ import annotations

GROUP = "run"
SCRIPT = "show_plan"
