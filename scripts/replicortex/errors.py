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
        #: What is wrong, in one line: for whoever knows a better name of the place, or a better remedy.
        self.fault = " ".join(fault.split())


class DamagedError(InputError):
    """A file that an earlier stage made is no longer what it was.

    The command that meets it sets it aside (:func:`replicortex.damage.take_out`), so that the workflow makes it again.

    Parameters
    ----------
    path : str or Path
        The file.
    fault : str
        What is wrong with it.
    made_with : str or Path, optional
        The output of the stage that made ``path``, where that is another file: it is set aside as well.
    """

    def __init__(self, path: object, fault: str, *, made_with: object = None) -> None:
        super().__init__(path, fault, "delete it and run again")
        self.paths = [str(path), *([str(made_with)] if made_with is not None else [])]


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return ``did you mean 'x'?`` for a misspelt ``name``, or the list of what there is."""
    known = sorted(known)
    close = difflib.get_close_matches(name, known, n=1)
    return f"did you mean {close[0]!r}?" if close else f"choose one of: {', '.join(known) or '(none)'}"
