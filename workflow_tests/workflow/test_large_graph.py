"""Many blocks, with jobs that do nothing: how many jobs, how long their commands, what is done twice."""

from __future__ import annotations

import shlex
import sys
from collections import Counter
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

import scale
import yaml

from replicortex.bids import block_of
from replicortex.numbered import expand

N_BLOCKS = 128


@pytest.fixture(scope="module")
def tree(tmp_path_factory) -> Path:
    """A dataset of 40 recordings of EEG and 40 of BOLD."""
    root = tmp_path_factory.mktemp("tree") / "raw"
    scale.make_sparse(root, 80)
    return root


def empty_project(folder: Path, tree: Path, line: str, n_blocks: int) -> Path:
    """A copy of the project whose jobs do nothing, on the tree."""
    project = scale.make_project(folder, tree, line)
    path = project / "config" / "datasets" / f"large_{line}.yaml"
    path.write_text(yaml.safe_dump({**yaml.safe_load(path.read_text()), "blocks": n_blocks}))
    return project


def plan(project: Path, *arguments: str) -> str:
    done = scale.measure([scale.SNAKEMAKE, "--cores", "2", "--dry-run", *arguments], project)
    assert done.status == 0, done.output[-3000:]
    return done.output


def test_the_graph_is_that_of_blocks_and_no_command_grows_with_them(tmp_path, tree):
    """Two recipes and features: three jobs a block, and the rest depends on the study alone."""
    project = empty_project(tmp_path / "project", tree, "fmri", N_BLOCKS)
    # As the rules are: only the commands of the copy do nothing.
    text = plan(project, "--printshellcmds")
    counts = scale.counts(text)
    of_blocks = {name for name, n in counts.items() if n == N_BLOCKS}
    assert of_blocks == {"preprocess_anat", "preprocess_func", "extract_features_mri"}
    rest = scale.planned(text) - 3 * N_BLOCKS
    small = empty_project(tmp_path / "small", tree, "fmri", 2)
    assert rest == scale.planned(plan(small, "--quiet", "rules")) - 3 * 2

    commands = [line for line in text.splitlines() if line.startswith("Shell command: ")]
    # Linux takes 131,072 characters as one word; the longest hold a study card.
    assert max(map(len, commands)) < 16_000
    told = {}
    for command in commands:
        words = shlex.split(command)
        for number, word in enumerate(words):
            for script in ("collect_features", "collect_status", "collect_quality", "fit", "make_splits"):
                if word.endswith(f"scripts/{script}.py"):
                    told[script] = [
                        path for other in words[number:] for path in expand(other) if f"of{N_BLOCKS}." in path
                    ]
    number = {"collect_features": 1, "collect_status": 2, "collect_quality": 1, "fit": 1, "make_splits": 1}
    assert {script: len(set(paths)) for script, paths in told.items()} == {k: n * N_BLOCKS for k, n in number.items()}


def test_a_killed_run_goes_on_and_a_changed_subject_is_one_block(tmp_path, tree):
    project = empty_project(tmp_path / "project", tree, "eeg", 16)
    total = scale.planned(plan(project, "--quiet", "rules"))
    killed = scale.measure(scale.snakemake(), project, stop_after=total // 3)
    assert killed.status != 0
    done = len(scale.ran(project))
    assert total // 3 <= done < total
    assert scale.measure(scale.snakemake(), project).status == 0
    jobs = Counter(scale.ran(project))
    assert len(jobs) == total
    assert jobs.total() <= total + 2, "what was running on two cores may have to be run again, and nothing else"

    subject = "000010"
    path = tree / f"sub-{subject}" / "eeg" / f"sub-{subject}_task-rest_eeg.edf"
    path.write_text("changed")
    text = plan(project)
    counts = scale.counts(text)
    assert counts["preprocess_eeg"] == counts["extract_features"] == counts["collect_features"] == 1
    assert f"block={block_of(subject, 16)}of16" in text
