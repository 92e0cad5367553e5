"""Preprocess the recordings of a block into a BIDS derivative dataset."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import quote

from .. import __version__
from ..bids import read_recordings, select_block
from ..damage import read_table
from ..errors import InputError
from ..files import digest_file, digest_of, read_json, to_json, to_tsv, write_text
from ..origin import doi_of, generated_here, source_dataset
from ..shared.raw_files import inside
from .blocks import IDENTITY, Store, name_of, over_recordings, parse_block, with_files
from .quality import subject_reports

COLUMNS = ["path", "digest", "source", "quality"]
#: Not BIDS (yet): the workflow's own records, pictures, and what the specification will name.
IGNORED = """.replicortex/
.fmriprep/
figures
*.html
*_xfm.*
*_boldmap.*
*_boldref.*
*_morph.*
*_relmat.*
*_timeseries.*
"""
#: Extensions of files that stand beside a data file.
_COMPANIONS = {".json", ".tsv", ".eeg", ".vmrk", ".fdt", ".bval", ".bvec"}


def preprocess_block(
    recordings: Path,
    root: Path,
    derivatives: Path,
    manifest: Path,
    engine: str,
    params: Mapping[str, Any],
    code: str,
    block: str,
    filters: Mapping[str, Sequence[str]] | None = None,
    files: Mapping[str, str] | None = None,
    earlier: Path | None = None,
    earlier_manifests: Sequence[Path] = (),
) -> None:
    """Preprocess those recordings of ``block`` that ``engine`` can do; write ``manifest``.

    A recording whose content, engine, parameters and code have not changed is passed over. One that fails is
    recorded in the manifest. Derivatives of recordings that are gone are removed.

    Parameters
    ----------
    recordings : Path
        ``recordings.tsv``, or the list of the block.
    root, derivatives : Path
        The raw dataset and the derivative dataset.
    manifest : Path
        The table to write: a row a recording.
    engine, params
        Name and parameters of the preprocessing component.
    code : str
        Digest of its code.
    block : str
        ``"0of4"``: number of the block, and how many there are.
    filters : mapping of str to sequence of str
        Labels to take, by entity; all others are left out.
    files : mapping of str to str, optional
        Parameters that are paths of the user's files: part of the identity is their content.
    earlier : Path, optional
        The derivative dataset of the recipe that this one builds on.
    earlier_manifests : sequence of Path
        What that recipe made of the subjects of this block, and perhaps of others.

    Raises
    ------
    InputError
        If a parameter is refused or the disk is full; a fault of a recording is only recorded.

    """
    component, identity = with_files("preprocessing", engine, params, files or {})
    identity += [code]
    rows = select_block(read_recordings(recordings), *parse_block(block))
    rows = [row for row in rows if component.takes(row)]
    rows = [row for row in rows if all(row[entity] in labels for entity, labels in (filters or {}).items())]
    describe(derivatives, root, engine, identity[1], earlier)
    store = Store(derivatives)
    parents = _Parents(earlier, earlier_manifests)
    store.prune((name_of(row) for row in rows), block)

    def key(row: Mapping[str, str]) -> str:
        others = [digest_file(path) for path in component.inputs(row, root)]
        return digest_of(name_of(row), row["path"], row["digest"], *identity, *parents.digests(row), *others)

    def known(row: Mapping[str, str]) -> dict[str, Any] | None:
        if row["problem"] != "n/a":
            fault, _, remedy = row["problem"].rpartition("; ")
            raise InputError(row["path"], fault, remedy)
        record = store.find(name_of(row), key(row))
        return None if record is None else entry(row, record)

    def process(row: Mapping[str, str]) -> dict[str, Any]:
        used = parents.of(row)

        def write(folder: Path) -> dict[str, Any]:
            (folder / "figures").mkdir()
            sidecar = component.preprocess(row, root, folder, parents=[path for _, path in used])
            data = folder / sidecar.pop("MainFile") if "MainFile" in sidecar else data_file(folder, component.main)
            sources = [f"bids:raw:{row['path']}", *(f"bids:earlier:{line['path']}" for line, _ in used)]
            stem = data.name.split(".")[0]
            # A table's own sidecar describes its columns, and stays.
            described = read_json(folder / f"{stem}.json") if (folder / f"{stem}.json").is_file() else {}
            write_text(folder / f"{stem}.json", to_json({**described, **sidecar, "Sources": sources}))
            return {"name": data.name, "quality": sidecar.get("Quality", {})}

        folder = PurePosixPath(row["path"]).parent.as_posix()
        return entry(row, store.make(name_of(row), key(row), folder, write))

    def entry(row: Mapping[str, str], record: Mapping[str, Any]) -> dict[str, Any]:
        result = record["result"]
        path = PurePosixPath(row["path"]).with_name(result["name"]).as_posix()
        quality = json.dumps(result["quality"], sort_keys=True) if result["quality"] else None
        return {"path": path, "digest": record["digest"], "source": row["path"], "quality": quality}

    hide = [root, derivatives, *([earlier] if earlier else [])]
    table = over_recordings(rows, COLUMNS, known, process, hide=hide)
    for line in table:
        if line["status"] == "failed":
            store.drop(name_of(line))
    subject_reports(derivatives, table)
    write_text(manifest, to_tsv(table, [*IDENTITY, "status", "reason", *COLUMNS]))


class _Parents:
    """What an earlier recipe made of the subjects, and what can not be built on it.

    Parameters
    ----------
    base : Path or None
        Its derivative dataset.
    manifests : sequence of Path
        Its tables.

    """

    def __init__(self, base: Path | None, manifests: Sequence[Path]) -> None:
        self.base = base
        self.lines: dict[str, list[dict[str, str]]] = {}
        self._manifest: dict[str, Path] = {}
        for path in manifests:
            for line in read_table(path, [*IDENTITY, "status", "reason", *COLUMNS]):
                self.lines.setdefault(line["subject"], []).append(line)
                self._manifest[name_of(line)] = path

    def digests(self, row: Mapping[str, str]) -> list[str]:
        """Return what identifies that which ``row`` is built on."""
        return [line["digest"] for line in self.lines.get(row["subject"], []) if line["status"] == "ok"]

    def of(self, row: Mapping[str, str]) -> list[tuple[dict[str, str], Path]]:
        """Return the line and main file of each earlier recording of the same subject, those of its session first.

        Raises
        ------
        InputError
            If there was one, and it could not be processed, or has changed since.

        """
        lines = self.lines.get(row["subject"], [])
        good = [line for line in lines if line["status"] == "ok"]
        if lines and not good:
            fault = f"what it builds on could not be processed: {lines[0]['reason']}"
            raise InputError(row["path"], fault, "correct that first")
        for line in good:
            Store(self.base).verify(name_of(line), line["digest"], self._manifest[name_of(line)])
        good.sort(key=lambda line: line["session"] != row["session"])
        return [(line, (self.base / line["path"]).resolve()) for line in good]


def data_file(folder: Path, main: str = "") -> Path:
    """Return the data file among the files that an engine wrote: the only one, or the one that ends in ``main``."""
    data = [path for path in folder.iterdir() if path.is_file() and path.suffix not in _COMPANIONS]
    found = [path for path in data if path.name.endswith(main)] if main else data
    if len(found) != 1:
        raise TypeError(f"an engine writes one main file a recording, this one wrote {len(found)}")
    return found[0]


def describe(
    derivatives: Path, root: Path, engine: str, params: Mapping[str, Any], earlier: Path | None = None
) -> None:
    """Write ``dataset_description.json``, ``README.md`` and ``.bidsignore`` of the derivative dataset."""
    raw = read_json(inside(root, "dataset_description.json"))
    if not isinstance(raw, dict):
        raise InputError("dataset_description.json", "does not hold a JSON object", "repair it")
    name, link = str(raw.get("Name") or "dataset"), raw_link(derivatives, root, raw)
    description = {
        "Name": f"{name}: preprocessed by {engine}",
        "BIDSVersion": "1.10.1",
        "DatasetType": "derivative",
        "GeneratedBy": [generated_here(f"preprocessing engine {engine}")],
        "SourceDatasets": [source_dataset(raw, link, root.parent / "fetched.json")],
        "DatasetLinks": {
            "raw": link,
            **({"earlier": Path(os.path.relpath(earlier, derivatives)).as_posix()} if earlier else {}),
        },
        **{field: raw[field] for field in ("License", "Authors", "Funding") if raw.get(field)},
    }
    readme = (
        f"# {description['Name']}\n\nMade by replicortex {__version__} from the raw dataset that "
        f"`DatasetLinks` names, with these parameters:\n\n```json\n{to_json(params)}```\n\n"
        "`.replicortex/` records what each recording was made from; without it all is computed again.\n"
    )
    write_text(derivatives / "dataset_description.json", to_json(description), only_if_changed=True)
    write_text(derivatives / "README.md", readme, only_if_changed=True)
    write_text(derivatives / ".bidsignore", IGNORED, only_if_changed=True)


def raw_link(derivatives: Path, root: Path, raw: Mapping[str, Any]) -> str:
    """Return where the raw dataset is, in a way that holds on other machines.

    That is its DOI; else the relative path, if both lie in the working directory; else its name as a URN.
    """
    doi = doi_of(raw)
    if doi:
        return f"https://doi.org/{doi}"
    here = Path.cwd()
    if Path(root).resolve().is_relative_to(here) and Path(derivatives).resolve().is_relative_to(here):
        return Path(os.path.relpath(Path(root).resolve(), Path(derivatives).resolve())).as_posix()
    return f"urn:dataset:{quote(str(raw.get('Name') or 'unnamed'), safe='')}"
