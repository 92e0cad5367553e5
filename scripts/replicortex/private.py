"""What is not said of people and machines: names that hold the label of a subject, and absolute paths."""

from __future__ import annotations

import re

_LABELLED = re.compile(r"\S*\bsub-[A-Za-z0-9+]+\S*")
_PATH = re.compile(r"(?<!\w)/\S+")


def without_names(text: str, name: str = "\N{HORIZONTAL ELLIPSIS}", path: str = "\N{HORIZONTAL ELLIPSIS}") -> str:
    """Return a message with other words for names that hold the label of a subject, and for absolute paths."""
    return _LABELLED.sub(name, _PATH.sub(path, text))
