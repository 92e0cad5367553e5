"""Small derivatives under the names of fMRIPrep 25, 20.1 and 1.0, and a program that stands in for Apptainer."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from replicortex.shared.nifti import save_image

SHAPE, MM, VOLUMES = (8, 9, 7), 4.0, 12
AFFINE = np.diag([MM, MM, MM, 1.0])
#: Entities of the run and of the standard space, as fMRIPrep writes them.
RUN = "sub-01_task-rest_run-1"
IN_SPACE = "space-MNI152NLin2009cAsym_res-2"
NEW_COLUMNS = ["global_signal", "framewise_displacement", "trans_x", "rot_z", "a_comp_cor_00"]
OLD_COLUMNS = ["GlobalSignal", "FramewiseDisplacement", "X", "RotZ", "aCompCor00"]


def brain() -> np.ndarray:
    """Return a mask."""
    mask = np.zeros(SHAPE, dtype=np.uint8)
    mask[2:6, 2:7, 2:5] = 1
    return mask


def tissue(order: str = "GM WM CSF") -> np.ndarray:
    """Return labels in an order: three slabs, from CSF over GM to WM."""
    labels = np.zeros(SHAPE, dtype=np.uint8)
    numbers = {name: number for number, name in enumerate(order.split(), 1)}
    for start, name in ((2, "CSF"), (3, "GM"), (4, "WM")):
        labels[2:6, 2:7, start] = numbers[name]
    return labels


def t1w() -> np.ndarray:
    """Return a T1w image: fluid darker than grey, grey than white matter."""
    noise = np.random.default_rng(0).normal(0, 2, SHAPE)
    return np.choose(tissue("CSF GM WM"), [5, 40, 80, 120]) + noise


def write_confounds(path: Path, columns: list[str], rows: int = VOLUMES) -> None:
    """Write a table of confounds; the first displacement is not known."""
    values = np.random.default_rng(1).uniform(0.05, 0.15, (rows, len(columns)))
    lines = ["\t".join(columns)]
    for number, row in enumerate(values):
        cells = [f"{value:.6f}" for value in row]
        if number == 0:
            cells[1] = "n/a"
        lines.append("\t".join(cells))
    path.write_text("\n".join(lines) + "\n")


def write_raw(root: Path) -> dict[str, dict[str, str]]:
    """Write a raw dataset of one subject; return its rows of ``recordings.tsv`` by datatype."""
    rng = np.random.default_rng(2)
    for folder in ("anat", "func"):
        (root / "sub-01" / folder).mkdir(parents=True)
    (root / "dataset_description.json").write_text(json.dumps({"Name": "raw", "BIDSVersion": "1.10.1"}))
    save_image(t1w(), AFFINE, root / "sub-01" / "anat" / "sub-01_T1w.nii.gz")
    series = rng.normal(100, 5, (*SHAPE, VOLUMES))
    save_image(series, AFFINE, root / "sub-01" / "func" / f"{RUN}_bold.nii.gz", repetition_time=2.0)
    (root / "task-rest_bold.json").write_text(json.dumps({"TaskName": "rest", "RepetitionTime": 2.0}))
    return {
        "anat": row("sub-01/anat/sub-01_T1w.nii.gz"),
        "func": row(f"sub-01/func/{RUN}_bold.nii.gz", repetition_time="2.0", sidecars='["task-rest_bold.json"]'),
    }


def row(path: str, **facts: str) -> dict[str, str]:
    """Return the row of ``recordings.tsv`` of a file."""
    name = path.rpartition("/")[2]
    stem, extension = name.split(".", 1)
    entities = dict(piece.split("-") for piece in stem.split("_")[:-1])
    return {
        "recording": stem.rpartition("_")[0],
        "path": path,
        "datatype": path.split("/")[-2],
        "suffix": stem.rpartition("_")[2],
        "extension": f".{extension}",
        "subject": entities["sub"],
        "session": entities.get("ses", "n/a"),
        "task": entities.get("task", "n/a"),
        "run": entities.get("run", "n/a"),
        "sidecars": "[]",
        "repetition_time": "n/a",
    } | facts


def write_fmriprep(folder: Path, *, regressors: bool = False, labels: str = "GM WM CSF") -> None:
    """Write what fMRIPrep 25 leaves of the subject of :func:`write_raw`; ``regressors`` as 1.4 to 20.1 named them."""
    anat, func = folder / "sub-01" / "anat", folder / "sub-01" / "func"
    for place in (anat, func):
        place.mkdir(parents=True)
    description = {"Name": "fMRIPrep", "BIDSVersion": "1.4.0", "DatasetType": "derivative"}
    description["GeneratedBy"] = [{"Name": "fMRIPrep", "Version": "25.2.5"}]
    (folder / "dataset_description.json").write_text(json.dumps(description))
    for part in ("", f"_{IN_SPACE}"):
        stem = anat / f"sub-01{part}"
        save_image(t1w(), AFFINE, Path(f"{stem}_desc-preproc_T1w.nii.gz"))
        Path(f"{stem}_desc-preproc_T1w.json").write_text(json.dumps({"SkullStripped": False, "Sources": ["x"]}))
        save_image(brain(), AFFINE, Path(f"{stem}_desc-brain_mask.nii.gz"), dtype=np.uint8)
        save_image(tissue(labels), AFFINE, Path(f"{stem}_dseg.nii.gz"), dtype=np.uint8)
        for number, name in enumerate(labels.split(), 1):
            save_image(tissue(labels) == number, AFFINE, Path(f"{stem}_label-{name}_probseg.nii.gz"))
    # What FreeSurfer adds: never to be taken for the three tissues.
    save_image(tissue(labels) * 17, AFFINE, anat / "sub-01_desc-aseg_dseg.nii.gz", dtype=np.int16)
    for start, end in (("T1w", "MNI152NLin2009cAsym"), ("MNI152NLin2009cAsym", "T1w"), ("T1w", "fsnative")):
        ending = "txt" if end == "fsnative" else "h5"
        (anat / f"sub-01_from-{start}_to-{end}_mode-image_xfm.{ending}").write_bytes(b"transform")
    rng = np.random.default_rng(3)
    series = rng.normal(100, 5, (*SHAPE, VOLUMES))
    stem = func / f"{RUN}_{IN_SPACE}"
    save_image(series, AFFINE, Path(f"{stem}_desc-preproc_bold.nii.gz"), repetition_time=2.0)
    Path(f"{stem}_desc-preproc_bold.json").write_text(json.dumps({"RepetitionTime": 2.0, "SkullStripped": False}))
    save_image(brain(), AFFINE, Path(f"{stem}_desc-brain_mask.nii.gz"), dtype=np.uint8)
    save_image(series[..., 0], AFFINE, Path(f"{stem}_boldref.nii.gz"))
    kind = "regressors" if regressors else "timeseries"
    write_confounds(func / f"{RUN}_desc-confounds_{kind}.tsv", NEW_COLUMNS)
    described = {"a_comp_cor_00": {"Method": "aCompCor"}}
    (func / f"{RUN}_desc-confounds_{kind}.json").write_text(json.dumps(described))
    start = "scanner" if regressors else "boldref"
    middle = "" if regressors else "_desc-coreg"
    (func / f"{RUN}_from-{start}_to-T1w_mode-image{middle}_xfm.txt").write_text("#Insight Transform File V1.0\n")


def write_old_fmriprep(folder: Path) -> None:
    """Write what fMRIPrep 1.0 leaves, with the labels of tissue that FSL FAST gives."""
    anat, func = folder / "sub-01" / "anat", folder / "sub-01" / "func"
    for place in (anat, func):
        place.mkdir(parents=True)
    space = "space-MNI152NLin2009cAsym"
    for part in ("", f"_{space}"):
        stem = anat / f"sub-01_T1w{part}"
        save_image(t1w(), AFFINE, Path(f"{stem}_preproc.nii.gz"))
        save_image(brain(), AFFINE, Path(f"{stem}_brainmask.nii.gz"), dtype=np.uint8)
        save_image(tissue("CSF GM WM"), AFFINE, Path(f"{stem}_dtissue.nii.gz"), dtype=np.uint8)
        save_image(tissue() == 1, AFFINE, Path(f"{stem}_class-GM_probtissue.nii.gz"))
    (anat / "sub-01_T1w_target-MNI152NLin2009cAsym_warp.h5").write_bytes(b"transform")
    series = np.random.default_rng(3).normal(100, 5, (*SHAPE, VOLUMES))
    stem = func / f"{RUN}_bold"
    save_image(series, AFFINE, Path(f"{stem}_{space}_preproc.nii.gz"), repetition_time=2.0)
    save_image(brain(), AFFINE, Path(f"{stem}_{space}_brainmask.nii.gz"), dtype=np.uint8)
    write_confounds(Path(f"{stem}_confounds.tsv"), OLD_COLUMNS)
