"""Which stimulus was shown when: what the events of a dataset say, by the rule of its card.

Events name stimuli in many ways: ``stim_file`` (BIDS), ``file_path``, ``stimulus_name``, with backslashes, with numbers
that were stored as floats. What identifies a stimulus here is its path below the folder of stimuli, with ``/``.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from ..errors import InputError

#: Columns that name a stimulus where the card does not say which, the best first.
COLUMNS = ("stim_file", "file_path", "stimulus_name", "stimulus", "stim_id", "stimulus_id")
#: What a stimulus is, by the extension of its file.
_KINDS = {
    "image": ("png", "jpg", "jpeg", "bmp", "gif", "tif", "tiff", "webp"),
    "audio": ("wav", "mp3", "flac", "ogg"),
    "video": ("mp4", "avi", "mov", "mkv", "webm"),
    "text": ("txt", "json", "tsv", "csv"),
    "array": ("npy", "npz", "mat"),
}
_MISSING = ("", "n/a", "nan", "NaN", "None", "null")
_FLOAT = re.compile(r"[-+]?\d*\.\d+([eE][-+]?\d+)?|[-+]?\d+[eE][-+]?\d+")
_SECONDS = {"s": 1.0, "ms": 1e-3}


class StimulusRule(BaseModel):
    """How the events of a dataset name stimuli: the entry ``stimuli`` of its card.

    Parameters
    ----------
    column : str or None
        Column of events.tsv; the first of :data:`COLUMNS` that there is, if not given.
    folder : str
        Folder of the files, relative to the dataset.
    take : mapping of str to list of str
        Take only the events whose column has one of these values.
    strip : str
        What the values begin with and the files do not, such as ``C:/stim/``.
    test : mapping of str to list of str
        Stimuli to hold out: those of which a column has one of these values; with an empty list any value that is
        there. Others are for training. Without it the table does not say.
    caption : str or None
        Column with a text of the stimulus.
    factors : list of str
        Columns with properties of the stimulus.
    units : {"s", "ms"}
        Of onset and duration, for datasets that do not keep to BIDS.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    column: str | None = None
    folder: str = Field("stimuli", min_length=1)
    take: Mapping[str, Sequence[str]] = {}
    strip: str = ""
    test: Mapping[str, Sequence[str]] = {}
    caption: str | None = None
    factors: Sequence[str] = ()
    units: str = Field("s", pattern="^(s|ms)$")


def presented(events: Sequence[Mapping[str, str]], rule: StimulusRule, where: object) -> list[dict[str, Any]]:
    """Return what was shown in one run, in order: ``stim_id``, ``onset`` and ``duration`` (s), and its properties.

    Parameters
    ----------
    events : sequence of mapping
        The rows of ``events.tsv``.
    rule : StimulusRule
    where : object
        The file, for messages.

    Raises
    ------
    InputError
        If there is no column that names stimuli, its numbers are no names, or an onset is no number.
    """
    if not events:
        return []
    column = rule.column or next((name for name in COLUMNS if name in events[0]), None)
    wanted = [column or COLUMNS[0], *rule.take, *rule.test, *([rule.caption] if rule.caption else []), *rule.factors]
    lacking = [name for name in wanted if name not in events[0]]
    if lacking:
        has = ", ".join(events[0])
        raise InputError(where, f"has no column {lacking[0]!r} ({has})", "name it under `stimuli` of the dataset card")
    found = []
    for number, event in enumerate(events, start=2):
        taken = all(event[name].strip() in values for name, values in rule.take.items())
        # An onset that is not known is BIDS, and no presentation.
        if not taken or event[column].strip() in _MISSING or event.get("onset", "n/a").strip() in _MISSING:
            continue
        seconds = [_seconds(event.get(name, "n/a"), rule.units) for name in ("onset", "duration")]
        if not math.isfinite(seconds[0]):
            raise InputError(where, f"line {number}: the onset {event.get('onset')!r} is no number", "correct the line")
        held = {name: event[name].strip() in values if values else event[name].strip() not in _MISSING
                for name, values in rule.test.items()}  # fmt: skip
        found.append(
            {
                "stim_id": stimulus_id(event[column], rule, f"{where}, line {number}, {column}"),
                "onset": seconds[0],
                "duration": seconds[1] if math.isfinite(seconds[1]) else 0.0,
                "split": ("test" if all(held.values()) else "train") if held else "n/a",
                "caption": event[rule.caption].strip() if rule.caption else "n/a",
                "factors": {name: _whole(event[name].strip()) for name in rule.factors},
            }
        )
    return found


def stimulus_id(value: str, rule: StimulusRule, where: object) -> str:
    """Return what identifies a stimulus: its path with ``/``, without the folder of stimuli before it.

    Raises
    ------
    InputError
        If it is a number with a fraction or an exponent, of which digits may be lost, or a path that leads out.
    """
    text = value.strip().replace("\\", "/").removeprefix(rule.strip.replace("\\", "/"))
    if _FLOAT.fullmatch(text) and _whole(text) == text:
        fault = f"{text} is a number with a fraction, which names no stimulus: digits may be lost"
        raise InputError(where, fault, "name another column under `stimuli` of the dataset card, such as stimulus_name")
    text = re.sub(r"/+", "/", re.sub(r"^(\./)+", "", _whole(text)))
    text = text.removeprefix(rule.folder.strip("/") + "/")
    if text.startswith("/") or ".." in PurePosixPath(text).parts or not text or not text.isprintable():
        raise InputError(where, f"{text[:60]!r} is no path below {rule.folder}", "correct it, or set `strip`")
    return text


def kind_of(stim_id: str) -> str:
    """Return what a stimulus is: image, audio, video, text, array; ``n/a`` if its name does not tell."""
    extension = PurePosixPath(stim_id).suffix.removeprefix(".").lower()
    return next((kind for kind, extensions in _KINDS.items() if extension in extensions), "n/a")


def _whole(text: str) -> str:
    """Return a whole number that was stored as a float, such as ``12.0``, without what it never had."""
    return text[: text.index(".")] if re.fullmatch(r"[-+]?\d{1,15}\.0+", text) else text


def _seconds(text: str, units: str) -> float:
    try:
        return float(text) * _SECONDS[units]
    except ValueError:
        return math.nan
