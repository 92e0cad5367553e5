"""The workflow on a real SLURM cluster of two nodes, with the profile that users get."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections import Counter

import pytest
import yaml

import cluster
from engines import container_environment, images  # noqa: F401
from project import SOURCE, STUDY, Project

pytestmark = pytest.mark.slurm

PROFILES = SOURCE / "config" / "profiles"
#: A fit that asks for a GPU; it does not need one, so that its results can be compared.
ON_GPU = {**STUDY["methods"]["mdm"], "component": "mdm", "role": "baseline", "family": "torch"}
ON_GPU["resources"] = {"gpu": 1, "threads": 1, "mem_mb": 1500}


@pytest.fixture(scope="module")
def ran(finished, tmp_path_factory) -> Project:
    """A project of which all was made on the cluster by one command."""
    cluster.required()
    project = cluster.copy(finished, tmp_path_factory.mktemp("slurm"))
    for made in ("results", "logs", ".snakemake"):
        shutil.rmtree(project.folder / made)
    project.card("studies", "tiny", methods={**STUDY["methods"], "mdm_gpu": ON_GPU})
    cluster.run(project, *cluster.settle(project))
    return project


def test_the_results_are_those_of_one_machine(ran, finished):
    here, there = ran.results(), finished.results()
    added = {name for name in here if "/mdm_gpu/" in name or name.endswith("checks/torch.json")}
    assert here.keys() - added == there.keys()
    # Tables over all methods have the third's rows as well. What else tells of a run, and the pages, name all methods
    # in other ways; the table of all claims does not. One file holds the time of the walk through the dataset.
    tables = {name for name in there if name.startswith("runs/") and name.endswith(("/scores.tsv", "/summary.tsv"))}
    of_all = {name for name in there if re.fullmatch(r"runs/tiny/([^/]+|figures/.*)|site/.*|README\.md", name)} - tables
    other = of_all | {name for name in there if name.endswith(("/guard.json", "/scan.json"))}
    for name in tables:
        lines = here[name].decode().splitlines()
        assert [line for line in lines if "mdm_gpu" not in line] == there[name].decode().splitlines(), name
        assert any("mdm_gpu" in line for line in lines), name
    same = there.keys() - tables - other
    assert {"claims.tsv", "status.tsv", "runs/tiny/observed/splits.tsv"} <= same
    assert sum(name.endswith(("/predictions.npz", "/models.zip", "/fit.json")) for name in same) == 12
    assert [name for name in sorted(same) if here[name] != there[name]] == []


def test_jobs_run_where_they_should(ran):
    jobs = cluster.accounted(ran)
    assert {job.state for job in jobs} == {"COMPLETED"}
    with_gpu = [job for job in jobs if "rule_fit_torch" in job.comment]
    assert len(with_gpu) == 2
    assert {job.node for job in with_gpu} == {"node2"}
    assert all("gres/gpu=1" in job.tres for job in with_gpu)
    others = [job for job in jobs if job not in with_gpu]
    assert not any("gpu" in job.tres for job in others)
    assert {job.node for job in others} == {"node1", "node2"}


def test_short_jobs_share_submissions(ran):
    """A submission asks for the largest memory and the sum of the times of its jobs, since they take turns."""
    jobs = cluster.accounted(ran)
    rules = Counter({row["rule"]: row["jobs"] for row in efficiency(ran)})
    assert rules.total() >= 26
    assert len(jobs) < 0.6 * rules.total()
    (block,) = [job for job in jobs if "block-tiny" in job.comment]
    assert rules["preprocess_eeg"] == rules["extract_features"] == 2
    assert block.limit == "00:40:00"
    assert "cpu=1,mem=4000M" in block.tres
    assert not any("gres/gpu" in job.tres for job in jobs if "fit-tiny" in job.comment)


def efficiency(project: Project) -> list[dict]:
    command = [sys.executable, "scripts/show_efficiency.py", "--json"]
    done = subprocess.run(command, cwd=project.folder, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_efficiency_is_told_of_every_rule(ran):
    cluster.accounted(ran)
    rows = {row["rule"]: row for row in efficiency(ran)}
    assert {name: rows[name]["jobs"] for name in ("fit", "fit_torch", "make_splits")} == {
        "fit": 4,
        "fit_torch": 2,
        "make_splits": 2,
    }
    fit = rows["fit"]
    # Both asked for as the rule says: four fits of 4000 MiB and 10 min take turns.
    assert (fit["mem_asked"], fit["minutes_asked"], fit["submissions"]) == (4000 * 2**20 / 1e6, 40, 1)
    # By another measure, Snakemake's own: the job's processes, to which SLURM adds Snakemake.
    measured = [
        path.read_text().splitlines() for path in (ran.folder / "results/benchmarks/fit").rglob("csp_lda/*.tsv")
    ]
    rss = max(float(dict(zip(*(line.split("\t") for line in lines), strict=True))["max_rss"]) for lines in measured)
    assert 0.5 * rss < fit["rss_max"] < rss + 800
    assert fit["memory_share"] == pytest.approx(fit["rss_max"] / fit["mem_asked"])
    assert 0.02 < fit["cpu_share"] <= 1.05
    assert all(row["failed"] == 0 and 0 < row["time_share"] < 1 for row in rows.values())


def test_a_failed_job_leads_to_one_log(ran, tmp_path):
    project = cluster.copy(ran, tmp_path)
    arguments = cluster.settle(project)
    card = project.card("features", "tiny")
    project.card("features", "tiny", params={**card["params"], "channels": ["C3", "Cz", "nowhere"]})
    running = cluster.start(project, *arguments, "--retries", "0", "--", "results/runs/tiny/observed/splits.tsv")
    assert cluster.finish(project, running, 900) != 0
    told = cluster.output(project).partition("What went wrong:\n")[2].splitlines()
    log, _, fault = told[0].strip().partition(": ")
    assert log == "logs/make_splits/tiny/observed.log"
    assert "no recording gave any row" in fault
    assert fault in (project.folder / log).read_text()
    # SLURM's own log, where also a job is told of that never began: in one folder, and only of what failed.
    (submission,) = (project.folder / "logs/slurm").rglob("*.log")
    assert "splits-tiny" in submission.parent.name
    assert not (project.folder / ".snakemake/slurm_logs").exists()


def test_containers_in_jobs(project, images):  # noqa: F811
    """A container inside a job inside SLURM makes what the bare job made."""
    cluster.required()
    made = ["results/quality/tiny/average_reference.tsv", "results/datasets/tiny/validation.tsv"]
    before = {path: (project.folder / path).read_bytes() for path in made}
    used = images(project)
    for path in made:
        (project.folder / path).unlink()
    arguments = [*cluster.settle(project), "--sdm", "apptainer", "--slurm-keep-successful-logs"]
    # Else everything would be made again, since it was made without a container.
    cluster.run(project, *arguments, "--rerun-triggers", "mtime", "--", *made, **container_environment())
    assert {path: (project.folder / path).read_bytes() for path in made} == before
    said = "".join(path.read_text() for path in (project.folder / "logs/slurm").rglob("*.log"))
    for image in used.values():
        assert f"Activating singularity image {image}" in said
    assert {job.state for job in cluster.accounted(project)} == {"COMPLETED"}


# ---- without a cluster


def test_the_gpu_profile_adds_only_the_gpu():
    plain, with_gpu = (yaml.safe_load((PROFILES / name / "config.yaml").read_text()) for name in ("slurm", "slurm-gpu"))
    assert {**plain, "apptainer-args": "--nv"} == with_gpu
