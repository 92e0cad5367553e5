"""Inheritance, and the index: what it knows, when it is rewritten, and what it reports."""

from __future__ import annotations

import json
import os
import random
import shutil

import pytest

from bids_trees import faults, grow, index_tree, two_subjects
from replicortex import index as indexing
from replicortex import walk
from replicortex.errors import InputError
from replicortex.files import read_tsv
from replicortex.sidecars import associated, merged_sidecar


@pytest.fixture
def tree(tmp_path):
    return two_subjects(tmp_path / "raw")


@pytest.fixture
def index(tmp_path):
    return lambda root, **options: index_tree(root, tmp_path / "out", **options)


# inheritance


def test_the_nearest_sidecar_wins_and_others_do_not_apply(tmp_path, index):
    stem = "sub-01/ses-1/eeg/sub-01_ses-1_task-a_run-1"
    files = {
        "eeg.json": {"EEGReference": "root", "PowerLineFrequency": 50, "SamplingFrequency": 1, "Dropped": 1},
        "task-a_eeg.json": {"EEGReference": "task", "SamplingFrequency": 2},
        "task-b_eeg.json": {"EEGReference": "other task"},
        "task-a_meg.json": {"EEGReference": "other suffix"},
        "sub-01/sub-01_eeg.json": {"SamplingFrequency": 3, "Level": "subject", "Dropped": None},
        "sub-01/ses-1/sub-01_ses-1_task-a_eeg.json": {"SamplingFrequency": 4, "Level": "session"},
        "sub-01/ses-1/eeg/sub-01_ses-1_run-2_eeg.json": {"EEGReference": "other run"},
        "sub-01/ses-2/sub-01_eeg.json": {"EEGReference": "other folder"},
        f"{stem}_eeg.json": "\ufeff" + json.dumps({"SamplingFrequency": 5, "Level": "own"}),
        f"{stem}_eeg.edf": "x",
    }
    root = grow(tmp_path / "raw", files)
    merged = merged_sidecar(root, f"{stem}_eeg.edf")
    assert merged == {
        "EEGReference": "task",
        "PowerLineFrequency": 50,
        "SamplingFrequency": 5,
        "Level": "own",
    }
    content, rows = index(root)
    row = rows[f"{stem}_eeg.edf"]
    chain = [
        "eeg.json",
        "task-a_eeg.json",
        "sub-01/sub-01_eeg.json",
        "sub-01/ses-1/sub-01_ses-1_task-a_eeg.json",
    ]
    assert json.loads(row["sidecars"]) == [*chain, f"{stem}_eeg.json"]
    assert (row["sampling_frequency"], row["problem"], content["problems"]) == ("5", "n/a", [])
    (listed,) = [row for row in read_tsv(tmp_path / "out" / "index.tsv") if row["path"] == f"{stem}_eeg.edf"]
    assert (listed["EEGReference"], listed["SamplingFrequency"], listed["run"]) == ("task", "5", "1")


@pytest.mark.parametrize("path", ["../raw/sub-01/eeg/sub-01_task-rest_eeg.vhdr", "/etc/sub-01_eeg.edf", "sub-01"])
def test_metadata_are_read_inside_the_dataset_only(tree, path):
    with pytest.raises(InputError, match="not the path of a BIDS file"):
        merged_sidecar(tree, path)


def test_a_sidecar_that_leaves_the_dataset_is_not_read(tree, tmp_path, index):
    outside = grow(tmp_path / "other", {"secret.json": {"SamplingFrequency": 999}}) / "secret.json"
    (tree / "sub-01" / "sub-01_eeg.json").symlink_to(outside)
    path = "sub-01/eeg/sub-01_task-rest_eeg.vhdr"
    _, rows = index(tree)
    assert rows[path]["sampling_frequency"] == "250"
    assert "leaves the dataset" in rows[path]["problem"]
    with pytest.raises(InputError, match="leaves the dataset"):
        merged_sidecar(tree, path)


def test_tables_are_the_nearest_and_a_space_is_chosen_with_both_files(tmp_path, index):
    folder = "sub-01/ses-1/eeg/"
    names = {
        "events": "task-a_events.tsv",
        "channels": folder + "sub-01_ses-1_task-a_run-1_channels.tsv",
        "electrodes": folder + "sub-01_ses-1_space-Other_electrodes.tsv",
        "coordsystem": folder + "sub-01_ses-1_space-Other_coordsystem.json",
    }
    files = dict.fromkeys(names.values(), "x") | {
        "task-a_channels.tsv": "x",
        "task-b_events.tsv": "x",
        folder + "sub-01_ses-1_run-2_channels.tsv": "x",
        folder + "sub-01_ses-1_space-CapTrak_electrodes.tsv": "x",
        folder + "sub-01_ses-1_task-a_run-1_eeg.set": "x",
        folder + "sub-01_ses-1_task-a_run-1_eeg.fdt": "xyz",
        "sub-01/ses-1/func/sub-01_ses-1_task-a_bold.nii.gz": "x",
    }
    root = grow(tmp_path / "raw", files)
    path = folder + "sub-01_ses-1_task-a_run-1_eeg.set"
    assert associated(root, path) == names
    _, rows = index(root)
    assert {kind: rows[path][kind] for kind in names} == names
    assert rows[path]["size"] == "4"
    bold = rows["sub-01/ses-1/func/sub-01_ses-1_task-a_bold.nii.gz"]
    assert (bold["events"], bold["channels"], bold["electrodes"]) == ("task-a_events.tsv", "n/a", "n/a")


# the index


def test_the_row_of_a_recording(tree, index):
    _, rows = index(tree)
    row = rows["sub-02/eeg/sub-02_task-rest_eeg.vhdr"]
    row.pop("digest")
    assert row == {
        "recording": "sub-02_task-rest",
        "path": "sub-02/eeg/sub-02_task-rest_eeg.vhdr",
        "datatype": "eeg",
        "suffix": "eeg",
        "extension": ".vhdr",
        "subject": "02",
        "session": "n/a",
        "task": "rest",
        "acquisition": "n/a",
        "run": "n/a",
        "events": "task-rest_events.tsv",
        "channels": "n/a",
        "electrodes": "n/a",
        "coordsystem": "n/a",
        "sidecars": '["task-rest_eeg.json"]',
        "sampling_frequency": "250",
        "repetition_time": "n/a",
        "size": str(len("sub-02/eeg/sub-02_task-rest") * 3 + len(".vhdr.eeg.vmrk")),
        "problem": "n/a",
    }


def test_what_is_and_what_is_not_a_recording(tmp_path, index):
    recordings = [
        "sub-01/anat/sub-01_T1w.nii.gz",
        "sub-01/anat/sub-01_T2w.nii.gz",
        "sub-01/func/sub-01_task-a_echo-1_part-mag_bold.nii.gz",
        "sub-01/func/sub-01_task-a_echo-2_part-mag_bold.nii.gz",
        "sub-01/meg/sub-01_task-a_split-01_meg.fif",
        "sub-01/ieeg/sub-01_task-a_ieeg.mefd",
    ]
    others = [
        "sub-01/meg/sub-01_task-a_split-02_meg.fif",
        "sub-01/meg/sub-01_acq-crosstalk_meg.fif",
        "sub-01/meg/sub-01_headshape.pos",
        "sub-01/anat/sub-01_defacemask.nii.gz",
        "sub-01/eeg/sub-01_photo.png",
        "sub-01/sub-01_task-b_bold.nii.gz",
        "sub-01/func/extra/sub-01_task-b_bold.nii.gz",
        "sub-01/sub-01_scans.tsv",
        "sub-01/func/sub-01_task-a_physio.tsv.gz",
    ]
    files = dict.fromkeys([*recordings[:-1], *others], "x") | {recordings[-1] + "/a.timd/b": "x"}
    content, rows = index(grow(tmp_path / "raw", files))
    assert sorted(rows) == sorted(recordings)
    assert rows["sub-01/meg/sub-01_task-a_split-01_meg.fif"]["recording"] == "sub-01_task-a"
    assert rows["sub-01/meg/sub-01_task-a_split-01_meg.fif"]["size"] == "2"
    assert (content["n_files"], content["n_recordings"], content["n_subjects"]) == (len(files) + 1, 6, 1)


def test_a_touched_file_changes_nothing_but_its_time(tree, index, tmp_path):
    index(tree)
    out = tmp_path / "out"
    before = {path.name: (path.stat().st_ino, path.read_bytes()) for path in out.iterdir()}
    index(tree)
    assert before == {path.name: (path.stat().st_ino, path.read_bytes()) for path in out.iterdir()}
    os.utime(tree / "sub-01/eeg/sub-01_task-rest_eeg.eeg", (1, 1))
    os.utime(tree / "task-rest_eeg.json", (1, 1))
    index(tree)
    after = {path.name: (path.stat().st_ino, path.read_bytes()) for path in out.iterdir()}
    assert sorted(name for name in before if before[name] != after[name]) == ["index.tsv", "scan.json"]


@pytest.mark.parametrize(
    ("file", "changed"),
    [
        ("sub-01/eeg/sub-01_task-rest_eeg.eeg", {"01"}),
        ("sub-01/eeg/sub-01_task-rest_eeg.vmrk", {"01"}),
        ("task-rest_eeg.json", {"01", "02"}),
        ("task-rest_events.tsv", {"01", "02"}),
        ("sub-02/sub-02_electrodes.tsv", {"02"}),
        ("participants.tsv", set()),
        ("sub-01/sub-01_scans.tsv", set()),
    ],
)
def test_the_digest_covers_all_that_a_recording_is_made_of(tree, index, file, changed):
    before, rows = index(tree)
    old = (tree / file).read_text(encoding="utf-8") if (tree / file).is_file() else ""
    grow(tree, {file: old.replace("250", "500") if "250" in old else old + "\n"})
    after, now = index(tree)
    assert {rows[path]["subject"] for path in rows if rows[path]["digest"] != now[path]["digest"]} == changed
    assert before["digest"] != after["digest"]


def test_only_what_changed_is_read_again(tree, index, monkeypatch):
    index(tree)
    read = []
    digest = walk._digest
    monkeypatch.setattr(walk, "_digest", lambda root, file, *rest: read.append(file.path) or digest(root, file, *rest))
    index(tree)
    assert read == []
    grow(tree, {"sub-00/eeg/sub-00_task-rest_eeg.edf": "x", "sub-01/eeg/sub-01_task-rest_eeg.eeg": "y"})
    index(tree)
    assert read == ["sub-00/eeg/sub-00_task-rest_eeg.edf", "sub-01/eeg/sub-01_task-rest_eeg.eeg"]


def test_an_entity_may_be_named_like_a_column(tree, index, monkeypatch):
    stem = "sub-01/eeg/sub-01_content-0123456789abcdef0123456789abcdef_size-1_eeg"
    grow(tree, {f"{stem}.edf": "x"})
    expected = index(tree)
    monkeypatch.setattr(walk, "_digest", None)
    assert index(tree) == expected
    assert expected[1][f"{stem}.edf"]["size"] == "1"


def test_a_time_too_young_to_tell_is_not_trusted(tree, index):
    """Two writes of equal length within one tick of the clock leave the same size and time."""
    path = tree / "sub-01/eeg/sub-01_task-rest_eeg.eeg"
    path.write_text("first", encoding="utf-8")
    moment = path.stat().st_mtime_ns
    _, before = index(tree)
    path.write_text("other", encoding="utf-8")
    os.utime(path, ns=(moment, moment))
    _, after = index(tree)
    name = "sub-01/eeg/sub-01_task-rest_eeg.vhdr"
    assert before[name]["digest"] != after[name]["digest"]


def test_modes_of_the_fingerprint(tree, index, monkeypatch):
    content, rows = index(tree, fingerprint="content")
    assert (content, rows) == index(tree, fingerprint="auto")
    by_time = index(tree, fingerprint="stat")
    assert by_time[0]["digest"] != content["digest"]
    monkeypatch.setattr("replicortex.index._AUTO_LIMIT", 10)
    assert by_time == index(tree, fingerprint="auto")
    os.utime(tree / "sub-01/eeg/sub-01_task-rest_eeg.eeg", (1, 1))
    touched = index(tree)[1]
    assert [rows[p]["subject"] for p in touched if touched[p]["digest"] != by_time[1][p]["digest"]] == ["01"]
    with pytest.raises(InputError, match="choose one of"):
        index(tree, fingerprint="magic")


def test_a_damaged_earlier_index_costs_time_only(tree, index, tmp_path):
    expected = index(tree)
    for damage in (b"", b"path\n", b"\xff\xfe", b"path\tsize\tmtime_ns\tcontent\nsub-01\n"):
        (tmp_path / "out" / "index.tsv").write_bytes(damage)
        assert index(tree) == expected


def test_the_answer_does_not_depend_on_the_order_of_folders(tree, index, monkeypatch):
    expected = index(tree)
    scandir = os.scandir

    class Backwards:
        def __init__(self, path):
            with scandir(path) as entries:
                self.entries = sorted(entries, key=lambda entry: entry.name, reverse=True)

        def __enter__(self):
            return self.entries

        def __exit__(self, *exception):
            return None

    monkeypatch.setattr(walk.os, "scandir", Backwards)
    shutil.rmtree(tree.parent / "out")
    assert index(tree) == expected


# subjects that are alike

LABELS = ("1", "10", "01", "101", "a", "A", "x+", "task")
TOP = {
    "task-rest_eeg.json": {"SamplingFrequency": 250, "EEGReference": "Cz"},
    "task-rest_events.tsv": "",
    "space-CapTrak_coordsystem.json": {},
    "bold.json": "{",
    "dwi.bval": "0",
}
NAMES = [
    *(f"eeg/{{S}}_task-rest_eeg{extension}" for extension in (".vhdr", ".eeg", ".vmrk", ".edf", ".json")),
    *(f"eeg/{{S}}_task-rest_run-2_eeg{extension}" for extension in (".set", ".fdt", ".json")),
    *(f"eeg/{{S}}_space-{space}_{kind}" for space in "AB" for kind in ("electrodes.tsv", "coordsystem.json")),
    *("eeg/{S}_channels.tsv", "eeg/{S}_odd-3_task-rest_eeg.bdf", "{S}_eeg.json", "{S}_scans.tsv"),
    *("meg/{S}_split-1_meg.fif", "meg/{S}_split-2_meg.fif", "meg/{S}_task-x_meg.ds/a", "anat/{S}_T1w.nii.gz"),
    *("func/{S}_bold.nii.gz", "func/{S}_bold.nii", "func/{S}_timeseries.tsv", "eeg/100% (x).txt"),
    *("dwi/{S}_dwi.nii.gz", "dwi/{S}_dwi.bvec", "ses-1/eeg/{S}_ses-1_eeg.edf", "ses-1/eeg/{S}_eeg.edf"),
]
ODD = [
    *("eeg/{S}_no{S}_eeg.edf", "eeg/no{S}_eeg.edf", "eeg/{S}_{S}_eeg.edf", "eeg/{S}0_eeg.edf", "eeg/sub-10_eeg.edf"),
    *("eeg/{S}.txt", "extra/{S}_eeg.edf", "{S}/eeg/{S}_eeg.edf"),
]
SIDECARS = [{"SamplingFrequency": 5, "TaskName": "a b\nc"}, {"EEGReference": None}, {"TaskName": [1]}, "{", "[]", ""]


def irregular(root, seed):
    """Write subjects of two layouts, one with an odd name; some have a file less and another; labels overlap."""
    some = random.Random(seed)
    grow(root, {name: content for name, content in TOP.items() if some.random() < 0.5})
    layouts = [["eeg/{S}_task-rest_eeg.edf", *some.sample(NAMES, some.randint(3, 12))] for _ in range(2)]
    layouts[1].append(ODD[seed % len(ODD)])
    for label in LABELS:
        names = list(some.choice(layouts))
        if some.random() < 0.3:
            names = [*names[1:], some.choice(NAMES)]
        for name in dict.fromkeys(names):
            path = f"sub-{label}/{name}".format(S=f"sub-{label}")
            content = some.choice(SIDECARS) if path.endswith(".json") else some.choice(["", "x", "xyz"])
            if some.random() < 0.97:
                grow(root, {path: content})
            elif not os.path.lexists(root / path):
                (root / path).parent.mkdir(parents=True, exist_ok=True)
                (root / path).symlink_to(some.choice(["nowhere", "/etc/passwd", "."]))
    for folder in root.rglob("*.ds"):
        os.utime(folder, (1, 1))
    return root


@pytest.mark.parametrize("top", ["", "sub-10_task-rest_eeg.json", "nosub-10_eeg.json"])
@pytest.mark.parametrize("seed", range(8))
def test_a_subject_is_indexed_as_if_it_were_alone(tmp_path, index, monkeypatch, seed, top):
    """What is known of names from one subject serves others; alone, a subject has only what is its own."""
    root = irregular(tmp_path / "raw", seed)
    if top:
        grow(root, {top: {"SamplingFrequency": 77, "TaskName": "of one"}})
    monkeypatch.setattr(indexing, "_MOST_FILES", 20 if seed % 2 else 10_000)

    def answer():
        content, rows = index(root)
        table = read_tsv(tmp_path / "out" / "index.tsv")
        # Without the columns of entities that only other subjects have.
        files = {row["path"]: {name: cell for name, cell in row.items() if cell != "n/a"} for row in table}
        return rows, files, {problem["file"]: problem for problem in content["problems"]}

    together = answer()
    everything = root.rename(tmp_path / "everything")
    for label in LABELS:
        root.mkdir()
        for path in everything.iterdir():
            if path.is_file():
                shutil.copy2(path, root)
        shutil.copytree(everything / f"sub-{label}", root / f"sub-{label}", symlinks=True)
        for whole, alone in zip(together, answer(), strict=True):
            here, there = (
                {path: row for path, row in found.items() if path.startswith(f"sub-{label}/")}
                for found in (whole, alone)
            )
            assert here == there
        shutil.rmtree(root)


def test_names_are_taken_apart_once_for_subjects_named_alike(tmp_path, index, monkeypatch):
    files = {f"sub-{label}/eeg/sub-{label}_task-rest_eeg.{end}": "{}" for label in LABELS for end in ("edf", "json")}
    root = grow(tmp_path / "raw", files | {"sub-a/eeg/sub-a_events.tsv": "x"})
    read, layout = [], indexing._Layout
    monkeypatch.setattr(indexing, "_Layout", lambda *given: read.append(given[1]) or layout(*given))
    _, rows = index(root)
    assert len(read) == 3  # the root, the one that has events, and all others
    assert sorted(row["subject"] for row in rows.values()) == sorted(LABELS)


# problems


def test_a_problem_belongs_to_a_file_and_to_the_recordings_that_need_it(tree, index):
    grow(
        tree,
        {
            "sub-01/eeg/sub-01_task-rest_eeg.eeg": "",
            "sub-02/sub-02_eeg.json": "{",
            "sub-02/sub-02_scans.tsv": "",
        },
    )
    content, rows = index(tree)
    found = faults(content)
    assert list(found) == ["sub-01/eeg/sub-01_task-rest_eeg.eeg", "sub-02/sub-02_eeg.json"]
    assert found["sub-01/eeg/sub-01_task-rest_eeg.eeg"] == ["empty"]
    assert found["sub-02/sub-02_eeg.json"][0].startswith("not readable as JSON")
    assert rows["sub-01/eeg/sub-01_task-rest_eeg.vhdr"]["problem"].startswith("sub-01/eeg/sub-01_task-rest_eeg.eeg: ")
    assert rows["sub-02/eeg/sub-02_task-rest_eeg.vhdr"]["problem"].startswith("sub-02/sub-02_eeg.json: ")
    assert rows["sub-02/eeg/sub-02_task-rest_eeg.vhdr"]["sampling_frequency"] == "250"


@pytest.mark.parametrize("text", ["", "[1]", "{", "{}x", "[" * 100_000, "null", "\x00"])
def test_a_sidecar_may_hold_anything(tree, index, text):
    grow(tree, {"sub-01/sub-01_eeg.json": text})
    content, rows = index(tree)
    assert list(faults(content)) == ["sub-01/sub-01_eeg.json"]
    assert rows["sub-02/eeg/sub-02_task-rest_eeg.vhdr"]["problem"] == "n/a"


@pytest.mark.parametrize(
    ("files", "removed", "file", "words"),
    [
        (
            {},
            "sub-01/eeg/sub-01_task-rest_eeg.vmrk",
            "sub-01/eeg/sub-01_task-rest_eeg.vhdr",
            "no .vmrk file beside it",
        ),
        (
            {},
            "sub-01/eeg/sub-01_task-rest_eeg.vhdr",
            "sub-01/eeg/sub-01_task-rest_eeg.eeg",
            "no .vhdr file beside it",
        ),
        (
            {"sub-01/eeg/sub-01_task-x_eeg.fdt": "x"},
            None,
            "sub-01/eeg/sub-01_task-x_eeg.fdt",
            "no .set file beside it",
        ),
        ({"sub-01/eeg/sub-01_run-1_run-2_eeg.edf": "x"}, None, "sub-01/eeg", "run- twice"),
        (
            {"sub-01/eeg/sub-02_task-x_eeg.edf": "x"},
            None,
            "sub-01/eeg/sub-02_task-x_eeg.edf",
            "its folder disagree",
        ),
        (
            {"sub-01/ses-1/eeg/sub-01_eeg.edf": "x"},
            None,
            "sub-01/ses-1/eeg/sub-01_eeg.edf",
            "its folder disagree",
        ),
        (
            {"sub-01/eeg/sub-01_task-rest_eeg.edf": "x"},
            None,
            "sub-01/eeg/sub-01_task-rest_eeg.vhdr",
            "stored as .edf",
        ),
        ({}, "dataset_description.json", "dataset_description.json", "missing"),
        ({"dataset_description.json": "[]"}, None, "dataset_description.json", "not a JSON object"),
        ({"participants.tsv": "id\nsub-01\n"}, None, "participants.tsv", "no column participant_id"),
        ({"participants.tsv": ""}, None, "participants.tsv", "empty table"),
        (
            {"participants.tsv": "participant_id\nsub-01\n"},
            None,
            "participants.tsv",
            "1 with recordings but not listed: sub-02",
        ),
        (
            {"participants.tsv": "\ufeffparticipant_id\nsub-01\nsub-02\nsub-03\n"},
            None,
            "participants.tsv",
            "1 listed but without a recording: sub-03",
        ),
        (
            {"participants.tsv": "participant_id\nsub-01\nsub-02\nsub-02\n"},
            None,
            "participants.tsv",
            "1 listed twice: sub-02",
        ),
        ({"participants.tsv": "participant_id\nsub-01\n" + "x" * 200_000}, None, "participants.tsv", "limit"),
    ],
)
def test_problems_name_file_and_fault(tree, index, files, removed, file, words):
    grow(tree, files)
    if removed:
        (tree / removed).unlink()
    content, rows = index(tree)
    assert any(words in fault for fault in faults(content)[file])
    assert any(row["subject"] == "02" and row["problem"] == "n/a" for row in rows.values())
