"""The 92 images of Kriegeskorte et al. (2008), as rsatoolbox distributes them: MATLAB files of dissimilarities.

Human IT cortex of four people in two sessions, judgements of similarity of sixteen others, and eight candidate models.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..components import Reader, component
from ..errors import InputError
from ..files import to_json, write_text
from ..shared.mat_files import read_mat
from ..shared.rdm import pairs

#: Files and their variables.
BRAIN, BEHAVIOUR, MODELS = (
    ("92_brainRDMs.mat", "RDMs"),
    ("92_behavRDMs.mat", "rdms_behav_92"),
    ("92_modelRDMs.mat", "Models"),
)


@component
class Rsa92images(Reader):
    """Tables of dissimilarities of every person and session.

    ``func`` has those of human IT cortex; the sidecar that they inherit lists the candidate ``Models``, each as the
    vector of its pairs. ``beh`` has the judgements of similarity, of other people.
    """

    def described(self) -> str:
        """Return what it does, in words."""
        return (
            "Dissimilarities of 92 images in human inferior temporal cortex, of four people in two sessions, judgements"
            " of similarity by sixteen others, and eight candidate models were taken from published MATLAB files"
            " [@kriegeskorte2008b]."
        )

    def read(self, source: Path, root: Path) -> list[dict[str, Any]]:
        """Write the tables; see :class:`~replicortex.components.Reader`."""
        brain = _entries(source, *BRAIN)
        n_images = len(brain[0][1])
        items = [f"image{number:02d}" for number in range(1, n_images + 1)]
        people: dict[str, dict[str, Any]] = {}
        for told, matrix in brain:
            match = re.fullmatch(r"hIT \| (\w+) \| Session: (\d+)", told)
            if match is None:
                raise InputError(BRAIN[0], f"names a matrix {told[:40]!r}", "take the file that rsatoolbox distributes")
            label = f"sub-{match[1]}"
            stem = f"{label}_ses-{match[2]}_task-images_desc-humanIT_relmat.tsv"
            _write(root / label / f"ses-{match[2]}" / "func" / stem, _checked(matrix, n_images, BRAIN[0]), items)
            people[label] = {"participant_id": label, "measured": "fMRI"}
        for number, (_, matrix) in enumerate(_entries(source, *BEHAVIOUR), start=1):
            label = f"sub-judge{number:02d}"
            path = root / label / "beh" / f"{label}_task-similarity_relmat.tsv"
            _write(path, _checked(matrix, n_images, BEHAVIOUR[0]), items)
            people[label] = {"participant_id": label, "measured": "judgements"}
        models = {}
        for name, matrix in _entries(source, *MODELS):
            matrix = _checked(matrix, n_images, MODELS[0])
            models[name] = [float(f"{value:.7g}") for value in pairs(matrix[None])[0]]
        how = "one minus the correlation of patterns in human inferior temporal cortex"
        _describe(root, "images", how, Models=models)
        _describe(root, "similarity", "judged by where people put the images on a screen")
        return list(people.values())


def _entries(source: Path, file: str, variable: str) -> list[tuple[str, np.ndarray]]:
    """Return name and matrix of each entry of a structure, in MATLAB's order."""
    found = read_mat(source / file, file).get(variable)
    if not isinstance(found, np.ndarray) or found.dtype.names is None or not {"RDM", "name"} <= set(found.dtype.names):
        raise InputError(file, f"has no structure {variable} with RDM and name", "take the file of rsatoolbox")
    return [(str(np.squeeze(entry["name"])), entry["RDM"]) for entry in found.flat]


def _checked(matrix: Any, n_images: int, file: str) -> np.ndarray:
    """Return a matrix of dissimilarities, made exactly symmetric."""
    if not isinstance(matrix, np.ndarray) or matrix.dtype.kind not in "biuf" or matrix.shape != (n_images, n_images):
        raise InputError(file, f"a matrix is not of {n_images} images", "download the file again")
    matrix = matrix.astype(np.float64)
    if not np.isfinite(matrix).all() or not np.allclose(matrix, matrix.T, rtol=1e-5, atol=1e-7):
        raise InputError(file, "a matrix is not symmetric, or not known", "download the file again")
    return (matrix + matrix.T) / 2


def _describe(root: Path, task: str, how: str, **more: Any) -> None:
    told = {"Description": f"Dissimilarity of images: {how}.", "TaskName": task, **more}
    write_text(root / f"task-{task}_relmat.json", to_json(told))


def _write(path: Path, matrix: np.ndarray, items: Sequence[str]) -> None:
    lines = ["\t".join(["Node", *items])]
    lines += ["\t".join([item, *(f"{value:.7g}" for value in row)]) for item, row in zip(items, matrix, strict=True)]
    write_text(path, "\n".join(lines) + "\n")
