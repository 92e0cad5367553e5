"""Datasets published as OpenNeuro and DataLad do, and a web server whose connections fail on demand."""

from __future__ import annotations

import hashlib
import http.server
import os
import shutil
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

#: git-annex talks to no server on this machine unless told so; a test's server is.
LOCAL = {
    "GIT_CONFIG_COUNT": "1",
    "GIT_CONFIG_KEY_0": "annex.security.allowed-ip-addresses",
    "GIT_CONFIG_VALUE_0": "127.0.0.1",
}
_IDENTITY = {
    f"GIT_{who}_{what}": value
    for who in ("AUTHOR", "COMMITTER")
    for what, value in {"NAME": "a", "EMAIL": "a@b.c", "DATE": "2026-01-01T00:00:00Z"}.items()
}
S3 = "11111111-2222-4333-8444-555555555555"


def need_annex() -> None:
    """Skip where git-annex is not installed."""
    for program in ("git", "git-annex"):
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not installed")


def git(folder: Path, *arguments: str, given: str | None = None) -> str:
    """Run git in a folder; it must succeed."""
    done = subprocess.run(
        ["git", *arguments],  # noqa: S607 - the one on the path
        cwd=folder,
        input=given,
        capture_output=True,
        text=True,
        env={**os.environ, **_IDENTITY},
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, f"{arguments}: {done.stderr}"
    return done.stdout


def publish(data: Path, folder: Path, version: str = "1.0.0", pattern: str = "sub-*/ses-1/eeg/*.eeg") -> Path:
    """Make a git repository of a BIDS dataset, some files of it annexed, and tag it."""
    shutil.copytree(data, folder)
    git(folder, "init", "--quiet", "--initial-branch=main")
    git(folder, "annex", "init", "--quiet", "publisher")
    git(folder, "annex", "add", "--quiet", "--force-large", *sorted(str(p) for p in folder.glob(pattern)))
    release(folder, version)
    return folder


def release(folder: Path, version: str) -> None:
    """Commit all changes of a dataset and tag them."""
    git(folder, "-c", "annex.largefiles=nothing", "add", "--all")
    git(folder, "commit", "--quiet", "--message", version)
    git(folder, "tag", "--annotate", "--message", version, version)


def annexed(folder: Path) -> dict[str, str]:
    """Return the keys of the annexed files whose content is there."""
    listing = git(folder, "annex", "find", "--format", "${file}\\t${key}\\n")
    return dict(line.split("\t") for line in listing.splitlines())


def bare(folder: Path, out: Path) -> Path:
    """Return a copy of a repository without content and without an annex of its own, for a plain web server."""
    git(folder, "clone", "--quiet", "--bare", str(folder), str(out))
    git(out, "update-server-info")
    return out


def on_the_web(folder: Path, content: Path, address: str) -> None:
    """Register a web address for each annexed file, and put its content where the server has it."""
    content.mkdir(parents=True)
    lines = []
    for path, key in annexed(folder).items():
        name = Path(path).name
        shutil.copyfile(folder / path, content / name)
        lines.append(f"{key} {address}/{content.name}/{name}\n")
    git(folder, "annex", "registerurl", "--batch", given="".join(lines))


def on_s3(folder: Path, bucket: Path, address: str, accession: str) -> None:
    """Export a dataset to a public versioned bucket, and note that in the git-annex branch as OpenNeuro does.

    git-annex only exports with a password; what it would have noted is written here.
    """
    host, port = urlsplit(address).hostname, urlsplit(address).port
    settings = (
        f"autoenable=true bucket=openneuro.org datacenter=US encryption=none exporttree=yes fileprefix={accession}/"
        f" host={host} name=s3-PUBLIC partsize=1GiB port={port} protocol=http public=no"
        f" publicurl={address}/openneuro.org storageclass=STANDARD type=S3 versioning=yes"
    )
    uuid = git(folder, "config", "annex.uuid").strip()
    tree = git(folder, "rev-parse", "HEAD^{tree}").strip()
    notes = {
        "remote.log": f"{S3} {settings} timestamp=1528143000s\n",
        "export.log": f"1528143001s {uuid}:{S3} {tree}\n",
    }
    for path, key in annexed(folder).items():
        digest = hashlib.md5(key.encode()).hexdigest()  # noqa: S324 - how git-annex names its folders
        place = f"{digest[:3]}/{digest[3:6]}/{key}"
        notes[f"{place}.log"] = f"1528143002s 1 {S3}\n"
        notes[f"{place}.log.rmet"] = f"1528143002s {S3}:V +version1#{accession}/{path}\n"
        target = bucket / "openneuro.org" / accession / path
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(folder / path, target)
    note(folder, notes)


def note(folder: Path, notes: dict[str, str]) -> None:
    """Add files to the git-annex branch."""
    work = folder.with_name(f"{folder.name}-notes")
    git(folder, "clone", "--quiet", "--branch", "git-annex", "--single-branch", str(folder), str(work))
    for name, text in notes.items():
        (work / name).parent.mkdir(parents=True, exist_ok=True)
        (work / name).write_text(text)
    git(work, "add", "--all")
    git(work, "commit", "--quiet", "--message", "notes")
    git(folder, "fetch", "--quiet", "--force", "--update-head-ok", str(work), "git-annex:refs/heads/git-annex")
    shutil.rmtree(work)


class Web:
    """A web server of a folder on this machine.

    Attributes
    ----------
    address : str
        Where it listens.
    asked : list of (str, str)
        Paths that were asked for, and the range, in order.
    faults : dict of str to list of str
        What goes wrong, by the end of the path, one a request: ``cut`` (the connection ends in the middle), ``slow``
        (the second half comes byte by byte), ``500``, ``404``, ``wrong`` (a byte differs), ``whole`` (no range),
        or another address to redirect to.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.asked: list[tuple[str, str]] = []
        self.faults: dict[str, list[str]] = {}
        web = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def log_message(self, *_: object) -> None:
                """Stay quiet."""

            def do_GET(self) -> None:
                web.answer(self)

            do_HEAD = do_GET  # noqa: N815 - the name that the library calls

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.address = f"http://127.0.0.1:{self.server.server_port}"

    def answer(self, handler: http.server.BaseHTTPRequestHandler) -> None:
        """Answer a request, or fail as told."""
        path = unquote(urlsplit(handler.path).path)
        self.asked.append((path, handler.headers.get("Range", "")))
        todo = next((faults for end, faults in self.faults.items() if path.endswith(end) and faults), [])
        fault = todo.pop(0) if todo else ""
        file = self.folder / path.lstrip("/")
        if fault in ("404", "500") or not file.is_file():
            handler.send_error(int(fault or 404))
            return
        if ":" in fault:
            handler.send_response(302)
            handler.send_header("Location", fault)
            handler.end_headers()
            return
        content = file.read_bytes()
        tag = f'"{hashlib.md5(content).hexdigest()}"'  # noqa: S324 - names a version
        wanted = handler.headers.get("Range", "")
        same = handler.headers.get("If-Range", tag) == tag
        start = int(wanted.removeprefix("bytes=").partition("-")[0]) if wanted and same and fault != "whole" else 0
        if start >= len(content) > 0:
            handler.send_error(416)
            return
        if fault == "wrong":
            content = content[:-1] + bytes([content[-1] ^ 1])
        body = content[start:]
        handler.send_response(206 if start else 200)
        handler.send_header("ETag", tag)
        handler.send_header("Content-Length", str(len(body)))
        if start:
            handler.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        handler.end_headers()
        if handler.command == "HEAD":
            return
        try:
            half = len(body) // 2
            handler.wfile.write(body[:half])
            if fault == "slow":
                handler.wfile.flush()
                self.stopped.wait(60)
            if fault != "cut":
                handler.wfile.write(body[half:])
        except OSError:
            pass

    def asked_for(self, end: str) -> list[str]:
        """Return the ranges that were asked of the files whose path ends so."""
        return [given for path, given in self.asked if path.endswith(end)]

    @contextmanager
    def serving(self) -> Iterator[Web]:
        """Serve while the block runs."""
        self.stopped = threading.Event()
        thread = threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        try:
            yield self
        finally:
            self.stopped.set()
            self.server.shutdown()
            self.server.server_close()
            thread.join(10)
