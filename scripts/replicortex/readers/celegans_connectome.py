"""Published tables of the connectome of C. elegans and of its signal propagation, in one order of neurons."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ..components import Reader, component
from ..errors import InputError
from ..files import open_text, to_json, write_text
from ..shared.raw_files import inside
from ..shared.relations import write_relations
from ..shared.words import listed
from ..shared.worm import NEURONS, canonical
from ..shared.xls import read_xls

#: No published table is larger; what is may be made to fill memory.
_MOST_BYTES = 1 << 28
#: What kinds of connections mean; ``undirected`` ones stand in the matrix both ways.
_TOLD = {
    "chemical": {"Measure": "synapses", "Description": "Number of chemical synapses, row to column."},
    "gap": {"Measure": "gap junctions", "Description": "Number of gap junctions, undirected."},
    "monoamine": {"Measure": "pairs of transmitter and receptor", "Description": "Possible monoamine signals."},
    "neuropeptide": {"Measure": "pairs of peptide and receptor", "Description": "Possible neuropeptide signals."},
    "q": {
        "Measure": "q",
        "Description": "False discovery rate of an answer of the column to stimulation of the row; n/a: not measured.",
    },
    "amplitude": {
        "Measure": "amplitude",
        "Description": "Scalar of the answer of the column to stimulation of the row; 0 if there is none, or it was not"
        " measured, which the table does not tell.",
    },
}
Edge = tuple[str, str, str, float]


@dataclass
class _Annotation:
    """One annotation: matrices by kind in the order of :data:`NEURONS`, and what was left out."""

    source: str
    kinds: tuple[str, ...]
    seen: set[str] = field(default_factory=set)
    unknown: set[str] = field(default_factory=set)
    left_out: int = 0

    def __post_init__(self) -> None:
        self.matrices = {kind: np.zeros((len(NEURONS), len(NEURONS))) for kind in self.kinds}

    def add(self, edges: Iterable[Edge]) -> _Annotation:
        """Add connections; those with an end that is no neuron are counted and left out."""
        place = {name: i for i, name in enumerate(NEURONS)}
        for origin, target, kind, weight in edges:
            ends = [canonical(origin), canonical(target)]
            self.seen |= {end for end in ends if end}
            self.unknown |= {raw.strip() for raw, end in zip((origin, target), ends, strict=True) if not end}
            if None in ends:
                self.left_out += 1
            else:
                self.matrices[kind][place[ends[0]], place[ends[1]]] += weight
        return self

    def finished(self) -> _Annotation:
        """Return it with junctions both ways, and ``nan`` for neurons that the source never names."""
        absent = np.array([name not in self.seen for name in NEURONS])
        for kind, matrix in self.matrices.items():
            if kind == "gap":
                # Some sources list a junction once, some from either side.
                matrix[:] = np.maximum(matrix, matrix.T)
            matrix[absent], matrix[:, absent] = np.nan, np.nan
        return self


@component
class CelegansConnectome(Reader):
    """Connectomes of C. elegans, an annotation a subject, in one order of 302 neurons.

    Reads those that are there of: White et al. 1986 and Witvliet et al. 2021 (animals 7 and 8) as the package
    wormneuroatlas has them, Cook et al. 2019 (edge list), Varshney et al. 2011 (``NeuronConnect.xls``), monoamines and
    neuropeptides of Bentley et al. 2016, positions of neurons, and signal propagation: ``funatlas.h5`` of the package
    wormneuroatlas (Randi et al. 2023) or the table of 2022. Names are brought to one form (``VB01`` is ``VB1``);
    muscles, glands and glia are left out, and their number stands in the sidecars. A neuron that a source never names
    is ``n/a`` and not 0. Of each subject the participants' table says how many neurons and connections it has.
    """

    def read(self, source: Path, root: Path) -> list[dict[str, Any]]:
        """Write a matrix (``*_relmat.tsv``) for each kind of connection; see :class:`Reader`."""
        rows = []
        for name, (file, reading) in _SOURCES.items():
            if not (source / file).exists():
                continue
            annotation = reading(inside(source, file), file).finished()
            rows.append({"participant_id": f"sub-{name}", **self._written(root, name, file, annotation)})
        for name, (file, reading) in _ATLASES.items():
            if (source / file).exists():
                matrix, measure = reading(inside(source, file), file)
                path = root / f"sub-{name}" / "micr" / f"sub-{name}_desc-functional_relmat.tsv"
                write_relations(path, NEURONS, matrix)
                write_text(path.with_suffix(".json"), to_json({**_TOLD[measure], "Directed": True, "SourceFile": file}))
                found = int(np.sum(np.isfinite(matrix).any(axis=0) | np.isfinite(matrix).any(axis=1)))
                rows.append({"participant_id": f"sub-{name}", "kind": "signal propagation", "n_neurons": found,
                             "n_connections": None, "n_not_neurons": 0, "source_file": file})  # fmt: skip
        if (source / _POSITIONS).exists():
            rows.append(_write_positions(inside(source, _POSITIONS), root))
        if not rows:
            known = listed([file for file, _ in [*_SOURCES.values(), *_ATLASES.values()]], "or")
            raise InputError(source.name, "holds none of the tables that are known", f"needs {known}")
        return rows

    @staticmethod
    def _written(root: Path, name: str, file: str, annotation: _Annotation) -> dict[str, Any]:
        for kind, matrix in annotation.matrices.items():
            path = root / f"sub-{name}" / "micr" / f"sub-{name}_desc-{kind}_relmat.tsv"
            write_relations(path, NEURONS, matrix)
            told = {
                **_TOLD[kind],
                "Directed": True,
                "SourceFile": file,
                "NotNeurons": sorted(annotation.unknown),
                "ConnectionsLeftOut": annotation.left_out,
            }
            write_text(path.with_suffix(".json"), to_json(told))
        return {
            "kind": annotation.source,
            "n_neurons": len(annotation.seen),
            "n_connections": int(sum(np.count_nonzero(np.nan_to_num(m)) for m in annotation.matrices.values())),
            "n_not_neurons": len(annotation.unknown),
            "source_file": file,
        }

    def described(self) -> str:
        """Return what it does, in words."""
        return (
            "Published annotations of the connectome of C. elegans [@white1986; @varshney2011; @bentley2016; @cook2019;"
            " @witvliet2021] and of its signal propagation [@randi2023] were brought to one order of 302 neurons"
            " [@simeon2024]; gap junctions are undirected, connections with muscles, glands and glia were left out, and"
            " neurons that a source does not name count as not measured."
        )


def _lines(path: Path, name: str, delimiter: str) -> Iterator[list[str]]:
    """Yield the rows of a table of text."""
    try:
        with open_text(path, _MOST_BYTES) as stream:
            yield from (row for row in csv.reader(stream, delimiter=delimiter) if row)
    except InputError as error:
        raise InputError(name, error.fault, "restore it") from None
    except (ValueError, csv.Error) as error:
        raise InputError(name, f"not a readable table ({error})", "restore it") from None


def _number(text: str, name: str, line: int) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value < 1e9:
        raise InputError(name, f"line {line} gives {text[:40]!r} as a number of contacts", "restore the table")
    return value


def _kind(text: str, name: str, line: int) -> str:
    kinds = {"chemical": "chemical", "electrical": "gap"}
    if text.strip() not in kinds:
        raise InputError(name, f"line {line} has the type {text[:40]!r}", "it must be chemical or electrical")
    return kinds[text.strip()]


def _need(row: list[str], n: int, name: str, line: int) -> None:
    if len(row) < n:
        raise InputError(name, f"line {line} has {len(row)} columns, not {n}", "restore the table")


def _wormneuroatlas(path: Path, name: str) -> _Annotation:
    """Read ``pre, post, type, synapses``, separated by tabs."""
    rows = list(_lines(path, name, "\t"))
    if not rows or rows[0][:4] != ["pre", "post", "type", "synapses"]:
        raise InputError(name, "its columns are not pre, post, type, synapses", "restore the table")

    def edges() -> Iterator[Edge]:
        for line, row in enumerate(rows[1:], start=2):
            _need(row, 4, name, line)
            yield row[0], row[1], _kind(row[2], name, line), _number(row[3], name, line)

    return _Annotation("anatomy", ("chemical", "gap")).add(edges())


def _cook(path: Path, name: str) -> _Annotation:
    """Read ``Source, Target, Weight, Type``, separated by commas, names filled with blanks."""
    rows = list(_lines(path, name, ","))
    if not rows or [cell.strip() for cell in rows[0][:4]] != ["Source", "Target", "Weight", "Type"]:
        raise InputError(name, "its columns are not Source, Target, Weight, Type", "restore the table")

    def edges() -> Iterator[Edge]:
        for line, row in enumerate(rows[1:], start=2):
            _need(row, 4, name, line)
            yield row[0], row[1], _kind(row[3], name, line), _number(row[2], name, line)

    return _Annotation("anatomy", ("chemical", "gap")).add(edges())


def _varshney(path: Path, name: str) -> _Annotation:
    """Read ``Neuron 1, Neuron 2, Type, Nbr`` of the workbook.

    A synapse stands twice, as sent (``S``, with several targets ``Sp``) and as received (``R``, ``Rp``): the sent ones
    are taken. ``EJ`` is a gap junction, ``NMJ`` leads to muscles.
    """
    sheets = read_xls(path, name)
    rows = next(iter(sheets.values()), [])
    if not rows or [str(cell).strip() for cell in rows[0][:4]] != ["Neuron 1", "Neuron 2", "Type", "Nbr"]:
        raise InputError(
            name, "its first sheet has not the columns Neuron 1, Neuron 2, Type, Nbr", "restore the workbook"
        )

    def edges() -> Iterator[Edge]:
        for line, row in enumerate(rows[1:], start=2):
            kind = {"S": "chemical", "Sp": "chemical", "EJ": "gap"}.get(str(row[2]).strip())
            if kind:
                yield str(row[0]), str(row[1]), kind, _number(str(row[3]), name, line)

    return _Annotation("anatomy", ("chemical", "gap")).add(edges())


def _bentley(kind: str) -> Callable[[Path, str], _Annotation]:
    """Return a function that reads ``source, target, transmitter, receptor``, a row a possible signal."""

    def read(path: Path, name: str) -> _Annotation:
        rows = [row for row in _lines(path, name, ",") if not row[0].startswith("#")]
        for line, row in enumerate(rows, start=2):
            _need(row, 4, name, line)
        return _Annotation("extrasynaptic", (kind,)).add((row[0], row[1], kind, 1.0) for row in rows)

    return read


def _funatlas(path: Path, name: str) -> tuple[np.ndarray, str]:
    """Return q, row to column, of the atlas; ``nan`` where a pair was never observed.

    The file has it the other way round, the answering neuron first, and with a number of observations (``occ1``).
    """
    import h5py

    try:
        with h5py.File(path, "r") as file:
            parts = []
            for key in ("neuron_ids", "wt/q", "wt/occ1"):
                link = file.get(key, getlink=True)
                found = file[key] if isinstance(link, h5py.HardLink) else None
                if not isinstance(found, h5py.Dataset) or found.external or found.is_virtual or found.size > 10**7:
                    raise ValueError(f"{key} is no dataset of this file")
                parts.append(found[()])
    except (OSError, KeyError, ValueError, TypeError, RuntimeError) as error:
        raise InputError(name, f"not readable as the atlas ({error})", "take it from the package again") from None
    names = [text.decode("ascii", "replace") if isinstance(text, bytes) else str(text) for text in parts[0].ravel()]
    q, observed = parts[1], parts[2]
    if q.shape != (len(names),) * 2 or observed.shape != q.shape or q.dtype.kind not in "fiu":
        raise InputError(name, "its tables do not have a row and a column a neuron", "take it from the package again")
    if np.any((q < 0) | (q > 1)):
        raise InputError(name, "holds q below 0 or above 1", "take it from the package again")
    return _ordered(names, np.where((observed > 0) & np.isfinite(q), q, np.nan).T, name), "q"


def _table_2022(path: Path, name: str) -> tuple[np.ndarray, str]:
    """Return the scalar of each pair, row to column, of a table ``from, to, value`` without header."""
    rows = list(_lines(path, name, "\t"))
    for line, row in enumerate(rows, start=1):
        _need(row, 3, name, line)
    names = list(dict.fromkeys(row[0].strip() for row in rows))
    # Names are cut to the width of the first export, which leaves NSM of NSMR.
    full = {"NSM": "NSMR"} if "NSM" in names and "NSML" in names and "NSMR" not in names else {}
    place = {label: i for i, label in enumerate(names)}
    matrix = np.full((len(names), len(names)), np.nan)
    for line, row in enumerate(rows, start=1):
        target = place.get(row[1].strip())
        try:
            value = float(row[2])
        except ValueError:
            value = np.nan
        if target is None or not np.isfinite(value):
            raise InputError(name, f"line {line} names {row[1][:40]!r} with {row[2][:40]!r}", "restore the table")
        matrix[place[row[0].strip()], target] = value
    return _ordered([full.get(label, label) for label in names], matrix, name), "amplitude"


def _ordered(names: list[str], matrix: np.ndarray, file: str) -> np.ndarray:
    """Return a matrix in the order of :data:`NEURONS`; ``nan`` for those that it does not have."""
    place: dict[str, int] = {}
    for number, raw in enumerate(names):
        found = canonical(raw)
        if found and place.setdefault(found, number) != number:
            raise InputError(file, f"names {found} twice", "restore it")
    index = np.array([place.get(name, -1) for name in NEURONS])
    if not place:
        raise InputError(file, "names no neuron", "restore it")
    out = matrix[np.ix_(index, index)].astype(float)
    out[index < 0], out[:, index < 0] = np.nan, np.nan
    return out


_POSITIONS = "anatlas_neuron_positions.txt"


def _write_positions(path: Path, root: Path) -> dict[str, Any]:
    """Write where neurons lie (``*_morph.tsv``), in the unit of the source; return the subject's row."""
    with open_text(path, _MOST_BYTES) as stream:
        names, *lines = [line for line in stream.read().splitlines() if line.strip()]
    labels = names.strip("# ").split()
    rows = [line.split() for line in lines]
    if len(rows) != len(labels) or any(len(row) != 3 for row in rows):
        raise InputError(_POSITIONS, f"has {len(labels)} names and {len(rows)} positions of three", "restore it")
    values: dict[str, list[str]] = {}
    for label, row in zip(labels, rows, strict=True):
        known = canonical(label)
        try:
            [float(cell) for cell in row]
        except ValueError:
            raise InputError(_POSITIONS, f"the position of {label[:20]} is no number", "restore it") from None
        # One name stands twice; which is meant nobody knows, and the first is taken.
        if known:
            values.setdefault(known, row)
    out = root / "sub-Positions" / "micr" / "sub-Positions_desc-position_morph.tsv"
    listed_ = [
        f"{name}_{axis}\t{values[name][i]}" for name in NEURONS if name in values for i, axis in enumerate("xyz")
    ]
    write_text(out, "\n".join(["variable\tvalue", *listed_]) + "\n")
    told = {"Description": "Position of each neuron in the atlas of the source, in its unit.", "SourceFile": _POSITIONS}
    write_text(out.with_suffix(".json"), to_json(told))
    return {"participant_id": "sub-Positions", "kind": "positions", "n_neurons": len(values), "n_connections": None,
            "n_not_neurons": 0, "source_file": _POSITIONS}  # fmt: skip


_SOURCES: Mapping[str, tuple[str, Callable[[Path, str], _Annotation]]] = {
    "White1986": ("aconnectome_white_1986_whole.csv", _wormneuroatlas),
    "Witvliet7": ("aconnectome_witvliet_2020_7.csv", _wormneuroatlas),
    "Witvliet8": ("aconnectome_witvliet_2020_8.csv", _wormneuroatlas),
    "Cook2019": ("herm_full_edgelist.csv", _cook),
    "Varshney2011": ("NeuronConnect.xls", _varshney),
    "Monoamines2016": ("esconnectome_monoamines_Bentley_2016.csv", _bentley("monoamine")),
    "Neuropeptides2016": ("esconnectome_neuropeptides_Bentley_2016.csv", _bentley("neuropeptide")),
}
_ATLASES: Mapping[str, tuple[str, Callable[[Path, str], tuple[np.ndarray, str]]]] = {
    "Randi2023": ("funatlas.h5", _funatlas),
    "Leifer2022": ("leifer_funconn_wildtype_2022-04-01.tsv", _table_2022),
}
