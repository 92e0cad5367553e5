"""Small MRI, fMRI and PET derivatives with planted truth, and tables of regions."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from replicortex.files import to_json, to_tsv, write_text
from replicortex.shared.atlas import parcels
from replicortex.shared.nifti import SPACE, save_image, template

MANIFEST = ["recording", "subject", "session", "task", "acquisition", "run", "datatype", "suffix", "status", "reason",
            "path", "digest", "source"]  # fmt: skip
REGIONS = [f"R{number:02d}" for number in range(8)]


def recording(stem: str, path: Path, root: Path, datatype: str) -> dict[str, str]:
    """Return a row of a manifest."""
    entities = dict(part.split("-", 1) for part in stem.split("_"))
    keys = {"subject": "sub", "session": "ses", "task": "task", "acquisition": "acq", "run": "run"}
    found = {key: entities.get(entity, "n/a") for key, entity in keys.items()}
    suffix = path.name.split(".")[0].rpartition("_")[2]
    place = path.relative_to(root).as_posix()
    row = {"recording": stem, "datatype": datatype, "suffix": suffix, "status": "ok", "path": place, **found}
    return {column: row.get(column, "n/a") for column in MANIFEST}


def confounds(n: int, rng: np.random.Generator, outliers: tuple[int, ...] = (), n_dummies: int = 0) -> dict:
    """Return columns as fMRIPrep names them; volumes ``outliers`` moved, the first ``n_dummies`` are not steady."""
    base = {f"{kind}_{axis}": np.cumsum(rng.normal(0, 0.01, n)) for kind in ("trans", "rot") for axis in "xyz"}
    base |= {name: rng.standard_normal(n) for name in ("csf", "white_matter", "global_signal")}
    columns: dict[str, np.ndarray] = {}
    for name, values in base.items():
        slope = np.r_[np.nan, np.diff(values)]
        columns |= {name: values, f"{name}_derivative1": slope}
        columns |= {f"{name}_power2": values**2, f"{name}_derivative1_power2": slope**2}
    moved = np.r_[np.nan, rng.uniform(0.05, 0.2, n - 1)]
    moved[list(outliers)] = 1.5
    columns |= {"framewise_displacement": moved, "std_dvars": np.r_[np.nan, rng.uniform(0.9, 1.1, n - 1)]}
    time = np.arange(n) + 0.5
    columns |= {f"cosine{k:02d}": np.cos(np.pi * time * (k + 1) / n) for k in range(2)}
    columns |= {f"a_comp_cor_{k:02d}": rng.standard_normal(n) for k in range(8)}
    columns |= {f"non_steady_state_outlier{k:02d}": (np.arange(n) == k).astype(int) for k in range(n_dummies)}
    return columns


def write_confounds(folder: Path, stem: str, columns: dict[str, np.ndarray]) -> Path:
    path = folder / f"{stem}_desc-confounds_timeseries.tsv"
    n = len(next(iter(columns.values())))
    write_text(path, to_tsv([{k: float(v[i]) for k, v in columns.items()} for i in range(n)], list(columns)))
    said = {"Method": "aCompCor", "Mask": "combined", "Retained": True}
    write_text(path.with_suffix(".json"), to_json({name: said for name in columns if "comp_cor" in name}))
    return path


def write_bold_derivative(
    root: Path, subject: str, *, seed: int = 0, n_volumes: int = 60, tr: float = 2.0, mm: float = 6.0,
    outliers: tuple[int, ...] = (), n_dummies: int = 0, space: str = SPACE, with_confounds: bool = True,
) -> Path:  # fmt: skip
    """Write a BOLD derivative in which the regions of Dosenbach's default mode share a signal; return its path."""
    rng = np.random.default_rng(seed)
    folder = root / f"sub-{subject}" / "func"
    folder.mkdir(parents=True, exist_ok=True)
    stem, mask = f"sub-{subject}_task-rest", template("mask", mm)
    inside = (np.asarray(mask.dataobj) > 0.5).ravel()
    data = np.zeros((inside.size, n_volumes), dtype=np.float32)
    data[inside] = 1000 + 10 * rng.standard_normal((inside.sum(), n_volumes))
    members = parcels(mask, "dosenbach", ["default"]).members.astype(bool).sum(axis=0) > 0
    data[members & inside] += 10 * rng.standard_normal(n_volumes)
    image = folder / f"{stem}_space-{space}_desc-preproc_bold.nii.gz"
    save_image(data.reshape(*mask.shape, n_volumes), mask.affine, image, repetition_time=tr)
    save_image(inside.reshape(mask.shape), mask.affine, folder / f"{stem}_space-{space}_desc-brain_mask.nii.gz")
    write_text(image.with_name(image.name.replace(".nii.gz", ".json")), to_json({"RepetitionTime": tr}))
    if with_confounds:
        write_confounds(folder, stem, confounds(n_volumes, rng, outliers, n_dummies))
    return image


def write_t1w_derivative(root: Path, subject: str, *, seed: int = 0, mm: float = 6.0, modulated: bool = True) -> Path:
    """Write a T1w derivative whose modulated maps are 1.2 times the maps of the template; return its main file."""
    rng = np.random.default_rng(seed)
    folder = root / f"sub-{subject}" / "anat"
    folder.mkdir(parents=True, exist_ok=True)
    stem, affine = f"sub-{subject}", template("mask", mm).affine
    maps = {tissue: np.asarray(template(tissue, mm).dataobj) for tissue in ("GM", "WM", "CSF")}
    inside = np.asarray(template("mask", mm).dataobj)
    t1w = 50 * maps["GM"] + 100 * maps["WM"] + 10 * maps["CSF"] + inside * rng.uniform(0, 1, inside.shape)
    native = np.diag([*[mm * 1.1] * 3, 1.0])
    # Regions by the numbers of FreeSurfer, both sides: slabs from front to back.
    front = np.cumsum(inside.sum(axis=(0, 2))) / inside.sum()
    slab = (7.99 * front).astype(int)[None, :, None] * np.ones(inside.shape, int)
    left = np.arange(inside.shape[0])[:, None, None] < inside.shape[0] // 2
    codes = np.array([[17, 18, 10, 11, 12, 13, 26, 8], [53, 54, 49, 50, 51, 52, 58, 47]])
    regions = np.where(inside > 0, codes[left.astype(int) * np.ones_like(slab), slab], 0)
    for place, where in ((f"{stem}_", native), (f"{stem}_space-{SPACE}_", affine)):
        save_image(t1w, where, folder / f"{place}desc-preproc_T1w.nii.gz")
        save_image(inside, where, folder / f"{place}desc-brain_mask.nii.gz", dtype=np.uint8)
        save_image(regions, where, folder / f"{place}desc-aparcaseg_dseg.nii.gz", dtype=np.int16)
        for tissue, values in maps.items():
            save_image(values, where, folder / f"{place}label-{tissue}_probseg.nii.gz")
    if modulated:
        for tissue, values in maps.items():
            name = f"{stem}_space-{SPACE}_label-{tissue}_desc-modulated_probseg.nii.gz"
            save_image(1.2 * values, affine, folder / name)
    return folder / f"{stem}_space-{SPACE}_desc-preproc_T1w.nii.gz"


def write_pet_derivative(root: Path, subject: str, *, seed: int = 0, mm: float = 6.0) -> Path:
    rng = np.random.default_rng(seed)
    folder = root / f"sub-{subject}" / "pet"
    folder.mkdir(parents=True, exist_ok=True)
    grey, mask = np.asarray(template("GM", mm).dataobj), template("mask", mm)
    image = folder / f"sub-{subject}_space-{SPACE}_desc-suvr_pet.nii.gz"
    save_image(grey + rng.uniform(0, 0.1, grey.shape), mask.affine, image)
    save_image(np.asarray(mask.dataobj), mask.affine, folder / f"sub-{subject}_space-{SPACE}_desc-brain_mask.nii.gz")
    return image


def planted_series(seed: int = 0, n_volumes: int = 120) -> np.ndarray:
    """Return series (n_volumes, 8) whose first four regions share half of their variance."""
    rng = np.random.default_rng(seed)
    values = rng.standard_normal((n_volumes, len(REGIONS)))
    values[:, :4] += rng.standard_normal((n_volumes, 1))
    return values


def write_timeseries(root: Path, subject: str, values: np.ndarray | None = None, *, seed: int = 0) -> Path:
    """Write a table of series of regions and its sidecar (repetition time 2 s)."""
    values = planted_series(seed) if values is None else values
    path = root / f"sub-{subject}" / "func" / f"sub-{subject}_task-rest_atlas-made_stat-mean_timeseries.tsv"
    rows = [dict(zip(REGIONS, map(float, row), strict=True)) for row in values]
    write_text(path, to_tsv(rows, REGIONS))
    write_text(path.with_suffix(".json"), to_json({"RepetitionTime": 2.0}))
    return path


def write_relmat(root: Path, subject: str, values: np.ndarray | None = None, *, seed: int = 0) -> Path:
    """Write a matrix of correlations."""
    values = np.corrcoef(planted_series(seed).T) if values is None else values
    name = f"sub-{subject}_task-rest_atlas-made_stat-pearsoncorrelation_relmat.tsv"
    path = root / f"sub-{subject}" / "func" / name
    rows = [
        {"Node": region, **dict(zip(REGIONS, map(float, row), strict=True))}
        for region, row in zip(REGIONS, values, strict=True)
    ]
    write_text(path, to_tsv(rows, ["Node", *REGIONS]))
    return path


def write_morph(root: Path, subject: str, *, seed: int = 0) -> Path:
    """Write a table of morphometry with six variables."""
    values = np.random.default_rng(seed).normal(2.5, 0.3, 6)
    path = root / f"sub-{subject}" / "anat" / f"sub-{subject}_desc-made_morph.tsv"
    rows = [{"variable": f"thickness_{i}", "value": float(value)} for i, value in enumerate(values)]
    write_text(path, to_tsv(rows, ["variable", "value"]))
    return path


WRITERS = {
    "func": write_bold_derivative,
    "anat": write_t1w_derivative,
    "pet": write_pet_derivative,
    "timeseries": write_timeseries,
    "relmat": write_relmat,
    "morph": write_morph,
}


def derivative_folder(kind: str, folder: Path) -> None:
    """Fill ``deriv`` and ``manifest.tsv`` of a folder with two recordings of a kind of :data:`WRITERS`."""
    datatype = {"timeseries": "func", "relmat": "func", "morph": "anat"}.get(kind, kind)
    rows = []
    for number, subject in enumerate(["01", "02"]):
        path = WRITERS[kind](folder / "deriv", subject, seed=number)
        stem = "_".join(
            part for part in path.name.split("_")[:-1] if part.split("-")[0] in ("sub", "ses", "task", "acq", "run")
        )
        rows.append(recording(stem, path, folder / "deriv", datatype))
    write_text(folder / "manifest.tsv", to_tsv(rows, MANIFEST))
