"""Fetch what the runs need from elsewhere: images, files of cards, datasets by name."""

from __future__ import annotations

GROUP = "run"
SCRIPT = "prefetch"
