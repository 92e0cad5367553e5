"""What is run again after a change: exactly what depends on it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

FIT = {
    "fit",
    "check_leaks",
    "score_predictions",
    "summarize_run",
    "judge_claims",
    "collect_claims",
    "collect_choices",
    "collect_numbers",
    "plot_figure",
    "write_methods",
    "build_site",
    "describe_results",
    "all",
}


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


def test_nothing_is_run_twice(project):
    assert project.planned() == {}


def test_touch_alone_reruns_nothing(project):
    for path in project.folder.rglob("*"):
        if path.is_file() and ".snakemake" not in path.parts:
            os.utime(path)
    # Files are compared by content. The folders of displays and of the site have times only: by the order in which
    # they were touched, the pages and what lists them are written again, in seconds.
    assert project.planned().keys() <= {"build_site", "describe_results", "all"}


def test_a_method_parameter_reruns_its_fits_only(project):
    path = project.folder / "config/studies/tiny.yaml"
    edit(path, "n_shrinkages: 2", "n_shrinkages: 3")
    planned = project.planned()
    assert planned["fit"] == 2, "mdm, observed and null-1; csp_lda stays"
    assert set(planned) - {"check_study", "describe_run"} == FIT


def test_a_preprocessing_parameter_reruns_from_there(project):
    edit(project.folder / "config/preprocessing/average_reference.yaml", "l_freq: 1.0", "l_freq: 2.0")
    planned = project.planned()
    assert planned["preprocess_eeg"] == 2
    assert planned["fit"] == 4
    assert "validate_dataset" not in planned


def test_an_edited_method_reruns_its_fits_only(project):
    edit(
        project.folder / "scripts/replicortex/methods/csp_lda.py",
        '"""Return the number of conf',
        '"""Give the number of conf',
    )
    planned = project.planned()
    assert planned["fit"] == 2
    assert set(planned) - {"check_study"} == FIT


def test_an_edited_shared_module_reruns_what_imports_it(project):
    edit(
        project.folder / "scripts/replicortex/shared/riemann.py",
        "MEAN_TOLERANCE = 1e-6",
        "MEAN_TOLERANCE = 1e-7",
    )
    planned = project.planned()
    assert planned["fit"] == 4
    assert not {"preprocess_eeg", "extract_features", "make_splits"} & set(planned)


def test_an_edited_extractor_reruns_features_and_not_preprocessing(project):
    with (project.folder / "scripts/replicortex/features/epochs.py").open("a") as stream:
        stream.write("\n# edited\n")
    planned = project.planned()
    assert planned["extract_features"] == 2
    assert "preprocess_eeg" not in planned


def test_an_environment_file_reruns_what_runs_in_it(project):
    edit(project.folder / "envs/base.yaml", "- pip\n", "- pip\n  - tzdata\n")
    planned = set(project.planned())
    assert planned >= {"validate_dataset", "collect_status"}
    assert not planned & {"preprocess_eeg", "extract_features", "make_splits", "fit", "score_predictions"}


def test_a_new_metric_does_not_refit(project):
    edit(project.folder / "config/studies/tiny.yaml", "roc_auc: {}", "roc_auc: {}\n    accuracy: {}")
    planned = project.planned()
    assert not {"fit", "make_splits", "check_leaks", "extract_features"} & set(planned)
    assert planned["score_predictions"]


def test_a_changed_recording_reruns_its_block_and_keeps_the_others(project):
    """Content counts, even if size and everything else stay."""
    signal = sorted((project.folder / "data").rglob("*_eeg.eeg"))[0]
    content = bytearray(signal.read_bytes())
    content[100] ^= 1
    signal.write_bytes(content)
    planned = project.planned()
    assert planned["preprocess_eeg"] == 1
    assert planned["extract_features"] == 1
    project.run()
    log = project.folder / "logs/preprocess_eeg/tiny/average_reference"
    texts = "".join(path.read_text() for path in log.iterdir())
    assert texts.count(": done") == 1, "the other recordings of the block are kept as they are"
    assert texts.count(": unchanged") == 2
    assert project.planned() == {}


def test_a_changed_sidecar_or_events_table_counts_as_content(project):
    events = sorted((project.folder / "data").rglob("*_events.tsv"))[0]
    lines = events.read_text().splitlines(keepends=True)
    events.write_text("".join(lines[:-1]))
    assert project.planned()["preprocess_eeg"] == 1


@pytest.mark.parametrize("name", ["results/claims.tsv", "results/runs/tiny/scores.tsv"])
def test_a_lost_result_is_made_again_and_is_the_same(project, name):
    path = project.folder / name
    before = path.read_bytes()
    path.unlink()
    assert not {"fit", "make_splits"} & set(project.planned(name))
    project.run(name)
    assert path.read_bytes() == before


def test_everything_again_gives_the_same_bytes(project):
    """Other processes, other folder: no time, path, address or thread count enters a result."""

    # Times of raw files stand in the index.
    before = project.results(but=r"datasets/\w+/index\.tsv")
    project.run("--forceall")
    after = project.results(but=r"datasets/\w+/index\.tsv")
    assert before.keys() == after.keys()
    assert [name for name in before if before[name] != after[name]] == []
