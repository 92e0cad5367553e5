"""What kinds of files a run leaves, which of them a storage policy keeps, and how much room they take."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from .errors import InputError
from .files import LITTER

#: What each policy gives up. Datasets, tables, figures, verdicts, splits, records of fits: never.
REMOVED = {
    "full": frozenset({"litter"}),
    "standard": frozenset({"litter", "model", "feature_store"}),
    "lean": frozenset({"litter", "model", "feature_store", "bundle", "prediction", "derivative", "manifest"}),
}
#: What is made again, and when, if a kind was removed.
AGAIN = {
    "litter": "nothing: left by jobs that were killed, or set aside as damaged",
    "model": "nothing reads fitted models again; they return when their fit is repeated",
    "feature_store": "when a recording of a block changes, features of its whole block are taken again",
    "bundle": "when anything is fitted again, features are taken again, and all fits on them",
    "prediction": "when anything is scored again, its fits are repeated",
    "derivative": "when features are taken again, recordings are preprocessed again",
    "manifest": "with the derivatives that they list",
}
_PAGE = 4096
_FOLDERS = ("derivatives", "features", "preprocessed", "quality", "runs", "benchmarks")
#: What stays of a derivative dataset for whoever looks at it: its description and the pages of its subjects.
_PAGES = re.compile(r"(README(\.\w+)?|dataset_description\.json|\.bidsignore|[^/]+\.html|sub-[^/]+/figures/.+)")


class File(NamedTuple):
    """A file below ``results``: its path from there, its kind, and the bytes that it takes on disk."""

    path: PurePosixPath
    kind: str
    size: int


def kind_of(path: PurePosixPath) -> str:
    """Return the kind of a file, from its path below ``results``; ``kept`` for all that no policy removes."""
    first, name = path.parts[0], path.name
    if first not in _FOLDERS:
        return "kept"
    # A store keeps what it is making beside its records, as <recording>.part.
    unfinished = ".replicortex" in path.parts and any(part.endswith(".part") for part in path.parts[:-1])
    if any(map(LITTER.fullmatch, path.parts)) or unfinished or name.endswith(".damaged"):
        return "litter"
    if first == "derivatives" and len(path.parts) > 3:
        return "kept" if _PAGES.fullmatch("/".join(path.parts[3:])) else "derivative"
    if first == "preprocessed":
        return "manifest"
    if first == "features":
        if "store" in path.parts[4:-1]:
            return "feature_store"
        # Fits depend on the list of the bundles: without them it must not stay.
        return "bundle" if name.endswith(".npz") or name == "bundles.tsv" else "kept"
    if first == "runs" and name in ("models.zip", "predictions.npz"):
        return "model" if name == "models.zip" else "prediction"
    return "kept"


def on_disk(size: int) -> int:
    """Return the bytes that a file of ``size`` bytes takes: whole pages, whatever the file system allocates late."""
    return -(-size // _PAGE) * _PAGE


def files(results: Path, below: str = "") -> Iterator[File]:
    """Yield every file below ``results``, or below one of its folders; links are not followed.

    Raises
    ------
    InputError
        If ``results`` is no folder.

    """
    if not results.is_dir():
        raise InputError(results, "no such folder", "run the workflow first, or go to the folder where it ran")
    for folder, folders, names in os.walk(results / below):
        folders.sort()
        place = PurePosixPath(Path(folder).relative_to(results).as_posix())
        for name in sorted(names):
            try:
                size = (Path(folder) / name).lstat().st_size
            except FileNotFoundError:  # a run is going on
                continue
            yield File(place / name, kind_of(place / name), on_disk(size))
