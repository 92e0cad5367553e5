"""What keeps thousands of subjects cheap: short notation for many files, few blocks, an index known to be unchanged."""

from __future__ import annotations

import inspect
import itertools
import os
import random
from types import SimpleNamespace

import pytest

from bids_trees import brainvision, grow
from replicortex import index as indexing
from replicortex import walk
from replicortex.bids import n_blocks, split_name
from replicortex.errors import InputError
from replicortex.files import to_tsv
from replicortex.index import refresh_index
from replicortex.numbered import compact, expand
from replicortex.planning import remember_signatures
from replicortex.sidecars import read_object
from replicortex.stages.blockwise import collect_features

# short notation


def blocks(n: int, folder: str = "a") -> list[str]:
    return [f"{folder}/{k}of{n}.tsv" for k in range(n)]


@pytest.mark.parametrize(
    "paths",
    [
        [],
        ["a/b.tsv"],
        blocks(1),
        blocks(4096),
        blocks(4)[::2],
        blocks(12)[::-1],
        sorted(blocks(12)),
        [*blocks(3), *blocks(3, "b"), *blocks(4), "x"],
        [f"r/{m}/seed-{s}_part-{p}of3/fit.json" for m in "ab" for s in (0, 1) for p in range(3)],
        ["10of2/3of4.npz", "10of2/4of5.npz", "x1of2y", "x2of3y", "03of4", "04of4", "of", "1of", "of2"],
        ["line\n0of2", "line\n1of2"],
    ],
)
def test_the_short_notation_stands_for_the_same_paths_in_the_same_order(paths):
    assert list(itertools.chain.from_iterable(map(expand, compact(paths)))) == paths


def test_any_choice_of_blocks_survives_the_notation():
    generator = random.Random(0)
    for _ in range(200):
        paths = generator.sample(blocks(30) + blocks(30, "9of30"), generator.randrange(60))
        paths = generator.choice(
            [paths, sorted(paths), sorted(paths, key=lambda p: int(p.split("/")[1].split("of")[0]))]
        )
        assert [path for entry in compact(paths) for path in expand(entry)] == paths


def test_a_thousand_blocks_are_one_entry():
    assert compact(blocks(1024)) == ["a/{0..1023}of1024.tsv"]
    assert compact([*blocks(8), *blocks(8, "b")]) == ["a/{0..7}of8.tsv", "b/{0..7}of8.tsv"]


@pytest.mark.parametrize("entry", ["{2..1}of4", "{0..4}of4", "{0..999999999}of9999999999"])
def test_a_range_that_is_none_is_refused_in_one_line(entry):
    with pytest.raises(InputError, match="no range of blocks"):
        expand(entry)


# the number of blocks


@pytest.mark.parametrize("seconds", [0.1, 1, 5, 60, 200, 3600, 30_000])
def test_doubling_a_dataset_splits_each_block_or_none(seconds):
    numbers = {n: n_blocks(n, seconds) for n in [*range(1, 2000), *range(2000, 200_001, 97)]}
    assert all(number & (number - 1) == 0 for number in numbers.values())
    assert list(numbers.values()) == sorted(numbers.values())
    assert all(n_blocks(2 * n, seconds) in (number, 2 * number) for n, number in numbers.items())


@pytest.mark.parametrize(("n_subjects", "most"), [(10_000, 1250), (100_000, 6250)])
def test_three_stages_of_a_large_dataset_are_jobs_that_can_be_planned(n_subjects, most):
    for seconds in (1, 5, 20, 150, 200):
        assert 3 * n_blocks(n_subjects, seconds) + 60 <= most


def test_blocks_take_no_more_than_four_hours_for_it():
    for n_subjects, seconds in itertools.product((300, 5000, 10_000, 100_000), (150, 200, 1000, 3600)):
        assert n_subjects / n_blocks(n_subjects, seconds) * seconds <= 4 * 3600


# what is asked of each job


def test_a_noted_signature_is_what_the_function_takes():
    def parameter(wildcards, input):
        return wildcards

    def found(wildcards):
        return []

    # Input functions come wrapped by Snakemake; constants have nothing to note.
    wrapped = SimpleNamespace(_file=SimpleNamespace(callable=found))
    taken = [inspect.signature(parameter), inspect.signature(found)]
    remember_signatures([SimpleNamespace(params=[parameter, "text", 3], input=[wrapped, "a/b.tsv"])])
    assert [parameter.__signature__, found.__signature__] == taken
    assert list(inspect.signature(parameter).parameters) == ["wildcards", "input"]


# the index


@pytest.fixture
def tree(tmp_path):
    root = tmp_path / "raw"
    for subject in ("01", "02"):
        grow(root, brainvision(f"sub-{subject}/eeg/sub-{subject}_task-rest_eeg"))
    grow(
        root,
        {
            "dataset_description.json": '{"Name": "x", "BIDSVersion": "1.9.0"}',
            "participants.tsv": "participant_id\nsub-01\nsub-02\n",
        },
    )
    return root


def age(root) -> None:
    """Make files so old that their time tells of a change."""
    for path in root.rglob("*"):
        os.utime(path, (1, 1))


def test_an_unchanged_dataset_is_walked_and_not_read(tree, tmp_path, monkeypatch):
    age(tree)
    first = refresh_index(tree, tmp_path / "out")
    read = []
    monkeypatch.setattr(indexing, "fingerprints", lambda *_: read.append("files") or iter(()))
    monkeypatch.setattr(indexing, "read_object", lambda *_: read.append("sidecar"))
    assert refresh_index(tree, tmp_path / "out") == first
    assert read == []


CHANGES = {
    "content": lambda root: next(root.glob("sub-01/eeg/*.eeg")).write_text("other"),
    "time": lambda root: os.utime(root / "participants.tsv", (2, 2)),
    "new file": lambda root: grow(root, {"sub-03/eeg/sub-03_task-rest_eeg.edf": "x"}),
    "gone": lambda root: next(root.glob("sub-02/eeg/*.vmrk")).unlink(),
    "ignored": lambda root: grow(root, {".bidsignore": "sub-02/\n"}),
    "link": lambda root: (root / "sub-01/eeg/sub-01_task-rest_run-1_eeg.edf").symlink_to("/etc/passwd"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_dataset_is_indexed_as_if_for_the_first_time(tree, tmp_path, change):
    age(tree)
    refresh_index(tree, tmp_path / "out")
    CHANGES[change](tree)
    again = refresh_index(tree, tmp_path / "out")
    assert again == refresh_index(tree, tmp_path / "fresh")
    for name in ("recordings.tsv", "participants.tsv", "content.json"):
        assert (tmp_path / "out" / name).read_bytes() == (tmp_path / "fresh" / name).read_bytes()


@pytest.mark.parametrize("name", ["index.tsv", "recordings.tsv", "participants.tsv", "content.json", "scan.json"])
@pytest.mark.parametrize("harm", ["cut", "gone"])
def test_a_damaged_table_is_made_again(tree, tmp_path, name, harm):
    age(tree)
    first = refresh_index(tree, tmp_path / "out")
    path = tmp_path / "out" / name
    text = path.read_text()
    path.write_text(text[: len(text) // 2]) if harm == "cut" else path.unlink()
    assert refresh_index(tree, tmp_path / "out") == first
    if name != "scan.json":
        assert path.read_text() == text


def test_an_edit_of_the_indexing_code_makes_the_tables_again(tree, tmp_path, monkeypatch):
    age(tree)
    refresh_index(tree, tmp_path / "out")
    monkeypatch.setattr(indexing, "code_digest", lambda _: "another")
    read = []
    real = walk.fingerprints
    monkeypatch.setattr(indexing, "fingerprints", lambda *given: read.append(1) or real(*given))
    refresh_index(tree, tmp_path / "out")
    assert read


def test_files_are_read_once(tmp_path, monkeypatch):
    """A small sidecar's bytes serve its digest and its content; large files go to threads, batch by batch."""
    monkeypatch.setattr(walk, "_BATCH", 7)
    monkeypatch.setattr(walk, "_SMALL", 60)
    root, opened = tmp_path / "raw", []
    grow(root, {"dataset_description.json": '{"Name": "x", "BIDSVersion": "1.9.0"}'})
    for number in range(12):
        stem = f"sub-{number:02d}/eeg/sub-{number:02d}_task-rest_eeg"
        grow(root, {f"{stem}.edf": "x" * (30 + 10 * number), f"{stem}.json": f'{{"SamplingFrequency": {number + 1}}}'})
    monkeypatch.setattr(
        indexing,
        "read_object",
        lambda root, path, *given: opened.append((path, *given)) or read_object(root, path, *given),
    )
    refresh_index(root, tmp_path / "out", fingerprint="content")
    rows = (tmp_path / "out" / "recordings.tsv").read_text().splitlines()
    at = rows[0].split("\t").index("sampling_frequency")
    assert [row.split("\t")[at] for row in rows[1:]] == [str(number + 1) for number in range(12)]
    # The last subject of a batch may find its sidecar gone from memory, and reads it again.
    in_memory = [path for path, content in opened if content is not None]
    assert len(in_memory) >= 8


@pytest.mark.parametrize(
    "name",
    [
        "sub-1_ses-2_sub-3_eeg.edf",
        "sub-1_ses-2_ses-3_eeg.edf",
        "sub-1_sub-2_eeg.edf",
        "sub-1_task-a_task-b_eeg.edf",
        "sub-1_ses-2_",
        "sub-1_",
        "sub-_eeg.edf",
        "sub-1_ses-_eeg.edf",
    ],
)
def test_a_name_that_is_not_bids_is_none_however_it_is_taken_apart(name):
    assert split_name(name) is None


def test_a_name_with_and_without_session_is_taken_apart():
    assert split_name("sub-1_ses-2_eeg.edf") == (("sub-1", "ses-2"), "eeg", ".edf")
    assert split_name("sub-1_task-a_ses-2_eeg.edf") == (("sub-1", "task-a", "ses-2"), "eeg", ".edf")
    assert split_name("task-rest_bold.json") == (("task-rest",), "bold", ".json")
    assert split_name("sub-1_sessions.tsv") == (("sub-1",), "sessions", ".tsv")


# the table of features


def test_the_table_of_features_changes_with_what_they_hold_and_with_nothing_else(tmp_path):
    def table(k: int, **changes) -> None:
        rows = [
            {"recording": f"sub-{k}{i}", "suffix": "eeg", "status": "ok", "n_rows": 3, "digest": f"d{i}"}
            for i in (0, 1)
        ]
        rows.append({"recording": f"sub-{k}9", "suffix": "eeg", "status": "failed", "reason": "noise", "n_rows": None})
        rows[0] |= changes
        columns = ["recording", "suffix", "status", "reason", "n_rows", "digest"]
        (tmp_path / f"{k}of2.tsv").write_text(to_tsv(rows, columns))

    def collected() -> list[str]:
        collect_features([tmp_path / "0of2.tsv", tmp_path / "1of2.tsv"], tmp_path / "bundles.tsv")
        return (tmp_path / "bundles.tsv").read_text().splitlines()

    table(0), table(1)
    first = collected()
    assert [line.split("\t")[:3] for line in first[1:]] == [["0of2", "2", "6"], ["1of2", "2", "6"]]
    table(0, reason="no trial of rest")
    assert collected() == first
    table(0, digest="other")
    assert collected()[1] != first[1]
    assert collected()[2] == first[2]
    table(0, status="failed", n_rows=None, digest=None)
    assert collected()[1].split("\t")[:3] == ["0of2", "1", "3"]
