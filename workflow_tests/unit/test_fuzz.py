"""Whatever cards, sidecars, tables and headers hold: it works, or is refused in one line; nothing else.

Not another exception, no hang, nothing written outside the folder of results. The examples are the same each time.
"""

from __future__ import annotations

import contextlib
import copy
import json
import shutil
import signal
import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from project import DATASET, FEATURE, STUDY, Project, copy_sources
from raw_guard import differences, snapshot
from replicortex.bids import read_recordings
from replicortex.cards import Cards, bidsify_arguments, gather_plan, read_yaml
from replicortex.errors import InputError
from replicortex.files import read_json, read_tsv, to_json, to_tsv
from replicortex.index import refresh_index
from replicortex.patterns import Patterns
from replicortex.shared.eeg_raw import read_events, read_recording
from replicortex.shared.nifti import read_image
from replicortex.sidecars import associated, merged_sidecar
from replicortex.stages.gather import gather
from replicortex.stages.splits import read_variable


def fuzz(n: int) -> Callable:
    """Decorate a property: the same ``n`` examples each time, none kept."""
    hushed = [HealthCheck.too_slow, HealthCheck.function_scoped_fixture, HealthCheck.data_too_large]
    return settings(max_examples=n, derandomize=True, database=None, deadline=None, suppress_health_check=hushed)


#: What has come of the examples so far.
OUTCOMES: defaultdict[str, set[str]] = defaultdict(set)


@contextlib.contextmanager
def works_or_is_refused(what: str, seconds: int = 20) -> Iterator[list[str]]:
    """Let pass what works and what is refused in one line; yield the lines."""

    def late(*_):
        raise TimeoutError(f"took more than {seconds} s")

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(seconds)
    lines: list[str] = []
    try:
        yield lines
        OUTCOMES[what].add("works")
    except InputError as error:
        lines.append(str(error))
        assert "\n" not in lines[0]
        assert "; " in lines[0]
        OUTCOMES[what].add("is refused")
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


@pytest.fixture
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as name:
        yield Path(name)


# ---- what files may hold

WORDS = st.sampled_from([
    "n/a", "", "sub-01", "sub-", "participant_id", "onset", "duration", "trial_type", "name", "type", "EEG", "Cz", "C3",
    "nan", "inf", "-1", "1e999", "0", "1.5", "../../etc/passwd", "/etc/passwd", "$(touch pwned)", "a\0b", "\ufeff", "é",
    "\ud800", "💥", "'", '"', "a;b", "{x}", "<script>", "SamplingFrequency", "sex", "age",
])  # fmt: skip
TEXT = WORDS | st.text(max_size=12)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=8,
)
LINE = st.lists(TEXT, max_size=5).map("\t".join)
TABLE = st.lists(LINE, max_size=5).map("\n".join)
BYTES = (
    TABLE.map(lambda text: text.encode("utf-8", "surrogatepass"))
    | JSON.map(lambda value: json.dumps(value).encode("utf-8", "surrogatepass"))
    | st.binary(max_size=60)
)


def table_with(*columns: str) -> st.SearchStrategy[bytes]:
    """Tables that have the columns which are looked for, among others."""
    rows = st.lists(st.lists(TEXT, min_size=len(columns), max_size=len(columns) + 1), max_size=4)
    lines = st.permutations(columns).flatmap(lambda head: rows.map(lambda body: [head, *body]))
    return lines.map(lambda found: "\n".join("\t".join(row) for row in found).encode("utf-8", "surrogatepass"))


SIDECAR = st.dictionaries(
    st.sampled_from(["SamplingFrequency", "TaskName", "RepetitionTime", "RecordingDuration", "EEGReference", "x"]), JSON
).map(lambda value: json.dumps(value).encode("utf-8", "surrogatepass"))
STEM = "sub-01/eeg/sub-01_task-x"
PLACES = {
    "dataset_description.json": SIDECAR,
    "participants.tsv": table_with("participant_id", "sex"),
    ".bidsignore": TABLE.map(lambda text: text.encode("utf-8", "surrogatepass")),
    "task-x_eeg.json": SIDECAR,
    f"{STEM}_eeg.json": SIDECAR,
    f"{STEM}_events.tsv": table_with("onset", "duration", "trial_type"),
    f"{STEM}_channels.tsv": table_with("name", "type", "status"),
    f"{STEM}_electrodes.tsv": table_with("name", "x", "y", "z"),
    f"{STEM}_coordsystem.json": SIDECAR,
}
FILES = st.fixed_dictionaries({}, optional={place: good | BYTES for place, good in PLACES.items()})


def write(root: Path, files: dict[str, bytes]) -> None:
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


# ---- properties


@fuzz(100)
@given(files=FILES)
def test_any_dataset_is_indexed_or_refused(files):
    with tempfile.TemporaryDirectory() as name:
        root, out = Path(name, "data"), Path(name, "out")
        write(root, {f"{STEM}_eeg.edf": b"x", **files})
        before = snapshot(root)
        with works_or_is_refused("the index") as refused:
            found = refresh_index(root, out)
        if refused:
            # The one subject is ignored, and with it all that there is to index.
            assert files[".bidsignore"]
            assert "no subject folder" in refused[0]
            return
        assert found["n_recordings"] == (f"{STEM}_eeg.edf" in (out / "recordings.tsv").read_text())
        # What is written can be read again, line by line and cell by cell, and the same again changes nothing.
        for row in read_recordings(out / "recordings.tsv"):
            assert json.loads(row["sidecars"]) == [path for path in json.loads(row["sidecars"]) if path in files]
        assert read_json(out / "content.json") == found
        assert len(read_tsv(out / "index.tsv")) == found["n_files"]
        tables = [out / name for name in ("recordings.tsv", "participants.tsv", "content.json")]
        written = [path.read_bytes() for path in tables]
        refresh_index(root, out)
        assert [path.read_bytes() for path in tables] == written
        with works_or_is_refused("merged sidecars"):
            to_json(merged_sidecar(root, f"{STEM}_eeg.edf")).encode()
        with works_or_is_refused("files that go with a recording"):
            associated(root, f"{STEM}_eeg.edf")
        assert differences(before, snapshot(root)) == []
        assert {path.name for path in Path(name).iterdir()} == {"data", "out"}


@fuzz(150)
@given(
    content=PLACES["participants.tsv"] | BYTES, column=TEXT, values=st.dictionaries(TEXT, st.lists(TEXT, max_size=2))
)
def test_any_table_of_participants_is_read_or_refused(content, column, values):
    with tempfile.TemporaryDirectory() as name:
        path = Path(name, "participants.tsv")
        path.write_bytes(content)
        with works_or_is_refused("a variable"):
            found = read_variable(path, "sex", {"sex": {"column": column, "values": values}})
            assert found is None or all(isinstance(value, str) for value in found.values())
        with works_or_is_refused("a table"):
            rows = read_tsv(path)
            to_tsv(rows, list(rows[0]) if rows else []).encode()


@fuzz(150)
@given(content=PLACES[f"{STEM}_events.tsv"] | BYTES)
def test_any_table_of_events_is_read_or_refused(content):
    with tempfile.TemporaryDirectory() as name:
        path = Path(name, "events.tsv")
        path.write_bytes(content)
        with works_or_is_refused("events"):
            onsets = [event["onset"] for event in read_events(path)]
            assert onsets == sorted(onsets)
            assert np.isfinite(onsets).all()


@fuzz(60)
@given(files=FILES)
def test_any_recording_is_read_or_refused(files, tiny_data):
    """A sound signal with tables and sidecars of any kind."""
    (source,) = tiny_data.glob("sub-01/ses-1/eeg/*_eeg.vhdr")
    with tempfile.TemporaryDirectory() as name:
        root = Path(name, "data")
        shutil.copytree(source.parent, root / "sub-01/eeg")
        row = {"path": f"sub-01/eeg/{source.name}", "sidecars": "[]"} | dict.fromkeys(
            ("events", "channels", "electrodes", "coordsystem"), "n/a"
        )
        write(root, files)
        for place in files:
            kind = place.partition("_task-x_")[2].partition(".")[0]
            row |= {kind: place} if kind in row else {}
        own = f"sub-01/eeg/{source.stem}.json"
        row["sidecars"] = json.dumps([own, *(place for place in files if place.endswith("_eeg.json"))])
        with works_or_is_refused("a recording"):
            found = read_recording(row, root, None)
            assert found.raw.n_times > 0


@fuzz(200)
@given(
    flips=st.lists(st.tuples(st.integers(0, 400), st.integers(0, 255)), min_size=1, max_size=6), cut=st.integers(0, 90)
)
def test_any_image_is_read_or_refused(flips, cut):
    image = nib.Nifti1Image(np.arange(64, dtype=np.int16).reshape(4, 4, 4), np.eye(4))
    content = bytearray(image.to_bytes())
    for place, value in flips:
        content[place] = value
    with tempfile.TemporaryDirectory() as name:
        path = Path(name, "a.nii")
        path.write_bytes(content[: len(content) - cut] if cut > 60 else content)
        with works_or_is_refused("an image") as refused:
            found = read_image(path, 3)
            assert np.isfinite(found.get_fdata()).all()
        assert not refused or name not in refused[0].split(": ", 1)[1]


PEOPLE = b"id\tsite\nsub-01\tA\n0\tB\n"
GATHERED = {
    "name": "x",
    "license": "x",
    "participants": {"table": "people.csv", "id": "id"},
    "series": {"file": "a.npz", "atlas": "x", "task": "rest"},
    "metadata": {"RepetitionTime": 2.0},
    "metadata_by": {"site": {"A": {"RepetitionTime": 1.0}}},
}


def places(value: Any, path: tuple = ()) -> Iterator[tuple]:
    """Yield the path of every value in a card."""
    if path:
        yield path
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield from places(inner, (*path, key))


def changed(card: dict, path: tuple, value: Any) -> dict:
    """Return ``card`` with another value at ``path``."""
    made = copy.deepcopy(card)
    inner = made
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = value
    return made


@fuzz(120)
@given(
    path=st.sampled_from(list(places(GATHERED))), value=JSON, people=st.just(PEOPLE) | table_with("id", "site") | BYTES
)
def test_any_plan_is_gathered_or_refused(path, value, people):
    with tempfile.TemporaryDirectory() as name:
        source = Path(name, "source")
        (source / "inside").mkdir(parents=True)
        (source / "people.csv").write_bytes(people.replace(b"\t", b","))
        np.savez(source / "a.npz", **{"sub-01": np.ones((3, 2)), "n": np.zeros(2), "0": np.eye(3)})
        before = snapshot(source)
        with works_or_is_refused("gathering"):
            gather(source, Path(name, "out"), changed(GATHERED, path, value))
        assert differences(before, snapshot(source)) == []
        assert {entry.name for entry in Path(name).iterdir()} <= {"source", "out"}


ORIGINS = {
    "root": {"root": "data"},
    "simulate": {"simulate": {"simulator": "motor_imagery_eeg", "params": {"n_subjects": 2}}},
    "bidsify": {"bidsify": {"source": "data", "pattern": "{subject}.edf", "task": "x", "events": {"a": "b"}}},
    "gather": {"gather": {"source": "data", **{key: GATHERED[key] for key in ("participants", "metadata")}}},
}
RECIPE = {"title": "x", "modality": "eeg", "engine": "mne_eeg", "params": {"a": 1}, "seconds_per_subject": 3}
CARDS = {
    "studies": STUDY,
    "features": {**FEATURE, "files": {"a": "x.nii"}},
    "preprocessing": {**RECIPE, "files": {"a": "~/x"}},
    **{f"datasets-{name}": {"title": "x", "licence": "x", "classes": DATASET["classes"], "filters": {"task": ["a"]},
                            "variables": {"sex": {"column": "s", "values": {"m": ["1", 2]}}}, "blocks": 2, **origin}
       for name, origin in ORIGINS.items()},
    "config": {"runs": [{"study": "tiny", "name": "x", "params": {"methods": {"mdm": {"params": {"a": 1}}}}}],
               "scale": "demo", "seed": 1, "validation": "skip"},
}  # fmt: skip
ANYWHERE = st.sampled_from(sorted(CARDS)).flatmap(
    lambda kind: st.tuples(st.just(kind), st.sampled_from(list(places(CARDS[kind]))))
)


@pytest.fixture(scope="module")
def project(tmp_path_factory) -> Project:
    project = Project(copy_sources(tmp_path_factory.mktemp("fuzz") / "project"))
    project.card("preprocessing", "tiny", RECIPE)
    project.card("features", "tiny", FEATURE)
    project.card("studies", "tiny", {**STUDY, "preprocessing": "tiny"})
    project.card("datasets", "tiny", {"title": "x", "licence": "x", **ORIGINS["simulate"]})
    return project


def use(folder: Path, config: dict) -> None:
    """Do with the cards what the rules do before anything runs."""
    cards = Cards(folder, config)
    Patterns(cards)
    json.dumps([cards.config, cards.restricted], allow_nan=False)
    for run in cards.runs.values():
        card = cards.dataset(run.dataset)
        parts = [*run.datasets, run.preprocessing, run.feature, *run.methods, *run.variants, run.name, *run.parts]
        assert not [part for part in parts if "/" in part or ".." in part or part != part.strip()]
        for family in run.families:
            with works_or_is_refused("a check"):
                json.dumps(cards.to_check(run, family), sort_keys=True, allow_nan=False).encode()
        json.dumps([run.for_claims, card], sort_keys=True, allow_nan=False).encode()
        with works_or_is_refused("blocks"):
            cards.root(run.dataset)
            assert len(cards.blocks(run, "observed", "features", "npz")) >= 1 if "root" not in card else True
        with works_or_is_refused("files of a card"):
            cards.files("preprocessing", run.preprocessing)
        if "bidsify" in card:
            assert all(isinstance(word, str) for word in bidsify_arguments(card))
        if "gather" in card:
            json.dumps(gather_plan(card), sort_keys=True)


@fuzz(200)
@given(where=ANYWHERE, value=JSON)
def test_any_card_is_used_or_refused(project, where, value):
    kind, path = where
    card = changed(CARDS[kind], path, value)
    config = {"runs": ["tiny"]}
    if kind == "config":
        config = card
    else:
        target = project.folder / "config" / kind.partition("-")[0] / "tiny.yaml"
        original = target.read_text()
        target.write_text(yaml.safe_dump(card, allow_unicode=False), errors="surrogatepass")
    try:
        with works_or_is_refused("a card") as refused:
            use(project.folder / "config", config)
        if refused:
            assert str(project.folder) not in refused[0]
    finally:
        if kind != "config":
            target.write_text(original)
        read_yaml.cache_clear()
    assert not list(project.folder.rglob("pwned"))


@fuzz(150)
@given(text=st.text(max_size=40) | st.lists(st.sampled_from(["- ", "a: ", "[", "]", "{", "}", "&a ", "*a", "!!", "'",
       '"', "|", ">", "\n", "  ", "#", "%", "@", "? ", "---\n", "1", "yes", "~", "\0", "\ud800", "💥", ".inf"]),
       max_size=14).map("".join))  # fmt: skip
def test_any_text_is_a_card_or_refused(project, text):
    path = project.folder / "config/features/any.yaml"
    path.write_text(text, encoding="utf-8", errors="surrogatepass")
    read_yaml.cache_clear()
    with works_or_is_refused("text of a card"):
        json.dumps(read_yaml(path), allow_nan=False, ensure_ascii=False, sort_keys=True).encode()


def test_the_examples_came_both_ways():
    """A property that is always refused, or never, would say little."""
    if len(OUTCOMES) < 14:
        pytest.skip("looks at what the other tests of this file did")
    never_refused = {"the index", "files that go with a recording", "blocks", "files of a card"}
    assert {what for what, outcomes in OUTCOMES.items() if "works" not in outcomes} == set()
    assert {what for what, outcomes in OUTCOMES.items() if "is refused" not in outcomes} <= never_refused
