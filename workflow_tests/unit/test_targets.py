"""What the targets work with: rows of a dry run, kinds of files, trends of benchmarks, states, checks of a machine."""

from __future__ import annotations

import hashlib
import json
import os
import time
from pathlib import Path, PurePosixPath

import pytest

from replicortex import dryrun, storage
from replicortex.cards import downloaded
from replicortex.errors import InputError
from replicortex.measured import per_unit
from replicortex.stages import doctor as stage
from replicortex.stages.overview import Board, begun, running_driver
from replicortex.stages.plan import Expected
from replicortex.stages.prefetch import Need, _get
from replicortex.stages.recommend import recommend

DRY_RUN = """Building DAG of jobs...
[Sat Nov 21 16:49:43 2026]
rule fit:
    input: results/a/targets.tsv, results/a/splits.tsv
    output: results/a/predictions.npz, results/a/fit.json
    log: logs/fit/a.log
    jobid: 97
    benchmark: results/benchmarks/fit/a.tsv
    reason: Missing output files: results/a/fit.json; Input files updated by another job: results/a/splits.tsv
    wildcards: run=a, method=mdm
    threads: 4
    resources: tmpdir=/tmp, runtime=30, mem_mb=2000, mem=2 GB, mem_mib=1908, gpu=1
[Sat Nov 21 16:49:43 2026]
localrule all:
    input: results/a/fit.json
    jobid: 0
    reason: Input files updated by another job: results/a/fit.json
    resources: tmpdir=/tmp
Job stats:
fit: 1
    fit:
"""


def job(rule: str, output: str, *inputs: str, reason: str = "Missing output files: x", **more) -> dryrun.Job:
    given = {"log": None, "benchmark": None, "wildcards": {}, "threads": 1, "mem_mb": 1000, "runtime": 10, "gpu": 0}
    return dryrun.Job(rule=rule, inputs=list(inputs), outputs=[output], reason=reason, **(given | more))


@pytest.fixture
def here(tmp_path, monkeypatch) -> Path:
    """An empty working directory."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write(path: str, text: str = "x") -> Path:
    found = Path(path)
    found.parent.mkdir(parents=True, exist_ok=True)
    found.write_text(text)
    return found


# ---- the dry run


def test_a_dry_run_is_read_job_by_job():
    fit, every = dryrun.jobs(DRY_RUN)
    assert (fit.rule, every.rule) == ("fit", "all")
    assert fit.inputs == ["results/a/targets.tsv", "results/a/splits.tsv"]
    assert fit.outputs == ["results/a/predictions.npz", "results/a/fit.json"]
    assert (fit.log, fit.benchmark) == ("logs/fit/a.log", "results/benchmarks/fit/a.tsv")
    assert fit.wildcards == {"run": "a", "method": "mdm"}
    assert (fit.threads, fit.mem_mb, fit.runtime, fit.gpu) == (4, 2000, 30, 1)
    assert (every.outputs, every.threads, every.mem_mb, every.gpu) == ([], 1, None, 0)


def test_a_refusal_is_the_line_of_snakemake():
    text = (
        'Assuming x.\nWorkflowError in file "/p/rules/common.smk", line 36:\nconfig/x.yaml: no such card; correct it\n'
    )
    assert str(dryrun.RefusedError(text)) == "config/x.yaml: no such card; correct it"


# ---- what a policy keeps


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("datasets/d/bids/sub-01/eeg/sub-01_eeg.eeg", "kept"),
        ("datasets/d/bids/.sub-01_eeg.eeg.part-abcd1234", "kept"),
        ("datasets/d/recordings.tsv", "kept"),
        ("downloads/0123456789abcdef/weights.bin", "kept"),
        ("derivatives/d/r/sub-01/eeg/sub-01_eeg.eeg", "derivative"),
        ("derivatives/d/r/.replicortex/sub-01/sub-01_eeg.json", "derivative"),
        ("derivatives/d/r/.replicortex/sub-01/sub-01_eeg.part/sub-01_eeg.eeg", "litter"),
        ("derivatives/d/r/sub-01/figures/sub-01_carpet.svg", "kept"),
        ("derivatives/d/r/sub-01.html", "kept"),
        ("derivatives/d/r/dataset_description.json", "kept"),
        ("preprocessed/d/r/0of2.tsv", "manifest"),
        ("features/d/r/f/0of2.npz", "bundle"),
        ("features/d/r/f/bundles.tsv", "bundle"),
        ("features/d/r/f/0of2.tsv", "kept"),
        ("features/d/r/f/store/sub-01/sub-01_eeg.npz", "feature_store"),
        ("runs/r/observed/mdm/seed-0_part-0of1/models.zip", "model"),
        ("runs/r/observed/mdm/seed-0_part-0of1/predictions.npz", "prediction"),
        ("runs/r/observed/mdm/seed-0_part-0of1/fit.json", "kept"),
        ("runs/r/observed/mdm/seed-0_part-0of1/fit.json.damaged", "litter"),
        ("runs/r/.scores.tsv.part-abcd1234.tsv", "litter"),
        ("runs/r/figures/paired_scores.svg", "kept"),
        ("claims.tsv", "kept"),
        ("report.html", "kept"),
        ("a_folder_of_the_user/models.zip", "kept"),
    ],
)
def test_kinds_of_files(path, kind):
    assert storage.kind_of(PurePosixPath(path)) == kind


def test_each_policy_removes_what_the_one_before_removes_and_no_data():
    full, standard, lean = (storage.REMOVED[name] for name in ("full", "standard", "lean"))
    assert full < standard < lean
    assert lean <= set(storage.AGAIN)
    assert "kept" not in lean


def test_links_are_not_followed(here):
    outside = write("elsewhere/data.npz")
    Path("results/features/d/r").mkdir(parents=True)
    Path("results/features/d/r/f").symlink_to(outside.parent)
    assert [file for file in storage.files(Path("results")) if file.path.name == "data.npz"] == []


# ---- trends


def test_a_trend_gives_back_what_was_planted():
    units = [1, 2, 5, 9]
    assert per_unit(units, [4 + 3 * unit for unit in units]) == pytest.approx((4, 3))


def test_jobs_of_one_size_are_laid_to_the_units():
    assert per_unit([4, 4], [8, 12]) == (0.0, 2.5)


def test_a_trend_is_never_negative():
    assert per_unit([1, 2], [5, 1]) == (3, 0.0)
    fixed, slope = per_unit([1, 2], [1, 5])
    assert fixed == 0
    assert slope == pytest.approx(11 / 5)


# ---- recommendation

BENCHMARK = "s\th:m:s\tmax_rss\tmax_vms\tmax_uss\tmax_pss\tio_in\tio_out\tmean_load\tcpu_time\n"


@pytest.fixture
def pilot(here, monkeypatch):
    """Two blocks of a recipe that have run, of 2 and 4 subjects; a third of 40 that has not."""
    import replicortex.stages.recommend as module

    sizes = {"0of3": 2, "1of3": 4, "2of3": 40}
    jobs = []
    for block, size in sizes.items():
        benchmark = f"results/benchmarks/preprocess_eeg/d/r/{block}.tsv"
        wildcards = {"dataset": "d", "preprocessing": "r", "block": block}
        log = f"logs/{block}.log"
        output = f"results/preprocessed/d/r/{block}.tsv"
        jobs.append(job("preprocess_eeg", output, benchmark=benchmark, wildcards=wildcards, log=log, runtime=240))
        if size < 40:
            # 100 s at all and 60 s a subject; 200 MiB at all and 50 MiB a subject.
            write(benchmark, BENCHMARK + f"{100 + 60 * size}\tx\t{200 + 50 * size}\t0\t0\t0\t0\t0\t0\t{60 * size}\n")
    monkeypatch.setattr(module, "planned", lambda *_, **__: jobs)
    monkeypatch.setattr(module, "read_cards", lambda *_: None)
    monkeypatch.setattr(module, "stated", lambda _: {})
    monkeypatch.setattr(module.Subjects, "of", lambda _, job: float(sizes[job.wildcards["block"]]))
    return jobs


def recommended() -> dict:
    import yaml

    return yaml.safe_load(Path("results/recommended/config.yaml").read_text())["set-resources"]


def test_resources_are_those_of_the_largest_block(pilot):
    assert recommend(Path(), margin=1.5)
    asked = recommended()["preprocess_eeg"]
    # (100 + 60 * 40) s * 1.5 = 62.5 minutes; (200 + 50 * 40) MiB * 1.5 = 3460 MB.
    assert asked == {"mem_mb": "3500 * attempt", "runtime": "63 * 4 ** (attempt - 1)"}
    assert "r.yaml: seconds_per_subject: 93.33" in Path("results/recommended/config.yaml").read_text()


def test_a_job_that_found_work_done_counts_for_nothing(pilot, capsys):
    write("logs/0of3.log", "[1/2] sub-01: unchanged\n[2/2] sub-02: done\n")
    recommend(Path(), margin=1, as_json=True)
    row = json.loads(capsys.readouterr().out)["rules"]["preprocess_eeg"]
    assert row["measured_jobs"] == 1
    # 340 s for 4 subjects, all laid to the subjects: 3400 s for 40. Memory of one size alone is not scaled.
    assert (row["runtime"], row["mem_mb"]) == (57, 500)


def test_a_later_run_is_checked_against_the_recommendation(pilot, capsys):
    recommend(Path())
    assert recommend(Path(), check=True)
    write(pilot[2].benchmark, BENCHMARK + "60\tx\t5000\t0\t0\t0\t0\t0\t0\t60\n")
    assert not recommend(Path(), check=True)
    # 5000 MiB.
    assert "mem_mb   given     3500, most used    5242.88: 1 jobs took more" in capsys.readouterr().out


@pytest.mark.parametrize("text", ["", "[]", "set-resources: {fit: {mem_mb: many}}", "\0", "{", "set-resources: 3"])
def test_what_is_no_recommendation_is_refused(pilot, text):
    write("results/recommended/config.yaml", text)
    with pytest.raises(InputError, match="is not a profile of recommend"):
        recommend(Path(), check=True)


def test_without_benchmarks_nothing_is_recommended(pilot):
    for entry in pilot:
        Path(entry.benchmark).unlink(missing_ok=True)
    with pytest.raises(InputError, match="run a few blocks first"):
        recommend(Path())


# ---- states


def test_every_state_has_its_reason(here):
    missing, incomplete = "Missing output files: x", "Incomplete output files: x"
    write("results/done.tsv")
    write("results/stale.tsv")
    write("results/begun.tsv")
    write("logs/failed.log", "Traceback (most recent call last):\n  x\nKeyError: 'a'\n")
    write("logs/refused.log", "error: a.edf: no such file; correct it\n")
    jobs = [
        job("late", "results/late.tsv", "results/first.tsv", reason=missing),
        job("first", "results/first.tsv", reason=missing),
        job("stale", "results/stale.tsv", reason="Params have changed since last execution: Union of x"),
        job("begun", "results/begun.tsv", reason=incomplete),
        job("failed", "results/failed.tsv", reason=missing, log="logs/failed.log"),
        job("refused", "results/refused.tsv", reason=missing, log="logs/refused.log"),
    ]
    board = Board(jobs, is_running=False, begun=set())
    names = ("done", "late", "first", "stale", "begun", "failed", "refused", "elsewhere")
    states = {name: board.state(f"results/{name}.tsv") for name in names}
    assert states == {
        "done": ("done", ""),
        "late": ("waiting", "waits for first"),
        "first": ("not started", "nothing keeps it from starting"),
        "stale": ("stale", "parameters or code have changed"),
        "begun": ("interrupted", "its job did not end; it is made again"),
        "failed": ("failed", "KeyError: 'a'"),
        "refused": ("failed", "a.edf: no such file; correct it"),
        "elsewhere": ("done", "removed since"),
    }
    running = Board(jobs, is_running=True, begun=set()).state("results/begun.tsv")
    assert running == ("running", "running, or queued on the cluster")


def test_a_job_that_has_begun_is_seen_by_the_mark_of_snakemake(here):
    """Its results have no name yet; the mark is made by Snakemake's own code."""
    from snakemake.persistence.file import FilePersistence

    paths = [f"results/{'x' * length}.tsv" for length in (3, 400)]
    persistence = FilePersistence(path=here / ".snakemake")
    for path in paths:
        persistence._mark_incomplete(path, None)
    marked = begun(here)
    assert marked == set(paths)
    jobs = [job("fit", path, reason="Missing output files: x") for path in paths]
    assert Board(jobs, is_running=True, begun=marked).state(paths[1])[0] == "running"
    assert Board(jobs, is_running=False, begun=marked).state(paths[1])[0] == "interrupted"
    write("logs/failed.log", "error: a.edf: no such file; correct it\n")
    failed = [job("fit", paths[0], reason="Missing output files: x", log="logs/failed.log")]
    assert Board(failed, is_running=True, begun=marked).state(paths[0])[0] == "failed"


def test_a_driver_runs_as_long_as_its_process_lives(here):
    from replicortex import processes

    record = ".snakemake/replicortex/driver.json"
    assert running_driver(here) is None
    told = {"pid": os.getpid(), "start": processes.started(os.getpid()), "boot": processes.boot(), "host": "h"}
    write(record, json.dumps({**told, "user": "u", "ended": False}))
    assert running_driver(here) == {"pid": os.getpid(), "host": "h", "user": "u"}
    write(record, json.dumps({**told, "start": "another process of that number", "ended": False}))
    assert running_driver(here) is None
    # On another machine only the signs of life of a driver are seen.
    path = write(record, json.dumps({**told, "boot": "of another machine", "ended": False}))
    assert running_driver(here) is not None
    os.utime(path, (time.time() - 3600,) * 2)
    assert running_driver(here) is None
    write(record, "{")
    assert running_driver(here) is None


# ---- the machine


def levels(findings) -> dict[str, str]:
    return {finding.what: finding.level for finding in findings}


def test_a_disk_that_is_too_small_is_found(here):
    assert levels(stage._disk(here, {"fit": Expected(sizes_left=1e6, counts_left=10)}))["disk"] == "ok"
    found = list(stage._disk(here, {"fit": Expected(sizes_left=1e18, counts_left=1e15)}))
    assert levels(found)["disk"] == "fail"
    assert "free space" in next(finding.remedy for finding in found if finding.what == "disk")
    if os.statvfs(here).f_files:
        assert levels(found)["inodes"] == "fail"


def test_a_job_that_is_too_large_for_the_machine_is_found():
    memory = stage.memory_mb()
    small, large = Expected(left=1, mem_mb=1), Expected(left=1, mem_mb=memory + 1)
    assert levels(stage._machine({"a": small}, 1, on_slurm=False))["memory"] == "ok"
    found = list(stage._machine({"a": small, "b": large}, 1, on_slurm=False))
    assert "a job of b asks for" in next(finding.text for finding in found if finding.level == "fail")
    # Each fits, but not as many at once as there are cores.
    together = levels(stage._machine({"a": Expected(left=1, mem_mb=memory)}, 2, on_slurm=False))
    assert together["memory"] == "warn"


@pytest.fixture
def programs(tmp_path, monkeypatch):
    """A search path that holds nothing but the programs that a test writes."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))

    def add(name: str, text: str) -> None:
        path = folder / name
        path.write_text(f"#!/bin/sh\n{text}\n")
        path.chmod(0o755)

    return add


def test_engines_that_are_needed_and_missing_fail(programs):
    for check in (stage._slurm, stage._conda):
        assert set(levels(check(needed=True)).values()) == {"fail"}
        assert set(levels(check(needed=False)).values()) == {"ok"}


def test_a_cluster_without_nodes_is_found(programs):
    for name in stage._SLURM:
        programs(name, "echo '2 down*'")
    assert levels(stage._slurm(needed=True))["slurm"] == "fail"
    programs("sinfo", "echo '1 idle'; echo '1 down'")
    found = list(stage._slurm(needed=False))
    assert [(finding.level, finding.text) for finding in found] == [("ok", "nodes: 1 idle")]
    programs("sinfo", "echo 'Unable to contact slurm controller' >&2; exit 1")
    (finding,) = stage._guarded("slurm", lambda: stage._slurm(needed=True))
    assert finding[:3] == ("slurm", "fail", "sinfo: fails: Unable to contact slurm controller")


def test_an_old_conda_is_found(programs):
    programs("conda", "echo conda 23.1.0")
    (finding,) = stage._conda(needed=True)
    assert (finding.level, finding.remedy) == ("fail", "update it to 24.7.1 or newer")
    programs("conda", "echo conda 25.3.1")
    assert levels(stage._conda(needed=True)) == {"conda": "ok"}


def test_packages_are_compared_with_their_pins(here):
    import numpy

    (here / "pyproject.toml").write_text('[project]\ndependencies = ["numpy>=1", "No_Such.Package"]\n')
    (here / "constraints.txt").write_text(f"numpy=={numpy.__version__}\nPyYAML==0.1\n")
    found = {finding.level: finding.text for finding in stage._packages(here) if finding.what == "packages"}
    assert found["fail"] == "not installed: no-such-package"
    assert found["warn"].startswith("pyyaml ")
    assert found["warn"].endswith(" instead of 0.1")


def test_a_folder_that_can_be_used_is_left_as_it_was(here):
    assert levels(stage._folder(here)) == {"folder": "ok", "locks": "ok", "clock": "ok"}
    assert list(here.iterdir()) == []


# ---- files that cards name by their address


def test_a_file_is_downloaded_once_and_checked(here):
    source = write("source/weights v1.bin", "weights").absolute()
    entry = {"url": source.as_uri(), "sha256": hashlib.sha256(b"weights").hexdigest()}
    path = downloaded(entry)
    assert path == f"results/downloads/{entry['sha256'][:16]}/weights_20v1.bin"
    need = Need("file", "features/x, weights", entry["url"], path, False, "MIT", entry["sha256"])
    _get(need, here, None)
    assert Path(path).read_text() == "weights"
    source.write_text("changed")
    other = need._replace(path="results/downloads/other/weights.bin")
    with pytest.raises(InputError):
        _get(other, here, None)
    assert not Path(other.path).exists()


@pytest.mark.parametrize(
    "url", ["https://h/", "https://h/..", "https://h/a/../..", "https://h/x?name=../../y", "https://h/.hidden"]
)
def test_an_address_can_not_lead_out_of_the_folder_of_downloads(url):
    path = PurePosixPath(downloaded({"url": url, "sha256": "0" * 64}))
    assert path.parent == PurePosixPath(f"results/downloads/{'0' * 16}")
    assert path.name not in ("", ".", "..")
    assert not path.name.startswith(".")
