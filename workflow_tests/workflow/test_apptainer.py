"""Real containers: results as without, raw data read-only, nothing of the host's Python, images checked first."""

from __future__ import annotations

import hashlib
import http.server
import io
import json
import os
import re
import shutil
import stat
import subprocess
import sys
import tarfile
import threading
from pathlib import Path

import pytest

from engines import container_environment, images, needs_apptainer  # noqa: F401 - a fixture
from project import SOURCE, Project, copy_sources

pytestmark = pytest.mark.apptainer
PROFILE = ("--profile", "config/profiles/apptainer")
#: What tells of the machine: when files changed, what else is installed, which image made a derivative.
OF_A_MACHINE = r"datasets/\w+/scan\.json|runs/\w+/checks/\w+\.json|derivatives/\w+/\w+/dataset_description\.json"

#: Put before everything else on the search path of every Python that takes paths from the environment.
SITECUSTOMIZE = """
import pathlib
if pathlib.Path("/.singularity.d").exists():
    pathlib.Path("leaked").write_text("a container's Python took the host's packages")
"""

#: Appended to a Snakefile: a job that tries what no job may do, and says what came of it.
PROBE = """

rule probe:
    output:
        "probe.txt",
    container:
        CONTAINERS["base"]
    shell:
        "exec > {output} 2>&1; for path in data/participants.tsv data/new scripts/fit.py; do echo x >> $path || true;"
        " done; command -v python; python -c 'import numpy' || true; nvidia-smi || true; echo end"
"""


@pytest.fixture(autouse=True)
def environment(monkeypatch):
    for name, value in container_environment().items():
        monkeypatch.setenv(name, value)


def contents(folder: Path) -> dict[str, str]:
    """Digest of every file below a folder."""
    paths = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}


def empty(project: Project) -> Project:
    """A project that has not run."""
    for name in ("results", "logs", ".snakemake"):
        shutil.rmtree(project.folder / name)
    return project


def test_results_are_those_without_containers_and_nothing_of_the_host_leaks(project, finished, images, tmp_path):  # noqa: F811
    empty(project)
    images(project)
    poison = tmp_path / "poison"
    poison.mkdir()
    (poison / "sitecustomize.py").write_text(SITECUSTOMIZE)
    for name in ("mne", "pyriemann"):
        (poison / f"{name}.py").write_text("raise RuntimeError('the copy of the host')\n")
    done = project.snakemake(*PROFILE, PYTHONPATH=str(poison))
    assert done.returncode == 0, done.stdout[-6000:] + project.logs()
    assert not (project.folder / "leaked").exists()
    there, here = finished.results(OF_A_MACHINE), project.results(OF_A_MACHINE)
    assert set(here) == set(there)
    assert {name for name in here if here[name] != there[name]} == set()
    described = "results/derivatives/tiny/average_reference/dataset_description.json"
    inside, outside = (json.loads((one.folder / described).read_text()) for one in (project, finished))
    assert inside["GeneratedBy"][0].pop("Container")["Type"] == "apptainer"
    assert inside == outside
    assert project.planned(*PROFILE) == {}
    # The home folder of a container is the working directory: libraries may not leave their caches there.
    assert {path.name for path in project.folder.iterdir()} - {path.name for path in finished.folder.iterdir()} == set()


def test_a_job_can_not_write_to_raw_data_nor_see_the_packages_of_the_host(project, images, tmp_path):  # noqa: F811
    images(project, "base", "signal")
    with (project.folder / "Snakefile").open("a") as stream:
        stream.write(PROBE)
    # In place of a GPU: --nv brings NVIDIA's programs into the container.
    program = tmp_path / "bin" / "nvidia-smi"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\necho the host has a GPU\n")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    raw = contents(project.folder / "data")
    path = f"{program.parent}:{os.environ['PATH']}"
    packages = str(Path(sys.prefix) / "lib" / f"python{sys.version_info[0]}.{sys.version_info[1]}" / "site-packages")
    done = project.snakemake(*PROFILE, "probe.txt", PATH=path, APPTAINER_NV="1", PYTHONPATH=packages)
    assert done.returncode == 0, done.stdout[-3000:]
    said = (project.folder / "probe.txt").read_text()
    for name in ("data/participants.tsv", "data/new", "scripts/fit.py"):
        assert f"{name}: Read-only file system" in said
    assert contents(project.folder / "data") == raw
    assert "/opt/venv/bin/python\n" in said
    assert "No module named 'numpy'" in said
    assert "the host has a GPU" in said


def test_a_working_directory_away_from_the_project_and_inside_the_dataset(project, images, tmp_path):  # noqa: F811
    """Where both are hard: the code lies outside, and raw data around the results."""
    images(project)
    place = project.folder / "data" / "derivatives" / "tiny"
    place.mkdir(parents=True)
    project.card("datasets", "tiny", root=str(project.folder / "data"))
    raw = contents(project.folder / "data")
    target = "results/datasets/tiny/validation.json"
    arguments = ("--directory", str(place), "--sdm", "apptainer", "--cores", "1", target)
    done = project.snakemake(*arguments)
    assert done.returncode == 0, done.stdout[-3000:] + Project(place).logs()
    assert (place / target).is_file()
    after = contents(project.folder / "data")
    assert {name: after[name] for name in raw} == raw


def test_a_missing_or_stale_image_is_one_line_before_anything_runs(project, images, tmp_path):  # noqa: F811
    found = images(project)
    empty(project)
    constraints = project.folder / "constraints.txt"
    constraints.write_text(constraints.read_text().replace("scipy==", "scipy==9."))
    for fault in (f"{found['signal']}: was built with scipy ", f"{tmp_path}/gone.sif: no such image; build it: "):
        done = project.snakemake(*PROFILE)
        assert done.returncode == 1
        lines = [line for line in done.stdout.splitlines() if fault in line]
        assert len(lines) == 1, done.stdout
        assert "python scripts/build_images.py" in lines[0]
        assert "Traceback" not in done.stdout
        assert not (project.folder / "results" / "claims.tsv").exists()
        # What runs nothing is only told.
        dry = project.snakemake(*PROFILE, "--dry-run")
        assert dry.returncode == 0
        assert f"warning: {fault}" in dry.stdout
        assert project.snakemake(*PROFILE, "--unlock").returncode == 0
        path = project.folder / "containers" / "images.yaml"
        path.write_text(path.read_text().replace(str(found["base"]), str(tmp_path / "gone.sif")))


# ---- an image named by its digest, from a registry on this machine


def blob(content: bytes) -> tuple[str, bytes]:
    """A content with its name in a registry."""
    return f"sha256:{hashlib.sha256(content).hexdigest()}", content


def small_system() -> bytes:
    """A tar archive with bash and the libraries that it needs: all that a container must have."""
    bash = Path("/bin/bash").resolve()
    listed = subprocess.run(["ldd", str(bash)], capture_output=True, text=True, check=True, timeout=60).stdout  # noqa: S607
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name in ("bash", "sh"):
            archive.add(bash, f"bin/{name}")
        for library in re.findall(r"(/\S+) \(0x", listed):
            archive.add(Path(library).resolve(), library.lstrip("/"))
        for folder in ("tmp", "proc", "sys", "dev", "etc", "var/tmp", "home", "root"):
            entry = tarfile.TarInfo(folder)
            entry.type, entry.mode = tarfile.DIRTYPE, 0o755
            archive.addfile(entry)
    return buffer.getvalue()


HELLO = """

rule hello:
    output:
        "hello.txt",
    container:
        CONTAINERS["base"]
    shell:
        "echo $APPTAINER_CONTAINER > {output}"
"""


@pytest.fixture
def registry():
    """A server that holds one image: its address, and what it serves by path, which a test may change."""
    layer = blob(small_system())
    config = {"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": [layer[0]]}}
    config = blob(json.dumps({**config, "config": {"Env": ["PATH=/bin"]}}).encode())
    kind = "application/vnd.oci.image"
    manifest = {
        "schemaVersion": 2,
        "mediaType": f"{kind}.manifest.v1+json",
        "config": {"mediaType": f"{kind}.config.v1+json", "digest": config[0], "size": len(config[1])},
        "layers": [{"mediaType": f"{kind}.layer.v1.tar", "digest": layer[0], "size": len(layer[1])}],
    }
    manifest = blob(json.dumps(manifest).encode())
    served = {"/v2/": b"{}", f"/v2/lab/tool/manifests/{manifest[0]}": manifest[1]}
    served |= {f"/v2/lab/tool/blobs/{name}": content for name, content in (config, layer)}

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            content = served.get(self.path)
            self.send_response(404 if content is None else 200)
            is_manifest = "/manifests/" in self.path
            self.send_header("Content-Type", f"{kind}.manifest.v1+json" if is_manifest else "application/octet-stream")
            self.send_header("Content-Length", str(len(content or b"")))
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(content or b"")

        do_HEAD = do_GET  # noqa: N815

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"docker://127.0.0.1:{server.server_address[1]}/lab/tool@{manifest[0]}", served
    server.shutdown()
    server.server_close()


def test_an_image_named_by_its_digest_is_pulled_and_no_other_taken(tmp_path, registry, monkeypatch):
    needs_apptainer()
    address, served = registry
    monkeypatch.setenv("APPTAINER_NOHTTPS", "1")
    monkeypatch.setenv("APPTAINER_CACHEDIR", str(tmp_path / "cache"))
    project = Project(copy_sources(tmp_path / "project"))
    shutil.copy2(SOURCE / "constraints.txt", project.folder)
    (project.folder / "containers" / "images.yaml").write_text(f"base: {address}\nsignal: {address}\n")
    with (project.folder / "Snakefile").open("a") as stream:
        stream.write(HELLO)
    manifest = next(path for path in served if "/manifests/" in path)
    kept = served[manifest]
    served[manifest] = kept.replace(b'"schemaVersion": 2', b'"schemaVersion":  2')
    done = project.snakemake("hello.txt", "--sdm", "apptainer")
    assert done.returncode == 1
    assert "Failed to pull singularity image" in done.stdout
    assert not (project.folder / "hello.txt").exists()
    served[manifest] = kept
    done = project.snakemake("hello.txt", "--sdm", "apptainer")
    assert done.returncode == 0, done.stdout[-3000:]
    pulled = list((tmp_path / "cache").glob("*.simg"))
    assert (project.folder / "hello.txt").read_text().strip() == str(pulled[0])
