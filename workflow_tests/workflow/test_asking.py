"""The targets for people, on a finished run and on a copy of it of which a half is taken away again."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path, PurePosixPath

import pytest
import yaml

from project import DATASET, FEATURE, STUDY, Project
from published_data import need_annex, publish
from replicortex.storage import kind_of, on_disk

SNAKEMAKE = Path(sys.executable).parent / "snakemake"


def call(project: Project, name: str, *arguments: str, status: int = 0, **environment: str) -> str:
    """Run a command of the project in its folder; return what it prints."""
    done = subprocess.run(
        [sys.executable, f"scripts/{name}.py", *arguments],
        cwd=project.folder,
        env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )
    assert done.returncode == status, done.stdout + done.stderr
    return done.stdout if status == 0 or done.stdout else done.stderr


def asked(project: Project, name: str, *arguments: str, status: int = 0) -> dict:
    return json.loads(call(project, name, "--json", *arguments, status=status))


def contents(folder: Path, *names: str) -> dict[str, bytes]:
    """Bytes of every file below some of the folders."""
    paths = sorted(path for name in names for path in (folder / name).rglob("*"))
    return {str(path.relative_to(folder)): path.read_bytes() for path in paths if path.is_file()}


def kept(project: Project) -> dict[str, bytes]:
    """The raw data and what no policy may touch."""
    found = contents(project.folder, "data", "results", "logs")
    return {
        path: content
        for path, content in found.items()
        if not path.startswith("results/") or kind_of(PurePosixPath(path).relative_to("results")) == "kept"
    }


def room(project: Project, folders: tuple[str, ...] = ("results", "logs")) -> dict[str, int]:
    paths = [path for name in folders for path in (project.folder / name).rglob("*") if path.is_file()]
    return {str(path.relative_to(project.folder)): on_disk(path.stat().st_size) for path in paths}


#: With four blocks: one has two subjects, one has one, two have none.
TAKEN, KEPT = "1of4", "3of4"


@pytest.fixture(scope="module")
def in_four(finished, tmp_path_factory) -> Project:
    """The finished project, its recordings prepared anew in four blocks; runs are those of before. Never changed."""
    project = finished.copy(tmp_path_factory.mktemp("targets") / "project")
    for name in ("derivatives", "preprocessed", "features", "benchmarks/preprocess_eeg", "benchmarks/extract_features"):
        shutil.rmtree(project.folder / "results" / name)
    project.card("datasets", "tiny", blocks=4)
    project.run("features")
    return project


@pytest.fixture
def half(in_four, tmp_path) -> tuple[Project, dict[str, int]]:
    """A copy in which one block, and most of what comes after the features, is not done; sizes of that by path."""
    project = in_four.copy(tmp_path / "half")
    before = room(project)
    subjects = {f"sub-{label}" for label in ("02", "03")}

    def is_gone(path: str) -> bool:
        parts = path.split("/")
        if parts[1] == "runs":
            # One variant has run before, as in a pilot.
            return parts[3] not in ("observed", "checks")
        if parts[0] == "logs" or parts[1] == "benchmarks":
            return TAKEN in path
        if parts[1] in ("preprocessed", "features", "derivatives"):
            in_block = f"{TAKEN}." in path or any(part.partition(".")[0] in subjects for part in parts)
            return in_block or parts[-1] == "bundles.tsv"
        return len(parts) == 2

    gone = {path: size for path, size in before.items() if is_gone(path)}
    assert len(gone) > 20
    for path in gone:
        (project.folder / path).unlink()
    return project, gone


def rows_by_state(document: dict, stage: str) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for row in document["rows"]:
        if row["stage"] == stage:
            found.setdefault(row["state"], set()).add(row["recording"])
    return found


# ---- status


def test_status_of_a_finished_run_is_done(project):
    document = asked(project, "show_status")
    assert document["counts"] == {"done": len(document["rows"])}
    assert (document["driver"], document["left"]) == (None, {})
    recordings = {f"sub-0{k}_ses-1_task-imagery" for k in (1, 2, 3)}
    assert rows_by_state(document, "preprocess") == rows_by_state(document, "features") == {"done": recordings}


def test_status_of_half_a_run_names_every_recording_and_what_it_waits_for(half):
    project, _ = half
    # The recording of the other block failed, which its table says.
    table = project.folder / f"results/features/tiny/average_reference/tiny/{KEPT}.tsv"
    header, first, *rest = table.read_text().splitlines()
    cells = dict(zip(header.split("\t"), first.split("\t"), strict=True))
    cells |= {"status": "failed", "reason": "too few channels; take more"}
    table.write_text("\n".join([header, "\t".join(cells.values()), *rest]) + "\n")
    document = asked(project, "show_status", "--out", "table.tsv")
    states = rows_by_state(document, "features")
    assert states["failed"] == {cells["recording"]}
    waiting = [row for row in document["rows"] if row["stage"] == "features" and row["state"] == "waiting"]
    assert {row["reason"] for row in waiting} == {"waits for preprocess_eeg"}
    everyone = {f"sub-0{k}_ses-1_task-imagery" for k in (1, 2, 3)}
    assert set().union(*states.values()) == everyone
    assert rows_by_state(document, "preprocess")["not started"] == {row["recording"] for row in waiting}
    splits = [row for row in document["rows"] if row["stage"] == "splits"]
    # That of the observed labels was there before, and has to be made again.
    assert {row["recipe"]: row["state"] for row in splits} == {"observed": "stale", "null-1": "waiting"}
    assert len((project.folder / "table.tsv").read_text().splitlines()) == len(document["rows"]) + 1
    text = call(project, "show_status")
    assert f"failed: tiny average_reference/tiny features {cells['recording']}: too few channels; take more" in text


def test_targets_answer_while_a_run_goes_on(project):
    """Also as targets of Snakemake, whose lock the run holds."""
    base = project.folder / "results/runs/tiny"
    shutil.rmtree(base / "observed/mdm")
    later = [
        "observed/guard.json",
        "observed/scores.tsv",
        "scores.tsv",
        "summary.tsv",
        "claims.json",
        "../../claims.tsv",
    ]
    for name in later:
        (base / name).unlink()
    shutil.rmtree(project.folder / "logs/fit")
    # What is fitted waits until the test lets it go.
    go = project.folder / "go"
    fit = project.folder / "scripts/fit.py"
    waits = f"import os, time\nwhile not os.path.exists({str(go)!r}):\n    time.sleep(0.1)\n"
    fit.write_text(fit.read_text().replace("def main():", waits + "\n\ndef main():"))
    run = subprocess.Popen(
        [str(SNAKEMAKE), "--cores", "2", "--nocolor"],
        cwd=project.folder,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        until = time.monotonic() + 600
        while not list((project.folder / "logs/fit/tiny/observed").rglob("*.log")) or not _fits(project):
            assert run.poll() is None
            assert time.monotonic() < until
            time.sleep(0.5)
        document = asked(project, "show_status")
        assert document["driver"]["pid"] == run.pid
        assert any(row["state"] == "running" for row in document["rows"] if row["stage"].startswith("fit "))
        done = project.snakemake("status")
        assert done.returncode == 0, done.stdout
        assert f"process {run.pid} on" in done.stdout
        # What would take away results under a run is refused.
        assert "another run works in this folder" in call(project, "clean_results", "--yes", status=2)
    finally:
        go.touch()
        assert run.wait(timeout=600) == 0
    assert asked(project, "show_status")["driver"] is None


def _fits(project: Project) -> bool:
    """Whether a job that fits is under way: Snakemake has marked its outputs."""
    return any((project.folder / ".snakemake/incomplete").iterdir())


# ---- plan


def test_half_a_run_predicts_what_the_whole_one_left(half, in_four):
    project, gone = half
    document = asked(project, "show_plan")
    rules = {row["rule"]: row for row in document["rules"]}
    assert (rules["preprocess_eeg"]["jobs"], rules["preprocess_eeg"]["left"]) == (4, 1)
    assert document["bytes_left"] == pytest.approx(sum(gone.values()), rel=0.15)
    # Snakemake's own records, at most one an output, are counted too; here they stayed where outputs were taken away.
    assert len(gone) <= document["files_left"] <= 2 * len(gone)
    # Two empty blocks and one of a single subject tell how long a block of two takes.
    for rule, place in (("preprocess_eeg", "average_reference"), ("extract_features", "average_reference/tiny")):
        folder = in_four.folder / f"results/benchmarks/{rule}/tiny/{place}"
        took = {path.stem: float(path.read_text().splitlines()[1].split("\t")[0]) for path in folder.glob("*.tsv")}
        empty = (took["0of4"] + took["2of4"]) / 2
        row = rules[rule]
        assert row["sources"] == {"measured": 1}
        predicted = (
            empty + 2 * (took[KEPT] - empty) if took[KEPT] > empty else sum(took[k] for k in took if k != TAKEN) / 3
        )
        assert row["hours_left"] * 3600 == pytest.approx(predicted)
    assert rules["fit"]["sources"] == {"measured": rules["fit"]["left"]}


def test_before_anything_has_run_hours_come_from_the_card(project):
    for name in ("preprocessed", "benchmarks", "derivatives", "features", "runs"):
        shutil.rmtree(project.folder / "results" / name)
    for path in (project.folder / "results").glob("*.tsv"):
        path.unlink()
    rules = {row["rule"]: row for row in asked(project, "show_plan")["rules"]}
    card = yaml.safe_load((project.folder / "config/preprocessing/average_reference.yaml").read_text())
    row = rules["preprocess_eeg"]
    assert row["sources"] == {"card": 2}
    assert row["hours_left"] == pytest.approx(3 * card["seconds_per_subject"] / 3600)
    assert row["unsized"] == 2
    assert rules["fit"]["hours_left"] is None


def test_the_storage_policies_of_the_plan_are_what_clean_leaves(project):
    plan = asked(project, "show_plan")["storage"]
    for policy in ("standard", "lean"):
        removed = sum(kind["bytes"] for kind in asked(project, "clean_results", "--storage", policy)["kinds"].values())
        assert plan["full"]["bytes"] - plan[policy]["bytes"] == pytest.approx(removed, rel=0.02)
    assert plan["full"]["bytes"] == pytest.approx(sum(room(project).values()), rel=0.15)


# ---- clean


def test_after_clean_nothing_is_to_be_done_and_what_counts_is_untouched(project):
    before, everything = kept(project), room(project)
    litter = project.folder / "results/runs/tiny/.scores.tsv.part-abcd1234.tsv"
    litter.write_text("half")
    assert "nothing is removed yet" in call(project, "clean_results")
    assert litter.exists()
    assert set(room(project)) - {str(litter.relative_to(project.folder))} == set(everything)
    for policy in ("full", "standard", "lean"):
        removed = asked(project, "clean_results", "--storage", policy, "--yes")
        assert removed["removed"]
        assert not litter.exists()
        assert project.planned() == {}, policy
        assert kept(project) == before, policy
        assert asked(project, "show_status")["counts"].keys() == {"done"}, policy
    assert list((project.folder / "results").rglob("*.npz")) == []
    assert asked(project, "clean_results", "--storage", "lean")["kinds"] == {}
    # What is needed again is made again, and comes out the same.
    methods = {**STUDY["methods"], "again": {**STUDY["methods"]["mdm"], "component": "mdm"}}
    project.card("studies", "tiny", STUDY, methods=methods)
    planned = project.planned()
    assert {"preprocess_eeg", "extract_features", "fit"} <= planned.keys()
    project.run()
    text = (project.folder / "results/runs/tiny/scores.tsv").read_text().splitlines()
    earlier = before["results/runs/tiny/scores.tsv"].decode().splitlines()
    assert set(earlier) < set(text)


def test_the_policy_is_that_of_the_configuration(project):
    project.card("", "config", storage="lean")
    assert asked(project, "clean_results")["storage"] == "lean"
    assert asked(project, "clean_results", "--storage", "full")["storage"] == "full"
    configuration = json.dumps({"storage": "most"})
    assert "no policy 'most'" in call(project, "clean_results", "--configuration", configuration, status=2)


# ---- recommend


def test_a_recommendation_is_a_profile_that_snakemake_takes(project):
    asked(project, "recommend", "--margin", "2")
    profile = "results/recommended"
    asks = yaml.safe_load((project.folder / profile / "config.yaml").read_text())["set-resources"]
    assert {"preprocess_eeg", "extract_features", "fit"} <= asks.keys()
    text = project.run("--dry-run", "--forceall", "--workflow-profile", profile)
    mem_mb = int(asks["fit"]["mem_mb"].partition(" ")[0])
    blocks = [block for block in text.split("\nrule ") if block.startswith("fit:")]
    assert len(blocks) == 4
    assert all(f"mem_mb={mem_mb}," in block for block in blocks)
    assert asked(project, "recommend", "--check")["ok"]
    benchmark = next((project.folder / "results/benchmarks/fit").rglob("*.tsv"))
    header, row = benchmark.read_text().splitlines()
    cells = dict(zip(header.split("\t"), row.split("\t"), strict=True)) | {"max_rss": str(mem_mb + 1)}
    benchmark.write_text("\n".join([header, "\t".join(cells.values())]) + "\n")
    found = asked(project, "recommend", "--check", status=1)
    assert [(row["rule"], row["resource"], row["over"]) for row in found["rows"] if row["over"]] == [
        ("fit", "mem_mb", 1)
    ]


# ---- doctor and prefetch


def test_doctor_says_what_is_missing_before_anything_is_queued(project):
    found = asked(project, "doctor", "--cores", "1")
    assert found["ok"]
    assert {"cards", "folder", "disk", "memory", "packages", "slurm"} <= {one["what"] for one in found["findings"]}
    project.card("datasets", "tiny", root="/no/such/folder")
    found = asked(project, "doctor", status=1)
    failed = [one for one in found["findings"] if one["level"] == "fail"]
    assert [one["what"] for one in failed] == ["cards"]
    assert "/no/such/folder" in failed[0]["text"]
    assert len(failed[0]["remedy"]) > 3
    done = project.snakemake("doctor")
    assert done.returncode != 0
    assert "/no/such/folder" in done.stdout


def test_a_file_that_is_not_downloaded_is_said_before_jobs_start(project):
    weights = {"url": "https://example.org/weights.bin", "sha256": "ab" * 32, "licence": "CC0"}
    project.card("features", "tiny", FEATURE, files={"weights": weights})
    assert "nothing is needed" not in call(project, "prefetch", "--list", status=1)
    (need,) = asked(project, "prefetch", "--list", status=1)["needs"]
    assert (need["kind"], need["address"], need["is_there"]) == ("file", weights["url"], False)
    done = project.snakemake("--dry-run")
    assert done.returncode != 0
    line = f"files.weights: {need['path']} is not downloaded yet; run: snakemake prefetch"
    assert line in done.stdout
    path = project.folder / need["path"]
    path.parent.mkdir(parents=True)
    path.write_text("weights")
    assert asked(project, "prefetch", "--list")["ok"]
    project.card("features", "tiny", FEATURE, files={"weights": {**weights, "sha256": "ab"}})
    assert "files.weights" in call(project, "prefetch", "--list", status=2)


def test_prefetch_fetches_a_dataset_by_its_name(project, tiny_data, tmp_path, monkeypatch):
    """As a target: the run that it starts within must not meet the lock of the one that it is part of."""
    need_annex()
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    source = publish(tiny_data, tmp_path / "published")
    card = {key: value for key, value in DATASET.items() if key != "root"}
    origin = {"datalad": {"url": f"file://{source}", "version": "1.0.0"}, "blocks": 2}
    project.card("datasets", "published", {**card, **origin})
    project.card("", "config", {"runs": [{"study": "tiny", "dataset": "published"}]})
    (need,) = asked(project, "prefetch", "--list", status=1)["needs"]
    assert (need["kind"], need["name"], need["is_there"]) == ("dataset", "published", False)
    done = project.snakemake("prefetch", "--quiet", "all")
    assert done.returncode == 0, done.stdout + project.logs()
    assert "1 of 1 there" in done.stdout
    assert (project.folder / "results/datasets/published/fetched.json").is_file()
    assert len(list((project.folder / "results/datasets/published/bids").glob("sub-*"))) == 3


@pytest.mark.parametrize("target", ["status", "doctor", "plan", "recommend", "clean", "prefetch"])
def test_every_target_answers_and_leaves_results_alone(project, target):
    before = contents(project.folder, "results/runs", "results/features", "results/derivatives", "data")
    done = project.snakemake(target, "--quiet", "all")
    assert done.returncode == 0, done.stdout
    said = {"status": "0 jobs left", "doctor": "0 of", "plan": "0 of them left", "recommend": "written: ",
            "clean": "would remove", "prefetch": "nothing is needed"}  # fmt: skip
    assert said[target] in done.stdout
    assert contents(project.folder, "results/runs", "results/features", "results/derivatives", "data") == before
    assert project.planned() == {}
