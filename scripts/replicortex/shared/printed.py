"""Numbers as a paper prints them: the same in figures, captions and tables. Standard library only."""

from __future__ import annotations

import math
from collections.abc import Sequence

MINUS = "\N{MINUS SIGN}"
_CAPITALS = ["roc", "auc", "mae", "rmse", "ari", "eeg", "meg", "ndcg", "fd", "snr", "pet", "bold", "pdf"]
_ABBREVIATIONS = {**{name: name.upper() for name in _CAPITALS}, "r2": "R\N{SUPERSCRIPT TWO}"}


def words(name: str) -> str:
    """Return an identifier in plain words: ``leave_one_subject_out`` -> ``leave one subject out``."""
    return " ".join(_ABBREVIATIONS.get(part, part) for part in str(name).split("_"))


def plain(value: float) -> str:
    """Return a number with two decimals, fewer from 100 on; ``n/a`` for what is not finite. Zero has no sign."""
    if not math.isfinite(value):
        return "n/a"
    decimals = 2 if abs(value) < 100 else 1 if abs(value) < 1000 else 0
    return f"{round(value, decimals) + 0.0:.{decimals}f}".replace("-", MINUS)


def interval(low: float, high: float) -> str:
    """Return an interval in brackets, nothing if it is not known."""
    return "" if math.isnan(low) or math.isnan(high) else f"[{plain(low)}, {plain(high)}]"


def estimate(value: float, low: float, high: float) -> str:
    """Return a value with its interval: ``0.88 [0.78, 0.95]``."""
    return f"{plain(value)} {interval(low, high)}".rstrip()


def probability(p: float) -> str:
    """Return a p-value as an equation: ``p = 0.03``, ``p < 0.001``; ``p not defined`` for ``nan``."""
    if math.isnan(p):
        return "p not defined"
    return "p < 0.001" if p < 0.001 else f"p = {p:.3f}" if p < 0.1 else f"p = {p:.2f}"


def counted(number: float, noun: str) -> str:
    """Return a number with its noun, which takes an s in the plural: ``6 subjects``, ``1 subject``."""
    return f"{number:,.0f} {noun}{'' if number == 1 else 's'}"


def spread(values: Sequence[float]) -> str:
    """Return the range of numbers, one number if they print alike."""
    low, high = plain(min(values)), plain(max(values))
    return low if low == high else f"{low} to {high}"


def listed(entries: Sequence[str], most: int = 8, noun: str = "more") -> str:
    """Return entries as words of a sentence; beyond ``most`` of them the rest is counted."""
    shown = list(entries) if len(entries) <= most else [*entries[: most - 1], f"{len(entries) - most + 1} {noun}"]
    return shown[0] if len(shown) == 1 else f"{', '.join(shown[:-1])} and {shown[-1]}" if shown else ""
