"""Hostile files: what leads out of a dataset, what is no file, what would fill memory, what would run code."""

from __future__ import annotations

import contextlib
import gzip
import json
import os
import resource
import shutil
import signal
import socket
import struct
import zipfile
from collections.abc import Iterator
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import scipy.io
import yaml

from replicortex.bundle import Bundle
from replicortex.cards import expand, read_yaml
from replicortex.errors import InputError
from replicortex.files import read_json, read_tsv
from replicortex.index import refresh_index
from replicortex.shared.eeg_raw import open_raw
from replicortex.shared.nifti import read_image
from replicortex.shared.raw_files import inside
from replicortex.stages.bidsify import Plan, find_recordings
from replicortex.stages.gather import gather


@contextlib.contextmanager
def bounded(seconds: int = 30, memory: int = 3 << 30) -> Iterator[None]:
    """Fail what takes longer, or more memory than there is now and ``memory`` (bytes)."""

    def late(*_):
        raise TimeoutError(f"took more than {seconds} s")

    pages = int(Path("/proc/self/statm").read_text().split()[0])
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    before = signal.signal(signal.SIGALRM, late)
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + memory, hard))
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


@contextlib.contextmanager
def refused(*words: str) -> Iterator[None]:
    """What is done is refused in one line that holds ``words``, in bounded time and memory."""
    with pytest.raises(InputError) as caught, bounded():
        yield
    line = str(caught.value)
    assert "\n" not in line
    assert line.count("; ") >= 1, line
    assert len(line) < 1000, line
    for word in words:
        assert word in line


# ---- what leads out, and what is no file


@pytest.fixture
def dataset(tmp_path) -> Path:
    root = tmp_path / "data"
    root.mkdir()
    (tmp_path / "secret.json").write_text('{"secret": 1}')
    (root / "own.json").write_text("{}")
    return root


def special(root: Path) -> dict[str, str]:
    """Put what is no file of the dataset into it; return names, and what is said of each."""
    os.mkfifo(root / "pipe.json")
    with socket.socket(socket.AF_UNIX) as server:
        # The path of a socket must be short.
        here = Path.cwd()
        os.chdir(root)
        try:
            server.bind("socket.json")
        finally:
            os.chdir(here)
    links = {
        "out.json": "../secret.json",
        "absolute.json": str(root.parent / "secret.json"),
        "environ.json": "/proc/self/environ",
        "zero.json": "/dev/zero",
    }
    for name, target in links.items():
        (root / name).symlink_to(target)
    (root / "folder").symlink_to("..")
    return {
        **dict.fromkeys(links, "a link that leaves the dataset"),
        "folder/secret.json": "a link that leaves the dataset",
        "pipe.json": "not a regular file",
        "socket.json": "not a regular file",
        "../secret.json": "leads out of the dataset",
        str(root.parent / "secret.json"): "leads out of the dataset",
        "own.json\0": "leads out of the dataset",
    }


def test_what_a_table_names_must_be_a_file_of_the_dataset(dataset):
    for name, fault in special(dataset).items():
        with refused(fault):
            inside(dataset, name)
    (dataset / "link.json").symlink_to("own.json")
    for name in ("own.json", "link.json", "absent.json"):
        assert inside(dataset, name) == dataset / name


def test_content_that_git_annex_keeps_is_the_datasets_own_and_nothing_else_below_it(dataset):
    key = "MD5E-s2--0.json"
    kept = dataset / ".git/annex/objects/aa/bb" / key / key
    kept.parent.mkdir(parents=True)
    kept.write_text("{}")
    (dataset / "annexed.json").symlink_to(kept.relative_to(dataset))
    assert read_json(inside(dataset, "annexed.json")) == {}
    # A subdataset, whose .git is a link to its parent's.
    shutil.move(dataset / ".git", dataset.parent / "gitdir")
    (dataset / ".git").symlink_to("../gitdir")
    assert read_json(inside(dataset, "annexed.json")) == {}
    # A dataset packed by someone who knows how annexed files look.
    (dataset / ".git").unlink()
    hostile = dataset / ".git/annex/objects"
    hostile.mkdir(parents=True)
    (hostile / "secret.json").symlink_to("../../../../secret.json")
    (hostile / "aa").symlink_to("../../../..")
    for target in (".git/annex/objects/secret.json", ".git/annex/objects/aa/secret.json"):
        (dataset / "annexed.json").unlink()
        (dataset / "annexed.json").symlink_to(target)
        with refused("a link that leaves the dataset"):
            inside(dataset, "annexed.json")


def test_readers_wait_for_no_pipe_and_read_no_device(dataset):
    special(dataset)
    for name in ("pipe.json", "zero.json", "folder", "absent.json"):
        for read in (read_json, read_tsv):
            with refused():
                read(dataset / name)


def test_the_index_goes_past_what_is_no_file(dataset, tmp_path):
    folder = dataset / "sub-01/eeg"
    folder.mkdir(parents=True)
    (folder / "sub-01_task-x_eeg.edf").write_text("x")
    special(folder)
    for place in (dataset / "participants.tsv", dataset / "dataset_description.json", dataset / ".bidsignore"):
        os.mkfifo(place)
    os.mkfifo(folder / "sub-01_task-x_eeg.json")
    (folder / "sub-01_task-x_events.tsv").symlink_to("/proc/self/environ")
    (folder / "sub-01_task-x_channels.tsv").symlink_to("/dev/zero")
    with bounded():
        found = refresh_index(dataset, tmp_path / "out")
    faults = {problem["file"]: problem["fault"] for problem in found["problems"]}
    assert faults["sub-01/eeg/sub-01_task-x_eeg.json"] == "not a regular file"
    assert faults["participants.tsv"] == faults["dataset_description.json"] == "not a regular file"
    for name in ("events", "channels"):
        assert faults[f"sub-01/eeg/sub-01_task-x_{name}.tsv"] == "a link that leaves the dataset"
    written = "".join(path.read_text() for path in (tmp_path / "out").iterdir())
    assert "secret" not in written
    assert "PATH=" not in written


def test_files_of_another_layout_are_taken_from_their_own_folder_only(tmp_path):
    source = tmp_path / "source"
    source.mkdir()
    (tmp_path / "secret.edf").write_text("x")
    (tmp_path / "secret.csv").write_text("id,age\n1,2\n")
    (source / "S1.edf").symlink_to("../secret.edf")
    (source / "people.csv").symlink_to("../secret.csv")
    with refused("S1.edf", "leaves"):
        find_recordings(source, Plan(pattern="{subject}.edf", name="x", task="x"))
    plan = {"name": "x", "license": "x", "participants": {"table": "people.csv", "id": "id"}}
    for name in ("people.csv", "../secret.csv", "/etc/passwd"):
        with refused(name, "leads out of the source folder"):
            gather(source, tmp_path / "out", {**plan, "participants": {"table": name, "id": "id"}})
    os.mkfifo(source / "pipe.csv")
    with refused("pipe.csv"):
        gather(source, tmp_path / "out", {**plan, "participants": {"table": "pipe.csv", "id": "id"}})
    assert not (tmp_path / "out").exists()


# ---- headers that name other files

HEADER = """Brain Vision Data Exchange Header File Version 1.0
[Common Infos]
{0}
DataFile={1}
MarkerFile={2}
DataFormat=BINARY
DataOrientation=MULTIPLEXED
NumberOfChannels=1
SamplingInterval=4000
[Binary Infos]
BinaryFormat=INT_16
[Channel Infos]
Ch1=Cz,,0.1,µV
"""


@pytest.mark.parametrize(
    ("more", "data", "marker"),
    [
        ("", "../../secret.eeg", ""),
        ("", "/etc/passwd", ""),
        ("", "a.eeg", "../../secret.vmrk"),
        ("", "a.eeg", "/etc/passwd"),
        ("", "..\\..\\secret.eeg", ""),
        ("", "link.eeg", ""),
        ("", "pipe.eeg", ""),
        ("", "", ""),
        ("Codepage=utf-7", "a.eeg", ""),
        ("datafile=../../secret.eeg\n[Other]", "a.eeg", ""),
        ("  DATAFILE : ../../secret.eeg\n[Other]", "a.eeg", ""),
    ],
)
def test_a_brainvision_header_names_no_file_elsewhere(tmp_path, more, data, marker):
    folder = tmp_path / "data/sub-01/eeg"
    folder.mkdir(parents=True)
    for path in (tmp_path / "data/secret.eeg", tmp_path / "secret.eeg", folder / "a.eeg"):
        path.write_bytes(bytes(200))
    (tmp_path / "data/secret.vmrk").write_text("x")
    (folder / "link.eeg").symlink_to(tmp_path / "secret.eeg")
    os.mkfifo(folder / "pipe.eeg")
    (folder / "a.vhdr").write_text(HEADER.format(more, data, marker))
    with refused("sub-01/eeg/"):
        open_raw(folder / "a.vhdr", "sub-01/eeg/a.vhdr")


def test_a_brainvision_header_may_name_a_file_beside_it(tmp_path):
    (tmp_path / "a.eeg").write_bytes(bytes(range(200)))
    (tmp_path / "a.vhdr").write_text(HEADER.format("", "a.eeg", ""))
    assert open_raw(tmp_path / "a.vhdr", "a.vhdr").n_times == 100


@pytest.mark.parametrize("data", ["../secret.fdt", "{secret}", "link.fdt", "pipe.fdt"])
def test_an_eeglab_file_names_no_file_elsewhere(tmp_path, data):
    folder = tmp_path / "data/eeg"
    folder.mkdir(parents=True)
    for path in (tmp_path / "secret.fdt", tmp_path / "data/secret.fdt", folder / "plain.fdt"):
        path.write_bytes(np.arange(50, dtype="f4").tobytes())
    (folder / "link.fdt").symlink_to(tmp_path / "secret.fdt")
    os.mkfifo(folder / "pipe.fdt")

    def named(name: str) -> None:
        empty = np.array([])
        content = {"nbchan": 1, "srate": 100.0, "trials": 1, "pnts": 50, "xmin": 0.0, "data": name}
        content |= {"chanlocs": empty, "event": empty, "epoch": empty, "setname": "x"}
        scipy.io.savemat(folder / "a.set", {"EEG": content})

    named("plain.fdt")
    assert open_raw(folder / "a.set", "eeg/a.set").n_times == 50
    named(data.format(secret=tmp_path / "secret.fdt"))
    with refused("eeg/"):
        open_raw(folder / "a.set", "eeg/a.set")


# ---- what would fill memory


def claimed(path: Path, shape: tuple[int, ...], dtype: type, content: bytes) -> Path:
    """Write a NIfTI file whose header claims ``shape`` and whose values are ``content``."""
    header = nib.Nifti1Header()
    header.set_data_dtype(dtype)
    header.set_data_shape(shape)
    header["vox_offset"], header["magic"] = 352, b"n+1"
    header.set_sform(np.eye(4), 1)
    packed = path.name.endswith(".gz")
    path.write_bytes(b"")
    with gzip.open(path, "wb", 1) if packed else path.open("wb") as stream:
        stream.write(header.binaryblock + bytes(4) + content)
    return path


def test_an_image_takes_no_more_memory_than_its_file_can_hold(tmp_path):
    noise = np.random.default_rng(0).bytes(3 << 20)
    with refused("truncated"):
        read_image(claimed(tmp_path / "a.nii", (3000, 3000, 3000), np.float64, noise), 3)
    with refused("truncated"):
        read_image(claimed(tmp_path / "b.nii.gz", (30_000, 30_000, 3000), np.float64, noise), 3)
    # What deflate could have packed, and no scanner makes.
    with refused("which no image does"):
        read_image(claimed(tmp_path / "c.nii.gz", (1400, 1400, 1500), np.uint8, noise), 3)
    # Zeros without end behind a small image are read past, not kept.
    with refused("is constant"):
        read_image(claimed(tmp_path / "d.nii.gz", (4, 4, 4), np.uint8, bytes(64 << 20)), 3)


def edf(path: Path, samples: list[int], n_records: int) -> Path:
    """Write an EDF header and, as a hole in the file, the records it demands."""
    n = len(samples)
    header = b"0".ljust(8) + bytes(b" " * 160) + b"01.01.0101.01.01"
    header += str(256 * (n + 1)).encode().ljust(8) + b" " * 44 + str(n_records).encode().ljust(8) + b"1".ljust(8)
    header += str(n).encode().ljust(4)
    for values, width in (
        ([f"C{k}" for k in range(n)], 16), ([""] * n, 80), (["uV"] * n, 8), ([-1] * n, 8), ([1] * n, 8),
        ([-100] * n, 8), ([100] * n, 8), ([""] * n, 80), (samples, 8), ([""] * n, 32),
    ):  # fmt: skip
        header += b"".join(str(value).encode().ljust(width) for value in values)
    path.write_bytes(header)
    os.truncate(path, len(header) + 2 * sum(samples) * max(n_records, 1))
    return path


def test_an_edf_file_takes_no_more_memory_than_its_size_explains(tmp_path):
    for n_records in (1, -1):
        with refused("in memory"):
            open_raw(edf(tmp_path / "a.edf", [2_000_000, *[1] * 199], n_records), "a.edf")
    with refused("truncated"):
        os.truncate(edf(tmp_path / "b.edf", [99_999_999] * 4, 99_999_999 // 10**7), 2000)
        open_raw(tmp_path / "b.edf", "b.edf")
    for at, text in ((252, b"-5  "), (252, b"9999"), (252, b"x   "), (236, b"99999999"), (184, b"-1      ")):
        path = edf(tmp_path / "c.edf", [10], 2)
        content = bytearray(path.read_bytes())
        content[at : at + len(text)] = text
        path.write_bytes(content)
        with refused("c.edf"):
            open_raw(path, "c.edf")


@pytest.mark.parametrize(
    "text",
    [
        "[" * 100_000 + "]" * 100_000,
        '{"a":' * 100_000 + "1" + "}" * 100_000,
        "[" * 100_000,
        "1" * 5000,
        '{"a": 1e999}',
        '{"a": -1' + "0" * 400 + ".0}",
        '{"a": "\\ud800"}',
        "",
        "\ufeff",
        "{'a': 1}",
        '{"a": 1} x',
    ],
    ids=lambda text: text[:12],
)
def test_json_that_is_none_or_can_not_be_written_again_is_refused(tmp_path, text):
    (tmp_path / "a.json").write_text(text)
    with refused("a.json"):
        read_json(tmp_path / "a.json")


def test_what_json_has_no_word_for_is_unknown(tmp_path):
    (tmp_path / "a.json").write_text('{"a": NaN, "b": [-Infinity], "c": "\\ud83e\\udde0", "d": 1e-400}')
    assert read_json(tmp_path / "a.json") == {"a": None, "b": [None], "c": "\N{BRAIN}", "d": 0.0}


def test_text_without_end_is_refused_unread(tmp_path):
    path = tmp_path / "a.json"
    path.touch()
    os.truncate(path, 1 << 40)
    for read in (read_json, read_tsv, read_yaml):
        with refused("a.json", str(1 << 40)):
            read(path)


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        ("\t".join(map(str, range(1_000_000))).encode(), "has 1000000 columns"),
        (b"a\tb\n" + b"x" * 1_000_000, "not a table"),
        ("a\tb\n1\t2\n".encode("utf-16"), "not UTF-8"),
        (b"a\tb\n1\t2\t3\n", "line 2 has more cells"),
        (b"", "empty"),
    ],
)
def test_a_table_that_is_none_is_refused(tmp_path, content, fault):
    (tmp_path / "a.tsv").write_bytes(content)
    with refused("a.tsv", fault):
        read_tsv(tmp_path / "a.tsv")


LAUGHS = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{k}: &a{k} [{', '.join([f'*a{k - 1}'] * 10)}]\n" for k in range(1, 12)
)


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("[" * 100_000, "nested"),
        ("a: " + "{a: " * 50_000, "nested"),
        ("- " * 100_000 + "x", "nested"),
        ("".join(" " * k + "a:\n" for k in range(3000)), "nested"),
        ("a0: &a0 [x]\n" + "".join(f"a{k}: &a{k} [*a{k - 1}]\n" for k in range(1, 20_000)), "aliases make more"),
        ("[\n" * 2000 + "]\n" * 2000, "nested too deeply"),
        (LAUGHS, "aliases make more"),
        ("a: &a [*a]", "holds itself"),
        ("a: &a {b: *a}", "holds itself"),
        ("!!python/object/apply:os.system ['touch pwned']", "could not determine a constructor"),
        ("a: !!python/name:os.system", "could not determine a constructor"),
        ("a: 2026-01-01", "write it in quotes"),
        ("1: a", "write it in quotes"),
        ("yes: a", "write it in quotes"),
        ("a: .nan", "no number of JSON"),
        ('a: "\\0"', "holds a sign"),
        ("a: !!binary aGk=", "write it in quotes"),
        ("a: !!set {b}", "write it in quotes"),
        ("? [a, b]\n: c", "not readable as YAML"),
        ("a: b: c", "not readable as YAML"),
        ("a: 1\n---\nb: 2", "not readable as YAML"),
    ],
)
def test_a_card_is_what_json_can_say_and_no_more_than_people_write(tmp_path, monkeypatch, text, fault):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.yaml").write_text(text)
    with refused("a.yaml", fault):
        read_yaml(tmp_path / "a.yaml")
    assert not (tmp_path / "pwned").exists()


def test_a_card_may_be_deep_and_use_aliases(tmp_path):
    text = "a: &a " + "[" * 50 + "1" + "]" * 50 + "\nb: *a\n" + "c: [" + "[x], " * 6000 + "]"
    (tmp_path / "a.yaml").write_text(text)
    assert read_yaml(tmp_path / "a.yaml") == yaml.safe_load(text)


def test_a_path_of_a_user_that_is_not_there_is_refused():
    with refused("~nobody-of-this-name"):
        expand("~nobody-of-this-name/data", "config/datasets/a.yaml")


# ---- arrays that would run code, or fill memory


class Pickled:
    """Runs code where it is unpickled."""

    def __reduce__(self):
        return Path.touch, (Path("pwned"),)


def npy(shape: tuple[int, ...], descr: str) -> bytes:
    header = repr({"descr": descr, "fortran_order": False, "shape": shape}).ljust(117).encode() + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header


def test_arrays_of_objects_are_not_unpickled(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    objects = np.array([Pickled(), 1], dtype=object)
    np.savez(tmp_path / "a.npz", **{"header": objects, "row/row_id": objects, "array/x": objects})
    np.load(tmp_path / "a.npz", allow_pickle=True)["header"]
    assert (tmp_path / "pwned").exists(), "the attack is real"
    (tmp_path / "pwned").unlink()
    with refused("a.npz"):
        Bundle.open(tmp_path / "a.npz")
    (tmp_path / "people.csv").write_text("id\n1\n")
    np.save(tmp_path / "b.npz.npy", objects)
    shutil.move(tmp_path / "b.npz.npy", tmp_path / "b.npz")
    with zipfile.ZipFile(tmp_path / "c.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("1.npy", npy((1 << 50,), "<f8"))
    (tmp_path / "d.npz").write_bytes(b"PK")
    plan = {"name": "x", "license": "x", "participants": {"table": "people.csv", "id": "id"}}
    for name in ("a.npz", "b.npz", "c.npz", "d.npz"):
        for kind in ("series", "matrices"):
            with refused(name):
                gather(tmp_path, tmp_path / "out", {**plan, kind: {"file": name, "atlas": "x", "task": "rest"}})
    assert not (tmp_path / "pwned").exists()
    assert not (tmp_path / "out").exists()


def test_an_archive_that_unpacks_to_more_than_memory_is_refused(tmp_path):
    (tmp_path / "people.csv").write_text("id\n1\n")
    with zipfile.ZipFile(tmp_path / "a.npz", "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        content = npy((1100 << 20,), "|u1")
        with archive.open("1.npy", "w") as stream:
            stream.write(content)
            for _ in range(1100):
                stream.write(bytes(1 << 20))
    plan = {"name": "x", "license": "x", "participants": {"table": "people.csv", "id": "id"}}
    with refused("a.npz", "unpacks to"):
        gather(tmp_path, tmp_path / "out", {**plan, "series": {"file": "a.npz", "atlas": "x"}})


def test_a_damaged_bundle_is_refused_or_whole(tmp_path):
    """Bits are flipped all over a bundle: it opens, or is refused; nothing else, and nothing without end."""
    rows = {"row_id": np.array(["a", "b"]), "subject": np.array(["1", "2"])}
    Bundle({"x": np.ones((2, 3))}, rows, {"channel": ["1", "2", "3"]}).save(tmp_path / "a.npz")
    whole = (tmp_path / "a.npz").read_bytes()
    generator, outcomes = np.random.default_rng(0), set()
    for position in generator.integers(len(whole), size=600).tolist():
        content = bytearray(whole)
        content[position] ^= 1 << int(generator.integers(8))
        (tmp_path / "b.npz").write_bytes(content)
        with bounded(memory=1 << 28):
            try:
                Bundle.open(tmp_path / "b.npz")
                outcomes.add("open")
            except InputError:
                outcomes.add("refused")
    assert outcomes == {"open", "refused"}
    for header in ([], {"axes": []}, {"axes": 1, "meta": {}}, "x"):
        members = {"header": np.frombuffer(json.dumps(header).encode(), np.uint8), "row/row_id": rows["row_id"]}
        np.savez(tmp_path / "c.npz", **members)
        with refused("c.npz"):
            Bundle.open(tmp_path / "c.npz")
