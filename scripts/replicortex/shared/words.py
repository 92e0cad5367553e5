"""How components say in words what they do: numbers, lists and searches as a Methods section writes them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from decimal import Decimal
from itertools import pairwise
from pathlib import PurePath

_SMALL = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
#: Lists longer than this are given by their number and their ends.
_MOST_LISTED = 8
#: Row columns that every table of rows may have, by what they are.
_COLUMNS = {
    "subject": "participant",
    "mean_fd": "mean framewise displacement",
    "n_volumes": "number of volumes",
    "tr": "repetition time",
}


def digits(value: float) -> str:
    """Return a number without exponent, with a comma between thousands and at most six digits that count."""
    if isinstance(value, int):
        return f"{value:,}"
    return f"{Decimal(f'{value:.6g}'):,f}"


def percent(value: float) -> str:
    """Return a share of one in per cent."""
    return f"{digits(round(100 * value, 6))} %"


def spelled(n: int) -> str:
    """Return a count, in letters below ten."""
    return _SMALL[n] if 0 <= n < len(_SMALL) else digits(n)


def count(n: int, noun: str, plural: str | None = None) -> str:
    """Return a count of things: ``one fold``, ``three folds``, ``12 folds``."""
    return f"{spelled(n)} {noun if n == 1 else plural or f'{noun}s'}"


def listed(items: Iterable[str], last: str = "and") -> str:
    """Return ``a, b and c``."""
    *before, final = items
    return f"{', '.join(before)} {last} {final}" if before else final


def numbers(values: Sequence[float]) -> str:
    """Return numbers as a list, by their ends where they follow each other, and by number and ends where many."""
    if len(values) > 2 and all(isinstance(v, int) for v in values) and all(b - a == 1 for a, b in pairwise(values)):
        return f"{digits(values[0])} to {digits(values[-1])}"
    if len(values) > _MOST_LISTED:
        return f"{len(values)} values from {digits(min(values))} to {digits(max(values))}"
    return listed(map(digits, values))


def plain(name: str) -> str:
    """Return a name of a card as words."""
    return _COLUMNS.get(name, name.replace("_", " "))


def names(entries: Iterable[str]) -> str:
    """Return names of cards as words, in a list."""
    return listed(map(plain, entries))


def file_name(path: str) -> str:
    """Return the name of a user's file, without the folder that it lies in."""
    return PurePath(path).name


def sentence(*parts: str) -> str:
    """Return the parts that are not empty as one sentence: a great letter first, a full stop at the end."""
    text = "".join(parts).strip()
    return text[:1].upper() + text[1:] + ("" if text.endswith(".") else ".") if text else ""


def text(*sentences: str) -> str:
    """Return sentences as one text, empty ones left out."""
    return " ".join(filter(None, sentences))


Choice = tuple[str, int, str]


def among(what: str, values: Sequence[float] | Sequence[str]) -> Choice:
    """Return a parameter that takes one of ``values``, for :func:`searched`."""
    shown = listed(values, "or") if all(isinstance(value, str) for value in values) else numbers(values)
    return what, len(values), shown


def spaced(what: str, low: float, high: float, n: int) -> Choice:
    """Return a parameter that takes one of ``n`` values from ``low`` to ``high``, evenly spaced by their logarithms."""
    if n == 1:
        return what, 1, digits(low)
    return what, n, f"{spelled(n)} values spaced logarithmically from {digits(low)} to {digits(high)}"


def searched(n_inner: int, *choices: Choice) -> str:
    """Return which parameters a nested search chose from what, and at what the others were fixed.

    Parameters
    ----------
    n_inner : int
        Inner folds.
    choices : tuple of (str, int, str)
        What is chosen, of how many, and which those are; see :func:`among` and :func:`spaced`.
    """
    open_, fixed = ([choice for choice in choices if (choice[1] > 1) is several] for several in (True, False))
    said = []
    if open_:
        what = listed(f"{name} ({shown})" for name, _, shown in open_)
        said.append(f"{what} {'was' if len(open_) == 1 else 'were'} chosen by nested search over")
        said[0] += f" {count(n_inner, 'inner fold')}"
    if fixed:
        said.append(listed(f"{name} was {shown}" for name, _, shown in fixed))
    return sentence("; ".join(said))


def capital(words: str) -> str:
    """Return words with which a sentence begins."""
    return words[:1].upper() + words[1:]


def uncapital(words: str) -> str:
    """Return words in the middle of a sentence."""
    return words[:1].lower() + words[1:]


def band(low: float | None, high: float | None) -> str:
    """Return the pass-band of a filter whose edges (Hz) may be open."""
    if low is None:
        return f"below {digits(high)} Hz"
    return f"above {digits(low)} Hz" if high is None else f"{digits(low)} to {digits(high)} Hz"
