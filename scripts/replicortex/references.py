"""The bibliography: BibTeX in a plain form, read and written, and references as people read them."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from .errors import InputError

#: What components, stages and studies cite.
BIBLIOGRAPHY = Path(__file__).parent / "data" / "references.bib"
#: One citation or several in a text: ``[@holm1979]``, ``[@zang2004; @zou2008]``.
CITATION = re.compile(r"\[@([\w-]+(?:; ?@[\w-]+)*)\]")
_ENTRY = re.compile(r"^@(\w+)\{([\w-]+),\n(.*?)\n\}$", re.MULTILINE | re.DOTALL)
_FIELD = re.compile(r"^  (\w+) = \{(.*)\},?$", re.MULTILINE)
_DOI = re.compile(r"10\.\d{4,9}/[^\s,;\"<>{}]+")
#: Fields that are the project's own, and no part of a reference.
_OWN = {"software"}


@dataclass(frozen=True)
class Reference:
    """One entry of a bibliography: its kind (``article``, ``misc``, ...), its key and its fields as BibTeX has them."""

    kind: str
    key: str
    fields: Mapping[str, str]

    @property
    def link(self) -> str:
        """Address of the work."""
        return f"https://doi.org/{self.fields['doi']}" if "doi" in self.fields else self.fields.get("url", "")

    @property
    def words(self) -> str:
        """The reference in words, without its address."""
        fields = {name: value.replace("{", "").replace("}", "") for name, value in self.fields.items()}
        kept = (fields[name] for name in ("journal", "booktitle", "howpublished", "publisher") if name in fields)
        place = next(kept, "")
        volume = fields.get("volume", "") + (f"({fields['number']})" if "number" in fields else "")
        pages = fields.get("pages", "").replace("--", "\u2013")
        where = ", ".join(filter(None, [place, ":".join(filter(None, [volume, pages]))]))
        who = _authors(fields.get("author", ""))
        year = f"({fields['year']})" if "year" in fields else ""
        return ". ".join(filter(None, [" ".join(filter(None, [who, year])), fields["title"], where])) + "."

    @property
    def bibtex(self) -> str:
        """The entry as BibTeX."""
        lines = ",\n".join(f"  {name} = {{{value}}}" for name, value in self.fields.items() if name not in _OWN)
        return f"@{self.kind}{{{self.key},\n{lines}\n}}\n"


def _authors(field: str) -> str:
    """Return ``Dey S, Rao AR, Shah M`` of ``Dey, Soumyabrata and Rao, A. Ravishankar and Shah, Mubarak``."""
    shown = []
    for person in filter(None, field.split(" and ")):
        family, _, given = person.partition(", ")
        initials = "".join(part[0] for part in re.split(r"[ -]", given) if part)
        shown.append("et al." if person == "others" else " ".join(filter(None, [family, initials])))
    return ", ".join(shown).replace(", et al.", " et al.")


@functools.cache
def bibliography(path: Path = BIBLIOGRAPHY) -> dict[str, Reference]:
    """Return the entries of a BibTeX file by key.

    Only a plain form is read: an entry ends with a brace on a line of its own, each field has a line.

    Raises
    ------
    InputError
        If a key stands twice, or a field is not in that form.
    """
    text = path.read_text(encoding="utf-8")
    found: dict[str, Reference] = {}
    for kind, key, body in _ENTRY.findall(text):
        fields = dict(_FIELD.findall(body))
        if key in found or len(fields) != len(body.splitlines()):
            fault = (
                "stands twice" if key in found else "has a field twice, or one that is not `name = {value}` on a line"
            )
            raise InputError(path.name, f"{key} {fault}", "correct the entry")
        found[key] = Reference(kind, key, fields)
    return found


def by_doi(doi: str) -> Reference | None:
    """Return the entry of the bibliography with a DOI, if there is one."""
    return next(
        (entry for entry in bibliography().values() if entry.fields.get("doi", "").lower() == doi.lower()), None
    )


def of_paper(paper: Mapping[str, object]) -> Reference:
    """Return the reference of a study's paper: that of the bibliography with its DOI, else what the card says.

    Parameters
    ----------
    paper : mapping
        ``title`` and ``doi``; perhaps ``authors`` (``Dey S., Rao A. R.``) and ``year``.
    """
    doi = str(paper.get("doi", ""))
    known = by_doi(doi)
    if known is not None:
        return known
    people = [name.strip() for name in re.split(r",(?! *(?:[A-Z]\.[ -]?)+(?:,|$))", str(paper.get("authors", "")))]
    names = [_plain(name) for name in filter(None, people)]
    key = re.sub(r"\W", "", names[0].split(",")[0]).lower() if names else "paper"
    fields = {
        "author": " and ".join(names),
        "title": _plain(str(paper["title"])),
        "year": str(paper.get("year", "")),
        "doi": _plain(doi),
    }
    return Reference("misc", f"{key}{fields['year']}", {name: value for name, value in fields.items() if value})


def _plain(text: str) -> str:
    """Return text that can stand in a field: a family name before its initials, and no brace."""
    text = re.sub(r"[{}\\]", "", " ".join(text.split()))
    if text.endswith(" et al."):
        return f"{_plain(text.removesuffix(' et al.'))} and others"
    initials = re.fullmatch(r"([^,]+?) ((?:[A-Z]\.[ -]?)+)", text)
    return f"{initials[1]}, {initials[2]}" if initials else text


def of_dataset(title: str, citation: str, key: str) -> list[Reference]:
    """Return the references of a dataset: those of the DOIs in its citation, else the citation as it stands."""
    found = []
    for number, part in enumerate(filter(None, (part.strip() for part in citation.split(";"))), start=1):
        doi = _DOI.search(part)
        known = by_doi(doi[0]) if doi else None
        shown = re.sub(r",? *(doi: ?)?" + re.escape(doi[0]), "", part) if doi else part
        fields = {
            "title": _plain(title),
            "howpublished": re.sub(r"[{}\\]", "", shown).strip(),
            "doi": doi[0] if doi else "",
        }
        made = Reference("misc", f"{key}{number}", {name: value for name, value in fields.items() if value})
        found.append(known or made)
    return found


def cited(texts: Iterable[str]) -> list[str]:
    """Return the keys that texts cite, in the order of their first citation."""
    keys = [key for text in texts for group in CITATION.findall(text) for key in re.split(r"; ?@", group)]
    return list(dict.fromkeys(keys))
