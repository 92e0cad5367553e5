"""What stands around a run: one driver a folder, nothing left over of one that was killed, damage made good.

Snakemake's own lock is a file, which outlives a driver that is killed and does not say who holds it; its jobs outlive
the driver too, and go on writing. Here the kernel holds the lock and releases it when the driver dies; a small
guardian process then ends the jobs; and the next run clears up before it plans. Of Snakemake's scheduler the alarms are
mended. Standard library only.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import functools
import getpass
import os
import re
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from . import processes
from .damage import RAW, STATE, set_aside
from .errors import InputError
from .files import LITTER, digest_file, digest_of, read_json, to_json, write_text
from .processes import DRIVER

#: Targets that only look: they run beside a driver that works, and hold nothing up.
ONLY_LOOKING = frozenset({"status", "doctor", "recommend", "plan", "clean", "prefetch"})

_AGAIN, _MOST_PASSES = "REPLICORTEX_AGAIN", 5
_BEAT = 4.0  # s between signs of life
_SMALL = 1 << 20  # bytes: a file that is no larger is compared by content when its time has changed
#: What a file system without locks answers.
NO_LOCKS = {errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP, errno.EINVAL}
#: The SLURM executor names each job by the number of its run, perhaps after a prefix.
_SLURM_NAME = re.compile(r"(.+_)?[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_GUARDIAN = (
    "import sys; sys.path.insert(0, sys.argv.pop(1)); from replicortex.driver import guard; guard(*sys.argv[1:])"
)


def begin(workflow: Any, failure: type[Exception]) -> None:
    """Let the workflow run its jobs under the lock of its folder, once what a killed driver left is cleared up.

    Called while the rules are read. Only what runs jobs is affected: not dry runs, reports, ``--unlock``, ``--lint``
    and graphs; nor targets that only look, which then run beside another driver; nor what is given ``--nolock``.

    Parameters
    ----------
    workflow : snakemake.workflow.Workflow
        Its ``execute`` is wrapped: there it is known that jobs will run, and nothing is planned yet.
    failure : type of Exception
        What ``execute`` raises; also raised, with one line, for what the user has to know.
    """
    execute = workflow.execute

    @functools.wraps(execute)
    def guarded(executor_plugin: Any, *arguments: Any, **named: Any) -> Any:
        targets = set(workflow.dag_settings.targets)
        if targets and targets <= ONLY_LOOKING:
            workflow.execution_settings.lock = False
        if executor_plugin.common_settings.dryrun_exec or not workflow.execution_settings.lock:
            return execute(executor_plugin, *arguments, **named)
        run = Run(Path.cwd(), cluster=executor_plugin.common_settings.non_local_exec)
        try:
            aside = run.enter()
        except InputError as error:
            raise failure(str(error)) from None
        # What was half-done is always made again. A user's --ignore-incomplete still comes first.
        workflow.dag_settings.force_incomplete = True
        try:
            with one_alarm():
                result = execute(executor_plugin, *arguments, **named)
        except BaseException as error:
            run.leave(_outputs(workflow), ended_well=False)
            # A job met a damaged file and set it aside: the same command makes it again, also where what comes
            # after it is there already, so that nothing else asks for it.
            if isinstance(error, failure) and (found := run.damage()):
                _say("damaged files were set aside; running again to make them anew")
                more = [path for path in found if path in _planned(workflow)]
                if _repeat(workflow, more if targets or not more else [workflow.default_target, *more]):
                    return None
            raise
        run.leave(_outputs(workflow), ended_well=True)
        # No job needed them, or they would be there again.
        lost = [path for path in aside if path in _planned(workflow) and not Path(path).exists()]
        if lost and not _repeat(workflow, lost):
            raise failure(f"{lost[0]}: was not made again; run the same command again")
        return result

    workflow.execute = guarded


@contextlib.contextmanager
def one_alarm() -> Iterator[None]:
    """Let Snakemake's scheduler wait for one alarm of a kind at a time.

    Where submissions are limited, which they are unless told otherwise, Snakemake (9.27) has itself woken a timespan
    after every look at what is ready. Each job that ends makes it look too, and so starts one more such chain, which
    goes on for as long as anything is ready: after a hundred jobs it looks a hundred times a second, and takes a fifth
    of a core and more from them. One alarm that is set already wakes it as well as two.
    """
    job_scheduler = getattr(sys.modules.get("snakemake.scheduling.job_scheduler"), "JobScheduler", None)
    every = getattr(job_scheduler, "_schedule_reevalutation", None)
    if every is None:  # another release, with other alarms
        yield
        return
    waiting = set()

    def once(scheduler: Any, delay: float) -> None:
        alarm = (id(scheduler), delay)
        if alarm in waiting:
            return

        def ring() -> None:
            # First: whoever is woken by it may set the next one.
            waiting.discard(alarm)
            scheduler._open_jobs.release()

        waiting.add(alarm)
        timer = threading.Timer(delay, ring)
        # Nobody waits for it at the end.
        timer.daemon = True
        timer.start()

    job_scheduler._schedule_reevalutation = once
    try:
        yield
    finally:
        job_scheduler._schedule_reevalutation = every


def guard(token: str, cluster_job: str) -> None:
    """Wait for the end of the driver, which holds the other end of standard input; then end what it left.

    Jobs that a cluster started on this machine are left to the cluster.

    Parameters
    ----------
    token : str
        What the processes of the driver carry.
    cluster_job : str
        Number of the cluster's job that the driver itself runs in, or nothing.
    """
    while os.read(0, 1):
        pass
    processes.end(DRIVER, lambda told: told[DRIVER] == token and told.get("SLURM_JOB_ID", "") == cluster_job, 60.0)


class Run:
    """The right to run jobs in a folder, from :meth:`enter` to :meth:`leave`.

    Parameters
    ----------
    folder : Path
        The working directory.
    cluster : bool
        Whether jobs are handed to a cluster.
    """

    def __init__(self, folder: Path, *, cluster: bool = False) -> None:
        self.state = folder / STATE
        self.folder = folder
        self.cluster = cluster
        self._handle: int | None = None
        self._held = False
        self._guardian: subprocess.Popen | None = None
        self._known: dict[str, list[Any]] = {}
        self._stop = threading.Event()

    @property
    def _record(self) -> Path:
        return self.state / "driver.json"

    def enter(self) -> list[str]:
        """Take the lock, clear up after a run that was killed, and set aside outputs that were damaged since.

        Returns
        -------
        list of str
            The outputs that were set aside.

        Raises
        ------
        InputError
            If another driver runs in this folder, the folder can not be written, or what a killed run left does
            not end.
        """
        try:
            self.state.mkdir(parents=True, exist_ok=True)
            self._lock()
            try:
                self._clear()
                aside = self._check_outputs()
                self._announce()
            except BaseException:
                self._unlock()
                raise
        except OSError as error:
            fault = f"can not be written ({error.strerror})"
            raise InputError(error.filename or self.folder, fault, "run in a folder that can") from None
        return aside

    def leave(self, outputs: Iterable[str], *, ended_well: bool) -> None:
        """Note what was made, end what still runs, and give the lock back.

        Parameters
        ----------
        outputs : iterable of str
            The files of all jobs that were planned; those that are there are noted with size, time and digest.
        ended_well : bool
            Otherwise the next run looks for litter.
        """
        self._stop.set()
        os.environ.pop(DRIVER, None)
        with contextlib.suppress(OSError):  # a full disk: the notes are a help, not a result
            for path in outputs:
                entry = _described(Path(path), self._known.get(path))
                if entry is not None and not RAW.match(path):
                    self._known[path] = entry
            write_text(self.state / "outputs.json", to_json(self._known))
            if ended_well:
                self._record.unlink(missing_ok=True)
            else:
                write_text(self._record, to_json({"ended": True}))
        if self._guardian is not None:
            self._guardian.stdin.close()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._guardian.wait(timeout=20)
        self._unlock()

    def damage(self) -> list[str]:
        """Return the files that jobs found damaged and set aside since the last call."""
        path = self.state / "damaged.txt"
        lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
        path.unlink(missing_ok=True)
        return lines

    def _lock(self) -> None:
        self._handle = os.open(self.state / "lock", os.O_RDWR | os.O_CREAT, 0o666)
        try:
            fcntl.flock(self._handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._held = True
        except OSError as error:
            if error.errno in (errno.EAGAIN, errno.EACCES):
                self._unlock()
                raise self._occupied() from None
            if error.errno not in NO_LOCKS:
                self._unlock()
                raise
            _say(f"{self.folder}: its file system has no locks; two runs here at once are noticed less surely")

    def _unlock(self) -> None:
        if self._handle is not None:
            os.close(self._handle)  # the kernel releases the lock with it
        self._handle, self._held = None, False

    def _before(self) -> dict[str, Any] | None:
        """Return what the last driver noted of itself; None if it ended well."""
        if not self._record.is_file():
            return None
        try:
            return dict(read_json(self._record))
        except (InputError, TypeError, ValueError):
            return {}

    def _occupied(self) -> InputError:
        told = self._before() or {}
        who = f"process {told.get('pid', '?')} of {told.get('user', '?')} on {told.get('host', '?')}"
        return InputError(self.folder, f"another run works in this folder ({who})", "wait for it, or stop it")

    def _clear(self) -> None:
        """Clear up after a driver, or a job, that was killed."""
        before, running = self._before(), self.state / "running"
        killed_jobs = running.is_dir() and any(running.iterdir())
        if before is None and not killed_jobs:
            return
        if before is not None and not before.get("ended"):
            self._wait_for(before)
            if before.get("cluster"):
                _cancel_cluster_jobs(self.folder)
            ended = self._end_orphans()
            # Only the lock of a driver that is known to be dead; another workflow may have locks here, too.
            shutil.rmtree(self.folder / ".snakemake/locks", ignore_errors=True)
            left = f"; {len(ended)} of its processes still ran and were ended" if ended else ""
            _say(f"the last run in this folder was killed{left}; going on from what is complete")
        elif killed_jobs:
            self._end_orphans()
        clear_litter(self.folder / "results")
        shutil.rmtree(running, ignore_errors=True)

    def _wait_for(self, before: Mapping[str, Any]) -> None:
        """Make sure that a driver that did not say that it ended is dead, where the lock alone does not tell."""
        if before.get("boot") == processes.boot():
            if not self._held and processes.alive(int(before.get("pid", 0)), before.get("start")):
                raise self._occupied()
        elif before.get("host") not in (None, socket.gethostname()):
            # Some network file systems lock within one machine only. A driver that lives gives signs of it.
            beat, until = self._record.stat().st_mtime_ns, time.monotonic() + 3 * _BEAT
            while time.monotonic() < until:
                time.sleep(_BEAT / 4)
                if self._record.stat().st_mtime_ns != beat:
                    raise self._occupied()

    def _end_orphans(self) -> list[int]:
        def of_the_dead(told: Mapping[str, str]) -> bool:
            place, _, rest = told[DRIVER].partition(".")
            pid, _, start = rest.partition(".")
            return place == self._place() and pid.isdigit() and not processes.alive(int(pid), start)

        ended = processes.end(DRIVER, of_the_dead)
        left = list(processes.carrying(DRIVER, of_the_dead))
        if left:
            raise InputError(f"process {left[0]}", "of a run that was killed does not end", "end it, then run again")
        return ended

    def _place(self) -> str:
        status = self.folder.stat()
        return digest_of(processes.boot(), status.st_dev, status.st_ino)[:16]

    def _announce(self) -> None:
        """Note who runs here, give signs of life, and mark the jobs that are started from now on."""
        pid, job = os.getpid(), os.environ.get("SLURM_JOB_ID", "")
        token = f"{self._place()}.{pid}.{processes.started(pid)}"
        command = [sys.executable, "-I", "-S", "-c", _GUARDIAN, str(Path(__file__).parents[1]), token, job]
        environment = {name: value for name, value in os.environ.items() if name != DRIVER}
        self.damage()
        self._guardian = subprocess.Popen(  # noqa: S603
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env=environment,
            cwd="/",
            start_new_session=True,
        )
        told = {"pid": pid, "start": processes.started(pid), "boot": processes.boot(), "host": socket.gethostname()}
        write_text(self._record, to_json({**told, "user": _user(), "cluster": self.cluster, "ended": False}))
        os.environ[DRIVER] = token
        threading.Thread(target=self._give_signs, daemon=True).start()

    def _give_signs(self) -> None:
        while not self._stop.wait(_BEAT):
            with contextlib.suppress(OSError):
                os.utime(self._record)

    def _check_outputs(self) -> list[str]:
        """Set aside the outputs whose size or content is no longer what the last run noted; return them."""
        notes = self.state / "outputs.json"
        try:
            self._known = dict(read_json(notes)) if notes.is_file() else {}
        except (InputError, TypeError, ValueError):
            self._known = {}
        # Until this run ends they would not hold: a killed run leaves none, and the jobs look at what they read.
        notes.unlink(missing_ok=True)
        aside = []
        for path, noted in sorted(self._known.items()):
            fault = _changed(Path(path), noted)
            if fault is not None:
                kept = set_aside(path)
                del self._known[path]
                _say(f"{path}: {fault} since it was made; kept as {kept.name}, and made again")
                aside.append(path)
        return aside


def clear_litter(folder: Path) -> None:
    """Remove temporary files and folders of jobs that were killed; links are not followed."""
    for place, folders, files in os.walk(folder):
        # A fetched dataset has its own repository, which clears up after itself and may be large.
        folders[:] = [name for name in folders if name != ".git"]
        for name in [name for name in folders if _is_litter(name, Path(place))]:
            folders.remove(name)
            shutil.rmtree(Path(place, name), ignore_errors=True)
        for name in filter(LITTER.fullmatch, files):
            Path(place, name).unlink(missing_ok=True)


def _is_litter(name: str, place: Path) -> bool:
    # A store keeps what it is making beside its records, as <recording>.part.
    return bool(LITTER.fullmatch(name)) or (name.endswith(".part") and place.parent.name == ".replicortex")


def _described(path: Path, before: list[Any] | None) -> list[Any] | None:
    """Return size, time and digest of a file; the digest only of a small one."""
    try:
        status = path.stat()
    except OSError:
        return None
    if not path.is_file():
        return None
    told = [status.st_size, status.st_mtime_ns]
    if before is not None and before[:2] == told:
        return before
    return [*told, digest_file(path) if status.st_size <= _SMALL else None]


def _changed(path: Path, noted: list[Any]) -> str | None:
    """Return how a file differs from what was noted of it; None if it does not, or is not there."""
    try:
        status = path.stat()
    except OSError:
        return None
    size, changed, digest = noted
    if status.st_size != size:
        return f"its size has changed from {size} to {status.st_size} bytes"
    if status.st_mtime_ns != changed and digest is not None and digest_file(path) != digest:
        return "its content has changed"
    return None


def _planned(workflow: Any) -> set[str]:
    dag = workflow.dag
    return {str(path) for job in dag.jobs for path in job.output} if dag is not None else set()


def _outputs(workflow: Any) -> Iterator[str]:
    with contextlib.suppress(AttributeError):  # a plan that could not be made
        yield from sorted(_planned(workflow))


def _repeat(workflow: Any, targets: Iterable[str] = ()) -> bool:
    """Run the command of this process again, perhaps for more targets; return whether it succeeded."""
    command = Path(sys.argv[0])
    passes = int(os.environ.get(_AGAIN, "0"))
    called = command.name == "snakemake" or command.parts[-2:] == ("snakemake", "__main__.py")
    # With --directory the paths on the command line belong to another folder than this one.
    if not called or workflow.overwrite_workdir or passes >= _MOST_PASSES:
        return False
    more = ["--", *targets] if targets and "--" not in sys.argv else list(targets)
    sys.stdout.flush()
    environment = {**os.environ, _AGAIN: str(passes + 1)}
    return subprocess.run([*sys.orig_argv, *more], env=environment, check=False).returncode == 0  # noqa: S603


def _cancel_cluster_jobs(folder: Path, timeout: float = 180.0) -> None:
    """Cancel the jobs that a dead driver of this folder left on SLURM, and wait until they are gone.

    Raises
    ------
    InputError
        If SLURM does not answer, or the jobs do not end.
    """
    if shutil.which("squeue") is None or shutil.which("scancel") is None:
        return
    until = time.monotonic() + timeout
    while jobs := _cluster_jobs(folder):
        if time.monotonic() > until:
            raise InputError(f"SLURM job {jobs[0]}", "of a run that was killed does not end", "scancel it")
        _say(f"cancelling {len(jobs)} SLURM jobs that the last run left")
        _ask("scancel", *jobs)
        time.sleep(2)


def _cluster_jobs(folder: Path) -> list[str]:
    found = []
    for line in _ask("squeue", "--noheader", "--user", str(os.getuid()), "--format=%A|%j|%Z").splitlines():
        number, name, place = line.split("|", 2)
        ours = _SLURM_NAME.fullmatch(name) and Path(place).resolve() == folder.resolve()
        if ours and number != os.environ.get("SLURM_JOB_ID"):
            found.append(number)
    return found


def _ask(*command: str) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)  # noqa: S603
    except subprocess.TimeoutExpired:
        raise InputError(command[0], "does not answer", "run again when SLURM does") from None
    if done.returncode and command[0] == "squeue":
        said = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise InputError(command[0], f"failed ({said})", "run again when SLURM answers")
    return done.stdout


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a user without a name
        return str(os.getuid())


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
