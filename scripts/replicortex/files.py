"""Atomic writing, content digests and small table files: standard library only, cheap to import."""

from __future__ import annotations

import contextlib
import csv
import hashlib
import json
import os
import re
import stat
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

from .errors import InputError

#: What is wrong with an entry of a dataset that must not be opened, and the remedy.
FAULTS = {
    "annex": (
        "its content has not been fetched (git-annex)",
        "run `datalad get {path}` or `git annex get {path}` in the dataset",
    ),
    "broken": ("a link to nothing", "restore its target or remove the link"),
    "leaves": ("a link that leaves the dataset", "copy the target into the dataset"),
    "closed": ("a folder that cannot be read", "grant permission to list it"),
    "loop": ("a link to a folder", "replace it by the folder, since links may form a loop"),
    "name": ("a name with control characters or undecodable bytes", "rename it"),
    "special": ("not a regular file", "remove it"),
    "unreadable": ("not readable", "grant read permission"),
}

#: How tables say that a text value is missing.
MISSING = ("n/a", "")
_CHUNK = 1 << 20
#: Names of temporary files and folders; what bears one while no job runs is left from a job that was killed.
LITTER = re.compile(r"\..+\.part-[a-z0-9_]{8}(\..*)?")
#: What a text file may be: far more than any that is real, far less than memory.
_MOST_JSON, _MOST_TABLE, _MOST_COLUMNS = 1 << 28, 1 << 31, 100_000  # bytes, bytes, columns
#: Made once: thousands of sidecars are small.
_DECODER = json.JSONDecoder(parse_constant=lambda _: None)
_ESCAPED_HALF = re.compile(r"\\u[dD][89a-fA-F]")
# Two patterns of a first letter each are found ten times as fast as one that may begin with either.
_HUGE_POWER, _HUGE_POWER_UPPER = (re.compile(rf"{letter}\+?0*[1-9][0-9]{{2}}") for letter in "eE")
_MANY_DIGITS = re.compile(r"[0-9]{300}")
_SOME_DIGITS = re.compile(r"[0-9]{3}")  # what every hundredth character of many digits is, and of little else


@contextlib.contextmanager
def atomic(path: str | os.PathLike) -> Iterator[Path]:
    """Yield a temporary path beside ``path``; rename it to ``path`` only if the block succeeds.

    A job that is killed, or a full disk, therefore never leaves a half-written file under its final name.
    The temporary name keeps the suffix, since many writers choose their format by it.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=temporary_prefix(path), suffix="".join(path.suffixes[-2:]), dir=path.parent)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        temporary.chmod(0o666 & ~_umask())
        temporary.replace(path)
    except OSError as error:
        # A failed write does not say of which file; whoever reads the message has to know.
        error.filename = error.filename or str(path)
        raise
    finally:
        temporary.unlink(missing_ok=True)


def temporary_prefix(path: Path) -> str:
    """Return how the names of temporary files and folders beside ``path`` begin, so that a killed job's are known."""
    return f".{path.name}.part-"


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def write_text(path: str | os.PathLike, text: str, *, only_if_changed: bool = False) -> bool:
    """Write ``text`` atomically; return whether the file was written."""
    path = Path(path)
    if only_if_changed and path.is_file() and path.read_text(encoding="utf-8") == text:
        return False
    with atomic(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
    return True


def to_json(value: Any) -> str:
    """Return ``value`` as JSON with sorted keys, so that equal content gives equal bytes."""
    return json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n"


def read_json(path: str | os.PathLike) -> Any:
    """Read a JSON file, a byte-order mark allowed.

    Raises
    ------
    InputError
        If the file is missing, empty or not JSON.
    """
    try:
        with open_text(path, _MOST_JSON) as stream:
            return parse_json(stream.read())
    except ValueError as error:
        fault = error.reason if isinstance(error, UnicodeDecodeError) else error
        raise InputError(path, f"not readable as JSON ({fault})", "repair or remove the file") from None


def parse_json(text: str) -> Any:
    """Return what JSON text says; what JSON has no word for but is often written (``NaN``) is None.

    Raises
    ------
    ValueError
        If it is not JSON, is nested beyond measure, or holds what can not be written again: numbers that no float
        holds, halves of characters.
    """
    try:
        value = _DECODER.decode(text)
        if (
            _ESCAPED_HALF.search(text)
            or _HUGE_POWER.search(text)
            or _HUGE_POWER_UPPER.search(text)
            or (_SOME_DIGITS.search(text[::100]) and _MANY_DIGITS.search(text))
        ):
            json.dumps(value, ensure_ascii=False, allow_nan=False).encode()
    except RecursionError:
        raise ValueError("nested too deeply") from None
    except UnicodeEncodeError:
        raise ValueError("half a character, \\ud800 to \\udfff alone") from None
    return value


@contextlib.contextmanager
def open_text(path: str | os.PathLike, most: int) -> Iterator[IO[str]]:
    """Open a regular file of at most ``most`` bytes as UTF-8 text, a byte-order mark allowed.

    Raises
    ------
    InputError
        If it is missing, no regular file, not readable, or larger. A pipe is not waited for.
    """
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        raise InputError(path, "no such file", "check the path") from None
    except OSError as error:
        raise InputError(path, f"not readable ({error.strerror})", "repair or remove it") from None
    try:
        status = os.fstat(handle)
        if not stat.S_ISREG(status.st_mode):
            raise InputError(path, "not a regular file", "remove it")
        if status.st_size > most:
            raise InputError(path, f"has {status.st_size} bytes, more than {most}", "repair or remove the file")
        with open(handle, encoding="utf-8-sig", newline="", closefd=False) as stream:
            yield stream
    finally:
        os.close(handle)


def to_tsv(rows: Iterable[Mapping[str, Any]], columns: list[str]) -> str:
    """Return rows as tab-separated text with a header; ``None`` becomes ``n/a`` as in BIDS."""
    lines = ["\t".join(columns)]
    for row in rows:
        lines.append("\t".join(_cell(row.get(column)) for column in columns))
    return "\n".join(lines) + "\n"


def columns_to_tsv(columns: Mapping[str, Sequence[Any]]) -> str:
    """Return what :func:`to_tsv` does, of columns of one length: long tables, whose texts repeat, take less time."""
    cells = []
    for values in columns.values():
        known = {text: _cell(text) for text in {entry for entry in values if type(entry) is str}}
        cells.append([known[entry] if type(entry) is str else _cell(entry) for entry in values])
    return "\n".join(["\t".join(columns), *map("\t".join, zip(*cells, strict=True))]) + "\n"


def _cell(value: Any) -> str:
    if value is None or (isinstance(value, float) and value != value):
        return "n/a"
    if isinstance(value, float):
        return repr(float(value))
    # A tab or a line break inside a cell would shift every column after it.
    return " ".join(str(value).replace("\t", " ").splitlines()) if value != "" else "n/a"


def read_tsv(path: str | os.PathLike) -> list[dict[str, str]]:
    """Read a tab-separated table as a list of rows of strings, a byte-order mark allowed.

    Raises
    ------
    InputError
        If the file is missing, empty, no text, or a row has more cells than the header.
    """
    try:
        with open_text(path, _MOST_TABLE) as stream:
            reader = csv.DictReader(stream, delimiter="\t", quoting=csv.QUOTE_NONE, restval="n/a")
            header = reader.fieldnames or []
            if len(header) > _MOST_COLUMNS:
                raise InputError(path, f"has {len(header)} columns", f"keep at most {_MOST_COLUMNS}")
            rows = list(reader)
    except UnicodeDecodeError as error:
        raise InputError(path, f"not UTF-8 text ({error.reason})", "save the table as UTF-8") from None
    except csv.Error as error:
        raise InputError(path, f"not a table ({error})", "repair or remove the file") from None
    if not header:
        raise InputError(path, "empty table", "write a header line, or remove the file")
    for number, row in enumerate(rows, start=2):
        if None in row:
            raise InputError(path, f"line {number} has more cells than the header", "repair the line")
    return rows


def digest_file(path: str | os.PathLike) -> str:
    """Return the blake2b digest (32 hex digits) of a file's content."""
    digest = hashlib.blake2b(digest_size=16)
    with Path(path).open("rb") as stream:
        while chunk := stream.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def sha256_of(path: str | os.PathLike) -> str:
    """Return the SHA-256 (64 hex digits) of a file's content: for what other programs check too."""
    with Path(path).open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def digest_of(*values: Any) -> str:
    """Return the digest (32 hex digits) of JSON-serialisable values."""
    text = json.dumps(values, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def digest_tree(folder: str | os.PathLike, cache: str | os.PathLike) -> str:
    """Return the digest of the names and contents of all files below ``folder``.

    Contents are read once: ``cache`` (JSON, rewritten only if it changes) keeps each file's digest with its size
    and time, so that a touched file is read again and an untouched one is not.

    Raises
    ------
    InputError
        If ``folder`` is no folder.
    """
    folder, cache = Path(folder), Path(cache)
    if not folder.is_dir():
        raise InputError(folder, "no such folder", "check the path")
    known = read_json(cache) if cache.is_file() else {}
    found = {}
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        name, status = path.relative_to(folder).as_posix(), path.stat()
        before = known.get(name, [None, None, None])
        same = before[:2] == [status.st_size, status.st_mtime_ns]
        found[name] = [status.st_size, status.st_mtime_ns, before[2] if same else digest_file(path)]
    write_text(cache, to_json(found), only_if_changed=True)
    return digest_of({name: entry[2] for name, entry in found.items()})


def readable(n_bytes: float) -> str:
    """Return a number of bytes for people, in powers of 1000."""
    for unit in ("B", "kB", "MB", "GB"):
        if abs(n_bytes) < 1000:
            return f"{n_bytes:.0f} {unit}" if unit == "B" else f"{n_bytes:.1f} {unit}"
        n_bytes /= 1000
    return f"{n_bytes:.2f} TB"
