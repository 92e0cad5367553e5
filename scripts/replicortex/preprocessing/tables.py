"""Tables of a dataset, such as answers in a task or matrices of connections: checked and taken as they are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

from ..components import Preprocessor, component
from ..shared.table_files import deliver_table


@component
class Tables(Preprocessor):
    """Take the tables of one datatype; nothing is computed.

    Those of behaviour are named ``*_beh.tsv``. Any datatype may have ``*_timeseries.tsv``, ``*_relmat.tsv`` (a matrix
    of relations with a first column ``Node``) and ``*_morph.tsv`` (columns ``variable`` and ``value``).

    Parameters
    ----------
    datatype : {"beh", "micr"}
        Folder of the tables.

    """

    datatypes: ClassVar[tuple[str, ...]] = ("beh", "micr")
    suffixes: ClassVar[tuple[str, ...]] = ("beh", "timeseries", "relmat", "morph")

    datatype: Literal["beh", "micr"] = "beh"

    def takes(self, recording: Mapping[str, str]) -> bool:
        """Return whether a recording is a table of the datatype."""
        return recording["datatype"] == self.datatype and recording["extension"] == ".tsv" and super().takes(recording)

    def preprocess(
        self, recording: Mapping[str, str], root: Path, out: Path, parents: Sequence[Path] = ()
    ) -> dict[str, Any]:
        """Check and link one table; see :func:`~replicortex.shared.table_files.deliver_table`.

        Raises
        ------
        InputError
            If it is unreadable, lacks a cell, or is not what its suffix says.

        """
        return deliver_table(recording, root, out)

    def described(self) -> str:
        """Return what it does, in words."""
        kind = {"beh": "behaviour", "micr": "microscopy"}[self.datatype]
        return f"The tables of {kind} that come with the dataset were checked and taken as they are."
