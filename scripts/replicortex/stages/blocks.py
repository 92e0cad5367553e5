"""What stages that work through a block of recordings share: the loop, the store of results, the verdict."""

from __future__ import annotations

import errno
import re
import shutil
import sys
import traceback
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ..bids import block_of
from ..components import make, parameters
from ..errors import DamagedError, InputError
from ..files import digest_file, digest_of, read_json, to_json, write_text

#: The columns that identify a recording in every status table.
IDENTITY = ["recording", "subject", "session", "task", "acquisition", "run", "datatype", "suffix"]
_RECORDS = ".replicortex"
#: numpy raises a bare OSError without a number where it could write a part of an array only.
_DISK_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, None}


def parse_block(block: str) -> tuple[int, int]:
    """Return ``(0, 4)`` for ``"0of4"``.

    Raises
    ------
    InputError
        If ``block`` does not read so.

    """
    match = re.fullmatch(r"(\d+)of(\d+)", block)
    if match is None or not int(match[1]) < int(match[2]):
        raise InputError(f"block {block!r}", "is not a block", "write it like 0of4")
    return int(match[1]), int(match[2])


def name_of(row: Mapping[str, str]) -> str:
    """Return the name of a recording in a store; a T1w and a T2w image share the stem that identifies them."""
    return f"{row['recording']}_{row['suffix']}"


def with_files(kind: str, name: str, params: Mapping[str, Any], files: Mapping[str, str]) -> tuple[Any, list[Any]]:
    """Return a component some of whose parameters are the user's files, and what identifies it.

    Raises
    ------
    InputError
        If a parameter is refused or a file is not there.

    """
    for key, path in files.items():
        if not Path(path).is_file():
            raise InputError(path, f"no such file, given as {key}", "correct the path in the card")
    component = make(kind, name, {**params, **files})
    # Content instead of place: the same file elsewhere changes nothing.
    told = {**parameters(component), **{key: digest_file(Path(path)) for key, path in files.items()}}
    return component, [name, told]


class Store:
    """A folder of results, each recording's files kept under a content key.

    ``.replicortex/<subject>/<recording>.json`` records the key and the digest of each file. It is removed
    before the files change and written after them, so that a killed job leaves no record of half a result. A
    block opens the records of its own subjects only.

    Parameters
    ----------
    base : Path
        The folder; the file names in a record are relative to it.

    """

    def __init__(self, base: Path) -> None:
        self.base = base
        self.records = base / _RECORDS

    def _path(self, recording: str) -> Path:
        return self.records / recording.partition("_")[0] / f"{recording}.json"

    def _record(self, recording: str) -> dict[str, Any] | None:
        path = self._path(recording)
        try:
            return read_json(path) if path.is_file() else None
        except InputError:  # a damaged record is no record
            return None

    def find(self, recording: str, key: str) -> dict[str, Any] | None:
        """Return the record of ``recording`` if it was made under ``key`` and its files are intact."""
        record = self._record(recording)
        return record if record and record["key"] == key and self._damaged(record) is None else None

    def verify(self, recording: str, digest: str, manifest: Path) -> None:
        """Refuse files that are not those of ``digest``.

        Raises
        ------
        DamagedError
            Naming the file that is missing or has changed, or the ``manifest`` that lists others than there are.

        """
        record = self._record(recording)
        if record is None or record.get("digest") != digest:
            raise DamagedError(manifest, f"does not list the files that there are of {recording}")
        damaged = self._damaged(record)
        if damaged is not None:
            fault = "is missing or has changed since it was written"
            raise DamagedError(self.base / damaged, fault, made_with=manifest)

    def make(self, recording: str, key: str, folder: str, write: Callable[[Path], Any]) -> dict[str, Any]:
        """Let ``write`` fill a temporary folder; move its files to ``folder`` and return their record.

        Those in its subfolder ``figures`` go to the folder of that name of the subject. What ``write`` returns
        (plain JSON values) is kept in the record as ``result``.
        """
        temporary = self._path(recording).with_suffix(".part")
        shutil.rmtree(temporary, ignore_errors=True)  # of a killed job
        temporary.mkdir(parents=True)
        try:
            result = write(temporary)
            # Pictures of a subject lie together, whatever the session and datatype of the recording.
            places = {"": Path(folder), "figures": Path(Path(folder).parts[0]) / "figures"}
            made = sorted(path for path in temporary.rglob("*") if path.is_file())
            target = {
                path: places[path.relative_to(temporary).parent.as_posix().strip(".")] / path.name for path in made
            }
            files = {target[path].as_posix(): digest_file(path) for path in made}
            self.drop(recording, keep=files)
            for path in made:
                (self.base / target[path]).parent.mkdir(parents=True, exist_ok=True)
                path.replace(self.base / target[path])
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
        record = {"key": key, "files": files, "digest": digest_of(files), "result": result}
        write_text(self._path(recording), to_json(record))
        return record

    def drop(self, recording: str, keep: Iterable[str] = ()) -> None:
        """Remove the record of ``recording`` and those of its files that no other recording shares."""
        path, record = self._path(recording), self._record(recording)
        path.unlink(missing_ok=True)
        if record is None:
            return
        # Runs share files such as the coordinate system; only records of the same subject can name them.
        others = (self._record(other.stem) for other in path.parent.glob("*.json"))
        shared = {name for other in others if other for name in other["files"]}
        for name in record["files"].keys() - shared.union(keep):
            file = self.base / name
            file.unlink(missing_ok=True)
            _remove_empty(file.parent, self.base)

    def prune(self, wanted: Iterable[str], block: str) -> None:
        """Drop the recordings of the subjects of ``block`` that are not in ``wanted``."""
        k, n = parse_block(block)
        wanted = set(wanted)
        for folder in self.records.glob("sub-*"):
            if block_of(folder.name.removeprefix("sub-"), n) == k:
                for path in sorted(folder.glob("*.json")):
                    if path.stem not in wanted:
                        self.drop(path.stem)
                _remove_empty(folder, self.records)

    def _damaged(self, record: Mapping[str, Any]) -> str | None:
        for name, digest in sorted(record["files"].items()):
            path = self.base / name
            if not path.is_file() or digest_file(path) != digest:
                return name
        return None


def _remove_empty(folder: Path, base: Path) -> None:
    """Remove ``folder`` and the folders above it, up to ``base``, as long as they are empty."""
    while folder != base and folder.is_dir() and not any(folder.iterdir()):
        folder.rmdir()
        folder = folder.parent


def over_recordings(
    rows: Sequence[Mapping[str, str]],
    columns: Sequence[str],
    known: Callable[[Mapping[str, str]], dict[str, Any] | None],
    make: Callable[[Mapping[str, str]], dict[str, Any]],
    hide: Iterable[Path],
) -> list[dict[str, Any]]:
    """Work through ``rows``; one that fails is recorded and the others go on.

    Parameters
    ----------
    rows : sequence of mapping
        Recordings, with the columns of ``IDENTITY``.
    columns : sequence of str
        The columns of the status table after identity, ``status`` and ``reason``.
    known, make : callable
        Return the values of ``columns`` (and perhaps ``reason``) for a row; ``known`` looks in the store and
        may return ``None``.
    hide : iterable of Path
        Folders whose path is taken out of reasons, since tables must not depend on the machine.

    Returns
    -------
    list of dict
        A row of the status table each.

    Raises
    ------
    InputError
        If the disk is full.
    DamagedError
        If a file that an earlier stage made is damaged.

    """
    table = []
    for number, row in enumerate(rows, start=1):
        entry = {**{name: row.get(name) for name in IDENTITY}, "status": "ok", "reason": None}
        entry |= dict.fromkeys(columns)
        try:
            found = known(row)
            entry |= make(row) if found is None else found
            news = "unchanged" if found is not None else "done"
        except (MemoryError, DamagedError):
            # No fault of the recording either: with more memory, or once the file is made again, it can be done.
            raise
        except Exception as error:
            if type(error) is OSError and error.errno in _DISK_FULL:
                # No fault of the recording: recorded as one, it would be missing from all that follows.
                fault = f"its results could not be written ({error.strerror or error})"
                raise InputError(row["recording"], fault, "free disk space, then run again") from None
            if not isinstance(error, InputError):
                traceback.print_exc()
            reason = str(error) if isinstance(error, InputError) else f"{type(error).__name__}: {error}"
            for folder in hide:
                reason = reason.replace(f"{folder.resolve()}/", "").replace(f"{folder.absolute()}/", "")
            entry |= {"status": "failed", "reason": " ".join(reason.split())}
            news = f"failed: {entry['reason']}"
        print(f"[{number}/{len(rows)}] {row['recording']}: {news}", file=sys.stderr, flush=True)
        table.append(entry)
    return table
