"""What ``replicortex run`` shows in a terminal: one line with a bar, and a line for each job that failed.

``--logger replicortex`` does it for a plain ``snakemake``. Everything else that Snakemake says, and what the bar leaves
out, stands in its log below ``.snakemake/log``.
"""

from __future__ import annotations

import logging
import os
import shutil
import sys
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any, TextIO

from snakemake_interface_logger_plugins.base import LogHandlerBase
from snakemake_interface_logger_plugins.common import LogEvent

_WIDTH = 24
_MOST_RULES = 3
#: Said in every run, and not worth a line above the bar.
_USUAL = (
    "Building DAG of jobs",
    "Assuming unrestricted shared filesystem",
    "Complete log",
    "Conda environments:",
    "Config file ",
    "Provided ",
    "Rules claiming more threads",
    "Singularity containers:",
    "Using shell",
    "Select jobs to execute",
    "Shutting down",
    "Exiting because a job execution failed",
)


class Tally:
    """Jobs that are planned, running and done, by rule, and how long what is left will take.

    Parameters
    ----------
    planned : mapping of str to int
        Number of jobs of each rule.
    """

    def __init__(self, planned: dict[str, int]) -> None:
        self.planned = Counter(planned)
        self.running: dict[int, tuple[str, float]] = {}
        self.done: Counter = Counter()
        self.failed = 0
        self._seconds: Counter = Counter()
        self._begun: float | None = None

    @property
    def total(self) -> int:
        """Number of jobs that are planned."""
        return self.planned.total()

    def start(self, job: int, rule: str, now: float) -> None:
        """Note that a job has started."""
        self._begun = now if self._begun is None else self._begun
        self.running[job] = (rule, now)

    def end(self, job: int, now: float, *, well: bool = True) -> None:
        """Note that a job has ended."""
        rule, begun = self.running.pop(job, (None, now))
        if rule is None:
            return
        if well:
            self.done[rule] += 1
            self._seconds[rule] += now - begun
        else:
            self.failed += 1

    def left(self, now: float) -> float | None:
        """Return the seconds that are left, None where no job has ended yet.

        A job takes as long as those of its rule did, or as all did if there is none yet, and as many run at once as so
        far.
        """
        if not self.done or self._begun is None or now <= self._begun:
            return None
        mean = self._seconds.total() / self.done.total()
        spent = sum(now - begun for _, begun in self.running.values())
        at_once = max((self._seconds.total() + spent) / (now - self._begun), 1e-9)
        expected = {rule: self._seconds[rule] / self.done[rule] if self.done[rule] else mean for rule in self.planned}
        work = sum(expected[rule] * (self.planned[rule] - self.done[rule]) for rule in self.planned)
        return max(work - spent, 0.0) / max(at_once, 1.0)

    def line(self, now: float, width: int) -> str:
        """Return the line to show, at most ``width`` signs."""
        done = self.done.total()
        share = done / self.total if self.total else 1.0
        filled = round(share * _WIDTH)
        rules = Counter(rule for rule, _ in self.running.values())
        names = [f"{rule} x{n}" if n > 1 else rule for rule, n in rules.most_common(_MOST_RULES)]
        parts = [f"[{'#' * filled}{'.' * (_WIDTH - filled)}] {done}/{self.total} jobs"]
        left = self.left(now)
        if left is not None and done < self.total:
            parts.append(f"{_duration(left)} left")
        if self.failed:
            parts.append(f"{self.failed} failed")
        if names:
            parts.append(", ".join(names) + (", ..." if len(rules) > _MOST_RULES else ""))
        return "  ".join(parts)[:width]


def _duration(seconds: float) -> str:
    """Return a duration for people."""
    if seconds < 60:
        return f"{seconds:.0f} s"
    if seconds < 3600:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"


class LogHandler(LogHandlerBase):
    """Draws the bar on standard error; without a terminal it writes a line a job instead."""

    def __post_init__(self) -> None:
        """Start with an empty tally."""
        self._stream: TextIO = sys.stdout if self.common_settings.stdout else sys.stderr
        self._is_terminal = self._stream.isatty() and os.environ.get("TERM") != "dumb"
        self._tally = Tally({})
        self._jobs: dict[int, Any] = {}
        self._shown = False
        self._lock = threading.RLock()
        self._stop = threading.Event()
        if self._is_terminal:
            threading.Thread(target=self._tick, daemon=True).start()

    def emit(self, record: logging.LogRecord) -> None:
        """Count what the record tells, or show it."""
        try:
            with self._lock:
                self._take(record)
        except Exception:
            self.handleError(record)

    def _take(self, record: logging.LogRecord) -> None:
        now, event = time.monotonic(), getattr(record, "event", None)
        told = vars(record)
        if event == LogEvent.RUN_INFO:
            stats = told.get("stats") or {}
            self._tally = Tally({rule: n for rule, n in stats.items() if rule != "total"})
        elif event == LogEvent.JOB_INFO:
            self._jobs[told["jobid"]] = told
            if not self.common_settings.dryrun:
                self._tally.start(told["jobid"], told["rule_name"], now)
        elif event == LogEvent.JOB_FINISHED:
            self._tally.end(told["job_id"], now)
        elif event == LogEvent.JOB_ERROR:
            self._tally.end(told["jobid"], now, well=False)
            self._say(f"failed: {self._reason(self._jobs.get(told['jobid'], told))}")
        elif event in (None, LogEvent.ERROR) and self._is_news(record):
            self._say(record.getMessage())
        self._draw(now)

    @staticmethod
    def _is_news(record: logging.LogRecord) -> bool:
        message = record.getMessage().strip()
        return message not in ("", "None") and not message.startswith(_USUAL) and record.levelno >= logging.INFO

    @staticmethod
    def _reason(told: dict[str, Any]) -> str:
        """Return rule, wildcards and the line of the log that says why."""
        values = ", ".join(str(value) for value in dict(told.get("wildcards") or {}).values())
        name = f"{told['rule_name']} ({values})" if values else str(told["rule_name"])
        for path in map(Path, told.get("log") or []):
            if path.is_file():
                # Not at the top: Snakemake loads all plugins at its start, before the rules say whose library it is.
                from replicortex.job import failure_of

                return f"{name}: {failure_of(path) or f'read {path}'}"
        return name

    def _say(self, text: str) -> None:
        self._clear()
        self._stream.write(text.rstrip() + "\n")
        self._stream.flush()

    def _clear(self) -> None:
        if self._shown:
            self._stream.write("\r\033[K")
            self._shown = False

    def _draw(self, now: float) -> None:
        """Draw the line over the last one; none before the first job and after the last."""
        if not self._is_terminal:
            return
        self._clear()
        if self._tally.running and not self._stop.is_set():
            columns = shutil.get_terminal_size().columns
            self._stream.write(self._tally.line(now, columns - 1))
            self._shown = True
        self._stream.flush()

    def _tick(self) -> None:
        while not self._stop.wait(1.0):
            with self._lock:
                if self._shown:
                    self._draw(time.monotonic())

    def close(self) -> None:
        """Take the line away."""
        self._stop.set()
        with self._lock:
            self._clear()
            self._stream.flush()
        super().close()

    @property
    def writes_to_stream(self) -> bool:
        """It does, in the place of Snakemake's own handler."""
        return True

    @property
    def writes_to_file(self) -> bool:
        """It does not."""
        return False

    @property
    def has_filter(self) -> bool:
        """It chooses itself: the bar must see what a quiet profile hides."""
        return True

    @property
    def has_formatter(self) -> bool:
        """It writes its own lines."""
        return True

    @property
    def needs_rulegraph(self) -> bool:
        """It does not."""
        return False
