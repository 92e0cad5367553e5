"""Figures come again from their tables and specs alone, and what was changed since is told in a line."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from planted_volumes import planted_volumes
from project import SOURCE
from replicortex.cards import merge
from replicortex.components import load, names
from replicortex.errors import InputError
from replicortex.files import read_tsv
from replicortex.stages.figures import draw_figure
from replicortex.stages.redraw import redraw_figures

COMMAND = [sys.executable, str(SOURCE / "scripts" / "redraw_figures.py")]


@pytest.fixture(scope="module")
def drawn(finished, tmp_path_factory) -> Path:
    """Nothing but the figures of the finished run, all that there can be. Never changed."""
    run = finished.folder / "results/runs/tiny"
    folder = tmp_path_factory.mktemp("drawn") / "results" / "runs" / "tiny" / "figures"
    sources = [run / name for name in ("scores.tsv", "summary.tsv", "claims.json", "choices.tsv")]
    # The run generates nothing; there is a figure that shows nothing else.
    generated = planted_volumes(tmp_path_factory.mktemp("generated"))
    for name in names("figures"):
        draw_figure(name, load("figures", name).tiny, *sources, folder / f"{name}.json", generated=generated)
    return folder.parents[2]


@pytest.fixture
def results(drawn, tmp_path) -> Path:
    shutil.copytree(drawn, tmp_path / "results")
    return tmp_path / "results"


@pytest.fixture
def redraw(capsys):
    """Redraw in this process; return how many figures are at fault, and what was said of them."""

    def call(*folders: Path, **options) -> tuple[int, str, list[str]]:
        faults = redraw_figures(folders, **options)
        said = capsys.readouterr()
        return faults, said.out, said.err.splitlines()

    return call


def content(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_pictures_that_are_lost_come_again_byte_for_byte(drawn, results):
    """As a command, in a process of its own."""
    for path in results.rglob("*"):
        if path.suffix in (".svg", ".pdf"):
            path.unlink()
    done = subprocess.run([*COMMAND, results], capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    n = len(names("figures"))
    assert done.stdout == f"{n} of {n} figures drawn\n"
    assert content(results) == content(drawn)
    (results / "runs/tiny/figures/paired_scores.tsv").unlink()
    (results / "runs/tiny/figures/claims_board.tsv").write_text("x\n")
    done = subprocess.run([*COMMAND, results, "--check"], capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 1
    assert "claims_board.tsv: is not the table that was drawn" in done.stderr
    assert "paired_scores.tsv: no such file" in done.stderr


def test_what_is_as_it_should_be_is_not_written_again(results, redraw):
    before = {path: path.stat().st_mtime_ns for path in results.rglob("*")}
    assert redraw(results / "runs/tiny")[0] == 0
    assert {path: path.stat().st_mtime_ns for path in results.rglob("*")} == before


def test_elsewhere_and_by_several_processes(drawn, tmp_path, redraw):
    """Also from the folder of a site, where figures lie by run."""
    shutil.copytree(drawn / "runs/tiny/figures", tmp_path / "site" / "figures" / "tiny")
    before = content(tmp_path / "site")
    assert redraw(tmp_path / "site", out=tmp_path / "out", jobs=2)[0] == 0
    assert content(tmp_path / "out") == before == content(tmp_path / "site")


def test_every_picture_is_checked_and_nothing_written(drawn, results, redraw):
    assert redraw(results, check=True)[::2] == (0, [])
    figures = results / "runs/tiny/figures"
    svg = figures / "paired_scores.svg"
    svg.write_text(svg.read_text() + " ")
    (figures / "null_distribution.pdf").unlink()
    for name, change in (("claims_forest", {"files": {"pdf": {"sha256": "0"}}}), ("claims_board", {"alt": "other"})):
        spec = figures / f"{name}.json"
        spec.write_text(json.dumps(merge(json.loads(spec.read_text()), change)))
    before = content(results)
    faults, _, lines = redraw(results, check=True)
    assert faults == len(lines) == 4
    told = {Path(line.split(": ")[1]).stem: line for line in lines}
    assert "the file paired_scores.svg does not come out as before" in told["paired_scores"]
    assert "the file null_distribution.pdf does not" in told["null_distribution"]
    assert "pdf (claims_forest.pdf) does not" in told["claims_forest"]
    assert "json: alt does not" in told["claims_board"]
    assert content(results) == before
    # Drawn again, all is well, and what the specs say is true again.
    assert redraw(results)[0] == 0
    assert content(results) == content(drawn)


def test_another_version_of_what_draws_is_the_reason(results, redraw):
    spec = results / "runs/tiny/figures/paired_scores.json"
    change = {"files": {"svg": {"sha256": "0"}}, "software": {"matplotlib": "1.0"}}
    spec.write_text(json.dumps(merge(json.loads(spec.read_text()), change)))
    (line,) = redraw(results, check=True)[2]
    assert "svg (paired_scores.svg) does not come out as before; matplotlib 1.0 then," in line


@pytest.mark.parametrize("check", [False, True])
def test_a_changed_table_is_a_line_and_the_others_are_drawn(results, redraw, check):
    table = results / "runs/tiny/figures/paired_scores.tsv"
    table.write_text(table.read_text().replace("0.", "1.", 1))
    before = content(results)
    faults, said, lines = redraw(results, check=check)
    assert faults == len(lines) == 1
    assert lines[0].startswith(f"error: {table}: is not the table that was drawn")
    assert said.startswith(f"{len(names('figures')) - 1} of ")
    assert content(results) == before


HOSTILE = {
    "elsewhere": {"files": {"svg": {"name": "../../x.svg"}}},
    "component": {"figure": "../os"},
    "parameter": {"params": {"metric": ["a"]}},
    "unknown parameter": {"params": {"colour": "red"}},
    "no files": {"files": []},
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_a_spec_of_other_hands_is_refused_in_a_line(results, redraw, kind):
    spec = results / "runs/tiny/figures/paired_scores.json"
    spec.write_text(json.dumps(merge(json.loads(spec.read_text()), HOSTILE[kind])))
    for path in spec.parent.glob("c*.json"):
        path.unlink()
    before = content(results)
    faults, _, lines = redraw(results)
    assert faults == len(lines) == 1
    assert lines[0].startswith("error: ")
    assert content(results) == before


@pytest.mark.parametrize("folder", ["nowhere", "."])
def test_a_folder_without_figures_is_told(tmp_path, folder):
    with pytest.raises(InputError, match=r"no such folder|has no figures"):
        redraw_figures([tmp_path / folder])


def test_numbers_are_those_of_the_run(finished):
    """Means from the long table by other arithmetic, counts from what stands in the folders."""
    run = finished.folder / "results/runs/tiny"
    numbers = {row["name"]: row for row in read_tsv(run / "numbers.tsv")}
    scores = [row for row in read_tsv(run / "scores.tsv") if (row["variant"], row["metric"]) == ("observed", "roc_auc")]
    for scheme in ("within_session", "leave_one_subject_out"):
        for method in ("mdm", "csp_lda"):
            by_subject = {}
            for row in scores:
                if (row["scheme"], row["method"]) == (scheme, method):
                    by_subject.setdefault(row["subject"], []).append(float(row["value"]))
            means = [sum(values) / len(values) for values in by_subject.values()]
            row = numbers[f"score.{scheme}.roc_auc.{method}.mean"]
            assert float(row["value"]) == pytest.approx(sum(means) / len(means))
            assert int(row["n"]) == len(means) == 3
    assert [numbers[name]["value"] for name in ("sample.subjects", "folds.leave_one_subject_out")] == ["3", "3"]
    found = numbers["recordings.preprocessing.found"]["value"]
    assert found == str(len(list((finished.folder / "data").rglob("*_eeg.vhdr"))))


def test_the_target_draws_what_is_there(project):
    picture = project.folder / "results/runs/tiny/figures/paired_scores.pdf"
    before = picture.read_bytes()
    picture.unlink()
    assert "1 of 1 figures drawn" in project.run("figures")
    assert picture.read_bytes() == before
    assert "plot_figure" not in project.planned()


def test_a_restricted_dataset_has_its_figures_drawn_again_without_subjects(project):
    project.card("datasets", "tiny", restricted=True)
    assert {"collect_numbers": 1, "plot_figure": 1}.items() <= project.planned().items()
    project.run()
    rows = read_tsv(project.folder / "results/runs/tiny/figures/paired_scores.tsv")
    assert {row["what"] for row in rows} == {"mean"}


def test_a_run_without_choices_has_no_such_figure(finished, tmp_path):
    run = finished.folder / "results/runs/tiny"
    empty = tmp_path / "choices.tsv"
    empty.write_text((run / "choices.tsv").read_text().splitlines()[0] + "\n")
    sources = [run / name for name in ("scores.tsv", "summary.tsv", "claims.json")]
    with pytest.raises(InputError, match="chooses"):
        draw_figure("chosen_parameters", {}, *sources, empty, tmp_path / "x.json")
