"""Every file in ``figures/`` keeps the promises of a figure, on a run like any other."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree

import pytest

from planted_scores import NULLS, better, planted_scores, run_folder
from replicortex.components import load, make, names
from replicortex.errors import InputError
from replicortex.files import digest_file, read_tsv
from replicortex.stages.figures import draw_figure

SCHEMES = ("within_session", "cross_session")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    scores = planted_scores({"a": 0.8, "b": 0.7}, schemes=SCHEMES, variants=["observed", "absent", *NULLS])
    claims = [better(), better(scheme="nowhere", name="elsewhere")]
    return run_folder(tmp_path_factory.mktemp("run"), scores, claims, labels={"b": "Baseline", "a": "Ours <&> more"})


def drawn(name, run, folder):
    table, picture = folder / f"{name}.tsv", folder / f"{name}.svg"
    draw_figure(name, load("figures", name).tiny, **run, table=table, picture=picture)
    return table, picture


@pytest.mark.parametrize("name", names("figures"))
def test_same_run_same_bytes(name, run, tmp_path):
    before = {path: digest_file(path) for path in run.values()}
    first, second = drawn(name, run, tmp_path / "first"), drawn(name, run, tmp_path / "second")
    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in second]
    assert {path: digest_file(path) for path in run.values()} == before
    text = first[1].read_text()
    assert not re.search(r"<dc:date>|matplotlib v|/tmp/", text)
    root = ElementTree.fromstring(text)  # noqa: S314  (our own file)
    # 12 cm wide, in points; what a reader is told who can not see it.
    assert float(root.attrib["width"].removesuffix("pt")) == pytest.approx(12 / 2.54 * 72, abs=0.01)
    assert root.find(".//{http://purl.org/dc/elements/1.1/}title").text


@pytest.mark.parametrize("name", names("figures"))
def test_the_picture_is_drawn_from_the_table_alone(name, run, tmp_path):
    table, picture = drawn(name, run, tmp_path)
    again = tmp_path / "again.svg"
    make("figures", name, load("figures", name).tiny).draw(read_tsv(table), again)
    assert again.read_bytes() == picture.read_bytes()
    rows = read_tsv(table)
    assert rows
    changed = [{key: "0.123" if value == longest_number(rows) else value for key, value in row.items()} for row in rows]
    make("figures", name, load("figures", name).tiny).draw(changed, again)
    assert again.read_bytes() != picture.read_bytes()


def longest_number(rows):
    """Return the observed value with most digits: a result, not a count."""
    cells = [
        row.get(key)
        for row in rows
        for key in ("value", "mean", "effect")
        if row.get("variant", "") in ("", "observed")
    ]
    return max((cell for cell in cells if cell and re.fullmatch(r"-?\d\.\d+", cell)), key=len)


@pytest.mark.parametrize("name", names("figures"))
def test_a_run_with_nothing_to_show_is_told(name, tmp_path):
    scores = planted_scores({"a": 0.8}, n_subjects=2)
    scores["metric"] = "another"
    empty = run_folder(tmp_path, scores, [])
    with pytest.raises(InputError, match=r"scores.tsv|summary.tsv|claims.json"):
        drawn(name, empty, tmp_path)
    assert not list(tmp_path.glob("*.svg"))
