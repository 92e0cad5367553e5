"""Datasets and files from elsewhere: against git and git-annex themselves, and a web server that fails on demand."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import shutil
import signal
import stat
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import yaml

from bids_trees import grow
from project import SOURCE
from published_data import (
    LOCAL,
    Web,
    annexed,
    bare,
    git,
    need_annex,
    note,
    on_s3,
    on_the_web,
    publish,
    release,
)
from replicortex import annex, download
from replicortex.bids import n_blocks
from replicortex.cards import Cards
from replicortex.errors import InputError
from replicortex.files import read_json
from replicortex.stages.fetch import fetch_dataset, selection

EEG = {"datatypes": ["eeg"]}
EEG_OF_01 = {"datatypes": ["eeg"], "filters": {"subject": ["01"]}}
SIZE = 300_000


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch):
    """Try again at once, outside any batch job; and let git-annex talk to servers on this machine."""
    monkeypatch.setattr(download, "DELAYS", (0.0, 0.0))
    monkeypatch.setattr(annex, "DELAYS", (0.0,))
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    monkeypatch.setitem(annex._CONFIG, "annex.retry", "0")
    for name, value in LOCAL.items():
        monkeypatch.setenv(name, value)


# ---- one file


@pytest.fixture
def web(tmp_path):
    """A server with one file, ``data.bin``."""
    folder = tmp_path / "served"
    folder.mkdir()
    (folder / "data.bin").write_bytes(os.urandom(SIZE))
    with Web(folder).serving() as server:
        yield server


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_a_broken_download_goes_on_where_it_stopped(web, tmp_path):
    source, out = web.folder / "data.bin", tmp_path / "out" / "data.bin"
    web.faults["data.bin"] = ["cut", "500"]
    assert download.download(f"{web.address}/data.bin", out, sha256=sha256(source), size=SIZE) == out
    assert out.read_bytes() == source.read_bytes()
    assert web.asked_for("data.bin") == ["", f"bytes={SIZE // 2}-", f"bytes={SIZE // 2}-"]
    assert [path.name for path in out.parent.iterdir()] == ["data.bin"]
    # What is there and right is not asked for again; what is there and wrong is.
    download.download(f"{web.address}/data.bin", out, sha256=sha256(source))
    assert len(web.asked) == 3
    out.write_bytes(b"x" * SIZE)
    download.download(f"{web.address}/data.bin", out, sha256=sha256(source))
    assert out.read_bytes() == source.read_bytes()


def test_a_file_that_changed_meanwhile_is_not_pieced_together(web, tmp_path):
    out = tmp_path / "data.bin"
    web.faults["data.bin"] = ["cut", "cut", "cut"]
    with pytest.raises(InputError, match=r"data\.bin: could not be downloaded \(the connection ended"):
        download.download(f"{web.address}/data.bin", out)
    assert not out.exists()
    (web.folder / "data.bin").write_bytes(os.urandom(SIZE + 1))
    # Without a checksum the server has to say that it still is the same file; it is not.
    download.download(f"{web.address}/data.bin", out)
    assert out.read_bytes() == (web.folder / "data.bin").read_bytes()


def test_a_server_without_ranges_is_asked_for_the_whole(web, tmp_path):
    web.faults["data.bin"] = ["cut", "whole"]
    out = download.download(f"{web.address}/data.bin", tmp_path / "data.bin")
    assert out.read_bytes() == (web.folder / "data.bin").read_bytes()


def test_a_killed_download_is_gone_on_with(web, tmp_path):
    out = tmp_path / "data.bin"
    web.faults["data.bin"] = ["slow"]
    code = (
        "import sys; from pathlib import Path; from replicortex.download import download; "
        "download(sys.argv[1], Path(sys.argv[2]))"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code, f"{web.address}/data.bin", str(out)],
        env={**os.environ, "PYTHONPATH": str(SOURCE / "scripts")},
    )
    partial = tmp_path / "data.bin.partial"
    until(lambda: partial.is_file() and partial.stat().st_size > 0)
    process.kill()
    process.wait(10)
    had = partial.stat().st_size
    download.download(f"{web.address}/data.bin", out)
    assert web.asked_for("data.bin") == ["", f"bytes={had}-"]
    assert out.read_bytes() == (web.folder / "data.bin").read_bytes()


def test_two_that_download_the_same_ask_once(web, tmp_path):
    def one() -> None:
        download.download(f"{web.address}/data.bin", tmp_path / "data.bin")

    threads = [threading.Thread(target=one) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert web.asked_for("data.bin") == [""]
    assert (tmp_path / "data.bin").stat().st_size == SIZE


def test_what_is_not_what_was_asked_for_is_refused_and_not_kept(web, tmp_path, monkeypatch):
    out, url = tmp_path / "out" / "data.bin", f"{web.address}/data.bin"
    right = sha256(web.folder / "data.bin")
    web.faults["data.bin"] = ["wrong"]
    with pytest.raises(InputError, match=r"its SHA-256 is .* instead of .*; correct the address or the checksum"):
        download.download(url, out, sha256=right)
    for named, fault in (
        ({"size": 7}, "has 300000 bytes instead of 7"),
        ({"sha256": "beef"}, "is not 64 hex digits"),
    ):
        with pytest.raises(InputError, match=fault):
            download.download(url, out, **named)
    with pytest.raises(InputError, match="the server answers 404"):
        download.download(f"{web.address}/nothing", out)
    monkeypatch.setattr(download.shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(1, 1, 1000))
    with pytest.raises(InputError, match=r"needs 300\.0 kB and 1\.0 kB are free; free disk space"):
        download.download(url, out)
    assert list(out.parent.iterdir()) == []


def test_only_servers_and_named_files_are_read(web, tmp_path):
    out = tmp_path / "out.bin"
    secret = tmp_path / "secret"
    secret.write_text("secret")
    for url in (
        "ftp://x.org/a",
        "data:,x",
        "/etc/passwd",
        "https:///a",
        "http://-oProxy/a",
        "http://x.org/a b",
        "http://[x",
    ):
        with pytest.raises(InputError):
            download.download(url, out)
    web.faults["data.bin"] = [f"file://{secret}"]
    with pytest.raises(InputError):
        download.download(f"{web.address}/data.bin", out)
    # A link where the parts are kept would be written through.
    (tmp_path / "out.bin.partial").symlink_to(secret)
    with pytest.raises(OSError, match="symbolic"):
        download.download(f"{web.address}/data.bin", out)
    assert secret.read_text() == "secret"
    assert not out.exists()
    assert download.download(f"file://{secret}", tmp_path / "copy").read_text() == "secret"
    assert download.shown("https://user:word@x.org/a?token=b") == "https://x.org/a"


def test_a_redirection_may_not_leave_https():
    request = download.urllib.request.Request("https://x.org/a")
    handler = download._Redirect()
    with pytest.raises(InputError, match="not allowed"):
        handler.redirect_request(request, None, 302, "", {}, "http://x.org/a")
    assert handler.redirect_request(request, None, 302, "", {}, "https://y.org/a").full_url == "https://y.org/a"


def test_progress_is_a_bar_on_a_terminal_and_rare_lines_in_a_log(monkeypatch):
    class Terminal(list):
        def write(self, text: str) -> None:
            self.append(text)

        def flush(self) -> None:
            """Nothing is held back."""

        def isatty(self) -> bool:
            return self.is_terminal

    now = iter(range(1000))
    monkeypatch.setattr(download.time, "monotonic", lambda: float(next(now)))
    shown = {}
    for is_terminal in (True, False):
        stream = Terminal()
        stream.is_terminal = is_terminal
        shower = download.Progress("a\x1bb", 40_000_000, 4, stream=stream)
        for number in range(41):
            shower.update(number * 1_000_000, number // 10, last=number == 40)
        shown[is_terminal] = stream
    assert len(shown[True]) == 41
    assert all(text.startswith("\r[") for text in shown[True])
    assert shown[True][20].strip().endswith("a?b: 20.0 MB of 40.0 MB, 2 of 4 files, 952.4 kB/s")
    # A second a step: one line after 30 s, and the last.
    assert [text[:35] for text in shown[False]] == [
        "a?b: 29.0 MB of 40.0 MB, 2 of 4 fil",
        "a?b: 40.0 MB of 40.0 MB, 4 of 4 fil",
    ]


# ---- which files


def lines(text: str) -> list[str]:
    """The words of a text."""
    return text.split()


def test_what_the_runs_need_is_wanted():
    wanted = selection({
        "datatypes": ["func"],
        "filters": {"subject": ["01"], "task": ["rest"], "session": ["a"]},
        "folders": ["derivatives/fmriprep"],
    })  # fmt: skip
    yes = lines("""
        dataset_description.json participants.tsv README CHANGES .bidsignore task-rest_bold.json
        sub-01/sub-01_sessions.tsv sub-01/ses-a/sub-01_ses-a_scans.tsv sub-01/ses-a/sub-01_ses-a_task-rest_bold.json
        sub-01/ses-a/func/sub-01_ses-a_task-rest_bold.nii.gz sub-01/ses-a/func/sub-01_ses-a_acq-x_sbref.nii.gz
        sub-01/ses-a/func/sub-01_ses-a_task-rest_meg.ds/data.res4
        derivatives/fmriprep/dataset_description.json derivatives/fmriprep/sub-01/anat/sub-01_dseg.nii.gz
    """)
    no = lines("""
        archive.zip .gitattributes .datalad/config code/run.py sourcedata/sub-01/a.dcm stimuli/a.png
        sub-02/ses-a/func/sub-02_ses-a_task-rest_bold.nii.gz sub-01/ses-b/func/sub-01_ses-b_task-rest_bold.nii.gz
        sub-01/ses-a/func/sub-01_ses-a_task-other_bold.nii.gz sub-01/ses-a/anat/sub-01_ses-a_T1w.nii.gz
        sub-01/ses-b/sub-01_ses-b_scans.tsv sub-01/ses-a/func/.secret
        sub-01/ses-a/func/sub-01_ses-a_task-other_meg.ds/data.res4
        derivatives/fmriprep/sub-02/anat/sub-02_dseg.nii.gz derivatives/fmriprep/sub-01.html
        derivatives/fmriprep/sub-01/figures/a.png derivatives/other/sub-01/anat/sub-01_dseg.nii.gz
    """)
    assert [path for path in yes if not wanted(path)] == []
    assert [path for path in no if wanted(path)] == []


CARD = {"title": "T", "licence": "CC0", "filters": {"subject": ["02", "01"]}, "n_subjects": 400}


@pytest.mark.parametrize(
    ("recipe", "datatypes", "folders"),
    [
        ("average_reference", ["eeg"], []),
        ("native_func", ["anat", "func"], []),
        ("precomputed_func", ["func"], ["derivatives/fmriprep"]),
        ("fmriprep_func", ["anat", "fmap", "func"], []),
    ],
)
def test_a_card_says_where_a_dataset_is_and_its_runs_what_is_needed(tmp_path, recipe, datatypes, folders):
    folder = tmp_path / "config"
    shutil.copytree(SOURCE / "config", folder)
    origin = {"openneuro": {"accession": "ds000114", "snapshot": "1.0.2"}}
    run = {"study": "augmented_covariance", "preprocessing": recipe}

    def cards(name: str, card: dict) -> Cards:
        (folder / "datasets" / f"{name}.yaml").write_text(yaml.safe_dump(card))
        return Cards(folder, {"runs": [{**run, "dataset": name}], **settings})

    settings = {}
    made = cards("mine", CARD | origin)
    assert made.published("mine") == {"url": "https://github.com/OpenNeuroDatasets/ds000114.git", "version": "1.0.2"}
    assert made.wanted("mine") == {
        "datatypes": datatypes,
        "filters": {"subject": ["01", "02"]},
        "folders": folders,
    }
    assert made.root("mine") == "results/datasets/mine/bids"
    # The card tells how many subjects there will be, since the jobs are planned before.
    assert made.n_blocks("mine", "average_reference") == n_blocks(400, 5)
    unsized = {key: value for key, value in (CARD | origin).items() if key != "n_subjects"}
    with pytest.raises(InputError, match=r"unsized\.yaml: a dataset to fetch, of unknown size; say n_subjects"):
        cards("unsized", unsized)
    for number, wrong in enumerate(("ds1", "../../x", "ds000114;x")):
        with pytest.raises(InputError, match="does not match"):
            cards(f"wrong{number}", CARD | {"openneuro": {"accession": wrong, "snapshot": "1.0.2"}})
    with pytest.raises(InputError, match="does not match"):
        cards("option", CARD | {"datalad": {"url": "https://x.org/a", "version": "--upload-pack=x"}})


# ---- a dataset


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """A dataset of three subjects with a file of some size each, and one more datatype."""
    need_annex()
    folder = tmp_path_factory.mktemp("raw") / "data"
    files = {
        "dataset_description.json": '{"Name": "x", "BIDSVersion": "1.10.0"}',
        "participants.tsv": "participant_id\n",
    }
    for subject in ("01", "02", "03"):
        files[f"sub-{subject}/ses-1/eeg/sub-{subject}_ses-1_task-x_eeg.json"] = "{}"
        files[f"sub-{subject}/ses-1/eeg/sub-{subject}_ses-1_task-x_eeg.eeg"] = subject * 50_000
        files[f"sub-{subject}/ses-1/beh/sub-{subject}_ses-1_task-x_beh.tsv"] = "a\n"
    grow(folder, files)
    return folder


@pytest.fixture(scope="module")
def source(data, tmp_path_factory):
    """That dataset, published in two versions."""
    folder = publish(data, tmp_path_factory.mktemp("published") / "ds")
    (folder / "README").write_text("new\n")
    (folder / "sub-03/ses-1/beh/sub-03_ses-1_task-x_beh.tsv").unlink()
    release(folder, "1.1.0")
    return folder


def state(folder: Path) -> dict[str, tuple]:
    """Everything in a repository but git-annex's own notes: content, permissions, target."""
    return {
        path.relative_to(folder).as_posix(): (
            path.lstat().st_mode,
            path.readlink() if path.is_symlink() else path.read_bytes() if path.is_file() else None,
        )
        for path in folder.rglob("*")
        if not re.search(r"/\.git/(?:annex/(?!objects)|refs/annex)", f"{path}/")
    }


def tree(folder: Path) -> set[str]:
    """The files of a dataset."""
    inside = (
        path.relative_to(folder).as_posix() for path in folder.rglob("*") if not path.is_dir() or path.is_symlink()
    )
    return {path for path in inside if not path.startswith(".git/")}


def eeg(*subjects: str) -> set[str]:
    return {f"sub-{s}/ses-1/eeg/sub-{s}_ses-1_task-x_eeg.{kind}" for s in subjects for kind in ("json", "eeg")}


ABOUT = {"dataset_description.json", "participants.tsv"}


def test_only_what_is_wanted_is_fetched_and_later_the_difference(source, data, tmp_path, monkeypatch):
    before = state(source)
    url, root, record = f"file://{source}", tmp_path / "ds" / "bids", tmp_path / "ds" / "fetched.json"
    told = fetch_dataset(url, "1.0.0", root, record, EEG_OF_01)
    assert tree(root) == ABOUT | eeg("01")
    for path in tree(root):
        assert (root / path).read_bytes() == (data / path).read_bytes()
        assert not stat.S_IMODE((root / path).stat().st_mode) & 0o222, f"{path} can be written"
    assert read_json(record) == told
    assert told["commit"] == git(source, "rev-parse", "1.0.0^{commit}").strip()
    assert (told["n_files"], told["n_left_out"], told["n_unverified"]) == (4, 7, 0)
    first = (root / "sub-01/ses-1/eeg/sub-01_ses-1_task-x_eeg.eeg").stat().st_mtime_ns
    # More is wanted, and then less; the source is not needed for a version that is known.
    fetch_dataset(url, "1.0.0", root, record, EEG)
    assert tree(root) == ABOUT | eeg("01", "02", "03")
    assert (root / "sub-01/ses-1/eeg/sub-01_ses-1_task-x_eeg.eeg").stat().st_mtime_ns == first
    monkeypatch.setattr(annex.Clone, "_talk", lambda *_: pytest.fail("the network was used"))
    fetch_dataset(url, "1.0.0", root, record, EEG)
    fetch_dataset(url, "1.0.0", root, record, EEG_OF_01)
    assert tree(root) == ABOUT | eeg("01")
    monkeypatch.undo()
    # Another version, whole.
    fetch_dataset(url, "1.1.0", root)
    beh = {f"sub-{s}/ses-1/beh/sub-{s}_ses-1_task-x_beh.tsv" for s in ("01", "02")}
    assert tree(root) == ABOUT | eeg("01", "02", "03") | beh | {"README"}
    assert (root / "README").read_text() == "new\n"
    assert state(source) == before
    assert git(root, "status", "--short") == ""


def test_a_commit_is_a_version_and_a_branch_is_none(source, tmp_path):
    url, commit = f"file://{source}", git(source, "rev-parse", "1.0.0^{commit}").strip()
    assert fetch_dataset(url, commit, tmp_path / "a", wanted=EEG_OF_01)["commit"] == commit
    for version, fault in (
        ("main", "no version main, which is a branch"),
        ("1.0.1", r"no version 1\.0\.1; did you mean '1\.[01]\.0'"),
        ("0" * 40, "git fetch failed|no commit|no such repository"),
        ("--upload-pack=touch", "not the name of a tag"),
        ("a..b", "not the name of a tag"),
    ):
        with pytest.raises(InputError, match=fault):
            fetch_dataset(url, version, tmp_path / "b", wanted=EEG)
    assert tree(tmp_path / "b") == set()


def test_a_tag_that_moved_is_refused(source, tmp_path):
    moved = tmp_path / "source"
    shutil.copytree(source, moved, symlinks=True)
    root = tmp_path / "bids"
    fetch_dataset(f"file://{moved}", "1.0.0", root, wanted=EEG_OF_01)
    git(moved, "tag", "--force", "1.0.0", "1.1.0^{commit}")
    git(root, "update-ref", "-d", "refs/tags/1.0.0")
    # What was fetched is still here, so nothing is asked for.
    fetch_dataset(f"file://{moved}", "1.0.0", root, wanted=EEG_OF_01)
    shutil.rmtree(root / ".git" / "objects")
    (root / ".git" / "objects").mkdir()
    with pytest.raises(InputError, match=r"version 1\.0\.0 was commit \w+ and is \w+ now; remove "):
        fetch_dataset(f"file://{moved}", "1.0.0", root, wanted=EEG_OF_01)


@pytest.mark.parametrize("damage", ["cut", "flipped"])
def test_damaged_content_is_noticed_and_fetched_again(source, data, tmp_path, damage):
    url, root = f"file://{source}", tmp_path / "bids"
    fetch_dataset(url, "1.0.0", root, wanted=EEG_OF_01)
    name = "sub-01/ses-1/eeg/sub-01_ses-1_task-x_eeg.eeg"
    content = (root / name).resolve()
    content.parent.chmod(0o755)
    content.chmod(0o644)
    good = content.read_bytes()
    content.write_bytes(good[:100] if damage == "cut" else good[:-1] + b"?")
    # A size is always compared; to read everything again has to be asked for.
    fetch_dataset(url, "1.0.0", root, wanted=EEG_OF_01, verify=damage == "flipped")
    assert (root / name).read_bytes() == (data / name).read_bytes()


def test_lost_content_is_one_line_that_names_the_file(source, tmp_path):
    lost = tmp_path / "source"
    shutil.copytree(source, lost, symlinks=True)
    git(lost, "annex", "drop", "--force", "--quiet", "sub-02")
    with pytest.raises(InputError, match=r"^sub-02/\S+eeg\.eeg: could not be fetched from .*; run again to go on"):
        fetch_dataset(f"file://{lost}", "1.0.0", tmp_path / "bids", tmp_path / "fetched.json", EEG)
    assert not (tmp_path / "fetched.json").exists()
    # The others came, and are kept for the next time.
    assert set(annexed(tmp_path / "bids")) == {path for path in eeg("01", "03") if path.endswith(".eeg")}


def test_without_network_one_line_says_what_to_do(tmp_path):
    with pytest.raises(InputError, match=r"could not be reached .*; fetch on a machine with network, or set `root:`"):
        fetch_dataset("http://127.0.0.1:9/ds.git", "1.0.0", tmp_path / "bids", wanted=EEG)
    with pytest.raises(InputError, match=r"no such repository, or no access to it .*; correct the address"):
        fetch_dataset(f"file://{tmp_path}/nothing", "1.0.0", tmp_path / "bids", wanted=EEG)


def test_on_a_compute_node_nothing_is_fetched(tmp_path, monkeypatch):
    monkeypatch.setenv("SLURM_JOB_ID", "1")
    with pytest.raises(InputError, match="not fetched on compute nodes; run `snakemake prefetch` on the login node"):
        fetch_dataset("https://x.org/ds.git", "1.0.0", tmp_path / "bids")


def test_what_does_not_fit_on_the_disk_is_not_begun(source, tmp_path, monkeypatch):
    monkeypatch.setattr(download.shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(1, 1, 1000))
    with pytest.raises(InputError, match=r"\(3 files\): needs 300\.0 kB and 1\.0 kB are free; free disk space"):
        fetch_dataset(f"file://{source}", "1.0.0", tmp_path / "bids", wanted=EEG)
    assert annexed(tmp_path / "bids") == {}


def test_a_repository_runs_nothing(source, tmp_path, monkeypatch):
    """Remote helpers, special remotes, submodules, hooks: all of them would touch a file."""
    pwned, programs = tmp_path / "pwned", tmp_path / "bin"
    programs.mkdir()
    for name in ("git-annex-remote-evil", "git-remote-evil"):
        (programs / name).write_text(f"#!/bin/sh\ntouch '{pwned}'\n")
        (programs / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}{os.pathsep}{os.environ['PATH']}")
    evil = tmp_path / "evil"
    shutil.copytree(source, evil, symlinks=True)
    uuids = [f"{n}{n}{n}{n}{n}{n}{n}{n}-2222-4333-8444-555555555555" for n in range(1, 5)]
    remotes = [
        "autoenable=true externaltype=evil name=one type=external encryption=none",
        f"autoenable=true location=ext::touch%20{pwned} name=two type=git",
        "autoenable=true hooktype=evil name=three type=hook encryption=none",
        "autoenable=true name=--four type=S3 public=yes publicurl=http://127.0.0.1:9/ exporttree=yes",
    ]
    lines = [f"{uuid} {words} timestamp=1528143000s\n" for uuid, words in zip(uuids, remotes, strict=True)]
    note(evil, {"remote.log": "".join(lines)})
    (evil / ".gitmodules").write_text(f'[submodule "sub-09"]\n\tpath = sub-09\n\turl = ext::touch {pwned}\n')
    (evil / ".gitattributes").write_text("* filter=evil\n")
    git(evil, "add", ".gitmodules", ".gitattributes")
    git(evil, "update-index", "--add", "--cacheinfo", f"160000,{'1' * 40},sub-09")
    git(evil, "commit", "--quiet", "--message", "evil")
    git(evil, "tag", "2.0.0")
    root = tmp_path / "bids"
    hooks = root / ".git" / "hooks"
    hooks.mkdir(parents=True)
    for hook in ("post-checkout", "post-index-change", "reference-transaction", "pre-commit"):
        (hooks / hook).write_text(f"#!/bin/sh\ntouch '{pwned}'\n")
        (hooks / hook).chmod(0o755)
    fetch_dataset(f"file://{evil}", "2.0.0", root, wanted=EEG)
    assert not pwned.exists()
    assert tree(root) == ABOUT | eeg("01", "02", "03") | {"README"}
    assert git(root, "remote").split() == ["origin"]
    for url in (f"ext::touch {pwned}", "evil::x", "evil://x/y", "-u./x", str(evil), "ssh://-oProxyCommand=touch/x"):
        with pytest.raises(InputError, match=r"not allowed|no place there|not an address"):
            fetch_dataset(url, "1.0.0", tmp_path / "other", wanted=EEG)
    assert not pwned.exists()


# ---- a dataset over the web


@pytest.fixture
def published(data, tmp_path):
    """A server with a dataset whose content the repository itself does not have, but the web."""
    with Web(tmp_path / "www").serving() as server:
        folder = publish(data, tmp_path / "ds")
        on_the_web(folder, tmp_path / "www" / "content", server.address)
        bare(folder, tmp_path / "www" / "ds.git")
        yield server


def test_over_the_web_broken_transfers_go_on_and_wrong_content_is_refused(published, data, tmp_path):
    url, root, record = f"{published.address}/ds.git", tmp_path / "bids", tmp_path / "fetched.json"
    published.faults = {
        "sub-01_ses-1_task-x_eeg.eeg": ["cut"],
        "sub-02_ses-1_task-x_eeg.eeg": ["404"] * 9,
        "sub-03_ses-1_task-x_eeg.eeg": ["wrong"] * 9,
    }
    with pytest.raises(InputError, match=r"^sub-02/\S+eeg\.eeg and 1 more: could not be fetched from http"):
        fetch_dataset(url, "1.0.0", root, record, EEG)
    assert not record.exists()
    assert set(annexed(root)) == {path for path in eeg("01") if path.endswith(".eeg")}
    published.faults = {}
    fetch_dataset(url, "1.0.0", root, record, EEG)
    for path in eeg("01", "02", "03"):
        assert (root / path).read_bytes() == (data / path).read_bytes()
    assert record.is_file()
    # The one that broke off was gone on with, and not begun again.
    assert any(re.fullmatch(r"bytes=[1-9]\d*-", given) for given in published.asked_for("sub-01_ses-1_task-x_eeg.eeg"))


def test_a_killed_fetch_goes_on(published, data, tmp_path):
    """With kill -9 in the middle of a file, and with the locks that a killed git leaves."""
    url, root = f"{published.address}/ds.git", tmp_path / "bids"
    published.faults = {"sub-02_ses-1_task-x_eeg.eeg": ["slow"]}
    command = [
        sys.executable,
        str(SOURCE / "scripts" / "fetch_dataset.py"),
        url,
        "1.0.0",
        str(root),
        "--wanted",
        '{"datatypes": ["eeg"]}',
    ]
    process = subprocess.Popen(command, start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    until(lambda: published.asked_for("sub-02_ses-1_task-x_eeg.eeg") and len(annexed_files(root)) == 2)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait(10)
    (root / ".git" / "index.lock").touch()
    (root / ".git" / "refs" / "tags" / "1.0.0.lock").touch()
    published.faults, before = {}, len(published.asked)
    fetch_dataset(url, "1.0.0", root, wanted=EEG)
    assert tree(root) == ABOUT | eeg("01", "02", "03")
    for path in eeg("01", "02", "03"):
        assert (root / path).read_bytes() == (data / path).read_bytes()
    again = {path for path, _ in published.asked[before:] if path.endswith(".eeg")}
    assert again == {"/content/sub-02_ses-1_task-x_eeg.eeg"}


def test_a_transfer_that_stands_still_is_broken_off(published, data, tmp_path, monkeypatch):
    monkeypatch.setattr(annex, "STALLED", 1.0)
    published.faults = {"sub-01_ses-1_task-x_eeg.eeg": ["slow"]}
    root = tmp_path / "bids"
    fetch_dataset(f"{published.address}/ds.git", "1.0.0", root, wanted=EEG_OF_01)
    for path in eeg("01"):
        assert (root / path).read_bytes() == (data / path).read_bytes()
    asked = published.asked_for("sub-01_ses-1_task-x_eeg.eeg")
    assert len(asked) == 2
    assert asked[1].startswith("bytes=")


def annexed_files(root: Path) -> list[Path]:
    """Files in the annex whose content is whole."""
    return [path for path in (root / ".git" / "annex" / "objects").rglob("*.eeg") if path.is_file()]


def test_openneuro_is_read_from_its_public_bucket(data, tmp_path):
    """As OpenNeuro publishes: tags on a git server, content in a versioned S3 bucket that anyone may read."""
    with Web(tmp_path / "www").serving() as server:
        folder = publish(data, tmp_path / "ds000001")
        on_s3(folder, tmp_path / "www", server.address, "ds000001")
        bare(folder, tmp_path / "www" / "ds000001.git")
        root = tmp_path / "bids"
        fetch_dataset(f"{server.address}/ds000001.git", "1.0.0", root, wanted=EEG_OF_01)
        asked = {path for path, _ in server.asked if path.startswith("/openneuro.org/")}
    assert asked == {"/openneuro.org/ds000001/sub-01/ses-1/eeg/sub-01_ses-1_task-x_eeg.eeg"}
    for path in eeg("01"):
        assert (root / path).read_bytes() == (data / path).read_bytes()


def test_an_unlocked_file_becomes_its_content(data, tmp_path):
    folder = publish(data, tmp_path / "ds")
    name = "sub-01/ses-1/eeg/sub-01_ses-1_task-x_eeg.eeg"
    git(folder, "annex", "unlock", "--quiet", name)
    git(folder, "commit", "--quiet", "--all", "--message", "unlocked")
    git(folder, "tag", "2.0.0")
    root = tmp_path / "bids"
    fetch_dataset(f"file://{folder}", "2.0.0", root, wanted=EEG)
    assert not (root / name).is_symlink()
    assert (root / name).read_bytes() == (data / name).read_bytes()
    assert not stat.S_IMODE((root / name).stat().st_mode) & 0o222
    with contextlib.suppress(PermissionError):
        fetch_dataset(f"file://{folder}", "2.0.0", root, wanted=EEG)
    assert (root / name).read_bytes() == (data / name).read_bytes()


def until(condition, seconds: float = 30.0) -> None:
    """Wait for a condition; fail if it does not come."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.02)
