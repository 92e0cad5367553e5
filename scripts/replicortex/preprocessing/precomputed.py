"""Derivatives that exist already, under the names that the other engines give: nothing later knows the difference.

Reads what fMRIPrep, sMRIPrep, XCP-D and PETPrep write, fMRIPrep from 1.0 on, and tables of regions (time series,
matrices of connectivity, measures of shape). Nothing is computed on images: what is there is checked against the
same contract as that which an engine has just made, and linked.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, ClassVar, Literal

from pydantic import Field

from ..components import Preprocessor, component
from ..errors import InputError
from ..shared.contract import (
    check_anat,
    check_func,
    check_pet,
    deliver,
    facts_of,
    n_volumes_of,
    read_confounds,
    stripped,
)
from ..shared.fmriprep_names import Outputs, find_outputs, is_first_echo, raw_stem, refuse_links_out, split
from ..shared.nifti import SPACE
from ..shared.raw_files import inside
from ..shared.table_files import deliver_table
from ..shared.words import file_name, listed

_MAIN = {"anat": "T1w", "func": "bold", "pet": "pet"}
_TABLES = {"anat": ("morph",), "func": ("timeseries", "relmat"), "pet": ()}


@component
class Precomputed(Preprocessor):
    """Take the derivatives of one recording from a folder.

    Parameters
    ----------
    datatype : {"anat", "func", "pet"}
        Which recordings are taken: T1w images, BOLD runs or PET scans, with ``folder: "."`` tables too.
    folder : str
        A derivative dataset: an absolute path, or one relative to the raw dataset. ``"."`` says that the dataset
        itself is the derivative one; then its main images are the recordings, and tables with the suffix
        ``timeseries``, ``relmat`` or ``morph``.
    space : list of str
        Standard spaces, the most wished first; the first with an image is taken. ``T1w`` is that of the subject.
    resolution : str or None
        Label of ``res``, where there are several; if none is given, files without ``res`` come first.

    """

    datatypes: ClassVar[tuple[str, ...]] = ("anat", "func", "pet")
    family: ClassVar[str] = "mri"

    datatype: Literal["anat", "func", "pet"] = "func"
    folder: str = Field(default="derivatives/fmriprep", min_length=1)
    space: list[str] = [SPACE, "MNI152NLin2009cAsym", "MNI152NLin6Asym", "T1w"]
    resolution: str | None = None

    def takes(self, recording: Mapping[str, str]) -> bool:
        """Return whether a recording is of the datatype, and the main file of what is to be taken."""
        if recording["datatype"] != self.datatype:
            return False
        if self.folder != ".":
            return recording["suffix"] == _MAIN[self.datatype] and is_first_echo(recording["recording"])
        if recording["extension"] == ".tsv":
            return recording["suffix"] in _TABLES[self.datatype] and "_desc-confounds" not in recording["recording"]
        if recording["suffix"] != _MAIN[self.datatype]:
            return False
        parts = split(PurePosixPath(recording["path"]).name)
        labels = parts[0] if parts else {}
        # An image without a space is that of the subject, which stands beside each in a standard space.
        in_space = labels["space"] in self.space if "space" in labels else self.space[:1] == ["T1w"]
        return in_space and labels.get("desc") in ("preproc", "denoised", "suvr") and "hemi" not in labels

    def inputs(self, recording: Mapping[str, str], root: Path) -> list[Path]:
        """Return the files that the result is made of beside the raw ones; none where nothing is found.

        They are no part of the raw index, so that whoever asks whether a result is still true must ask them too.
        """
        folder = root / self.folder
        if self.folder == "." or not folder.is_dir():
            return []
        return sorted(path for path in self._find(recording, folder).files.values() if path.is_file())

    def preprocess(
        self, recording: Mapping[str, str], root: Path, out: Path, parents: Sequence[Path] = ()
    ) -> dict[str, Any]:
        """Check and link the derivatives of one recording; see :class:`Preprocessor`.

        Raises
        ------
        InputError
            If there are none, or one does not hold to the contract; the line names the file.

        """
        inside(root, recording["path"])
        if self.folder == "." and recording["extension"] == ".tsv":
            return deliver_table(recording, root, out)
        folder = root if self.folder == "." else root / self.folder
        shown = self._shown()
        if not folder.is_dir():
            raise InputError(shown or ".", "no such folder of derivatives", "correct folder in the preprocessing card")
        stem = raw_stem(recording["recording"])
        outputs = self._find(recording, folder)
        names = {role: f"{shown}{file.relative_to(folder).as_posix()}" for role, file in outputs.files.items()}
        where = f"{shown}{_place(recording, self.datatype)}"
        refuse_links_out(outputs.files.values(), [folder, root], {outputs.files[role]: names[role] for role in names})
        if self.folder == ".":
            self._refuse_second(recording, outputs, names)
        sidecar = self._check(recording, root, outputs, names, where)
        made = deliver(outputs, stem, out, names)
        main = next(role for role in ("bold", "pet", "image", "native_image", "confounds") if role in made)
        entries: dict[str, Any] = {
            **stripped(outputs, main),
            **facts_of(outputs.files[main], names[main], recording),
            **sidecar,
            "MainFile": made[main],
        }
        if outputs.space is not None:
            entries["SpatialReference"] = outputs.space
        if outputs.resolution is not None:
            entries["Resolution"] = outputs.resolution
        if outputs.description == "denoised":
            entries["Denoised"] = True
        entries["TakenFrom"] = {made[role]: names[role] for role in sorted(made)}
        return entries

    def _find(self, recording: Mapping[str, str], folder: Path) -> Outputs:
        row = {**recording, "recording": raw_stem(recording["recording"])}
        return find_outputs(folder, row, self.datatype, self.space, self.resolution)

    def _shown(self) -> str:
        """Return what stands for the folder in messages: never where it is on this machine."""
        if self.folder == ".":
            return ""
        folder = PurePosixPath(self.folder)
        return f"{folder.name if folder.is_absolute() or '..' in folder.parts else folder.as_posix()}/"

    def _check(
        self,
        recording: Mapping[str, str],
        root: Path,
        outputs: Outputs,
        names: dict[str, str],
        where: str,
    ) -> dict[str, Any]:
        looked = f"looked for {_LOOKED_FOR[self.datatype]} in {', '.join(self.space)}"
        if self.datatype == "anat":
            if not {"image", "native_image"} & set(outputs.files):
                raise InputError(where, f"holds no T1w image of {recording['recording']}", looked)
            required = ["mask" if "image" in outputs.files and "native_mask" not in outputs.files else "native_mask"]
            return {"Quality": check_anat(outputs, names, where, required)}
        if self.datatype == "pet":
            if "pet" not in outputs.files:
                raise InputError(where, f"holds no PET image of {recording['recording']}", looked)
            check_pet(outputs, names, where)
            return {}
        if not {"bold", "confounds"} & set(outputs.files):
            raise InputError(where, f"holds nothing of {recording['recording']}", looked)
        notes = []
        volumes = None if self.folder == "." else n_volumes_of(root / recording["path"])
        if outputs.description == "denoised" and "confounds" in outputs.files:
            # Volumes with motion may have been cut out of the series but not of the table.
            rows = len(read_confounds(outputs.files["confounds"], names["confounds"])[1])
            if rows != n_volumes_of(outputs.files["bold"]):
                del outputs.files["confounds"]
                notes.append("The table of motion has other rows than the series and is left out")
        found = check_func(outputs, names, where, volumes, ["mask"] if "bold" in outputs.files else [])
        if "bold" not in outputs.files:
            notes.append("There is no preprocessed BOLD image: confounds and mask only")
        if "confounds" not in outputs.files:
            notes.append("There are no confounds")
        quality = {key: value for key, value in found.items() if key != "n_volumes"}
        described = {"Notes": notes} if notes else {}
        return {**described, "Quality": {**quality, "n_volumes": float(found["n_volumes"])}}

    def _refuse_second(self, recording: Mapping[str, str], outputs: Outputs, names: Mapping[str, str]) -> None:
        """Refuse an image of a recording of which another one is taken."""
        main = next((role for role in ("bold", "pet", "image", "native_image") if role in outputs.files), None)
        if main is not None and names[main] != recording["path"]:
            fault = f"{names[main]} is of the same recording and more wished"
            raise InputError(recording["path"], fault, "name one space, and resolution, in the preprocessing card")

    def described(self) -> str:
        """Return what it does, in words."""
        kinds = {"anat": "anatomical", "func": "functional", "pet": "PET"}
        place = (
            "the dataset, itself a derivative one," if self.folder == "." else f"the folder {file_name(self.folder)}"
        )
        version = "" if self.resolution is None else f" at resolution {self.resolution}"
        return (
            f"Preprocessing was done by others: the {kinds[self.datatype]} images and tables of {place} were checked"
            f" and taken as they are; of images in several spaces the first was taken of {listed(self.space)}{version}."
        )


_LOOKED_FOR = {
    "anat": "*_desc-preproc_T1w.nii.gz and, of fMRIPrep 1.0, *_T1w_preproc.nii.gz",
    "func": "*_desc-preproc_bold.nii.gz, *_desc-denoised_bold.nii.gz, *_desc-confounds_timeseries.tsv and, of "
    "fMRIPrep 1.0, *_bold_space-*_preproc.nii.gz, *_bold_confounds.tsv",
    "pet": "*_desc-suvr_pet.nii.gz, *_desc-preproc_pet.nii.gz",
}


def _place(recording: Mapping[str, str], datatype: str) -> str:
    entities = dict(piece.split("-", 1) for piece in recording["recording"].split("_") if "-" in piece)
    levels = [f"{key}-{entities[key]}" for key in ("sub", "ses") if key in entities]
    return "/".join([*levels, datatype])
