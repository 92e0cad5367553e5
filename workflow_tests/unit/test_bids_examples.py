"""The walk and the inheritance against pybids and bids2table, over the 108 datasets of bids-examples.

Files, their entities, suffix, extension and datatype must be the same, and so must the metadata of a sample,
but for the kinds of difference in the tables of rules, each with its reason; a rule without use fails too.
"""

from __future__ import annotations

import json
import logging
import shutil
import warnings
from collections.abc import Callable
from fnmatch import fnmatch
from pathlib import Path
from typing import NamedTuple

import pytest

from replicortex.bids import ENTITIES, datatype_of, parts_of
from replicortex.index import FACTS, refresh_index
from replicortex.sidecars import merged_sidecar
from replicortex.walk import scan

SHORT = {long: short for short, long in ENTITIES.items()} | {"staining": "stain"}
INDICES = {"run", "echo", "flip", "inv", "split", "chunk"}


class Difference(NamedTuple):
    """What this project (``ours``) and a peer (``theirs``) say of one property of a file; None for nothing.

    ``what`` is an entity's key, suffix, extension or datatype, or ``listed``: whether there is such a file.
    """

    root: Path
    path: str
    what: str
    ours: str | None
    theirs: str | None

    @property
    def below_subject(self) -> bool:
        """Whether the file lies in a subject's folder."""
        return self.path.startswith("sub-")

    @property
    def name(self) -> str:
        """The file's name."""
        return self.path.rpartition("/")[2]

    @property
    def is_ignored(self) -> bool:
        """Whether .bidsignore names the file; the examples have only names, folders, and ``**/`` in front."""
        file = self.root / ".bidsignore"
        patterns = file.read_text(encoding="utf-8").split() if file.is_file() else []
        whole = [self.path, self.name, *(part + "/" for part in self.path.split("/")[:-1])]
        return any(fnmatch(text, pattern.removeprefix("**/")) for text in whole for pattern in patterns)

    @property
    def is_in_folder_recording(self) -> bool:
        """Whether a folder above is a recording."""
        return any(part.endswith((".ds", ".mefd")) for part in self.path.split("/")[:-1])


Rules = dict[str, Callable[[Difference], bool]]

PYBIDS: Rules = {
    "pybids does not read .bidsignore": lambda d: d.what == "listed" and d.ours is None and d.is_ignored,
    "pybids walks folders beside the subjects; the raw dataset is the root's files and sub-*": lambda d: (
        d.what == "listed" and d.ours is None and not d.below_subject and "/" in d.path
    ),
    "pybids knows only .zarr as a recording that is a folder, not this folder": lambda d: (
        d.what == "listed" and d.theirs is None and (d.root / d.path).is_dir()
    ),
    "pybids knows only .zarr as a recording that is a folder, and lists what is in others": lambda d: (
        d.what == "listed" and d.ours is None and d.is_in_folder_recording
    ),
    "pybids gives any file name a suffix and an extension, BIDS or not": lambda d: (
        d.what in ("suffix", "extension") and d.ours is None and parts_of(d.path)[1] == ""
    ),
    "pybids gives a file name that is not BIDS the subject of its folder": lambda d: (
        d.what == "sub" and d.ours is None and d.below_subject and parts_of(d.path)[1] == ""
    ),
    "pybids gives no suffix to a name without extension (README)": lambda d: (
        d.what == "suffix" and d.theirs is None and d.path in ("README", "CHANGES", "LICENSE")
    ),
    "pybids has two entities of its own, for field maps and scans tables": lambda d: (
        d.what in ("fmap", "scans") and d.ours is None
    ),
    "pybids 0.22 does not know the datatype emg (BIDS 1.11)": lambda d: d.what == "datatype" and d.ours == "emg",
    "pybids 0.22 does not know the entity scale": lambda d: d.what == "scale" and d.theirs is None,
    "pybids finds the entity atlas in the name of the dataset's folder": lambda d: (
        d.what == "atlas" and d.root.name == f"atlas-{d.theirs}"
    ),
}

BIDS2TABLE: Rules = {
    "bids2table does not read .bidsignore": lambda d: d.what == "listed" and d.ours is None and d.is_ignored,
    "bids2table lists what belongs to a subject, not the root's files": lambda d: (
        d.what == "listed" and d.theirs is None and not d.below_subject
    ),
    "bids2table leaves out JSON sidecars": lambda d: (
        d.what == "listed" and d.theirs is None and d.path.endswith(".json")
    ),
    "bids2table leaves out names that do not begin with sub-": lambda d: (
        d.what == "listed" and d.theirs is None and not d.name.startswith("sub-")
    ),
    "bids2table reads indices as numbers": lambda d: (
        d.what in INDICES and None not in (d.ours, d.theirs) and int(d.ours) == int(d.theirs)
    ),
}

METADATA: Rules = {
    "pybids 0.22 does not know the entity scale, and merges the sidecars of all scales": lambda d: "_scale-" in d.name,
    "of two sidecars in one folder pybids prefers what is listed first; here the file's own wins": lambda d: (
        own_sidecar_wins(d)
    ),
}


def own_sidecar_wins(d: Difference) -> bool:
    """Whether each field that differs is as in the sidecar of the file's own name."""
    extension = parts_of(d.path)[2]
    sidecar = d.root / (d.path.removesuffix(extension) + ".json")
    own = json.loads(sidecar.read_text(encoding="utf-8")) if sidecar.is_file() else {}
    ours, theirs = json.loads(d.ours), json.loads(d.theirs)
    return all(key in own and own[key] == ours[key] for key in ours if ours[key] != theirs.get(key))


def ours(root: Path) -> dict[str, dict[str, str]]:
    """Return the properties of each file by path."""
    found = {}
    for file in scan(root):
        entities, suffix, extension = parts_of(file.path)
        found[file.path] = dict(entity.split("-") for entity in entities)
        found[file.path] |= {"suffix": suffix, "extension": extension, "datatype": datatype_of(file.path)}
    return found


def by_pybids(root: Path) -> dict[str, dict[str, str]]:
    """Return what pybids says; its names of entities become keys."""
    layout = layout_of(root, index_metadata=False)
    return {
        file.relpath: {SHORT.get(name, name): str(label) for name, label in file.entities.items()}
        for file in layout.get()
    }


def layout_of(root: Path, index_metadata: bool):
    """Index a dataset with pybids as it comes, without validation."""
    bids = pytest.importorskip("bids")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        indexer = bids.BIDSLayoutIndexer(validate=False, index_metadata=index_metadata)
        return bids.BIDSLayout(root, validate=False, derivatives=False, indexer=indexer)


def by_bids2table(root: Path) -> dict[str, dict[str, str]]:
    """Return what bids2table says."""
    table = pytest.importorskip("bids2table").index_dataset(root)
    found = {}
    for row in table.to_pylist():
        properties = row | dict(row["extra_entities"] or ()) | {"extension": row["ext"]}
        for name in ("dataset", "root", "extra_entities", "ext", "path"):
            properties.pop(name)
        found[row["path"]] = {name: None if value is None else str(value) for name, value in properties.items()}
    return found


def differences(root: Path, ours: dict, theirs: dict) -> list[Difference]:
    """Compare two answers about one dataset."""
    found = []
    for path in sorted(ours.keys() | theirs.keys()):
        if path not in ours or path not in theirs:
            listed = ["yes" if path in answer else None for answer in (ours, theirs)]
            found.append(Difference(root, path, "listed", *listed))
            continue
        for what in sorted(ours[path].keys() | theirs[path].keys()):
            values = [answer[path].get(what) or None for answer in (ours, theirs)]
            if values[0] != values[1]:
                found.append(Difference(root, path, what, *values))
    return found


@pytest.mark.parametrize(("peer", "rules"), [(by_pybids, PYBIDS), (by_bids2table, BIDS2TABLE)])
def test_files_are_those_of_the_peer(examples, peer, rules):
    logging.getLogger("bids2table").setLevel(logging.ERROR)
    used, unexplained, n_files = set(), [], 0
    for root in examples:
        theirs = peer(root)
        n_files += len(theirs)
        for difference in differences(root, ours(root), theirs):
            reasons = [reason for reason, applies in rules.items() if applies(difference)]
            used.update(reasons)
            if not reasons:
                unexplained.append(difference)
    assert unexplained == []
    assert used == set(rules)
    assert len(examples) == 108
    assert n_files > 8000


def first_two_subjects(example: Path, root: Path) -> int:
    """Copy a dataset's own files and two subjects, since pybids needs minutes for all; return how many."""
    subjects = sorted(path for path in example.glob("sub-*") if path.is_dir())[:2]
    for subject in subjects:
        shutil.copytree(subject, root / subject.name)
        for path in example.iterdir():
            if path.is_file():
                shutil.copy(path, root)
    return len(subjects)


def test_metadata_are_those_of_pybids(examples, tmp_path):
    used, unexplained, wrong, n_files = set(), [], [], 0
    for example in examples:
        root, out = tmp_path / example.name, tmp_path / "out" / example.name
        if not first_two_subjects(example, root):
            continue
        layout = layout_of(root, index_metadata=True)
        refresh_index(root, out)
        recordings = index_rows(out / "recordings.tsv")
        for path, row in index_rows(out / "index.tsv").items():
            if row["datatype"] == "n/a" or row["extension"] == ".json" or (root / path).is_dir():
                continue
            n_files += 1
            merged, theirs = merged_sidecar(root, path), layout.get_file(str(root / path)).get_metadata()
            if merged != theirs:
                difference = Difference(root, path, "metadata", json.dumps(merged), json.dumps(theirs))
                reasons = [reason for reason, applies in METADATA.items() if applies(difference)]
                used.update(reasons)
                unexplained += [difference] if not reasons else []
            if path in recordings:
                cells = {fact: " ".join(str(merged.get(fact, "n/a")).split()) for fact in FACTS}
                wrong += [path] if cells != {fact: row[fact] for fact in FACTS} else []
    assert unexplained == []
    assert wrong == []
    assert used == set(METADATA)
    assert n_files > 1500


def index_rows(path: Path) -> dict[str, dict[str, str]]:
    """Read a table of the index, by path."""
    header, *lines = [line.split("\t") for line in path.read_text(encoding="utf-8").splitlines()]
    rows = [dict(zip(header, line, strict=True)) for line in lines]
    return {row["path"]: row for row in rows}
