"""fMRIPrep (Esteban et al. 2019, doi:10.1038/s41592-018-0235-4) as its container, one subject or session a call.

Made: the command line, what the container may see, and the proof that its outputs are whole. Whether a run
succeeded is judged by the files that it left, never by its exit code. Needs fMRIPrep 23.2 or later (``--level``);
``session_by_session`` needs 25.2 or later.

All that it writes stays in ``.fmriprep/`` of the derivative dataset: ``<parameters>/out`` its outputs, ``work`` its
intermediate results, from which an interrupted run goes on, ``logs`` what it printed. Outputs are linked from
there; once all is done, the folder may be removed.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import Field

from ..components import Preprocessor, component
from ..errors import InputError
from ..files import digest_file, digest_of, digest_tree, read_json, to_json, write_text
from ..shared.contract import TISSUES, check_anat, check_func, deliver, facts_of, n_volumes_of, stripped
from ..shared.fmriprep_names import Outputs, find_outputs, is_first_echo, refuse_links_out
from ..shared.raw_files import inside
from ..shared.words import file_name, listed, text

_RELEASE = "25.2.5"
_SUFFIX = {"anat": "T1w", "func": "bold"}
_SPACE = re.compile(r"[A-Za-z0-9]+(:[a-z]+-[A-Za-z0-9]+)*")
#: Output spaces that are surfaces, or of no use to whatever compares subjects.
_NOT_VOLUMES = frozenset(
    ["fsnative", "fsaverage", "fsaverage5", "fsaverage6", "fsLR", "func", "run", "bold", "boldref"]
)
_FLAG = re.compile(r"--[a-z0-9][a-z0-9_-]*(=.*)?")
_VALUE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.:=+/-]*")
#: Options that this engine sets, and those that would undo what it sets.
_OWN = frozenset([
    "anat-only", "bids-database-dir", "boilerplate-only", "clean-workdir", "config-file", "derivatives",
    "fs-license-file", "fs-no-reconall", "fs-subjects-dir", "level", "mem", "mem-mb", "n-cpus", "notrack", "nprocs",
    "nthreads", "omp-nthreads", "output-layout", "output-spaces", "participant-label", "random-seed",
    "reports-only", "session-label", "skip-bids-validation", "skull-strip-fixed-seed",
    "subject-anatomical-reference", "version", "work-dir",
])  # fmt: skip
#: Variables with which a shell would open the container again.
_OPENING = ("APPTAINERENV_", "SINGULARITYENV_", "APPTAINER_BIND", "SINGULARITY_BIND", "APPTAINER_MOUNT")


@component
class Fmriprep(Preprocessor):
    """Run the fMRIPrep container on the subject of a recording, once, and take what it made of the recording.

    Parameters
    ----------
    datatype : {"anat", "func"}
        Which recordings are taken: T1w images (the container does anatomy only) or BOLD runs. A ``func`` recipe
        that names an ``anat`` one under ``after`` uses the anatomy of that.
    runtime : {"apptainer", "docker"}
        Program that runs containers; Singularity is used where there is no Apptainer.
    image : str
        Path of the image (``.sif``), or for Docker its name.
    fs_license : str
        Path of a FreeSurfer licence, which fMRIPrep needs in any case (free, from FreeSurfer's site).
    level : {"minimal", "resampling", "full"}
        How much is written. BOLD in standard space, and so ``func``, needs ``full``.
    output_spaces : list of str
        As fMRIPrep takes them; the first volume counts for what comes later.
    session_by_session : bool
        One call a session, each with its own anatomy, instead of one a subject.
    freesurfer : bool
        Whether surfaces are reconstructed: hours a subject, and better masks.
    templateflow : str or None
        TemplateFlow folder; if none is given, ``TEMPLATEFLOW_HOME``; failing that one in ``.fmriprep``, which
        fMRIPrep fills from the network. On machines without network, fill it before.
    nprocs, omp_nthreads, mem_mb : int
        Processes, threads of each, memory (MB). More than one thread changes the last digits of results.
    seed : int
        Of all random numbers.
    extra : list of str
        Further options, one word each, such as ``["--ignore", "slicetiming"]``.

    """

    datatypes: ClassVar[tuple[str, ...]] = ("anat", "func")
    suffixes: ClassVar[tuple[str, ...]] = ("T1w", "bold")
    family: ClassVar[str] = "mri"
    untold = frozenset(["fs_license", "mem_mb", "nprocs", "omp_nthreads", "runtime", "templateflow"])

    datatype: Literal["anat", "func"] = "func"
    runtime: Literal["apptainer", "docker"] = "apptainer"
    image: str = ""
    fs_license: str = ""
    level: Literal["minimal", "resampling", "full"] = "full"
    output_spaces: list[str] = ["MNI152NLin2009cAsym:res-2"]
    session_by_session: bool = False
    freesurfer: bool = True
    templateflow: str | None = None
    nprocs: int = Field(default=4, ge=1)
    omp_nthreads: int = Field(default=1, ge=1)
    mem_mb: int = Field(default=16000, ge=1000)
    seed: int = Field(default=0, ge=0)
    extra: list[str] = []

    def __post_init__(self) -> None:
        for space in self.output_spaces:
            if not _SPACE.fullmatch(space):
                raise InputError(f"output_spaces: {space!r}", "is no output space", "write MNI152NLin2009cAsym:res-2")
        self._space()
        if self.datatype == "func" and self.level != "full":
            fault = "writes no BOLD in standard space"
            raise InputError(f"level: {self.level}", fault, "set level to full, or use it for anat only")
        for word in self.extra:
            if not (_FLAG.fullmatch(word) or _VALUE.fullmatch(word)) or "\n" in word:
                raise InputError(f"extra: {word!r}", "is no option of fMRIPrep", "write one word an entry")
            option = word.removeprefix("--").partition("=")[0].replace("_", "-")
            # argparse takes beginnings of options too.
            if word.startswith("--") and any(own.startswith(option) for own in _OWN):
                raise InputError(f"extra: {word}", "is set by this engine", "use the parameter of that name, if any")

    def takes(self, recording: Mapping[str, str]) -> bool:
        """Return whether a recording is a T1w image or a BOLD run, its first echo if there are several."""
        fits = recording["datatype"] == self.datatype and recording["suffix"] == _SUFFIX[self.datatype]
        return fits and is_first_echo(recording["recording"])

    def preprocess(
        self, recording: Mapping[str, str], root: Path, out: Path, parents: Sequence[Path] = ()
    ) -> dict[str, Any]:
        """Take what fMRIPrep makes of a recording; see :class:`Preprocessor`.

        The container runs if the outputs of this subject are not there, are those of other raw data, or do not
        hold to the contract; the last at most once for all recordings of a subject.

        Raises
        ------
        InputError
            If licence, image or program is missing, or outputs are missing or damaged after the run.

        """
        inside(root, recording["path"])
        root = root.resolve()
        call = _Call(self, recording, root, _home(out), parents)
        state = call.state()
        found, fault = None, None
        if state.get("finished"):
            found, fault = self._judge(call, recording, root)
        attempted = self.__dict__.setdefault("_attempted", set())
        if found is None and call.unit not in attempted:
            attempted.add(call.unit)
            state = call.run(self._arguments(call))
            found, fault = self._judge(call, recording, root)
        if found is None:
            status = state.get("exit_status")
            raise InputError(
                str(fault).partition("; ")[0],
                f"fMRIPrep ended with exit status {status} and its outputs are not whole",
                f"see {call.log.relative_to(call.home.parent).as_posix()}, then run again",
            )
        outputs, names, entries = found
        made = deliver(outputs, recording["recording"], out, names)
        main = "bold" if self.datatype == "func" else ("image" if "image" in made else "native_image")
        if state.get("exit_status"):
            note = f"fMRIPrep ended with exit status {state['exit_status']}; its outputs of this recording are whole"
            entries["Notes"] = [note]
        space, resolution = outputs.space, outputs.resolution
        return {
            **stripped(outputs, main),
            **facts_of(outputs.files[main], names[main], recording),
            **entries,
            "MainFile": made[main],
            "ProcessingSoftware": f"fMRIPrep {_version(call.out)}",
            **({"SpatialReference": space} if space else {}),
            **({"Resolution": resolution} if resolution else {}),
        }

    def _space(self) -> tuple[str, str | None]:
        """Return the first output space that is a volume, and its resolution."""
        for entry in self.output_spaces:
            space, *labels = entry.split(":")
            if space not in _NOT_VOLUMES:
                found = [label.removeprefix("res-") for label in labels if label.startswith("res-")]
                return ("T1w" if space == "anat" else space), (found[0] if found and found[0] != "native" else None)
        raise InputError("output_spaces", "holds no volume", "add MNI152NLin2009cAsym:res-2")

    def _judge(
        self, call: _Call, recording: Mapping[str, str], root: Path
    ) -> tuple[tuple[Outputs, dict[str, str], dict[str, Any]] | None, InputError | None]:
        """Return the outputs of a recording with their names for messages and what they tell, or the fault."""
        space, resolution = self._space()
        outputs = find_outputs(call.out, recording, self.datatype, [space], resolution)
        names = {role: file.relative_to(call.out).as_posix() for role, file in outputs.files.items()}
        where = f"{call.unit}/{self.datatype}"
        try:
            refuse_links_out(outputs.files.values(), [call.home], {outputs.files[role]: names[role] for role in names})
            if self.datatype == "func":
                volumes = n_volumes_of(root / recording["path"])
                quality = check_func(outputs, names, where, volumes, ["bold", "mask", "boldref", "confounds"])
                quality["n_volumes"] = float(quality["n_volumes"])
            else:
                native = ["image", "mask", "dseg"]
                required = [f"native_{role}" for role in native]
                required += ["to_space", "to_native"] if space != "T1w" else []
                required += [*native, *TISSUES] if self.level == "full" and space != "T1w" else []
                quality = check_anat(outputs, names, where, required)
        except InputError as error:
            return None, error
        return (outputs, names, {"Quality": quality}), None

    def _arguments(self, call: _Call) -> list[str]:
        """Return the command: a list of words that no shell ever reads."""
        for what, given, remedy in (
            ("fs_license", self.fs_license, "get one from FreeSurfer's site (free) and name it in the card"),
            ("image", self.image, _fetch(self.runtime, self.image)),
        ):
            if not given:
                raise InputError(what, "is not given", remedy)
        licence = Path(self.fs_license)
        if not licence.is_file() or not licence.read_bytes().strip():
            fault = "is empty" if licence.is_file() else "no such FreeSurfer licence"
            raise InputError(licence.name, fault, "get one from FreeSurfer's site (free) and name it in the card")
        program = _program(self.runtime)
        templates = self.templateflow or os.environ.get("TEMPLATEFLOW_HOME")
        if templates and not Path(templates).is_dir():
            raise InputError(Path(templates).name, "no such TemplateFlow folder", "correct templateflow in the card")
        binds = [(call.root, "/data", "ro"), (call.out, "/out", "rw"), (call.work, "/work", "rw"),
                 (licence.resolve(), "/license.txt", "ro")]  # fmt: skip
        variables = {"NO_ET": "1", "NIPYPE_NO_ET": "1"}
        if templates or self.runtime == "apptainer":
            # The home of the image, where its own templates lie, is hidden by --containall.
            place = Path(templates).resolve() if templates else call.home / "templateflow"
            place.mkdir(parents=True, exist_ok=True)
            binds.append((place, "/templateflow", "rw"))
            variables["TEMPLATEFLOW_HOME"] = "/templateflow"
        options = []
        if call.anatomy is not None:
            binds.append((call.anatomy, "/anatomy", "ro"))
            options += ["--derivatives", "anat=/anatomy"]
            surfaces = call.anatomy / "sourcedata" / "freesurfer"
            if self.freesurfer and surfaces.is_dir():
                binds.append((surfaces, "/surfaces", "rw"))
                options += ["--fs-subjects-dir", "/surfaces"]
        for source, _, _ in binds:
            if re.search(r"[:,]", str(source)):
                fault = "has a colon or comma in its path, which containers can not bind"
                raise InputError(source.name, fault, "move it")
        if self.runtime == "docker":
            if subprocess.run([program, "image", "inspect", self.image], capture_output=True).returncode:  # noqa: S603
                raise InputError(self.image, "no such container image", f"fetch it: {_fetch('docker', self.image)}")
            command = [program, "run", "--rm", "--user", f"{os.getuid()}:{os.getgid()}"]
            command += [word for key, value in variables.items() for word in ("--env", f"{key}={value}")]
            command += [word for source, target, mode in binds for word in ("--volume", f"{source}:{target}:{mode}")]
            command += [self.image]
        else:
            image = Path(self.image)
            if not image.exists():
                fetch = f"fetch it: {_fetch('apptainer', self.image)}"
                raise InputError(image.name, "no such container image", fetch)
            command = [program, "run", "--cleanenv", "--containall", "--workdir", str(call.scratch)]
            command += ["--home", f"{call.scratch / 'home'}:/home/fmriprep"]
            command += [word for key, value in variables.items() for word in ("--env", f"{key}={value}")]
            command += [word for source, target, mode in binds for word in ("--bind", f"{source}:{target}:{mode}")]
            command += [str(image.resolve())]
        command += ["/data", "/out", "participant", "--participant-label", call.subject]
        if call.session is not None:
            command += ["--session-label", call.session, "--subject-anatomical-reference", "sessionwise"]
        command += ["--work-dir", "/work", "--fs-license-file", "/license.txt", "--notrack", "--skip-bids-validation"]
        command += ["--level", self.level, "--output-spaces", *self.output_spaces, "--output-layout", "bids"]
        command += ["--nprocs", str(self.nprocs), "--omp-nthreads", str(self.omp_nthreads), "--mem", str(self.mem_mb)]
        command += ["--random-seed", str(self.seed), "--skull-strip-fixed-seed"]
        command += ["--anat-only"] if self.datatype == "anat" else []
        command += [] if self.freesurfer else ["--fs-no-reconall"]
        return [*command, *options, *self.extra]

    def _identity(self) -> str:
        """Return what tells apart runs whose outputs may differ; speed and place are no part of it."""
        image = Path(self.image)
        # An image is named by name and size: to read gigabytes at each start would take as long as a small job.
        size = image.stat().st_size if self.runtime == "apptainer" and image.is_file() else None
        told = [self.datatype, self.runtime, image.name, size, self.level, self.output_spaces]
        return digest_of(*told, self.session_by_session, self.freesurfer, self.seed, self.extra)[:12]

    def described(self) -> str:
        """Return what it does, in words."""
        kind = "T1-weighted images" if self.datatype == "anat" else "BOLD runs"
        surfaces = "with" if self.freesurfer else "without"
        units = "session by session" if self.session_by_session else "participant by participant"
        more = f" Further options were: {' '.join(self.extra)}." if self.extra else ""
        image = f" (image {file_name(self.image)})" if self.image else ""
        return text(
            f"{kind} were preprocessed by the container of fMRIPrep [@esteban2019]{image}, {units}, {surfaces}"
            f" reconstruction of surfaces, at the level “{self.level}”, to {listed(self.output_spaces)}, with"
            f" seed {self.seed}.{more}",
            "fMRIPrep writes a text of its own about every participant, which should be cited beside this one.",
        )


class _Call:
    """One call of the container: of a subject, or of one session of a subject.

    ``state.json`` of a call records which raw data it was for and how it ended. A call for the same data goes on
    from what is there; one for other data begins with its outputs removed, lest they be taken for new ones.
    """

    def __init__(
        self,
        engine: Fmriprep,
        recording: Mapping[str, str],
        root: Path,
        derivatives: Path,
        parents: Sequence[Path],
    ) -> None:
        self.root, self.subject = root, recording["subject"]
        session = recording.get("session") or "n/a"
        self.session = session if engine.session_by_session and session != "n/a" else None
        for label in (self.subject, self.session or "x"):
            if not re.fullmatch(r"[A-Za-z0-9+]+", label):
                raise InputError(recording["path"], f"{label!r} is no BIDS label", "rename the file")
        self.unit = f"sub-{self.subject}" + (f"/ses-{self.session}" if self.session else "")
        self.home = derivatives / ".fmriprep" / engine._identity()
        flat = self.unit.replace("/", "_")
        self.out, self.work = self.home / "out", self.home / "work" / flat
        self.scratch, self.log = self.home / "scratch" / flat, self.home / "logs" / f"{flat}.log"
        self.record, self.cache = self.home / "state" / f"{flat}.json", self.home / "state" / f"{flat}.files.json"
        self.anatomy = _anatomy(parents) if engine.datatype == "func" else None
        self.parents = parents

    def inputs(self) -> str:
        """Return the digest of the raw data: the subject's files, the JSON files that they inherit, the anatomy."""
        folder = self.root / self.unit
        above = sorted([*self.root.glob("*.json"), *(folder.parent.glob("*.json") if self.session else [])])
        kept = [path for path in above if path.name not in ("dataset_description.json", "participants.json")]
        self.cache.parent.mkdir(parents=True, exist_ok=True)
        return digest_of(
            digest_tree(folder, self.cache),
            [[path.name, digest_file(path)] for path in kept if path.is_file()],
            [digest_file(path) for path in self.parents],
        )

    def state(self) -> dict[str, Any]:
        """Return how the call for these raw data ended, or nothing if there was none."""
        try:
            state = read_json(self.record) if self.record.is_file() else {}
        except InputError:  # a damaged record is no record
            state = {}
        return state if isinstance(state, dict) and state.get("inputs") == self.inputs() else {}

    def run(self, arguments: list[str]) -> dict[str, Any]:
        """Run the container; return how it ended."""
        state = self.state()
        if not state:
            shutil.rmtree(self.out / self.unit, ignore_errors=True)
            state = {"inputs": self.inputs()}
        for folder in (self.out, self.work, self.scratch / "home", self.log.parent):
            folder.mkdir(parents=True, exist_ok=True)
        write_text(self.record, to_json({**state, "finished": False}))
        environment = {key: value for key, value in os.environ.items() if not key.startswith(_OPENING)}
        with self.log.open("wb") as log:
            done = subprocess.run(  # noqa: S603 - a list of checked words, never read by a shell
                arguments, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, env=environment,
                cwd=self.work,
            )  # fmt: skip
        state = {**state, "finished": True, "exit_status": done.returncode}
        write_text(self.record, to_json(state))
        shutil.rmtree(self.scratch, ignore_errors=True)
        return state


def _home(out: Path) -> Path:
    """Return the derivative dataset of the temporary folder ``out``."""
    out = out.resolve()
    records = next((folder for folder in out.parents if folder.name == ".replicortex"), None)
    return records.parent if records is not None else out.parent


def _anatomy(parents: Iterable[Path]) -> Path | None:
    """Return the outputs of the fMRIPrep run that made the parents, if it was one and is still there."""
    for parent in parents:
        subject = next((folder for folder in parent.parents if folder.name.startswith("sub-")), None)
        found = sorted(subject.parent.glob(f".fmriprep/*/out/{subject.name}")) if subject else []
        # With outputs of several sets of parameters, which of them was taken can not be told.
        if len(found) == 1:
            return found[0].parent.resolve()
    return None


def _program(runtime: str) -> str:
    for name in ("docker",) if runtime == "docker" else ("apptainer", "singularity"):
        program = shutil.which(name)
        if program:
            return program
    raise InputError(runtime, "is not installed", "install it, or set runtime in the preprocessing card")


def _fetch(runtime: str, image: str) -> str:
    """Return the command that fetches an image."""
    if runtime == "docker":
        return f"docker pull {image or f'nipreps/fmriprep:{_RELEASE}'}"
    return f"apptainer build {Path(image).name or f'fmriprep-{_RELEASE}.sif'} docker://nipreps/fmriprep:{_RELEASE}"


def _version(out: Path) -> str:
    """Return the version that fMRIPrep says it is."""
    try:
        content = read_json(out / "dataset_description.json")
        return str(content["GeneratedBy"][0]["Version"])
    except (InputError, KeyError, IndexError, TypeError):
        return "(version not stated)"
