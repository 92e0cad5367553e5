"""Draw a figure: the table first, then pictures and words from the table as it stands in its file."""

from __future__ import annotations

import importlib.metadata
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from .. import __version__
from ..components import Figure, make, parameters
from ..damage import read_record
from ..digest import code_digest
from ..errors import InputError
from ..files import read_tsv, sha256_of, to_json, to_tsv, write_text

#: Files of a figure, by what the spec calls them.
ENDINGS = {"table": ".tsv", "svg": ".svg", "pdf": ".pdf"}
PICTURES = ("svg", "pdf")


def draw_figure(
    figure: str,
    params: Mapping[str, Any],
    scores: str | os.PathLike,
    summary: str | os.PathLike,
    claims: str | os.PathLike,
    choices: str | os.PathLike,
    spec: str | os.PathLike,
    restricted: bool = False,
    generated: str | os.PathLike | None = None,
) -> None:
    """Write the table of a figure, read it back, draw it, and write down what was done.

    Whoever has table and spec can draw the figure again (:mod:`replicortex.stages.redraw`), and has everything that
    the picture shows.

    Parameters
    ----------
    figure : str
        The component.
    params : mapping
        Its parameters.
    scores, summary, claims, choices : path
        ``scores.tsv``, ``summary.tsv``, ``claims.json`` and ``choices.tsv`` of the run.
    spec : path
        Written: ``<name>.json``, and beside it ``<name>.tsv``, ``<name>.svg`` and ``<name>.pdf``. The spec has
        component, parameters, title, alternative text and caption, and the checksums (SHA-256) of sources and files.
    restricted : bool
        Whether the dataset is restricted: rows about one subject alone are left out.
    generated : path, optional
        ``generated.tsv`` of a run whose methods generate.

    Raises
    ------
    InputError
        If the run has nothing to show in this figure.
    """
    spec = Path(spec)
    made = make("figures", figure, params)
    sources = {"scores": scores, "summary": summary, "claims": claims, "choices": choices}
    sources |= {"generated": generated} if generated else {}
    sources = {name: Path(path) for name, path in sources.items()}
    rows = [row for row in made.table(sources) if not (restricted and row.get("what") == "subject")]
    if not rows:
        raise InputError(f"figure {figure}", "the run has nothing to draw", "leave it out of the study card")
    table = spec.with_suffix(ENDINGS["table"])
    write_text(table, to_tsv(rows, list(dict.fromkeys(key for row in rows for key in row))))
    told = draw_again(made, table, pictures_of(spec))
    run = read_record(claims, ["run", "study", "dataset"])
    content = {
        "figure": figure,
        "params": parameters(made),
        "run": run["run"],
        "study": run["study"],
        "dataset": run["dataset"],
        "seed": getattr(made, "seed", None),
        "sources": {name: sha256_of(path) for name, path in sources.items()},
        **told,
        **made_by(figure),
        "files": checksums(spec.parent, {kind: spec.with_suffix(ending).name for kind, ending in ENDINGS.items()}),
    }
    write_text(spec, to_json(content))


def pictures_of(spec: Path) -> list[Path]:
    """Return the pictures that belong to a spec."""
    return [spec.with_suffix(ENDINGS[kind]) for kind in PICTURES]


def draw_again(made: Figure, table: Path, pictures: Sequence[Path]) -> dict[str, str]:
    """Draw a table that is there; return title, alternative text and caption."""
    rows = read_tsv(table)
    made.draw(rows, pictures)
    return made.told(rows)


def made_by(figure: str) -> dict[str, Any]:
    """Return what decides how a table is drawn: the digest of the code, and versions."""
    software = {"replicortex": __version__, "matplotlib": importlib.metadata.version("matplotlib")}
    return {"code": code_digest(["stages.figures", f"figures.{figure}"]), "software": software}


def checksums(folder: Path, names: Mapping[str, str]) -> dict[str, dict[str, str]]:
    """Return name and checksum of the files of a figure."""
    return {kind: {"name": name, "sha256": sha256_of(folder / name)} for kind, name in names.items()}
