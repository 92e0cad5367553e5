"""Published weights that methods of a run start from: which are there, and downloading those of the hub.

They go to the cache that the tools of the hub share, in its layout (``blobs``, ``snapshots``, ``refs``), so that what
one of them has downloaded is there for the others. Weights that ask for an account are downloaded by those.
"""

from __future__ import annotations

import hashlib
import http.client
import os
import re
import tempfile
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from ..cards import Cards
from ..download import check_url, download, shown
from ..errors import InputError
from ..files import write_text
from ..shared.weights import (
    HubFile,
    Weights,
    cache_folder,
    cached,
    check_digest,
    hub_file,
    locate,
    parts,
    shard_map,
)

_TIMEOUT = 60.0  # s without a byte
_COMMIT = re.compile(r"[0-9a-f]{40}")
_SHA256 = re.compile(r"[0-9a-f]{64}")


def named(cards: Cards) -> Iterator[tuple[str, Weights]]:
    """Yield the weights that methods of the runs name, with where they are named.

    Raises
    ------
    InputError
        If they are not named as :class:`Weights` are.
    """
    seen = set()
    for run in cards.runs.values():
        for name, method in run.methods.items():
            for key, value in sorted(method["params"].items()):
                if not isinstance(value, Mapping) or not {"source"} <= value.keys() <= {"source", "sha256", "licence"}:
                    continue
                where = f"config/studies/{run.study}.yaml, {name}.{key}"
                try:
                    weights = Weights(**value)
                except ValidationError as error:
                    first = error.errors()[0]
                    place = ".".join(str(part) for part in first["loc"]) or "weights"
                    raise InputError(where, f"{place}: {first['msg']}", "correct the card") from None
                if weights not in seen:
                    seen.add(weights)
                    yield where, weights


def place(weights: Weights) -> tuple[str, str, bool]:
    """Return the address of weights (none if they are the user's own), where they are kept, and if all is there."""
    file = hub_file(weights.source)
    try:
        path = locate(weights.source)
        parts(path, "weights", cache_folder() / file.folder if file else None)
        # The store names large files after their SHA-256: what a branch meant before is not what is wanted now.
        kept_as = path.resolve().name if file else ""
        there = weights.sha256 is None or not _SHA256.fullmatch(kept_as) or kept_as == weights.sha256.lower()
    except InputError:
        path, there = cached(file)[0] if file else Path(weights.source), False
    return file.address() if file else "", str(path), there


def fetch(weights: Weights, *, progress: bool = True) -> Path:
    """Download weights of the hub into its cache, all parts of them, and return the file that a source names.

    What an interrupted attempt left is gone on with; what is there is not downloaded again.

    Raises
    ------
    InputError
        If they can not be reached or are not what ``sha256`` says; they are then not in the cache either.
    """
    file = hub_file(weights.source)
    where = f"weights {weights.source}"
    if file is None:
        raise InputError(where, "no such file", "put it there: it is not on the hub")
    if os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE"):
        raise InputError(where, "HF_HUB_OFFLINE is set", "unset it, or download them on another machine")
    whole = file.file.endswith(".index.json")
    # The digest of several files is known when all of them are there.
    commit, path, blobs = _fetch_one(file, file.revision, None if whole else weights.sha256, progress)
    placed = [(file, blobs)]
    if whole:
        for name in sorted(set(shard_map(blobs, where).values())):
            _, _, blob = _fetch_one(file.beside(name), commit, None, progress)
            placed.append((file.beside(name), blob))
        root = cache_folder() / file.folder
        with tempfile.TemporaryDirectory(prefix=".check-", dir=root) as folder:
            links = [Path(folder) / Path(one.file).name for one, _ in placed]
            for link, (_, blob) in zip(links, placed, strict=True):
                link.symlink_to(blob)
            check_digest(links, weights.sha256, where)
    # The index last: whoever finds it finds all parts.
    for one, blob in reversed(placed):
        _link(one, commit, blob)
    if commit != file.revision:
        write_text(cache_folder() / file.folder / "refs" / file.revision, commit, only_if_changed=True)
    return path


def _fetch_one(file: HubFile, revision: str, sha256: str | None, progress: bool) -> tuple[str, Path, Path]:
    """Download one file; return its commit, where it will stand, and where its content is."""
    address = file.address(revision)
    told = _told(address, cached(file)[0])
    commit = told.get("X-Repo-Commit") or revision
    tag = (told.get("X-Linked-Etag") or told.get("ETag") or "").removeprefix("W/").strip('"')
    size = told.get("X-Linked-Size") or ""
    if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9._-]*", commit):
        raise InputError(shown(address), "the server names no commit", "check HF_ENDPOINT")
    if _SHA256.fullmatch(tag) and sha256 is not None and tag != sha256.lower():
        fault = f"its SHA-256 is {tag} instead of {sha256.lower()}"
        raise InputError(shown(address), fault, "correct the revision or the checksum; nothing was downloaded")
    if not re.fullmatch(r"[A-Za-z0-9_-]{8,128}", tag):
        tag = hashlib.sha256(f"{commit} {file.file}".encode()).hexdigest()[:40]
    root = cache_folder() / file.folder
    # Large files are named after their SHA-256, others after that of git, which says nothing that can be checked here.
    expected = sha256 or (tag if _SHA256.fullmatch(tag) else None)
    blob = root / "blobs" / tag
    download(
        file.address(commit), blob, sha256=expected, size=int(size) if size.isdecimal() else None, progress=progress
    )
    return commit, root / "snapshots" / commit / file.file, blob


class _Stay(urllib.request.HTTPRedirectHandler):
    """No redirection is followed: what the hub says of a file stands in its own answer, not in that of the store."""

    def redirect_request(self, *_: Any) -> None:
        """Follow nothing."""


def _told(address: str, path: Path) -> Mapping[str, str]:
    """Return the headers of an address itself; ``path`` is where its file belongs.

    Raises
    ------
    InputError
        If it can not be reached, there is no such file, or it asks for an account.
    """
    check_url(address, ("https", "http"))
    request = urllib.request.Request(address, method="HEAD", headers={"User-Agent": "replicortex"})  # noqa: S310
    try:
        with urllib.request.build_opener(_Stay()).open(request, timeout=_TIMEOUT) as answer:
            return answer.headers
    except urllib.error.HTTPError as error:
        if 300 <= error.code < 400:
            return error.headers
        fault = f"the server answers {error.code} {error.reason}"
        if error.code in (401, 403):
            raise InputError(shown(address), fault, "accept its terms and download it with `hf download`") from None
        raise InputError(shown(address), fault, "correct the name, the revision or the file") from None
    except (OSError, http.client.HTTPException) as error:
        reason = getattr(error, "reason", None) or error
        fault = f"could not be reached ({getattr(reason, 'strerror', None) or reason})"
        remedy = f"run prefetch on a machine with network, or put the file at {path}"
        raise InputError(shown(address), fault, remedy) from None


def _link(file: HubFile, commit: str, blob: Path) -> None:
    """Give a file its name in the snapshot, atomically."""
    path = cache_folder() / file.folder / "snapshots" / commit / file.file
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=".link-", dir=path.parent))
    try:
        link = temporary / path.name
        link.symlink_to(os.path.relpath(blob, path.parent))
        link.replace(path)
    finally:
        temporary.rmdir()
