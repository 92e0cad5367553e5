"""What preprocessed images of anatomy and BOLD must hold to count as made, and how they get their final names.

The contract is checked on the files, never on the exit code of a program: it is the same whether a container made
them just now or somebody published them years ago. Images are read in pieces: time grows with their size, memory
does not.
"""

from __future__ import annotations

import gzip
import math
import shutil
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np

from ..errors import InputError
from ..files import read_json, read_tsv, to_json, to_tsv, write_text
from .fmriprep_names import Outputs, modern_columns
from .nifti import read_image, save_image
from .taken_files import link, number, read_sidecar

_CHUNK = 1 << 24
#: Grey matter, white matter, fluid, as the labels of tissue are numbered here and by fMRIPrep since 1.4.
TISSUES = ("GM", "WM", "CSF")
#: What FSL FAST numbers 1 to 3, as fMRIPrep kept it before, and the label of each here.
_FAST = {1: 3, 2: 1, 3: 2}


@dataclass(frozen=True)
class Grid:
    """Shape and affine (mm) of an image, and whether its values differ from each other."""

    shape: tuple[int, ...]
    affine: np.ndarray
    varies: bool

    def matches(self, other: Grid) -> bool:
        """Return whether voxels lie at the same places, to a hundredth of a voxel."""
        size = np.abs(self.affine[:3, :3]).max()
        return self.shape[:3] == other.shape[:3] and bool(
            np.allclose(self.affine, other.affine, rtol=0, atol=0.01 * size)
        )


def scan_image(path: Path, name: str) -> Grid:
    """Read an image to its end in pieces and return its grid.

    Raises
    ------
    InputError
        If it is missing, empty, truncated, unreadable, or holds values that are not finite.

    """
    if not path.is_file():
        fetch = "fetch it (git annex get)" if path.is_symlink() else "make it again"
        raise InputError(name, "is missing", fetch)
    if path.stat().st_size == 0:
        raise InputError(name, "is empty", "make it again")
    try:
        image = nib.load(path)
        dtype, shape = image.get_data_dtype(), tuple(int(size) for size in image.shape)
        # The loaded header has forgotten where the values begin and how they are scaled; their proxy knows.
        offset, slope, inter = image.dataobj.offset, image.dataobj.slope, image.dataobj.inter
        affine = np.asarray(image.affine, dtype=float)
        low, high = _range(path, dtype, offset, math.prod(shape), name)
    except (InputError, MemoryError):
        raise
    except (EOFError, zlib.error, gzip.BadGzipFile):
        raise InputError(name, "is truncated or damaged", "make it again") from None
    except Exception as error:
        # nibabel fails in as many ways as headers are damaged.
        raise InputError(name, f"is not readable as NIfTI ({type(error).__name__})", "make it again") from error
    if not (np.isfinite([low, high, slope, inter]).all() and np.isfinite(affine).all()):
        raise InputError(name, "holds values that are not finite", "make it again, or exclude the recording")
    while len(shape) > 3 and shape[-1] == 1:
        shape = shape[:-1]
    return Grid(shape, affine, low < high)


def _range(path: Path, dtype: np.dtype, offset: int, size: int, name: str) -> tuple[float, float]:
    """Return the least and greatest of ``size`` stored values; NaN if one is NaN."""
    left = size * dtype.itemsize
    low, high = math.inf, -math.inf
    with (gzip.open if path.name.endswith(".gz") else open)(path, "rb") as stream:
        stream.seek(offset)
        step = _CHUNK // dtype.itemsize * dtype.itemsize
        while left:
            piece = stream.read(min(step, left))
            if len(piece) < min(step, left):
                raise InputError(name, "is truncated or damaged", "make it again")
            values = np.frombuffer(piece, dtype)
            # np.minimum hands NaN on.
            low, high = float(np.minimum(low, values.min())), float(np.maximum(high, values.max()))
            left -= len(piece)
        while stream.read(_CHUNK):  # to the checksum at the end of gzip
            pass
    return low, high


def read_confounds(path: Path, name: str) -> tuple[list[str], np.ndarray]:
    """Return columns (modern names) and values, NaN for ``n/a``, of a table of confounds.

    Raises
    ------
    InputError
        If it is unreadable, a name stands twice, or a value is no finite number.

    """
    try:
        rows = read_tsv(path)
    except InputError as error:
        raise InputError(name, str(error).removeprefix(f"{path}: "), "make it again") from None
    old = list(rows[0]) if rows else []
    columns = modern_columns(old)
    if len(set(columns)) < len(columns):
        raise InputError(name, "has a column twice", "make it again")
    values = np.array([[number(row[column], f"column {column}", name) for column in old] for row in rows], dtype=float)
    return columns, values.reshape(len(rows), len(columns))


def check_func(
    outputs: Outputs,
    names: Mapping[str, str],
    where: str,
    n_volumes: int | None,
    required: Sequence[str],
) -> dict[str, Any]:
    """Check what was made of a BOLD run; return ``n_volumes`` and the measures of quality that it tells.

    Parameters
    ----------
    outputs : Outputs
        The files.
    names : mapping of str to str
        What stands for the file of each role in messages.
    where : str
        What stands for the folder searched.
    n_volumes : int or None
        Volumes of the raw run, where they are known.
    required : sequence of str
        Roles that must be there.

    Raises
    ------
    InputError
        Naming the file and the fault.

    """
    _require(outputs, required, where)
    grids = {role: scan_image(outputs.files[role], names[role]) for role in ("bold", "mask", "boldref")
             if role in outputs.files}  # fmt: skip
    bold = grids.get("bold")
    if bold is not None:
        if len(bold.shape) != 4:
            raise InputError(names["bold"], f"has {len(bold.shape)} dimensions, needs 4", "make it again")
        if not bold.varies:
            raise InputError(names["bold"], "is constant", "make it again")
        if n_volumes is not None and bold.shape[3] != n_volumes and outputs.description == "preproc":
            raise InputError(
                names["bold"], f"has {bold.shape[3]} volumes where the raw run has {n_volumes}", "make it again"
            )
        n_volumes = bold.shape[3]
    if "mask" in grids:
        _check_mask(grids["mask"], names["mask"], bold, names.get("bold", ""))
    quality: dict[str, float] = {}
    if "confounds" in outputs.files:
        columns, values = read_confounds(outputs.files["confounds"], names["confounds"])
        if n_volumes is not None and len(values) != n_volumes:
            fault = f"has {len(values)} rows for {n_volumes} volumes"
            raise InputError(names["confounds"], fault, "make it again")
        n_volumes = len(values)
        if "framewise_displacement" in columns:
            moved = values[:, columns.index("framewise_displacement")]
            if np.isfinite(moved).any():
                quality = {"fd_mean": float(np.nanmean(moved)), "fd_max": float(np.nanmax(moved))}
    return {"n_volumes": n_volumes, **quality}


def check_anat(outputs: Outputs, names: Mapping[str, str], where: str, required: Sequence[str]) -> dict[str, float]:
    """Check what was made of a T1w image; return volumes (ml) of brain and tissues.

    Parameters and errors are those of :func:`check_func`.
    """
    _require(outputs, required, where)
    if "image" not in outputs.files and "native_image" not in outputs.files:
        raise InputError(where, "holds no preprocessed T1w image", "make it again, or correct the folder")
    quality: dict[str, float] = {}
    for prefix in ("", "native_"):
        known = ("image", "mask", "dseg", "parcels", *TISSUES)
        roles = [role for role in known if f"{prefix}{role}" in outputs.files]
        grids = {role: scan_image(outputs.files[f"{prefix}{role}"], names[f"{prefix}{role}"]) for role in roles}
        if not grids:
            continue
        first = roles[0]
        for role, grid in grids.items():
            name = names[f"{prefix}{role}"]
            if len(grid.shape) != 3:
                raise InputError(name, f"has {len(grid.shape)} dimensions, needs 3", "make it again")
            if not grid.varies and role != "mask":
                raise InputError(name, "is constant", "make it again")
            if role == "mask":
                _check_mask(grid, name, grids[first], names[f"{prefix}{first}"])
            elif not grid.matches(grids[first]):
                raise InputError(name, f"is not on the grid of {names[f'{prefix}{first}']}", "make it again")
        if "mask" in grids:
            voxel = abs(np.linalg.det(grids["mask"].affine[:3, :3])) / 1000
            mask = read_image(outputs.files[f"{prefix}mask"], 3, names[f"{prefix}mask"])
            key = "brain_ml" if prefix else "brain_standard_ml"
            quality[key] = float((np.asarray(mask.dataobj) > 0.5).sum() * voxel)
    return quality


def _require(outputs: Outputs, required: Sequence[str], where: str) -> None:
    for role in required:
        if role not in outputs.files:
            raise InputError(where, f"lacks {_ENDINGS[role]}", "make it again, or correct the folder")


#: How the file of a role is called, for messages.
_ENDINGS = {
    "bold": "*_space-*_desc-preproc_bold.nii.gz",
    "mask": "*_desc-brain_mask.nii.gz in the wished space",
    "boldref": "*_space-*_boldref.nii.gz",
    "confounds": "*_desc-confounds_timeseries.tsv",
    "xfm": "*_from-boldref_to-T1w_mode-image_desc-coreg_xfm.txt",
    "pet": "*_space-*_desc-suvr_pet.nii.gz or *_desc-preproc_pet.nii.gz",
    "image": "*_space-*_desc-preproc_T1w.nii.gz",
    "dseg": "*_space-*_dseg.nii.gz",
    "native_image": "*_desc-preproc_T1w.nii.gz",
    "native_mask": "*_desc-brain_mask.nii.gz",
    "native_dseg": "*_dseg.nii.gz",
    "to_space": "*_from-T1w_to-*_mode-image_xfm.h5",
    "to_native": "*_from-*_to-T1w_mode-image_xfm.h5",
    **{tissue: f"*_space-*_label-{tissue}_probseg.nii.gz" for tissue in TISSUES},
    **{f"native_{tissue}": f"*_label-{tissue}_probseg.nii.gz" for tissue in TISSUES},
}


def _check_mask(mask: Grid, name: str, image: Grid | None, image_name: str) -> None:
    if len(mask.shape) != 3:
        raise InputError(name, f"has {len(mask.shape)} dimensions, needs 3", "make it again")
    if not mask.varies:
        raise InputError(name, "is constant, so that it marks no brain", "make it again")
    if image is not None and not mask.matches(image):
        raise InputError(name, f"is not on the grid of {image_name}", "make it again")


def check_pet(outputs: Outputs, names: Mapping[str, str], where: str) -> None:
    """Check what was made of a PET scan; parameters and errors are those of :func:`check_func`."""
    _require(outputs, ["pet"], where)
    pet = scan_image(outputs.files["pet"], names["pet"])
    if not pet.varies:
        raise InputError(names["pet"], "is constant", "make it again")
    if "mask" in outputs.files:
        _check_mask(scan_image(outputs.files["mask"], names["mask"]), names["mask"], pet, names["pet"])


def n_volumes_of(path: Path) -> int | None:
    """Return the number of volumes that a raw image's header states, or ``None`` if it can not be read."""
    try:
        shape = nib.load(path).shape
    except Exception:  # a raw image that is not there or damaged says nothing about what was made of it
        return None
    return int(shape[3]) if len(shape) > 3 else 1


def facts_of(path: Path, name: str, recording: Mapping[str, str]) -> dict[str, Any]:
    """Return what the sidecar beside a main file says, and the repetition time (s) if it is of a BOLD run.

    The time is that of the raw sidecars, else of the derivative's own, else of its header.
    """
    sidecar = path.with_name(f"{path.name.split('.')[0]}.json")
    # That of a table describes its columns, and stays a file of its own.
    facts = read_sidecar(sidecar, f"{name.split('.')[0]}.json") if path.suffix != ".tsv" and sidecar.is_file() else {}
    if recording["suffix"] != "bold":
        return facts
    given = [recording.get("repetition_time", "n/a"), facts.get("RepetitionTime")]
    if path.suffix != ".tsv":
        header = nib.load(path).header
        scale = {"msec": 1e-3, "usec": 1e-6}.get(header.get_xyzt_units()[1], 1.0)
        given.append(float(header.get_zooms()[3]) * scale)
    times = [time for time in map(_time, given) if time is not None]
    return {**facts, "RepetitionTime": times[0]} if times else facts


def _time(given: Any) -> float | None:
    try:
        time = float(given)
    except (TypeError, ValueError):
        return None
    return time if math.isfinite(time) and time > 0 else None


def deliver(outputs: Outputs, stem: str, out: Path, names: Mapping[str, str]) -> dict[str, str]:
    """Give the files their names here; return the name of each role.

    Files are linked where the file system can and copied where not; those of fMRIPrep 1.0 and 1.1 are
    written with the columns and labels of today.

    Parameters
    ----------
    outputs : Outputs
        Checked files.
    stem : str
        Of the raw recording.
    out : Path
        The folder to write to.
    names : mapping of str to str
        What stands for the file of each role in messages.

    """
    made = {role: _final_name(role, stem, outputs) for role in outputs.files}
    orders = tissue_orders(outputs, names)
    for role, name in made.items():
        source, target = outputs.files[role], out / name
        if role == "confounds":
            _write_confounds(source, target, role in outputs.old)
        elif role == "confounds_json":
            content = read_json(source)
            columns = modern_columns(list(content)) if isinstance(content, dict) else []
            described = dict(zip(columns, content.values(), strict=True)) if columns else {}
            write_text(target, to_json(described))
        elif orders.get(role):
            image = read_image(source, 3, names[role])
            labels = np.rint(np.asarray(image.dataobj)).astype(np.uint8)
            lut = np.zeros(256, dtype=np.uint8)
            lut[list(orders[role])] = list(orders[role].values())
            save_image(lut[labels], image.affine, target, dtype=np.uint8)
        elif source.name.endswith(".nii"):
            with (
                source.open("rb") as stream,
                target.open("wb") as file,
                gzip.GzipFile("", "wb", 6, file, mtime=0) as packed,
            ):
                shutil.copyfileobj(stream, packed, _CHUNK)
        else:
            link(source, target)
    # That of the main file is written with what the engine says of it.
    for role in [role for role in _MASK_OF if role in made][1:]:
        beside = made[role].removesuffix(".gz").removesuffix(".nii") + ".json"
        write_text(out / beside, to_json(stripped(outputs, role)))
    return made


#: The mask that belongs to each image.
_MASK_OF = {"bold": "mask", "pet": "mask", "image": "mask", "native_image": "native_mask"}


def stripped(outputs: Outputs, role: str) -> dict[str, bool]:
    """Return the sidecar entry that says whether an image is zero outside the brain; nothing for what is no image.

    That is what its sidecar says, else what its voxels do: fMRIPrep before 1.4 wrote no sidecars, and BIDS wants
    to know.
    """
    return {"SkullStripped": _is_stripped(outputs, role)} if role in _MASK_OF else {}


def _is_stripped(outputs: Outputs, role: str) -> bool:
    source = outputs.files[role]
    sidecar = source.with_name(source.name.removesuffix(".gz").removesuffix(".nii") + ".json")
    told = read_json(sidecar) if sidecar.is_file() else {}
    if isinstance(told, dict) and isinstance(told.get("SkullStripped"), bool):
        return told["SkullStripped"]
    image = nib.load(source)
    first = np.asarray(image.dataobj[..., 0] if image.ndim == 4 else image.dataobj)
    outside = np.ones(first.shape, dtype=bool)
    if _MASK_OF[role] in outputs.files:
        outside = np.asarray(nib.load(outputs.files[_MASK_OF[role]]).dataobj) == 0
    if outside.shape != first.shape or not outside.any():
        return False
    # A head fills about half of its image; a brain a quarter.
    share = np.count_nonzero(first[outside]) / np.count_nonzero(outside)
    return bool(share < (0.02 if not outside.all() else 0.3))


def _write_confounds(source: Path, target: Path, old: bool) -> None:
    if not old:
        link(source, target)
        return
    rows = read_tsv(source)
    columns = list(rows[0])
    renamed = modern_columns(columns)
    rows = [dict(zip(renamed, (row[column] for column in columns), strict=True)) for row in rows]
    write_text(target, to_tsv(rows, renamed))


def _final_name(role: str, stem: str, outputs: Outputs) -> str:
    space = outputs.space
    part = role.removeprefix("native_")
    # A native image of anatomy has no space in its name; all else was taken in the wished space.
    place = "" if role.startswith("native_") or space is None else f"_space-{space}"
    endings = {
        "bold": f"{place}_desc-preproc_bold.nii.gz",
        "boldref": f"{place}_boldref.nii.gz",
        "pet": f"{place}_desc-{outputs.description}_pet.nii.gz",
        "image": f"{place}_desc-preproc_T1w.nii.gz",
        "mask": f"{place}_desc-brain_mask.nii.gz",
        "dseg": f"{place}_dseg.nii.gz",
        "parcels": f"{place}_desc-aparcaseg_dseg.nii.gz",
        **{tissue: f"{place}_label-{tissue}_probseg.nii.gz" for tissue in TISSUES},
        "confounds": "_desc-confounds_timeseries.tsv",
        "confounds_json": "_desc-confounds_timeseries.json",
        "xfm": "_from-boldref_to-T1w_mode-image_xfm.txt",
        "to_space": f"_from-T1w_to-{space}_mode-image_xfm.h5",
        "to_native": f"_from-{space}_to-T1w_mode-image_xfm.h5",
    }
    return f"{stem}{endings[part]}"


def tissue_orders(outputs: Outputs, names: Mapping[str, str]) -> dict[str, dict[int, int]]:
    """Return, for each map of tissue whose labels are not GM, WM, CSF, what label is to become what.

    fMRIPrep kept the numbers of FSL FAST (CSF, GM, WM) until 1.3, under the name that it has since. In a T1w image
    fluid is darker than grey and grey than white matter, which tells one numbering from the other; where there is
    no image, old names mean old numbers.

    Raises
    ------
    InputError
        If there are other labels than 1 to 3, or brightness fits neither numbering of an old map.

    """
    orders: dict[str, dict[int, int]] = {}
    known: dict[int, int] | None = None
    for prefix in ("native_", ""):
        role, image_role = f"{prefix}dseg", f"{prefix}image"
        if role not in outputs.files:
            continue
        labels = np.rint(np.asarray(read_image(outputs.files[role], 3, names[role]).dataobj)).astype(int)
        found = sorted(set(np.unique(labels).tolist()) - {0})
        if not set(found) <= {1, 2, 3}:
            raise InputError(names[role], f"holds label {found[-1]}, needs 1 to 3", "make it again")
        order = known
        if image_role in outputs.files and len(found) == 3:
            image = np.asarray(read_image(outputs.files[image_role], 3, names[image_role]).dataobj)
            brightness = [float(np.median(image[labels == label])) for label in (1, 2, 3)]
            ranks = np.argsort(brightness).tolist()
            if ranks == [0, 1, 2]:
                order = _FAST
            elif ranks == [2, 0, 1]:
                order = {}
            elif role in outputs.old:
                fault = "its labels are in no order of brightness that is known"
                raise InputError(names[role], fault, "remove the file")
        if order is None:
            order = _FAST if role in outputs.old else {}
        known = order
        orders[role] = order
    return orders
