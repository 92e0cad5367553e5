"""The one walk over a raw dataset: its files, what must not be opened, and what stands for their content."""

# ruff: noqa: PTH110, PTH112, PTH115, PTH116, PTH118, PTH120 - a Path for each file would double the time of the walk
from __future__ import annotations

import contextlib
import fnmatch
import hashlib
import os
import re
import stat
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from operator import itemgetter
from pathlib import Path
from typing import NamedTuple

from .bids import split_name
from .errors import InputError
from .files import digest_file, digest_of

_SUBJECT_FOLDER = re.compile(r"sub-[A-Za-z0-9+]+")
# Tables of derivatives that the specification does not name yet: derivative datasets hide them from the validator,
# and with them what says about all of them at once.
_TABLE = re.compile(r"(?:sub-[^/]*_(?:timeseries|relmat|morph)\.tsv|(?:[^/]*_)?(?:timeseries|relmat|morph)\.json)")
_ANNEX = re.compile(r"(?:^|/)\.git/annex/objects/.*?([^/]+)$")
_ANNEX_SIZE = re.compile(r"-s(\d+)(?:-|$)")

_SMALL = 1 << 16  # bytes; below, handing a file to a thread costs more than hashing it
_BATCH = 512
_TO_READ = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC
_DIGEST = re.compile(r"[0-9a-f]{32}")


class File(NamedTuple):
    """A file, or a recording that is a folder.

    ``path`` is relative to the root (POSIX; unprintable characters are written as escapes), ``size`` in bytes
    and ``mtime_ns`` are the sum and the latest over a folder's files, ``key`` is the git-annex key or empty,
    ``fault`` is empty or a key of ``files.FAULTS``: such a file must not be opened.
    """

    path: str
    size: int
    mtime_ns: int
    key: str = ""
    fault: str = ""


def scan(root: str | os.PathLike) -> list[File]:
    """Walk a raw dataset once; return its files, those of the root first, sorted by path.

    Only files of the root itself and ``sub-*`` folders belong to the raw dataset: ``derivatives/``,
    ``sourcedata/``, ``code/``, ``stimuli/``, ``phenotype/`` and whatever else lies beside them do not. Hidden
    files (AppleDouble's ``._*`` too) and what ``.bidsignore`` names are left out, but for the tables that stand for
    images in a derivative dataset (time series, connectivity, morphometry) and folders ``ephys``. A folder with a
    BIDS file name (``.ds``, ``.mefd``, ``.zarr``, 4D/BTi) is one row. Links to folders are not followed, and links
    that leave the root are not opened; both come back with their fault, as do folders that cannot be read.

    Raises
    ------
    InputError
        If ``root`` is not a readable folder.
    """
    root = os.path.realpath(root)
    ignored = read_ignore(root)
    found: list[File] = []
    folders = [""]
    while folders:
        folder = folders.pop()
        try:
            with os.scandir(f"{root}/{folder}") as entries:
                _visit(entries, root, folder, ignored, found, folders)
        except OSError as error:
            if not folder:
                raise InputError(root, f"no readable folder ({error.strerror})", "check the path") from None
            found.append(File(_printable(folder), 0, 0, fault="closed"))
    # By path, then those of the root first: two sorts, each by what costs no tuple a file.
    found.sort(key=itemgetter(0))
    found.sort(key=lambda file: "/" in file.path)
    return found


def in_order(file: File) -> tuple[bool, str]:
    """Return the key by which files are sorted."""
    return "/" in file.path, file.path


def _visit(
    entries: Iterable[os.DirEntry],
    root: str,
    folder: str,
    ignored: Callable | None,
    found: list[File],
    folders: list[str],
) -> None:
    """Put each entry of ``folder`` on the list of rows, on the list of folders to walk, or on none."""
    for entry in entries:
        name = entry.name
        if name[0] == ".":
            continue
        path = f"{folder}/{name}" if folder else name
        is_folder = entry.is_dir(follow_symlinks=False)
        if not folder and is_folder and not _SUBJECT_FOLDER.fullmatch(name):
            continue
        # Folders of a datatype that the validator does not know yet are named there so that it passes them over.
        wanted = name == "ephys" if is_folder else is_table(name)
        if ignored is not None and ignored(path, is_folder) and not wanted:
            continue
        if not is_folder:
            if folder or not entry.is_dir() or _SUBJECT_FOLDER.fullmatch(name):
                found.append(_inspect(entry, root, path))
        elif name.startswith("sub-") and split_name(name) is not None:
            found.append(_inspect_folder(root, path))
        else:
            folders.append(path)


def _inspect(entry: os.DirEntry, root: str, path: str) -> File:
    """Return the row of a file or link."""
    if not path.isprintable():
        return File(_printable(path), 0, 0, fault="name")
    try:
        status = entry.stat(follow_symlinks=False)
        if stat.S_ISREG(status.st_mode):
            return File(path, status.st_size, status.st_mtime_ns)
        if not stat.S_ISLNK(status.st_mode):
            return File(path, 0, 0, fault="special")
        target = os.path.normpath(os.path.join(os.path.dirname(entry.path), os.readlink(entry.path)))
        annexed = _ANNEX.search(target)
        if not _inside(target, root):
            return File(path, 0, 0, fault="leaves")
        if annexed:
            # `.git` of a subdataset may itself be a link to the parent's: the target is judged as written.
            key, mtime_ns = annexed[1], status.st_mtime_ns
            if os.path.exists(entry.path):
                # What passes for an object may itself be a link that leads elsewhere.
                below = target.partition("/.git/annex/objects/")[2]
                if not os.path.realpath(entry.path).endswith(f"/annex/objects/{below}"):
                    return File(path, 0, 0, fault="leaves")
                status = entry.stat()
                if not stat.S_ISREG(status.st_mode):
                    return File(path, 0, 0, fault="special")
                return File(path, status.st_size, mtime_ns, key)
            size = _ANNEX_SIZE.search(key)
            return File(path, int(size[1]) if size else 0, mtime_ns, key, "annex")
        if not _inside(os.path.realpath(entry.path), root):
            return File(path, 0, 0, fault="leaves")
        status = entry.stat()
    except OSError as error:
        return File(path, 0, 0, fault="unreadable" if isinstance(error, PermissionError) else "broken")
    if stat.S_ISREG(status.st_mode):
        return File(path, status.st_size, status.st_mtime_ns)
    return File(path, 0, 0, fault="loop" if stat.S_ISDIR(status.st_mode) else "special")


def _inspect_folder(root: str, path: str) -> File:
    """Return the row of a recording that is a folder; its first fault is the folder's."""
    if not path.isprintable():
        return File(_printable(path), 0, 0, fault="name")
    size, mtime_ns, fault = 0, os.stat(os.path.join(root, path), follow_symlinks=False).st_mtime_ns, ""
    for part in files_below(root, path):
        size, mtime_ns, fault = size + part.size, max(mtime_ns, part.mtime_ns), fault or part.fault
    return File(path, size, mtime_ns, fault=fault)


def files_below(root: str, path: str) -> Iterator[File]:
    """Yield everything in a recording that is a folder, folders included (size 0), in any order."""
    folders = [path]
    while folders:
        folder = folders.pop()
        try:
            with os.scandir(os.path.join(root, folder)) as entries:
                for entry in entries:
                    below = f"{folder}/{entry.name}"
                    if entry.is_dir(follow_symlinks=False):
                        folders.append(below)
                        yield File(below, 0, entry.stat(follow_symlinks=False).st_mtime_ns)
                    else:
                        yield _inspect(entry, root, below)
        except OSError:
            yield File(folder, 0, 0, fault="closed")


def _inside(path: str, root: str) -> bool:
    return path.startswith(root.rstrip("/") + "/")


def _printable(path: str) -> str:
    """Return ``path`` with tabs, line breaks and undecodable bytes written as escapes."""
    return path if path.isprintable() else path.encode("unicode_escape").decode("ascii")


def is_table(name: str) -> bool:
    """Return whether a file is a table that stands for images in a derivative dataset, or a sidecar of such tables."""
    return _TABLE.fullmatch(name) is not None


def read_ignore(root: str | os.PathLike) -> Callable[[str, bool], bool] | None:
    """Return ``ignored(path, is_folder)`` after the root's ``.bidsignore``, or None if there is none.

    Patterns are those of gitignore: ``#`` comments, ``!`` takes back, a trailing ``/`` means folders only, a
    pattern with another ``/`` is anchored at the root, ``**`` spans folders, the last match decides.
    """
    path = Path(root, ".bidsignore")
    if not path.is_file():
        return None
    rules = []
    for line in path.read_text(encoding="utf-8-sig", errors="replace").splitlines():
        pattern = line.strip()
        if not pattern or pattern.startswith("#"):
            continue
        back = pattern.startswith("!")
        pattern = pattern[1:] if back or pattern.startswith("\\") else pattern
        segments = pattern.strip("/").split("/")
        if len(segments) == 1 and not pattern.startswith("/"):
            segments.insert(0, "**")
        # The expressions of fnmatch do not backtrack without end: no pattern costs much more than another.
        matchers = [None if segment == "**" else re.compile(fnmatch.translate(segment)).match for segment in segments]
        rules.append((back, pattern.endswith("/"), matchers))

    def ignored(path: str, is_folder: bool) -> bool:
        parts = path.split("/")
        for back, only_folders, segments in reversed(rules):
            if (is_folder or not only_folders) and _matches(segments, parts):
                return not back
        return False

    return ignored


def _matches(segments: list[Callable | None], parts: list[str]) -> bool:
    """Say whether the segments of a pattern, None for ``**``, match all parts of a path."""
    if len(segments) == 2 and segments[0] is None and segments[1] is not None:
        return bool(segments[1](parts[-1]))  # the usual pattern, of a bare name
    covered = {0}  # how many parts the segments so far may stand for
    for segment in segments:
        if segment is not None:
            covered = {n + 1 for n in covered if n < len(parts) and segment(parts[n])}
        elif covered:
            covered = set(range(min(covered) + (segment is segments[-1]), len(parts) + 1))
    return len(parts) in covered


def fingerprints(
    root: str, files: list[File], mode: str, previous: Path, texts: dict[str, bytes], nameless: set[str]
) -> Iterator[tuple[File, str]]:
    """Yield each file with what stands for its content; unreadable ones with their fault.

    Parameters
    ----------
    root : str
        The dataset's real path.
    files : list of File
        What :func:`scan` returned.
    mode : str
        ``content`` for the digest, ``stat`` for size and time. Annexed files have their key either way; files
        that must not be opened and those of ``nameless`` have ``n/a``.
    previous : Path
        An earlier ``index.tsv``: what has the size and time that it tells is not read again.
    texts : dict
        Takes the content of small JSON files that are read, by path, for a while: whoever needs it takes it out.
    nameless : set of str
        The files below a subject whose name is not BIDS.
    """
    earlier = _previous(previous) if mode == "content" else iter(())
    old = next(earlier, None)
    with ThreadPoolExecutor() as pool:
        # Large files are read by several threads; no more files are ahead of the reader than a batch.
        for start in range(0, len(files), _BATCH):
            batch: list[tuple[File, str | Future]] = []
            texts.clear()  # of files that nothing refers to
            for file in files[start : start + _BATCH]:
                content: str | Future | None = "n/a"
                while old is not None and old[0] != file and in_order(old[0]) < in_order(file):
                    old = next(earlier, None)
                if file.key:
                    content = file.key
                elif old is not None and old[0] == file:
                    content = old[1]
                elif file.fault or file.path in nameless:
                    pass
                elif mode == "stat":
                    content = f"{file.size}-{file.mtime_ns}"
                elif file.size >= _SMALL:
                    content = pool.submit(_digest, root, file)
                else:
                    content = _digest(root, file, texts)
                batch.append((file, content))
            for file, content in batch:
                known = content.result() if isinstance(content, Future) else content
                yield (file, known) if known is not None else (file._replace(fault="unreadable"), "n/a")


def _previous(path: Path) -> Iterator[tuple[File, str]]:
    """Yield the files of an earlier index whose fingerprint is a digest; nothing if it cannot be used."""
    with contextlib.suppress(OSError, ValueError), path.open(encoding="utf-8") as table:
        # By place, since an entity that BIDS does not know may be named like one of these columns.
        if next(table, "").rstrip("\n").split("\t")[-3:] != ["size", "mtime_ns", "content"]:
            return
        for line in table:
            name, *_, size, mtime_ns, content = line.rstrip("\n").split("\t")
            if _DIGEST.fullmatch(content) and mtime_ns != "n/a":
                yield File(name, int(size), int(mtime_ns)), content


def read_small(path: str) -> bytes:
    """Return the content of a file that is probably small, with as few calls of the system as can be."""
    handle = os.open(path, _TO_READ)
    try:
        content = part = os.read(handle, _SMALL)
        while len(part) == _SMALL:
            part = os.read(handle, _SMALL)
            content += part
    finally:
        os.close(handle)
    return content


def _digest(root: str, file: File, texts: dict[str, bytes] | None = None) -> str | None:
    """Return the digest of a file's content, or of all that a folder holds; None if it cannot be read.

    A small JSON file's content is left in ``texts``.
    """
    path = f"{root}/{file.path}"
    try:
        if file.size < _SMALL:
            content = read_small(path)
            if len(content) == file.size:  # else it changes just now
                if texts is not None and path.endswith(".json"):
                    texts[file.path] = content
                return hashlib.blake2b(content, digest_size=16).hexdigest()
    except IsADirectoryError:
        pass
    except OSError:
        return None
    try:
        if os.path.isdir(path):
            parts = sorted(part for part in files_below(root, file.path))
            return digest_of([[part.path, part.key or _digest(root, part)] for part in parts])
        return digest_file(path)
    except OSError:
        return None
