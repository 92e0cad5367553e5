"""What the configured runs need from elsewhere, and getting it before the first job waits for it."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from ..cards import Cards, downloaded
from ..download import download, shown
from ..dryrun import written
from ..errors import InputError
from ..files import atomic, read_json
from ..images import fault, program, read_images
from ..shared.weights import Weights, public
from .plan import read_cards
from .weights import fetch, named, place

#: Where Snakemake looks for images that it has pulled, unless it is given another prefix.
_PULLED = Path(".snakemake/singularity")


class Need(NamedTuple):
    """Something that runs need: ``file``, ``weights``, ``image`` or ``dataset``; where from, and where it is kept."""

    kind: str
    name: str
    address: str
    path: str
    is_there: bool
    note: str = ""
    sha256: str = ""
    source: str = ""


def needed(project: Path, cards: Cards, *, images: bool) -> list[Need]:
    """Return what the runs of a configuration need from elsewhere, there or not.

    Parameters
    ----------
    project : Path
        The folder of the Snakefile.
    cards : Cards
        The cards.
    images : bool
        Whether the runs use containers.

    Raises
    ------
    InputError
        If an image or weights can not be named.

    """
    found = dict.fromkeys([*_files(cards), *_weights(cards), *_datasets(cards)])
    if images:
        found |= dict.fromkeys(_images(project, cards))
    return list(found)


def _files(cards: Cards) -> Iterator[Need]:
    for kind, name in cards.with_files():
        for key, entry in sorted(cards.card(kind, name).get("files", {}).items()):
            if isinstance(entry, Mapping):
                path = downloaded(entry)
                where = f"config/{kind}/{name}.yaml, {key}"
                # Only a whole and verified file ever gets this name.
                yield Need("file", where, entry["url"], path, Path(path).is_file(), entry["licence"], entry["sha256"])


def _weights(cards: Cards) -> Iterator[Need]:
    for where, weights in named(cards):
        address, path, there = place(weights)
        note = weights.licence or "licence not told"
        yield Need("weights", where, address, path, there, note, weights.sha256 or "", weights.source)


def _datasets(cards: Cards) -> Iterator[Need]:
    for name in sorted({dataset for run in cards.runs.values() for dataset in run.datasets}):
        if cards.is_fetched(name):
            record, published = f"results/datasets/{name}/fetched.json", cards.published(name)
            told = read_json(record) if Path(record).is_file() else {}
            # Another version, or a run that needs more of it, is to be fetched again.
            is_there = [told.get("version"), told.get("wanted")] == [published["version"], cards.wanted(name)]
            yield Need("dataset", name, published["url"], record, is_there, cards.dataset(name)["licence"])


def _images(project: Path, cards: Cards) -> Iterator[Need]:
    for family, image in read_images(project, cards.families).items():
        if "://" in image:
            # The name that Snakemake gives it; with it there, Snakemake pulls nothing.
            name = hashlib.md5(image.encode(), usedforsecurity=False).hexdigest()
            path = str(_PULLED / f"{name}.simg")
            yield Need("image", family, image, path, Path(path).is_file())
        else:
            there = program() is not None and fault(project, family, image) is None
            yield Need("image", family, "", image, there, f"python scripts/build_images.py {family}")


def prefetch(
    project: Path,
    configuration: Mapping[str, Any] | None = None,
    only_list: bool = False,
    containers: bool = False,
    as_json: bool = False,
) -> bool:
    """Fetch what is missing; images that are built here, and not pulled, are only named.

    Parameters
    ----------
    project : Path
        The folder of the Snakefile.
    configuration : mapping or None
        What is laid over ``config.yaml``.
    only_list : bool
        Show what is needed, and fetch nothing.
    containers : bool
        Whether the runs use containers.
    as_json : bool
        Print JSON instead of text.

    Returns
    -------
    bool
        Whether everything is there.

    Raises
    ------
    InputError
        If the cards are refused.

    """
    cards = read_cards(project, configuration)
    everything = needed(project, cards, images=containers)
    faults = {}
    if not only_list:
        if "SLURM_JOB_ID" in os.environ and any(not need.is_there for need in everything):
            raise InputError("prefetch", "runs on a compute node", "run it where there is a network: on the login node")
        for need in everything:
            if not need.is_there:
                try:
                    _get(need, project, configuration)
                except InputError as error:  # the others may be reached all the same
                    faults[need] = str(error)
        everything = needed(project, cards, images=containers)
    absent = [need for need in everything if not need.is_there]
    if as_json:
        document = {"ok": not absent, "needs": [need._asdict() for need in everything], "faults": [*faults.values()]}
        print(json.dumps(document, indent=2))
        return not absent
    for need in everything:
        note = f" ({need.note})" if need.note else ""
        source = f" from {shown(need.address)}" if need.address else ""
        print(f"{'there  ' if need.is_there else 'missing'}  {need.kind:<8} {need.name}: {need.path}{source}{note}")
    for line in faults.values():
        print(f"error: {line}", file=sys.stderr)
    print(f"{len(everything) - len(absent)} of {len(everything)} there" if everything else "nothing is needed")
    return not absent


def _get(need: Need, project: Path, configuration: Mapping[str, Any] | None) -> None:
    if need.kind == "file":
        print(f"{need.path}: licence {need.note}", file=sys.stderr, flush=True)
        download(need.address, Path(need.path), sha256=need.sha256)
    elif need.kind == "weights":
        print(f"{public(need.source)}: {need.note}", file=sys.stderr, flush=True)
        fetch(Weights(source=need.source, sha256=need.sha256 or None))
    elif need.kind == "dataset":
        # Its rule knows which files are wanted, and notes what was fetched.
        command = [sys.executable, "-m", "snakemake", "--snakefile", str(project / "Snakefile"), "--cores", "1"]
        with written(configuration) as options:
            _call([*command, "--quiet", "all", "--rerun-incomplete", *options, "--", need.path], need.name)
    elif need.address:
        command = program()
        if command is None:
            raise InputError(need.name, "its image can not be pulled: no apptainer here", "install Apptainer")
        with atomic(need.path) as temporary:
            _call([command, "pull", "--force", str(temporary), need.address], need.name)


def _call(command: list[str], name: str) -> None:
    # Its progress is for whoever waits; standard output stays for what this command itself says.
    done = subprocess.run(command, stdout=sys.stderr, check=False, stdin=subprocess.DEVNULL)  # noqa: S603
    if done.returncode:
        raise InputError(name, "could not be fetched (see above)", "run prefetch again: it goes on where it stopped")
