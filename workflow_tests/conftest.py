"""Fixtures that several test files share."""

from __future__ import annotations

import os
import tarfile
from pathlib import Path

import pytest

# As in jobs, and before anything imports ANTs: with more threads its results differ in the last bits.
os.environ.setdefault("ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS", "1")

from project import DATASET, FEATURE, STUDY, Project, copy_sources
from raw_guard import guarded_module, guarded_session, pytest_report_header  # noqa: F401 - fixtures and a hook


def pytest_collection_modifyitems(items):
    """Start with the files that take longest: those on the cluster, which mostly wait, then those of whole runs."""
    first = ("/test_slurm", "/workflow/")
    items.sort(key=lambda item: [part not in item.path.as_posix() for part in first])


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    """Keep each file whole where tests run in parallel: its fixtures are made once.

    All tests on the SLURM test cluster stay together too: one of them stops a node.
    """
    from xdist.scheduler import LoadScopeScheduling

    class ByFile(LoadScopeScheduling):
        def _split_scope(self, nodeid):
            file = nodeid.partition("::")[0]
            return "the cluster" if "/test_slurm" in file else file

    return ByFile(config, log)


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of small real datasets; tests that need it skip with a reason where it is absent."""
    folder = os.environ.get("REPLICORTEX_REAL_DATA")
    if not folder or not Path(folder).is_dir():
        pytest.skip("real data: set REPLICORTEX_REAL_DATA to their folder")
    return Path(folder)


@pytest.fixture(scope="session")
def examples(tmp_path_factory):
    """Folders of the example datasets."""
    archive = Path(os.environ.get("REPLICORTEX_REAL_DATA", "")) / "bids-examples" / "bids-examples.tar.xz"
    if not archive.is_file():
        pytest.skip("set REPLICORTEX_REAL_DATA to a folder with bids-examples/bids-examples.tar.xz")
    root = tmp_path_factory.mktemp("bids-examples")
    with tarfile.open(archive) as stream:
        stream.extractall(root, filter="data")
    return sorted(path for path in root.iterdir() if path.is_dir())


@pytest.fixture(scope="session")
def tiny_data(tmp_path_factory) -> Path:
    """A tiny BIDS dataset."""
    from replicortex.components import load
    from replicortex.stages.simulate import simulate_dataset

    folder = tmp_path_factory.mktemp("tiny")
    tiny = load("simulators", "motor_imagery_eeg").tiny
    params = {**tiny, "n_subjects": 3, "n_sessions": 1, "n_trials": 6}
    simulate_dataset("motor_imagery_eeg", params, "planted", 0, folder / "data", folder / "truth.json")
    return folder / "data"


@pytest.fixture(scope="session")
def finished(tmp_path_factory, tiny_data) -> Project:
    """A project whose run on linked tiny data is complete. Never changed: tests copy it."""
    import shutil

    project = Project(copy_sources(tmp_path_factory.mktemp("project") / "finished"))
    shutil.copytree(tiny_data, project.folder / "data")
    project.card("studies", "tiny", STUDY)
    project.card("features", "tiny", FEATURE)
    project.card("datasets", "tiny", DATASET, blocks=2)
    project.card("", "config", {"runs": ["tiny"]})
    project.run()
    return project


@pytest.fixture
def project(finished, tmp_path) -> Project:
    """A finished project that a test may change."""
    return finished.copy(tmp_path / "project")
