"""Show the verdicts of a table of claims in a terminal."""

from __future__ import annotations

from pathlib import Path

from ..files import read_tsv

SIGNS = {"holds": "+", "fails": "-", "undecided": "?", "invalid": "!"}


def show_claims(claims: Path) -> bool:
    """Print the verdict of every claim on the data as they are, with what was found under the nulls.

    Returns
    -------
    bool
        Whether every claim with a stated expectation (planted effects, nulls) came out as expected.
    """
    rows = read_tsv(claims)
    width = max((len(row["claim"]) for row in rows), default=0)
    surprises = [row for row in rows if row.get("as_expected") == "no"]
    run = None
    for row in rows:
        if row["variant"] != "observed":
            continue
        if row["run"] != run:
            run = row["run"]
            print(f"\n{run}")
        nulls = [
            f"{other['variant']}: {other['verdict']}"
            for other in rows
            if (other["run"], other["claim"]) == (run, row["claim"]) and other["variant"] in ("null", "absent")
        ]
        print(
            f"  {SIGNS[row['verdict']]} {row['claim']:<{width}}  {row['verdict']:<9}  effect {_number(row['effect'])}"
            f" [{_number(row['ci_low'])}, {_number(row['ci_high'])}]  n {row['n']}  {', '.join(nulls)}"
        )
    for row in surprises:
        print(f"\nnot as expected: {row['run']}, {row['claim']}, {row['variant']}: {row['verdict']}")
    return not surprises


def _number(text: str) -> str:
    return text if text == "n/a" else f"{float(text):+.2f}"
