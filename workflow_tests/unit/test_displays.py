"""Displays of a whole dataset: planted images come out as they were, nobody's name does, and few are not shown."""

from __future__ import annotations

import base64
import json
import re
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from mri_derivatives import recording, write_confounds
from replicortex.cards import FAMILIES
from replicortex.components import Audience, load, make, names
from replicortex.errors import InputError
from replicortex.files import digest_file, read_json, read_tsv, to_tsv, write_text
from replicortex.private import without_names
from replicortex.shared.group_displays import Running, Summary, numbers_display, titled
from replicortex.shared.group_eeg import Electrodes, Spectra
from replicortex.shared.group_maps import GroupMap
from replicortex.shared.nifti import SPACE, read_image, save_image, template
from replicortex.stages import displays
from replicortex.stages.quality import collect_quality

MM = 8.0
LABELS = [f"Nobody{number:02d}" for number in range(12)]


def test_every_modality_has_displays():
    assert {f"{modality}_group" for modality in FAMILIES} == set(names("displays"))
    assert {name: load("displays", f"{name}_group").family for name in FAMILIES} == FAMILIES


def test_running_mean_and_deviation_are_those_of_all_values_at_once():
    rng = np.random.default_rng(0)
    values = 1e6 + rng.standard_normal((50, 4))
    values[rng.random(values.shape) < 0.2] = np.nan
    running = Running((4,))
    for row in values:
        running.add(row)
    np.testing.assert_array_equal(running.count, np.isfinite(values).sum(axis=0))
    np.testing.assert_allclose(running.mean, np.nanmean(values, axis=0), rtol=1e-14)
    np.testing.assert_allclose(running.deviation, np.nanstd(values, axis=0, ddof=1), rtol=1e-8)


# ---- images


def plant(root: Path, subject: str, scale: float, *, mask: np.ndarray | None = None, skull: float = 0.0) -> Path:
    """Write a T1w derivative: white over grey matter by a factor, ``scale`` times; return its main file."""
    folder = root / f"sub-{subject}" / "anat"
    folder.mkdir(parents=True)
    inside = np.asarray(template("mask", MM).dataobj) > 0.5 if mask is None else mask
    values = np.where(inside, scale * (1 + 0.5 * np.asarray(template("WM", MM).dataobj)), skull)
    stem, affine = f"sub-{subject}_space-{SPACE}", template("mask", MM).affine
    save_image(values, affine, folder / f"{stem}_desc-preproc_T1w.nii.gz")
    save_image(inside.astype(np.uint8), affine, folder / f"{stem}_desc-brain_mask.nii.gz", dtype=np.uint8)
    return folder / f"{stem}_desc-preproc_T1w.nii.gz"


@pytest.fixture(autouse=True)
def coarse(monkeypatch):
    """Large voxels, for speed."""
    large = {name: {"mm": MM} for name in names("displays") if name not in ("eeg_group", "meg_group")}
    monkeypatch.setattr(displays, "make", lambda kind, name, params: make(kind, name, params | large.get(name, {})))


def tables(folder: Path, root: Path, paths: list[Path], numbers: list[dict] | None = None, failed: int = 0):
    """Write manifest and table of quality of derivatives."""
    rows = []
    for index, path in enumerate(paths):
        stem = re.split("_space-|_desc-|_[a-z]+[.]", path.name)[0]
        row = recording(stem, path, root, path.parent.name)
        rows.append({**row, "quality": json.dumps(numbers[index]) if numbers else "n/a"})
    for row in rows[:failed]:
        row["status"] = "failed"
    manifest, quality = folder / "0of1.tsv", folder / "quality.tsv"
    write_text(manifest, to_tsv(rows, list(rows[0])))
    collect_quality([manifest], quality)
    return quality, [manifest]


def show(folder: Path, root: Path, paths: list[Path], display: str = "anat_group", *, numbers=None, failed=0, **asked):
    """Run the stage; return the index by name, and the folder."""
    folder.mkdir(exist_ok=True)
    out = folder / "out"
    displays.show_quality(*tables(folder, root, paths, numbers, failed), root, display, out, **asked)
    return {entry["name"]: entry for entry in read_json(out / "index.json")}, out


@pytest.fixture
def heads(tmp_path) -> tuple[Path, list[Path]]:
    """Twelve people whose images differ by their unit alone; all but the brain is bright."""
    root = tmp_path / "derivatives"
    return root, [plant(root, label, 10.0 * (1 + i), skull=5000.0) for i, label in enumerate(LABELS)]


def test_the_mean_image_is_the_planted_one_without_anything_outside_the_brain(heads):
    _, paths = heads
    display = load("displays", "anat_group")(mm=MM)
    for path in paths:
        display.look({}, path)
    running = display._images.running
    inside = np.asarray(template("mask", MM).dataobj) > 0.5
    planted = 1 + 0.5 * np.asarray(template("WM", MM).dataobj)
    planted /= np.median(planted[inside])
    np.testing.assert_allclose(running.mean[inside], planted[inside], rtol=1e-5)
    assert running.mean[~inside].max() == 0, "5000 stands outside of the brain"
    np.testing.assert_allclose(running.deviation[inside], 0, atol=1e-4)
    assert set(np.unique(running.count)) == {0, len(paths)}


def test_an_image_on_another_grid_comes_to_the_same_place():
    """What grows evenly through space has at each place the same value on every grid."""
    affine = np.array([[-5.0, 0, 0, 110], [0, 5, 0, -140], [0, 0, 5, -90], [0, 0, 0, 1]])
    shape, slope = (45, 56, 45), np.array([0.02, -0.01, 0.03])
    places = nib.affines.apply_affine(affine, np.stack(np.indices(shape), axis=-1))
    mean = GroupMap(MM)
    mean.add(nib.Nifti1Image((20 + places @ slope).astype(np.float32), affine), np.ones(shape, bool))
    there = nib.affines.apply_affine(mean.affine, np.stack(np.indices(mean.running.mean.shape), axis=-1))
    inside = np.asarray(template("mask", MM).dataobj) > 0.5
    assert (mean.running.count[inside] == 1).all()
    np.testing.assert_allclose(mean.running.mean[inside], 20 + there[inside] @ slope, atol=0.01)


def test_coverage_says_in_how_many_brains_a_voxel_is(tmp_path):
    root = tmp_path / "derivatives"
    whole = np.asarray(template("mask", MM).dataobj) > 0.5
    lower = whole.copy()
    lower[..., lower.shape[2] // 2 :] = False
    paths = [plant(root, label, 1.0, mask=lower if i < 3 else whole) for i, label in enumerate(LABELS[:4])]
    index, _ = show(tmp_path, root, paths)
    share = float(100 * (lower.sum() / whole.sum()))
    told = re.search(
        r"every one of 4 recordings covers (\d+) %.*half of them cover (\d+) %", index["t1w_coverage"]["alt"]
    )
    assert abs(int(told[1]) - share) < 6
    assert abs(int(told[2]) - share) < 6, "one of four is not half"


def written(out: Path) -> str:
    return "".join(path.read_text(encoding="utf-8") for path in sorted(out.iterdir()))


def test_displays_name_nobody_and_no_version_and_load_nothing(heads, tmp_path):
    root, paths = heads
    numbers = [{"cnr": 1 + 0.01 * i if i < 11 else 30.0, "gm_ml": 600.0 + i} for i in range(len(paths))]
    index, out = show(tmp_path, root, paths, numbers=numbers, failed=1)
    text = written(out)
    assert not re.search("Nobody|sub-N", text)
    assert str(tmp_path) not in text
    pictures = re.findall(r"data:image/png;base64,([A-Za-z0-9+/=\s]+)", text)
    assert pictures
    assert not any(b"Software" in base64.b64decode(picture) for picture in pictures)
    viewer = (out / index["t1w_viewer"]["file"]).read_text()
    assert "default-src 'none'" in viewer
    assert "://" not in viewer
    assert len(viewer) < 3_000_000
    for entry in index.values():
        assert entry["kind"] in ("svg", "html", "table")
        assert (out / entry["file"]).is_file()
        assert min(map(len, entry.values())) > 0
        assert "1 failed in preprocessing" in entry["caption"] or entry["name"] == "numbers"
        if entry["kind"] == "svg":
            assert 'role="img"' in (out / entry["file"]).read_text()
            assert entry["alt"][:20] in (out / entry["file"]).read_text()
    assert "1 outlying" in index["numbers"]["alt"]
    assert "1 more failed" in index["numbers"]["caption"]


def test_the_same_recordings_give_the_same_bytes_and_replace_what_was_there(heads, tmp_path):
    root, paths = heads
    _, first = show(tmp_path / "a", root, paths[:4])
    digests = {path.name: digest_file(path) for path in first.iterdir()}
    write_text(tmp_path / "b" / "out" / "old.svg", "of an earlier run")
    _, second = show(tmp_path / "b", root, paths[:4])
    assert {path.name: digest_file(path) for path in second.iterdir()} == digests
    assert sorted(path.name for path in second.parent.iterdir()) == ["0of1.tsv", "out", "quality.tsv"]


def test_one_person_is_not_shown_and_ten_are_needed_where_data_are_restricted(heads, tmp_path):
    root, paths = heads
    numbers = [{"cnr": float(i)} for i in range(len(paths))]
    for count, restricted, expected in (
        (1, False, {"numbers"}),
        (2, False, {"t1w", "t1w_viewer", "t1w_spread", "t1w_coverage", "numbers"}),
        (9, True, set()),
        (10, True, {"t1w", "t1w_viewer", "t1w_spread", "t1w_coverage", "numbers"}),
    ):
        folder = tmp_path / f"{count}"
        index, out = show(folder, root, paths[:count], numbers=numbers[:count], restricted=restricted)
        assert set(index) == expected, count
        if restricted and index:
            drawn = (out / "numbers.svg").read_text()
            assert "PathCollection" not in drawn, "no point a recording"
            values = np.arange(10.0)
            told = f"mean {values.mean():.3g}, standard deviation {values.std(ddof=1):.3g}"
            assert told in index["numbers"]["alt"]


def test_many_recordings_of_few_people_are_no_crowd():
    """Twenty recordings of two people: a value must come from more than those of one of them."""
    rows = [{"recording": f"r{i}", "suffix": "x", "subject": "a" if i else "b"} for i in range(20)]
    assert not displays._enough(rows, restricted=True)
    assert displays._audience(rows, True, "").fewest == 10 * 19


def test_a_sample_takes_everybody_before_anybody_twice():
    rows = [{"recording": f"sub-{s}_run-{r}", "suffix": "bold", "subject": s} for s in "abcdef" for r in range(5)]
    drawn = displays._sample(rows, 8)
    assert len(drawn) == 8
    assert {row["subject"] for row in drawn[:6]} == set("abcdef")
    assert drawn == displays._sample(rows[::-1], 8), "whatever the order of the table"
    assert displays._sample(rows, 100)[:8] == drawn


def test_what_can_not_be_shown_is_counted_with_its_reason(heads, tmp_path):
    root, paths = heads
    paths[0].unlink()
    paths[1].write_bytes(paths[1].read_bytes()[:2000])
    mask = next(paths[2].parent.glob("*mask*"))
    mask.unlink()
    native = paths[3].rename(paths[3].with_name(paths[3].name.replace(SPACE, "T1w")))
    index, _ = show(tmp_path, root, [*paths[:3], native, *paths[4:]])
    caption = index["t1w"]["caption"]
    assert "Of 12 recordings, 8 are shown" in caption
    for reason in ("is not kept", "truncated", "has no brain mask beside it", "is not in a standard space"):
        assert reason in caption
    assert "Mean T1w image over 8 recordings" in caption
    assert "Nobody" not in caption


def test_a_sample_is_told(heads, tmp_path):
    root, paths = heads
    index, _ = show(tmp_path, root, paths, most=5)
    assert "Of 12 recordings, 5 are shown; 7 were left out by drawing a sample" in index["t1w"]["caption"]


def test_names_of_files_are_taken_out_of_faults():
    said = without_names("sub-01_ses-2_T1w.nii.gz is no better than x/sub-02/anat/T1w.nii.gz or /data/me/x, it is", "A")
    assert said == "A is no better than A or \N{HORIZONTAL ELLIPSIS} it is"


# ---- numbers


def test_units_stand_in_the_names_of_numbers():
    shown = {name: titled(name) for name in ("gm_ml", "fd_mean", "amplitude_uv", "dice_wm", "n_volumes", "fwhm_mm")}
    assert shown == {
        "gm_ml": "GM (mL)",
        "fd_mean": "FD mean (mm)",
        "amplitude_uv": "amplitude (µV)",
        "dice_wm": "dice WM",
        "n_volumes": "n volumes",
        "fwhm_mm": "FWHM (mm)",
    }


def test_numbers_that_too_few_have_are_left_out(tmp_path):
    few = np.array([1.0, 2.0, np.nan, np.nan])
    numbers = [Summary("few", few, np.zeros(4, bool)), Summary("all", np.arange(4.0), np.zeros(4, bool))]
    (entry,) = numbers_display(tmp_path, numbers, Audience(3, False, "Four."))
    assert entry["alt"].startswith("1 number of quality. all, n 4: median 1.5")
    assert numbers_display(tmp_path, numbers, Audience(5, False, "Four.")) == []


# ---- runs


def write_run(root: Path, subject: str, factor: float, displacement: np.ndarray, *, maps: bool) -> Path:
    """Write a BOLD derivative whose temporal signal-to-noise is ``factor`` in the brain."""
    folder = root / f"sub-{subject}" / "func"
    folder.mkdir(parents=True)
    stem, mask = f"sub-{subject}_task-rest_space-{SPACE}", template("mask", MM)
    inside = np.asarray(mask.dataobj) > 0.5
    wave = np.where(np.arange(10) % 2, 1.0, -1.0)
    series = np.where(inside[..., None], 100.0 * (1 + wave / factor), 0.0)
    main = folder / f"{stem}_desc-preproc_bold.nii.gz"
    save_image(series, mask.affine, main, repetition_time=2.0)
    save_image(inside.astype(np.uint8), mask.affine, folder / f"{stem}_desc-brain_mask.nii.gz", dtype=np.uint8)
    if maps:
        save_image(series.mean(axis=3), mask.affine, folder / f"{stem}_boldref.nii.gz")
        save_image(np.where(inside, factor, 0), mask.affine, folder / f"{stem}_stat-tsnr_boldmap.nii.gz")
        main.write_bytes(b"not opened where the maps are there")
    write_confounds(folder, f"sub-{subject}_task-rest", {"framewise_displacement": displacement})
    return main


@pytest.mark.parametrize("maps", [True, False])
def test_runs_give_signal_to_noise_and_motion(tmp_path, maps):
    root = tmp_path / "derivatives"
    factors = [20.0, 40.0, 60.0, 80.0]
    moved = [np.r_[np.nan, np.full(9, 0.1 * (i + 1))] for i in range(4)]
    moved[3][5:] = 2.0
    files = [write_run(root, LABELS[i], factors[i], moved[i], maps=maps) for i in range(4)]
    display = load("displays", "func_group")(mm=MM)
    for path in files:
        display.look({}, path)
    inside = np.asarray(template("mask", MM).dataobj) > 0.5
    np.testing.assert_allclose(display._ratio.running.mean[inside], np.mean(factors), rtol=2e-3)
    np.testing.assert_allclose(display._mean.running.mean[inside], 1, rtol=1e-4)
    index, _ = show(tmp_path, root, files, "func_group")
    assert {"bold", "bold_viewer", "bold_spread", "bold_coverage", "tsnr", "tsnr_viewer", "motion"} <= set(index)
    known = np.concatenate([line[1:] for line in moved])
    assert f"{100 * np.mean(known >= 0.5):.2g} % of all volumes" in index["motion"]["alt"]
    means = [np.mean(line[1:]) for line in moved]
    assert f"Framewise displacement of 4 runs: mean {np.mean(means):.3g} mm" in index["motion"]["alt"]


def test_tables_of_series_and_matrices_give_the_mean_connectivity(tmp_path):
    root = tmp_path / "derivatives"
    rng = np.random.default_rng(1)
    files, matrices = [], []
    for number in range(5):
        values = rng.standard_normal((80, 4))
        values[:, 1] += 1.5 * values[:, 0]
        path = root / f"sub-{LABELS[number]}" / "func" / f"sub-{LABELS[number]}_task-rest_timeseries.tsv"
        write_text(path, to_tsv([dict(zip("abcd", map(float, row), strict=True)) for row in values], list("abcd")))
        files.append(path)
        matrices.append(np.corrcoef(values.T))
    index, out = show(tmp_path, root, files, "func_group")
    table = read_tsv(out / index["connectivity_table"]["file"])
    expected = np.tanh(np.mean([np.arctanh(np.where(np.eye(4) > 0, 0, m)) for m in matrices], axis=0))
    for i, row in enumerate(table):
        assert row["region"] == "abcd"[i]
        for j, name in enumerate("abcd"):
            assert row[name] == "n/a" if i == j else abs(float(row[name]) - expected[i, j]) < 1e-4


def test_variables_of_tables_have_means(tmp_path):
    root = tmp_path / "derivatives"
    rng = np.random.default_rng(2)
    values = rng.standard_normal((6, 3))
    files = []
    for label, row in zip(LABELS, values, strict=False):
        path = root / f"sub-{label}" / "anat" / f"sub-{label}_morph.tsv"
        rows = [{"variable": name, "value": float(v)} for name, v in zip("xyz", row, strict=True)]
        write_text(path, to_tsv(rows, ["variable", "value"]))
        files.append(path)
    index, out = show(tmp_path, root, files)
    assert set(index) == {"variables"}
    for row, name, column in zip(read_tsv(out / "variables.tsv"), "xyz", values.T, strict=True):
        assert (row["variable"], row["n"]) == (name, "6")
        np.testing.assert_allclose(
            [float(row["mean"]), float(row["sd"])], [column.mean(), column.std(ddof=1)], rtol=1e-5
        )


def test_uptake_keeps_its_unit_and_other_images_are_refused(tmp_path):
    display = load("displays", "pet_group")(mm=MM)
    folder = tmp_path / "sub-01" / "pet"
    folder.mkdir(parents=True)
    mask = template("mask", MM)
    inside = np.asarray(mask.dataobj) > 0.5
    path = folder / f"sub-01_space-{SPACE}_desc-suvr_pet.nii.gz"
    save_image(np.where(inside, 1.7 + 0.1 * np.asarray(template("GM", MM).dataobj), 9), mask.affine, path)
    save_image(inside.astype(np.uint8), mask.affine, folder / f"sub-01_space-{SPACE}_desc-brain_mask.nii.gz")
    display.look({}, path)
    expected = 1.7 + 0.1 * np.asarray(template("GM", MM).dataobj)
    np.testing.assert_allclose(display._images.running.mean[inside], expected[inside], rtol=1e-5)
    other = path.rename(path.with_name(path.name.replace("suvr", "preproc")))
    with pytest.raises(InputError, match="no uptake ratio"):
        display.look({}, other)
    assert read_image(other, 3).shape == inside.shape


# ---- EEG


def eeg_recording(root: Path, subject: str, bad: tuple[str, ...], rate: float, amplitude: float) -> Path:
    """Write an EEG derivative: a 10 Hz rhythm of known size over white noise, on twelve electrodes."""
    import mne

    from replicortex.shared.eeg_derivative import write_derivative

    channels = ["Fp1", "Fp2", "F3", "F4", "C3", "Cz", "C4", "P3", "Pz", "P4", "O1", "O2"]
    rng = np.random.default_rng(len(subject) + int(rate))
    times = np.arange(int(20 * rate)) / rate
    data = 1e-6 * (amplitude * np.sin(2 * np.pi * 10 * times) + 0.1 * rng.standard_normal((12, times.size)))
    raw = mne.io.RawArray(data, mne.create_info(channels, rate, "eeg"), verbose="ERROR")
    raw.set_montage("colin27_1005")
    folder = root / f"sub-{subject}" / "eeg"
    folder.mkdir(parents=True)
    position = raw.get_montage().get_positions()["ch_pos"]
    # In cm: the unit is found from the size of a head.
    electrodes = [{"name": name, **dict(zip("xyz", 100 * position[name], strict=True))} for name in channels]
    status = dict.fromkeys(bad, "flat; interpolated")
    write_derivative(folder, f"sub-{subject}_task-x", raw, [], status=status, electrodes=electrodes,
                     coordsystem={"EEGCoordinateUnits": "cm"})  # fmt: skip
    return folder / f"sub-{subject}_task-x_desc-preproc_eeg.vhdr"


def test_bad_electrodes_amplitudes_and_the_spectrum_are_the_planted_ones(tmp_path):
    root = tmp_path / "derivatives"
    plan = [(("Cz",), 101.0, 4.0), (("Cz", "O1"), 103.0, 8.0), ((), 127.0, 12.0), ((), 251.0, 16.0)]
    files = [eeg_recording(root, label, *each) for label, each in zip(LABELS, plan, strict=False)]
    index, out = show(tmp_path, root, files, "eeg_group")
    assert set(index) == {"electrodes", "electrodes_table", "spectrum", "spectrum_table", "numbers"}
    rows = {row["electrode"]: row for row in read_tsv(out / "electrodes.tsv")}
    assert {name: float(row["bad_percent"]) for name, row in rows.items() if row["bad_percent"] != "0.0"} == {
        "Cz": 50.0, "O1": 25.0,
    }  # fmt: skip
    # 0.7413 times the interquartile range of a sine of amplitude a is 1.048 a.
    assert float(rows["Fp1"]["amplitude_uv"]) == pytest.approx(1.048 * np.median([4, 8, 12, 16]), rel=0.02)
    assert float(rows["Cz"]["amplitude_uv"]) == pytest.approx(1.048 * np.median([12, 16]), rel=0.02)
    spectrum = {float(row["frequency_hz"]): float(row["median"]) for row in read_tsv(out / "spectrum.tsv")}
    assert max(spectrum, key=spectrum.get) == 10.0
    # Mean power a²/2 spreads over the 1.5 bins of a Hann window, 0.5 Hz wide each.
    levels = [10 * np.log10(a**2 / 2 / (1.5 * 0.5)) for a in (4, 8, 12, 16)]
    assert spectrum[10.0] == pytest.approx(np.median(levels), abs=0.3)
    assert max(spectrum) == 62.0, "half of the recordings have no higher frequencies"
    assert "Cz (50 %), O1 (25 %)" in index["electrodes"]["alt"]
    assert "bad channels (%), n 4" in index["numbers"]["alt"]


def test_electrodes_without_positions_are_a_table(tmp_path):
    electrodes = Electrodes()
    for _ in range(3):
        electrodes.add(["a", "b"], np.array([True, False]), np.array([np.nan, 5.0]), {})
    (entry,) = electrodes.show(tmp_path, Audience(2, False, "Three."))
    assert entry["kind"] == "table"
    assert read_tsv(tmp_path / "electrodes.tsv")[0] == {
        "electrode": "a", "n": "3", "bad_percent": "100.0", "amplitude_uv": "n/a",
    }  # fmt: skip


def test_restricted_spectra_are_means(tmp_path):
    spectra = Spectra()
    frequencies = np.arange(1.0, 50.0)
    for level in (1.0, 10.0, 100.0):
        spectra.add(frequencies, np.full(frequencies.size, level))
    spectra.show(tmp_path, Audience(3, True, "Three."))
    row = read_tsv(tmp_path / "spectrum.tsv")[0]
    assert [float(row[name]) for name in ("mean", "low", "high")] == pytest.approx([10, 0, 20])
    assert spectra.show(tmp_path, Audience(4, True, "Three.")) == []


def test_a_viewer_is_as_small_as_it_may_be_and_its_title_is_text(tmp_path):
    from replicortex.shared.group_maps import Look, write_viewer

    there = template("GM", MM)
    write_viewer(tmp_path / "v.html", "<script>x", np.asarray(there.dataobj), there.affine, Look("x"))
    text = (tmp_path / "v.html").read_text()
    assert "<title>&lt;script&gt;x</title>" in text
    assert "matplotlib.org" not in text
