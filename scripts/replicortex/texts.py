"""A text with citations in two forms: Markdown for a manuscript, and a fragment of HTML for a page.

A text is a list of sections, a section a title and blocks, a block a paragraph (text) or a list (:class:`Listing`).
Text has one markup, citations (``[@key]``); whatever else stands in it is shown as it is, in either form.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from html import escape

from .references import CITATION, Reference, cited

_SIGNS = re.compile(r"([\\`*_{}\[\]<>|~^$@#])")
#: What would make a list, a heading or a rule of a line that it begins.
_START = re.compile(r"^(\d*)([-+=.)])")


@dataclass(frozen=True)
class Listing:
    """A list, after words that introduce it: pairs of a label, which may be empty, and text."""

    before: str
    items: Sequence[tuple[str, str]]


@dataclass
class Section:
    """A part of a text under its title."""

    title: str
    blocks: list[str | Listing] = field(default_factory=list)

    def say(self, *blocks: str | Listing) -> None:
        """Add blocks that are not empty."""
        self.blocks += [block for block in blocks if (block.items if isinstance(block, Listing) else block)]

    def texts(self) -> Iterable[str]:
        """Yield all text."""
        for block in self.blocks:
            yield from [block] if isinstance(block, str) else [block.before, *(text for _, text in block.items)]


def keys_of(sections: Sequence[Section], known: Mapping[str, Reference]) -> list[str]:
    """Return the keys of the references that sections cite, in order; what is not known is no citation."""
    return [key for key in cited(text for section in sections for text in section.texts()) if key in known]


def markdown(sections: Sequence[Section], known: Mapping[str, Reference]) -> str:
    """Return sections as Markdown with citations as pandoc takes them.

    Parameters
    ----------
    sections : sequence of Section
    known : mapping of str to Reference
        Every reference that may be cited.
    """

    def inline(text: str) -> str:
        shown = _with_citations(text, known, lambda keys: f"[{'; '.join(f'@{key}' for key in keys)}]", _escaped)
        return _START.sub(r"\1\\\2", shown)

    parts = []
    for section in filter(lambda section: section.blocks, sections):
        parts.append(f"## {_escaped(section.title)}")
        for block in section.blocks:
            if isinstance(block, str):
                parts.append(inline(block))
                continue
            parts.append(inline(block.before))
            labels = [f"**{_escaped(label)}**: " if label else "" for label, _ in block.items]
            items = zip(labels, block.items, strict=True)
            parts.append("\n".join(f"- {label}{inline(text)}" for label, (_, text) in items))
    return "\n\n".join(filter(None, parts)) + "\n"


def html(sections: Sequence[Section], known: Mapping[str, Reference]) -> str:
    """Return sections as a fragment of HTML, citations as numbers that lead to a list of references at its end."""
    order = keys_of(sections, known)
    numbers = {key: number for number, key in enumerate(order, start=1)}

    def cite(keys: Sequence[str]) -> str:
        links = (f'<a href="#ref-{key}">{numbers[key]}</a>' for key in keys)
        return f'<span class="cite">[{", ".join(links)}]</span>'

    def inline(text: str) -> str:
        return _with_citations(text, known, cite, escape)

    parts = []
    for section in filter(lambda section: section.blocks, sections):
        parts.append(f"<h3>{escape(section.title)}</h3>")
        for block in section.blocks:
            if isinstance(block, str):
                parts.append(f"<p>{inline(block)}</p>")
                continue
            parts.append(f"<p>{inline(block.before)}</p>" if block.before else "")
            labels = [f"<strong>{escape(label)}</strong>: " if label else "" for label, _ in block.items]
            items = zip(labels, block.items, strict=True)
            parts.append(
                "<ul>\n" + "\n".join(f"<li>{label}{inline(text)}</li>" for label, (_, text) in items) + "\n</ul>"
            )
    if order:
        parts.append("<h3>References</h3>")
        parts.append('<ol class="references">\n' + "\n".join(_reference(known[key]) for key in order) + "\n</ol>")
    return "\n".join(filter(None, parts)) + "\n"


def _reference(entry: Reference) -> str:
    # Whatever a card says, an address leads to the web and runs nothing.
    safe = entry.link.startswith("https://") or entry.link.startswith("http://")
    link = f' <a href="{escape(entry.link, quote=True)}">{escape(entry.link)}</a>' if safe else ""
    return f'<li id="ref-{entry.key}">{escape(entry.words)}{link}</li>'


def bibtex(sections: Sequence[Section], known: Mapping[str, Reference]) -> str:
    """Return the entries that sections cite, by key."""
    return "\n".join(known[key].bibtex for key in sorted(keys_of(sections, known)))


def _escaped(text: str) -> str:
    return _SIGNS.sub(r"\\\1", text)


def _with_citations(
    text: str, known: Mapping[str, Reference], cite: Callable[[Sequence[str]], str], plain: Callable[[str], str]
) -> str:
    """Return text on one line, its citations through ``cite`` and all else through ``plain``."""
    parts, end = [], 0
    text = " ".join(text.split())
    for match in CITATION.finditer(text):
        keys = re.split(r"; ?@", match[1])
        if all(key in known for key in keys):
            parts += [plain(text[end : match.start()]), cite(keys)]
            end = match.end()
    return "".join([*parts, plain(text[end:])])
