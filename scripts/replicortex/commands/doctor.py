"""Say what is missing on this machine before anything is queued."""

from __future__ import annotations

GROUP = "run"
SCRIPT = "doctor"
