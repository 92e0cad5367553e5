"""What jobs used of what they asked for, read from accounting and benchmark tables with planted numbers."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest

from replicortex.errors import InputError
from replicortex.stages.efficiency import (
    FIELDS,
    bytes_of,
    read_accounting,
    read_benchmarks,
    seconds_of,
    show_efficiency,
    summarise,
)

HERE = Path("/study")
STEP = "srun -n1 python -m snakemake --target-jobs fit:run=a|b --allowed-rules {} --cores all"


def row(**values: str) -> str:
    return "|".join(values.get(name, "") for name in FIELDS)


def submission(number: int, state: str = "COMPLETED", folder: Path = HERE, **values: str) -> str:
    asked = {"ElapsedRaw": "300", "TimelimitRaw": "10", "ReqMem": "1000M", "AllocCPUS": "2"}
    return row(JobIDRaw=str(number), State=state, WorkDir=str(folder), **{**asked, **values})


def step(name: str, rule: str, seconds: int, cpu: str, rss: str, state: str = "COMPLETED") -> str:
    line = STEP.format(rule)
    return row(JobIDRaw=name, State=state, ElapsedRaw=str(seconds), TotalCPU=cpu, MaxRSS=rss, SubmitLine=line)


def test_sizes_and_durations_as_slurm_writes_them():
    assert [bytes_of(text) for text in ("306743K", "2Gn", "1.50M", "12", "")] == [
        306743 * 1024,
        2 * 2**30,
        1.5 * 2**20,
        12,
        None,
    ]
    assert [seconds_of(text) for text in ("1-02:03:04", "10:00:01", "00:11.109", "")] == [93784, 36001, 11.109, None]


def test_a_group_is_told_apart_by_its_steps():
    text = "\n".join(
        [
            submission(7),
            row(JobIDRaw="7.batch", State="COMPLETED", ElapsedRaw="300", TotalCPU="00:09.000", MaxRSS="100000K"),
            step("7.0", "fit", 100, "02:30.000", "500M"),
            step("7.1", "fit", 50, "00:50.000", "250M"),
            step("7.2", "score", 10, "00:05.000", "100M"),
            # Neither another folder's jobs nor what still runs.
            submission(8, folder=Path("/study/other")),
            step("8.0", "fit", 999, "00:01.000", "900M"),
            submission(9, state="RUNNING"),
            step("9.0", "fit", 999, "00:01.000", "900M", state="RUNNING"),
            # Cancelled as a whole: so are the steps in it.
            submission(10, state="CANCELLED by 0", ElapsedRaw="60"),
            step("10.0", "check", 40, "00:20.000", "10M", state="FAILED"),
        ]
    )
    rows = {found["rule"]: found for found in summarise(read_accounting(text, HERE))}
    assert rows.keys() == {"fit", "score", "check"}
    fit = rows["fit"]
    assert (fit["jobs"], fit["submissions"], fit["failed"]) == (2, 1, 0)
    assert (fit["wall_median"], fit["wall_max"]) == (75, 100)
    # 200 s of processor time in 150 s, on two processors.
    assert fit["cpus"] == pytest.approx(200 / 150)
    assert fit["cpu_share"] == pytest.approx(200 / 300)
    assert fit["memory_share"] == pytest.approx(0.5)
    assert fit["rss_max"] == pytest.approx(500 * 2**20 / 1e6)
    # The limit is that of the whole submission.
    assert fit["time_share"] == rows["score"]["time_share"] == pytest.approx(0.5)
    assert rows["check"]["failed"] == 1


def test_benchmark_tables_know_nothing_of_what_was_asked_for(tmp_path):
    path = tmp_path / "fit" / "run" / "part.tsv"
    path.parent.mkdir(parents=True)
    path.write_text("s\th:m:s\tmax_rss\tmean_load\n10.0\t0:00:10\t200.00\t150.00\n2.0\t0:00:02\tNA\tNA\n")
    (found,) = summarise(read_benchmarks(tmp_path))
    assert (found["rule"], found["jobs"], found["wall_max"], found["cpus"]) == ("fit", 2, 10, 1.5)
    assert found["rss_max"] == pytest.approx(200 * 2**20 / 1e6)
    assert found["memory_share"] is found["time_share"] is found["cpu_share"] is found["submissions"] is None
    path.write_text("s\tmax_rss\nlong\t3\n")
    with pytest.raises(InputError, match=r"part\.tsv: not a benchmark table"):
        read_benchmarks(tmp_path)


def stand_in(folder: Path, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    folder.mkdir()
    (folder / "sacct").write_text(f"#!/bin/sh\n{text}\n")
    (folder / "sacct").chmod(stat.S_IRWXU)
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")


def test_slurm_is_believed_before_the_benchmarks(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for rule in ("fit", "plot"):
        (tmp_path / "b" / rule).mkdir(parents=True)
        (tmp_path / "b" / rule / "x.tsv").write_text("s\tmax_rss\tmean_load\n3.0\t1.0\t100.0\n")
    (tmp_path / "told").write_text("\n".join([submission(1, folder=tmp_path), step("1.0", "fit", 9, "00:09", "1M")]))
    stand_in(tmp_path / "bin", f"cat {tmp_path / 'told'}", monkeypatch)
    show_efficiency(Path("b"), "now-1days", json=True)
    rows = {found["rule"]: found for found in json.loads(capsys.readouterr().out)}
    assert {name: found["wall_max"] for name, found in rows.items()} == {"fit": 9, "plot": 3}
    show_efficiency(Path("b"), "now-1days", no_slurm=True)
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == ["rule", "fit", "plot"]
    assert len({len(line) for line in lines}) == 1


def test_nothing_to_tell_is_one_line(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match="no job has been measured yet; run the workflow first"):
        show_efficiency(Path("b"), "now", no_slurm=True)
    stand_in(tmp_path / "bin", "echo 'sacct: error: Invalid time specification' >&2; exit 1", monkeypatch)
    with pytest.raises(InputError, match="Invalid time specification; correct --since"):
        show_efficiency(Path("b"), "yesteryear")
