"""How a dataset says what made it, and of what: the words of BIDS for both. Standard library only."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from . import __version__
from .errors import InputError
from .files import read_json

#: Where a container made by Apptainer keeps the labels of its image.
_LABELS = Path("/.singularity.d/labels.json")
_DOI = re.compile(r"10\.\d+/\S+")


def generated_by(description: str) -> dict[str, Any]:
    """Return an entry of ``GeneratedBy``: this workflow, and what it did.

    It is the same wherever the code runs, and so may stand in what later stages take digests of.
    """
    return {"Name": "replicortex", "Version": __version__, "Description": description}


def generated_here(description: str, labels: Path = _LABELS) -> dict[str, Any]:
    """Return an entry of ``GeneratedBy`` that also names the image that this process runs in, if it runs in one.

    Parameters
    ----------
    description : str
        What was done.
    labels : Path
        File of labels of the image; there is none outside of a container.
    """
    image = _container(labels)
    return {**generated_by(description), **({"Container": image} if image else {})}


def _container(labels: Path) -> dict[str, str]:
    """Return the image that this process runs in as BIDS names it, empty if it is none of this workflow's.

    An image is known by what it was made of (``containers/install.sh`` writes the digest), and not by where it lies.
    """
    told = _read(labels)
    family, definition = (told.get(f"replicortex.{name}") for name in ("family", "definition"))
    if isinstance(family, str) and isinstance(definition, str):
        return {"Type": "apptainer", "Tag": family, "URI": f"urn:sha256:{definition}"}
    return {}


def _read(path: Path) -> dict[str, Any]:
    """Return a JSON object, empty if there is none."""
    with contextlib.suppress(InputError):
        told = read_json(path)
        if isinstance(told, dict):
            return told
    return {}


def doi_of(description: Mapping[str, Any]) -> str | None:
    """Return the DOI of a dataset from its ``dataset_description.json``, without what is written before it."""
    found = _DOI.search(str(description.get("DatasetDOI") or ""))
    return found[0] if found else None


def source_dataset(description: Mapping[str, Any], link: str, fetched: Path) -> dict[str, str]:
    """Return an entry of ``SourceDatasets``.

    Parameters
    ----------
    description : mapping
        The dataset's ``dataset_description.json``.
    link : str
        Where it is.
    fetched : Path
        What was noted when it was fetched by its name and version; it may not be there.
    """
    source = {"URL": link}
    doi = doi_of(description)
    if doi:
        source["DOI"] = f"doi:{doi}"
    number = _read(fetched).get("version")
    if isinstance(number, str) and number:
        source["Version"] = number
    return source
