"""Index a BIDS dataset: one walk to tables that are rewritten only when they change."""

from __future__ import annotations

from pathlib import Path

from ..index import refresh_index


def index_dataset(root: Path, out: Path, fingerprint: str = "auto") -> None:
    """Write ``index.tsv``, ``recordings.tsv`` and ``content.json`` of the dataset ``root`` into ``out``.

    Parameters
    ----------
    fingerprint : {"auto", "content", "stat"}
        How a change of a file is noticed; see :func:`replicortex.index.refresh_index`.

    Raises
    ------
    InputError
        If ``root`` is no folder.
    """
    content = refresh_index(root, out, fingerprint=fingerprint)
    print(
        f"{content['n_files']} files, {content['n_subjects']} subjects, {content['n_recordings']} recordings,"
        f" {len(content['problems'])} problems"
    )
    for problem in content["problems"]:
        print(problem)
