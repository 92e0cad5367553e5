"""Preprocess the recordings of a block into a BIDS derivative dataset."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import quote

from .. import __version__
from ..bids import read_recordings, select_block
from ..components import make, parameters
from ..errors import InputError
from ..files import digest_of, read_json, to_json, to_tsv, write_text
from .blocks import IDENTITY, Store, name_of, over_recordings, parse_block

COLUMNS = ["path", "digest", "source"]
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

    Raises
    ------
    InputError
        If a parameter is refused or the disk is full; a fault of a recording is only recorded.

    """
    component = make("preprocessing", engine, params)
    identity = [engine, parameters(component), code]
    rows = select_block(read_recordings(recordings), *parse_block(block))
    rows = [row for row in rows if row["datatype"] in component.datatypes]
    rows = [row for row in rows if all(row[entity] in labels for entity, labels in (filters or {}).items())]
    describe(derivatives, root, engine, identity[1])
    store = Store(derivatives)
    store.prune((name_of(row) for row in rows), block)

    def key(row: Mapping[str, str]) -> str:
        return digest_of(name_of(row), row["path"], row["digest"], *identity)

    def known(row: Mapping[str, str]) -> dict[str, Any] | None:
        if row["problem"] != "n/a":
            fault, _, remedy = row["problem"].rpartition("; ")
            raise InputError(row["path"], fault, remedy)
        record = store.find(name_of(row), key(row))
        return None if record is None else entry(row, record)

    def process(row: Mapping[str, str]) -> dict[str, Any]:
        def write(folder: Path) -> str:
            sidecar = component.preprocess(row, root, folder)
            data = data_file(folder)
            stem = data.name.split(".")[0]
            write_text(folder / f"{stem}.json", to_json({**sidecar, "Sources": [f"bids:raw:{row['path']}"]}))
            return data.name

        folder = PurePosixPath(row["path"]).parent.as_posix()
        return entry(row, store.make(name_of(row), key(row), folder, write))

    def entry(row: Mapping[str, str], record: Mapping[str, Any]) -> dict[str, Any]:
        path = PurePosixPath(row["path"]).with_name(record["result"]).as_posix()
        return {"path": path, "digest": record["digest"], "source": row["path"]}

    table = over_recordings(rows, COLUMNS, known, process, hide=[root, derivatives])
    for line in table:
        if line["status"] == "failed":
            store.drop(name_of(line))
    write_text(manifest, to_tsv(table, [*IDENTITY, "status", "reason", *COLUMNS]))


def data_file(folder: Path) -> Path:
    """Return the one data file among the files that an engine wrote."""
    found = [path for path in folder.iterdir() if path.suffix not in _COMPANIONS]
    if len(found) != 1:
        raise TypeError(f"an engine writes one data file a recording, this one wrote {len(found)}")
    return found[0]


def describe(derivatives: Path, root: Path, engine: str, params: Mapping[str, Any]) -> None:
    """Write ``dataset_description.json``, ``README.md`` and ``.bidsignore`` of the derivative dataset."""
    raw = read_json(root / "dataset_description.json")
    if not isinstance(raw, dict):
        raise InputError("dataset_description.json", "does not hold a JSON object", "repair it")
    name, link = str(raw.get("Name") or "dataset"), raw_link(derivatives, root, raw)
    description = {
        "Name": f"{name}: preprocessed by {engine}",
        "BIDSVersion": "1.10.1",
        "DatasetType": "derivative",
        "GeneratedBy": [
            {"Name": "replicortex", "Version": __version__, "Description": f"preprocessing engine {engine}"}
        ],
        "SourceDatasets": [{"URL": link}],
        "DatasetLinks": {"raw": link},
        **{field: raw[field] for field in ("License", "Authors", "Funding") if raw.get(field)},
    }
    readme = (
        f"# {description['Name']}\n\nMade by replicortex {__version__} from the raw dataset that "
        f"`DatasetLinks` names, with these parameters:\n\n```json\n{to_json(params)}```\n\n"
        "`.replicortex/` records what each recording was made from; without it all is computed again.\n"
    )
    write_text(derivatives / "dataset_description.json", to_json(description), only_if_changed=True)
    write_text(derivatives / "README.md", readme, only_if_changed=True)
    write_text(derivatives / ".bidsignore", ".replicortex/\n", only_if_changed=True)


def raw_link(derivatives: Path, root: Path, raw: Mapping[str, Any]) -> str:
    """Return where the raw dataset is, in a way that holds on other machines.

    That is its DOI; else the relative path, if both lie in the working directory; else its name as a URN.
    """
    doi = str(raw.get("DatasetDOI") or "").removeprefix("https://doi.org/").removeprefix("doi:")
    if doi:
        return f"https://doi.org/{doi}"
    here = Path.cwd()
    if Path(root).resolve().is_relative_to(here) and Path(derivatives).resolve().is_relative_to(here):
        return Path(os.path.relpath(Path(root).resolve(), Path(derivatives).resolve())).as_posix()
    return f"urn:dataset:{quote(str(raw.get('Name') or 'unnamed'), safe='')}"
