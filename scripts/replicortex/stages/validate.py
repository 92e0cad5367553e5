"""Check a dataset, raw or derivative, with the BIDS validator."""

from __future__ import annotations

import importlib.metadata
import json
import os
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

from ..errors import InputError
from ..files import to_json, to_tsv, write_text

VALIDATOR = "bids-validator-deno"
COLUMNS = ["severity", "code", "subCode", "location", "message"]


def validate_dataset(
    root: Path, report_json: Path, report_tsv: Path, skip: bool = False, executable: str | None = None
) -> None:
    """Validate the dataset at ``root``; errors stop, warnings are listed.

    Parameters
    ----------
    root : Path
        The dataset.
    report_json : Path
        Becomes the summary: version of validator and schema, number of issues by severity and code.
    report_tsv : Path
        Becomes the list of warnings, an issue a row. If there are errors, neither report is written and all
        issues stand in ``<name of report_tsv>.errors.tsv`` beside it, for the user to read.
    skip : bool
        Do not run the validator; the summary says so.
    executable : str, optional
        The validator; by default the one installed beside this Python, else the one on the path.

    Raises
    ------
    InputError
        If the dataset has errors, or the validator is missing or does not finish.

    """
    root, report_json, report_tsv = Path(root), Path(report_json), Path(report_tsv)
    errors_tsv = report_tsv.with_suffix(".errors.tsv")
    for stale in (report_json, report_tsv, errors_tsv):
        stale.unlink(missing_ok=True)
    if skip:
        _write(report_json, report_tsv, {"skipped": True}, [])
        return
    if not root.is_dir():
        raise InputError(root, "no such dataset", "check the path in the dataset's card")

    command = executable or _find_validator()
    result = _run(command, root)
    rows = sorted((_row(issue, result) for issue in result["issues"]["issues"]), key=_order)
    errors = [row for row in rows if row["severity"] == "error"]
    if errors:
        write_text(errors_tsv, to_tsv(rows, COLUMNS))
        shown = ", ".join(f"{row['code']} in {row['location']}" for row in errors[:3])
        raise InputError(
            root,
            f"{len(errors)} BIDS errors ({shown}{', ...' if errors[3:] else ''})",
            f"repair what {errors_tsv} lists, or skip validation in the dataset's card",
        )
    summary = {
        "skipped": False,
        "validator": f"{VALIDATOR} {_version()}",
        "schema": result["summary"]["schemaVersion"],
        "counts": dict(Counter(row["severity"] for row in rows)),
        "codes": dict(Counter(row["code"] for row in rows)),
    }
    _write(report_json, report_tsv, summary, rows)


def _write(report_json: Path, report_tsv: Path, summary: dict[str, Any], rows: list[dict[str, Any]]) -> None:
    write_text(report_tsv, to_tsv(rows, COLUMNS))
    write_text(report_json, to_json(summary))


def _find_validator() -> str:
    beside = Path(sys.executable).with_name(VALIDATOR)
    found = str(beside) if beside.is_file() else shutil.which(VALIDATOR)
    if found is None:
        raise InputError(
            VALIDATOR, "the BIDS validator is not installed", f"pip install {VALIDATOR}, or skip validation"
        )
    return found


def _call(command: list[str]) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(  # noqa: S603
            command,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            env={**os.environ, "NO_COLOR": "1"},
            check=False,
        )
    except OSError as error:
        raise InputError(command[0], f"can not be run ({error.strerror})", "install the BIDS validator") from None


def _run(command: str, root: Path) -> dict[str, Any]:
    """Return the validator's result. An absolute path can not be taken for an option."""
    # All rows of every table: by default the validator stops after 1000.
    done = _call([command, "--format", "json", "--max-rows", "-1", str(root.resolve())])
    try:
        result = json.loads(done.stdout)
        result["issues"]["issues"], result["summary"]["schemaVersion"]
    except (json.JSONDecodeError, KeyError, TypeError):
        lines = done.stderr.strip().splitlines() or ["no message"]
        raise InputError(
            root,
            f"the BIDS validator ended with status {done.returncode} and no result ({lines[0][:200]})",
            "check that all files are readable, or skip validation in the dataset's card",
        ) from None
    return result


def _version() -> str:
    """Return the version of the validator's package; what it prints itself is that of a repository around it."""
    try:
        return importlib.metadata.version(VALIDATOR)
    except importlib.metadata.PackageNotFoundError:
        return "of unknown version"


def _row(issue: dict[str, Any], result: dict[str, Any]) -> dict[str, Any]:
    """Return an issue as a row; an issue about a missing file names the file in ``affects`` only."""
    location = issue.get("location") or ", ".join(issue.get("affects", [])) or "dataset"
    message = issue.get("issueMessage") or result["issues"].get("codeMessages", {}).get(issue["code"], "")
    return {
        "severity": issue["severity"],
        "code": issue["code"],
        "subCode": issue.get("subCode"),
        "location": location.removeprefix("/"),
        "message": message.strip(),
    }


def _order(row: dict[str, Any]) -> tuple[str, ...]:
    # "error" sorts before "ignore" and "warning".
    return tuple(row[column] or "" for column in COLUMNS)
