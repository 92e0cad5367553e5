"""The one exception that a user is meant to read, and how a command reports it."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class InputError(Exception):
    """Bad input: one line that names the file or key, the fault and the remedy.

    Commands print it without a traceback and exit with status 2; everything else is a fault of the program.
    """

    def __init__(self, where: object, fault: str, remedy: str) -> None:
        super().__init__(" ".join(f"{where}: {fault}; {remedy}".split()))


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return ``did you mean 'x'?`` for a misspelt ``name``, or the list of what there is."""
    known = sorted(known)
    close = difflib.get_close_matches(name, known, n=1)
    return f"did you mean {close[0]!r}?" if close else f"choose one of: {', '.join(known) or '(none)'}"
