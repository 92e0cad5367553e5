"""What ran, read from records that are planted as Snakemake writes them."""

from __future__ import annotations

import base64
import hashlib
import json
import os
from datetime import UTC, datetime
from pathlib import Path

import pytest

from replicortex.history import DONE, FAILED, INCOMPLETE, JobRecord, behind, cost, jobs, recorded
from replicortex.measured import repeats

BENCHMARK = "s\th:m:s\tmax_rss\tmax_vms\tmax_uss\tmax_pss\tio_in\tio_out\tmean_load\tcpu_time\n"
NOON = datetime(2026, 1, 1, 12, tzinfo=UTC).timestamp()
NOTHING = hashlib.md5(b"", usedforsecurity=False).hexdigest()


def write(path: Path, text: str = "") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def note(folder: Path, kind: str, output: str, text: str) -> Path:
    """Write one of Snakemake's notes: its name is the base64 of the output, in pieces if a name gets too long."""
    name = base64.urlsafe_b64encode(output.encode()).decode()
    pieces = [name[i : i + 254] for i in range(0, len(name), 254)]
    return write(folder.joinpath(".snakemake", kind, *(f"@{piece}" for piece in pieces[:-1]), pieces[-1]), text)


def record(folder: Path, rule: str, outputs: list[str], *, begun: float = 0, seconds: float = 10, **more) -> None:
    """Plant a job that is done: its outputs, its records."""
    target = more.pop("target", "a")
    there = more.pop("there", True)
    told = {
        "rule": rule,
        "input": more.pop("inputs", []),
        "log": [f"logs/{rule}/{target}.log"],
        "shellcmd": more.pop("command", f"python scripts/{rule}.py"),
        "starttime": NOON + begun,
        "endtime": NOON + begun + seconds,
        "software_stack_hash": NOTHING,
        **more,
    }
    for output in outputs:
        note(folder, "metadata", output, json.dumps(told))
        if there:
            write(folder / output)


def benchmark(folder: Path, name: str, seconds: object, rss: object = "NA", cpu: object = "NA") -> None:
    write(folder / f"results/benchmarks/{name}.tsv", BENCHMARK + f"{seconds}\tx\t{rss}\t0\t0\t0\t0\t0\t50\t{cpu}\n")


def test_a_job_is_told_of_with_its_times_and_what_it_took(tmp_path):
    record(tmp_path, "fit", ["results/b", "results/a"], begun=60, seconds=10, inputs=["results/x"], target="d/0of1")
    benchmark(tmp_path, "fit/d/0of1", 4.0, rss=100, cpu=3.5)
    (job,) = jobs(tmp_path)
    assert (job.rule, job.target, job.name) == ("fit", "d/0of1", "fit d/0of1")
    assert (job.outputs, job.inputs) == (("results/a", "results/b"), ("results/x",))
    assert job.ended == datetime(2026, 1, 1, 12, 1, 10, tzinfo=UTC)
    # Handed over at 12:01:00, at work from 12:01:06: it waited for a place in between.
    assert job.started == datetime(2026, 1, 1, 12, 1, 6, tzinfo=UTC)
    assert (job.seconds, job.cpu_seconds, job.status, job.reason) == (4.0, 3.5, DONE, "")
    assert job.max_rss_mb == pytest.approx(104.8576)  # 100 MiB
    assert (job.gpu, job.container, job.conda) == (False, None, False)


def test_without_a_benchmark_the_record_tells_how_long_it_took(tmp_path):
    record(tmp_path, "fit", ["results/a"], seconds=10)
    (job,) = jobs(tmp_path)
    assert (job.seconds, job.cpu_seconds, job.max_rss_mb) == (10, None, None)


def test_jobs_come_in_the_order_in_which_they_began(tmp_path):
    for begun, name in ((30, "c"), (10, "a"), (20, "b")):
        record(tmp_path, "fit", [f"results/{name}"], begun=begun, target=name)
    assert [job.target for job in jobs(tmp_path)] == ["a", "b", "c"]
    assert jobs(tmp_path / "elsewhere") == []


def test_what_was_removed_counts_where_something_was_made_from_it(tmp_path):
    record(tmp_path, "preprocess", ["results/derivative"], target="used", there=False)
    record(tmp_path, "extract", ["results/feature"], target="used", inputs=["results/derivative"], there=False)
    record(tmp_path, "fit", ["results/fit"], inputs=["results/feature"])
    record(tmp_path, "preprocess", ["results/gone"], target="of an earlier configuration", there=False)
    assert {job.name for job in jobs(tmp_path)} == {"preprocess used", "extract used", "fit a"}


def test_of_several_runs_of_a_job_the_last_counts(tmp_path):
    record(tmp_path, "fit", ["results/a", "results/no_longer_made"], command="python scripts/fit.py --old")
    record(tmp_path, "fit", ["results/a"], begun=100, command="python scripts/fit.py --new")
    (job,) = jobs(tmp_path)
    assert (job.command, job.outputs) == ("python scripts/fit.py --new", ("results/a",))


def test_long_names_are_found_and_broken_records_passed_over(tmp_path):
    output = "/".join(["results", *(["a_rather_long_name_of_a_folder"] * 12), "fit.json"])
    record(tmp_path, "fit", [output])
    assert [len(path.name) < 256 for _, path in recorded(tmp_path, "metadata")] == [True]
    for name, text in {"half": '{"rule": "fit", ', "odd": "[]", "empty": ""}.items():
        note(tmp_path, "metadata", f"results/{name}", text)
    write(tmp_path / ".snakemake/metadata/no base64!", "{}")
    assert [job.outputs for job in jobs(tmp_path)] == [(output,)]


def test_failed_and_interrupted_jobs_are_told_apart(tmp_path):
    marks = {
        "results/runs/r/observed/mdm/fit.json": "error: a.tsv: empty; remove it\n",
        "results/runs/r/observed/csp/fit.json": "[1/5] within_session\n",
    }
    for output, said in marks.items():
        log = write(tmp_path / f"logs/fit/{'/'.join(output.split('/')[2:5])}.log", said)
        os.utime(log, (NOON + 30, NOON + 30))
        os.utime(note(tmp_path, "incomplete", output, "{}"), (NOON, NOON))
    # Made before, and now being made again.
    record(tmp_path, "make_splits", ["results/runs/r/observed/splits.tsv"], target="r/observed")
    note(tmp_path, "incomplete", "results/runs/r/observed/splits.tsv", "{}")
    write(tmp_path / "logs/make_splits/r/observed.log", "Traceback (most recent call last):\n  x\nValueError: no\n")
    note(tmp_path, "incomplete", "elsewhere/what", "{}")
    # What people ask for is no job; what ended well says nothing.
    write(tmp_path / "logs/targets/doctor.log", "error: no space\n")
    write(tmp_path / "logs/plot_figure/r/a.log", "done\n")
    # Failed before it made anything, and its mark was lost.
    write(tmp_path / "logs/collect_claims.log", "error: claims.json: no such file; run again\n")
    found = {job.name: job for job in jobs(tmp_path)}
    assert {name: job.status for name, job in found.items()} == {
        "fit r/observed/mdm": FAILED,
        "fit r/observed/csp": INCOMPLETE,
        "make_splits r/observed": FAILED,
        "collect_claims": FAILED,
        "elsewhere/what": INCOMPLETE,
    }
    failed = found["fit r/observed/mdm"]
    assert (failed.reason, failed.seconds) == ("a.tsv: empty; remove it", 30)
    assert failed.outputs == ("results/runs/r/observed/mdm/fit.json",)
    assert found["make_splits r/observed"].reason == "ValueError: no"
    assert cost(found.values()).n_jobs == 0


def test_where_a_job_ran_is_told_by_the_hash_of_what_was_used(tmp_path):
    named = {
        "container_img_url": "containers/signal.sif",
        "conda_env": base64.b64encode(b"dependencies: [numpy]\n").decode(),
    }
    image = hashlib.md5(b"containers/signal.sif", usedforsecurity=False).hexdigest()
    for target, used in (("host", NOTHING), ("image", image), ("conda", "0" * 32)):
        record(tmp_path, "fit", [f"results/{target}"], target=target, software_stack_hash=used, **named)
    found = {job.target: (job.container, job.conda, job.environment) for job in jobs(tmp_path)}
    text = "dependencies: [numpy]\n"
    assert found == {
        "host": (None, False, text),
        "image": ("containers/signal.sif", False, text),
        "conda": (None, True, text),
    }


def test_a_gpu_was_used_where_the_record_of_the_fit_says_so(tmp_path):
    for target, given, device in (("a", 1, "NVIDIA H200"), ("b", 1, "cpu"), ("c", 0, "cpu"), ("d", 1, None)):
        command = f"python scripts/fit.py --gpus {given} --code x"
        record(tmp_path, "fit_torch", [f"results/{target}/fit.json"], target=target, command=command)
        write(tmp_path / f"results/{target}/fit.json", json.dumps({"device": device} if device else {}))
    assert {job.target: job.gpu for job in jobs(tmp_path)} == {"a": True, "b": False, "c": False, "d": None}


def test_all_that_a_result_was_made_from_is_found():
    chain = [
        JobRecord("index", "", outputs=("i",)),
        JobRecord("preprocess", "", outputs=("p",), inputs=("i",)),
        JobRecord("fit", "mdm", outputs=("f",), inputs=("p",)),
        JobRecord("fit", "csp", outputs=("g",), inputs=("p",)),
    ]
    assert [job.name for job in behind(chain, ["f", "unknown"])] == ["index", "preprocess", "fit mdm"]


def test_cost_is_that_of_the_formula():
    """Two hours of 4 cores half in use with 10 GB on a GPU, and one hour of which the processor time is unknown."""
    ran = [
        JobRecord("fit", "a", seconds=7200, cpu_seconds=4 * 0.5 * 7200, max_rss_mb=10_000, gpu=True),
        JobRecord("fit", "b", seconds=3600, gpu=False),
        JobRecord("fit", "c", seconds=999, cpu_seconds=999, status=FAILED),
        JobRecord("fit", "d", status=INCOMPLETE),
    ]
    took = cost(ran)
    assert (took.n_jobs, took.hours, took.cpu_hours, took.gpu_hours) == (2, 3, 5, 2)
    assert took.max_rss_mb == 10_000
    assert took.energy_wh == pytest.approx((5 * 12 + 2 * 10 * 0.3725 + 2 * 200) * 1.67)
    assert any("of 1 jobs is not known" in sentence for sentence in took.assumptions)
    given = cost(ran, {"core_watts": 5, "pue": 1})
    assert given.energy_wh == pytest.approx(5 * 5 + 2 * 10 * 0.3725 + 2 * 200)
    assert "5 W a core" in given.assumptions[0]
    nothing = cost([])
    assert (nothing.n_jobs, nothing.energy_wh, nothing.max_rss_mb) == (0, 0, None)


def test_a_benchmark_that_was_cut_short_says_nothing(tmp_path):
    path = write(tmp_path / "a.tsv", BENCHMARK + "NA\tx\tNA\t0\t0\t0\t0\t0\tNA\tNA\n2\tx\t10\t0\t0\t0\t0\t0\t50\t1\n")
    first, second = repeats(path)
    assert first is None
    assert (second.seconds, second.cpu, second.mem_mb, second.load) == (2, 1, pytest.approx(10.48576), 0.5)
