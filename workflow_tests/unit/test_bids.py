"""Names, the walk over a dataset and its blocks."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from bids_trees import brainvision, faults, grow, index_tree, two_subjects
from replicortex import walk
from replicortex.bids import (
    DATATYPES,
    ENTITIES,
    PROPOSED,
    block_of,
    join,
    n_blocks,
    parse,
    read_recordings,
    select_block,
    write_blocks,
)
from replicortex.errors import InputError
from replicortex.files import FAULTS, read_tsv
from replicortex.index import refresh_index


@pytest.fixture
def tree(tmp_path):
    return two_subjects(tmp_path / "raw")


@pytest.fixture
def index(tmp_path):
    return lambda root, **options: index_tree(root, tmp_path / "out", **options)


# names


def test_entities_are_those_of_the_schema_in_its_order():
    schema = pytest.importorskip("bidsschematools.schema").load_schema()
    expected = [(schema.objects.entities[name]["name"], name) for name in schema.rules.entities]
    assert list(ENTITIES.items()) == expected
    assert {value["value"] for value in schema.objects.datatypes.values()} - {"phenotype"} == DATATYPES - PROPOSED


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("sub-01_T1w.nii.gz", ({"subject": "01"}, "T1w", ".nii.gz")),
        (
            "sub-1_ses-2_task-a_acq-b+c_run-03_split-01_meg.fif",
            (
                {
                    "subject": "1",
                    "session": "2",
                    "task": "a",
                    "acquisition": "b+c",
                    "run": "03",
                    "split": "01",
                },
                "meg",
                ".fif",
            ),
        ),
        ("task-rest_bold.json", ({"task": "rest"}, "bold", ".json")),
        ("participants.tsv", ({}, "participants", ".tsv")),
        ("sub-01_meg", ({"subject": "01"}, "meg", "")),
        ("sub-01_later-x_eeg.edf", ({"subject": "01", "later": "x"}, "eeg", ".edf")),
        ("sub-01_run-1_run-2_bold.nii", None),
        ("sub-01__bold.nii", None),
        ("sub-01_bold .nii", None),
        ("sub-01_task-a b_bold.nii", None),
        ("sub-01_task-$(reboot)_bold.nii", None),
        ("sub-01_bold.nii\n", None),
        ("sub-01", None),
        ("", None),
    ],
)
def test_parse(name, expected):
    assert parse(name) == expected


def test_join_is_the_inverse_of_parse_and_sorts_entities():
    assert join({"run": "1", "description": "preproc", "subject": "01", "task": "a"}, "eeg", ".vhdr", "eeg") == (
        "sub-01/eeg/sub-01_task-a_run-1_desc-preproc_eeg.vhdr"
    )
    entities = dict.fromkeys(ENTITIES.values(), "9")
    path = join(entities, "bold", ".nii.gz", "func")
    assert path.startswith("sub-9/ses-9/func/sub-9_")
    assert parse(path.rpartition("/")[2]) == (entities, "bold", ".nii.gz")
    assert join({"task": "rest", "session": None}, "events", ".json") == "task-rest_events.json"


@pytest.mark.parametrize(
    ("entities", "suffix", "extension", "datatype", "words"),
    [
        ({"subject": "../../etc"}, "eeg", ".edf", "eeg", "letters and digits"),
        ({"subject": "01", "desc": "x"}, "eeg", ".edf", "eeg", "not a BIDS entity"),
        ({"subject": "01"}, "eeg", "/../x", "eeg", "not a BIDS name"),
        ({"subject": "01"}, "eeg", ".edf", "egg", "did you mean"),
        ({"subject": ""}, "eeg", ".edf", "eeg", "not a BIDS name"),
    ],
)
def test_join_refuses_what_would_leave_the_dataset(entities, suffix, extension, datatype, words):
    with pytest.raises(InputError, match=words):
        join(entities, suffix, extension, datatype)


# the walk


def test_only_the_raw_dataset_is_walked(tree):
    for folder in ("derivatives/x", "sourcedata", "code", "stimuli", "phenotype", ".git"):
        grow(tree, {f"{folder}/sub-01/eeg/sub-01_task-other_eeg.edf": "x"})
    grow(tree, {"sub-01/eeg/._sub-01_task-rest_eeg.vhdr": "x", "sub-02/.DS_Store": "x"})
    (tree / "sub-03").mkdir()
    expected = sorted(p.relative_to(tree).as_posix() for p in tree.glob("sub-0?/eeg/sub*"))
    paths = [file.path for file in walk.scan(tree)]
    assert paths == sorted(p.name for p in tree.iterdir() if p.is_file()) + expected


@pytest.mark.parametrize(
    ("patterns", "ignored"),
    [
        ("*.vmrk", {"sub-01/eeg/a.vmrk", "sub-02/b.vmrk"}),
        ("\ufeff# x\n\n  sub-02/  \n", {"sub-02/b.vmrk", "sub-02/b.tsv"}),
        ("/*.vmrk", set()),
        ("sub-01/*.vmrk", set()),
        ("sub-01/**", {"sub-01/eeg/a.vmrk", "sub-01/eeg/a.tsv"}),
        ("**/eeg/*", {"sub-01/eeg/a.vmrk", "sub-01/eeg/a.tsv"}),
        ("**/sub-0?/**/*.tsv\n!b.tsv", {"sub-01/eeg/a.tsv"}),
        ("[ab].vmrk\n!/sub-02/b.vmrk", {"sub-01/eeg/a.vmrk"}),
        ("eeg", {"sub-01/eeg/a.vmrk", "sub-01/eeg/a.tsv"}),
        ("b.tsv/\n!\n/\n\\!x", set()),
        ("**/" * 300 + "a*" * 40 + "b", set()),
    ],
)
def test_bidsignore_reads_as_gitignore(tmp_path, patterns, ignored):
    names = ["sub-01/eeg/a.vmrk", "sub-01/eeg/a.tsv", "sub-02/b.vmrk", "sub-02/b.tsv"]
    grow(tmp_path, dict.fromkeys(names, "x") | {".bidsignore": patterns})
    assert set(names) - {file.path for file in walk.scan(tmp_path)} == ignored


@pytest.mark.parametrize(
    ("folder", "extension"),
    [("sub-01_meg.ds", ".ds"), ("sub-01_meg", "n/a")],
)
def test_folders_with_a_file_name_are_one_recording(tmp_path, index, folder, extension):
    files = {f"sub-01/meg/{folder}/a.meg4": "12", f"sub-01/meg/{folder}/hz.ds/b": "345"}
    root = grow(tmp_path / "raw", files)
    _, rows = index(root)
    row = rows[f"sub-01/meg/{folder}"]
    assert (row["suffix"], row["extension"], row["size"]) == ("meg", extension, "5")
    grow(root, {f"sub-01/meg/{folder}/hz.ds/b": "346"})
    _, changed = index(root)
    assert changed[row["path"]]["digest"] != row["digest"]


def test_annexed_files_are_known_by_their_key_even_when_absent(tmp_path, index):
    root = grow(tmp_path / "raw", brainvision("sub-01/eeg/sub-01_task-x"))
    for subject, present in (("02", True), ("03", False)):
        key = f"MD5E-s7--{subject}.edf"
        target = root / ".git/annex/objects/ab/cd" / key / key
        link = root / f"sub-{subject}/eeg/sub-{subject}_task-x_eeg.edf"
        link.parent.mkdir(parents=True)
        link.symlink_to(os.path.relpath(target, link.parent))
        if present:
            target.parent.mkdir(parents=True)
            target.write_text("content", encoding="utf-8")
    content, rows = index(root)
    files = {row["path"]: row for row in read_tsv(tmp_path / "out" / "index.tsv")}
    for subject in ("02", "03"):
        row = files[f"sub-{subject}/eeg/sub-{subject}_task-x_eeg.edf"]
        assert (row["size"], row["content"]) == ("7", f"MD5E-s7--{subject}.edf")
    assert rows["sub-02/eeg/sub-02_task-x_eeg.edf"]["problem"] == "n/a"
    assert "git annex get" in rows["sub-03/eeg/sub-03_task-x_eeg.edf"]["problem"]
    assert list(faults(content)) == ["sub-03/eeg/sub-03_task-x_eeg.edf"]


def test_links_are_refused_unless_they_lead_to_a_file_inside(tree, tmp_path, index):
    secret = grow(tmp_path / "other", {"secret.edf": "secret", "eeg/sub-01_x_eeg.edf": "x"})
    folder = tree / "sub-01" / "eeg"
    (folder / "sub-01_task-in_eeg.edf").symlink_to("sub-01_task-rest_eeg.eeg")
    (folder / "sub-01_task-out_eeg.edf").symlink_to(secret / "secret.edf")
    (folder / "sub-01_task-up_eeg.edf").symlink_to("../../../other/secret.edf")
    (folder / "sub-01_task-two_eeg.edf").symlink_to("sub-01_task-out_eeg.edf")
    (folder / "sub-01_task-none_eeg.edf").symlink_to("nowhere.edf")
    (folder / "again").symlink_to("..")
    (folder / "sub-01_task-self_eeg.edf").symlink_to("sub-01_task-self_eeg.edf")
    (tree / "sub-09").symlink_to(secret)
    os.mkfifo(folder / "sub-01_task-pipe_eeg.edf")
    content, rows = index(tree)
    stem = "sub-01/eeg/sub-01_task-"
    expected = {
        f"{stem}out_eeg.edf": "leaves",
        f"{stem}up_eeg.edf": "leaves",
        f"{stem}two_eeg.edf": "leaves",
        f"{stem}none_eeg.edf": "broken",
        f"{stem}self_eeg.edf": "broken",
        f"{stem}pipe_eeg.edf": "special",
        "sub-01/eeg/again": "loop",
        "sub-09": "leaves",
    }
    assert faults(content) == {path: [FAULTS[fault][0]] for path, fault in expected.items()}
    assert rows[f"{stem}in_eeg.edf"]["problem"] == "n/a"
    assert "leaves the dataset" in rows[f"{stem}up_eeg.edf"]["problem"]
    assert rows["sub-02/eeg/sub-02_task-rest_eeg.vhdr"]["problem"] == "n/a"


def test_an_unreadable_folder_is_a_problem_of_its_own(tree, index, monkeypatch):
    scandir = os.scandir

    def refuse(path):
        if str(path).endswith("sub-02/eeg"):
            raise PermissionError(13, "Permission denied")
        return scandir(path)

    monkeypatch.setattr(walk.os, "scandir", refuse)
    content, rows = index(tree)
    assert set(faults(content)) == {"sub-02/eeg", "participants.tsv"}
    assert list(rows) == ["sub-01/eeg/sub-01_task-rest_eeg.vhdr"]


def test_hostile_names_are_listed_and_never_opened(tree, index, tmp_path):
    folder = os.fsencode(tree / "sub-01" / "eeg")
    for name in (b"a\tb_eeg.edf", b"sub-01_task-x\n_eeg.edf", b"$(reboot)_eeg.edf", b"\xff_eeg.edf", b"-rf"):
        Path(os.fsdecode(folder + b"/" + name)).write_text("x", encoding="utf-8")
    content, rows = index(tree)
    assert len(rows) == 2
    listed = [row for row in read_tsv(tmp_path / "out" / "index.tsv") if row["path"].startswith("sub-01/")]
    assert sorted(row["path"] for row in listed if row["suffix"] == "n/a") == [
        "sub-01/eeg/$(reboot)_eeg.edf",
        "sub-01/eeg/-rf",
        "sub-01/eeg/\\udcff_eeg.edf",
        "sub-01/eeg/a\\tb_eeg.edf",
        "sub-01/eeg/sub-01_task-x\\n_eeg.edf",
    ]
    assert {row["content"] for row in listed if row["suffix"] == "n/a"} == {"n/a"}
    assert "not a BIDS name" in faults(content)["sub-01/eeg"][0]


@pytest.mark.parametrize("root", ["nothing", "file", "empty"])
def test_a_root_without_subjects_is_refused(tmp_path, root):
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("x", encoding="utf-8")
    with pytest.raises(InputError, match="check the path"):
        refresh_index(tmp_path / root, tmp_path / "out")
    assert not (tmp_path / "out").exists()


# blocks


def test_number_of_blocks():
    assert [n_blocks(n, 120) for n in (0, 1, 2, 3, 4, 5, 200)] == [1, 1, 2, 4, 4, 8, 256]
    assert n_blocks(10_000, 0.001) == 64  # at most 200 subjects a block, 50 blocks at least
    assert n_blocks(10, 3600) == 16  # never less than one subject a block
    assert n_blocks(100, 12) == 16  # ten subjects make two minutes


def test_doubling_splits_each_block_in_two_and_fills_them_evenly():
    subjects = [f"{number:04d}" for number in range(4000)]
    assert all(block_of(subject, 16) == block_of(subject, 8) + 8 * (block_of(subject, 16) >= 8) for subject in subjects)
    sizes = [sum(block_of(subject, 8) == block for subject in subjects) for block in range(8)]
    # Binomial(4000, 1/8): mean 500, sd 21; all eight lie within five sd.
    assert all(abs(size - 500) < 105 for size in sizes)


def test_the_block_of_a_subject_never_changes():
    # The remainder of `printf 01 | b2sum -l 64`, and so on: lists made today must hold tomorrow.
    assert [block_of(subject, 1024) for subject in ("01", "02", "pilot")] == [639, 981, 329]


def test_a_new_subject_changes_one_list(tmp_path, index):
    root = tmp_path / "raw"
    for number in range(20):
        grow(root, {f"sub-{number}/eeg/sub-{number}_task-a_eeg.edf": str(number)})
    recordings, folder = tmp_path / "out" / "recordings.tsv", tmp_path / "blocks"
    index(root)
    paths = write_blocks(recordings, folder, 8)
    before = {path.name: (path.stat().st_ino, path.read_text(encoding="utf-8")) for path in paths}
    assert sorted(path.name for path in folder.iterdir()) == [f"{k}of8.tsv" for k in range(8)]
    grow(root, {"sub-x/eeg/sub-x_task-a_eeg.edf": "x"})
    _, rows = index(root)
    after = {p.name: (p.stat().st_ino, p.read_text(encoding="utf-8")) for p in write_blocks(recordings, folder, 8)}
    assert [name for name in before if before[name] != after[name]] == [f"{block_of('x', 8)}of8.tsv"]
    for k, path in enumerate(paths):
        assert read_recordings(path) == select_block(rows.values(), k, 8)
    assert sum(len(read_recordings(path)) for path in paths) == 21


def test_lists_of_another_number_are_removed_and_empty_blocks_are_headers(tree, index, tmp_path):
    index(tree)
    recordings, folder = tmp_path / "out" / "recordings.tsv", tmp_path / "blocks"
    write_blocks(recordings, folder, 2)
    paths = write_blocks(recordings, folder, 16)
    assert sorted(folder.iterdir()) == sorted(paths)
    header = recordings.read_text(encoding="utf-8").splitlines()[0] + "\n"
    assert sum(path.read_text(encoding="utf-8") == header for path in paths) >= 14
    assert sum(len(read_recordings(path)) for path in paths) == 2
