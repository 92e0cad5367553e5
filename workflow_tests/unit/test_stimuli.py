"""What was shown: tables from events as they are in the wild, features of stimuli, one exchange for all repeats."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from matplotlib import image

from replicortex.bundle import Bundle
from replicortex.components import make
from replicortex.errors import InputError
from replicortex.files import read_tsv, to_json, to_tsv, write_text
from replicortex.guard import LeakError, check_fit
from replicortex.index import refresh_index
from replicortex.shared.pictures import read_picture
from replicortex.shared.stimuli import StimulusRule, presented, stimulus_id
from replicortex.stages.splits import make_splits, permute_stimuli
from replicortex.stages.stimuli import extract_stimuli, make_stimuli


def events(**columns: list[str]) -> list[dict[str, str]]:
    n = len(next(iter(columns.values())))
    onset = columns.pop("onset", [f"{4 * i}" for i in range(n)])
    return [
        {"onset": onset[i], "duration": "3", **{name: values[i] for name, values in columns.items()}} for i in range(n)
    ]


# ---- events as published datasets have them (facts of their metadata)


def test_paths_with_backslashes_and_times_in_milliseconds():
    """As in ds003825: ``onset`` of samples at 1000 Hz, paths of another system."""
    rule = StimulusRule(column="stim", strip="stimuli\\", units="ms")
    found = presented(events(onset=["10724", "10774"], stim=["stimuli\\dog\\a.jpg", "stimuli\\cat.jpg"]), rule, "e")
    assert [entry["stim_id"] for entry in found] == ["dog/a.jpg", "cat.jpg"]
    assert [entry["onset"] for entry in found] == pytest.approx([10.724, 10.774])


def test_a_number_with_a_fraction_names_no_stimulus():
    """As in ds001246: ``stimulus_id`` is a float that loses digits, ``stimulus_name`` is whole."""
    rows = events(stimulus_id=["1443537.02256"], stimulus_name=["n01443537_22563"], event_type=["stimulus"])
    assert presented(rows, StimulusRule(), "e")[0]["stim_id"] == "n01443537_22563"
    for lossy in ("1443537.02256", "1.4435e+06"):
        with pytest.raises(InputError, match="digits may be lost; name another column"):
            presented(events(stimulus_id=[lossy]), StimulusRule(), "sub-01_events.tsv")


def test_whole_numbers_stored_as_floats_are_whole():
    """As in ds004192: category numbers as floats, test pictures marked by a number that others lack."""
    rows = events(
        file_path=["dog/dog_01b.jpg", "cat/cat_02s.jpg", "n/a"],
        category_nr=["12.0", "7.0", "n/a"],
        test_image_nr=["nan", "3.0", "n/a"],
    )
    found = presented(rows, StimulusRule(test={"test_image_nr": []}, factors=["category_nr"]), "e")
    assert [entry["split"] for entry in found] == ["train", "test"]
    assert [entry["factors"] for entry in found] == [{"category_nr": "12"}, {"category_nr": "7"}]
    assert presented(events(stim_id=["12.0"]), StimulusRule(), "e")[0]["stim_id"] == "12"


def test_only_the_events_that_are_meant():
    rows = events(event_type=["rest", "stimulus", "evaluation"], stim_file=["a.png", "b.png", "c.png"])
    found = presented(rows, StimulusRule(take={"event_type": ["stimulus"]}), "e")
    assert [entry["stim_id"] for entry in found] == ["b.png"]
    with pytest.raises(InputError, match="no column 'kind'"):
        presented(rows, StimulusRule(take={"kind": ["stimulus"]}), "e")


def test_an_onset_that_is_not_known_is_no_presentation():
    """As in the templates of sessions among the example datasets."""
    rows = events(onset=["n/a", "2"], stim_file=["a.png", "b.png"])
    assert [entry["stim_id"] for entry in presented(rows, StimulusRule(), "e")] == ["b.png"]
    with pytest.raises(InputError, match="line 2: the onset 'soon' is no number"):
        presented(events(onset=["soon"], stim_file=["a.png"]), StimulusRule(), "e")


def test_every_example_dataset_that_shows_stimuli_is_read(examples):
    """Events of published datasets, with the usual columns: all are read, and what they show has names of files."""
    found = {}
    for root in examples:
        for path in sorted(root.rglob("sub-*_events.tsv")):
            rows = [] if path.name.startswith("._") or not path.stat().st_size else read_tsv(path)
            if rows and "stim_file" in rows[0]:
                found.setdefault(root.name, []).extend(presented(rows, StimulusRule(), path.name))
    assert len(found) >= 4
    names = {entry["stim_id"] for shown in found.values() for entry in shown}
    assert {"f108.bmp", "meg/s020.bmp"} <= names
    assert not any(name.startswith("stimuli/") or "\\" in name for name in names)
    assert all(np.isfinite(entry["onset"]) for shown in found.values() for entry in shown)


def test_a_published_localiser(real_data, tmp_path):
    """Faces, houses and others of a real run: each picture twice or so, without files, in 12 s and later."""
    root = real_data / "bold-studyforrest"
    refresh_index(root, tmp_path / "index")
    make_stimuli(tmp_path / "index" / "recordings.tsv", root, tmp_path / "s.tsv", tmp_path / "p.tsv",
                 {"factors": ["trial_type"]})  # fmt: skip
    stimuli, shown = read_tsv(tmp_path / "s.tsv"), read_tsv(tmp_path / "p.tsv")
    assert shown[0]["stim_id"] == "visualarea_localizer/lcm/face10_lcm.png"
    assert float(shown[0]["onset"]) == pytest.approx(12.028)
    assert {json.loads(row["factors"])["trial_type"] for row in stimuli} >= {"face", "house"}
    assert {row["path"] for row in stimuli} == {"n/a"}
    assert sum(int(row["n_presentations"]) for row in stimuli) == len(shown)


@pytest.mark.parametrize("value", ["../../secret.png", "/etc/passwd", "a/../../b.png", "pic\x07.png", "stimuli/"])
def test_what_leads_out_or_can_not_be_shown_is_refused(value):
    with pytest.raises(InputError, match="no path below stimuli"):
        stimulus_id(value, StimulusRule(), "e")


@pytest.fixture
def dataset(tmp_path) -> Path:
    """A dataset of two subjects: a byte-order mark here, CRLF there, AppleDouble beside, two names of one picture."""
    root = tmp_path / "bids"
    write_text(root / "dataset_description.json", to_json({"Name": "x", "BIDSVersion": "1.10.0"}))
    generator = np.random.default_rng(0)
    for name in ("a.png", "b.png", "deep/c.png"):
        (root / "stimuli" / name).parent.mkdir(parents=True, exist_ok=True)
        image.imsave(root / "stimuli" / name, generator.integers(0, 256, (4, 6, 3), dtype=np.uint8))
    (root / "stimuli" / "z_copy.png").write_bytes((root / "stimuli" / "a.png").read_bytes())
    table = to_tsv(
        events(stim_file=["a.png", "stimuli/b.png", "z_copy.png", "deep\\c.png"]), ["onset", "duration", "stim_file"]
    )
    for subject, raw in (("01", table.encode("utf-8-sig")), ("02", table.replace("\n", "\r\n").encode())):
        folder = root / f"sub-{subject}" / "func"
        folder.mkdir(parents=True)
        stem = f"sub-{subject}_task-view_run-1"
        (folder / f"{stem}_events.tsv").write_bytes(raw)
        (folder / f"._{stem}_events.tsv").write_bytes(b"\x00\x05\x16\x07binary")
        (folder / f"{stem}_atlas-A_timeseries.tsv").write_text("r1\tr2\n1\t2\n2\t1\n")
        (folder / f"{stem}_atlas-A_timeseries.json").write_text('{"RepetitionTime": 2}')
    refresh_index(root, tmp_path / "index")
    return tmp_path


def tables(dataset, rule=None):
    make_stimuli(dataset / "index" / "recordings.tsv", dataset / "bids", dataset / "stimuli.tsv",
                 dataset / "shown.tsv", rule or {})  # fmt: skip
    return read_tsv(dataset / "stimuli.tsv"), read_tsv(dataset / "shown.tsv")


def test_the_table_of_stimuli_and_of_presentations(dataset):
    stimuli, shown = tables(dataset)
    assert [row["stim_id"] for row in stimuli] == ["a.png", "b.png", "deep/c.png", "z_copy.png"]
    assert [row["path"] for row in stimuli] == [f"stimuli/{row['stim_id']}" for row in stimuli]
    assert {row["kind"] for row in stimuli} == {"image"}
    # The same picture under two names is one: else it could stand on both sides of a split.
    assert [row["repeat_group"] for row in stimuli] == ["a.png", "b.png", "deep/c.png", "a.png"]
    assert [row["n_presentations"] for row in stimuli] == ["4", "2", "2", "0"]
    assert [row["stim_id"] for row in shown] == ["a.png", "b.png", "a.png", "deep/c.png"] * 2
    assert [float(row["onset"]) for row in shown] == [0, 4, 8, 12] * 2
    assert json.loads(stimuli[0]["factors"]) == {}


def test_what_events_do_not_agree_on_is_refused(dataset):
    path = dataset / "bids" / "sub-02" / "func" / "sub-02_task-view_run-1_events.tsv"
    write_text(path, "onset\tduration\tstim_file\tword\n0\t1\ta.png\tdog\n4\t1\ta.png\tcat\n")
    write_text(Path(str(path).replace("02", "01")), "onset\tduration\tstim_file\tword\n0\t1\ta.png\tdog\n")
    refresh_index(dataset / "bids", dataset / "index")
    with pytest.raises(InputError, match=r"a\.png has the caption 'cat' here and 'dog' elsewhere"):
        tables(dataset, {"caption": "word"})
    with pytest.raises(InputError, match=r"stimuli\.colum"):
        tables(dataset, {"colum": "word"})


def test_patches_are_the_pixels_of_a_picture(dataset):
    tables(dataset)
    extract_stimuli(dataset / "stimuli.tsv", dataset / "bids", dataset / "x.npz", "procedural_tokens", {"patch": 2})
    bundle = Bundle.open(dataset / "x.npz")
    assert bundle.rows["row_id"].tolist() == ["a.png", "b.png", "deep/c.png"]
    assert bundle["tokens"].shape == (3, 2 * 3, 2 * 2 * 3)
    picture = image.imread(dataset / "bids" / "stimuli" / "b.png")[..., :3]
    # Second row, third column.
    expected = 4 * picture[2:4, 4:6].reshape(-1) - 2
    np.testing.assert_allclose(bundle["tokens"][1, 5], expected, atol=1e-6)
    assert bundle.axes["position"][5] == [1.0, 2.0]
    np.testing.assert_allclose(bundle["pooled"], bundle["tokens"].mean(axis=1), atol=1e-6)
    before = (dataset / "x.npz").read_bytes()
    extract_stimuli(dataset / "stimuli.tsv", dataset / "bids", dataset / "x.npz", "procedural_tokens", {"patch": 2})
    assert (dataset / "x.npz").read_bytes() == before
    assert not list(dataset.glob(".stimuli-*"))
    with pytest.raises(InputError, match="4 x 6 pixels, which 3 does not divide"):
        extract_stimuli(dataset / "stimuli.tsv", dataset / "bids", dataset / "y.npz", "procedural_tokens", {"patch": 3})


def test_pictures_that_are_none_are_refused_in_one_line(dataset):
    root = dataset / "bids"
    (root / "stimuli" / "broken.png").write_bytes((root / "stimuli" / "a.png").read_bytes()[:40])
    (root / "stimuli" / "link.png").symlink_to("/etc/hostname")
    for path, fault in (
        ("stimuli/broken.png", "not readable as a picture"),
        ("stimuli/link.png", "leads out of the dataset"),
        ("stimuli/none.png", "no such file"),
        ("n/a", "has no file in the dataset"),
    ):
        with pytest.raises(InputError, match=fault) as caught:
            read_picture(root, path)
        assert "\n" not in str(caught.value)


def test_features_from_a_file_go_by_their_names(dataset, tmp_path):
    tables(dataset)
    names = ["deep/c.png", "other.png", "b.png", "a.png"]
    features = np.random.default_rng(1).standard_normal((4, 7, 3)).astype(np.float32)
    np.savez(tmp_path / "f.npz", features=features, stim_id=np.array(names))

    def extract(params, **given):
        extract_stimuli(dataset / "stimuli.tsv", dataset / "bids", dataset / "out.npz", "file_tokens",
                        {"array_file": str(tmp_path / "f.npz"), **params}, **given)  # fmt: skip
        return Bundle.open(dataset / "out.npz")

    np.testing.assert_array_equal(extract({})["tokens"], features[[3, 2, 0]])
    skipped = extract({"skip": 1, "columns": 3})
    np.testing.assert_array_equal(skipped["tokens"], features[[3, 2, 0], 1:])
    assert skipped.axes["position"] == [[0, 0], [0, 1], [0, 2], [1, 0], [1, 1], [1, 2]]
    maps = np.random.default_rng(2).standard_normal((4, 5, 2, 3)).astype(np.float32)
    np.save(tmp_path / "m.npy", maps)
    write_text(tmp_path / "m.tsv", to_tsv([{"stim_id": name} for name in names], ["stim_id"]))
    given = {"array_file": str(tmp_path / "m.npy"), "names_file": str(tmp_path / "m.tsv"), "layout": "maps"}
    found = extract(given)
    np.testing.assert_array_equal(found["tokens"][0], maps[3].reshape(5, 6).T)
    assert found.axes["position"][4] == [1.0, 1.0]
    np.savez(tmp_path / "f.npz", features=features[:3], stim_id=np.array(names[:3]))
    with pytest.raises(InputError, match=r"no row for 'a.png' \(1 of 3 stimuli"):
        extract({})
    np.savez(tmp_path / "f.npz", features=np.array([{"a": 1}] * 4, dtype=object), stim_id=np.array(names))
    with pytest.raises(InputError, match="not readable"):
        extract({})


def test_a_network_without_its_package_is_one_line(dataset):
    if __import__("importlib.util").util.find_spec("transformers"):
        pytest.skip("transformers is installed here")
    tables(dataset)
    with pytest.raises(InputError, match="needs the package transformers"):
        extract_stimuli(dataset / "stimuli.tsv", dataset / "bids", dataset / "v.npz", "vision_tokens", {"size": 28})


# ---- one exchange of stimuli for all


def test_stimuli_are_exchanged_as_a_whole_and_across_blocks_never():
    generator = np.random.default_rng(0)
    target = generator.permutation(np.repeat([f"s{i}" for i in range(12)], 3))
    blocks = np.array(["low" if int(name[1:]) < 6 else "high" for name in target])
    found = permute_stimuli(target, blocks, [0, 1])
    pairs = set(zip(target, found, strict=True))
    assert len(pairs) == 12, "repeats of a stimulus must stay its repeats"
    assert {a for a, _ in pairs} == {b for _, b in pairs}
    assert all((int(a[1:]) < 6) == (int(b[1:]) < 6) for a, b in pairs)
    assert any(a != b for a, b in pairs)
    with pytest.raises(InputError, match="more than one exchangeability block"):
        permute_stimuli(target, np.arange(len(target)).astype(str), 0)


def shown_bundle(path, n_subjects=2, n=30, repeated=6):
    names = [f"p{i:02d}" for i in range(n)] + [f"p{i:02d}" for i in range(repeated)] * 2
    rows = [
        (f"{s:02d}", name, f"sub-{s:02d}_{k:03d}") for s in range(1, n_subjects + 1) for k, name in enumerate(names)
    ]
    columns = {
        "row_id": np.array([row[2] for row in rows]),
        "subject": np.array([row[0] for row in rows]),
        "session": np.full(len(rows), "n/a"),
        "run": np.full(len(rows), "1"),
        "label": np.array([row[1] for row in rows]),
    }
    x = np.random.default_rng(0).standard_normal((len(rows), 3)).astype(np.float32)
    Bundle({"x": x}, columns, {"response": ["a", "b", "c"]}, {"fitted": []}).save(path)


@pytest.mark.parametrize("scheme", ["repeated_stimuli", "stimulus_k_fold"])
def test_null_variants_keep_repeats_and_sides(tmp_path, scheme):
    shown_bundle(tmp_path / "f.npz")

    def made(variant):
        make_splits([tmp_path / "f.npz"], tmp_path / "s.tsv", tmp_path / "t.tsv", {scheme: {}}, variant, [], 3,
                    exchangeable=[], task="encode")  # fmt: skip
        target = {row["row_id"]: row["target"] for row in read_tsv(tmp_path / "t.tsv")}
        return read_tsv(tmp_path / "s.tsv"), target

    (splits, target), (splits_null, null) = made("observed"), made("null-1")
    assert splits == splits_null, "who is held out does not depend on the variant"
    assert len({(target[row], null[row]) for row in target}) == 30
    assert target != null
    for fold in {row["fold"] for row in splits}:
        sides = [{null[row["row_id"]] for row in splits if row["fold"] == fold and row["role"] == role}
                 for role in ("train", "test")]  # fmt: skip
        assert sides[0].isdisjoint(sides[1])


def test_the_guard_knows_what_was_shown_to_whom():
    """A fit on another subject's responses to a held-out stimulus has seen that stimulus."""
    rows = {
        "row_id": np.array(["r0", "r1", "r2", "r3"]),
        "subject": np.array(["01", "01", "02", "02"]),
        "label": np.array(["a", "b", "a", "b"]),
    }
    test = {name: column[:1] for name, column in rows.items()}
    fitted = [{"artefact": "Encoder", "rows": ["r1", "r3"], "subjects": ["01", "02"]}]
    check_fit("x", "stimulus", fitted, test, rows)
    leak = [{"artefact": "Encoder", "rows": ["r1", "r2"], "subjects": ["01", "02"]}]
    with pytest.raises(LeakError, match="Encoder has seen responses to the held-out stimulus a"):
        check_fit("x", "stimulus", leak, test, rows)
    check_fit("x", "row", leak, test, rows)


def test_simulated_pictures_hold_what_drives_the_responses(tmp_path):
    """The patches that a provider reads are the contents that were planted, to a step of grey; objects stand out."""
    simulator = make(
        "simulators", "routed_responses", {"n_subjects": 1, "n_pictures": 30, "n_repeated": 4, "n_runs": 1}
    )
    facts = simulator.simulate(tmp_path, "planted", 5)
    tokens, place = simulator.pictures([5, 0])
    rows = [{"stim_id": f"picture{i + 1:04d}.png", "path": f"stimuli/picture{i + 1:04d}.png"} for i in range(30)]
    read = np.concatenate(list(make("providers", "procedural_tokens", {"patch": 2}).tokens(rows, tmp_path)))
    # 4 x / 255 - 2 of a grey of 128 + 32 x.
    np.testing.assert_allclose(((read + 2) / 4 * 255 - 128) / 32, np.clip(tokens, -4, 127 / 32), atol=0.5 / 32 + 1e-4)
    marks = read[:, :, 8:]
    assert (marks.argmax(axis=1) == place).mean() > 0.95
    assert facts["planted_token"]["FFA"]["picture0003.png"] == place[2, 0]
    signal = simulator.signal(*make("simulators", "routed_responses", {"n_pictures": 4000}).pictures(1), 5, 1)
    np.testing.assert_allclose(signal.var(axis=0), 1, atol=0.1)
