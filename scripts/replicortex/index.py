"""The index of a raw BIDS dataset: tables of its files and recordings, and what is wrong with them.

Tables are rewritten only if they change, and the table of recordings knows content, not times, so that
nothing is computed again because a file was touched. A fault belongs to a file and stops no other subject.
Standard library only.
"""

from __future__ import annotations

import contextlib
import csv
import filecmp
import functools
import gc
import hashlib
import itertools
import json
import math
import os
import re
import shlex
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, TextIO

from .bids import ENTITIES, RECORDING_COLUMNS, datatype_of, parts_of
from .digest import code_digest
from .errors import InputError
from .files import FAULTS, atomic, read_json, read_tsv, to_json, write_text
from .sidecars import Inheritance, merge, read_object
from .walk import File, fingerprints, scan

FACTS = ("TaskName", "SamplingFrequency", "RepetitionTime", "PowerLineFrequency", "EEGReference")
"""Fields of the merged sidecars that ``index.tsv`` shows."""

_ELECTRODES = frozenset([".bdf", ".edf", ".mefd", ".nwb", ".set", ".vhdr"])
_MRI = frozenset([".nii", ".nii.gz"])
_EXTENSIONS = {
    "beh": frozenset([".tsv"]),
    "eeg": _ELECTRODES,
    "emg": _ELECTRODES,
    "ieeg": _ELECTRODES,
    "meg": frozenset(["", ".chn", ".con", ".ds", ".fif", ".kdf", ".raw", ".sqd"]),
    "micr": frozenset([".ome.btf", ".ome.tif", ".ome.zarr", ".png", ".tif"]),
    "motion": frozenset([".tsv"]),
    "nirs": frozenset([".snirf"]),
    **dict.fromkeys(["anat", "dwi", "fmap", "func", "mrs", "perf", "pet"], _MRI),
}
# Where the suffix of a recording must be its datatype; elsewhere it is a contrast or a kind of image.
_NAMED_BY_DATATYPE = frozenset(["beh", "eeg", "emg", "ieeg", "meg", "motion", "nirs"])
_NO_RECORDING = frozenset(["defacemask", "photo", "acq-calibration", "acq-crosstalk"])
# Tables that stand for an image in a derivative dataset. Confounds are a companion of one.
_TABLES = frozenset(["timeseries", "relmat", "morph"])
_COMPANION_TABLES = frozenset(["desc-confounds"])
# Files that are one recording together with the first, and whether that one is useless without them.
_COMPANIONS = {".vhdr": ([".eeg", ".vmrk"], True), ".set": ([".fdt"], False), ".raw": ([".raw.mhd"], False)}
_HEADER_OF = {".eeg": ".vhdr", ".vmrk": ".vhdr", ".fdt": ".set"}

_as_json = json.encoder.encode_basestring_ascii
_MODES = ("auto", "content", "stat")
_AUTO_LIMIT = 20_000_000_000  # bytes
# Two writes within one tick of the kernel's clock leave the same time: so young a time proves nothing later.
_TICK_NS = 20_000_000


def refresh_index(root: str | os.PathLike, out: str | os.PathLike, *, fingerprint: str = "auto") -> dict[str, Any]:
    """Index a raw dataset; write each table of ``out`` only if it changed.

    ``index.tsv`` has a row a file, ``recordings.tsv`` a row a recording (``RECORDING_COLUMNS``),
    ``participants.tsv`` is that of the dataset and ``content.json`` what is returned. Only the first knows times.

    Parameters
    ----------
    root : path
        The dataset, read only.
    out : path
        The folder of the tables; an ``index.tsv`` in it saves reading what has the same size and time.
    fingerprint : str
        What stands for a file's content: ``content`` its digest, ``stat`` size and time (for trees too large
        to read), ``auto`` the first up to 20 GB in all, else the second. Annexed files have their key.

    Returns
    -------
    dict
        ``digest`` of all files, ``n_files``, ``n_subjects`` (with a recording), ``n_recordings``, and
        ``problems``, a list of ``{file, fault, remedy}``.

    Raises
    ------
    InputError
        If there is no such folder, no subject in it, or ``fingerprint`` is unknown.
    """
    if fingerprint not in _MODES:
        raise InputError(f"fingerprint {fingerprint!r}", "unknown", f"choose one of: {', '.join(_MODES)}")
    with _uncollected():
        return _refresh(root, Path(out), fingerprint)


@contextlib.contextmanager
def _uncollected() -> Iterator[None]:
    """Leave out the search for cycles of objects: there are none, and with this many objects it takes a tenth."""
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was:
            gc.enable()


def _refresh(root: str | os.PathLike, out: Path, fingerprint: str) -> dict[str, Any]:
    """Do what :func:`refresh_index` says."""
    started = time.time_ns()
    problems: dict[str, dict[str, str]] = {}
    files = [file for file in scan(root) if not _is_lost_folder(file, problems)]
    at_top = sum("/" not in file.path for file in files)
    if at_top == len(files):
        raise InputError(root, "no subject folder (sub-<label>) with files in it", "check the path")
    root = os.path.realpath(root)
    if fingerprint == "auto":
        fingerprint = "content" if sum(file.size for file in files) <= _AUTO_LIMIT else "stat"
    known = _Known(out, files, fingerprint, started)
    if known.unchanged():
        return read_json(out / "content.json")
    keys = _keys(files, known.listing)
    texts: dict[str, bytes] = {}
    pairs = fingerprints(root, files, fingerprint, out / "index.tsv", texts)
    top = _Part(root, list(itertools.islice(pairs, at_top)), problems, texts)

    digest, subjects, n_recordings = hashlib.blake2b(digest_size=16), set(), 0
    with _changed(out / "index.tsv") as table, _changed(out / "recordings.tsv") as recordings:
        names = [ENTITIES.get(key, key) for key in keys]
        _write(table, ["path", *names, "suffix", "extension", "datatype", *FACTS, "size", "mtime_ns", "content"])
        _write(recordings, RECORDING_COLUMNS)
        subject_parts = (
            _Part(root, list(group), problems, texts, top)
            for _, group in itertools.groupby(pairs, key=lambda pair: pair[0].path.partition("/")[0])
        )
        for part in itertools.chain([top], subject_parts):
            for row in part.recordings():
                _write(recordings, [row[column] for column in RECORDING_COLUMNS])
                subjects.add(row["subject"])
                n_recordings += 1
            for file, content in part.known.values():
                _write(table, _index_row(file, content, keys, part.facts.get(file.path), started))
            digest.update(_digest_of(part.known.values()).encode())
    _check_top(top, subjects)
    _copy_participants(top, out / "participants.tsv")
    result = {
        "digest": digest.hexdigest(),
        "n_files": len(files),
        "n_subjects": len(subjects),
        "n_recordings": n_recordings,
        "problems": [
            {"file": path, "fault": fault, "remedy": remedy}
            for path, faults in sorted(problems.items())
            for fault, remedy in sorted(faults.items())
        ],
    }
    write_text(out / "content.json", to_json(result), only_if_changed=True)
    known.keep()
    return result


class _Known:
    """What the tables of a folder were made from: where that is as it was, so are they.

    Parameters
    ----------
    out : Path
        The folder of the tables.
    files : list of File
        What the walk found.
    fingerprint : str
        What stands for a file's content.
    started : int
        When the walk began (ns).
    """

    TABLES = ("index.tsv", "recordings.tsv", "participants.tsv", "content.json")

    def __init__(self, out: Path, files: list[File], fingerprint: str, started: int) -> None:
        self.out, self.path = out, out / "scan.json"
        rows = [f"\n{path}\t{size}\t{time}\t{key}\t{fault}" for path, size, time, key, fault in files]
        #: A line a file, which begins with its path.
        self.listing = "".join(rows)
        # The tables also depend on what this library makes of the files.
        digest = hashlib.blake2b(f"{fingerprint}\n{code_digest(['index'])}".encode(), digest_size=16)
        digest.update(self.listing.encode())
        self.digest = digest.hexdigest()
        self.certain = all(file.mtime_ns < started - _TICK_NS for file in files)

    def _tables(self) -> dict[str, list[int]]:
        status = {name: (self.out / name).stat() for name in self.TABLES}
        return {name: [entry.st_size, entry.st_mtime_ns] for name, entry in status.items()}

    def unchanged(self) -> bool:
        """Say whether the tables are those of these files; the walk tells by size and time, as for each file."""
        try:
            return self.certain and read_json(self.path) == {"scan": self.digest, "tables": self._tables()}
        except (OSError, InputError):
            return False

    def keep(self) -> None:
        """Note that the tables are those of these files, unless a file is so young that its time proves nothing."""
        if self.certain:
            write_text(self.path, to_json({"scan": self.digest, "tables": self._tables()}), only_if_changed=True)
        else:
            self.path.unlink(missing_ok=True)


class _Part:
    """The files of the dataset's root, or of one subject, and what applies to them.

    Parameters
    ----------
    root : str
        The dataset's real path.
    pairs : list of (File, str)
        Files and their fingerprints.
    problems : dict
        Of the dataset: file to fault to remedy; what is found here is added.
    texts : dict
        Contents of JSON files that have been read already, by path.
    above : _Part | None
        The root's part, if this one is a subject's.
    """

    def __init__(
        self, root: str, pairs: list, problems: dict, texts: dict[str, bytes], above: _Part | None = None
    ) -> None:
        self.root, self.problems, self.texts, self.above = root, problems, texts, above
        self.known: dict[str, tuple[File, str]] = {file.path: (file, content) for file, content in pairs}
        self.facts: dict[str, dict[str, Any]] = {}  # merged sidecars of the recordings, by path
        self._inheritance = Inheritance(above._inheritance if above else None)
        self._sidecars: dict[str, dict[str, Any]] = {}
        for file, _ in pairs:
            self._inheritance.offer(file.path)
            if file.fault:
                fault, remedy = FAULTS[file.fault]
                self.problem(file.path, fault, remedy.format(path=shlex.quote(file.path)))

    def problem(self, path: str, fault: str, remedy: str) -> None:
        """Note a problem of a file."""
        self.problems.setdefault(path, {})[fault] = remedy

    def find(self, path: str) -> tuple[File, str] | None:
        """Return a file of this part or the one above with its fingerprint."""
        return self.known.get(path) or (self.above and self.above.find(path))

    def sidecar(self, path: str) -> dict[str, Any]:
        """Read a sidecar, once; an unreadable one is noted and empty."""
        if path not in self.known:
            return self.above.sidecar(path)
        if path not in self._sidecars:
            self._sidecars[path] = {}
            if not self.known[path][0].fault:
                try:
                    self._sidecars[path] = read_object(self.root, path, self.texts.pop(path, None))
                except ValueError as error:
                    self.problem(path, str(error), "repair or remove the file")
        return self._sidecars[path]

    def recordings(self) -> Iterator[dict[str, Any]]:
        """Yield a row of ``recordings.tsv`` for each recording, in the order of the files."""
        groups: dict[tuple[str, str, str], dict[str, list[str]]] = {}
        strange: dict[str, list[str]] = {}
        datatypes: dict[str, str | None] = {}
        for path in self.known:
            folder, _, name = path.rpartition("/")
            entities, suffix, extension = parts_of(path)
            if not folder:
                continue
            if folder not in datatypes:
                datatypes[folder] = datatype_of(path)
            if not entities:
                strange.setdefault(folder, []).append(name)
            elif _is_recording(datatypes[folder], entities, suffix, extension):
                stem = "_".join(entity for entity in entities if not entity.startswith("split-"))
                groups.setdefault((folder, stem, suffix), {}).setdefault(extension, []).append(path)
            elif extension in _HEADER_OF and path.removesuffix(extension) + _HEADER_OF[extension] not in self.known:
                self.problem(path, f"no {_HEADER_OF[extension]} file beside it", "add it, or remove this file")
        for folder, names in strange.items():
            self.problem(folder, *_not_bids(names))
        for (_, stem, suffix), formats in groups.items():
            first, *others = formats
            for other in others:
                self.problem(formats[other][0], f"the same recording is also stored as {first}", "keep one of them")
            yield self._recording(stem, suffix, first, formats[first])

    def _recording(self, stem: str, suffix: str, extension: str, paths: list[str]) -> dict[str, Any]:
        """Return the row of one recording, whose main files are ``paths``."""
        folder = paths[0].rpartition("/")[0]
        datatype = datatype_of(paths[0])
        pieces = parts_of(paths[0])[0]
        entities = frozenset(pieces)
        labels = dict([entity.split("-") for entity in pieces])
        levels = [f"{key}-{labels[key]}" for key in ("sub", "ses") if key in labels]
        if folder != "/".join([*levels, datatype]):
            self.problem(paths[0], "its name and its folder disagree on subject or session", "rename or move it")
        data = list(paths)
        companions, required = _COMPANIONS.get(extension, ((), False))
        for path, companion in itertools.product(paths, companions):
            other = path.removesuffix(extension) + companion
            if other in self.known:
                data.append(other)
            elif required:
                self.problem(path, f"no {companion} file beside it", "add it, or export the recording again")
        if datatype == "dwi":
            for kind in (".bval", ".bvec"):
                data += self._inheritance.applicable(folder, entities, suffix, kind)[-1:]
        tables = self._inheritance.tables(folder, entities, datatype)
        sidecars = self._inheritance.applicable(folder, entities, suffix, ".json")
        metadata = merge([self.sidecar(path) for path in sidecars])
        self.facts |= dict.fromkeys(paths, metadata)

        used = {path: self.find(path) for path in [*data, *sidecars, *filter(None, tables.values())]}
        for path, (file, _) in used.items():
            if file.size == 0 and not file.fault and path not in sidecars:
                self.problem(path, "empty", "restore it from its source")
        reasons = [
            str(InputError(path, fault, remedy))
            for path in used
            if path in self.problems
            for fault, remedy in self.problems[path].items()
        ]
        return {
            "recording": stem,
            "path": paths[0],
            "datatype": datatype,
            "suffix": suffix,
            "extension": extension,
            "subject": folder.split("/")[0].removeprefix("sub-"),
            "session": labels.get("ses"),
            "task": labels.get("task"),
            "acquisition": labels.get("acq"),
            "run": labels.get("run"),
            **tables,
            "sidecars": f"[{', '.join(map(_as_json, sidecars))}]",
            "sampling_frequency": _one_line(metadata.get("SamplingFrequency")),
            "repetition_time": _one_line(metadata.get("RepetitionTime")),
            "size": str(sum(used[path][0].size for path in data)),
            "digest": _digest_of(used.values()),
            "problem": reasons[0] if reasons else None,
        }


def _is_lost_folder(file: File, problems: dict[str, dict[str, str]]) -> bool:
    """Say whether this is a folder that could not be walked rather than a file, and note its fault."""
    lost = file.fault in ("closed", "loop") and not parts_of(file.path)[0]
    if lost:
        problems[file.path] = dict([FAULTS[file.fault]])
    return lost


def _is_recording(datatype: str | None, entities: list[str], suffix: str, extension: str) -> bool:
    """Say whether a file is the main file of a recording, rather than a companion, a sidecar or a table."""
    if suffix in _TABLES and extension == ".tsv":
        return datatype in ("anat", "func", "pet") and _COMPANION_TABLES.isdisjoint(entities)
    return (
        datatype is not None
        and extension in _EXTENSIONS[datatype]
        and (suffix == datatype or datatype not in _NAMED_BY_DATATYPE)
        and _NO_RECORDING.isdisjoint([suffix, *entities])
    )


def _not_bids(names: list[str]) -> tuple[str, str]:
    """Return fault and remedy for the files of one folder whose names are not BIDS."""
    for name in names:
        keys = re.findall(r"(?:^|_)([a-z]+)-", name)
        twice = next((key for key in keys if keys.count(key) > 1), None)
        if twice:
            return f"the name {name!r} has {twice}- twice", "rename the file"
    more = f" and {len(names) - 1} more" if len(names) > 1 else ""
    return f"{names[0]!r}{more}: not a BIDS name", "rename, or list in .bidsignore"


def _check_top(top: _Part, subjects: set[str]) -> None:
    """Note what is wrong with ``dataset_description.json`` and ``participants.tsv``."""
    if "dataset_description.json" in top.known:
        top.sidecar("dataset_description.json")
    else:
        top.problem("dataset_description.json", "missing", "add it, with Name and BIDSVersion")
    if "participants.tsv" in top.known and not top.known["participants.tsv"][0].fault:
        for fault, remedy in _check_participants(Path(top.root, "participants.tsv"), subjects):
            top.problem("participants.tsv", fault, remedy)


def _copy_participants(top: _Part, path: Path) -> None:
    """Write what the dataset says of its participants, a mere header if it says nothing."""
    text = "participant_id\n"
    if "participants.tsv" in top.known and not top.known["participants.tsv"][0].fault:
        with contextlib.suppress(OSError, UnicodeDecodeError):
            text = Path(top.root, "participants.tsv").read_text(encoding="utf-8-sig")
    write_text(path, text, only_if_changed=True)


def _check_participants(path: Path, subjects: set[str]) -> Iterator[tuple[str, str]]:
    """Yield what is wrong with the table of participants, given the subjects that have a recording."""
    try:
        rows = read_tsv(path)
    except (InputError, csv.Error) as error:
        yield str(error).removeprefix(f"{path}: "), "repair the table"
        return
    if rows and "participant_id" not in rows[0]:
        yield "no column participant_id", "add it, with values such as sub-01"
        return
    listed = Counter(row["participant_id"] for row in rows)
    present = {f"sub-{label}" for label in subjects}
    for fault, names, remedy in (
        ("listed twice", {name for name, times in listed.items() if times > 1}, "keep one line for each"),
        ("listed but without a recording", listed.keys() - present, "add the data or remove the line"),
        ("with recordings but not listed", present - listed.keys(), "add a line for each"),
    ):
        if names:
            some = ", ".join(sorted(names)[:10]) + (", ..." if len(names) > 10 else "")
            yield f"{len(names)} {fault}: {some}", remedy


def _keys(files: list[File], listing: str) -> tuple[str, ...]:
    """Return the keys of all entities, in the order of BIDS; unknown ones last, by alphabet."""
    # All that may be keys; parsing names stops as soon as each of them was found in one, which is soon.
    possible = set(re.findall(r"[\n/_]([a-z]+)-", listing))
    found: set[str] = set()
    for file in files:
        found.update([entity.partition("-")[0] for entity in parts_of(file.path)[0]])
        if len(found) == len(possible):
            break
    return (*[key for key in ENTITIES if key in found], *sorted(found - ENTITIES.keys()))


def _index_row(
    file: File, content: str, keys: tuple[str, ...], metadata: dict[str, Any] | None, started: int
) -> list[str | None]:
    """Return the cells of a file in ``index.tsv``."""
    entities, suffix, extension = parts_of(file.path)
    facts = [_one_line(metadata.get(fact)) for fact in FACTS] if metadata else [None] * len(FACTS)
    labels = list(_labels(entities[1:], keys))
    if entities:
        key, _, label = entities[0].partition("-")
        labels[keys.index(key)] = label
    young = file.mtime_ns >= started - _TICK_NS
    return [
        file.path,
        *labels,
        suffix,
        extension,
        datatype_of(file.path),
        *facts,
        str(file.size),
        None if young else str(file.mtime_ns),
        content,
    ]


@functools.lru_cache(maxsize=4096)  # most names are alike behind the subject
def _labels(entities: tuple[str, ...], keys: tuple[str, ...]) -> tuple[str | None, ...]:
    """Return the labels of entities, in the order of ``keys``."""
    labels = dict(entity.split("-") for entity in entities)
    return tuple(labels.get(key) for key in keys)


def _digest_of(files: Iterable[tuple[File, str]]) -> str:
    """Return the digest of files with their fingerprints."""
    text = "\n".join([f"{file.path}\t{content}" for file, content in files])
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def _one_line(value: Any) -> str | None:
    """Return what a sidecar holds, which may be anything, as the text of one cell."""
    if value is None or isinstance(value, str):
        return value and " ".join(value.split())
    if type(value) is int or (type(value) is float and math.isfinite(value)):
        return repr(value)  # as JSON has it, and faster
    return json.dumps(value)


def _write(table: TextIO, cells: Iterable[str | None]) -> None:
    """Write one line; what is missing or empty is ``n/a``."""
    table.write("\t".join([cell or "n/a" for cell in cells]) + "\n")


class _UnchangedError(Exception):
    """Leaves a table as it is."""


@contextlib.contextmanager
def _changed(path: Path) -> Iterator[TextIO]:
    """Yield a stream whose text replaces ``path`` atomically, unless it is the same."""
    with contextlib.suppress(_UnchangedError), atomic(path) as temporary:
        with temporary.open("w", encoding="utf-8", newline="\n") as stream:
            yield stream
        if path.is_file() and filecmp.cmp(temporary, path, shallow=False):
            raise _UnchangedError
