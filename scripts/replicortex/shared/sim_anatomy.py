"""Simulated heads: the template with scalp and skull, deformed for each subject by a map that is known both ways.

Positions are in mm, RAS+, as rows of arrays of shape ``(..., 3)``. "Template space" is that of
:data:`~replicortex.shared.nifti.SPACE`; "scanner space" is that of the subject's images.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from .. import __version__
from ..files import to_json, to_tsv, write_text
from .nifti import save_image, template

#: Kinds of tissue, in the order of the last axis of :func:`head`.
TISSUES = ("CSF", "GM", "WM", "bone", "fat", "muscle")
#: Voxels of the model of the head, mm; finer images show no more detail than this.
MODEL_MM = 2.0
#: The deepest slice of the template, mm; the model goes on below it with a neck that is not of the template.
FLOOR = -72.0
#: What the scanner sees of a head: its extent and its middle, mm.
FIELD_OF_VIEW = np.array([200.0, 244.0, 232.0])
_MIDDLE = np.array([0.0, -10.0, -14.0])
#: Distance between knots of a subject's deformation, mm.
_KNOTS = 36.0
#: How much it changes at most over a distance of 1.
_STEEPEST = 0.6
_LOW, _HIGH = np.array([-130.0, -170.0, -150.0]), np.array([130.0, 150.0, 140.0])

#: Places that are easy to name, in template space (mm).
LANDMARKS: dict[str, tuple[float, float, float]] = {
    "anterior commissure": (0, 2, -4),
    "posterior commissure": (0, -25, -1),
    "genu of corpus callosum": (0, 27, 6),
    "splenium of corpus callosum": (0, -38, 12),
    "pons": (0, -28, -34),
    "left caudate head": (-11, 15, 6),
    "right caudate head": (11, 15, 6),
    "left putamen": (-26, 4, 2),
    "right putamen": (26, 4, 2),
    "left thalamus": (-11, -18, 8),
    "right thalamus": (11, -18, 8),
    "left hippocampus": (-28, -20, -16),
    "right hippocampus": (28, -20, -16),
    "left hand knob": (-38, -24, 56),
    "right hand knob": (38, -24, 56),
    "left occipital pole": (-12, -98, 2),
    "right occipital pole": (12, -98, 2),
    "left frontal pole": (-14, 62, 6),
    "right frontal pole": (14, 62, 6),
    "left temporal pole": (-42, 12, -32),
    "right temporal pole": (42, 12, -32),
    "left cerebellum": (-26, -62, -38),
    "right cerebellum": (26, -62, -38),
}


def head(skull: bool = True) -> tuple[np.ndarray, np.ndarray]:
    """Return fractions of the tissues, ``(x, y, z, 6)`` float32, and the affine of this model of the head.

    The brain is the template's, its grey and white matter made crisp (``p**2`` normalised: the template is a mean
    of 152 people, one person is not blurred). Around it: fluid, a skull of 6 mm, a scalp, a face with eyes and
    sinuses, and a neck with the spinal cord. Memory: 1.9 million voxels, 46 MB; 1.5 s, once a process.
    """
    made, brain, affine = _head()
    if skull:
        return made, affine
    bare = made * brain[..., None]
    bare[..., 3:] = 0
    return bare, affine


@functools.cache
def _head() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return :func:`head` with its skull, and the mask of the brain."""
    from scipy import ndimage

    affine = np.diag([MODEL_MM, MODEL_MM, MODEL_MM, 1.0])
    affine[:3, 3] = [-110, -150, -130]
    shape = (111, 141, 126)
    maps = {kind: np.zeros(shape, np.float32) for kind in ("mask", "GM", "WM")}
    for kind, data in maps.items():
        image = template(kind, MODEL_MM)
        start = np.rint((image.affine[:3, 3] - affine[:3, 3]) / MODEL_MM).astype(int)
        place = tuple(slice(first, first + length) for first, length in zip(start, image.shape, strict=True))
        data[place] = image.get_fdata(dtype=np.float32)
    brain = maps["mask"] > 0
    rest = np.clip(1 - maps["GM"] - maps["WM"], 0, 1)
    squares = [maps["GM"] ** 2, maps["WM"] ** 2, rest**2]
    total = sum(squares)
    grey, white = squares[0] / total, squares[1] / total

    # Inside of the skull: the brain with its furrows filled, and 2 mm of fluid.
    near = ndimage.distance_transform_edt(~brain, sampling=MODEL_MM) <= 10
    filled = brain | (ndimage.distance_transform_edt(np.pad(near, 1, mode="edge"), sampling=MODEL_MM) > 10)[_INNER]
    inside = ndimage.distance_transform_edt(~filled, sampling=MODEL_MM) <= 2
    x, y, z = (axis.astype(np.float32) for axis in _grid(affine, shape))

    def ellipsoid(centre: tuple[float, float, float], radii: tuple[float, float, float]) -> np.ndarray:
        return ((x - centre[0]) / radii[0]) ** 2 + ((y - centre[1]) / radii[1]) ** 2 + (
            (z - centre[2]) / radii[2]
        ) ** 2 < 1

    def cylinder(radii: tuple[float, float], middle: float) -> np.ndarray:
        return (x / radii[0]) ** 2 + ((y - middle) / radii[1]) ** 2 < 1

    # The brain stem leaves through the template's lowest slice; there the cord begins.
    stem = -45.0
    below = z < FLOOR
    cord, canal = below & cylinder((7, 7), stem), below & cylinder((10, 10), stem)
    inside = (inside & ~below) | canal
    outside = ndimage.distance_transform_edt(~inside, sampling=MODEL_MM)
    skull_shell = (outside > 0) & (outside <= 6)
    marrow = (outside > 2) & (outside <= 4)
    face = ellipsoid((0, 56, -60), (60, 48, 62)) | ellipsoid((0, 103, -58), (11, 14, 16))
    neck = (z < -50) & cylinder((60, 66), -28)
    cover = (outside <= 13) | face | neck
    skin = cover & (ndimage.distance_transform_edt(cover, sampling=MODEL_MM) <= 4)
    air = ellipsoid((0, 74, -62), (13, 30, 20))
    for side in (-1, 1):
        air |= ellipsoid((27 * side, 66, -66), (12, 14, 13))
    outer = cover & (outside > 6)
    labels = {"fat": outer & (skin | (outside <= 9)), "muscle": outer & ~skin & (outside > 9)}
    for side in (-1, 1):
        orbit, eye = ((ellipsoid((33 * side, 70, -40), (r, r, r)) & outer) for r in (18, 12))
        labels["fat"] = (labels["fat"] | orbit) & ~eye
        labels["muscle"] &= ~orbit
        inside = inside | eye
    # Marrow shines like fat, diluted by bone.
    parts = {
        "bone": np.where(marrow, 0.5, 1.0) * skull_shell,
        "fat": labels["fat"] + 0.5 * (marrow & skull_shell),
        "muscle": labels["muscle"].astype(float),
    }
    parts = {kind: part * ~(air & outer) for kind, part in parts.items()}
    grey = grey * brain * ~below
    white = np.where(cord, 1.0, white * brain * ~below)
    inside = inside | (brain & ~below)
    model = [inside * np.clip(1 - grey - white, 0, 1), grey, white]
    model += [ndimage.gaussian_filter(part.astype(np.float32), 0.5) * ~inside for part in parts.values()]
    made = np.stack(model, axis=-1).astype(np.float32)
    made.setflags(write=False)
    return made, brain, affine


_INNER = (slice(1, -1),) * 3


def _grid(affine: np.ndarray, shape: Sequence[int]) -> list[np.ndarray]:
    """Return the coordinates along each axis of a grid without rotation, shaped to broadcast."""
    lines = [affine[i, i] * np.arange(n) + affine[i, 3] for i, n in enumerate(shape)]
    return list(np.meshgrid(*lines, indexing="ij", sparse=True))


def positions(affine: np.ndarray, shape: Sequence[int]) -> np.ndarray:
    """Return the positions of all voxels, ``(n_voxels, 3)`` in C order, mm."""
    indices = np.indices(tuple(shape)).reshape(3, -1).T
    return indices @ affine[:3, :3].T + affine[:3, 3]


def grid(mm: float) -> tuple[tuple[int, int, int], np.ndarray]:
    """Return shape and affine (RAS+) of a scan of a whole head at voxels of ``mm``."""
    shape = np.ceil(FIELD_OF_VIEW / mm).astype(int)
    affine = np.diag([mm, mm, mm, 1.0])
    affine[:3, 3] = _MIDDLE - mm * (shape - 1) / 2
    return tuple(int(n) for n in shape), affine


def sample(volume: np.ndarray, affine: np.ndarray, points: np.ndarray, order: int = 1) -> np.ndarray:
    """Return the values of ``volume`` at ``points`` (mm), zero outside of it; float32."""
    from scipy import ndimage

    inverse = np.linalg.inv(affine)
    indices = (points @ inverse[:3, :3].T + inverse[:3, 3]).T
    return ndimage.map_coordinates(volume, indices, order=order, mode="constant", output=np.float32)


def blur(volume: np.ndarray, fwhm: float, mm: float) -> np.ndarray:
    """Return ``volume`` (voxels of ``mm``) under a Gaussian of ``fwhm`` mm."""
    from scipy import ndimage

    return ndimage.gaussian_filter(volume, fwhm / np.sqrt(8 * np.log(2)) / mm) if fwhm > 0 else volume


def ball(points: np.ndarray, centres: np.ndarray, radius: float) -> np.ndarray:
    """Return a weight for each point: one inside of any ball about ``centres``, falling to zero over 2 mm."""
    weight = np.zeros(points.shape[:-1], np.float32)
    for centre in np.atleast_2d(np.asarray(centres, dtype=float)):
        distance = np.sqrt(((points - centre) ** 2).sum(axis=-1))
        weight = np.maximum(weight, np.clip((radius + 1 - distance) / 2, 0, 1))
    return weight


def model_positions() -> np.ndarray:
    """Return the positions of the voxels of :func:`head`, ``(x, y, z, 3)`` float32, mm."""
    model, affine = head()
    return positions(affine, model.shape[:3]).reshape(*model.shape[:3], 3).astype(np.float32)


@dataclass(frozen=True)
class Warp:
    """One subject's shape: a smooth displacement in template space, then an affine to the scanner.

    Attributes
    ----------
    coefficients : array, (3, nx, ny, nz)
        Cubic B-spline of the displacement ``u``, mm.
    affine : array, (4, 4)
        ``y = affine(z)`` where ``z + u(z)`` is the place in template space that is seen at ``y``.

    """

    coefficients: np.ndarray
    affine: np.ndarray

    @classmethod
    def drawn(cls, rng: np.random.Generator, amplitude: float = 3.0, posed: bool = True) -> Warp:
        """Draw a subject.

        Parameters
        ----------
        rng : Generator
        amplitude : float
            Root mean square of the displacement in each direction, mm.
        posed : bool
            Size, tilt (4 degrees) and place (4 mm) of the head differ too.

        """
        size = np.ceil((_HIGH - _LOW) / _KNOTS).astype(int) + 1
        coefficients = rng.standard_normal((3, *size))
        # A B-spline of white coefficients has this variance: the square of its kernel, summed.
        coefficients *= amplitude / np.sqrt(_SPLINE_POWER**3)
        # A displacement that changes by less than the distance has an inverse, and no place is folded.
        steep = cls(coefficients, np.eye(4))._steepness()
        coefficients *= min(1.0, _STEEPEST / steep) if steep > 0 else 1.0
        affine = np.eye(4)
        draws = rng.standard_normal(12)
        if posed:
            zoom = np.diag(1 + 0.04 * draws[:3].clip(-2, 2))
            shear = np.eye(3)
            shear[np.triu_indices(3, 1)] = 0.02 * draws[3:6]
            affine[:3, :3] = rotation(np.radians(4) * draws[6:9].clip(-2, 2)) @ zoom @ shear
            affine[:3, 3] = 4 * draws[9:].clip(-2, 2)
        return cls(coefficients, affine)

    def _steepness(self) -> float:
        """Return how much the displacement changes at most over a distance of 1: the Lipschitz constant."""
        lines = [np.arange(low, high, _KNOTS / 3) for low, high in zip(_LOW, _HIGH, strict=True)]
        field = self.displacement(np.stack(np.meshgrid(*lines, indexing="ij"), axis=-1))
        gradient = np.stack(np.gradient(field, _KNOTS / 3, axis=(0, 1, 2)), axis=-1)
        gradient = gradient.reshape(-1, 3, 3)
        # A matrix stretches by no more than the root of its summed squares: few need to be decomposed.
        most = np.sqrt((gradient**2).sum(axis=(1, 2)))
        least = np.linalg.norm(gradient[most.argmax()], 2)
        return float(np.linalg.norm(gradient[most >= least * (1 - 1e-12)], 2, axis=(-2, -1)).max())

    def displacement(self, points: np.ndarray) -> np.ndarray:
        """Return ``u`` at ``points`` of template space, mm."""
        from scipy import ndimage

        indices = ((points - _LOW) / _KNOTS).reshape(-1, 3).T
        found = [
            ndimage.map_coordinates(part, indices, order=3, mode="nearest", prefilter=False)
            for part in self.coefficients
        ]
        return np.stack(found, axis=-1).reshape(points.shape)

    def to_template(self, points: np.ndarray) -> np.ndarray:
        """Return the places in template space that are seen at ``points`` of the scanner."""
        inverse = np.linalg.inv(self.affine)
        straight = points @ inverse[:3, :3].T + inverse[:3, 3]
        return straight + self.displacement(straight)

    def to_scanner(self, points: np.ndarray) -> np.ndarray:
        """Return where in the scanner ``points`` of template space lie: the inverse of :meth:`to_template`.

        By fixed-point iteration until nothing moves by more than 1e-6 mm.
        """
        points = np.asarray(points, dtype=float)
        found = points
        for _ in range(200):
            step = points - self.displacement(found)
            moved, found = np.abs(step - found).max(), step
            if moved < 1e-6:
                break
        else:
            raise ArithmeticError("the displacement has no inverse")
        return found @ self.affine[:3, :3].T + self.affine[:3, 3]


def landmarks(warp: Warp) -> list[list[float]]:
    """Return where :data:`LANDMARKS` lie in the scanner, mm, to 0.1 um."""
    return np.round(warp.to_scanner(np.array(list(LANDMARKS.values()), float)), 4).tolist()


#: Integral of the square of a cubic B-spline.
_SPLINE_POWER = 151 / 315


def rotation(angles: np.ndarray) -> np.ndarray:
    """Return the rotation ``Rz @ Ry @ Rx`` by ``angles`` about x, y and z (rad)."""
    (a, b, c), made = angles, np.eye(3)
    for axis, angle in enumerate((a, b, c)):
        turn = np.eye(3)
        i, j = (axis + 1) % 3, (axis + 2) % 3
        turn[i, i] = turn[j, j] = np.cos(angle)
        turn[j, i], turn[i, j] = np.sin(angle), -np.sin(angle)
        made = turn @ made
    return made


def rigid(parameters: np.ndarray, centre: np.ndarray) -> np.ndarray:
    """Return the affine ``p -> centre + R (p - centre) + t`` of a movement.

    Parameters
    ----------
    parameters : array, (6,)
        Translations x, y, z (mm) and rotations about x, y, z (rad, ``R = Rz @ Ry @ Rx``): where the head goes.
    centre : array, (3,)
        mm.

    """
    made = np.eye(4)
    made[:3, :3] = rotation(parameters[3:])
    made[:3, 3] = centre + parameters[:3] - made[:3, :3] @ centre
    return made


@dataclass(frozen=True)
class Scanner:
    """How one site takes T1-weighted images."""

    gain: float
    gamma: float
    bias: np.ndarray
    orientation: str

    @classmethod
    def drawn(cls, rng: np.random.Generator, number: int, strength: float = 1.0) -> Scanner:
        """Draw site ``number`` (0, 1, ...); ``strength`` scales how sites differ and how uneven the field is."""
        return cls(
            gain=float(600 * np.exp(0.25 * strength * rng.standard_normal())),
            gamma=float(np.exp(0.12 * strength * np.clip(rng.standard_normal(), -2, 2))),
            bias=0.12 * strength * rng.standard_normal(9),
            orientation=("RAS", "LAS", "PSR", "LPS")[number % 4],
        )

    def field(self, points: np.ndarray, bias: np.ndarray) -> np.ndarray:
        """Return the receive field at ``points``: the exponential of a quadratic."""
        x, y, z = ((points - _MIDDLE) / (FIELD_OF_VIEW / 2)).T
        return np.exp(np.stack([x, y, z, x * x, y * y, z * z, x * y, y * z, x * z]).T @ bias)


#: T1-weighted signal of pure tissue, without unit.
T1_SIGNAL = {"CSF": 0.22, "GM": 0.60, "WM": 0.92, "bone": 0.06, "fat": 1.0, "muscle": 0.42}


def mottled(rng: np.random.Generator, shape: Sequence[int], knots: int = 8) -> np.ndarray:
    """Return a field of unit variance at its ``knots`` along each axis, linear between them, float32."""
    field = rng.standard_normal((knots,) * 3).astype(np.float32)
    for axis, n in enumerate(shape):
        place = np.linspace(0, knots - 1, n)
        weights = (1 - np.abs(place[:, None] - np.arange(knots))).clip(0).astype(np.float32)
        field = np.moveaxis(np.tensordot(weights, field, axes=(1, axis)), 0, axis)
    return field


def mixture(fractions: np.ndarray, signal: Mapping[str, float]) -> np.ndarray:
    """Return the signal of fractions of tissues (last axis as :data:`TISSUES`)."""
    return fractions @ np.array([signal[tissue] for tissue in TISSUES], dtype=np.float32)


def shrunk(fractions: np.ndarray, loss: np.ndarray) -> np.ndarray:
    """Return ``fractions`` with the share ``loss`` of grey matter replaced by fluid."""
    made = fractions.copy()
    lost = made[..., 1] * loss
    made[..., 1] -= lost
    made[..., 0] += lost
    return made


def t1_image(
    fractions: np.ndarray, warp: Warp, scanner: Scanner, mm: float, noise: float, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Return a T1-weighted image of a subject (int16, RAS+) and its affine.

    Parameters
    ----------
    fractions : array, (x, y, z, 6)
        Of :func:`head`, perhaps shrunk.
    warp, scanner : Warp, Scanner
    mm : float
        Voxel size.
    noise : float
        Standard deviation of the (Rician) noise over the signal of white matter.
    rng : Generator

    """
    shape, affine = grid(mm)
    points = positions(affine, shape)
    tissue = mixture(fractions, T1_SIGNAL)
    # A voxel is the mean of what lies in it.
    tissue = blur(tissue, np.sqrt(max(mm**2 - MODEL_MM**2, 0)), MODEL_MM)
    signal = sample(tissue, head()[1], warp.to_template(points)).clip(0) ** scanner.gamma
    signal *= scanner.field(points, scanner.bias + 0.03 * rng.standard_normal(9))
    noise *= T1_SIGNAL["WM"] ** scanner.gamma
    signal = np.hypot(signal + noise * rng.standard_normal(len(points)), noise * rng.standard_normal(len(points)))
    return np.rint(scanner.gain * signal).clip(0, 32767).astype(np.int16).reshape(shape), affine


def volumes(fractions: np.ndarray, warp: Warp, mm: float = 3.0) -> dict[str, float]:
    """Return the true volumes (mm3) of grey matter, white matter and fluid of a subject, above the template's floor.

    Fluid is counted within the skull.
    """
    shape, affine = grid(mm)
    seen = warp.to_template(positions(affine, shape))
    within = (seen[:, 2] >= FLOOR) & ~np.any([ball(seen, e, 14) > 0 for e in _EYES], axis=0)
    return {
        tissue: float(sample(fractions[..., kind], head()[1], seen)[within].sum(dtype=float) * mm**3)
        for kind, tissue in enumerate(TISSUES[:3])
    }


_EYES = ((-33.0, 70.0, -40.0), (33.0, 70.0, -40.0))


def turned(data: np.ndarray, affine: np.ndarray, orientation: str) -> tuple[np.ndarray, np.ndarray]:
    """Return an image and its affine with the axes stored in another order, such as ``PSR``; values stay in place."""
    import nibabel as nib

    to = nib.orientations.axcodes2ornt(orientation)
    image = nib.Nifti1Image(data, affine)
    made = image.as_reoriented(nib.orientations.ornt_transform(nib.io_orientation(affine), to))
    return np.asarray(made.dataobj), made.affine


# ---- the people, and the files of a dataset


@dataclass(frozen=True)
class People:
    """Who takes part. ``severity`` (0 to 1) is how much of the planted effect each one has."""

    labels: list[str]
    age: np.ndarray
    sex: list[str]
    site: list[str]
    group: list[str]
    severity: np.ndarray

    @classmethod
    def drawn(
        cls,
        n: int,
        n_sites: int,
        groups: tuple[str, str],
        dealt: bool,
        seed: int,
        outcome: str = "group",
        ages: tuple[float, float] = (20.0, 80.0),
    ) -> People:
        """Draw ``n`` people: both groups equally often at each site, ages alike in both.

        Without an effect the severities are dealt out anew among all people: the same images to expect, but
        nothing to do with group or age. (Dealt out within groups they would make a training set the mirror of its
        test set.)

        Parameters
        ----------
        n, n_sites : int
        groups : tuple of str
            The second has the effect if ``outcome`` is "group".
        dealt : bool
            Severities are dealt out anew: there is no effect.
        seed : int
        outcome : {"group", "age"}
            What severity follows: the group, or age from the lowest (0) to the highest (1).
        ages : tuple of float
            The lowest and the highest.

        """
        rng = np.random.default_rng([seed, 0])
        member = np.arange(n) % 2
        site = (np.arange(n) // 2) % n_sites
        order = rng.permutation(n)
        member, site = member[order], site[order]
        age = rng.uniform(*ages, n).round(1)
        severity = member.astype(float) if outcome == "group" else (age - ages[0]) / (ages[1] - ages[0])
        anew = np.random.default_rng([seed, 1]).permutation(severity)
        return cls(
            labels=[f"{number:02d}" for number in range(1, n + 1)],
            age=age,
            sex=rng.choice(["F", "M"], n).tolist(),
            site=[f"site{number + 1}" for number in site],
            group=[groups[number] for number in member],
            severity=anew if dealt else severity,
        )

    def facts(self) -> dict[str, dict[str, Any]]:
        """Return what is true of each person, by ``sub-<label>``."""
        return {
            f"sub-{label}": {"group": group, "age": float(age), "site": site, "severity": float(severity)}
            for label, group, age, site, severity in zip(
                self.labels, self.group, self.age, self.site, self.severity, strict=True
            )
        }


def describe(
    root: Path,
    name: str,
    readme: str,
    people: People,
    groups: Mapping[str, str],
    extra: Mapping[str, Any] | None = None,
) -> None:
    """Write the files that describe a whole dataset: description, README, participants.

    Parameters
    ----------
    root : Path
    name, readme : str
    people : People
    groups : mapping of str to str
        What each value of the column ``group`` means.
    extra : mapping, optional
        More entries of ``dataset_description.json``.

    """
    content = {
        "Name": name,
        "BIDSVersion": "1.10.0",
        "DatasetType": "raw",
        "License": "CC0",
        "Authors": ["Replicortex"],
        "GeneratedBy": [{"Name": "replicortex", "Version": __version__}],
    }
    write_text(root / "dataset_description.json", to_json(content | dict(extra or {})))
    title, _, text = readme.partition("\n")
    write_text(root / "README", f"{title}\n{'=' * len(title)}\n\n{text.strip()}\n")
    columns = {
        "age": {"Description": "Age of the simulated participant.", "Units": "year"},
        "sex": {"Description": "Sex of the simulated participant.", "Levels": {"F": "female", "M": "male"}},
        "site": {
            "Description": "Scanner.",
            "Levels": {site: f"Scanner {site.removeprefix('site')}" for site in sorted(set(people.site))},
        },
        "group": {"Description": "Group of the simulated participant.", "Levels": dict(groups)},
    }
    rows = [
        {"participant_id": f"sub-{label}", "age": float(age), "sex": sex, "site": site, "group": group}
        for label, age, sex, site, group in zip(
            people.labels, people.age, people.sex, people.site, people.group, strict=True
        )
    ]
    write_text(root / "participants.tsv", to_tsv(rows, ["participant_id", *columns]))
    # What the standard asks of every file of a derivative.
    about = {"Description": "Participants."} if (extra or {}).get("DatasetType") == "derivative" else {}
    write_text(root / "participants.json", to_json(columns | about))


def write_t1(root: Path, label: str, data: np.ndarray, affine: np.ndarray, site: str) -> Path:
    """Write a T1-weighted image with its sidecar and return its path."""
    folder = root / f"sub-{label}" / "anat"
    folder.mkdir(parents=True)
    path = folder / f"sub-{label}_T1w.nii.gz"
    save_image(data, affine, path, dtype=np.int16)
    write_text(path.with_name(f"sub-{label}_T1w.json"), to_json(SCANNER | T1W | {"StationName": site}))
    return path


_NONE = "none (simulated)"
#: What sidecars of all images say of the machine.
SCANNER = {
    "Manufacturer": _NONE,
    "ManufacturersModelName": _NONE,
    "DeviceSerialNumber": _NONE,
    "SoftwareVersions": f"replicortex {__version__}",
    "InstitutionName": _NONE,
    "InstitutionAddress": _NONE,
    "InstitutionalDepartmentName": _NONE,
}
#: Nominal values: signals are simulated from fractions of tissue, not from a sequence.
COILS = {
    "MagneticFieldStrength": 3,
    "ReceiveCoilName": _NONE,
    "ReceiveCoilActiveElements": _NONE,
    "CoilCombinationMethod": _NONE,
    "MatrixCoilMode": _NONE,
    "SequenceName": _NONE,
    "PulseSequenceDetails": _NONE,
    "NonlinearGradientCorrection": True,
    "DwellTime": 1e-5,
}
#: What sidecars of T1-weighted images say besides.
T1W = COILS | {
    "Modality": "MR",
    "MRAcquisitionType": "3D",
    "PulseSequenceType": "MPRAGE",
    "ScanningSequence": "GR",
    "SequenceVariant": "SP",
    "RepetitionTime": 2.3,
    "EchoTime": 0.003,
    "InversionTime": 0.9,
    "FlipAngle": 9,
}
