"""What a training says while it runs: a line an epoch, a bar on a terminal, a table, event files for TensorBoard."""

from __future__ import annotations

import csv
import math
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

#: Least seconds between two lines in a log; the first and the last epoch always have one.
_PAUSE = 1.0


class Log:
    """Tells of epochs.

    Parameters
    ----------
    folder : Path, optional
        Where ``log.csv`` and, if ``tensorboard`` is installed, its event files go.
    name : str
        Of the training, in lines.
    epochs : int
        How many there will be at most.
    known : list of dict
        History that is there already, of a training that was interrupted: the table begins with it.
    """

    def __init__(self, folder: Path | None, name: str, epochs: int, known: list[dict[str, Any]]) -> None:
        self.name, self.epochs = name, epochs
        self._last = -math.inf
        self._bar = _bar(name, epochs, len(known)) if sys.stderr.isatty() else None
        self._events: Any = None
        self._stream: Any = None
        self._table: Any = None
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)
            self._events = _events(folder)
            self._stream = (folder / "log.csv").open("w", newline="", encoding="utf-8")
        for entry in known:
            self._write(entry, None, None)

    def epoch(self, entry: Mapping[str, Any], n_steps: int, rate: float) -> None:
        """Tell of an epoch: its entry of the history, the steps so far, and the rows a second."""
        self._write(entry, n_steps, rate)
        if self._events is not None:
            for name, value in entry.items():
                if name != "epoch" and value is not None:
                    self._events.add_scalar(name, value, n_steps)
            self._events.add_scalar("rows_per_second", rate, n_steps)
        now, number = time.monotonic(), entry["epoch"]
        if self._bar is not None:
            self._bar[0].update(self._bar[1], completed=number, description=f"{self.name} loss {entry['loss']:.4g}")
        elif now - self._last > _PAUSE or number in (1, self.epochs):
            self._last = now
            judged = "" if entry["val_loss"] is None else f", validation {entry['val_loss']:.6g}"
            print(
                f"{self.name}: epoch {number}/{self.epochs}: loss {entry['loss']:.6g}{judged},"
                f" rate {entry['lr']:.3g}, {rate:.0f} rows/s",
                file=sys.stderr,
                flush=True,
            )

    def _write(self, entry: Mapping[str, Any], n_steps: int | None, rate: float | None) -> None:
        if self._stream is None:
            return
        row = {"epoch": entry["epoch"], "n_steps": n_steps, **entry, "rows_per_second": rate and round(rate, 1)}
        if self._table is None:
            self._table = csv.DictWriter(self._stream, list(row), extrasaction="ignore", lineterminator="\n")
            self._table.writeheader()
        self._table.writerow(row)
        self._stream.flush()

    def close(self) -> None:
        """Close files and bar."""
        if self._stream is not None:
            self._stream.close()
        if self._bar is not None:
            self._bar[0].stop()
        if self._events is not None:
            self._events.close()


def _bar(name: str, epochs: int, done: int) -> Any:
    try:
        from rich.console import Console
        from rich.progress import Progress
    except ModuleNotFoundError:
        return None
    progress = Progress(console=Console(stderr=True), transient=True)
    progress.start()
    return progress, progress.add_task(name, total=epochs, completed=done)


def _events(folder: Path) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except (ModuleNotFoundError, ImportError):
        return None
    return SummaryWriter(str(folder))
