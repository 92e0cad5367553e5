"""The Methods section of a run: what it counts, what it keeps to itself, and its two forms."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser

import pytest

from replicortex.components import make
from replicortex.files import to_tsv
from replicortex.references import Reference, bibliography, of_dataset, of_paper
from replicortex.shared import words
from replicortex.stages.methods_text import write_methods
from replicortex.texts import Listing, Section, bibtex, html, markdown

# ---- words


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (5, "5"),
        (1234567, "1,234,567"),
        (0.05, "0.05"),
        (3.0, "3"),
        (1e5, "100,000"),
        (1e-7, "0.0000001"),
        (-2.5, "-2.5"),
    ],
)
def test_a_number_has_no_exponent(value, shown):
    assert words.digits(value) == shown


def test_counts_lists_and_shares():
    assert words.count(1, "fold") == "one fold"
    assert words.count(9, "fold") == "nine folds"
    assert words.count(10, "fold") == "10 folds"
    assert words.count(0, "fold") == "no folds"
    assert words.listed(["a"]) == "a"
    assert words.listed(["a", "b", "c"], "or") == "a, b or c"
    assert words.numbers([1, 2, 3, 4]) == "1 to 4"
    assert words.numbers([1, 2, 4]) == "1, 2 and 4"
    assert words.numbers([0.1 * k for k in range(1, 11)]) == "10 values from 0.1 to 1"
    assert words.percent(0.07) == "7 %"
    assert words.file_name("/home/somebody/atlas.nii.gz") == "atlas.nii.gz"


def test_a_search_says_what_was_open_and_what_was_fixed():
    said = words.searched(3, words.among("the order", [1, 2]), words.among("the lag", [4]))
    assert said == "The order (1 and 2) was chosen by nested search over three inner folds; the lag was 4."
    assert words.searched(3, words.among("the lag", [4])) == "The lag was 4."
    spaced = words.searched(2, words.spaced("the amount", 0.001, 0.5, 5), words.among("the kernel", ["a", "b"]))
    assert spaced == (
        "The amount (five values spaced logarithmically from 0.001 to 0.5) and the kernel (a or b) were chosen by"
        " nested search over two inner folds."
    )


def test_a_feature_speaks_of_what_it_was_given():
    """A table of series has no coordinates of an atlas, whatever the card says."""
    made = make("features", "connectivity", {"denoise": {"strategy": "none"}})
    assert "Dosenbach" in made.described(["bold"])
    assert "Dosenbach" not in made.described(["timeseries"])
    assert "detrended" not in made.described(["relmat"])


def test_a_model_speaks_of_its_task():
    made = make("methods", "linear")
    assert "logistic" in made.described("classify")
    assert "ridge" in made.described("regress")


# ---- forms

HOSTILE = '<script>alert(1)</script> *bold* _x_ [link](javascript:x) `code` $x$ # [@nobody2020] & "quoted"'


class Text(HTMLParser):
    """The text of a fragment, and its tags."""

    def __init__(self) -> None:
        super().__init__()
        self.found, self.tags, self.links, self.ids = [], [], [], []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.links += [value for name, value in attrs if name == "href"]
        self.ids += [value for name, value in attrs if name == "id"]

    def handle_data(self, data):
        self.found.append(data)


def read(fragment: str) -> Text:
    parser = Text()
    parser.feed(fragment)
    return parser


def unescaped(text: str) -> str:
    return re.sub(r"\\([^A-Za-z0-9\s])", r"\1", text)


def sections(text: str) -> list[Section]:
    return [Section("Title <b>", [text, Listing(text, [(text, text), ("", text)])])]


def test_what_cards_say_is_shown_and_does_nothing():
    fragment = html(sections(HOSTILE), bibliography())
    parsed = read(fragment)
    assert set(parsed.tags) == {"h3", "p", "ul", "li", "strong"}
    assert "".join(parsed.found).count(HOSTILE) == 5
    plain = markdown(sections(HOSTILE), bibliography())
    assert unescaped(plain).count(HOSTILE) == 5
    # Whatever has a meaning in Markdown is preceded by a backslash.
    assert re.search(r"(?<!\\)[*_`<\[$]", plain.replace("**", "")) is None


@pytest.mark.parametrize("start", ["- no list", "1. no list", "# no title", "> no quote", "+ no list", "=== no title"])
def test_a_line_is_a_paragraph_however_it_begins(start):
    plain = markdown([Section("T", [start])], {})
    assert re.match(r"\d*\\", plain.splitlines()[2])
    assert unescaped(plain.splitlines()[2]) == start


def test_citations_are_numbers_that_lead_to_references():
    text = "First [@holm1979], then [@zang2004; @zou2008], first again [@holm1979]."
    known = bibliography()
    parsed = read(html([Section("T", [text])], known))
    assert "".join(parsed.found).startswith("T\nFirst [1], then [2, 3], first again [1].")
    assert parsed.ids == ["ref-holm1979", "ref-zang2004", "ref-zou2008"]
    assert [link for link in parsed.links if link.startswith("#")] == [
        *("#ref-holm1979", "#ref-zang2004", "#ref-zou2008", "#ref-holm1979")
    ]
    assert all(link.startswith(("#", "https://")) for link in parsed.links)
    assert text in markdown([Section("T", [text])], known)
    assert re.findall(r"@\w+\{(\w+),", bibtex([Section("T", [text])], known)) == ["holm1979", "zang2004", "zou2008"]


def test_an_address_that_runs_something_is_no_link():
    entry = Reference("misc", "x2020", {"title": "T", "url": "javascript:alert(1)"})
    assert read(html([Section("T", ["As [@x2020]."])], {"x2020": entry})).links == ["#ref-x2020"]


# ---- references of cards


def test_a_paper_that_the_bibliography_lacks():
    paper = {"title": "A {new} study", "authors": "Dey S., Rao A. R., de la Cruz M.", "year": 2031, "doi": "10.1/x"}
    entry = of_paper(paper)
    assert entry.key == "dey2031"
    assert entry.fields["author"] == "Dey, S. and Rao, A. R. and de la Cruz, M."
    assert entry.fields["title"] == "A new study"
    assert entry.words == "Dey S, Rao AR, de la Cruz M (2031). A new study."
    assert of_paper({**paper, "authors": "Yang K. et al."}).words.startswith("Yang K et al. (2031)")
    assert of_paper({**paper, "authors": "Dey, S., Rao, A. R."}).fields["author"] == "Dey, S. and Rao, A. R."
    assert of_paper({**paper, "authors": "Igor Carrara"}).fields["author"] == "Igor Carrara"
    assert of_paper({"title": "Untitled", "doi": "10.0/0"}).key == "paper"


def test_the_citation_of_a_dataset_by_its_digital_object_identifiers():
    entries = of_dataset("Brains", "Miller A. 2014, doi:10.1038/mp.2013.78; B. C., a website", "brains")
    assert [entry.key for entry in entries] == ["brains1", "brains2"]
    assert entries[0].link == "https://doi.org/10.1038/mp.2013.78"
    assert entries[0].words == "Brains. Miller A. 2014."
    assert entries[1].link == ""


# ---- a run

CARD = {
    "dataset": "brains", "title": "Brains of people", "licence": "CC0", "citation": "Miller A. 2014, doi:10.1/x",
    "restricted": False, "simulated": False, "openneuro": {}, "filters": {"task": ["rest"]},
    "variables": {"diagnosis": {"column": "group", "values": {"patient": ["p"], "control": ["c"]}}},
    "paper": {"title": "On <brains>", "authors": "Dey S., Rao A. R., Shah M.", "year": 2012, "doi": "10.1/y"},
    "deviations": ["Everything <i>differs</i>."], "scored_together": True, "scale": "paper", "seed": 7,
    "snakemake": "9.9.9",
    "methods": [["new", "New", "proposed"], ["old", "Old & plain", "baseline"]],
    "evaluation": {
        "task": "classify", "target": "diagnosis", "classes": ["patient", "control"], "covariates": ["mean_fd"],
        "schemes": {"k_fold": {}, "by_site": {}}, "seeds": [3], "null_variants": 2, "exchangeable": ["site"],
    },
}  # fmt: skip
CHECK = {
    "methods": {
        "new": {"n_configurations": 12, "component": "a"},
        "old": {"n_configurations": 4, "component": "b"},
    },
    "offers": {"recordings": 12}, "versions": {"numpy": "9.8", "replicortex": "0.0.1", "nipype": "7.7"},
    "software": {"numpy": "9.8", "pydantic": "3"},
    "words": {
        "methods": {"new": "It was new [@holm1979].", "old": "It was old."},
        "splitters": {"k_fold": "Folds were made.", "by_site": "Sites were held out."},
        "metrics": {"one": "One is a metric."}, "preprocessing": {"r": "It was cleaned."}, "features": {"f": "Taken."},
    },
}  # fmt: skip
ID = ["recording", "subject", "session", "status", "reason"]


def claim(**changes):
    result = {"verdict": "undecided", "n": 9, "n_subjects": 9}
    return {"kind": "better", "method": "new", "than": "old", "unit": "subject", "alpha": 0.05,
            "results": {"observed": result, "null": result}} | changes  # fmt: skip


@pytest.fixture
def run(tmp_path):
    """Twelve recordings: two not preprocessed, one without features; of nine people one has no diagnosis."""
    people = [f"{k:02d}" for k in range(1, 13)]
    failed = {
        "01": "sub-01/func/sub-01_bold.nii.gz: has 3 volumes, needs 8; exclude it",
        "02": "sub-02/func/sub-02_bold.nii.gz: has 3 volumes, needs 8; exclude it",
        "03": "sub-03_bold: table /data/sub-03/x.tsv does not fit sub-03_bold.nii.gz; repair it",
    }
    rows = [{"recording": f"sub-{p}_bold", "subject": p, "session": "n/a", "status": "ok"} for p in people]
    manifest = [
        row | ({"status": "failed", "reason": failed[row["subject"]]} if row["subject"] < "03" else {}) for row in rows
    ]
    features = [
        row
        | ({"status": "failed", "reason": failed.get(row["subject"], "x")} if row["subject"] < "04" else {"n_rows": 1})
        for row in rows
    ]
    used = people[4:]
    group = {p: "patient" if k % 2 else "control" for k, p in enumerate(people)}
    targets = [{"row_id": p, "subject": p, "session": "n/a", "label": group[p], "target": group[p]} for p in used]
    splits = [
        {"scheme": "k_fold", "fold": f"f{fold}", "row_id": p, "role": "test" if (k % 2) == fold else "train"}
        for fold in (0, 1)
        for k, p in enumerate(used)
    ]
    table = [
        {"participant_id": f"sub-{p}", "Age": 20 + k, "Sex": "FM"[k % 2], "group": "pc"[k % 2]}
        for k, p in enumerate(people)
    ]
    given = {
        "manifests": to_tsv(manifest, ID), "features": to_tsv(features, [*ID, "n_rows"]),
        "targets": to_tsv(targets, ["row_id", "subject", "session", "label", "target"]),
        "splits": to_tsv(splits, ["scheme", "fold", "row_id", "role"]),
        "participants": to_tsv(table, ["participant_id", "Age", "Sex", "group"]),
        "checks": json.dumps(CHECK), "claims": json.dumps({"claims": [claim()]}),
        "validation": json.dumps({"skipped": False, "validator": "v 1", "schema": "2", "counts": {"warning": 1}}),
    }  # fmt: skip
    for name, content in given.items():
        (tmp_path / name).write_text(content)

    def write(card=CARD, **changes):
        for name, content in changes.items():
            (tmp_path / name).write_text(json.dumps(content))
        paths = {name: tmp_path / name for name in given}
        paths |= {name: [paths[name]] for name in ("manifests", "features", "checks")}
        out = {name: tmp_path / f"out-{name}" for name in ("out", "page", "references")}
        write_methods(card, **paths, **out)
        return unescaped(out["out"].read_text()), out["page"].read_text(), out["references"].read_text()

    return write


def test_people_and_recordings_are_counted(run):
    text, _, _ = run()
    assert "The dataset holds 12 recordings of the kind that the study takes, of 12 participants." in text
    assert "Two recordings could not be preprocessed: has 3 volumes, needs 8 (two)." in text
    assert "One recording gave no features: table a file does not fit the recording (one)." in text
    assert "One participant took no part: the diagnosis is unknown" in text
    assert "In all, eight participants could be used." in text
    # Participants 5 to 12 are 24 to 31 years old.
    assert "Their mean age was 27.5 years (standard deviation 2.4, range 24 to 31)." in text
    assert "By sex, there were 4 female and 4 male." in text
    assert "By diagnosis, 4 patient and 4 control took part." in text
    assert "Only recordings of task rest were taken." in text


def test_methods_folds_and_tests_are_told(run):
    text, _, _ = run()
    assert "- **New (of the paper)**: It was new [@holm1979]. It tried 12 configurations." in text
    assert "- **Old & plain (baseline)**: It was old. It tried four configurations." in text
    assert "In the comparisons that claims make, Old & plain tried fewer configurations" in text
    assert "Folds were made. This made two folds, with a median of 4 recordings to train on and 4 to test." in text
    assert "The scheme “by site” of the study is not possible with these data." in text
    assert "Sites were held out" not in text
    assert "repeated twice with targets permuted among participants of the same site [@ojala2010]." in text
    assert "models were fitted with seed 3" in text
    assert "mean framewise displacement" in text
    assert "jackknife pseudo-values [@efron1993]" in text
    assert "numpy 9.8 [@harris2020]" in text
    # Neither what no component imports nor what decides no number.
    assert "nipype" not in text
    assert "pydantic" not in text


@pytest.mark.parametrize(
    ("n", "test"), [(9, "over all flips (n = 9)"), (15, "over 10,000 random flips (n = 15)"), (40, "Wilcoxon's")]
)
def test_the_test_is_that_for_as_many_units(run, n, test):
    result = {"verdict": "holds", "n": n, "n_subjects": n}
    text, _, _ = run({**CARD, "scored_together": False}, claims={"claims": [claim(results={"observed": result})]})
    assert test in text
    assert "pseudo-values" not in text
    assert "undecided" not in text


def test_models_that_differ_in_a_few_words_share_an_item(run):
    names = ["a", "b", "c", "d"]
    told = {"methods": {name: f"It took the {name} x (as ever). Then it ended." for name in names}}
    check = {**CHECK, "words": {**CHECK["words"], **told}}
    check["methods"] = {name: {"n_configurations": 2, "component": "one"} for name in names}
    card = {**CARD, "methods": [[name, name.upper(), "baseline"] for name in names]}
    text, _, _ = run(card, checks=check, claims={"claims": []})
    expected = "It took the a, b, c and d, respectively x (as ever). Then it ended. Each tried two configurations."
    assert f"- **A, B, C and D (baseline)**: {expected}" in text
    assert "Four models were compared." in text


@pytest.mark.parametrize("scale", ["demo", "paper"])
def test_nobody_is_named_in_any_form(run, scale):
    for form in run({**CARD, "scale": scale}):
        assert "sub-" not in form
        assert "/data" not in form


def test_a_restricted_dataset_does_not_tell_of_few(run):
    text, _, _ = run({**CARD, "restricted": True})
    assert "fewer than five female and fewer than five male" in text
    assert "fewer than five patient" in text
    assert "range" not in text


def test_references_are_those_that_are_cited(run):
    text, page, references = run()
    keys = re.findall(r"@\w+\{([\w-]+),", references)
    assert sorted(keys) == keys
    assert {"holm1979", "dey2012", "brains1", "gorgolewski2016"} <= set(keys)
    assert set(keys) == set(re.findall(r"@([\w-]+)", text))
    parsed = read(page)
    assert sorted(parsed.ids) == [f"ref-{key}" for key in keys]
    assert set(parsed.tags) <= {"h3", "p", "ul", "ol", "li", "strong", "a", "span"}
    assert "On &lt;brains&gt;" in page
    assert "Everything &lt;i&gt;differs&lt;/i&gt;." in page


def test_equal_results_give_equal_bytes(run):
    assert run() == run()
