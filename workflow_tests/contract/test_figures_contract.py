"""Every file in ``figures/`` keeps the promises of a figure, on a run like any other."""

from __future__ import annotations

import functools
import hashlib
import os
import re
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
import zlib

import pytest

from planted_scores import NULLS, better, planted_scores, run_folder
from planted_volumes import SUBJECT, planted_volumes
from replicortex import __version__
from replicortex.components import load, make, names
from replicortex.digest import PACKAGE
from replicortex.errors import InputError
from replicortex.files import digest_file, read_json, read_tsv
from replicortex.stages.figures import draw_figure

SCHEMES = ("within_session", "cross_session")
SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    scores = planted_scores({"a": 0.8, "b": 0.7}, schemes=SCHEMES, variants=["observed", "absent", *NULLS])
    numbers = sorted(scores["subject"].unique())
    scores["subject"] = scores["subject"].map({name: SUBJECT.format(i) for i, name in enumerate(numbers)})
    claims = [better(), better(scheme="nowhere", name="elsewhere")]
    folder = tmp_path_factory.mktemp("run")
    made = run_folder(folder, scores, claims, labels={"b": "Baseline", "a": "Ours <&> more"})
    return {**made, "generated": planted_volumes(folder)}


def drawn(name, run, folder, **more):
    """Return table, SVG, PDF and spec of a figure."""
    spec = folder / f"{name}.json"
    draw_figure(name, load("figures", name).tiny, **run, spec=spec, **more)
    return [spec.with_suffix(ending) for ending in (".tsv", ".svg", ".pdf", ".json")]


@pytest.fixture(scope="module")
def files(run, tmp_path_factory):
    """Draw each figure once; tests only read it."""
    folder = tmp_path_factory.mktemp("drawn")
    return functools.cache(lambda name: drawn(name, run, folder))


every_figure = pytest.mark.parametrize("name", names("figures"))


@every_figure
def test_same_run_same_bytes(name, run, files, tmp_path):
    """Also in another process, where sets have another order."""
    before = {path: digest_file(path) for path in run.values()}
    first = files(name)
    code = (
        f"import sys; sys.path.insert(0, {str(PACKAGE.parent)!r}); from replicortex.stages.figures import draw_figure;"
        f" draw_figure({name!r}, {load('figures', name).tiny!r}, **{ {key: str(path) for key, path in run.items()}!r},"
        f" spec={str(tmp_path / 'second' / name)!r} + '.json')"
    )
    environment = {**os.environ, "PYTHONHASHSEED": "7"}
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60, env=environment)
    for path in first:
        assert path.read_bytes() == (tmp_path / "second" / path.name).read_bytes(), path.name
    assert {path: digest_file(path) for path in run.values()} == before
    for path in first:
        assert not re.search(rb"dc:date|matplotlib v|CreationDate|/tmp/", path.read_bytes())


@every_figure
def test_the_pictures_are_of_print_size_and_say_what_they_show(name, files):
    _, svg, pdf, spec = files(name)
    told = read_json(spec)
    root = ElementTree.fromstring(svg.read_text())  # noqa: S314  (our own file)
    # 12 cm wide, in points; what a reader is told who can not see it.
    assert float(root.attrib["width"].removesuffix("pt")) == pytest.approx(12 / 2.54 * 72, abs=0.01)
    assert root.attrib["role"] == "img"
    assert [root.findtext(SVG + tag) for tag in ("title", "desc")] == [told["title"], told["alt"]]
    content = pdf.read_bytes()
    assert content.startswith(b"%PDF-")
    embedded = [len(zlib.decompressobj().decompress(part)) for part in streams(content)]
    # TrueType fonts with their outlines, which journals take; Type 3 fonts they do not.
    assert b"/FontFile2" in content
    assert b"/Type3" not in content
    assert max(embedded) > 1000


def streams(content: bytes) -> list[bytes]:
    """Compressed streams of a PDF file."""
    found = re.findall(rb"/FlateDecode[^>]*>>\s*stream\r?\n(.*?)\r?\nendstream", content, re.DOTALL)
    assert found
    return found


@every_figure
def test_the_spec_tells_how_to_draw_it_again(name, run, files):
    table, svg, pdf, spec = files(name)
    told = read_json(spec)
    assert told["figure"] == name
    assert (told["run"], told["study"], told["dataset"]) == ("planted", "planted", "planted")
    files = {kind: told["files"][kind] for kind in ("table", "svg", "pdf")}
    for path, entry in zip((table, svg, pdf), files.values(), strict=True):
        assert entry == {"name": path.name, "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}
    assert told["sources"] == {key: hashlib.sha256(path.read_bytes()).hexdigest() for key, path in run.items()}
    assert told["software"]["replicortex"] == __version__
    assert told["seed"] is None
    again = make("figures", told["figure"], told["params"])
    assert again.told(read_tsv(table)) == {key: told[key] for key in ("title", "alt", "caption")}


@every_figure
def test_words_have_the_numbers_of_the_table(name, files, tmp_path):
    """A result that is changed in the table changes what is said and drawn."""
    table, svg, _, spec = files(name)
    made, rows = make("figures", name, load("figures", name).tiny), read_tsv(table)
    words = read_json(spec)
    assert len(words["alt"]) > 80
    assert words["caption"].endswith(".")
    assert not re.search(r"\bnan\b|None|n/a|_", words["alt"] + words["caption"])
    changed = [{key: "0.321" if value == longest_number(rows) else value for key, value in row.items()} for row in rows]
    assert made.told(changed)["alt"] != words["alt"]
    again = tmp_path / "again.svg"
    made.draw(rows, [again])
    assert again.read_bytes() == svg.read_bytes()
    made.draw(changed, [again])
    assert again.read_bytes() != svg.read_bytes()


def longest_number(rows):
    """Return the observed value with most digits: a result, not a count."""
    cells = [
        row.get(key)
        for row in rows
        for key in ("value", "mean", "effect", "share")
        if row.get("variant", "") in ("", "observed")
    ]
    return max((cell for cell in cells if cell and re.fullmatch(r"-?\d\.\d+", cell)), key=len)


@every_figure
def test_a_figure_names_no_subject_and_of_restricted_data_shows_none(name, run, files, tmp_path):
    for path in files(name):
        content = path.read_bytes()
        if path.suffix == ".pdf":
            content += b"".join(zlib.decompressobj().decompress(part) for part in streams(content))
        assert not re.search(rb"zx\d\dq", content), path.name
    table, *_ = drawn(name, run, tmp_path / "restricted", restricted=True)
    rows = read_tsv(table)
    assert rows
    assert all(row.get("what") != "subject" and row.get("subject", "n/a") == "n/a" for row in rows)


@every_figure
def test_a_run_with_nothing_to_show_is_told(name, tmp_path):
    scores = planted_scores({"a": 0.8}, n_subjects=2)
    scores["metric"] = "another"
    empty = run_folder(tmp_path, scores, [], n_configurations=1)
    with pytest.raises(InputError, match=r"scores.tsv|summary.tsv|claims.json|choices.tsv"):
        drawn(name, empty, tmp_path)
    assert not list(tmp_path.glob("*.svg"))
