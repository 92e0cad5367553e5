"""Fetch a published dataset by name: the files of one version that the configured runs need, and no others."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from ..annex import Clone, unverified
from ..bids import DATATYPES, ENTITIES, split_name
from ..errors import InputError
from ..files import digest_of, readable, to_json, write_text

#: Files at the top of a dataset that are about it: anything else there may be large.
_ABOUT = frozenset([".json", ".tsv", ".md", ".txt", ".rst", ".bval", ".bvec", ".cff", ".yml", ""])
_REPORTS = frozenset([".html", ".svg", ".gif"])


def fetch_dataset(
    url: str,
    version: str,
    root: Path,
    record: Path | None = None,
    wanted: Mapping[str, Any] | None = None,
    *,
    progress: bool = True,
    verify: bool = False,
) -> dict[str, Any]:
    """Fetch what is wanted of a version of a dataset into ``root``.

    Interrupted, it goes on where it stopped; asked for more, it fetches the difference. Annexed files are verified by
    the checksums in their keys, all others by git.

    Parameters
    ----------
    url : str
        A git repository, with git-annex or without; https, http, ssh or file.
    version : str
        A tag or a commit.
    root : Path
        The dataset.
    record : Path, optional
        JSON file that says what was fetched, written last.
    wanted : mapping
        ``datatypes``, ``filters`` and ``folders`` as of :func:`selection`; by default all files.
    progress : bool
        Whether to show how far it is.
    verify : bool
        Whether to read content that is there already and check it again.

    Returns
    -------
    dict
        ``version``, ``commit``, ``n_files``, ``n_bytes``, ``n_left_out``, ``n_unverified`` (files whose keys hold no
        checksum), ``wanted`` as given and ``digest`` of names and contents.

    Raises
    ------
    InputError
        If this is a compute node, nothing can be reached, the disk is too small, or what comes is not what was
        published.
    """
    if "SLURM_JOB_ID" in os.environ:
        raise InputError(
            "SLURM_JOB_ID",
            "is set, and datasets are not fetched on compute nodes",
            "run `snakemake prefetch` on the login node first (or unset it, if this machine has network)",
        )
    with _ending_politely(), Clone(root, url) as clone:
        commit = clone.fetch(version)
        entries, left_out = clone.files(commit, selection(wanted) if wanted is not None else lambda _: True)
        if not any(entry.path.startswith("sub-") for entry in entries):
            raise InputError(f"{root}", f"version {version} has no wanted file of a subject", "correct the filters")
        clone.checkout(commit, entries)
        if verify:
            clone.verify(entries)
        clone.get(entries, progress=progress)
        clone.seal(entries)
    result = {
        "version": version,
        "commit": commit,
        "n_files": len(entries),
        "n_bytes": sum(entry.n_bytes for entry in entries),
        "n_left_out": left_out,
        "n_unverified": len(unverified(entries)),
        "wanted": dict(wanted) if wanted is not None else None,
        "digest": digest_of([[entry.path, entry.mode, entry.blob] for entry in entries]),
    }
    if record is not None:
        write_text(record, to_json(result))
    print(f"{result['n_files']} files, {readable(result['n_bytes'])}, commit {commit}; {left_out} files left out")
    if result["n_unverified"]:
        print(f"{result['n_unverified']} files have no checksum in their keys: only their sizes were compared")
    return result


def selection(wanted: Mapping[str, Any]) -> Callable[[str], bool]:
    """Return a function that says whether a path of the dataset is wanted.

    Parameters
    ----------
    wanted : mapping
        ``datatypes``: those whose files are wanted; ``filters``: for entities, by their long names, the labels to take
        (a file without the entity is taken); ``folders``: folders beside the subjects, such as
        ``derivatives/fmriprep``, that are wanted too. What describes the dataset always is.
    """
    datatypes = frozenset(wanted.get("datatypes", []))
    filters = {entity: frozenset(labels) for entity, labels in wanted.get("filters", {}).items()}
    folders = [PurePosixPath(folder).parts for folder in wanted.get("folders", [])]

    def fits(parts: Sequence[str]) -> bool:
        """Say whether no entity in the names of folders and file is one that the filters leave out."""
        for name in parts:
            named = split_name(name)
            pieces = named[0] if named and named[0] else ()
            # A folder such as sub-01 has no suffix: its one entity is its whole name.
            if not pieces and name.startswith(("sub-", "ses-")):
                pieces = (name,)
            for piece in pieces:
                key, _, label = piece.partition("-")
                entity = ENTITIES.get(key, key)
                if entity in filters and label not in filters[entity]:
                    return False
        return True

    def is_wanted(path: str) -> bool:
        parts = tuple(path.split("/"))
        if len(parts) == 1:
            return path == ".bidsignore" or (path[0] != "." and PurePosixPath(path).suffix in _ABOUT)
        if any(part[0] == "." for part in parts):
            return False
        if parts[0].startswith("sub-"):
            datatype = next((part for part in parts[1:3] if part in DATATYPES), None)
            at_level = len(parts) == 2 or (len(parts) == 3 and parts[1].startswith("ses-"))
            return (datatype in datatypes if not at_level else True) and fits(parts)
        for folder in folders:
            below = parts[len(folder) :]
            if parts[: len(folder)] == folder and below:
                report = PurePosixPath(path).suffix in _REPORTS or "figures" in below[:-1]
                return not report and fits(below)
        return False

    return is_wanted


class _ending_politely:  # noqa: N801 - reads as what it does
    """Let a request to end unwind the stack, so that git-annex ends too."""

    def __enter__(self) -> None:
        self.before = signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))

    def __exit__(self, *_: object) -> None:
        signal.signal(signal.SIGTERM, self.before)
