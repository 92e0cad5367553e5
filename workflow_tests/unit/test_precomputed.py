"""Derivatives that exist already: names of all versions, the contract, and a real folder of fMRIPrep 1.0."""

from __future__ import annotations

import csv
import gzip
import json
import os

import nibabel as nib
import numpy as np
import pytest

from fmriprep_tree import (
    AFFINE,
    IN_SPACE,
    NEW_COLUMNS,
    RUN,
    SHAPE,
    brain,
    row,
    tissue,
    write_confounds,
    write_fmriprep,
    write_old_fmriprep,
    write_raw,
)
from replicortex.components import make
from replicortex.errors import InputError
from replicortex.files import read_tsv
from replicortex.shared.fmriprep_names import modern_columns, modern_name
from replicortex.shared.nifti import save_image
from replicortex.sidecars import merged_sidecar
from replicortex.stages.index import index_dataset

FOLDER = "derivatives/fmriprep"
FUNC = f"sub-01/func/{RUN}"


@pytest.fixture
def dataset(tmp_path):
    root = tmp_path / "raw"
    rows = write_raw(root)
    return root, rows, root / FOLDER


def take(root, recording, out, **params):
    out.mkdir(parents=True)
    engine = make("preprocessing", "precomputed", {"datatype": recording["datatype"], **params})
    assert engine.takes(recording)
    sidecar = engine.preprocess(recording, root, out)
    return sidecar, sorted(path.name for path in out.iterdir())


def header_of(path):
    with path.open() as stream:
        return next(csv.reader(stream, delimiter="\t"))


@pytest.mark.parametrize("version", ["25", "20.1", "1.0"])
def test_a_bold_run_gets_the_same_names_whatever_made_it(dataset, tmp_path, version):
    root, rows, folder = dataset
    if version == "1.0":
        write_old_fmriprep(folder)
    else:
        write_fmriprep(folder, regressors=version == "20.1")
    # Neither the raw sidecar nor one of fMRIPrep 1.0 tells the time: the header does.
    rows["func"]["repetition_time"] = "n/a"
    sidecar, files = take(root, rows["func"], tmp_path / "out")
    main = f"{RUN}_space-MNI152NLin2009cAsym_desc-preproc_bold.nii.gz"
    assert sidecar["MainFile"] == main
    wanted = {main, f"{RUN}_space-MNI152NLin2009cAsym_desc-brain_mask.nii.gz", f"{RUN}_desc-confounds_timeseries.tsv"}
    if version != "1.0":
        wanted |= {f"{RUN}_space-MNI152NLin2009cAsym_boldref.nii.gz", f"{RUN}_desc-confounds_timeseries.json"}
        wanted |= {f"{RUN}_from-boldref_to-T1w_mode-image_xfm.txt"}
    assert set(files) == wanted
    assert header_of(tmp_path / "out" / f"{RUN}_desc-confounds_timeseries.tsv") == NEW_COLUMNS
    table = np.genfromtxt(
        tmp_path / "out" / f"{RUN}_desc-confounds_timeseries.tsv", skip_header=1, missing_values="n/a"
    )
    assert sidecar["Quality"]["fd_mean"] == pytest.approx(np.nanmean(table[:, 1]))
    assert sidecar["RepetitionTime"] == 2.0
    assert str(tmp_path) not in json.dumps(sidecar)


@pytest.mark.parametrize("labels", ["GM WM CSF", "CSF GM WM"])
def test_tissues_are_numbered_as_today_whatever_the_numbers_were(dataset, tmp_path, labels):
    """The name ``dseg`` stands for both numberings: brightness in the T1w image tells which."""
    root, rows, folder = dataset
    write_fmriprep(folder, labels=labels)
    sidecar, files = take(root, rows["anat"], tmp_path / "out")
    assert sidecar["MainFile"] == "sub-01_space-MNI152NLin2009cAsym_desc-preproc_T1w.nii.gz"
    assert len(files) == 15  # six images in each space, two transforms, the sidecar of the native image
    beside = json.loads((tmp_path / "out" / "sub-01_desc-preproc_T1w.json").read_text())
    assert beside == {"SkullStripped": False}
    assert sidecar["SkullStripped"] is False
    for part in ("", "_space-MNI152NLin2009cAsym"):
        made = nib.load(tmp_path / "out" / f"sub-01{part}_dseg.nii.gz")
        assert np.array_equal(np.asarray(made.dataobj), tissue("GM WM CSF"))
    assert sidecar["Quality"]["brain_ml"] == pytest.approx(brain().sum() * 64 / 1000)


def test_tissues_of_fmriprep_1_0_are_renumbered_without_an_image_too(dataset, tmp_path):
    root, rows, folder = dataset
    write_old_fmriprep(folder)
    (folder / "sub-01" / "anat" / "sub-01_T1w_preproc.nii.gz").unlink()
    (folder / "sub-01" / "anat" / "sub-01_T1w_space-MNI152NLin2009cAsym_preproc.nii.gz").unlink()
    with pytest.raises(InputError, match="derivatives/fmriprep/sub-01/anat: holds no T1w image of sub-01"):
        take(root, rows["anat"], tmp_path / "a")
    write_old_fmriprep(tmp_path / "b")
    source = tmp_path / "b" / "sub-01" / "anat" / "sub-01_T1w_preproc.nii.gz"
    source.rename(folder / "sub-01" / "anat" / source.name)
    _, files = take(root, rows["anat"], tmp_path / "c")
    assert "sub-01_label-GM_probseg.nii.gz" in files
    assert "sub-01_from-T1w_to-MNI152NLin2009cAsym_mode-image_xfm.h5" in files
    made = nib.load(tmp_path / "c" / "sub-01_space-MNI152NLin2009cAsym_dseg.nii.gz")
    assert np.array_equal(np.asarray(made.dataobj), tissue("GM WM CSF"))


def test_old_names_and_columns():
    assert modern_name("sub-1_task-x_bold_space-T1w_preproc.nii.gz") == ("sub-1_task-x_space-T1w_desc-preproc_bold.nii.gz", True)  # fmt: skip # noqa: E501
    assert modern_name("sub-1_task-x_desc-confounds_regressors.json") == ("sub-1_task-x_desc-confounds_timeseries.json", False)  # fmt: skip # noqa: E501
    old = ["CSF", "stdDVARS", "non-stdDVARS", "tCompCor03", "Cosine00", "NonSteadyStateOutlier01", "Y", "RotX"]
    new = ["csf", "std_dvars", "dvars", "t_comp_cor_03", "cosine00", "non_steady_state_outlier01", "trans_y", "rot_x"]
    assert modern_columns(old) == new
    assert modern_columns(new) == new


def test_files_are_linked_and_a_plain_image_is_packed(dataset, tmp_path):
    root, rows, folder = dataset
    write_fmriprep(folder)
    source = folder / f"{FUNC}_{IN_SPACE}_desc-brain_mask.nii.gz"
    plain = source.with_name(source.name.removesuffix(".gz"))
    plain.write_bytes(gzip.decompress(source.read_bytes()))
    source.unlink()
    take(root, rows["func"], tmp_path / "out")
    made = tmp_path / "out" / f"{RUN}_space-MNI152NLin2009cAsym_desc-preproc_bold.nii.gz"
    assert made.samefile(folder / f"{FUNC}_{IN_SPACE}_desc-preproc_bold.nii.gz")
    packed = tmp_path / "out" / f"{RUN}_space-MNI152NLin2009cAsym_desc-brain_mask.nii.gz"
    assert gzip.decompress(packed.read_bytes()) == plain.read_bytes()


def test_the_most_wished_space_and_resolution_are_taken(dataset, tmp_path):
    root, rows, folder = dataset
    write_fmriprep(folder)
    for ending in ("desc-preproc_bold.nii.gz", "desc-brain_mask.nii.gz"):
        source = folder / f"{FUNC}_{IN_SPACE}_{ending}"
        for other in ("space-T1w", "space-MNI152NLin6Asym_res-1", "space-MNI152NLin6Asym_res-2"):
            os.link(source, source.with_name(f"{RUN}_{other}_{ending}"))
    sidecar, _ = take(root, rows["func"], tmp_path / "a")
    assert sidecar["SpatialReference"] == "MNI152NLin2009cAsym"
    space = ["MNI152NLin6Asym", "MNI152NLin2009cAsym"]
    sidecar, _ = take(root, rows["func"], tmp_path / "b", space=space, resolution="2")
    assert (sidecar["SpatialReference"], sidecar["Resolution"]) == ("MNI152NLin6Asym", "2")
    sidecar, _ = take(root, rows["func"], tmp_path / "c", space=["T1w"])
    assert sidecar["MainFile"] == f"{RUN}_space-T1w_desc-preproc_bold.nii.gz"
    for path in (folder / "sub-01" / "func").glob("*confounds*"):
        path.unlink()
    with pytest.raises(InputError, match=f"{FOLDER}/sub-01/func: holds nothing of {RUN}; looked for .*_bold.nii.gz"):
        take(root, rows["func"], tmp_path / "d", space=["MNIInfant"])


def test_what_a_result_is_made_of_is_told(dataset):
    root, rows, folder = dataset
    engine = make("preprocessing", "precomputed", {})
    assert engine.inputs(rows["func"], root) == []
    write_fmriprep(folder)
    names = [path.name for path in engine.inputs(rows["func"], root)]
    assert len(names) == 6
    assert f"{RUN}_{IN_SPACE}_desc-preproc_bold.nii.gz" in names


def _short(folder):
    write_confounds(folder / f"{FUNC}_desc-confounds_timeseries.tsv", NEW_COLUMNS, rows=11)


def _text(folder):
    path = folder / f"{FUNC}_desc-confounds_timeseries.tsv"
    path.write_text(path.read_text().replace("0.1", "inf", 1))


def _truncated(folder):
    path = folder / f"{FUNC}_{IN_SPACE}_desc-preproc_bold.nii.gz"
    os.truncate(path, path.stat().st_size // 2)


def _no_checksum(folder):
    path = folder / f"{FUNC}_{IN_SPACE}_desc-preproc_bold.nii.gz"
    os.truncate(path, path.stat().st_size - 4)


def _shifted(folder):
    affine = AFFINE.copy()
    affine[0, 3] = 2
    save_image(brain(), affine, folder / f"{FUNC}_{IN_SPACE}_desc-brain_mask.nii.gz", dtype=np.uint8)


def _not_finite(folder):
    path = folder / f"{FUNC}_{IN_SPACE}_desc-preproc_bold.nii.gz"
    data = nib.load(path).get_fdata()
    data[1, 2, 3, 4] = np.nan
    save_image(data, AFFINE, path)


def _fewer(folder):
    path = folder / f"{FUNC}_{IN_SPACE}_desc-preproc_bold.nii.gz"
    save_image(nib.load(path).get_fdata()[..., :11], AFFINE, path)


def _empty_mask(folder):
    path = folder / f"{FUNC}_{IN_SPACE}_desc-brain_mask.nii.gz"
    save_image(np.zeros(SHAPE), AFFINE, path, dtype=np.uint8)


def _no_mask(folder):
    (folder / f"{FUNC}_{IN_SPACE}_desc-brain_mask.nii.gz").unlink()


@pytest.mark.parametrize(
    ("damage", "fault"),
    [
        (_short, "timeseries.tsv: has 11 rows for 12 volumes"),
        (_text, "timeseries.tsv: column .* holds 'inf"),
        (_truncated, "bold.nii.gz: is truncated"),
        (_no_checksum, "bold.nii.gz: is truncated"),
        (_shifted, "mask.nii.gz: is not on the grid of"),
        (_not_finite, "bold.nii.gz: holds values that are not finite"),
        (_fewer, "bold.nii.gz: has 11 volumes where the raw run has 12"),
        (_empty_mask, "mask.nii.gz: is constant"),
        (_no_mask, ": lacks .*_mask.nii.gz"),
    ],
)
def test_what_does_not_hold_to_the_contract_is_refused_by_name(dataset, tmp_path, damage, fault):
    root, rows, folder = dataset
    write_fmriprep(folder)
    damage(folder)
    with pytest.raises(InputError, match=f"^{FOLDER}/sub-01/func.*{fault}") as caught:
        take(root, rows["func"], tmp_path / "out")
    assert "\n" not in str(caught.value)
    assert str(tmp_path) not in str(caught.value)


def test_links_out_of_the_dataset_and_missing_folders_are_refused(dataset, tmp_path):
    root, rows, folder = dataset
    with pytest.raises(InputError, match="derivatives/fmriprep/: no such folder"):
        take(root, rows["func"], tmp_path / "a")
    write_fmriprep(folder)
    outside = tmp_path / "secret.tsv"
    write_confounds(outside, NEW_COLUMNS)
    table = folder / f"{FUNC}_desc-confounds_timeseries.tsv"
    table.unlink()
    table.symlink_to(outside)
    with pytest.raises(InputError, match=r"timeseries.tsv: is a link that leads out"):
        take(root, rows["func"], tmp_path / "b")
    engine = make("preprocessing", "precomputed", {})
    with pytest.raises(InputError, match="leads out of the dataset"):
        engine.preprocess({**rows["func"], "path": "../x_bold.nii.gz"}, root, tmp_path)


def test_a_folder_elsewhere_is_not_told_where(dataset, tmp_path):
    root, rows, _ = dataset
    elsewhere = tmp_path / "elsewhere" / "prep"
    write_fmriprep(elsewhere)
    sidecar, _ = take(root, rows["func"], tmp_path / "a", folder=str(elsewhere))
    assert str(tmp_path) not in json.dumps(sidecar)
    _truncated(elsewhere)
    with pytest.raises(InputError, match=r"^prep/sub-01/func/"):
        take(root, rows["func"], tmp_path / "b", folder=str(elsewhere))


def test_a_derivative_dataset_is_its_own_source(tmp_path):
    root = tmp_path / "prep"
    write_fmriprep(root)
    engine = make("preprocessing", "precomputed", {"folder": "."})
    taken = [path for path in sorted(root.rglob("*.nii.gz")) if engine.takes(row(path.relative_to(root).as_posix()))]
    assert [path.name for path in taken] == [f"{RUN}_{IN_SPACE}_desc-preproc_bold.nii.gz"]
    anat = make("preprocessing", "precomputed", {"folder": ".", "datatype": "anat"})
    taken = [path for path in sorted(root.rglob("*.nii.gz")) if anat.takes(row(path.relative_to(root).as_posix()))]
    assert [path.name for path in taken] == [f"sub-01_{IN_SPACE}_desc-preproc_T1w.nii.gz"]
    sidecar, files = take(root, row(f"{FUNC}_{IN_SPACE}_desc-preproc_bold.nii.gz"), tmp_path / "a", folder=".")
    assert sidecar["MainFile"] == f"{RUN}_space-MNI152NLin2009cAsym_desc-preproc_bold.nii.gz"
    assert f"{RUN}_desc-confounds_timeseries.tsv" in files
    # A second image of the same run would make its subject count twice.
    other = f"{FUNC}_space-MNI152NLin6Asym_desc-preproc_bold.nii.gz"
    os.link(root / f"{FUNC}_{IN_SPACE}_desc-preproc_bold.nii.gz", root / other)
    with pytest.raises(InputError, match=r"is of the same recording and more wished; name one space"):
        take(root, row(other), tmp_path / "b", folder=".")


SERIES = "sub-01/func/sub-01_task-rest_atlas-AAL_stat-mean_timeseries.tsv"
MATRIX = "sub-01/func/sub-01_task-rest_atlas-AAL_stat-pearsoncorrelation_relmat.tsv"
MORPH = "sub-01/anat/sub-01_desc-volumes_morph.tsv"


@pytest.mark.parametrize(
    ("path", "text", "facts", "fault"),
    [
        (SERIES, "A\tB\n1\t2\n3\tn/a\n", {"RepetitionTime": 2.5}, None),
        (SERIES, "A\tB\n1\t2\n3\t4\n", {"SamplingFrequency": 0.4}, None),
        (SERIES, "A\tB\n1\t2\n3\t4\n", {}, "no RepetitionTime"),
        (SERIES, "A\tA\n1\t2\n", {"RepetitionTime": 2.5}, "the column 'A' twice"),
        (SERIES, "A\tB\n1\n", {"RepetitionTime": 2.5}, "line 2 has another number of cells"),
        (SERIES, "A\tB\n1\tnan\n", {"RepetitionTime": 2.5}, "B holds 'nan'"),
        (SERIES, "A\tB\n", {"RepetitionTime": 2.5}, "has no rows"),
        (MATRIX, "Node\tA\tB\nA\t1\t.5\nB\t.5\t1\n", {}, None),
        (MATRIX, "Node\tA\tB\nB\t1\t.5\nA\t.5\t1\n", {}, "not the same regions"),
        (MATRIX, "Node\tA\tB\nA\t1\t.5\nB\t.4\t1\n", {}, "not symmetric"),
        (MATRIX, "A\tB\n1\t.5\n.5\t1\n", {}, "not Node"),
        (MORPH, "variable\tvalue\nleft\t3.5\nright\tn/a\n", {}, None),
        (MORPH, "variable\tvalue\nleft\t3.5\nleft\t2\n", {}, "names a variable twice"),
        (MORPH, "name\tvalue\nleft\t3.5\n", {}, "not variable and value"),
    ],
)
def test_tables_of_regions(tmp_path, path, text, facts, fault):
    root = tmp_path / "tables"
    file = root / path
    file.parent.mkdir(parents=True)
    file.write_text(text)
    sidecar = path.replace(".tsv", ".json")
    (root / sidecar).write_text(json.dumps(facts))
    recording = row(path, sidecars=json.dumps([sidecar]))
    if fault is not None:
        with pytest.raises(InputError, match=f"^{path}: .*{fault}"):
            take(root, recording, tmp_path / "out", folder=".")
        return
    made, files = take(root, recording, tmp_path / "out", folder=".")
    assert files == [file.name] == [made["MainFile"]]
    assert (tmp_path / "out" / file.name).read_text() == text
    if path == SERIES:
        assert made["RepetitionTime"] == 2.5


def test_what_says_about_all_tables_is_seen_though_the_validator_passes_it_over(tmp_path):
    root = tmp_path / "tables"
    (root / MATRIX).parent.mkdir(parents=True)
    (root / MATRIX).write_text("Node\tA\tB\nA\t1\t.5\nB\t.5\t1\n")
    (root / "task-rest_relmat.json").write_text('{"Models": {"one": [0.5]}}')
    (root / "notes_other.json").write_text("{}")
    about = {"Name": "x", "BIDSVersion": "1.10.0", "DatasetType": "derivative", "GeneratedBy": [{"Name": "x"}]}
    (root / "dataset_description.json").write_text(json.dumps(about))
    (root / ".bidsignore").write_text("*_relmat.*\n*_other.json\n")
    index_dataset(root, tmp_path / "index")
    (recording,) = read_tsv(tmp_path / "index" / "recordings.tsv")
    assert json.loads(recording["sidecars"]) == ["task-rest_relmat.json"]
    assert not any("notes_other" in line for line in (tmp_path / "index" / "index.tsv").read_text().splitlines())
    assert take(root, recording, tmp_path / "out", folder=".")[0]["Models"] == {"one": [0.5]}
    assert merged_sidecar(root, MATRIX) == {"Models": {"one": [0.5]}}


def test_tables_are_taken_from_derivative_datasets_only():
    inside, outside = make("preprocessing", "precomputed", {"folder": "."}), make("preprocessing", "precomputed", {})
    assert inside.takes(row(SERIES))
    assert not outside.takes(row(SERIES))
    assert not inside.takes(row(f"{FUNC}_desc-confounds_timeseries.tsv"))
    assert not outside.takes(row("sub-01/func/sub-01_task-x_echo-2_bold.nii.gz"))
    assert outside.takes(row("sub-01/func/sub-01_task-x_echo-1_bold.nii.gz"))


def test_real_fmriprep_1_0_folder_without_images_gives_confounds(real_data, tmp_path):
    root = real_data / "bold-ds005-truncated"
    stem = "sub-01_task-mixedgamblestask_run-01"
    recording = row(f"sub-01/func/{stem}_bold.nii.gz", repetition_time="2.0")
    sidecar, files = take(root, recording, tmp_path / "func")
    assert sidecar["MainFile"] == f"{stem}_desc-confounds_timeseries.tsv"
    assert f"{stem}_space-MNI152NLin2009cAsym_desc-brain_mask.nii.gz" in files
    with (root / FOLDER / f"sub-01/func/{stem}_bold_confounds.tsv").open() as stream:
        moved = [line["FramewiseDisplacement"] for line in csv.DictReader(stream, delimiter="\t")]
    assert len(moved) == 16 == sidecar["Quality"]["n_volumes"]
    assert sidecar["Quality"]["fd_mean"] == pytest.approx(np.mean([float(cell) for cell in moved[1:]]))
    header = header_of(tmp_path / "func" / f"{stem}_desc-confounds_timeseries.tsv")
    assert {"trans_x", "rot_z", "framewise_displacement", "a_comp_cor_05", "non_steady_state_outlier00"} <= set(header)

    sidecar, files = take(root, row("sub-01/anat/sub-01_T1w.nii.gz"), tmp_path / "anat")
    assert sidecar["MainFile"] == "sub-01_desc-preproc_T1w.nii.gz"
    image, labels = (
        np.asarray(nib.load(tmp_path / "anat" / f"sub-01_{name}.nii.gz").dataobj)
        for name in ("desc-preproc_T1w", "dseg")
    )
    grey, white, fluid = (image[labels == number].mean() for number in (1, 2, 3))
    assert fluid < grey < white
