"""Names and paths of BIDS, the table of recordings, and its blocks.

Standard library only: the workflow imports this module every time it starts. :mod:`replicortex.walk` finds
the files, :mod:`replicortex.sidecars` what applies to each, and :mod:`replicortex.index` makes the tables.
"""

from __future__ import annotations

import functools
import hashlib
import math
import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

from .errors import InputError, did_you_mean
from .files import read_tsv, write_text

ENTITIES = {
    "sub": "subject",
    "tpl": "template",
    "ses": "session",
    "cohort": "cohort",
    "sample": "sample",
    "task": "task",
    "tracksys": "tracksys",
    "acq": "acquisition",
    "nuc": "nucleus",
    "voi": "volume",
    "ce": "ceagent",
    "trc": "tracer",
    "stain": "stain",
    "rec": "reconstruction",
    "dir": "direction",
    "run": "run",
    "mod": "modality",
    "echo": "echo",
    "flip": "flip",
    "inv": "inversion",
    "mt": "mtransfer",
    "part": "part",
    "proc": "processing",
    "hemi": "hemisphere",
    "space": "space",
    "split": "split",
    "recording": "recording",
    "chunk": "chunk",
    "atlas": "atlas",
    "seg": "segmentation",
    "scale": "scale",
    "res": "resolution",
    "den": "density",
    "label": "label",
    "desc": "description",
}
"""Entity keys in the order of BIDS 1.11, with their long names."""

# fmt: off
PROPOSED = frozenset(["ephys"])
"""Datatypes that are no part of BIDS yet: that of BEP 32."""

DATATYPES = frozenset([
    "anat", "beh", "dwi", "eeg", "emg", "fmap", "func", "ieeg", "meg", "micr", "motion", "mrs",
    "nirs", "perf", "pet",
]) | PROPOSED

RECORDING_COLUMNS = [
    "recording", "path", "datatype", "suffix", "extension", "subject", "session", "task", "acquisition",
    "run", "events", "channels", "electrodes", "coordsystem", "sidecars", "sampling_frequency",
    "repetition_time", "size", "digest", "problem",
]
# fmt: on

_HEAD = re.compile(r"(sub-[A-Za-z0-9+]+)_(?:(ses-[A-Za-z0-9+]+)_)?")
_NAME = re.compile(r"((?:[a-z]+-[A-Za-z0-9+]+_)*)([A-Za-z0-9]+)((?:\.[A-Za-z0-9]+)*)")
_LABEL = re.compile(r"[A-Za-z0-9+]+")

_SECONDS_PER_JOB, _MOST_SUBJECTS = 120.0, 200
# Above 256 blocks there is one for 24 subjects at most, above 1024 none is added until a block takes four hours.
_MANY_BLOCKS, _MOST_BLOCKS, _LEAST_SUBJECTS, _MOST_SECONDS_PER_JOB = 256, 1024, 24, 14_400.0


class Name(NamedTuple):
    """The parts of a BIDS file name; ``entities`` has long names, in the order of the name."""

    entities: dict[str, str]
    suffix: str
    extension: str


def split_name(name: str) -> tuple[tuple[str, ...], str, str] | None:
    """Return the ``key-label`` pieces, suffix and extension of a file name, or None if it is not BIDS.

    The extension begins at the first dot and is empty for a folder such as 4D/BTi's. A key may stand once.
    Keys that BIDS does not know are kept, so that a dataset of a later BIDS version stays usable.
    """
    # What follows subject and session is the same for all of them: read once, and with it most of the name.
    match = _HEAD.match(name)
    rest = _split_rest(name[match.end() :] if match else name)
    if match is None or rest is None:
        return rest and rest[:3]
    pieces, suffix, extension, keys = rest
    subject, session = match.groups()
    if "sub" in keys or (session and "ses" in keys):
        return None
    return (subject, session, *pieces) if session else (subject, *pieces), suffix, extension


@functools.lru_cache(maxsize=16384)
def _split_rest(name: str) -> tuple[tuple[str, ...], str, str, frozenset[str]] | None:
    """Return the pieces, suffix, extension and keys of a name or its rest, or None if it is not BIDS."""
    match = _NAME.fullmatch(name)
    if match is None:
        return None
    head, suffix, extension = match.groups()
    pieces = tuple(head[:-1].split("_")) if head else ()
    keys = frozenset(piece[: piece.index("-")] for piece in pieces)
    return None if len(keys) < len(pieces) else (pieces, suffix, extension, keys)


def parse(name: str) -> Name | None:
    """Return entities, suffix and extension of a file name (no folders), or None if it is not a BIDS name."""
    parts = split_name(name)
    if parts is None:
        return None
    pairs = (piece.split("-") for piece in parts[0])
    return Name({ENTITIES.get(key, key): label for key, label in pairs}, parts[1], parts[2])


@functools.lru_cache(maxsize=4096)  # a path is asked for several times while its subject is at hand
def parts_of(path: str) -> tuple[tuple[str, ...], str, str]:
    """Return what :func:`split_name` does for the name at the end of ``path``, empty if it is not BIDS.

    Below a subject a name needs entities; at the root it may do without, as ``participants.tsv`` does.
    """
    folder, _, name = path.rpartition("/")
    parts = split_name(name)
    return ((), "", "") if parts is None or (folder and not parts[0]) else parts


def join(entities: Mapping[str, str | None], suffix: str, extension: str, datatype: str | None = None) -> str:
    """Return a BIDS path relative to the dataset root, or the bare name if ``datatype`` is None.

    Parameters
    ----------
    entities : mapping
        Long names (``subject``, ``description``) and labels; None leaves an entity out.
    suffix, extension : str
        Such as ``eeg`` and ``.vhdr``.
    datatype : str | None
        The folder below subject and session.

    Raises
    ------
    InputError
        If an entity is unknown or a part has characters other than letters, digits and ``+``.
    """
    given = {name: str(label) for name, label in entities.items() if label is not None}
    for name in given.keys() - ENTITIES.values():
        raise InputError(f"entity {name!r}", "not a BIDS entity", did_you_mean(name, ENTITIES.values()))
    pieces = [f"{key}-{given[name]}" for key, name in ENTITIES.items() if name in given]
    name = "_".join([*pieces, suffix]) + extension
    if split_name(name) is None or not all(_LABEL.fullmatch(label) for label in given.values()):
        raise InputError(name, "not a BIDS name", "use letters and digits in labels, suffix and extension")
    if datatype is None:
        return name
    if datatype not in DATATYPES:
        raise InputError(f"datatype {datatype!r}", "not a BIDS datatype", did_you_mean(datatype, DATATYPES))
    folders = [f"{key}-{given[ENTITIES[key]]}" for key in ("sub", "ses") if ENTITIES[key] in given]
    return "/".join([*folders, datatype, name])


def datatype_of(path: str) -> str | None:
    """Return the datatype of ``sub-<label>[/ses-<label>]/<datatype>/<name>``, None for any other place."""
    parts = path.split("/")
    if len(parts) == 4 and not parts[1].startswith("ses-"):
        return None
    return parts[-2] if 3 <= len(parts) <= 4 and parts[-2] in DATATYPES else None


def n_blocks(n_subjects: int, seconds_per_subject: float) -> int:
    """Return how many blocks give jobs of about two minutes: a power of two, at most 200 subjects a block.

    The graph of jobs must stay one that Snakemake plans in seconds. Where that would take more than 256 blocks,
    blocks get larger, up to 24 to 47 subjects, as long as one takes no more than four hours. Above 1024 blocks they
    get larger still, up to these four hours: more jobs than that hardly run at once, and each is planned and
    submitted. The number changes only where the dataset doubles, and then :func:`block_of` splits each block in two.
    """

    def blocks_of(per_block: int) -> int:
        return 1 << (max(math.ceil(n_subjects / per_block), 1) - 1).bit_length()

    short = min(max(math.ceil(_SECONDS_PER_JOB / seconds_per_subject), 1), _MOST_SUBJECTS)
    long = min(max(math.floor(_MOST_SECONDS_PER_JOB / seconds_per_subject), 1), _MOST_SUBJECTS)
    most = 1 << (min(max(n_subjects // _LEAST_SUBJECTS, _MANY_BLOCKS), _MOST_BLOCKS).bit_length() - 1)
    return min(blocks_of(short), max(most, blocks_of(long)))


def block_of(subject: str, n_blocks: int) -> int:
    """Return the block of a subject, from a hash of its label: adding one moves no other."""
    return int.from_bytes(hashlib.blake2b(subject.encode(), digest_size=8).digest(), "big") % n_blocks


def read_recordings(path: str | os.PathLike) -> list[dict[str, str]]:
    """Read ``recordings.tsv`` or the list of one block.

    Raises
    ------
    InputError
        If the file is missing or lacks a column.
    """
    rows = read_tsv(path)
    missing = [name for name in RECORDING_COLUMNS if rows and name not in rows[0]]
    if missing:
        raise InputError(path, f"lacks the columns {', '.join(missing)}", "delete it and index again")
    return rows


def select_block(rows: Iterable[Mapping[str, str]], k: int, n: int) -> list[Mapping[str, str]]:
    """Return the rows whose subject is in block ``k`` of ``n``."""
    return [row for row in rows if block_of(row["subject"], n) == k]


def write_blocks(recordings: str | os.PathLike, folder: str | os.PathLike, n_blocks: int) -> list[Path]:
    """Write ``folder/{k}of{n}.tsv``, the rows of each block's subjects; return the paths.

    A list is written only if it changed, and an empty block is a header. Lists of another number of blocks
    are removed, since nothing would keep them up to date.
    """
    folder = Path(folder)
    with Path(recordings).open(encoding="utf-8") as stream:
        header = next(stream, "")
        blocks = [[header] for _ in range(n_blocks)]
        column = header.rstrip("\n").split("\t").index("subject")
        last = block = None
        for line in stream:
            subject = line.rstrip("\n").split("\t", column + 1)[column]
            if subject != last:  # its recordings follow one another
                last, block = subject, blocks[block_of(subject, n_blocks)]
            block.append(line)
    paths = [folder / f"{k}of{n_blocks}.tsv" for k in range(n_blocks)]
    for path, lines in zip(paths, blocks, strict=True):
        write_text(path, "".join(lines), only_if_changed=True)
    for stale in set(folder.glob("*of*.tsv")) - set(paths):
        stale.unlink()
    return paths
