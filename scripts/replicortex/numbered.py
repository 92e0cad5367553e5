"""Short notation for the many numbered files of one stage: ``{0..255}of256.npz`` are 256 paths.

The blocks of a large dataset are thousands of files, and a command that takes them all must not outgrow what the
operating system lets one command be. Standard library only: rules write the notation, commands read it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from .errors import InputError

#: The last number of a path: paths of the workflow number blocks of subjects, or parts of folds, in this way.
_ONE = re.compile(r"(.*(?<![0-9]))(0|[1-9][0-9]*)(of(?:0|[1-9][0-9]*)(?![0-9]).*)", re.DOTALL)
_MANY = re.compile(r"(.*)\{([0-9]+)\.\.([0-9]+)\}(of([0-9]+)(?![0-9]).*)", re.DOTALL)
_MOST = 1 << 20


def compact(paths: Iterable[str]) -> list[str]:
    """Return ``paths`` with each run of successive numbers as one entry, in the same order.

    ``a/0of4.tsv``, ``a/1of4.tsv`` and ``a/2of4.tsv`` become ``a/{0..2}of4.tsv``; what is not numbered stays.
    """
    runs: list[tuple[str, int, int, str]] = []
    for path in map(str, paths):
        match = _ONE.fullmatch(path)
        before, number, after = (match[1], int(match[2]), match[3]) if match else (path, -1, "")
        if match and runs and runs[-1][0] == before and runs[-1][2] == number - 1 and runs[-1][3] == after:
            runs[-1] = before, runs[-1][1], number, after
        else:
            runs.append((before, number, number, after))
    return [
        before if first < 0 else f"{before}{first if first == last else f'{{{first}..{last}}}'}{after}"
        for before, first, last, after in runs
    ]


def expand(path: str) -> list[str]:
    """Return the paths that an entry of :func:`compact` stands for; a plain path is itself.

    Raises
    ------
    InputError
        If the numbers are not those of blocks: rising, and below their total.
    """
    match = _MANY.fullmatch(path)
    if match is None:
        return [path]
    first, last, total = int(match[2]), int(match[3]), int(match[5])
    if not first <= last < total <= _MOST:
        raise InputError(path, "is no range of blocks", "write it like {0..3}of4")
    return [f"{match[1]}{number}{match[4]}" for number in range(first, last + 1)]
