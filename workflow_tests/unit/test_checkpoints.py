"""Published weights: read exactly or refused in one line; found in the hub's cache, fetched from a stand-in of it."""

from __future__ import annotations

import hashlib
import json
import os
import pickle
import re
import subprocess
import zipfile
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from safetensors.torch import save_file
from torch import nn

from published_data import Web
from replicortex import download
from replicortex.errors import InputError
from replicortex.shared import weights as published
from replicortex.shared.checkpoints import load_weights
from replicortex.shared.weights import Weights, hub_file, locate
from replicortex.stages.prefetch import needed
from replicortex.stages.weights import fetch, named, place

COMMIT = "0123456789abcdef0123456789abcdef01234567"
OWN = "hub:lab/net@main/sub/model.safetensors"


@pytest.fixture(autouse=True)
def surroundings(tmp_path, monkeypatch):
    """A cache of its own, no waiting between attempts."""
    for name in ("HF_HUB_CACHE", "HF_ENDPOINT", "HF_HUB_OFFLINE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    monkeypatch.setattr(download, "DELAYS", (0.0, 0.0))


def net(seed: int = 0, width: int = 3) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Conv1d(2, width, 5), nn.BatchNorm1d(width), nn.Flatten(), nn.LazyLinear(4)).eval()


@pytest.fixture
def made():
    """Another network, built, so that its last layer has a shape."""

    def make(seed: int = 0, width: int = 3) -> nn.Module:
        module = net(seed, width)
        module(torch.zeros(1, 2, 9))
        return module

    return make


@pytest.fixture
def source(made) -> nn.Module:
    """The network whose weights are published."""
    module = made(7)
    module[1].running_mean += 0.5
    return module


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def values(module: nn.Module) -> dict[str, bytes]:
    return {name: value.numpy().tobytes() for name, value in module.state_dict().items()}


def in_parts(folder: Path, state: dict, ending: str = "safetensors") -> Path:
    """Write a checkpoint in two files with its index, as the hub has large ones."""
    folder.mkdir(exist_ok=True)
    told = {}
    for number, names in enumerate((sorted(state)[:3], sorted(state)[3:]), start=1):
        file = f"model-{number:05d}-of-00002.{ending}"
        part = {name: state[name] for name in names}
        save_file(part, folder / file) if ending == "safetensors" else torch.save(part, folder / file)
        told |= dict.fromkeys(names, file)
    path = folder / f"model.{ending}.index.json"
    path.write_text(json.dumps({"metadata": {"total_size": 1}, "weight_map": told}))
    return path


def write(kind: str, folder: Path, state: dict) -> Path:
    if kind == "safetensors":
        save_file(state, folder / "net.safetensors")
        return folder / "net.safetensors"
    if kind in ("parts", "pickled parts"):
        return in_parts(folder / "parts", state, "safetensors" if kind == "parts" else "bin")
    path = folder / ("net.ckpt" if kind == "script" else "net.pt")
    content = {"epoch": 3, "optimizer": {"lr": 0.1}, "state_dict": state} if kind == "script" else state
    torch.save(content, path, _use_new_zipfile_serialization=kind != "before zip")
    return path


@pytest.mark.parametrize("kind", ["safetensors", "torch", "before zip", "script", "parts", "pickled parts"])
def test_what_is_read_is_what_was_written(kind, tmp_path, source, made, capsys):
    path = write(kind, tmp_path, source.state_dict())
    network = made(1)
    with published.ledger() as read:
        report = load_weights(network, str(path), licence="MIT")
    assert values(network) == values(source)
    assert (report.n_loaded, report.n_values) == (9, sum(value.numel() for value in source.state_dict().values()))
    assert read == [report]
    if "parts" not in kind:
        assert report.sha256 == sha256(path)
    said = capsys.readouterr().err
    assert f"9 arrays ({report.n_values:,} numbers) read; SHA-256 {report.sha256}; licence MIT" in said
    assert f"give `sha256: {report.sha256}` in the card" in said
    # The record names the file and not the folder that it lies in.
    assert str(tmp_path) not in json.dumps(report.told()) + said.replace(str(path), "")
    load_weights(network, Weights(source=str(path), sha256=report.sha256.upper()))


def test_the_digest_of_several_files_is_that_of_what_sha256sum_prints(tmp_path, source, made):
    path = in_parts(tmp_path, source.state_dict())
    names = sorted(entry.name for entry in tmp_path.iterdir())
    printed = subprocess.run(["sha256sum", *names], cwd=tmp_path, capture_output=True, check=True).stdout  # noqa: S607
    report = load_weights(made(), str(path), sha256=hashlib.sha256(printed).hexdigest())
    assert report.n_loaded == 9
    part = tmp_path / names[0]
    part.write_bytes(part.read_bytes()[:-1] + b"\x01")
    with pytest.raises(InputError, match="its SHA-256 is"):
        load_weights(made(), str(path), sha256=report.sha256)


def test_names_are_changed_as_told(tmp_path, source, made):
    state = {f"_orig_mod.encoder.layer{name}": value for name, value in source.state_dict().items()}
    save_file({**state, "_orig_mod.head.weight": torch.zeros(2)}, tmp_path / "net.safetensors")
    path = str(tmp_path / "net.safetensors")
    for rename in ({r"^layer": ""}, lambda name: name.removeprefix("layer")):
        network = made(1)
        report = load_weights(network, path, prefix="_orig_mod.encoder.", rename=rename)
        assert values(network) == values(source)
        assert report.unexpected == ()
    with pytest.raises(InputError, match="would both be 0"):
        load_weights(made(), path, rename=lambda name: "0")
    with pytest.raises(InputError, match=r"no name that begins with model\.; it has: _orig_mod\.encoder"):
        load_weights(made(), path, prefix="model.")


def test_what_does_not_fit_is_named_and_the_network_left_as_it_was(tmp_path, source, made):
    state = {**source.state_dict(), "head.weight": torch.zeros(2), "0.bias": torch.zeros(5)}
    del state["3.bias"], state["1.num_batches_tracked"]
    save_file(state, tmp_path / "net.safetensors")
    network = made(1)
    before = values(network)
    fault = "1 missing there: 3.bias; 1 not of the network: head.weight; 1 of another shape: 0.bias (5 there, 3 here)"
    with pytest.raises(InputError, match=re.escape(fault)):
        load_weights(network, str(tmp_path / "net.safetensors"))
    assert values(network) == before
    report = load_weights(network, str(tmp_path / "net.safetensors"), strict=False)
    assert report.n_loaded == 6
    assert (report.missing, report.unexpected) == (("3.bias",), ("head.weight",))
    assert report.told()["mismatched"] == ["0.bias"]
    after, wanted = values(network), values(source)
    assert all(after[name] == before[name] for name in ("3.bias", "0.bias"))
    assert all(after[name] == wanted[name] for name in ("0.weight", "3.weight", "1.running_mean"))
    assert "not of the network: 1, head.weight" in str(report)


def test_numbers_are_converted_to_the_precision_of_the_network_and_kinds_are_not(tmp_path, source, made):
    half = {name: value.half() if value.is_floating_point() else value for name, value in source.state_dict().items()}
    save_file(half, tmp_path / "half.safetensors")
    network = made(1)
    load_weights(network, str(tmp_path / "half.safetensors"))
    assert network[0].weight.dtype == torch.float32
    torch.testing.assert_close(network[0].weight, source[0].weight, atol=1e-3, rtol=1e-3)
    whole = {**source.state_dict(), "0.bias": torch.zeros(3, dtype=torch.int64)}
    save_file(whole, tmp_path / "whole.safetensors")
    with pytest.raises(InputError, match=r"0\.bias \(3 whole there, 3 real here\)"):
        load_weights(network, str(tmp_path / "whole.safetensors"))


class Payload:
    """What a malicious checkpoint holds."""

    def __init__(self, witness: Path) -> None:
        self.witness = witness

    def __reduce__(self):
        return os.system, (f"touch {self.witness}",)


def test_code_in_a_pickle_is_named_and_not_run(tmp_path, source, made, monkeypatch):
    witness = tmp_path / "ran"
    torch.save({"state_dict": source.state_dict(), "hook": Payload(witness)}, tmp_path / "net.pt")
    (tmp_path / "plain.bin").write_bytes(pickle.dumps(Payload(witness), protocol=2))
    monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")
    for name in ("net.pt", "plain.bin"):
        with pytest.raises(InputError, match=r"asks for posix\.system, which is code and no weights; save it as safe"):
            load_weights(made(), str(tmp_path / name))
    assert not witness.exists()
    # The file would run it, if it were read as pickles are.
    pickle.loads((tmp_path / "plain.bin").read_bytes())  # noqa: S301
    assert witness.exists()


def pickled(folder: Path, state: dict) -> Path:
    """Anything that can be pickled, in the form of today's Python."""
    (folder / "net.bin").write_bytes(pickle.dumps({"weights": [1.0]}, protocol=5))
    return folder / "net.bin"


def cut(folder: Path, state: dict) -> Path:
    path = write("safetensors", folder, state)
    path.write_bytes(path.read_bytes()[:-4])
    return path


def cut_archive(folder: Path, state: dict) -> Path:
    path = write("torch", folder, state)
    path.write_bytes(path.read_bytes()[:-40])
    return path


def torn_header(folder: Path, state: dict) -> Path:
    (folder / "net.safetensors").write_bytes((1 << 60).to_bytes(8, "little") + b"{}")
    return folder / "net.safetensors"


def bomb(folder: Path, state: dict) -> Path:
    path = write("torch", folder, state)
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return path


def empty(folder: Path, state: dict) -> Path:
    (folder / "net.pt").touch()
    return folder / "net.pt"


def pointer(folder: Path, state: dict) -> Path:
    """What a clone without large files has in the place of a checkpoint."""
    (folder / "net.safetensors").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:ab\nsize 12\n")
    return folder / "net.safetensors"


def no_number(folder: Path, state: dict) -> Path:
    return write("safetensors", folder, {**state, "0.weight": state["0.weight"] * float("nan")})


def out_of_the_folder(name: str):
    def index(folder: Path, state: dict) -> Path:
        path = in_parts(folder / "parts", state)
        told = json.loads(path.read_text())
        told["weight_map"]["0.bias"] = name
        path.write_text(json.dumps(told))
        save_file(state, folder / "secret.safetensors")
        return path

    return index


def link_out(folder: Path, state: dict) -> Path:
    path = in_parts(folder / "parts", state)
    part = path.parent / "model-00002-of-00002.safetensors"
    part.rename(folder / "elsewhere.safetensors")
    part.symlink_to(folder / "elsewhere.safetensors")
    return path


def lacks_a_part(folder: Path, state: dict) -> Path:
    path = in_parts(folder / "parts", state)
    (path.parent / "model-00002-of-00002.safetensors").unlink()
    return path


def lies(folder: Path, state: dict) -> Path:
    path = in_parts(folder / "parts", state)
    path.write_text(path.read_text().replace("model-00001", "model-00002"))
    return path


def no_index(folder: Path, state: dict) -> Path:
    (folder / "model.safetensors.index.json").write_text('{"weight_map": {"0.bias": 3}}')
    return folder / "model.safetensors.index.json"


def listed(folder: Path, state: dict) -> Path:
    torch.save(list(state.values()), folder / "net.pt")
    return folder / "net.pt"


def two_models(folder: Path, state: dict) -> Path:
    torch.save({"model": state, "state_dict": state}, folder / "net.pt")
    return folder / "net.pt"


def other_ending(folder: Path, state: dict) -> Path:
    return write("safetensors", folder, state).rename(folder / "net.h5")


def never_ends(folder: Path, state: dict) -> Path:
    os.mkfifo(folder / "net.safetensors")
    return folder / "net.safetensors"


@pytest.mark.parametrize(
    ("make", "fault"),
    [
        (cut, "not readable as safetensors"),
        (cut_archive, "not readable"),
        (torn_header, "not readable as safetensors"),
        (pointer, "not readable as safetensors"),
        (pickled, "not what torch writes of weights; save it as safetensors where you trust it"),
        (bomb, "a compressed archive"),
        (empty, r"net\.pt is empty"),
        (no_number, r"0\.weight holds values that are no numbers"),
        (out_of_the_folder("../secret.safetensors"), r"its index names \.\./secret\.safetensors, no file beside it"),
        (out_of_the_folder("/etc/passwd"), "its index names /etc/passwd, no file beside it"),
        (out_of_the_folder("parts.txt"), r"its index names parts\.txt, no weights"),
        (link_out, r"model-00002-of-00002\.safetensors is a link that leads out of"),
        (lacks_a_part, r"its part model-00002-of-00002\.safetensors is not there"),
        (lies, "is not in model-00002-of-00002.safetensors, as its index says"),
        (no_index, "an index without a weight_map"),
        (listed, "holds a list and no arrays by name"),
        (two_models, "holds no arrays, but model, state_dict; say `within`"),
        (other_ending, "a file of an unknown kind; take one that ends in one of .safetensors"),
        (never_ends, "not a regular file"),
        (lambda folder, state: folder, "a folder; name the file in it"),
        (lambda folder, state: folder / "none.pt", "no such file"),
    ],
    ids=lambda entry: getattr(entry, "__name__", None),
)
def test_a_refusal_is_one_line_and_leaves_the_network(make, fault, tmp_path, source, made):
    path = make(tmp_path, source.state_dict())
    network = made(1)
    before = values(network)
    with pytest.raises(InputError, match=fault) as error:
        load_weights(network, str(path))
    assert str(error.value).startswith("weights ")
    assert len(str(error.value).splitlines()) == 1
    assert values(network) == before


@pytest.mark.parametrize("kind", ["safetensors", "torch", "before zip"])
def test_a_damaged_file_is_refused_or_read_and_nothing_else(kind, tmp_path, source, made, capsys):
    """Bytes flipped, cut and moved at random: a refusal in one line, or numbers that fit; never another error."""
    generator = np.random.default_rng(0)
    path = write(kind, tmp_path, source.state_dict())
    content, n_refused = path.read_bytes(), 0
    for number in range(80):
        damaged = bytearray(content)
        place, length = int(generator.integers(len(content))), int(generator.integers(1, 9))
        if number % 4 == 0:
            del damaged[place:]
        elif number % 4 == 1:
            damaged[place : place + length] = damaged[-length:]
        else:
            damaged[place] = int(generator.integers(256))
        path.write_bytes(damaged)
        network = made(1)
        before = values(network)
        said = None
        try:
            load_weights(network, str(path))
        except InputError as error:
            said = str(error)
        n_refused += said is not None
        assert said is None or (len(said.splitlines()) == 1 and values(network) == before)
    assert n_refused > 20


def test_what_is_within_a_file_can_be_named(tmp_path, source, made):
    path = two_models(tmp_path, source.state_dict())
    network = made(1)
    load_weights(network, str(path), within="model")
    assert values(network) == values(source)
    with pytest.raises(InputError, match="has nothing under teacher; name one of: model, state_dict"):
        load_weights(network, str(path), within="teacher")


def test_another_file_and_a_larger_one_are_refused_before_they_are_read(tmp_path, source, made):
    path = write("safetensors", tmp_path, source.state_dict())
    with pytest.raises(InputError, match=f"its SHA-256 is {sha256(path)} instead of {'0' * 64}"):
        load_weights(made(), str(path), sha256="0" * 64)
    with pytest.raises(InputError, match=r"has \d+ bytes, more than 100"):
        load_weights(made(), str(path), max_bytes=100)


@pytest.mark.parametrize(
    ("given", "fault"),
    [
        ({"source": "hub:lab/net@main/model.safetensors"}, "revision main is no commit and may change"),
        ({"source": f"hub:lab/net@{COMMIT}/../secret"}, "not an address; write hub:owner/name@revision/file"),
        ({"source": f"hub:lab/../x@{COMMIT}/model.pt"}, "not an address"),
        ({"source": "hub:lab/net/model.pt"}, "not an address"),
        ({"source": "net.pt", "sha256": "abc"}, "String should match pattern"),
        ({"source": "net.pt", "revision": "main"}, "Extra inputs are not permitted"),
    ],
)
def test_a_card_is_refused_where_it_leaves_open_what_is_meant(given, fault):
    with pytest.raises(ValidationError, match=fault):
        Weights(**given)


# ---- the hub


@pytest.fixture
def hub(tmp_path, monkeypatch, source):
    """A stand-in of the hub with one model: its own answer says what a file is, and sends on to a store."""
    served = tmp_path / "served"
    for folder in ("main", COMMIT):
        place = served / "lab/net/resolve" / folder / "sub"
        place.mkdir(parents=True)
        save_file(source.state_dict(), place / "model.safetensors")
        in_parts(place.parent, source.state_dict())

    class Hub(Web):
        def answer(self, handler):
            path = handler.path
            if not path.startswith("/lab/"):
                return super().answer(handler)
            file = self.folder / path.lstrip("/")
            self.heads.append(f"{handler.command} {path}")
            if not file.is_file():
                return handler.send_error(404)
            handler.send_response(302)
            handler.send_header("X-Repo-Commit", COMMIT)
            if file.suffix == ".safetensors":
                handler.send_header("X-Linked-Etag", f'"{sha256(file)}"')
                handler.send_header("X-Linked-Size", str(file.stat().st_size))
            else:
                handler.send_header("ETag", f'W/"{hashlib.sha1(file.read_bytes()).hexdigest()}"')  # noqa: S324
            handler.send_header("Location", f"{self.address}/store/{file.relative_to(self.folder)}")
            handler.end_headers()
            return None

    (served / "store").symlink_to(served)
    server = Hub(served)
    server.heads = []
    monkeypatch.setenv("HF_ENDPOINT", server.address + "/")
    with server.serving():
        yield server


def content(hub, name: str = "sub/model.safetensors") -> Path:
    return hub.folder / "lab/net/resolve/main" / name


def test_weights_of_the_hub_are_fetched_into_its_cache_and_read_from_there(hub, tmp_path, source, made):
    digest = sha256(content(hub))
    weights = Weights(source=OWN, sha256=digest, licence="MIT")
    line = rf"not in the cache of the hub; run `replicortex prefetch` .* or download {hub.address}/lab/net/resolve/main"
    with pytest.raises(InputError, match=line):
        load_weights(made(), weights)
    assert hub.asked == [], "only prefetch may use the network"
    hub.faults["model.safetensors"] = ["cut", "500"]
    path = fetch(weights, progress=False)
    root = tmp_path / "hf/hub/models--lab--net"
    assert path == root / "snapshots" / COMMIT / "sub/model.safetensors" == locate(OWN)
    assert path.resolve() == root / "blobs" / digest
    assert not path.readlink().is_absolute()
    assert (root / "refs/main").read_text() == COMMIT
    assert [entry.name for entry in (root / "blobs").iterdir()] == [digest]
    # The second attempt went on in the middle.
    assert [part for _, part in hub.asked if part.startswith("bytes=")]
    network = made(1)
    assert load_weights(network, weights).source == OWN
    assert values(network) == values(source)
    # What is there is not downloaded again, and needs no network when it is read.
    n = len(hub.asked)
    fetch(weights, progress=False)
    assert len(hub.asked) == n
    load_weights(made(), f"hub:lab/net@{COMMIT}/sub/model.safetensors", sha256=digest)


def test_a_model_in_parts_is_fetched_whole_and_its_index_last(hub, tmp_path, source, made, monkeypatch):
    weights = Weights(source=f"hub:lab/net@{COMMIT}/model.safetensors.index.json")
    hub.faults["model-00002-of-00002.safetensors"] = ["404"]
    with pytest.raises(InputError, match="answers 404"):
        fetch(weights, progress=False)
    assert not place(weights)[2], "a model that lacks a part is not there"
    fetch(weights, progress=False)
    assert place(weights)[2]
    network = made(1)
    report = load_weights(network, weights)
    assert values(network) == values(source)
    # The digest that the card would have is checked before anything gets its name.
    monkeypatch.setenv("HF_HOME", str(tmp_path / "other"))
    with pytest.raises(InputError, match=f"its SHA-256 is {report.sha256} instead of"):
        fetch(Weights(source=weights.source, sha256="0" * 64), progress=False)
    assert list((tmp_path / "other").rglob("snapshots")) == []
    assert list((tmp_path / "other").rglob(".check-*")) == []


def test_what_is_not_what_was_asked_for_is_not_kept(hub, tmp_path):
    with pytest.raises(InputError, match=r"instead of 0000.*nothing was downloaded"):
        fetch(Weights(source=OWN, sha256="0" * 64), progress=False)
    assert hub.asked == []
    hub.faults["model.safetensors"] = ["wrong"]
    weights = Weights(source=OWN, sha256=sha256(content(hub)))
    with pytest.raises(InputError, match="its SHA-256 is"):
        fetch(weights, progress=False)
    assert not place(weights)[2]
    assert list((tmp_path / "hf").rglob("*.safetensors")) == []


def test_faults_of_the_network_are_one_line(hub, monkeypatch):
    with pytest.raises(InputError, match="answers 404 Not Found; correct the name, the revision or the file"):
        fetch(Weights(source=f"hub:lab/net@{COMMIT}/none.pt"), progress=False)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(InputError, match="HF_HUB_OFFLINE is set"):
        fetch(Weights(source=f"hub:lab/net@{COMMIT}/sub/model.safetensors"), progress=False)
    monkeypatch.delenv("HF_HUB_OFFLINE")
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:1")
    line = r"could not be reached \(.*\); run prefetch on a machine with network, or put the file at /.*/none\.pt"
    with pytest.raises(InputError, match=line) as error:
        fetch(Weights(source=f"hub:lab/net@{COMMIT}/none.pt"), progress=False)
    assert len(str(error.value).splitlines()) == 1


def test_a_cache_that_leads_elsewhere_is_refused(tmp_path, source, made):
    """A link in the cache may lead to the store of its own model, and nowhere else."""
    path = tmp_path / "hf/hub/models--lab--net/snapshots" / COMMIT / "model.safetensors"
    path.parent.mkdir(parents=True)
    path.symlink_to(write("safetensors", tmp_path, source.state_dict()))
    with pytest.raises(InputError, match="is a link that leads out of"):
        load_weights(made(), f"hub:lab/net@{COMMIT}/model.safetensors")
    path.unlink()
    # Whoever has no network puts the file where the message says.
    path.write_bytes((tmp_path / "net.safetensors").read_bytes())
    assert load_weights(made(), f"hub:lab/net@{COMMIT}/model.safetensors").n_loaded == 9


def test_the_cache_is_where_its_own_tools_have_it(monkeypatch):
    monkeypatch.delenv("HF_HOME")
    monkeypatch.setenv("HOME", "/home/who")
    assert published.cache_folder() == Path("/home/who/.cache/huggingface/hub")
    monkeypatch.setenv("XDG_CACHE_HOME", "/caches")
    assert published.cache_folder() == Path("/caches/huggingface/hub")
    monkeypatch.setenv("HF_HOME", "/hf")
    assert published.cache_folder() == Path("/hf/hub")
    monkeypatch.setenv("HF_HUB_CACHE", "/cache")
    assert published.cache_folder() == Path("/cache")
    file = hub_file(f"hub:lab/net@{COMMIT}/sub/model.pt")
    assert file.address() == f"https://huggingface.co/lab/net/resolve/{COMMIT}/sub/model.pt"


def test_prefetch_knows_the_weights_that_methods_name(tmp_path):
    given = {"source": f"hub:lab/net@{COMMIT}/model.pt", "licence": "MIT"}
    methods = {
        "proposed": {"params": {"weights": given, "width": {"a": 1}}},
        "baseline": {"params": {"encoder": {"source": str(tmp_path / "own.pt")}, "weights": given}},
    }
    run = SimpleNamespace(study="deep", methods=methods)
    cards = SimpleNamespace(runs={"deep": run}, with_files=list, is_fetched=lambda name: False)
    run.datasets = []
    there = [
        (need.name, need.kind, bool(need.address), need.is_there) for need in needed(tmp_path, cards, images=False)
    ]
    assert there == [
        ("config/studies/deep.yaml, proposed.weights", "weights", True, False),
        ("config/studies/deep.yaml, baseline.encoder", "weights", False, False),
    ]
    (tmp_path / "own.pt").write_bytes(b"x")
    assert [need.is_there for need in needed(tmp_path, cards, images=False)] == [False, True]
    methods["proposed"]["params"]["weights"] = {"source": "hub:lab/net@main/model.pt"}
    with pytest.raises(InputError, match=re.escape("deep.yaml, proposed.weights: weights: Value error, revision main")):
        list(named(cards))
