"""Pages about results: what they count, what they draw, and what they must not tell."""

from __future__ import annotations

import html
import json
import re
import shlex
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

import pytest
import yaml

from made_results import add_dataset, add_run, add_status, claim
from project import copy_sources
from replicortex.cards import Cards
from replicortex.described import HIDDEN, described
from replicortex.errors import InputError
from replicortex.site import datasets, machine
from replicortex.site.claims import combined, counted, viewed
from replicortex.site.folder import opened
from replicortex.site.words import VERDICTS, hidden, number, p_value
from replicortex.stages.site import build_site


class Elements(HTMLParser):
    """Tags, texts and links of a page."""

    def __init__(self, path: Path) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.feed(path.read_text())

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))

    def handle_data(self, data):
        self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


def built(results: Path, **options) -> Path:
    build_site(results, results.parent / "site", **options)
    return results.parent / "site"


def texts(site: Path) -> str:
    """All that a site says, apart from its library."""
    paths = [path for path in sorted(site.rglob("*")) if path.is_file() and path.name != "plotly.min.js"]
    return "\n".join(html.unescape(path.read_text()) for path in paths)


# ---- numbers and words


def test_numbers_are_printed_as_papers_do():
    assert [number(value) for value in (0.5, -0.126, 1234.4, 123.45, 0.0004, None, "n/a", float("nan"))] == [
        "0.50", "\N{MINUS SIGN}0.13", "1,234", "123.5", "0.0004", "n/a", "n/a", "n/a",
    ]  # fmt: skip
    assert number(0.4, signed=True) == "+0.40"
    assert [p_value(value) for value in (0.0001, 0.0156, None)] == ["< 0.001", "0.016", "n/a"]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("/home/anna/study/data.edf: not readable; remove it", "…/data.edf: not readable; remove it"),
        ("no folder /home/anna", "no folder …"),
        ("sub-04_ses-1_task-x has no events", "sub-…_ses-1_task-x has no events"),
        ("leak: subject 'P017' is in both", "leak: subject '…' is in both"),
        ("mail to anna@lab.example.org", "mail to …"),
        ("doi https://doi.org/10.1000/made/7", "doi https://doi.org/10.1000/made/7"),
        ("1/2 of the subjects of site 3", "1/2 of the subjects of site 3"),
    ],
)
def test_messages_lose_paths_labels_and_addresses(text, told):
    assert hidden(text) == told


# ---- claims


def test_verdicts_are_counted_as_they_stand_in_the_documents(tmp_path):
    results = tmp_path / "results"
    verdicts = {"one": ["holds", "holds", "fails"], "two": ["undecided", "invalid", "holds"]}
    for run, said in verdicts.items():
        add_run(results, run, [claim(f"claim_{k}", verdict, 0.1 * k) for k, verdict in enumerate(said)])
    page = Elements(built(results) / "index.html")
    wanted = Counter(verdict for said in verdicts.values() for verdict in said)
    for verdict, n in wanted.items():
        assert re.search(
            rf"\b{n} {re.escape(VERDICTS[verdict].sign)} {verdict} {re.escape(VERDICTS[verdict].meaning)}", page.text
        )
    rows = [row for row in page.all("tr") if "claim" in (row.get("class") or "")]
    assert Counter(row["data-verdict"] for row in rows) == wanted
    # An invalid claim is one whose control did what it must not.
    assert [row["data-surprise"] for row in rows if row["data-verdict"] == "invalid"] == ["0"]
    assert "1 came out other than expected" not in page.text, "no claim here has a known answer"


def test_a_forest_plot_puts_values_where_they_belong():
    """The places of effect, interval and reference are one linear map of the numbers, shared by claims of a kind."""
    found = viewed([{"methods": [], "claims": [claim("a", "holds", 0.4), claim("b", "fails", -0.2)]}])
    pairs = []
    for entry, effect in zip(found, (0.4, -0.2), strict=True):
        picture = entry["picture"]
        middle = float(re.search(r'class="point observed" cx="([\d.]+)"', picture)[1])
        ends = re.search(r'class="ci observed" x1="([\d.]+)" x2="([\d.]+)"', picture)
        reference = float(re.search(r'class="reference" x1="([\d.]+)"', picture)[1])
        pairs += [(effect, middle), (effect - 0.1, float(ends[1])), (effect + 0.1, float(ends[2])), (0.0, reference)]
    (x0, y0), (x1, y1) = pairs[0], pairs[4]
    slope = (y1 - y0) / (x1 - x0)
    assert slope > 0
    for value, place in pairs:
        assert place == pytest.approx(y0 + slope * (value - x0), abs=0.15)


def test_claims_of_a_study_on_several_datasets_are_shown_together():
    document = {"study": "made", "methods": [{"name": "new", "label": "New"}, {"name": "old", "label": "Old"}],
                "claims": [claim("a", "holds", 0.4)]}  # fmt: skip
    row = {"run": "made (all datasets)", "claim": "a", "verdict": "fails", "effect": "0.3", "ci_low": "0.1",
           "ci_high": "0.5", "n": "40", "p": "0.2", "p_holm": "n/a", "smd": "n/a", "reason": "n/a",
           "expected": "n/a", "as_expected": "n/a", "alpha": "0.05"}  # fmt: skip
    rows = [{**row, "variant": "observed"}, {**row, "variant": "null"}, {**row, "run": "made", "variant": "observed"}]
    found = combined(rows, {"made": document})
    shown = viewed([found["made (all datasets)"]])
    assert [(entry["says"], entry["n"], entry["effect"]) for entry in shown] == [("New better than Old", 40, 0.3)]
    assert {entry["verdict"].name: entry["n"] for entry in counted(shown)}["fails"] == 1


# ---- what names do to pages

HOSTILE = "</script><script>alert(1)</script><img src=x onerror=alert(2)>\"'&amp;"


def test_what_names_hold_is_shown_and_not_run(tmp_path):
    results = tmp_path / "results"
    told = {"environment": [HOSTILE], "configuration": {"scale": "demo", "runs": [HOSTILE]}}
    add_run(
        results, "made",
        [claim("claim", "holds", 0.1, text=HOSTILE, metric=HOSTILE, scheme=HOSTILE, unit=HOSTILE)],
        card={"title": HOSTILE, "licence": HOSTILE, "citation": HOSTILE, "classes": {HOSTILE: [HOSTILE]}},
        told=told, methods={"new": HOSTILE, "old": HOSTILE}, subjects=[HOSTILE, "b"],
    )  # fmt: skip
    spec = results / "runs/made/figures/figure_0.json"
    spec.write_text(json.dumps({"title": HOSTILE, "alt": HOSTILE, "caption": HOSTILE}))
    people = [{"participant_id": "sub-1", HOSTILE: HOSTILE}, {"participant_id": "sub-2", HOSTILE: HOSTILE}]
    quality = [{"recording": HOSTILE, "subject": HOSTILE, "status": "failed", "reason": HOSTILE, HOSTILE: 1.0},
               {"recording": "b", "subject": "b", "status": "ok", HOSTILE: 2.0}]  # fmt: skip
    add_dataset(results, participants=people, quality=quality, problems=[HOSTILE], warnings=[(HOSTILE, HOSTILE)])
    add_status(
        results, [{"dataset": HOSTILE, "recipe": HOSTILE, "stage": HOSTILE, "status": "failed", "reason": HOSTILE}]
    )
    site = built(results)
    for path in site.rglob("*.html"):
        page = Elements(path)
        live = [tag for tag in page.all("script") if tag.get("type") != "application/json"]
        assert [tag.get("src", "").rpartition("/")[2] for tag in live] == ["site.js"], path
        assert not [attributes for _, attributes in page.tags if any(key.startswith("on") for key in attributes)], path
        assert all(image["src"].endswith(".svg") for image in page.all("img")), path
    shown = Elements(site / "studies/made.html").text
    assert "alert(1)" in shown
    assert "alert(2)" in Elements(site / "datasets/made.html").text
    # What scripts read is what was written, not a piece of it.
    data = re.search(r'id="scores-data">(.*?)</script>', (site / "studies/made.html").read_text(), re.DOTALL)
    assert json.loads(data[1])[0]["methods"][0]["label"] == HOSTILE


def test_nothing_is_copied_from_outside_the_results(tmp_path):
    results = tmp_path / "results"
    add_run(results, "made", [])
    add_dataset(results)
    (tmp_path / "secret.svg").write_text("secret")
    folder = results / "quality/made/average_reference.displays"
    folder.mkdir(parents=True)
    (folder / "own.svg").write_text("<svg/>")
    entries = [{"name": name, "title": name, "kind": "svg", "file": name, "alt": "a", "caption": "c"}
               for name in ("../../../../secret.svg", str(tmp_path / "secret.svg"), "own.svg")]  # fmt: skip
    (folder / "index.json").write_text(json.dumps(entries))
    site = built(results)
    assert "secret" not in texts(site)
    assert [image["src"] for image in Elements(site / "datasets/made.html").all("img")] == [
        "made/average_reference/own.svg"
    ]


# ---- people


def test_cells_of_few_people_are_hidden_so_that_they_can_not_be_worked_out():
    assert datasets.hide_few([20, 0, 9]) == [20, 0, 9]
    assert datasets.hide_few([20, 3, 4]) == [20, None, None]
    assert datasets.hide_few([20, 3, 9]) == [20, None, None], "32 - 20 - 9 would tell the third"


def people(n_rare: int) -> list[dict[str, str]]:
    """Sixty people, of which a few have a rare value; labels, a birthday and an own identifier are in the table."""
    return [
        {
            "participant_id": f"sub-zebra{k}",
            "age": 20 + k % 30,
            "site": "rare" if k < n_rare else f"site{k % 2}",
            "birth_date": f"19{k + 10}-01-01",
            "record": f"R{k:05d}",
        }
        for k in range(60)
    ]


def quality_of(n: int) -> list[dict[str, object]]:
    rows = [
        {"recording": f"sub-zebra{k}_task-x", "subject": f"zebra{k}", "status": "ok", "fd_mean": 0.1 + 0.001 * k}
        for k in range(n)
    ]
    rows[7] |= {"fd_mean": 3.25, "n_outlying": 1, "outlying": "fd_mean"}
    rows[9] |= {"status": "failed", "reason": "/data/secret/sub-zebra9_eeg.edf: truncated; fetch it again"}
    return rows


@pytest.fixture
def restricted(tmp_path):
    results = tmp_path / "results"
    labels = [f"zebra{k}" for k in range(60)]
    add_run(results, "made", [claim("a", "holds", 0.2)], card={"restricted": True}, subjects=labels)
    add_dataset(results, participants=people(3), quality=quality_of(60))
    add_status(results, [{"dataset": "made", "recipe": "average_reference", "stage": "preprocess", **row}
                         for row in quality_of(60)])  # fmt: skip
    return results


def test_of_restricted_people_only_sums_are_told(restricted):
    site = built(restricted)
    page, said = Elements(site / "datasets/made.html"), texts(site)
    assert "Restricted:" in page.text
    assert re.search(r"rare <5", page.text)
    assert not re.search(r"rare 3\b", page.text)
    assert "3.25" not in said, "the value of one recording"
    assert "subject 1 of 60" not in said, "the score of one person"
    scores = re.search(r'id="scores-data">(.*?)</script>', (site / "studies/made.html").read_text(), re.DOTALL)
    assert all(method["values"] == [] for panel in json.loads(scores[1]) for method in panel["methods"])


@pytest.mark.parametrize("is_restricted", [True, False])
def test_nobody_is_named(restricted, is_restricted):
    if not is_restricted:
        card = restricted / "runs/made/card.json"
        card.write_text(card.read_text().replace('"restricted": true', '"restricted": false'))
    said = texts(built(restricted))
    assert "zebra" not in said
    assert "/data/secret" not in said
    assert str(restricted) not in said
    assert "1910-01-01" not in said
    assert "R00007" not in said
    assert ("subject 1 of 60" in said) != is_restricted
    assert ("3.25" in said) != is_restricted


def test_participants_become_distributions(tmp_path):
    results = tmp_path / "results"
    variables = {"diagnosis": {"column": "dx", "values": {"patient": ["1"], "control": ["2"]}}}
    add_run(results, "made", [])
    rows = [{"participant_id": f"sub-{k}", "age": age, "dx": dx} for k, (age, dx) in
            enumerate([(21, 1), (22, 1), (23, 2), (24, 2), (26, 2), (27, 2), (28, 2), (39, "n/a")])]  # fmt: skip
    add_dataset(results, participants=rows)
    found = datasets.participants(opened(results), "made", {"variables": variables})
    age, diagnosis = found["columns"]
    assert sum(int(row["n"]) for row in age["rows"]) == len(rows)
    edges = [tuple(map(float, row["label"].split(" to "))) for row in age["rows"]]
    for (low, high), row in zip(edges, age["rows"], strict=True):
        assert int(row["n"]) == sum(low <= entry["age"] < high for entry in rows)
    assert diagnosis["title"] == "diagnosis"
    assert [(row["label"], row["n"]) for row in diagnosis["rows"]] == [("control", "5"), ("patient", "2")]
    assert diagnosis["missing"] == "1"


def test_outlying_recordings_come_first_and_are_numbered(tmp_path):
    results = tmp_path / "results"
    add_run(results, "made", [])
    add_dataset(results, quality=quality_of(12))
    recipe = datasets.quality(opened(results), "made", restricted=False)[0]
    assert (recipe["n"], recipe["n_failed"], recipe["n_outlying"]) == (12, 1, 1)
    # By name sub-zebra7 is the tenth and sub-zebra9 the twelfth: 0, 1, 10, 11, 2, ...
    assert [row["number"] for row in recipe["rows"]][:3] == [12, 10, 1]
    assert recipe["rows"][0]["reason"] == "…/sub-…_eeg.edf: truncated; fetch it again"


# ---- half-finished, finished, again


def test_what_is_not_there_yet_is_left_out(tmp_path):
    results = tmp_path / "results"
    folder = add_run(results, "made", [claim("a", "holds", 0.2)])
    for name in ("claims.json", "summary.tsv", "scores.tsv"):
        (folder / name).unlink()
    page = Elements(built(results) / "studies/made.html")
    headings = re.findall(r"<h2 [^>]*>(.*?)</h2>", (tmp_path / "site/studies/made.html").read_text())
    assert "There are no verdicts yet." in page.text
    assert "Claims" not in headings
    assert "Scores" not in headings
    assert "Methods compared" in headings
    assert "No verdicts yet." in Elements(tmp_path / "site/index.html").text


def test_a_run_that_wrote_nothing_is_known_from_its_card(tmp_path):
    results = tmp_path / "results"
    add_run(results, "made", [])
    known = json.loads((results / "runs/made/card.json").read_text()) | {"run": "later"}
    site = built(results, known=[known])
    assert (site / "studies/later.html").is_file()


def test_damaged_files_are_told_and_do_not_stop_the_pages(tmp_path, capsys):
    results = tmp_path / "results"
    folder = add_run(results, "made", [claim("a", "holds", 0.2)])
    (folder / "claims.json").write_text("{")
    assert "no verdicts yet" in Elements(built(results) / "studies/made.html").text
    assert "left out: runs/made/claims.json" in capsys.readouterr().out


@pytest.mark.parametrize("there", ["nothing", "no run"])
def test_no_results_are_one_line(tmp_path, there):
    if there == "no run":
        (tmp_path / "results").mkdir()
    with pytest.raises(InputError, match="run the workflow first"):
        build_site(tmp_path / "results", tmp_path / "site")


def test_a_folder_of_something_else_is_not_replaced(tmp_path):
    results = tmp_path / "results"
    add_run(results, "made", [])
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/thesis.txt").write_text("years of work")
    with pytest.raises(InputError, match="is no site"):
        build_site(results, tmp_path / "mine")
    assert (tmp_path / "mine/thesis.txt").read_text() == "years of work"


def test_equal_results_give_equal_pages(restricted):
    first = {path.name: path.read_bytes() for path in built(restricted).rglob("*.*") if path.is_file()}
    again = {path.name: path.read_bytes() for path in built(restricted).rglob("*.*") if path.is_file()}
    assert len(first) > 8
    assert first == again


def test_links_lead_somewhere(tmp_path):
    results = tmp_path / "results"
    for run in ("one", "two-other"):
        add_run(results, run, [claim("a", "holds", 0.2)], dataset=f"data_{run[:3]}", n_figures=2)
    site = built(results)
    checked = 0
    for path in site.rglob("*.html"):
        page = Elements(path)
        anchors = {attributes["id"] for _, attributes in page.tags if "id" in attributes}
        for tag, key in (("a", "href"), ("img", "src"), ("script", "src"), ("link", "href"), ("iframe", "src")):
            for link in (found[key] for found in page.all(tag) if found.get(key)):
                if link.startswith(("https://doi.org/", "data:")):
                    continue
                where, _, anchor = link.partition("#")
                target = (path.parent / unquote(where)).resolve() if where else path
                assert target.is_file(), f"{path.name}: {link}"
                assert target.is_relative_to(site.resolve())
                if anchor and target == path:
                    assert anchor in anchors, link
                checked += 1
    assert checked > 50


# ---- cards and what ran


def test_a_run_is_described_without_places_and_in_order(tmp_path, monkeypatch):
    monkeypatch.setenv("MADE", "/home/anna/made")
    project = copy_sources(tmp_path / "project")
    card = {
        "title": "Made",
        "licence": "CC0",
        "root": "${MADE}/bids",
        "classes": {"left_hand": ["L"], "right_hand": ["R"]},
    }
    (project / "config/datasets/made.yaml").write_text(yaml.safe_dump(card))
    entry = {"study": "augmented_covariance", "dataset": "made", "params": {"evaluation": {"null_variants": 3}}}
    (tmp_path / "results/datasets/made").mkdir(parents=True)
    cards = Cards(project / "config", {"runs": ["augmented_covariance", entry]})
    told = described(cards, cards.runs["augmented_covariance-made"])
    assert told["environment"] == ["MADE"]
    assert "anna" not in json.dumps(told)
    assert "root" not in told["datasets"]["made"]
    study = yaml.safe_load((project / "config/studies/augmented_covariance.yaml").read_text())
    assert list(told["card"]["methods"]) == list(study["methods"])
    assert told["card"]["evaluation"]["null_variants"] == 3
    assert told["configuration"] == {"scale": "demo", "runs": [entry]}


def test_what_asks_for_a_run_holds_a_dataset_that_no_file_describes(tmp_path, monkeypatch):
    project = copy_sources(tmp_path / "project")
    card = {"title": "Made", "licence": "CC0", "root": "/home/anna/made", "n_subjects": 3,
            "filters": {"subject": ["anna", "ben"], "task": ["rest"]}}  # fmt: skip
    given = {"runs": [{"study": "augmented_covariance", "dataset": "made"}], "datasets": {"made": card}}
    told = described(cards := Cards(project / "config", given), cards.runs["augmented_covariance-made"])
    assert "anna" not in json.dumps(told)
    assert told["environment"] == ["DATASET"]
    # Laid over an empty configuration, it asks for the same run of the folder that the variable names.
    monkeypatch.setenv("DATASET", str(tmp_path))
    again = Cards(project / "config", told["configuration"])
    assert again.root("made") == str(tmp_path)
    assert again.dataset("made")["filters"]["task"] == ["rest"]
    assert list(again.runs) == ["augmented_covariance-made"]


def test_the_command_of_a_page_is_what_a_shell_reads_back(tmp_path):
    results = tmp_path / "results"
    entry = {"study": "made", "params": {"evaluation": {"null_variants": 3}}, "name": "it's; $(touch x)"}
    add_run(results, "made", [], told={"configuration": {"scale": "demo", "runs": [entry]}})
    page = (built(results) / "studies/made.html").read_text()
    command = html.unescape(re.search(r'<pre class="command"[^>]*><code>(.*?)</code>', page, re.DOTALL)[1])
    words = shlex.split(command)
    assert words[:2] == ["snakemake", "--profile"]
    assert yaml.safe_load(words[-1].removeprefix("runs=")) == [entry]


def test_what_hides_places_leaves_the_rest():
    from replicortex.described import shareable

    card = {"root": "/data", "params": {"folder": "/home/anna/x", "names": ["a/b", "~/x", 3]}, "source": "x",
            "datalad": {"url": "https://anna:secret@host/x.git", "version": "1"}}  # fmt: skip
    assert shareable(card) == {
        "params": {"folder": HIDDEN, "names": ["a/b", HIDDEN, 3]},
        "datalad": {"url": HIDDEN, "version": "1"},
    }


def test_a_commit_is_read_where_there_is_a_checkout(tmp_path):
    assert machine.commit(tmp_path) == ""
    (tmp_path / ".git/refs/heads").mkdir(parents=True)
    (tmp_path / ".git/HEAD").write_text("ref: refs/heads/main\n")
    (tmp_path / ".git/packed-refs").write_text("# pack-refs\n" + "a" * 40 + " refs/heads/main\n")
    assert machine.commit(tmp_path) == "a" * 40
    (tmp_path / ".git/refs/heads/main").write_text("b" * 40 + "\n")
    assert machine.commit(tmp_path) == "b" * 40
