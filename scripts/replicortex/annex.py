"""Datasets in git repositories with git-annex, as DataLad and OpenNeuro publish them: some files of one version.

What git and git-annex do is asked of them by argument lists. A repository comes from strangers: none of its hooks,
submodules or special remotes runs or is fetched unless it is of a kind named here. Standard library only.
"""

from __future__ import annotations

import contextlib
import fcntl
import itertools
import json
import os
import re
import shutil
import subprocess
import tempfile
import threading
import time
import urllib.parse
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from .download import Progress, check_space, check_url, shown
from .errors import InputError, did_you_mean
from .files import write_text

SCHEMES = ("https", "http", "ssh", "file")
DELAYS = (2.0, 10.0)  # s before each further attempt
N_TRANSFERS = 4
STALLED = 120.0  # s without a sign of life after which transfers are broken off, and gone on with
_SIGN_OF_LIFE = 1_000_000  # bytes that were read meanwhile, as where a checksum is computed
_UNFILTERED = tuple(part for key in ("process", "smudge", "clean") for part in ("-c", f"filter.annex.{key}="))
_MANY = 200  # files on one command line
_COMMIT = re.compile(r"[0-9a-f]{40}")
_VERSION = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+/-]*")
_KEY = re.compile(r"(?:^|/)\.git/annex/objects/.*?([^/]+)$")
_POINTER = b"/annex/objects/"
_LONGEST_POINTER = 1024
_KEY_SIZE = re.compile(r"-s(\d+)(?:-|$)")
#: Backends whose keys hold no digest: what comes can not be verified.
_UNVERIFIED = ("URL-", "WORM-")
_OFFLINE = "fetch on a machine with network, or set `root:` in the card to a copy of the dataset"
#: What is said where further attempts would not help.
_FOR_GOOD = re.compile(
    r"not found|does not (?:appear|exist)|could not read (?:Username|Password)|[Aa]uthentication failed"
    r"|[Pp]ermission denied|Host key|dubious ownership|not allowed|returned error: 40[0134]|No such file"
)
_LOCATIONS = ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_OBJECT_DIRECTORY", "GIT_COMMON_DIR", "GIT_NAMESPACE",
              "GIT_ALTERNATE_OBJECT_DIRECTORIES", "GIT_EXTERNAL_DIFF", "GIT_EXEC_PATH", "GIT_TEMPLATE_DIR")  # fmt: skip
_CONFIG = {
    # Nothing that a repository brings is run.
    "core.hooksPath": "/dev/null",
    "core.fsmonitor": "false",
    "protocol.ext.allow": "never",
    "submodule.recurse": "false",
    "fetch.recurseSubmodules": "no",
    # The tree is what was published, on any machine.
    "core.autocrlf": "false",
    "core.symlinks": "true",
    "core.quotePath": "false",
    "gc.auto": "0",
    "maintenance.auto": "false",
    # What this clone holds is its own affair, and its origin is only read.
    "user.name": "replicortex",
    "user.email": "replicortex@localhost",
    "annex.private": "true",
    "annex.synccontent": "false",
    "remote.origin.annex-readonly": "true",
    "annex.verify": "true",
    "http.lowSpeedLimit": "100",
    "http.lowSpeedTime": "120",
    "annex.retry": "2",
    "annex.retry-delay": "1",
}


class Entry(NamedTuple):
    """A file of a version: POSIX path, git's mode and blob, size of the blob (bytes), git-annex key or empty."""

    path: str
    mode: str
    blob: str
    size: int
    key: str = ""

    @property
    def n_bytes(self) -> int:
        """Size of the content (bytes); 0 where the key does not tell."""
        if not self.key:
            return self.size
        found = _KEY_SIZE.search(self.key.partition("--")[0])
        return int(found[1]) if found else 0


class Clone:
    """A clone in ``folder`` of the repository at ``url``, which holds the wanted files of one version.

    Use as a context: two processes never work on one clone. Whatever is interrupted goes on when it is done again.

    Parameters
    ----------
    folder : Path
        The clone; it becomes the BIDS dataset. Made if need be.
    url : str
        Where the repository is: https, http, ssh or file.

    Raises
    ------
    InputError
        If the address is not allowed, or git or git-annex is not installed.
    """

    def __init__(self, folder: Path, url: str) -> None:
        self.folder = Path(folder)
        self.url = check_url(url, SCHEMES)
        self.dot_git = self.folder / ".git"
        for program in ("git", "git-annex"):
            if shutil.which(program) is None:
                raise InputError(program, "not found, and datasets are fetched with it", "install git and git-annex")

    def __enter__(self) -> Clone:
        self.dot_git.mkdir(parents=True, exist_ok=True)
        with contextlib.ExitStack() as stack:
            self._lock = stack.enter_context((self.dot_git / "replicortex.lock").open("w"))
            try:
                fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                print(f"{self.folder}: another process fetches this dataset; waiting for it", flush=True)
                fcntl.flock(self._lock, fcntl.LOCK_EX)
            self._prepare()
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    # ---- git

    def git(self, *arguments: str, given: bytes | None = None, check: bool = True) -> subprocess.CompletedProcess:
        """Run git in the clone; output is captured.

        Raises
        ------
        InputError
            With what git says, if it fails and ``check`` is set.
        """
        done = subprocess.run(  # noqa: S603 - a list of arguments
            self._command(arguments), input=given, capture_output=True, check=False, cwd=self.folder, env=_environment()
        )
        if check and done.returncode:
            fault = f"git {arguments[0]} failed ({_said(done.stderr)})"
            raise InputError(self.folder, fault, "run again; if that does not help, remove the folder")
        return done

    @staticmethod
    def _command(arguments: Sequence[str]) -> list[str]:
        settings = [part for key, value in _CONFIG.items() for part in ("-c", f"{key}={value}")]
        return ["git", *settings, *arguments]

    def _prepare(self) -> None:
        """Make the repository, or repair what a killed process left."""
        for lock in [*self.dot_git.glob("*.lock"), *self.dot_git.glob("refs/**/*.lock")]:
            # This process holds the clone, so no other one works on it.
            if lock.name != "replicortex.lock":
                lock.unlink(missing_ok=True)
        if not (self.dot_git / "HEAD").is_file() or self.git("rev-parse", "--git-dir", check=False).returncode:
            self.git("init", "--quiet", "--template=", "--initial-branch=fetched", ".")
        now = self.git("config", "--get", "remote.origin.url", check=False).stdout.decode().strip()
        if now != self.url:
            if now:
                self.git("remote", "remove", "origin")
            self.git("config", "remote.origin.url", self.url)
        # git-annex would make an annex of a folder on this machine that is none yet: only to be read, it is left alone.
        ignored = self.url.startswith("file:") and not self._is_annex()
        self.git("config", "remote.origin.annex-ignore", str(ignored).lower())

    def _is_annex(self) -> bool:
        """Say whether the repository, a folder on this machine, has an annex."""
        folder = Path(urllib.parse.unquote(urllib.parse.urlsplit(self.url).path))
        configs = [path for path in (folder / ".git" / "config", folder / "config") if path.is_file()]
        asked = (self.git("config", "--file", str(path), "--get", "annex.uuid", check=False) for path in configs)
        return any(not done.returncode for done in asked)

    def _talk(self, *arguments: str) -> bytes:
        """Run a git command that needs the network; try again where that may help."""
        for number in range(len(DELAYS) + 1):
            done = self.git(*arguments, check=False)
            if not done.returncode:
                return done.stdout
            said = _said(done.stderr)
            if _FOR_GOOD.search(done.stderr.decode(errors="replace")):
                fault = f"no such repository, or no access to it ({said})"
                raise InputError(shown(self.url), fault, "correct the address, or ask for access")
            if number < len(DELAYS):
                print(f"{shown(self.url)}: {said}; again in {DELAYS[number]:.0f} s", flush=True)
                time.sleep(DELAYS[number])
        raise InputError(shown(self.url), f"could not be reached ({said})", _OFFLINE)

    # ---- versions

    def fetch(self, version: str) -> str:
        """Fetch a version, without the content of annexed files; return its commit.

        A version that was fetched before needs no network.

        Parameters
        ----------
        version : str
            A tag, or a commit (40 hex digits). No branch: it may move.

        Raises
        ------
        InputError
            If there is no such version, the tag names another commit than it did, or nothing can be reached.
        """
        if not _VERSION.fullmatch(version) or ".." in version or version.endswith((".lock", "/")):
            raise InputError(f"version {version!r}", "not the name of a tag or a commit", "correct it")
        known = self._known()
        before = known.get(version, {})
        if before.get("url") == self.url and self._commit(before["commit"]):
            return before["commit"]
        print(f"{shown(self.url)}: fetching version {version}", flush=True)
        lines = self._talk("ls-remote", "--", self.url).decode(errors="replace").splitlines()
        refs = {name: commit for commit, _, name in (line.partition("\t") for line in lines)}
        tag = f"refs/tags/{version}"
        wanted = [f"+{name}:refs/remotes/origin/git-annex" for name in ("refs/heads/git-annex",) if name in refs]
        if tag in refs:
            commit = refs.get(f"{tag}^{{}}", refs[tag])
            wanted.append(f"+{tag}:{tag}")
        elif _COMMIT.fullmatch(version):
            commit = version
            wanted += ["+refs/heads/*:refs/remotes/origin/*", "+refs/tags/*:refs/tags/*"]
        else:
            tags = [name.removeprefix("refs/tags/") for name in refs if name.startswith("refs/tags/")]
            fault = f"no version {version}" + (", which is a branch" if f"refs/heads/{version}" in refs else "")
            raise InputError(shown(self.url), fault, did_you_mean(version, [t for t in tags if "^" not in t]))
        if before.get("url") == self.url and before["commit"] != commit:
            fault = f"version {version} was commit {before['commit']} and is {commit} now"
            raise InputError(shown(self.url), fault, f"remove {self.folder} if that is meant")
        self._talk(
            "fetch", "--no-tags", "--no-recurse-submodules", "--no-write-fetch-head", "--force", "origin", *wanted
        )
        if not self._commit(commit):
            raise InputError(shown(self.url), f"no commit {commit}", "correct the version")
        # What ls-remote announced is what came: the objects of git are named by their content.
        if tag in refs and self._commit(tag) != commit:
            raise InputError(shown(self.url), f"tag {version} is not commit {commit}", "run again")
        write_text(self._record, json.dumps({**known, version: {"url": self.url, "commit": commit}}, indent=2))
        return commit

    @property
    def _record(self) -> Path:
        return self.dot_git / "replicortex.json"

    def _known(self) -> dict[str, Any]:
        try:
            return json.loads(self._record.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}

    def _commit(self, name: str) -> str:
        """Return the commit that a name stands for, empty if there is none here."""
        done = self.git("rev-parse", "--verify", "--quiet", "--end-of-options", f"{name}^{{commit}}", check=False)
        return "" if done.returncode else done.stdout.decode().split()[-1]

    # ---- files

    def files(self, commit: str, wanted: Callable[[str], bool]) -> tuple[list[Entry], int]:
        """Return the wanted files of a version, sorted by path, and how many files are not wanted."""
        listing = self.git("ls-tree", "-r", "-z", "-l", "--full-tree", commit).stdout
        found, left_out = [], 0
        for line in filter(None, listing.split(b"\0")):
            facts, _, name = line.partition(b"\t")
            mode, kind, blob, size = facts.decode().split()
            path = os.fsdecode(name)
            if kind == "blob" and wanted(path):
                found.append(Entry(path, mode, blob, int(size)))
            else:
                left_out += 1
        return self._with_keys(found), left_out

    def _with_keys(self, entries: list[Entry]) -> list[Entry]:
        """Return the entries with their keys: of links into the annex, and of the pointers of unlocked files."""
        may_be = [entry for entry in entries if entry.size <= _LONGEST_POINTER]
        given = "".join(f"{entry.blob}\n" for entry in may_be).encode()
        rest = self.git("cat-file", "--batch", given=given).stdout if may_be else b""
        keys, at = {}, 0
        for entry in may_be:
            start = rest.index(b"\n", at) + 1
            content = rest[start : start + entry.size]
            at = start + entry.size + 1
            if entry.mode == "120000":
                match = _KEY.search(os.fsdecode(content))
                keys[entry.path] = match[1] if match else ""
            elif content.startswith(_POINTER):
                keys[entry.path] = os.fsdecode(content.splitlines()[0][len(_POINTER) :])
        return [entry._replace(key=keys.get(entry.path, "")) for entry in entries]

    def checkout(self, commit: str, entries: Sequence[Entry]) -> None:
        """Make the folder hold exactly these files of a version; annexed ones as links, perhaps to nothing yet."""
        keep = {entry.path for entry in entries}
        if not (self.dot_git / "annex" / "index").is_file() or not self._has_uuid():
            self.git("annex", "init", "--no-autoenable", "--quiet")
        self.git("read-tree", "--reset", commit)
        everything = self.git("ls-files", "-z").stdout.split(b"\0")
        skipped = b"\0".join(name for name in everything if name and os.fsdecode(name) not in keep)
        kept = b"\0".join(name for name in everything if name and os.fsdecode(name) in keep)
        for option, names in (("--no-skip-worktree", kept), ("--skip-worktree", skipped)):
            if names:
                self.git("update-index", "-z", option, "--stdin", given=names + b"\0")
        self._remove_others(keep)
        # git-annex's filter looks at each file in turn, and only unlocked ones need it.
        unlocked = any(entry.key and entry.mode != "120000" for entry in entries)
        plain = () if unlocked else _UNFILTERED
        self.git(*plain, "update-index", "-q", "--refresh", check=False)
        differing = self.git(*plain, "diff-files", "--name-only", "-z").stdout
        if differing:
            self.git(*plain, "checkout-index", "--force", "-z", "--stdin", given=differing)
        self.git("update-ref", "--no-deref", "HEAD", commit)

    def _has_uuid(self) -> bool:
        return not self.git("config", "--get", "annex.uuid", check=False).returncode

    def _remove_others(self, keep: set[str]) -> None:
        """Remove from the folder what is not one of these files."""
        for folder, names, files in os.walk(self.folder, topdown=False):
            inside = os.path.relpath(folder, self.folder)
            if Path(inside).parts[:1] == (".git",):
                continue
            for name in (*files, *names):
                path = Path(folder, name)
                relative = os.path.normpath(os.path.join(inside, name))  # noqa: PTH118 - relative to the clone
                if relative == ".git" or relative in keep:
                    continue
                if path.is_symlink() or not path.is_dir():
                    path.unlink()
                elif not any(path.iterdir()):
                    path.rmdir()

    def missing(self, entries: Iterable[Entry]) -> list[Entry]:
        """Return the annexed files whose content is not here, or not of the size that its key tells."""
        found = []
        for entry in entries:
            if entry.key:
                try:
                    status = (self.folder / entry.path).stat()
                except OSError:
                    found.append(entry)
                    continue
                tells = _KEY_SIZE.search(entry.key.partition("--")[0])
                if (tells and status.st_size != int(tells[1])) or self._is_pointer(entry, status.st_size):
                    found.append(entry)
        return found

    def _is_pointer(self, entry: Entry, size: int) -> bool:
        """Say whether an unlocked file still is the pointer to its content."""
        if entry.mode == "120000" or size > _LONGEST_POINTER:
            return False
        with (self.folder / entry.path).open("rb") as stream:
            return stream.read(len(_POINTER)) == _POINTER

    def enable_remotes(self) -> None:
        """Enable those special remotes of the repository that serve anyone over the web, and no others.

        A repository may name remotes of any kind, some of which run programs.
        """
        log = self.git("cat-file", "blob", "refs/heads/git-annex:remote.log", check=False).stdout
        present = self.git("remote").stdout.decode().split()
        for settings in _remotes(log.decode(errors="replace")).values():
            name, kind = settings.get("name", ""), settings.get("type", "")
            if settings.get("autoenable") not in ("true", "yes") or name in present:
                continue
            if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]*", name) or not _serves_anyone(settings):
                print(f"remote {name!r} of kind {kind!r} is not used")
                continue
            # A failure is not the end: another remote may have the content.
            done = self.git("annex", "enableremote", name, "--quiet", check=False)
            if done.returncode:
                print(f"remote {name} could not be enabled: {_said(done.stderr)}")

    def get(self, entries: Sequence[Entry], *, progress: bool = True, jobs: int = N_TRANSFERS) -> None:
        """Fetch the content of annexed files; each is verified by the checksum in its key.

        Parameters
        ----------
        entries : sequence of Entry
            The files; what is here already is passed over, and a partial file is gone on with.
        progress : bool
            Whether to show how far it is.
        jobs : int
            Transfers at once.

        Raises
        ------
        InputError
            If the disk is too small, or a file can not be had after several attempts.
        """
        missing = self.missing(entries)
        if not missing:
            return
        check_space(self.folder, sum(entry.n_bytes for entry in missing), f"{self.folder} ({len(missing)} files)")
        self._set_aside_damaged(missing)
        self.enable_remotes()
        total, n_files = sum(entry.n_bytes for entry in missing), len(missing)
        shower = Progress(self.folder.parent.name, total, n_files, enabled=progress)
        faults: dict[str, str] = {}
        for number in range(len(DELAYS) + 1):
            here = total - sum(entry.n_bytes for entry in missing), n_files - len(missing)
            faults = self._get_once(missing, shower, *here, jobs)
            missing = self.missing(missing)
            if not missing:
                shower.update(total, n_files, last=True)
                return
            check_space(self.folder, sum(entry.n_bytes for entry in missing), f"{self.folder} ({len(missing)} files)")
            if number < len(DELAYS):
                print(f"{len(missing)} of {n_files} files are missing; again in {DELAYS[number]:.0f} s", flush=True)
                time.sleep(DELAYS[number])
        first = missing[0].path
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        reason = " ".join(faults.get(first, "no reason given").split())[:300]
        raise InputError(
            f"{first}{more}",
            f"could not be fetched from {shown(self.url)} ({reason})",
            f"run again to go on; if the content is lost there, choose another version; without network, {_OFFLINE}",
        )

    def _get_once(
        self, missing: Sequence[Entry], shower: Progress, n_bytes: int, n_files: int, jobs: int
    ) -> dict[str, str]:
        """Ask git-annex once for the content of files; return its reasons by the file that failed."""
        options = ["--batch", "-z", "--json", "--json-progress", "--json-error-messages", f"--jobs={jobs}"]
        size = {entry.path: entry.n_bytes for entry in missing}
        under_way: dict[str, int] = {}
        faults: dict[str, str] = {}
        shower.update(n_bytes, n_files)
        for path, line in self._ask(["annex", "get", *options], missing):
            if "byte-progress" in line:
                under_way[path] = min(line["byte-progress"], size.get(path, 0))
            elif line.get("success"):
                under_way.pop(path, None)
                n_bytes, n_files = n_bytes + size.get(path, 0), n_files + 1
            elif "success" in line:
                under_way.pop(path, None)
                faults[path] = "; ".join([*line.get("error-messages", []), line.get("note", "")]).strip("; ")
            shower.update(n_bytes + sum(under_way.values()), n_files)
        return faults

    def _set_aside_damaged(self, missing: Sequence[Entry]) -> None:
        """Let git-annex set aside content whose size is wrong, so that it is fetched again."""
        damaged = [entry for entry in missing if entry.mode == "120000" and (self.folder / entry.path).exists()]
        for path in self._failing(damaged, "--fast"):
            print(f"{path}: not of the size that it should have; it is fetched again")

    def verify(self, entries: Sequence[Entry]) -> None:
        """Read the content of annexed files again; what its checksum refuses is set aside."""
        missing = set(self.missing(entries))
        for path in self._failing([entry for entry in entries if entry.key and entry not in missing]):
            print(f"{path}: damaged; it is fetched again")

    def _failing(self, entries: Sequence[Entry], *options: str) -> Iterator[str]:
        """Yield the paths whose content git-annex found wrong and has set aside."""
        for start in range(0, len(entries), _MANY):
            part = [entry.path for entry in entries[start : start + _MANY]]
            arguments = ["annex", "fsck", "--json", "--json-error-messages", *options, "--", *part]
            done = self.git(*arguments, check=False)
            told = dict(_results(done.stdout.splitlines()))
            if not told.keys() >= set(part):
                fault = f"git annex fsck failed ({_said(done.stderr)})"
                raise InputError(self.folder, fault, "run again; if that does not help, remove the folder")
            yield from (path for path, line in told.items() if not line.get("success"))

    def _ask(self, arguments: Sequence[str], entries: Sequence[Entry]) -> Iterator[tuple[str, Mapping[str, Any]]]:
        """Run a command of git-annex on files; yield what it says of each, while it runs."""
        with tempfile.TemporaryFile(dir=self.dot_git) as names:
            names.write(b"".join(os.fsencode(entry.path) + b"\0" for entry in entries))
            names.seek(0)
            process = subprocess.Popen(  # noqa: S603 - a list of arguments
                self._command(arguments), stdin=names, stdout=subprocess.PIPE, cwd=self.folder, env=_environment()
            )
            told, ended = itertools.count(), threading.Event()
            watch = threading.Thread(target=_end_if_stalled, args=(process, told, ended), daemon=True)
            watch.start()
            try:
                for result in _results(process.stdout):
                    next(told)
                    yield result
            finally:
                ended.set()
                watch.join()
                if process.poll() is None:
                    process.terminate()
                process.stdout.close()
                process.wait()

    def seal(self, entries: Iterable[Entry]) -> None:
        """Take the permission to write from the files of the dataset; git-annex does so with its own."""
        for entry in entries:
            path = self.folder / entry.path
            if not path.is_symlink() and path.is_file():
                path.chmod(path.stat().st_mode & 0o7555)


def unverified(entries: Iterable[Entry]) -> list[str]:
    """Return the annexed files whose keys hold no checksum."""
    return [entry.path for entry in entries if entry.key.startswith(_UNVERIFIED)]


def _end_if_stalled(process: subprocess.Popen, told: itertools.count, ended: threading.Event) -> None:
    """End a process that neither says nor reads anything for a while; git-annex itself would wait for ever."""

    def life() -> tuple[str, int]:
        try:
            text = Path(f"/proc/{process.pid}/io").read_text(encoding="ascii")
        except OSError:
            return repr(told), 0
        return repr(told), int(text.split()[1])

    before = life()
    while not ended.wait(STALLED):
        now = life()
        if now[0] == before[0] and now[1] - before[1] < _SIGN_OF_LIFE:
            print(f"no transfer moves since {STALLED:.0f} s; breaking off", flush=True)
            process.terminate()
            return
        before = now


def _results(lines: Iterable[bytes]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield the file and the object of each line of JSON that git-annex prints."""
    for line in lines:
        with contextlib.suppress(ValueError):
            value = json.loads(line)
            if isinstance(value, dict):
                yield value.get("action", value).get("file") or "", value


def _environment() -> dict[str, str]:
    """Return the environment of git: it asks nobody anything, and talks no other protocols."""
    environment = {key: value for key, value in os.environ.items() if key not in _LOCATIONS}
    fixed = {
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_LITERAL_PATHSPECS": "1",
        "GIT_ALLOW_PROTOCOL": ":".join(SCHEMES),
        "GIT_LFS_SKIP_SMUDGE": "1",
        "SSH_ASKPASS_REQUIRE": "never",
        "LC_ALL": "C.UTF-8",
    }
    defaults = {"GIT_ASKPASS": "true", "GIT_SSH_COMMAND": "ssh -oBatchMode=yes"}
    return {**defaults, **environment, **fixed}


def _said(stderr: bytes) -> str:
    """Return what git said last, as one line without addresses' secrets."""
    lines = [line.strip() for line in stderr.decode(errors="replace").splitlines() if line.strip()]
    telling = [line for line in lines if line.startswith(("fatal:", "error:", "remote:", "ERROR:", "git-annex:"))]
    text = (telling or lines or ["no reason given"])[0]
    text = re.sub(r"^(?:fatal|error|remote|ERROR|git-annex): *", "", text)
    return re.sub(r"//[^/@\s']*@", "//", "".join(c if c.isprintable() else " " for c in text))[:300]


def _remotes(log: str) -> dict[str, dict[str, str]]:
    """Return the newest settings of each special remote, from ``remote.log`` of the git-annex branch."""
    found: dict[str, dict[str, str]] = {}
    for line in log.splitlines():
        uuid, *words = line.split(" ")
        settings = dict(word.split("=", 1) for word in words if "=" in word)
        if re.fullmatch(r"[0-9a-f-]{36}", uuid) and _time(settings) >= _time(found.get(uuid, {})):
            found[uuid] = settings
    return found


def _time(settings: Mapping[str, str]) -> float:
    try:
        return float(settings.get("timestamp", "0").rstrip("s"))
    except ValueError:
        return 0.0


def _serves_anyone(settings: Mapping[str, str]) -> bool:
    """Say whether a special remote is a place on the web that is read without a password."""
    address = {
        "S3": settings.get("publicurl") or (settings.get("public") == "yes" and "https://s3.amazonaws.com/"),
        "httpalso": settings.get("url"),
        "git": settings.get("location"),
    }.get(settings.get("type", ""))
    if not address or "sameas" in settings or "embedcreds" in settings:
        return False
    try:
        check_url(address, ("https", "http"))
    except InputError:
        return False
    return True
