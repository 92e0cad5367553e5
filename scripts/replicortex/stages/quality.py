"""What preprocessing says of the quality of recordings: a page a subject, a table a dataset."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

import numpy as np

from ..files import read_tsv, to_tsv, write_text
from .blocks import IDENTITY

#: Robust z beyond which a number is called outlying (Iglewicz & Hoaglin 1993).
_OUTLYING = 3.5
#: Fewer recordings do not say what is usual.
_FEWEST = 8

_STYLE = """
body{font:15px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:70rem;padding:0 1rem;color:#1b1b1b;background:#fff}
h1{font-size:1.5rem}h2{font-size:1.15rem;margin-top:2rem;border-bottom:1px solid #ccc}
table{border-collapse:collapse}td,th{padding:.15rem .8rem .15rem 0;text-align:left;vertical-align:top}
td.n{text-align:right;font-variant-numeric:tabular-nums}img{max-width:100%;height:auto}
.failed{color:#a01313}figure{margin:1rem 0}figcaption{color:#555}
"""


def subject_reports(derivatives: Path, table: Iterable[Mapping[str, Any]]) -> None:
    """Write ``sub-<label>.html`` of every subject of ``table`` with pictures, numbers of quality or a failure.

    Parameters
    ----------
    derivatives : Path
        The derivative dataset; pictures are those in ``sub-<label>/figures``.
    table : iterable of mapping
        Lines of a manifest.
    """
    subjects: dict[str, list[Mapping[str, Any]]] = {}
    for line in table:
        subjects.setdefault(line["subject"], []).append(line)
    for subject, lines in subjects.items():
        path = derivatives / f"sub-{subject}.html"
        pictures = sorted((derivatives / f"sub-{subject}" / "figures").glob("*"))
        if pictures or any(line["quality"] or line["status"] == "failed" for line in lines):
            write_text(path, _page(subject, lines, [picture.name for picture in pictures]), only_if_changed=True)
        else:
            path.unlink(missing_ok=True)


def _page(subject: str, lines: Sequence[Mapping[str, Any]], pictures: Sequence[str]) -> str:
    parts = [f"<h1>sub-{escape(subject)}</h1>"]
    shown: set[str] = set()
    for line in lines:
        name = f"{line['recording']}_{line['suffix']}"
        parts.append(f"<h2>{escape(name)}</h2>")
        if line["status"] != "ok":
            parts.append(f'<p class="failed">Not processed: {escape(str(line["reason"]))}</p>')
            continue
        mine = [
            p for p in pictures if p.startswith(f"{line['recording']}_") and p.split(".")[0].endswith(line["suffix"])
        ]
        for picture in mine:
            shown.add(picture)
            what = escape(_words(picture, line["recording"]))
            source = f"sub-{subject}/figures/{picture}"
            image = f'<img src="{escape(source, quote=True)}" alt="{what}" loading="lazy">'
            parts.append(f"<figure>{image}<figcaption>{what}</figcaption></figure>")
        numbers = json.loads(line["quality"]) if line["quality"] else {}
        rows = "".join(
            f'<tr><th scope="row">{escape(key)}</th><td class="n">{_shown(value)}</td></tr>'
            for key, value in numbers.items()
        )
        parts.append(f"<table>{rows}</table>" if rows else "")
    head = (
        f'<meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>sub-{escape(subject)}</title>'
    )
    head += f"<style>{_STYLE}</style>"
    return f'<!doctype html>\n<html lang="en"><head>{head}</head><body>{"".join(parts)}</body></html>\n'


def _words(picture: str, recording: str) -> str:
    """Return what a picture shows, from its name: ``desc-registration`` is «registration»."""
    described = [part.removeprefix("desc-") for part in picture.split(".")[0].split("_") if part.startswith("desc-")]
    return f"{recording}: {described[0] if described else 'picture'}"


def _shown(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, int | float) else "n/a"


def collect_quality(manifests: Sequence[Path], out: Path) -> None:
    """Write the numbers of quality of all recordings, and which are unlike those of the others.

    Parameters
    ----------
    manifests : sequence of Path
        What preprocessing wrote.
    out : Path
        Written: a row a recording, with a column a number, ``n_outlying`` and ``outlying`` (names of numbers whose
        robust z, by median and median absolute deviation over recordings of the same suffix, exceeds 3.5). Nothing
        is excluded by it: that decision is the study's.
    """
    rows = [dict(row) for path in manifests for row in read_tsv(path)]
    for row in rows:
        row["numbers"] = json.loads(row["quality"]) if row.get("quality", "n/a") != "n/a" else {}
    names = sorted({name for row in rows for name in row["numbers"]})
    for suffix in sorted({row["suffix"] for row in rows}):
        mine = [row for row in rows if row["suffix"] == suffix]
        odd = outlying(mine, names)
        for row, found in zip(mine, odd, strict=True):
            row |= {"n_outlying": len(found), "outlying": ", ".join(found) or None}
    for row in rows:
        row |= {name: row["numbers"].get(name) for name in names}
    rows.sort(key=lambda row: (row["subject"], row["recording"], row["suffix"]))
    write_text(out, to_tsv(rows, [*IDENTITY, "status", "reason", "n_outlying", "outlying", *names]))


def outlying(rows: Sequence[Mapping[str, Any]], names: Sequence[str]) -> list[list[str]]:
    """Return, for each recording, the numbers by which it is unlike the others."""
    found: list[list[str]] = [[] for _ in rows]
    for name in names:
        values = np.array([row["numbers"].get(name, np.nan) for row in rows], dtype=float)
        known = np.isfinite(values)
        if known.sum() < _FEWEST:
            continue
        centre = np.median(values[known])
        spread = 1.4826 * np.median(np.abs(values[known] - centre))
        if spread > 0:
            for i in np.flatnonzero(known & (np.abs(values - centre) > _OUTLYING * spread)):
                found[i].append(name)
    return found
