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
from typing import Any, NamedTuple, TextIO

from .bids import ENTITIES, RECORDING_COLUMNS, datatype_of, parts_of
from .digest import code_digest
from .errors import InputError
from .files import FAULTS, atomic, read_json, read_tsv, to_json, write_text
from .sidecars import Inheritance, read_object
from .walk import File, fingerprints, scan

FACTS = ("TaskName", "SamplingFrequency", "RepetitionTime", "PowerLineFrequency", "EEGReference")
"""Fields of the merged sidecars that ``index.tsv`` shows."""

_ELECTRODES = frozenset([".bdf", ".edf", ".mefd", ".nwb", ".set", ".vhdr"])
_MRI = frozenset([".nii", ".nii.gz"])
_EXTENSIONS = {
    "beh": frozenset([".tsv"]),
    "eeg": _ELECTRODES,
    "emg": _ELECTRODES,
    # Of BEP 32.
    "ephys": frozenset([".nwb"]),
    "ieeg": _ELECTRODES,
    "meg": frozenset(["", ".chn", ".con", ".ds", ".fif", ".kdf", ".raw", ".sqd"]),
    "micr": frozenset([".ome.btf", ".ome.tif", ".ome.zarr", ".png", ".tif"]),
    "motion": frozenset([".tsv"]),
    "nirs": frozenset([".snirf"]),
    **dict.fromkeys(["anat", "dwi", "fmap", "func", "mrs", "perf", "pet"], _MRI),
}
# Where the suffix of a recording must be its datatype; elsewhere it is a contrast or a kind of image.
_NAMED_BY_DATATYPE = frozenset(["beh", "eeg", "emg", "ephys", "ieeg", "meg", "motion", "nirs"])
_NO_RECORDING = frozenset(["defacemask", "photo", "acq-calibration", "acq-crosstalk"])
# Tables that stand for an image in a derivative dataset. Confounds are a companion of one.
_TABLES = frozenset(["timeseries", "relmat", "morph"])
_COMPANION_TABLES = frozenset(["desc-confounds"])
# Files that are one recording together with the first, and whether that one is useless without them.
_COMPANIONS = {".vhdr": ([".eeg", ".vmrk"], True), ".set": ([".fdt"], False), ".raw": ([".raw.mhd"], False)}
_HEADER_OF = {".eeg": ".vhdr", ".vmrk": ".vhdr", ".fdt": ".set"}

# Marks in what is known of a subject by names alone. No path has them, since they can not be printed.
_SUBJECT, _LABEL = "\0", "\1"
_MOST_FILES = 10_000  # of all layouts that are remembered
_NO_FACTS = "\t".join(["n/a"] * len(FACTS))
_SAMPLING, _REPETITION = FACTS.index("SamplingFrequency"), FACTS.index("RepetitionTime")

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
    files = [file for file in scan(root) if not (file.fault and _is_lost_folder(file, problems))]
    at_top = sum(1 for _ in itertools.takewhile(lambda file: "/" not in file.path, files))
    if at_top == len(files):
        raise InputError(root, "no subject folder (sub-<label>) with files in it", "check the path")
    root = os.path.realpath(root)
    if fingerprint == "auto":
        fingerprint = "content" if sum(file.size for file in files) <= _AUTO_LIMIT else "stat"
    known = _Known(out, files, fingerprint, started)
    if known.unchanged():
        return read_json(out / "content.json")
    top_paths = [file.path for file in files[:at_top]]
    listings = _listings(files, top_paths)
    keys, nameless = _names(top_paths, listings)
    layouts = _Layouts(top_paths, keys)
    texts: dict[str, bytes] = {}
    pairs = fingerprints(root, files, fingerprint, out / "index.tsv", texts, nameless)
    top = _Part(root, "", list(itertools.islice(pairs, at_top)), layouts.top, problems, texts)

    digest, subjects, n_recordings = hashlib.blake2b(digest_size=16), set(), 0
    with _changed(out / "index.tsv") as table, _changed(out / "recordings.tsv") as recordings:
        names = [ENTITIES.get(key, key) for key in keys]
        columns = ["path", *names, "suffix", "extension", "datatype", *FACTS, "size", "mtime_ns", "content"]
        table.write("\t".join(columns) + "\n")
        recordings.write("\t".join(RECORDING_COLUMNS) + "\n")
        subject_parts = (
            _Part(root, subject, list(itertools.islice(pairs, n)), layouts.of(subject, listing), problems, texts, top)
            for subject, n, listing in listings
        )
        for part in itertools.chain([top], subject_parts):
            lines = part.recordings()
            if lines:
                recordings.writelines(lines)
                subjects.add(part.subject.removeprefix("sub-"))
                n_recordings += len(lines)
            table.writelines(part.index(started - _TICK_NS))
            digest.update(part.digest().encode())
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
        # The tables also depend on what this library makes of the files.
        digest = hashlib.blake2b(f"{fingerprint}\n{code_digest(['index'])}".encode(), digest_size=16)
        digest.update("".join(rows).encode())
        self.digest = digest.hexdigest()
        self.certain = max(file.mtime_ns for file in files) < started - _TICK_NS

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


def _listings(files: list[File], top: list[str]) -> list[tuple[str, int, str]]:
    """Return name, number of files, and listing of each subject: its paths, a line each.

    In a listing ``_SUBJECT`` stands for the subject, so that subjects whose files are named alike have one and the
    same. Where a name has any other subject, or a file of the root (``top``) belongs to one subject, names mean
    something else for each subject, and listings stay as they are.
    """
    alike = not any("sub-" in entity for path in top for entity in parts_of(path)[0])
    known: dict[str, str] = {}
    found = []
    below = itertools.islice(files, len(top), None)
    for subject, group in itertools.groupby(below, key=lambda file: file.path.partition("/")[0]):
        paths = [file.path for file in group]
        listing = "\n".join(paths)
        general = listing.replace(f"{subject}/", f"{_SUBJECT}/").replace(f"/{subject}_", f"/{_SUBJECT}_")
        if alike and "sub-" not in general:
            listing = general
        found.append((subject, len(paths), known.setdefault(listing, listing)))
    return found


def _names(top: list[str], listings: list[tuple[str, int, str]]) -> tuple[tuple[str, ...], set[str]]:
    """Return the keys of all entities, known ones in the order of BIDS, and the subjects' files that have none."""
    keys = {entity.partition("-")[0] for path in top for entity in parts_of(path)[0]}
    nameless: dict[str, list[str]] = {}  # of each listing
    for listing in {listing for _, _, listing in listings}:
        for path in listing.split("\n"):
            entities = parts_of(path.replace(_SUBJECT, "sub-0"))[0]
            keys.update([entity.partition("-")[0] for entity in entities])
            if not entities:
                nameless.setdefault(listing, []).append(path)
    return (
        (*[key for key in ENTITIES if key in keys], *sorted(keys - ENTITIES.keys())),
        {path.replace(_SUBJECT, subject) for subject, _, listing in listings for path in nameless.get(listing, ())},
    )


class _Layouts:
    """The layouts of a dataset's parts, each worked out once for all subjects that have it.

    Parameters
    ----------
    top : list of str
        The files of the root.
    keys : tuple of str
        The keys of entities that ``index.tsv`` has a column for.
    """

    def __init__(self, top: list[str], keys: tuple[str, ...]) -> None:
        self._keys, self._inherited = keys, Inheritance()
        self.top = _Layout(top, "", keys, self._inherited)
        self._known: dict[str, _Layout] = {}
        self._n_files = 0

    def of(self, subject: str, listing: str) -> _Layout:
        """Return the layout of a subject with this listing."""
        layout = self._known.get(listing)
        if layout is None:
            paths = listing.replace(_SUBJECT, subject).split("\n")
            layout = _Layout(paths, subject, self._keys, Inheritance(self._inherited))
            self._n_files += len(paths)
            if self._n_files > _MOST_FILES:
                self._known.clear()
                self._n_files = len(paths)
            self._known[listing] = layout
        return layout


class _Recording(NamedTuple):
    """What names say of one recording; files are numbers in the layout, texts have marks for the subject."""

    cells: str  # of recordings.tsv, up to the sidecars
    problems: list[tuple[str, str, str]]
    main: list[int]
    data: list[int]  # with companions
    sidecars: list[int]
    others: list[int]  # all but sidecars
    used: list[int]


class _Layout:
    """What names say of the files of the root or of a subject, whatever the subject is called.

    Files have numbers: first those of the part, in their order, then those of the root that apply to them. Texts
    have ``_SUBJECT`` and ``_LABEL`` in place of the subject's.

    Parameters
    ----------
    paths : list of str
        The files of the part.
    subject : str
        The folder of the subject, empty for the root.
    keys : tuple of str
        The keys of entities that ``index.tsv`` has a column for.
    inheritance : Inheritance
        What lies above; takes the files of the part.
    """

    def __init__(self, paths: list[str], subject: str, keys: tuple[str, ...], inheritance: Inheritance) -> None:
        self._subject = subject
        self._numbers = {path: number for number, path in enumerate(paths)}
        for path in paths:
            inheritance.offer(path)
        self.problems: list[tuple[str, str, str]] = []
        self.recordings = list(self._recordings(inheritance)) if subject else []
        #: Cells of each file in ``index.tsv`` up to the datatype, then those of each recording.
        self.cells = "\n".join([self._cells(path, keys) for path in paths] + [row.cells for row in self.recordings])
        self.above = list(self._numbers)[len(paths) :]
        self._numbers.clear()

    def _general(self, text: str) -> str:
        return text.replace(self._subject, _SUBJECT) if self._subject else text

    def _problem(self, path: str, fault: str, remedy: str) -> tuple[str, str, str]:
        return self._general(path), self._general(fault), remedy

    def _cells(self, path: str, keys: tuple[str, ...]) -> str:
        """Return the cells of a file in ``index.tsv`` between its path and what its sidecars say."""
        entities, suffix, extension = parts_of(path)
        labels = list(_labels(entities[1:], keys))
        if entities:
            key, _, label = entities[0].partition("-")
            labels[keys.index(key)] = _LABEL if entities[0] == self._subject else label
        return _line([*labels, suffix, extension, datatype_of(path)])

    def _recordings(self, inheritance: Inheritance) -> Iterator[_Recording]:
        """Yield the recordings, in the order of the files."""
        groups: dict[tuple[str, str, str], dict[str, list[str]]] = {}
        strange: dict[str, list[str]] = {}
        datatypes: dict[str, str | None] = {}
        for path in self._numbers:
            folder, _, name = path.rpartition("/")
            entities, suffix, extension = parts_of(path)
            if folder not in datatypes:
                datatypes[folder] = datatype_of(path)
            if not entities:
                strange.setdefault(folder, []).append(name)
            elif _is_recording(datatypes[folder], entities, suffix, extension):
                stem = "_".join(entity for entity in entities if not entity.startswith("split-"))
                groups.setdefault((folder, stem, suffix), {}).setdefault(extension, []).append(path)
            elif extension in _HEADER_OF and path.removesuffix(extension) + _HEADER_OF[extension] not in self._numbers:
                fault = f"no {_HEADER_OF[extension]} file beside it"
                self.problems.append(self._problem(path, fault, "add it, or remove this file"))
        for folder, names in strange.items():
            self.problems.append(self._problem(folder, *_not_bids(names)))
        for (_, stem, suffix), formats in groups.items():
            first, *others = formats
            fault = f"the same recording is also stored as {first}"
            problems = [self._problem(formats[other][0], fault, "keep one of them") for other in others]
            yield self._recording(stem, suffix, first, formats[first], problems, inheritance)

    def _recording(
        self,
        stem: str,
        suffix: str,
        extension: str,
        paths: list[str],
        problems: list[tuple[str, str, str]],
        inheritance: Inheritance,
    ) -> _Recording:
        """Return one recording, whose main files are ``paths``; ``problems`` of its name are added."""
        folder = paths[0].rpartition("/")[0]
        datatype = datatype_of(paths[0])
        pieces = parts_of(paths[0])[0]
        entities = frozenset(pieces)
        labels = dict([entity.split("-") for entity in pieces])
        levels = [f"{key}-{labels[key]}" for key in ("sub", "ses") if key in labels]
        if folder != "/".join([*levels, datatype]):
            fault = "its name and its folder disagree on subject or session"
            problems.append(self._problem(paths[0], fault, "rename or move it"))
        data = list(paths)
        companions, required = _COMPANIONS.get(extension, ((), False))
        for path, companion in itertools.product(paths, companions):
            other = path.removesuffix(extension) + companion
            if other in self._numbers:
                data.append(other)
            elif required:
                fault = f"no {companion} file beside it"
                problems.append(self._problem(path, fault, "add it, or export the recording again"))
        if datatype == "dwi":
            for kind in (".bval", ".bvec"):
                data += inheritance.applicable(folder, entities, suffix, kind)[-1:]
        tables = inheritance.tables(folder, entities, datatype)
        sidecars = inheritance.applicable(folder, entities, suffix, ".json")
        used = list(dict.fromkeys([*data, *sidecars, *filter(None, tables.values())]))
        row = {
            "recording": stem,
            "path": paths[0],
            "datatype": datatype,
            "suffix": suffix,
            "extension": extension,
            "subject": _LABEL,
            "session": labels.get("ses"),
            "task": labels.get("task"),
            "acquisition": labels.get("acq"),
            "run": labels.get("run"),
            **tables,
            "sidecars": f"[{', '.join(map(_as_json, sidecars))}]",
        }
        return _Recording(
            self._general(_line([row[column] for column in RECORDING_COLUMNS[: len(row)]])),
            problems,
            *(
                [self._numbers.setdefault(path, len(self._numbers)) for path in some]
                for some in (paths, data, sidecars, [path for path in used if path not in sidecars], used)
            ),
        )


class _Part:
    """The files of the dataset's root, or of one subject, and what applies to them.

    Parameters
    ----------
    root : str
        The dataset's real path.
    subject : str
        The folder of the subject, empty for the root.
    pairs : list of (File, str)
        Files and their fingerprints.
    layout : _Layout
        What the names of these files say.
    problems : dict
        Of the dataset: file to fault to remedy; what is found here is added.
    texts : dict
        Contents of JSON files that have been read already, by path.
    above : _Part | None
        The root's part, if this one is a subject's.
    """

    def __init__(
        self,
        root: str,
        subject: str,
        pairs: list[tuple[File, str]],
        layout: _Layout,
        problems: dict[str, dict[str, str]],
        texts: dict[str, bytes],
        above: _Part | None = None,
    ) -> None:
        self.root, self.subject, self.problems, self.texts, self.above = root, subject, problems, texts, above
        self._layout, self._pairs = layout, pairs
        used = [*pairs, *[above.known[path] for path in layout.above]] if above else pairs
        self._files = [file for file, _ in used]
        #: Path and fingerprint of each file, which digests are made of.
        self._contents = [f"{file.path}\t{content}" for file, content in used]
        self._facts: list[str] = [_NO_FACTS] * len(pairs)  # of the merged sidecars of recordings
        self._sidecars: dict[str, dict[str, Any]] = {}
        filled = layout.cells.replace(_SUBJECT, subject).replace(_LABEL, subject.removeprefix("sub-")).split("\n")
        self._cells, self._recording_cells = filled[: len(pairs)], filled[len(pairs) :]
        for file, _ in pairs:
            if file.fault:
                fault, remedy = FAULTS[file.fault]
                self.problem(file.path, fault, remedy.format(path=shlex.quote(file.path)))
        self._name_problems(layout.problems)

    @functools.cached_property
    def known(self) -> dict[str, tuple[File, str]]:
        """Files and their fingerprints, by path."""
        return {file.path: (file, content) for file, content in self._pairs}

    def problem(self, path: str, fault: str, remedy: str) -> None:
        """Note a problem of a file."""
        self.problems.setdefault(path, {})[fault] = remedy

    def _name_problems(self, problems: list[tuple[str, str, str]]) -> None:
        for path, fault, remedy in problems:
            self.problem(path.replace(_SUBJECT, self.subject), fault.replace(_SUBJECT, self.subject), remedy)

    def sidecar(self, file: File) -> dict[str, Any]:
        """Read a sidecar, once; an unreadable one is noted and empty."""
        path = file.path
        if self.above and "/" not in path:
            return self.above.sidecar(file)
        if path not in self._sidecars:
            self._sidecars[path] = {}
            if not file.fault:
                try:
                    self._sidecars[path] = read_object(self.root, path, self.texts.pop(path, None))
                except ValueError as error:
                    self.problem(path, str(error), "repair or remove the file")
        return self._sidecars[path]

    def recordings(self) -> list[str]:
        """Return the lines of ``recordings.tsv``, in the order of the files."""
        layout = self._layout.recordings
        return [self._recording(*pair) for pair in zip(layout, self._recording_cells, strict=True)] if layout else []

    def _recording(self, recording: _Recording, cells: str) -> str:
        """Return the line of one recording, which begins with ``cells``."""
        files = self._files
        self._name_problems(recording.problems)
        metadata: dict[str, Any] = {}
        for number in recording.sidecars:
            metadata |= self.sidecar(files[number])  # a field that is null here is as absent
        facts = [_one_line(metadata.get(fact)) or "n/a" for fact in FACTS]
        for number in recording.main:
            self._facts[number] = "\t".join(facts)
        for number in recording.others:
            if files[number].size == 0 and not files[number].fault:
                self.problem(files[number].path, "empty", "restore it from its source")
        faulty = [files[number].path for number in recording.used if files[number].path in self.problems]
        reason = str(InputError(faulty[0], *next(iter(self.problems[faulty[0]].items())))) if faulty else "n/a"
        size = sum([files[number].size for number in recording.data])
        digest = _digest_of([self._contents[number] for number in recording.used])
        return f"{cells}\t{facts[_SAMPLING]}\t{facts[_REPETITION]}\t{size}\t{digest}\t{reason}\n"

    def index(self, young: int) -> list[str]:
        """Return the lines of ``index.tsv``; times from ``young`` (ns) on are left out."""
        return [
            f"{path}\t{cells}\t{facts}\t{size}\t{'n/a' if time >= young else time}\t{content}\n"
            for ((path, size, time, _, _), content), cells, facts in zip(
                self._pairs, self._cells, self._facts, strict=True
            )
        ]

    def digest(self) -> str:
        """Return the digest of the files of this part."""
        return _digest_of(self._contents[: len(self._pairs)])


def _is_lost_folder(file: File, problems: dict[str, dict[str, str]]) -> bool:
    """Say whether this is a folder that could not be walked rather than a file, and note its fault."""
    lost = file.fault in ("closed", "loop") and not parts_of(file.path)[0]
    if lost:
        problems[file.path] = dict([FAULTS[file.fault]])
    return lost


def _is_recording(datatype: str | None, entities: list[str], suffix: str, extension: str) -> bool:
    """Say whether a file is the main file of a recording, rather than a companion, a sidecar or a table."""
    if suffix in _TABLES and extension == ".tsv":
        return datatype is not None and _COMPANION_TABLES.isdisjoint(entities)
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
        top.sidecar(top.known["dataset_description.json"][0])
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


@functools.lru_cache(maxsize=4096)  # most names are alike behind the subject
def _labels(entities: tuple[str, ...], keys: tuple[str, ...]) -> tuple[str | None, ...]:
    """Return the labels of entities, in the order of ``keys``."""
    labels = dict(entity.split("-") for entity in entities)
    return tuple(labels.get(key) for key in keys)


def _digest_of(contents: list[str]) -> str:
    """Return the digest of files, given the path and fingerprint of each."""
    return hashlib.blake2b("\n".join(contents).encode(), digest_size=16).hexdigest()


def _one_line(value: Any) -> str | None:
    """Return what a sidecar holds, which may be anything, as the text of one cell."""
    if value is None or isinstance(value, str):
        return value and " ".join(value.split())
    if type(value) is int or (type(value) is float and math.isfinite(value)):
        return repr(value)  # as JSON has it, and faster
    return json.dumps(value)


def _line(cells: Iterable[str | None]) -> str:
    """Return cells as part of a line; what is missing or empty is ``n/a``."""
    return "\t".join([cell or "n/a" for cell in cells])


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
