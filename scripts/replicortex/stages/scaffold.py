"""Begin a component or a card: its file, with places to fill in that the contract tests name until they are filled."""

from __future__ import annotations

import re
from pathlib import Path

from ..cards import NAME, TO_FILL_IN
from ..errors import InputError, did_you_mean
from ..files import write_text

#: A folder a kind, ``kind.variant`` where there are several; in it the new files, below the project, as templates.
TEMPLATES = Path(__file__).resolve().parents[1] / "templates"


def kinds() -> dict[str, list[str]]:
    """Return what can be begun, with its variants."""
    found: dict[str, list[str]] = {}
    for folder in sorted(path.name for path in TEMPLATES.iterdir() if path.is_dir()):
        kind, _, variant = folder.partition(".")
        found.setdefault(kind, []).extend([variant] if variant else [])
    return found


def begin(project: Path, kind: str, name: str, variant: str | None = None) -> list[Path]:
    """Write the files of a new component or card; return them.

    Parameters
    ----------
    project : Path
        The folder of the Snakefile.
    kind, variant : str
        What, of :func:`kinds`.
    name : str
        Its name, which is also that of its file.

    Raises
    ------
    InputError
        If the name is no name or is taken, or there is no such kind.
    """
    known = kinds()
    if kind not in known:
        raise InputError(f"new {kind}", "nothing that can be begun", did_you_mean(kind, known))
    variants = known[kind]
    chosen = variant or (variants[0] if variants else "")
    if chosen and chosen not in variants:
        remedy = did_you_mean(chosen, variants) if variants else "leave --of out"
        raise InputError(f"new {kind} --of {chosen}", "no such template", remedy)
    if not re.fullmatch(NAME, name):
        raise InputError(f"new {kind} {name}", "is not a name", "use a-z, 0-9 and _ only, a letter first")
    folder = TEMPLATES / (f"{kind}.{chosen}" if chosen else kind)
    made = {}
    for path in sorted(folder.rglob("*.txt")):
        place = project / path.relative_to(folder).with_suffix("")
        place = place.with_name(place.name.replace("NAME", name))
        if place.exists():
            raise InputError(place.relative_to(project), "is there already", "choose another name")
        text = path.read_text(encoding="utf-8")
        made[place] = re.sub(r"\bCLASS\b", class_of(name), re.sub(r"(?<![{=])\bNAME\b", name, text))
    for place, text in made.items():
        write_text(place, text)
    return list(made)


def class_of(name: str) -> str:
    """Return the name of a class: ``my_method`` is ``MyMethod``."""
    return "".join(part.capitalize() for part in name.split("_"))


def to_fill_in(path: Path) -> list[tuple[int, str]]:
    """Return line number and text of every place that is still to fill in."""
    lines = path.read_text(encoding="utf-8").splitlines()
    return [
        (number, line[line.index(TO_FILL_IN) :].strip(" \"')]"))
        for number, line in enumerate(lines, 1)
        if TO_FILL_IN in line
    ]


def show_begun(project: Path, kind: str, name: str, variant: str | None = None) -> None:
    """Begin a component or a card, and print what is to be filled in and how it is checked."""
    made = begin(project, kind, name, variant)
    for path in made:
        print(path.relative_to(project))
        for number, text in to_fill_in(path):
            print(f"  {number:>3}  {text}")
    print(f"\nthen: python -m pytest workflow_tests/contract -k {name}")
