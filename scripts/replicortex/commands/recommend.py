"""Recommend memory and time for each rule from a pilot run."""

from __future__ import annotations

GROUP = "run"
SCRIPT = "recommend"
