"""Find what fMRIPrep, sMRIPrep, XCP-D or PETPrep wrote for one raw recording, whatever their version called it.

Names of fMRIPrep 1.0 and 1.1 are read as the modern names that they became; all that follows knows these only.
File lists of the releases stand in ``.circleci/*_outputs.txt`` of https://github.com/nipreps/fmriprep.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ..errors import InputError

#: Entities that a derivative has and a raw recording has not.
# fmt: off
DERIVED = frozenset([
    "space", "res", "cohort", "den", "desc", "label", "from", "to", "mode", "stat", "hemi", "seg", "atlas", "scale",
])
# fmt: on
#: Entities of a raw recording that a combined derivative does without.
_COMBINED = frozenset(["echo", "part"])
_NAME = re.compile(r"((?:[a-z]+-[A-Za-z0-9+]+_)+)([A-Za-z0-9]+)(\.[A-Za-z0-9.]+)")

_OLD = [
    # fMRIPrep 1.0 and 1.1: the raw name, then what was done.
    (re.compile(r"_bold_confounds\.tsv$"), "_desc-confounds_timeseries.tsv"),
    (re.compile(r"_bold(_space-[A-Za-z0-9]+)?_preproc(\.nii(?:\.gz)?)$"), r"\1_desc-preproc_bold\2"),
    (re.compile(r"_bold(_space-[A-Za-z0-9]+)?_brainmask(\.nii(?:\.gz)?)$"), r"\1_desc-brain_mask\2"),
    (re.compile(r"_bold(_space-[A-Za-z0-9]+)?_boldref(\.nii(?:\.gz)?)$"), r"\1_boldref\2"),
    (re.compile(r"_T1w(_space-[A-Za-z0-9]+)?_preproc(\.nii(?:\.gz)?)$"), r"\1_desc-preproc_T1w\2"),
    (re.compile(r"_T1w(_space-[A-Za-z0-9]+)?_brainmask(\.nii(?:\.gz)?)$"), r"\1_desc-brain_mask\2"),
    (re.compile(r"_T1w(_space-[A-Za-z0-9]+)?_dtissue(\.nii(?:\.gz)?)$"), r"\1_dseg\2"),
    (
        re.compile(r"_T1w(_space-[A-Za-z0-9]+)?_class-(GM|WM|CSF)_probtissue(\.nii(?:\.gz)?)$"),
        r"\1_label-\2_probseg\3",
    ),
    (re.compile(r"_T1w_target-(MNI[A-Za-z0-9]+)_warp\.h5$"), r"_from-T1w_to-\1_mode-image_xfm.h5"),
    (re.compile(r"_T1w_space-(MNI[A-Za-z0-9]+)_target-T1w_warp\.h5$"), r"_from-\1_to-T1w_mode-image_xfm.h5"),
]
#: fMRIPrep 1.2 to 20.1, and the names that 20.2 gave.
_RENAMED = [(re.compile(r"_desc-confounds_regressors\."), "_desc-confounds_timeseries.")]

#: Columns of the confounds of fMRIPrep 1.0 and 1.1, and what they are called since.
_OLD_COLUMNS = {
    "CSF": "csf",
    "WhiteMatter": "white_matter",
    "GlobalSignal": "global_signal",
    "stdDVARS": "std_dvars",
    "non-stdDVARS": "dvars",
    "vx-wisestdDVARS": "vx_wise_std_dvars",
    "FramewiseDisplacement": "framewise_displacement",
    **{axis: f"trans_{axis.lower()}" for axis in "XYZ"},
    **{f"Rot{axis}": f"rot_{axis.lower()}" for axis in "XYZ"},
}
_OLD_NUMBERED = {
    "tCompCor": "t_comp_cor_",
    "aCompCor": "a_comp_cor_",
    "Cosine": "cosine",
    "NonSteadyStateOutlier": "non_steady_state_outlier",
    "AROMAAggrComp": "aroma_motion_",
}


@dataclass(frozen=True)
class Derivative:
    """A file with the parts of its (modern) name; ``old`` if its own name is that of fMRIPrep 1.0."""

    path: Path
    entities: Mapping[str, str]
    suffix: str
    extension: str
    old: bool


@dataclass
class Outputs:
    """What was found for a recording.

    Parameters
    ----------
    files : dict of str to Path
        By role. Of a BOLD run: ``bold``, ``mask``, ``boldref``, ``confounds``, ``confounds_json``, ``xfm``. Of a
        T1w image: ``image``, ``mask``, ``dseg``, ``parcels``, ``GM``, ``WM``, ``CSF`` in the wished space, the same
        with ``native_`` in its own, ``to_space`` and ``to_native``. Of PET: ``pet``, ``mask``.
    space, resolution : str or None
        Those of the wished space that were found.
    description : str
        ``desc`` of the main image.
    old : set of str
        Roles whose files have names, columns and labels of fMRIPrep 1.0.

    """

    files: dict[str, Path] = field(default_factory=dict)
    space: str | None = None
    resolution: str | None = None
    description: str = ""
    old: set[str] = field(default_factory=set)

    def add(self, role: str, found: Derivative | None) -> None:
        """Note the file of a role, if there is one."""
        if found is not None:
            self.files[role] = found.path
            if found.old:
                self.old.add(role)


def split(name: str) -> tuple[dict[str, str], str, str] | None:
    """Return entities (key to label), suffix and extension of a BIDS name, or ``None`` if it is none."""
    match = _NAME.fullmatch(name)
    if match is None:
        return None
    head, suffix, extension = match.groups()
    return dict(piece.split("-", 1) for piece in head[:-1].split("_")), suffix, extension


def raw_entities(stem: str) -> dict[str, str]:
    """Return the entities of a stem that a raw recording can have."""
    pairs = (piece.split("-", 1) for piece in stem.split("_"))
    return {key: label for key, label in pairs if key not in DERIVED}


def raw_stem(stem: str) -> str:
    """Return the stem of the raw recording that a derivative with ``stem`` was made from."""
    return "_".join(f"{key}-{label}" for key, label in raw_entities(stem).items())


def is_first_echo(stem: str) -> bool:
    """Return whether a raw recording is the first echo, or has one only: echoes are combined to one derivative."""
    match = re.search(r"_echo-(\d+)(?:_|$)", stem)
    return match is None or int(match[1]) == 1


def modern_name(name: str) -> tuple[str, bool]:
    """Return the name as fMRIPrep would give it since 20.2, and whether ``name`` is one of 1.0 or 1.1."""
    for pattern, new in _OLD:
        if pattern.search(name):
            return pattern.sub(new, name), True
    for pattern, new in _RENAMED:
        name = pattern.sub(new, name)
    return name, False


def modern_columns(columns: Sequence[str]) -> list[str]:
    """Return the names that confounds have since fMRIPrep 1.2; names that are modern stay."""
    return [_modern_column(name) for name in columns]


def _modern_column(name: str) -> str:
    match = re.fullmatch(r"([A-Za-z]+?)(\d+)", name)
    if match and match[1] in _OLD_NUMBERED:
        return f"{_OLD_NUMBERED[match[1]]}{match[2]}"
    return _OLD_COLUMNS.get(name, name)


def derivatives_of(folder: Path, recording: Mapping[str, str], datatype: str) -> list[Derivative]:
    """Return the derivatives of a recording's run, or of its subject for anatomy, below a derivative dataset.

    A derivative of a T1w image may stand for several that were averaged and then lacks the entities that these
    differ in; of several that fit, the most specific ones are returned.

    Raises
    ------
    InputError
        If a file found is a link that leads out of the dataset.

    """
    wanted = raw_entities(recording["recording"])
    levels = [f"sub-{wanted['sub']}"]
    places = [folder / levels[0] / datatype]
    if "ses" in wanted:
        places.insert(0, folder / levels[0] / f"ses-{wanted['ses']}" / datatype)
    found = []
    for place in places:
        for path in sorted(place.iterdir()) if place.is_dir() else []:
            name, old = modern_name(path.name)
            parts = split(name)
            if parts is None:
                continue
            raw = {key: label for key, label in parts[0].items() if key not in DERIVED}
            if datatype == "anat":
                fits = raw.items() <= wanted.items() and "sub" in raw
            else:
                fits = raw == {key: label for key, label in wanted.items() if key not in _COMBINED}
            if fits:
                found.append((len(raw), Derivative(path, *parts, old)))
    most = max((number for number, _ in found), default=0)
    return [entry for number, entry in found if number == most]


def find_outputs(
    folder: Path,
    recording: Mapping[str, str],
    datatype: str,
    spaces: Sequence[str],
    resolution: str | None = None,
) -> Outputs:
    """Return what derivative dataset ``folder`` holds for a recording.

    Parameters
    ----------
    folder : Path
        The derivative dataset.
    recording : mapping
        Its row of ``recordings.tsv``; the stem ``recording`` is used.
    datatype : {"anat", "func", "pet"}
    spaces : sequence of str
        The first one with a file is taken; one with a main image comes before one without.
    resolution : str, optional
        Label of ``res`` to take; if none is given, files without ``res``, then ``native``, then the first.

    """
    known = derivatives_of(folder, recording, datatype)
    main = {"anat": "T1w", "func": "bold", "pet": "pet"}[datatype]
    groups = _groups(known, spaces, resolution)
    # The first space that has the image; failing that, the first that has anything.
    with_image = [key for key, files in groups if _main(files, main)]
    chosen = next(iter(with_image), groups[0][0] if groups else (None, None))
    outputs = Outputs(space=chosen[0], resolution=chosen[1])
    files = next((files for key, files in groups if key == chosen), [])
    image = _main(files, main)
    if datatype == "anat":
        _add_anatomy(outputs, "", files)
        native = [entry for entry in known if "space" not in entry.entities]
        _add_anatomy(outputs, "native_", native)
        for role, start, end in (("to_space", "T1w", outputs.space), ("to_native", outputs.space, "T1w")):
            wanted = {"from": start, "to": end, "mode": "image"}
            outputs.add(role, _one(known, "xfm", (".h5",), **wanted))
    else:
        outputs.add(main, image)
        outputs.add("mask", _one(files, "mask", desc="brain"))
        if datatype == "func":
            outputs.add("boldref", _one(files, "boldref"))
            _add_confounds(outputs, known)
    outputs.description = image.entities.get("desc", "") if image else ""
    return outputs


def _groups(
    known: Iterable[Derivative], spaces: Sequence[str], resolution: str | None
) -> list[tuple[tuple[str | None, str | None], list[Derivative]]]:
    """Return the files of each wished space at one resolution, in the order of ``spaces``."""
    order = {space: number for number, space in enumerate(spaces)}
    groups: dict[tuple[str | None, str | None], list[Derivative]] = {}
    for entry in known:
        space, label = entry.entities.get("space"), entry.entities.get("res")
        if space in order and (resolution is None or label == resolution):
            groups.setdefault((space, label), []).append(entry)
    ranks = {None: "0", "native": "1"}
    return sorted(groups.items(), key=lambda group: (order[group[0][0]], ranks.get(group[0][1], f"2{group[0][1]}")))


def _main(files: Iterable[Derivative], suffix: str) -> Derivative | None:
    """Return the main image: as preprocessed, else as a later tool left it."""
    # An uptake ratio is further on than a preprocessed series; of PET it is what is wished.
    wished = ("suvr", "preproc") if suffix == "pet" else ("preproc", "denoised")
    files = list(files)
    return next((found for desc in wished if (found := _one(files, suffix, desc=desc))), None)


def _one(
    files: Iterable[Derivative], suffix: str, extensions: Sequence[str] = (".nii.gz", ".nii"), **labels: str | None
) -> Derivative | None:
    """Return the file with this suffix and exactly these labels beside those of the recording and the space."""
    for entry in files:
        own = {key: label for key, label in entry.entities.items() if key in DERIVED - {"space", "res", "cohort"}}
        if entry.suffix == suffix and entry.extension in extensions and own == labels:
            return entry
    return None


def _add_anatomy(outputs: Outputs, prefix: str, files: Sequence[Derivative]) -> None:
    outputs.add(f"{prefix}image", _one(files, "T1w", desc="preproc"))
    outputs.add(f"{prefix}mask", _one(files, "mask", desc="brain"))
    outputs.add(f"{prefix}dseg", _one(files, "dseg"))
    outputs.add(f"{prefix}parcels", _one(files, "dseg", desc="aparcaseg"))
    for tissue in ("GM", "WM", "CSF"):
        outputs.add(f"{prefix}{tissue}", _one(files, "probseg", label=tissue))


def _add_confounds(outputs: Outputs, known: Sequence[Derivative]) -> None:
    table = _one(known, "timeseries", (".tsv",), desc="confounds")
    if table is None:
        # XCP-D has regressed them out, and keeps what tells how much the head moved.
        table = _one(known, "motion", (".tsv",))
    outputs.add("confounds", table)
    outputs.add("confounds_json", _one(known, "timeseries", (".json",), desc="confounds"))
    for start in ("boldref", "run", "scanner"):
        for labels in ({"desc": "coreg"}, {}):
            if "xfm" not in outputs.files:
                wanted = {"from": start, "to": "T1w", "mode": "image", **labels}
                outputs.add("xfm", _one(known, "xfm", (".txt",), **wanted))


def refuse_links_out(files: Iterable[Path], allowed: Sequence[Path], name_of: Mapping[Path, str]) -> None:
    """Refuse files that are links to somewhere outside the folders ``allowed``.

    Raises
    ------
    InputError
        Naming the link.

    """
    bases = [base.resolve() for base in allowed]
    for path in files:
        if not any(path.resolve().is_relative_to(base) for base in bases):
            raise InputError(name_of.get(path, path.name), "is a link that leads out of the dataset", "copy the file")
