"""How pages say things: numbers, names, verdicts; and what they do not say of people and machines."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from ..shared.printed import words
from ..stages.board import SIGNS

MINUS = "\N{MINUS SIGN}"


class Verdict(NamedTuple):
    """A verdict as pages show it: never by its colour alone."""

    name: str
    sign: str
    meaning: str


VERDICTS = {
    name: Verdict(name, SIGNS[name].replace("-", MINUS), meaning)
    for name, meaning in {
        "holds": "The test is significant, and says nothing where there is nothing.",
        "fails": "There are enough units to tell, and the effect that is claimed is not there.",
        "undecided": "Too few units to tell, or the dataset does not allow the comparison.",
        "invalid": "The same test also finds an effect with permuted labels, or where none was simulated.",
    }.items()
}
#: The order in which verdicts are counted and sorted.
VERDICT_ORDER = list(VERDICTS)
CONTROLS = {"null": "labels permuted", "absent": "effect absent"}


def finite(value: Any) -> float | None:
    """Return a cell of a table, or a JSON value, as a number; None where there is none."""
    if value is None or value in ("", "n/a"):
        return None
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return number if math.isfinite(number) else None


def number(value: Any, *, signed: bool = False, digits: int = 2) -> str:
    """Return a number for people: ``0.50``, ``+0.40``, ``1,234``, ``n/a``; three significant digits if it is small."""
    found = finite(value)
    if found is None:
        return "n/a"
    size = abs(found)
    if size >= 1000:
        text = f"{found:+,.0f}" if signed else f"{found:,.0f}"
    elif size >= 100:
        text = f"{found:+.1f}" if signed else f"{found:.1f}"
    elif 0 < size < 0.5 * 10**-digits:
        text = f"{found:+.1g}" if signed else f"{found:.1g}"
    else:
        text = f"{found:+.{digits}f}" if signed else f"{found:.{digits}f}"
    return text.replace("-", MINUS)


def rounded(value: Any, digits: int = 2) -> str:
    """Return a number with at most so many decimals, and none that is needless: ``196``, ``0.13``, ``n/a``."""
    found = finite(value)
    if found is None:
        return "n/a"
    if abs(found) >= 1000:
        return number(found)
    return number(found) if 0 < abs(found) < 0.5 * 10**-digits else tick(round(found, digits))


def tick(value: float) -> str:
    """Return a number without needless digits, for an axis."""
    return f"{0.0 if abs(value) < 1e-12 else value:g}".replace("-", MINUS)


def count(value: Any) -> str:
    """Return a count with separators of thousands."""
    found = finite(value)
    return "n/a" if found is None else f"{found:,.0f}"


def interval(low: Any, high: Any, *, signed: bool = False) -> str:
    """Return an interval in brackets; nothing where there is none."""
    if finite(low) is None or finite(high) is None:
        return ""
    return f"[{number(low, signed=signed)}, {number(high, signed=signed)}]"


def p_value(value: Any) -> str:
    """Return a p-value as papers print it."""
    found = finite(value)
    if found is None:
        return "n/a"
    return "< 0.001" if found < 0.001 else f"{found:.3f}"


def duration(seconds: float | None) -> str:
    """Return a time for people."""
    if seconds is None:
        return "n/a"
    if seconds < 60:
        return f"{seconds:.1f} s"
    if seconds < 3600:
        return f"{seconds / 60:.1f} min"
    return f"{seconds / 3600:,.1f} h"


def plural(n: int, one: str, many: str | None = None) -> str:
    """Return a number of things in words."""
    return f"{n:,} {one if n == 1 else many or one + 's'}"


def shortened(text: str, most: int = 300) -> str:
    """Return the beginning of a long text, cut between words."""
    return text if len(text) <= most else f"{text[:most].rpartition(' ')[0]} \N{HORIZONTAL ELLIPSIS}"


def megabytes(value: float | None) -> str:
    """Return an amount of memory for people."""
    if value is None:
        return "n/a"
    return f"{value / 1000:.1f} GB" if value >= 1000 else f"{value:.0f} MB"


def flat(value: Any) -> str:
    """Return a parameter's value in one line."""
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, list | tuple):
        return ", ".join(flat(entry) for entry in value) or "none"
    if isinstance(value, Mapping):
        return "; ".join(f"{words(key)}: {flat(entry)}" for key, entry in value.items()) or "none"
    return str(value)


# ---- what is not said

_ABSOLUTE = re.compile(r"(?<![\w:/.<])~?(?:/[^\s/:;,'\"<>|()]+)+/?")
_SUBJECT = re.compile(r"\bsub-[A-Za-z0-9+]+")
_NAMED = re.compile(
    r"\b([Ss]ubjects?|[Pp]articipants?)(:? +['\"]?)(?!in\b|of\b|and\b|with\b|is\b|has\b|to\b)[\w-]*\d[\w-]*"
)
_ADDRESS = re.compile(r"[\w.+-]+@[\w.-]+")


def hidden(text: str) -> str:
    """Return a message without absolute paths, addresses and labels of subjects."""

    def last(match: re.Match) -> str:
        # The last part of a path may be somebody's name; that of a file tells what is wrong with what.
        name = match[0].rstrip("/").rpartition("/")[2]
        return f"\N{HORIZONTAL ELLIPSIS}/{name}" if "." in name.strip(".") else "\N{HORIZONTAL ELLIPSIS}"

    text = _ABSOLUTE.sub(last, text)
    text = _ADDRESS.sub("\N{HORIZONTAL ELLIPSIS}", text)
    text = _SUBJECT.sub("sub-\N{HORIZONTAL ELLIPSIS}", text)
    return _NAMED.sub(rf"\1\2{chr(0x2026)}", text)
