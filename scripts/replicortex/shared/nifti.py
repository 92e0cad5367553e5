"""NIfTI images: read with checks, write with the same bytes each time, the template, conversion to ANTs and back."""

from __future__ import annotations

import functools
import gzip
import importlib.util
import math
import os
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import nibabel as nib
import numpy as np

from ..errors import InputError
from .raw_files import check_present, inside

#: The standard space: that of the template that nilearn ships.
SPACE = "MNI152NLin2009aSym"

#: deflate can not shrink more than the first; what unpacks to a GiB and was that small is made to fill memory.
_DEFLATE_LIMIT, _LIKELY, _ALWAYS = 1032, 100, 1 << 30
_FORMATS = {348: nib.Nifti1Image, 1543569408: nib.Nifti1Image, 540: nib.Nifti2Image, 469893120: nib.Nifti2Image}
#: Codes of NIfTI for what an affine leads to.
_SCANNER, _MNI = 1, 4
_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])
#: Of the template's brightest voxel: what is more belongs to the brain, as nilearn has it.
_BRAIN = 0.2


def open_image(root: Path, recording: Mapping[str, str], ndim: int) -> nib.spatialimages.SpatialImage:
    """Return the image of a recording, with float32 values in memory, after all checks.

    Parameters
    ----------
    root : Path
        The dataset, which is only read.
    recording : mapping
        Its row of ``recordings.tsv``; ``path`` is relative to ``root``.
    ndim : int
        3 for a volume, 4 for a series. Trailing axes of length one beyond it are dropped.

    Raises
    ------
    InputError
        If the path leads out of the dataset, or :func:`read_image` refuses the file.

    """
    name = recording["path"]
    return read_image(inside(root, name), ndim, name)


def read_image(path: Path, ndim: int, name: str | None = None) -> nib.spatialimages.SpatialImage:
    """Return the NIfTI image at ``path``, with float32 values in memory; ``name`` stands for it in messages.

    Memory is that of the values in float32, and once more as stored while they are read.

    Raises
    ------
    InputError
        If the file is missing, empty, truncated or no NIfTI image, has other dimensions, no orientation, a grid
        without volume, or values that are not finite or all the same within a volume.

    """
    name = name or path.name
    if not path.name.endswith((".nii", ".nii.gz")):
        raise InputError(name, "is not a NIfTI file", "provide .nii or .nii.gz")
    check_present(path, name)
    try:
        header, data = _read(path, name)
    except (InputError, MemoryError):
        raise
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise InputError(name, f"truncated or damaged ({_said(error)})", "restore the file") from error
    except Exception as error:
        # nibabel fails in as many ways as headers are damaged; each means that this file is not readable.
        raise InputError(name, f"not readable as NIfTI ({_said(error)})", "restore or convert it again") from error
    data = _dimensions(data, ndim, name)
    affine = _affine(header, name)
    _check_values(data, name)
    image = nib.Nifti1Image(data, affine)
    image.header.set_xyzt_units("mm", "sec")
    zooms = header.get_zooms()
    if ndim == 4:
        unit = {"msec": 1e-3, "usec": 1e-6}.get(header.get_xyzt_units()[1], 1.0)
        image.header.set_zooms((*image.header.get_zooms()[:3], float(zooms[3]) * unit if len(zooms) > 3 else 0.0))
    return image


def _said(error: Exception) -> str:
    """Return what an exception says, without the absolute paths that nibabel puts in quotes."""
    text = " ".join(str(error).split())
    return type(error).__name__ if "/" in text or not text else f"{type(error).__name__}: {text[:120]}"


def _read(path: Path, name: str) -> tuple[Any, np.ndarray]:
    packed = path.name.endswith(".gz")
    with (gzip.open if packed else open)(path, "rb") as stream:
        size = int.from_bytes(stream.read(4), "little")
        if size not in _FORMATS:
            raise InputError(name, "its header is not one of NIfTI", "restore or convert it again")
        stream.seek(0)
        image = _FORMATS[size].from_stream(stream)
        header, dtype = image.header, image.header.get_data_dtype()
        if dtype.fields or dtype.kind not in "iuf":
            raise InputError(name, f"holds {dtype} values, not one real number a voxel", "convert it to grey values")
        if not image.shape or min(image.shape) < 1:
            raise InputError(name, "has no voxels", "restore the file")
        # Before memory is asked for: a damaged header may demand any number of voxels.
        demanded = math.prod(image.shape) * dtype.itemsize
        held = path.stat().st_size * _DEFLATE_LIMIT if packed else path.stat().st_size - image.dataobj.offset
        if demanded > held:
            fault = f"truncated: {path.stat().st_size} bytes where its header demands {demanded}"
            raise InputError(name, fault, "restore the file")
        if packed and demanded > max(path.stat().st_size * _LIKELY, _ALWAYS):
            fault = f"unpacks from {path.stat().st_size} bytes to {demanded}, which no image does"
            raise InputError(name, fault, "restore the file")
        data = image.get_fdata(dtype=np.float32, caching="unchanged")
        # The checksum of gzip stands at its end.
        stream.seek(image.dataobj.offset + demanded)
        while stream.read(1 << 20):
            pass
    return header, np.asarray(data)


def _dimensions(data: np.ndarray, ndim: int, name: str) -> np.ndarray:
    while data.ndim > ndim and data.shape[-1] == 1:
        data = data[..., 0]
    if data.ndim != ndim:
        more = f" ({data.shape[3]} volumes)" if data.ndim > 3 else ""
        remedy = "provide one volume" if data.ndim > ndim else "provide the whole series"
        raise InputError(name, f"has {data.ndim} dimensions{more}, needs {ndim}", remedy)
    if min(data.shape[:3]) < 2:
        raise InputError(name, f"has a grid of {'x'.join(map(str, data.shape[:3]))} voxels", "provide a volume")
    return data


def _affine(header: Any, name: str) -> np.ndarray:
    if int(header["sform_code"]) == 0 and int(header["qform_code"]) == 0:
        raise InputError(name, "has no orientation (sform and qform codes are 0)", "convert it again from DICOM")
    affine = np.asarray(header.get_best_affine(), dtype=float)
    if not np.isfinite(affine).all() or abs(np.linalg.det(affine[:3, :3])) < 1e-9:
        raise InputError(name, "its affine is singular or not finite", "repair the header")
    unit = header.get_xyzt_units()[0]
    affine[:3] *= {"meter": 1e3, "micron": 1e-3}.get(unit, 1.0)
    axes = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
    if np.abs(axes.T @ axes - np.eye(3)).max() > 0.01:
        raise InputError(name, "its affine is sheared", "resample it onto a grid with right angles")
    return affine


def _check_values(data: np.ndarray, name: str) -> None:
    volumes = data[..., None] if data.ndim == 3 else data
    for number in range(volumes.shape[3]):
        volume = volumes[..., number]
        which = f"volume {number + 1} of {volumes.shape[3]} " if data.ndim > 3 else ""
        # Minimum and maximum are NaN where one value is: neither needs an array of its own.
        low, high = float(volume.min()), float(volume.max())
        if not (math.isfinite(low) and math.isfinite(high)):
            raise InputError(name, f"{which}holds values that are not finite", "restore the file, or exclude it")
        if low == high:
            raise InputError(name, f"{which}is constant", "restore the file, or exclude it")


def save_image(
    data: np.ndarray,
    affine: np.ndarray,
    path: Path,
    header: Any = None,
    dtype: type = np.float32,
    repetition_time: float | None = None,
) -> None:
    """Write ``data`` to ``path`` (.nii or .nii.gz); the same values give the same bytes.

    Parameters
    ----------
    data : array, (x, y, z) or (x, y, z, t)
    affine : array, (4, 4)
        From voxels to mm.
    path : Path
    header : nibabel header, optional
        Gives the time between volumes (s) where ``repetition_time`` does not.
    dtype : numpy type
        As stored. Values are rounded for integers.
    repetition_time : float, optional
        Seconds between volumes.

    """
    made = nib.Nifti1Header()
    made.set_data_dtype(dtype)
    made.set_data_shape(data.shape)
    if repetition_time is None and header is not None and len(header.get_zooms()) > 3:
        repetition_time = float(header.get_zooms()[3])
    spacing = np.linalg.norm(np.asarray(affine)[:3, :3], axis=0).tolist()
    made.set_zooms([*spacing, *([repetition_time or 0.0] if data.ndim == 4 else [])])
    code = _MNI if f"_space-{SPACE}_" in path.name else _SCANNER
    made.set_qform(affine, code)
    made.set_sform(affine, code)
    made.set_xyzt_units("mm", "sec")
    made.set_slope_inter(1, 0)
    made["vox_offset"] = 352
    made["magic"] = b"n+1"
    volumes = data[..., None] if data.ndim == 3 else data
    with path.open("wb") as file:
        # No name and no time in the gzip header; level 4 is half the time of 6 for 2 % more bytes.
        packed = gzip.GzipFile("", "wb", 4, file, mtime=0) if path.name.endswith(".gz") else file
        packed.write(made.binaryblock + bytes(4))
        for number in range(volumes.shape[3]):
            volume = volumes[..., number]
            if np.issubdtype(dtype, np.integer) and not np.issubdtype(volume.dtype, np.integer):
                volume = np.rint(volume)
            packed.write(np.asarray(volume).astype(dtype).tobytes(order="F"))
        if packed is not file:
            packed.close()


@functools.lru_cache(maxsize=16)
def template(kind: Literal["brain", "mask", "GM", "WM", "CSF"], mm: float = 2.0) -> nib.Nifti1Image:
    """Return a map of the standard space at voxels of ``mm``: the template that nilearn ships.

    ICBM 152 nonlinear symmetric, version 2009a (Fonov et al. 2011, doi:10.1016/j.neuroimage.2010.07.033).

    Parameters
    ----------
    kind : {"brain", "mask", "GM", "WM", "CSF"}
        T1-weighted brain without skull (0 to 1); its mask (0 or 1); probabilities. That of CSF is what grey
        and white matter leave of the mask.
    mm : float
        Size of the voxels.

    Returns
    -------
    nibabel image
        Shared between callers: copy before changing.

    """
    if kind == "CSF":
        mask, grey, white = (template(name, mm).get_fdata(dtype=np.float32) for name in ("mask", "GM", "WM"))
        return nib.Nifti1Image(np.clip(mask - grey - white, 0, 1), template("mask", mm).affine)
    found = {"brain": "t1", "mask": "t1", "GM": "gm", "WM": "wm"}[kind]
    data, affine = _shipped(found)
    if float(mm).is_integer():
        # Every so many voxels of 1 mm: there any interpolation gives what is there. The last may lie beyond them.
        step = int(mm)
        made = np.zeros([-(-(n - 1) // step) + 1 for n in data.shape], np.float32)
        taken = data[::step, ::step, ::step]
        made[tuple(map(slice, taken.shape))] = taken
        affine = affine @ np.diag([step, step, step, 1.0])
        return nib.Nifti1Image((made > _BRAIN).astype(np.float32) if kind == "mask" else made, affine)
    from nilearn import image

    if kind == "mask":
        data = (data > _BRAIN).astype(np.float32)
    how = "nearest" if kind == "mask" else "continuous"
    whole = nib.Nifti1Image(data, affine)
    made = image.resample_img(whole, np.eye(3) * mm, interpolation=how, copy_header=True, force_resample=True)
    return nib.Nifti1Image(np.clip(made.get_fdata(dtype=np.float32), 0, 1), made.affine)


def _shipped(name: str) -> tuple[np.ndarray, np.ndarray]:
    """Return a map of the template at 1 mm, its greatest value 1, and its affine.

    Without importing nilearn's datasets, which takes two seconds with all that they need to be downloaded.
    """
    (folder,) = importlib.util.find_spec("nilearn").submodule_search_locations
    image = nib.load(Path(folder, "datasets", "data", f"mni_icbm152_{name}_tal_nlin_sym_09a_converted.nii.gz"))
    data = image.get_fdata(dtype=np.float32)
    return data / data.max(), image.affine


def ants_module(threads: int = 1) -> Any:
    """Return the module ``ants``, to use ``threads`` threads in this process if nothing has used it yet.

    With more than one thread ITK adds up its metrics in another order each time, so that the last bits of a
    registration, and all that follows from it, are not the same twice.
    """
    # Read by ITK once, when it first starts threads.
    os.environ["ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS"] = str(threads)
    os.environ["ANTS_RANDOM_SEED"] = "1"
    import ants

    return ants


def to_ants(image: nib.spatialimages.SpatialImage) -> Any:
    """Return a nibabel image as an ANTs image (float32) at the same place.

    The axes of the grid are made exactly orthogonal, which ITK demands: the nearest rotation.
    """
    ants = ants_module(int(os.environ.get("ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS", "1")))
    data = np.asarray(image.dataobj, dtype=np.float32)
    affine = _LPS @ image.affine
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    left, _, right = np.linalg.svd(affine[:3, :3] / spacing)
    direction, origin = left @ right, affine[:3, 3]
    if data.ndim == 4:
        direction = np.block([[direction, np.zeros((3, 1))], [np.zeros((1, 3)), np.ones((1, 1))]])
        step = float(image.header.get_zooms()[3])
        spacing, origin = [*spacing, step if step > 0 else 1.0], [*origin, 0.0]
    return ants.from_numpy(
        data, origin=[float(x) for x in origin], spacing=[float(x) for x in spacing], direction=direction
    )


def from_ants(image: Any) -> nib.Nifti1Image:
    """Return an ANTs image as a nibabel image (float32) at the same place."""
    affine = np.eye(4)
    affine[:3, :3] = np.asarray(image.direction)[:3, :3] * np.asarray(image.spacing)[:3]
    affine[:3, 3] = np.asarray(image.origin)[:3]
    made = nib.Nifti1Image(image.numpy().astype(np.float32), _LPS @ affine)
    made.header.set_xyzt_units("mm", "sec")
    if image.dimension == 4:
        made.header.set_zooms((*made.header.get_zooms()[:3], float(image.spacing[3])))
    return made
