"""What tests build once and keep between runs; what nobody asked for lately goes."""

from __future__ import annotations

import contextlib
import os
import shutil
import time
from pathlib import Path

#: Each state of the pins and of the sources has its own, of up to a gigabyte (days).
KEPT = 3


def keep(folder: Path) -> None:
    """Note that a folder of a cache is in use, and remove those beside it that were not used for days.

    Folders alone, and only those with the name of a digest: what else lies there is shared by all of them.
    """
    os.utime(folder)
    for other in folder.parent.iterdir():
        digest = len(other.name) == len(folder.name) and set(other.name) <= set("0123456789abcdef")
        # Another process may remove the same.
        with contextlib.suppress(FileNotFoundError):
            if digest and other.is_dir() and time.time() - other.stat().st_mtime > KEPT * 86400:
                shutil.rmtree(other, ignore_errors=True)
