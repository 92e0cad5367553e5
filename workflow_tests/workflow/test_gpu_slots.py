"""The torch method through the workflow: on the processor, and on devices that only a stand-in for nvidia-smi lists."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

from project import Project, copy_sources
from replicortex import gpu

TIMEOUT = 600
UUID = "GPU-aaaa0000-1111-2222-3333-444444444444"
LISTING = f"GPU 0: NVIDIA A100-SXM4-40GB (UUID: {UUID})"
RUN = "results/runs/fc_coreset/observed"
FITS = [f"{RUN}/{method}/seed-0_part-0of1/fit.json" for method in ("sclcs", "sclcs_stable")]


@pytest.fixture(scope="module")
def coreset(tmp_path_factory) -> Project:
    """The study of a torch method on eight simulated people, one method fitted where there is no device."""
    pytest.importorskip("torch")
    project = Project(copy_sources(tmp_path_factory.mktemp("coreset") / "project"))
    params = {"n_subjects": 8, "n_sessions": 2, "n_regions": 6, "n_volumes": 60}
    project.card("datasets", "sim_roi_series", simulate={"simulator": "roi_series", "params": params}, blocks=1)
    feature = {"denoise": {"strategy": "none", "standardize": "none"}, "operators": ["pearson", "spearman"]}
    project.card("features", "fc_operator_windows", params={**feature, "window": 20, "stride": 10})
    study = project.card("studies", "fc_coreset")
    for name in ("sclcs", "sclcs_stable"):
        study["methods"][name]["params"] = {"n_heads": 2, "dim": 4, "epochs": 10, "snapshots": 2,
                                            "selection": "stable" if "stable" in name else "density"}  # fmt: skip
    study["evaluation"]["schemes"] = {"k_fold": {"folds": 2, "repeats": 1}}
    project.card("studies", "fc_coreset", study, scale={"demo": {}, "paper": {}})
    project.card("", "config", {"runs": ["fc_coreset"]})
    done = run(project, FITS[0], CUDA_VISIBLE_DEVICES="")
    assert done.returncode == 0, done.stdout[-3000:] + project.logs()
    # Nothing limits jobs where there is no device.
    assert not re.search(r"Provided resources:.*gpu", done.stdout)
    return project


def run(project: Project, *arguments: str, wait: bool = True, **environment: str):
    """Snakemake in the project's folder, with a time limit."""
    command = [str(Path(sys.executable).parent / "snakemake"), "--cores", "2", "--nocolor", *arguments]
    given = {name: value for name, value in os.environ.items() if name not in (*gpu.SCHEDULERS, gpu.VISIBLE)}
    process = subprocess.Popen(
        command,
        cwd=project.folder,
        env=given | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    if not wait:
        return process
    try:
        out, _ = process.communicate(timeout=TIMEOUT)
    finally:
        process.kill()
    return subprocess.CompletedProcess(command, process.returncode, out)


def made(project: Project) -> dict[str, bytes]:
    """What the first fit wrote: predictions, models, record."""
    return {path.name: path.read_bytes() for path in (project.folder / FITS[0]).parent.iterdir()}


def logs(project: Project) -> dict[str, str]:
    """The logs of the fits, by method."""
    return {path.parent.name: path.read_text() for path in (project.folder / "logs" / "fit").rglob("*.log")}


def test_without_a_device_a_torch_method_runs_on_the_processor_and_says_so(coreset):
    said = logs(coreset)["sclcs"]
    assert "gpu: 1 asked for, no device here; CUDA_VISIBLE_DEVICES is empty; running on the processor" in said
    assert json.loads((coreset.folder / FITS[0]).read_text())["device"] == "cpu"


def test_jobs_wait_for_the_device_that_another_process_holds(coreset, tmp_path, monkeypatch, request):
    """Two jobs at a time are allowed on purpose; the one device is held by this test, then free for one at a time."""
    project = coreset.copy(tmp_path / "project")
    before = made(project)
    (tmp_path / "bin").mkdir()
    program = tmp_path / "bin" / "nvidia-smi"
    program.write_text(f"#!/bin/sh\necho '{LISTING}'\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    monkeypatch.setenv(gpu.RUNTIME, str(tmp_path / "locks"))
    for name in (*gpu.SCHEDULERS, gpu.VISIBLE):
        monkeypatch.delenv(name, raising=False)

    # Left alone, Snakemake starts one such job at a time: as many as there are devices, whatever is asked for.
    arguments = ["--dry-run", "--forcerun", "fit_torch", "--set-resources", "fit_torch:gpu=4", "--", *FITS]
    planned = run(project, *arguments)
    assert planned.returncode == 0, planned.stdout[-3000:]
    assert re.findall(r"resources: .*\bgpu=(\d+)", planned.stdout) == ["1", "1"], planned.stdout[-3000:]

    with gpu.claimed(1) as held:
        assert [device.visible for device in held] == [UUID]
        arguments = ["--resources", "gpu=2", "--set-threads", "fit_torch=1", "--forcerun", "fit_torch", "--", *FITS]
        process = run(project, *arguments, wait=False)
        request.addfinalizer(process.kill)
        until = time.monotonic() + TIMEOUT
        while sum("waiting for 1 device" in text for text in logs(project).values()) < 2:
            assert time.monotonic() < until, logs(project)
            assert process.poll() is None, process.communicate()[0][-3000:]
            time.sleep(0.2)
        for text in logs(project).values():
            assert f"{UUID} is held by process {os.getpid()} in" in text
            assert "using" not in text
    out, _ = process.communicate(timeout=TIMEOUT)
    assert process.returncode == 0, out[-3000:] + project.logs()
    for text in logs(project).values():
        assert f"gpu: using {UUID} NVIDIA A100-SXM4-40GB" in text
        # It is a stand-in: torch finds no device behind it, says so, and the record says what was computed on.
        assert f"torch can not use {UUID}" in text
    # Also the settings for a device change nothing on the processor.
    assert len(before) == 3
    assert made(project) == before
