"""What describes a simulated derivative dataset of tables: people, licence, what the validator is not to read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from .. import __version__
from ..files import to_json, to_tsv, write_text

#: Columns of ``participants.tsv`` that all such datasets have.
PARTICIPANTS: dict[str, dict[str, Any]] = {
    "age": {"Description": "Age of the simulated participant.", "Units": "year"},
    "sex": {"Description": "Sex of the simulated participant.", "Levels": {"F": "female", "M": "male"}},
    "site": {"Description": "Site of the simulated scanner."},
    "diagnosis": {
        "Description": "Group of the simulated participant.",
        "Levels": {"control": "no diagnosis", "patient": "a diagnosis"},
    },
}


def describe_tables(
    root: Path,
    name: str,
    readme: str,
    rows: Sequence[Mapping[str, Any]],
    suffix: str,
    columns: Mapping[str, Mapping[str, Any]] = PARTICIPANTS,
) -> None:
    """Write the files that describe the dataset as a whole.

    Parameters
    ----------
    root : Path
        The dataset.
    name, readme : str
    rows : sequence of mapping
        ``participant_id`` and ``columns`` of each person.
    suffix : str
        Suffix of its tables, for which the standard has no name yet.
    columns : mapping of str to mapping
        What each column of ``participants.tsv`` is.
    """
    description = {
        "Name": name,
        "BIDSVersion": "1.10.0",
        "DatasetType": "derivative",
        "License": "CC0",
        "Authors": ["Replicortex"],
        "GeneratedBy": [{"Name": "replicortex", "Version": __version__}],
    }
    write_text(root / "dataset_description.json", to_json(description))
    write_text(root / "participants.tsv", to_tsv(rows, ["participant_id", *columns]))
    write_text(root / "participants.json", to_json({**columns, "Description": "Simulated participants."}))
    write_text(root / "README", readme)
    write_text(root / ".bidsignore", f"*_{suffix}.tsv\n*_{suffix}.json\n")
