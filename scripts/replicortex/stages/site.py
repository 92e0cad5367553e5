"""Build the pages that people look at: claims, studies, datasets, and what ran; from a results folder, done or not."""

from __future__ import annotations

import contextlib
import functools
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

from ..errors import InputError
from ..files import temporary_prefix
from ..site import datasets, machine
from ..site.claims import combined, counted, viewed
from ..site.folder import Folder, RunFolder, opened
from ..site.studies import DOWNLOADS, study
from ..site.words import VERDICTS, count, finite, plural, words

PACKAGE = Path(__file__).parents[1] / "site"
#: Rows of a table in a page.
_MOST_ROWS = 500
_ENDINGS = (".svg", ".pdf", ".tsv", ".json")


def build_site(
    results: Path,
    out: Path,
    runs: Sequence[str] | None = None,
    source: Path | None = None,
    known: Sequence[Mapping[str, Any]] = (),
) -> None:
    """Write a folder of pages that need no network, no server and no further file.

    What is not there yet is left out, so it may be called while a run goes on.

    Parameters
    ----------
    results : Path
        The results folder. Snakemake's records are read from the folder beside it.
    out : Path
        Folder to write; what it held before is replaced once everything is written.
    runs : sequence of str, optional
        Runs to show; by default all that the results hold.
    source : Path, optional
        Folder of the Snakefile: if it is a git checkout, its commit is told.
    known : sequence of mapping
        Runs of which nothing may be there yet, as :func:`replicortex.described.described` has them.

    Raises
    ------
    InputError
        If the results hold no run, or ``out`` is a folder of something else.
    """
    folder = opened(results, runs, known)
    history = machine.read(folder, out)
    with _replaced(out) as temporary:
        site = _Site(temporary, folder, machine.commit(source))
        studies = [study(folder, run, history) for run in folder.runs]
        for shown in studies:
            site.copy_run(shown["run"])
            site.write(f"studies/{shown['name']}.html", "study", shown["name"], **shown)
        shown_datasets = [site.dataset(name, card) for name, card in folder.datasets.items()]
        site.write("index.html", "board", "Claims", **_board(folder, studies, shown_datasets))
        site.write("run.html", "run", "What ran", **_ran(folder, history))
        site.copy_assets()
    print(f"{out}/index.html: {plural(len(studies), 'run')}, {plural(len(shown_datasets), 'dataset')}")
    for fault in folder.faults:
        print(f"left out: {fault}")


@contextlib.contextmanager
def _replaced(out: Path) -> Iterator[Path]:
    """Yield an empty folder that takes the place of ``out`` when the block succeeds."""
    if out.exists() and not (out / "index.html").is_file() and (not out.is_dir() or any(out.iterdir())):
        raise InputError(out, "is there, and is no site", "name another folder, or remove it")
    out.parent.mkdir(parents=True, exist_ok=True)
    # Named like the temporary files of jobs, so that what a killed one leaves is known for litter.
    temporary = Path(tempfile.mkdtemp(prefix=temporary_prefix(out), dir=out.parent))
    try:
        temporary.chmod(0o755)
        yield temporary
        if out.exists():
            before = Path(tempfile.mkdtemp(prefix=temporary_prefix(out), dir=out.parent))
            out.rename(before / "site")
            temporary.rename(out)
            shutil.rmtree(before)
        else:
            temporary.rename(out)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


@functools.cache
def _templates() -> Any:
    """Return the templates; all text in them is escaped."""
    import jinja2

    made = jinja2.Environment(
        loader=jinja2.FileSystemLoader(PACKAGE / "templates"), autoescape=True, trim_blocks=True, lstrip_blocks=True
    )
    made.filters |= {"words": words, "count": count}
    return made


class _Site:
    """Pages of a folder, and the files that they show."""

    def __init__(self, out: Path, folder: Folder, commit: str) -> None:
        self.out = out
        self.folder = folder
        self.shared = {"commit": commit, "verdicts": VERDICTS}

    def write(self, path: str, template: str, title: str, **values: Any) -> None:
        """Write a page."""
        root = "../" * path.count("/")
        page = _templates().get_template(f"{template}.html.j2")
        target = self.out / path
        target.parent.mkdir(parents=True, exist_ok=True)
        text = page.render(title=title, root=root, page=template, **self.shared, **values)
        target.write_text(text, encoding="utf-8")

    def copy_run(self, run: RunFolder) -> None:
        """Copy the figures of a run, and what is offered beside its page."""
        for path in sorted((run.path / "figures").glob("*")):
            if path.suffix in _ENDINGS and path.is_file():
                _copy(path, self.out / "figures" / run.name / path.name)
        for name in DOWNLOADS:
            if (run.path / name).is_file():
                _copy(run.path / name, self.out / "downloads" / run.name / name)

    def dataset(self, name: str, card: Mapping[str, Any]) -> dict[str, Any]:
        """Write the page of a dataset; return what the board says of it."""
        restricted = bool(card.get("restricted", False))
        content = self.folder.document("datasets", name, "content.json") or {}
        checked = datasets.validation(self.folder, name)
        pictures = datasets.displays(self.folder, name)
        for entry in pictures:
            entry["href"] = f"{name}/{entry['recipe']}/{entry['file']}"
            _copy(entry["path"], self.out / "datasets" / entry["href"])
            if entry.get("kind") == "table":
                entry |= _cells(entry["path"])
        shown = {
            "name": name,
            "card": card,
            "label": card.get("title") or name,
            "origin": datasets.origin(name, card),
            "restricted": restricted,
            "n_subjects": content.get("n_subjects"),
            "n_recordings": content.get("n_recordings"),
            "n_files": content.get("n_files"),
            "digest": content.get("digest", ""),
            "validation": checked,
            "runs": [run for run in self.folder.runs if name in run.datasets or name == run.dataset + "-absent"],
        }
        self.write(
            f"datasets/{name}.html",
            "dataset",
            name,
            **shown,
            problems=datasets.problems(self.folder, name),
            participants=datasets.participants(self.folder, name, card),
            quality=datasets.quality(self.folder, name, restricted=restricted),
            displays=pictures,
            recipes=sorted({entry["recipe"] for entry in pictures}),
        )
        return shown

    def copy_assets(self) -> None:
        """Copy style, script, and the library that draws charts."""
        for name in ("site.css", "site.js"):
            _copy(PACKAGE / name, self.out / "assets" / name)
        library = resources.files("plotly") / "package_data" / "plotly.min.js"
        with resources.as_file(library) as path:
            _copy(path, self.out / "assets" / "plotly.min.js")


def _board(folder: Folder, studies: Sequence[Mapping[str, Any]], shown: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    stated = {run.study: run.claims for run in folder.runs if run.claims}
    groups = [
        {"name": entry["name"], "href": f"studies/{entry['name']}.html", "claims": entry["claims"],
         "paper": entry["paper"], "dataset": entry["dataset_title"], "counts": entry["counts"]}
        for entry in studies
    ]  # fmt: skip
    for name, document in combined(folder.table("claims.tsv"), stated).items():
        claims = viewed([document])
        groups.append(
            {"name": name, "href": "", "claims": claims, "paper": {}, "dataset": "all datasets that were measured",
             "counts": counted(claims)}
        )  # fmt: skip
    every = [claim for group in groups for claim in group["claims"]]
    return {
        "groups": groups,
        "claims": every,
        "counts": counted(every),
        "studies": studies,
        "datasets": shown,
        "n_papers": len({entry["study"] for entry in studies}),
        "n_expected": sum(claim["expected"] != "n/a" for claim in every),
        "n_surprises": sum(bool(claim["surprises"]) for claim in every),
    }


def _ran(folder: Folder, history: Sequence[Any]) -> dict[str, Any]:
    energy = next((run.told["energy"] for run in folder.runs if run.told.get("energy")), None)
    return {
        "bill": machine.bill(history, energy),
        "rules": machine.by_rule(history),
        "timeline": machine.timeline(history),
        "failures": machine.failures(history),
        "lost": machine.lost_recordings(folder.table("status.tsv")),
        "n_recordings": len(folder.table("status.tsv")),
    }


def _cells(path: Path) -> dict[str, Any]:
    """Return the first rows of a table, and which columns are numbers."""
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()[:_MOST_ROWS]
    rows = [line.split("\t") for line in lines]
    columns = list(zip(*rows[1:], strict=False))
    numeric = [
        place for place, cells in enumerate(columns) if all(cell == "n/a" or finite(cell) is not None for cell in cells)
    ]
    return {"rows": rows, "numeric": numeric}


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)
