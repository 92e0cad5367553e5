"""Bring published tables and images that are not BIDS to BIDS: a table of people, and what was measured of each."""

from __future__ import annotations

import json
import re
import shutil
import tempfile
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pandas as pd
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ..bids import join
from ..components import Reader, make
from ..errors import InputError, did_you_mean
from ..files import temporary_prefix, to_json, write_text
from ..origin import generated_by

_Label = Annotated[str, Field(pattern=r"^[A-Za-z0-9]+$")]
#: What unpacks to a GiB and was a hundredth of it is made to fill memory.
_LIKELY, _ALWAYS = 100, 1 << 30
#: What the validator does not know yet; the names are those of BEP 17 and of FreeSurfer-like derivatives, and BEP 32.
_IGNORED = "*_timeseries.*\n*_relmat.*\n*_morph.*\n"
_NOT_YET = "ephys\n"
_TABLES = ("_timeseries.tsv", "_relmat.tsv", "_morph.tsv")


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Participants(_Part):
    """A CSV or TSV file with a row a person: ``table``, and the column ``id`` that everything else refers to."""

    table: str
    id: str


class Images(_Part):
    """NIfTI files, found by ``pattern`` with ``{id}`` in it."""

    pattern: str
    datatype: _Label
    suffix: _Label
    task: _Label | None = None


class Series(_Part):
    """An ``.npz`` file with one array (time x region) a person, named by the id."""

    file: str
    atlas: _Label
    task: _Label = "rest"


class Matrices(_Part):
    """An ``.npz`` file with an array (person x edge): lower triangles by rows, people in the order of their table."""

    file: str
    atlas: _Label
    task: _Label = "rest"


class Measures(_Part):
    """A CSV or TSV file with a row a person and a column a variable, such as thickness by region."""

    table: str
    id: str
    name: _Label


class Plan(_Part):
    """What a dataset is gathered from.

    ``reader`` names a component that knows the files of a source, and has ``params``; otherwise there is a table of
    ``participants``, and files or tables by person. ``metadata`` goes into every sidecar; ``metadata_by`` says what
    depends on a column of the participants, such as the repetition time on the site:
    ``{column: {value: {field: ...}}}``.
    """

    name: str
    license: str
    participants: Participants | None = None
    reader: str | None = None
    params: Mapping[str, Any] = {}
    images: Images | None = None
    series: Series | None = None
    matrices: Matrices | None = None
    measures: Measures | None = None
    metadata: Mapping[str, Any] = {}
    metadata_by: Mapping[str, Mapping[str, Mapping[str, Any]]] = {}


def gather(source: Path, out: Path, plan: Mapping[str, Any]) -> int:
    """Write the BIDS dataset ``out`` from files under ``source``; return the number of people with data.

    With images alone it is a raw dataset, else a derivative one: its tables are named as the derivatives of XCP-D
    and nipoppy are (``_timeseries.tsv``, ``_relmat.tsv``, ``_morph.tsv``). ``out`` appears once all is written; the
    source is only read.

    Parameters
    ----------
    source, out : Path
        Folders.
    plan : mapping
        See :class:`Plan`.

    Raises
    ------
    InputError
        If a file or column is missing, sizes do not agree, an id stands twice, or nobody has data.
    """
    try:
        # Its metadata become sidecars.
        json.dumps(plan, ensure_ascii=False, allow_nan=False).encode()
    except ValueError as error:
        raise InputError("gather", f"holds what JSON can not say ({error})", "correct the dataset card") from None
    try:
        made = Plan(**plan)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        raise InputError(f"gather.{place}", first["msg"], "correct the dataset card") from None
    if not source.is_dir():
        raise InputError(source, "no such folder", "check `source` of the dataset card")
    if (made.participants is None) == (made.reader is None):
        raise InputError("gather", "needs a table of participants, or a reader", "name one of them in the dataset card")
    people = _read(source, made.participants.table, made.participants.id) if made.participants else pd.DataFrame()
    reader = make("readers", made.reader, made.params) if made.reader else None
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=temporary_prefix(out), dir=out.parent) as folder:
        new = Path(folder) / "new"
        new.mkdir()
        if reader:
            have = _by_reader(reader, source, new, made)
            _swap(new, out, Path(folder) / "old")
            return have
        have: set[str] = set()
        for written in (_images, _series, _matrices, _measures):
            have |= set(written(source, new, made, people))
        if not have:
            raise InputError(source.name, "no person of the table has any data", "correct the names in the card")
        _describe(new, made, people[people.index.isin(have)])
        _swap(new, out, Path(folder) / "old")
    return len(have)


def _swap(new: Path, out: Path, old: Path) -> None:
    """Put a finished folder in its place."""
    if out.exists():
        shutil.move(out, old)
    shutil.move(new, out)


def _by_reader(reader: Reader, source: Path, root: Path, plan: Plan) -> int:
    """Write the dataset that a reader makes; return the number of subjects.

    Raises
    ------
    InputError
        If it has no subject, or names others than it wrote files of.
    """
    rows = reader.read(source, root)
    named = [str(row["participant_id"]) for row in rows]
    odd = sorted(set(named) ^ {path.name for path in root.glob("sub-*") if path.is_dir()})
    if not named or odd or len(set(named)) != len(named):
        fault = f"named and written subjects differ ({odd[0]})" if odd else "no subject, or one named twice"
        raise InputError(f"readers/{plan.reader}", fault, "check the source, or correct the reader")
    people = pd.DataFrame(rows, dtype=object)
    _write_table(root / "participants.tsv", people[["participant_id", *people.columns.drop("participant_id")]])
    _write_description(root, plan, derived=any(path.name.endswith(_TABLES) for path in root.glob("sub-*/**/*.tsv")))
    write_text(root / ".bidsignore", _IGNORED + _NOT_YET)
    return len(named)


def _inside(source: Path, name: str) -> Path:
    """Return the path of a file below ``source``; refuse one that is elsewhere or missing."""
    path = source / name
    if not path.resolve().is_relative_to(source.resolve()):
        raise InputError(name, "leads out of the source folder", "name a file inside it")
    if not path.is_file():
        raise InputError(name, "no such file in the source folder", "correct the name in the dataset card")
    return path


def _read(source: Path, name: str, column: str) -> pd.DataFrame:
    """Return a table by its id column, as text."""
    path = _inside(source, name)
    try:
        table = pd.read_csv(path, sep="\t" if path.suffix == ".tsv" else ",", dtype=str, keep_default_na=False)
    except (ValueError, UnicodeDecodeError) as error:
        raise InputError(name, f"not a readable table ({error})", "repair it") from None
    if column not in table:
        raise InputError(name, f"has no column {column!r}", did_you_mean(column, list(table)))
    if table[column].duplicated().any():
        twice = table[column][table[column].duplicated()].iloc[0]
        raise InputError(name, f"{column} {twice!r} stands twice", "keep one row a person")
    return table.set_index(column)


def label_of(name: str) -> str:
    """Return the BIDS label for an id: its letters and digits, without a leading ``sub-``."""
    return re.sub(r"[^A-Za-z0-9]", "", name.removeprefix("sub-"))


def _metadata(plan: Plan, people: pd.DataFrame, name: str) -> dict[str, Any]:
    """Return the sidecar entries of a person."""
    told = dict(plan.metadata)
    for column, values in plan.metadata_by.items():
        if column not in people:
            raise InputError(plan.participants.table, f"has no column {column!r}", did_you_mean(column, list(people)))
        told |= values.get(people.at[name, column], {})
    return told


def _place(root: Path, name: str, datatype: str, suffix: str, extension: str, **entities: str | None) -> Path:
    path = root / join({"subject": label_of(name), **entities}, suffix, extension, datatype)
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def _images(source: Path, root: Path, plan: Plan, people: pd.DataFrame) -> Iterator[str]:
    if plan.images is None:
        return
    if "{id}" not in plan.images.pattern:
        raise InputError("gather.images.pattern", "has no {id}", "say where the id stands in the path")
    for name in people.index:
        relative = plan.images.pattern.replace("{id}", name)
        if not (source / relative).is_file():
            continue
        extension = ".nii.gz" if relative.endswith(".nii.gz") else ".nii"
        path = _place(root, name, plan.images.datatype, plan.images.suffix, extension, task=plan.images.task)
        shutil.copyfile(_inside(source, relative), path)
        write_text(path.with_name(path.name.removesuffix(extension) + ".json"), to_json(_metadata(plan, people, name)))
        yield name


def _load(source: Path, name: str) -> dict[str, np.ndarray]:
    """Return the arrays of an ``.npz`` file; objects, which could run code, and zip bombs are refused."""
    path = _inside(source, name)
    try:
        with zipfile.ZipFile(path) as packed:
            demanded = sum(entry.file_size for entry in packed.infolist())
        if demanded > max(path.stat().st_size * _LIKELY, _ALWAYS):
            raise ValueError(f"unpacks to {demanded} bytes")
        with np.load(path, allow_pickle=False) as archive:
            return dict(archive)
    except Exception as error:
        # What an array claims beyond what its archive holds is no want of memory.
        if isinstance(error, MemoryError) and demanded > _ALWAYS // 8:
            raise
        # zipfile and numpy fail in as many ways as files are damaged.
        raise InputError(name, f"not a readable .npz file ({error})", "restore it") from None


def _series(source: Path, root: Path, plan: Plan, people: pd.DataFrame) -> Iterator[str]:
    if plan.series is None:
        return
    archive = _load(source, plan.series.file)
    for name in people.index.intersection(list(archive)):
        series = archive[name]
        if series.ndim != 2 or series.dtype.kind not in "iuf":
            fault = f"{name} has {series.ndim} dimensions of {series.dtype}"
            raise InputError(plan.series.file, fault, "give numbers, time x region")
        regions = [f"{plan.series.atlas}{i + 1:03d}" for i in range(series.shape[1])]
        entities = {"task": plan.series.task, "atlas": plan.series.atlas}
        path = _place(root, name, "func", "timeseries", ".tsv", **entities)
        _write_table(path, pd.DataFrame(series, columns=regions))
        told = {"Description": "Mean signal of each region", **_metadata(plan, people, name)}
        write_text(path.with_suffix(".json"), to_json(told))
        yield name


def _matrices(source: Path, root: Path, plan: Plan, people: pd.DataFrame) -> Iterator[str]:
    if plan.matrices is None:
        return
    archive = _load(source, plan.matrices.file)
    edges = next(iter(archive.values()), np.empty(0))
    if len(archive) != 1 or edges.ndim != 2 or edges.dtype.kind not in "iuf":
        raise InputError(plan.matrices.file, "does not hold one array of person x edge", "give one")
    if len(edges) != len(people):
        fault = f"has {len(edges)} rows, {plan.participants.table} has {len(people)}"
        raise InputError(plan.matrices.file, fault, "give a row a person, in the same order")
    n_regions = round((1 + np.sqrt(1 + 8 * edges.shape[1])) / 2)
    if n_regions * (n_regions - 1) // 2 != edges.shape[1]:
        raise InputError(plan.matrices.file, f"{edges.shape[1]} edges are no lower triangle", "leave out the diagonal")
    regions = [f"{plan.matrices.atlas}{i + 1:03d}" for i in range(n_regions)]
    for name, values in zip(people.index, edges, strict=True):
        matrix = np.eye(n_regions)
        matrix[np.tril_indices(n_regions, -1)] = values
        matrix = np.where(np.eye(n_regions, dtype=bool), 1, matrix + matrix.T)
        entities = {"task": plan.matrices.task, "atlas": plan.matrices.atlas}
        path = _place(root, name, "func", "relmat", ".tsv", **entities)
        _write_table(path, pd.DataFrame(matrix, index=pd.Index(regions, name="Node"), columns=regions), index=True)
        write_text(path.with_suffix(".json"), to_json({"Measure": "correlation", **_metadata(plan, people, name)}))
        yield name


def _measures(source: Path, root: Path, plan: Plan, people: pd.DataFrame) -> Iterator[str]:
    if plan.measures is None:
        return
    table = _read(source, plan.measures.table, plan.measures.id).apply(pd.to_numeric, errors="coerce")
    for name in people.index.intersection(table.index):
        path = _place(root, name, "anat", "morph", ".tsv", description=plan.measures.name)
        row = table.loc[name]
        _write_table(path, pd.DataFrame({"variable": row.index, "value": row.to_numpy()}))
        write_text(path.with_suffix(".json"), to_json(_metadata(plan, people, name)))
        yield name


def _write_table(path: Path, table: pd.DataFrame, *, index: bool = False) -> None:
    table.to_csv(path, sep="\t", index=index, na_rep="n/a", float_format="%.7g", lineterminator="\n")


def _describe(root: Path, plan: Plan, people: pd.DataFrame) -> None:
    """Write what describes the dataset and its people."""
    table = people.replace("", "n/a")
    labels = [f"sub-{label_of(name)}" for name in table.index]
    if len(set(labels)) != len(labels):
        raise InputError(plan.participants.table, "two ids differ in other signs than letters and digits", "rename one")
    table.insert(0, "participant_id", labels)
    _write_table(root / "participants.tsv", table)
    _write_description(root, plan, derived=bool(plan.series or plan.matrices or plan.measures))


def _write_description(root: Path, plan: Plan, *, derived: bool) -> None:
    description = {
        "Name": plan.name,
        "BIDSVersion": "1.10.1",
        "DatasetType": "derivative" if derived else "raw",
        "License": plan.license,
        "GeneratedBy": [generated_by("Gathered from published files; values are unchanged")],
    }
    write_text(root / "dataset_description.json", to_json(description))
    write_text(root / "README.md", f"# {plan.name}\n\nBrought to BIDS from published files, values unchanged.\n")
    if derived:
        write_text(root / ".bidsignore", _IGNORED)
