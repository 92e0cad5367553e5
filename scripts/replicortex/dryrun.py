"""What Snakemake would do: its dry run as rows, one a job.

A dry run takes no lock and writes no result, so it may be asked for while a run is going on. What jobs there are is
read from it and not worked out again: a rule that is added is counted, and costs nothing here.
"""

from __future__ import annotations

import contextlib
import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from .errors import InputError

_SECONDS = 1800
_JOB = re.compile(r"^(?:local)?(?:rule|checkpoint) (\w+):$")
_FIELD = re.compile(r"^    (\w+): (.*)$")
#: A job whose only reason is one of these has results that no longer fit, not ones that are missing.
_STALE = ("Updated input", "Input files updated", "Set of input files", "Code has", "Params have", "Software env")


class Job(NamedTuple):
    """One job that Snakemake plans; paths as the rules write them, memory in MB, run time in minutes."""

    rule: str
    inputs: list[str]
    outputs: list[str]
    log: str | None
    benchmark: str | None
    wildcards: dict[str, str]
    threads: int
    mem_mb: int | None
    runtime: int | None
    gpu: int
    reason: str

    @property
    def is_incomplete(self) -> bool:
        """Whether Snakemake has marked its outputs as begun and not ended."""
        return "Incomplete output files" in self.reason

    @property
    def is_stale(self) -> bool:
        """Whether there is a result that a change has made out of date."""
        return self.reason.startswith(_STALE) and "Missing output files" not in self.reason


@contextlib.contextmanager
def written(configuration: Mapping[str, Any] | None) -> Iterator[list[str]]:
    """Yield Snakemake's options that lay ``configuration`` over ``config.yaml``; none if there is nothing to lay."""
    if not configuration:
        yield []
        return
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "config.json"
        path.write_text(json.dumps(configuration), encoding="utf-8")
        yield ["--configfile", str(path)]


def planned(project: Path, configuration: Mapping[str, Any] | None = None, *, everything: bool = False) -> list[Job]:
    """Return the jobs that are still to do; with ``everything`` all jobs, done or not.

    Parameters
    ----------
    project : Path
        The folder of the Snakefile; paths are relative to the working directory, as always.
    configuration : mapping or None
        What is laid over ``config.yaml``.
    everything : bool
        Count what is done too.

    Raises
    ------
    InputError
        If Snakemake refuses the cards; its own line.

    """
    command = [sys.executable, "-m", "snakemake", "--snakefile", str(project / "Snakefile"), "--dry-run", "--nocolor"]
    # No profile: one that is quiet would hide the jobs. Environments are part of the digest in `code`, and whether
    # this run takes containers is not known here.
    command += ["--rerun-incomplete", "--profile", "none", "--workflow-profile", "none"]
    command += ["--rerun-triggers", "mtime", "params", "input", "code", *(["--forceall"] if everything else [])]
    with written(configuration) as options:
        try:
            done = subprocess.run(  # noqa: S603
                [*command, *options], capture_output=True, text=True, check=False, timeout=_SECONDS
            )
        except subprocess.TimeoutExpired:
            fault = f"its dry run took more than {_SECONDS} s"
            raise InputError("Snakemake", fault, "try `snakemake --dry-run` by hand") from None
    text = done.stdout + "\n" + done.stderr
    if done.returncode:
        raise RefusedError(text)
    return [job for job in jobs(text) if job.outputs]


class RefusedError(InputError):
    """Snakemake refused the cards; the line is its own."""

    def __init__(self, text: str) -> None:
        lines = [line.strip() for line in text.splitlines() if line.strip()]
        last = next((i for i in reversed(range(len(lines))) if re.search(r"(Error|Exception)\b.*:?$", lines[i])), -2)
        self.fault = " ".join(lines[last + 1 :]) if last + 1 < len(lines) else (lines or ["no output"])[-1]
        Exception.__init__(self, self.fault)


def jobs(text: str) -> list[Job]:
    """Return the jobs that the text of a dry run shows."""
    found: list[tuple[str, dict[str, str]]] = []
    within = False
    for line in text.splitlines():
        if match := _JOB.match(line):
            found.append((match[1], {}))
            within = True
        elif within and (match := _FIELD.match(line)):
            found[-1][1].setdefault(match[1], match[2])
        else:
            within = False
    return [_job(rule, fields) for rule, fields in found]


def _job(rule: str, fields: Mapping[str, str]) -> Job:
    wildcards = dict(pair.split("=", 1) for pair in _listed(fields, "wildcards"))
    resources = dict(pair.split("=", 1) for pair in _listed(fields, "resources") if "=" in pair)
    numbers = {name: int(resources[name]) if resources.get(name, "").isdigit() else None for name in _NUMBERS}
    return Job(
        rule=rule,
        inputs=_listed(fields, "input"),
        outputs=_listed(fields, "output"),
        log=fields.get("log"),
        benchmark=fields.get("benchmark"),
        wildcards=wildcards,
        threads=int(fields.get("threads", 1)),
        mem_mb=numbers["mem_mb"],
        runtime=numbers["runtime"],
        gpu=numbers["gpu"] or 0,
        reason=fields.get("reason", ""),
    )


_NUMBERS = ("mem_mb", "runtime", "gpu")


def _listed(fields: Mapping[str, str], name: str) -> list[str]:
    return fields[name].split(", ") if fields.get(name) else []
