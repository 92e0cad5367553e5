"""Download files: resumed where an earlier attempt stopped, checked, and seen to progress. Standard library only."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import http.client
import json
import os
import re
import shutil
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO

from .errors import InputError
from .files import readable, sha256_of

SCHEMES = ("https", "http", "file")
#: Seconds to wait before each further attempt.
DELAYS = (1.0, 2.0, 5.0, 15.0)
_TIMEOUT = 60.0  # s without a byte
_CHUNK = 1 << 18
_SLACK = 64 << 20  # bytes that stay free on the disk
_OFFLINE = "download it on a machine with network, or correct the address"


class Progress:
    """How far a transfer of many bytes has come: a bar on a terminal, now and then a line in a log.

    Parameters
    ----------
    label : str
        What is transferred.
    total : int or None
        Bytes in all, where known.
    n_files : int
        Files in all; 1 is not shown.
    stream : file or None
        Where to show it; standard error by default.
    enabled : bool
        Whether to show anything.
    """

    EVERY = 0.2  # s between two states of the bar
    LINE_EVERY = 30.0  # s between two lines of a log

    def __init__(
        self,
        label: str,
        total: int | None,
        n_files: int = 1,
        *,
        stream: TextIO | None = None,
        enabled: bool = True,
    ) -> None:
        self.label, self.total, self.n_files = _printable(label), total, n_files
        self.stream = sys.stderr if stream is None else stream
        self.enabled = enabled
        self.bar = enabled and self.stream.isatty()
        self.started = self.shown = time.monotonic()
        self.first: int | None = None

    def update(self, done: int, files: int = 0, *, last: bool = False) -> None:
        """Show that ``done`` bytes and ``files`` files are there; what was there at the first call is not rated."""
        now = time.monotonic()
        if self.first is None:
            self.first = done
        if not self.enabled or (not last and now - self.shown < (self.EVERY if self.bar else self.LINE_EVERY)):
            return
        self.shown = now
        rate = (done - self.first) / max(now - self.started, 1e-9)
        parts = [readable(done) + (f" of {readable(self.total)}" if self.total else "")]
        if self.n_files != 1:
            parts.append(f"{files} of {self.n_files} files")
        if now > self.started and done > self.first:
            parts.append(f"{readable(rate)}/s")
        text = f"{self.label}: {', '.join(parts)}"
        if self.bar:
            share = min(done / self.total, 1.0) if self.total else 0.0
            room = shutil.get_terminal_size().columns - 1
            drawn = f"[{'#' * int(share * 20):<20}] " if self.total else ""
            self.stream.write("\r" + (drawn + text)[:room].ljust(room) + ("\n" if last else ""))
        else:
            self.stream.write(text + "\n")
        self.stream.flush()


def shown(url: str) -> str:
    """Return an address without user, password and query: fit for messages and logs."""
    try:
        parts = urllib.parse.urlsplit(url)
        return _printable(parts._replace(netloc=parts.netloc.rpartition("@")[2], query="", fragment="").geturl())
    except ValueError:
        return "(an address that can not be parsed)"


def check_url(url: str, schemes: tuple[str, ...] = SCHEMES) -> str:
    """Return ``url`` if it may be fetched.

    Raises
    ------
    InputError
        If its scheme is not one of ``schemes``, it names no host, or it could be taken for an option.
    """
    try:
        parts = urllib.parse.urlsplit(url)
        host = parts.hostname or ""
    except ValueError:
        raise InputError(shown(url), "not an address", "correct it") from None
    if parts.scheme not in schemes or "::" in url.partition("//")[0] or not url.startswith(f"{parts.scheme}://"):
        raise InputError(shown(url), "this kind of address is not allowed", f"use {', '.join(schemes)}")
    if re.search(r"[\x00-\x20\x7f]", url) or host.startswith("-") or parts.netloc.startswith("-"):
        raise InputError(shown(url), "an address with characters that have no place there", "correct it")
    if (not host) != (parts.scheme == "file") and host != "localhost":
        raise InputError(shown(url), "an address without a host", "correct it; a local folder is file:///the/folder")
    return url


def check_space(folder: Path, n_bytes: int, what: str) -> None:
    """Refuse to begin what does not fit on the disk.

    Raises
    ------
    InputError
        Saying what is needed and what is free.
    """
    folder = Path(folder)
    while not folder.exists():
        folder = folder.parent
    free = shutil.disk_usage(folder).free
    if n_bytes and n_bytes + _SLACK > free:
        raise InputError(
            what,
            f"needs {readable(n_bytes)} and {readable(free)} are free",
            "free disk space, or make the folder a link to a larger disk, then run again",
        )


def download(
    url: str, path: Path, *, sha256: str | None = None, size: int | None = None, progress: bool = True
) -> Path:
    """Download ``url`` to ``path``; what is there and right already is not downloaded again.

    The bytes go to ``<name>.partial`` beside it, which an interrupted attempt leaves for the next one, and only a
    complete and verified file gets the final name.

    Parameters
    ----------
    url : str
        ``https``, ``http`` or ``file``. A redirection may not leave https.
    path : Path
        The file to write; its folder is made.
    sha256 : str, optional
        Its SHA-256 digest (64 hex digits). Without it a file that is there is believed, and an attempt goes on only
        where the server says that the file is still the same.
    size : int, optional
        Its size (bytes).
    progress : bool
        Whether to show how far it is.

    Returns
    -------
    Path
        ``path``.

    Raises
    ------
    InputError
        If the address is not allowed or can not be reached, the server has no such file, the disk is too small, or
        what came is not what was asked for.
    """
    path = Path(path)
    check_url(url)
    if sha256 is not None and not re.fullmatch(r"[0-9a-fA-F]{64}", sha256):
        raise InputError(shown(url), f"sha256 {sha256!r} is not 64 hex digits", "correct it")
    if _is_right(path, sha256, size):
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.partial")
    with _locked(partial) as stream:
        try:
            # Another process may have finished while this one waited.
            if not _is_right(path, sha256, size):
                _attempts(url, path, stream, partial, sha256, size, progress)
        finally:
            if _same(stream, partial) and not stream.seek(0, os.SEEK_END):
                partial.unlink()
                _note_of(path).unlink(missing_ok=True)
    return path


@contextlib.contextmanager
def _locked(partial: Path) -> Iterator[Any]:
    """Open the file of an attempt for this process alone; others wait."""
    while True:
        # A link at this name is not followed.
        handle = os.open(partial, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666)
        with os.fdopen(handle, "r+b") as stream:
            fcntl.flock(stream, fcntl.LOCK_EX)
            # Whoever held it may have given it its final name meanwhile: that file is not written to.
            if _same(stream, partial):
                yield stream
                return


def _note_of(path: Path) -> Path:
    return path.with_name(f"{path.name}.partial.json")


def _attempts(
    url: str, path: Path, stream: Any, partial: Path, sha256: str | None, size: int | None, progress: bool
) -> None:
    """Try until the file is there or no further attempt makes sense; see :func:`download`."""
    note = _note_of(path)
    for number in range(len(DELAYS) + 1):
        try:
            resumed = _transfer(url, path, stream, note, sha256, size, progress)
        except (OSError, http.client.HTTPException) as error:
            if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
                error.filename = str(path)
                raise
            _refuse_for_good(error, url)
            if number == len(DELAYS):
                raise InputError(shown(url), f"could not be downloaded ({_reason(error)})", _OFFLINE) from None
            print(f"{shown(url)}: {_reason(error)}; again in {DELAYS[number]:.0f} s", file=sys.stderr)
            time.sleep(DELAYS[number])
            continue
        stream.flush()
        os.fsync(stream.fileno())
        fault = _fault(partial, sha256, size)
        if fault is None:
            partial.replace(path)
            note.unlink(missing_ok=True)
            return
        stream.truncate(0)
        note.unlink(missing_ok=True)
        # What was pieced together from two attempts deserves one from the beginning.
        if not resumed or number == len(DELAYS):
            raise InputError(shown(url), fault, "correct the address or the checksum; nothing was kept")
    raise AssertionError("the last attempt returns or raises")


def _transfer(
    url: str, path: Path, stream: Any, note: Path, sha256: str | None, size: int | None, progress: bool
) -> bool:
    """Append what is missing to ``stream``, and return whether an earlier attempt was gone on with.

    Raises ``OSError`` where the connection ends early.
    """
    have = stream.seek(0, os.SEEK_END)
    known = _read_note(note)
    validator = known.get("validator") if known.get("url") == url else None
    if (have and validator is None and sha256 is None) or (size is not None and have > size):
        stream.truncate(0)
        have = stream.seek(0)
    if have and have == size:
        return True
    headers = {"User-Agent": "replicortex", "Accept-Encoding": "identity"}
    if have:
        headers["Range"] = f"bytes={have}-"
        if validator:
            headers["If-Range"] = validator
    try:
        answer = _opener(url).open(urllib.request.Request(url, headers=headers), timeout=_TIMEOUT)  # noqa: S310 - checked
    except urllib.error.HTTPError as error:
        if error.code != http.client.REQUESTED_RANGE_NOT_SATISFIABLE:
            raise
        # All of it is there, or it is another file by now: the checksum says which.
        if sha256 is None or sha256_of(path.with_name(f"{path.name}.partial")) != sha256.lower():
            stream.truncate(0)
            raise ConnectionError("the server refused to go on; beginning again") from None
        return True
    with answer:
        begins = re.match(r"bytes (\d+)-", answer.headers.get("Content-Range") or "")
        if have and not (answer.status == http.client.PARTIAL_CONTENT and begins and int(begins[1]) == have):
            stream.truncate(0)
            have = stream.seek(0)
        resumed = have > 0
        length = answer.headers.get("Content-Length")
        total = have + int(length) if length and length.isdecimal() else size
        if size is not None and total is not None and total != size:
            raise InputError(shown(url), f"has {total} bytes instead of {size}", "correct the address or the size")
        check_space(path.parent, (total or 0) - have, str(path))
        tag = answer.headers.get("ETag") or ""
        validator = tag if tag.startswith('"') else answer.headers.get("Last-Modified")
        note.write_text(json.dumps({"url": url, "validator": validator}), encoding="utf-8")
        shower = Progress(path.name, total, enabled=progress)
        shower.update(have)
        while chunk := answer.read1(_CHUNK):
            if size is not None and have + len(chunk) > size:
                raise InputError(shown(url), f"has more than {size} bytes", "correct the address or the size")
            stream.write(chunk)
            have += len(chunk)
            shower.update(have)
        stream.flush()
        if total is not None and have < total:
            raise ConnectionError(f"the connection ended after {have} of {total} bytes")
        shower.update(have, 1, last=True)
        return resumed


class _Redirect(urllib.request.HTTPRedirectHandler):
    """Redirections among web servers only, and none from https to http."""

    def redirect_request(self, request: Any, stream: Any, code: int, message: str, headers: Any, target: str) -> Any:
        allowed = ("https",) if request.type == "https" else ("https", "http")
        check_url(target, allowed)
        return super().redirect_request(request, stream, code, message, headers, target)


def _opener(url: str) -> urllib.request.OpenerDirector:
    """Return what opens an address and nothing of another kind."""
    opener = urllib.request.OpenerDirector()
    handlers: list[Any]
    if url.startswith("file:"):
        handlers = [_LocalFile()]
    else:
        handlers = [
            urllib.request.ProxyHandler(),
            urllib.request.HTTPHandler(),
            urllib.request.HTTPSHandler(),
            urllib.request.HTTPDefaultErrorHandler(),
            urllib.request.HTTPErrorProcessor(),
            _Redirect(),
        ]
    for handler in handlers:
        opener.add_handler(handler)
    return opener


class _LocalFile(urllib.request.FileHandler):
    """Files of this machine, with the status that the caller looks at."""

    def file_open(self, request: Any) -> Any:
        answer = super().file_open(request)
        answer.code = answer.status or http.client.OK
        return answer


def _refuse_for_good(error: Exception, url: str) -> None:
    """Raise what no further attempt would change."""
    if isinstance(error, urllib.error.HTTPError):
        if error.code < 500 and error.code not in (408, 425, 429):
            fault = f"the server answers {error.code} {error.reason}"
            raise InputError(shown(url), fault, "correct the address, or ask for access") from None
    elif url.startswith("file:"):
        raise InputError(shown(url), f"could not be read ({_reason(error)})", "correct the address") from None


def _reason(error: Exception) -> str:
    """Return why, without the wrapping of the library."""
    if isinstance(error, urllib.error.HTTPError):
        return f"the server answers {error.code} {error.reason}"
    inner = getattr(error, "reason", None)
    return str(getattr(inner, "strerror", None) or inner or getattr(error, "strerror", None) or error)


def _fault(path: Path, sha256: str | None, size: int | None) -> str | None:
    """Return what is wrong with a file, None if nothing is."""
    found = path.stat().st_size
    if size is not None and found != size:
        return f"has {found} bytes instead of {size}"
    if sha256 is not None and (digest := sha256_of(path)) != sha256.lower():
        return f"its SHA-256 is {digest} instead of {sha256.lower()}"
    return None


def _is_right(path: Path, sha256: str | None, size: int | None) -> bool:
    return path.is_file() and _fault(path, sha256, size) is None


def _same(stream: Any, path: Path) -> bool:
    """Say whether ``path`` still is the file that ``stream`` writes."""
    try:
        return os.path.samestat(os.fstat(stream.fileno()), path.stat())
    except FileNotFoundError:
        return False


def _read_note(path: Path) -> dict[str, Any]:
    """Return what an earlier attempt noted; nothing if it can not be read."""
    try:
        known = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return known if isinstance(known, dict) else {}


def _printable(text: str) -> str:
    """Return text without what would move a terminal's cursor."""
    return "".join(letter if letter.isprintable() else "?" for letter in text)
