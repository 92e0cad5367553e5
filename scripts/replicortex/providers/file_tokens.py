"""Features of stimuli that somebody else computed: an array with a name for each of its rows."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import Field

from ..components import Provider, component
from ..errors import InputError
from ..files import read_tsv
from ..shared.words import file_name


@component
class FileTokens(Provider):
    """Take the features from an ``.npz`` or ``.npy`` file of the user.

    Parameters
    ----------
    array_file : str or None
        An ``.npz`` with the arrays ``features`` and ``stim_id``, or an ``.npy`` with the features alone. Features are
        ``(n, n_channels)``, ``(n, n_tokens, n_channels)`` or, with ``layout: maps``, ``(n, n_channels, rows,
        columns)``. Read without unpickling anything; an ``.npy`` is mapped, so that it may be larger than memory.
    names_file : str or None
        For an ``.npy``: a table with the column ``stim_id``, a line for each row of the array.
    layout : {"tokens", "maps"}
        What the axes after the first are.
    columns : int or None
        How many tokens there are in a row of the picture; the square root of their number if that is whole.
    skip : int
        Tokens at the beginning that have no place in the picture, such as a class token.
    """

    array_file: str | None = None
    names_file: str | None = None
    layout: Literal["tokens", "maps"] = "tokens"
    columns: int | None = Field(None, ge=1)
    skip: int = Field(0, ge=0)

    def tokens(self, stimuli: Sequence[Mapping[str, str]], root: Path) -> Iterator[np.ndarray]:
        """Yield the features of the stimuli by their names; see :class:`Provider`.

        Raises
        ------
        InputError
            If a stimulus is not in the file, a name stands there twice, or values are not finite.
        """
        features, names = self._read()
        if len(set(names)) < len(names):
            twice = next(name for name in names if names.count(name) > 1)
            raise InputError(self.array_file, f"names {twice!r} twice", "keep one row for each stimulus")
        row_of = {name: row for row, name in enumerate(names)}
        lacking = [stimulus["stim_id"] for stimulus in stimuli if stimulus["stim_id"] not in row_of]
        if lacking:
            fault = f"has no row for {lacking[0]!r} ({len(lacking)} of {len(stimuli)} stimuli are missing)"
            raise InputError(self.array_file, fault, "add them, or correct the names in stim_id")
        self._n_tokens, self._map = 0, None
        for stimulus in stimuli:
            values = np.asarray(features[row_of[stimulus["stim_id"]]], dtype=np.float32)
            if self.layout == "maps":
                self._map = values.shape[1:]
                values = values.reshape(len(values), -1).T
            values = np.atleast_2d(values)[self.skip :]
            if not len(values) or not np.isfinite(values).all():
                fault = f"the row of {stimulus['stim_id']!r} has " + (
                    "no token left" if not len(values) else "no number"
                )
                raise InputError(self.array_file, fault, "correct the file, or `skip`")
            self._n_tokens = len(values)
            yield values[None]

    def _read(self) -> tuple[np.ndarray, list[str]]:
        if self.array_file is None:
            raise InputError("stimulus card", "names no file of features", "give array_file under `files`")
        path = Path(self.array_file)
        try:
            if path.suffix == ".npy":
                features = np.load(path, mmap_mode="r", allow_pickle=False)
                if self.names_file is None:
                    raise InputError(self.array_file, "does not name its rows", "give names_file, a table with stim_id")
                names = [row["stim_id"] for row in read_tsv(self.names_file)]
            else:
                with np.load(path, allow_pickle=False) as archive:
                    features, names = archive["features"], archive["stim_id"].astype(str).tolist()
        except InputError:
            raise
        except FileNotFoundError:
            raise InputError(self.array_file, "no such file", "correct the path in the stimulus card") from None
        except KeyError:
            raise InputError(self.array_file, "lacks the array features or stim_id", "provide both") from None
        except (OSError, ValueError) as error:
            raise InputError(
                self.array_file, f"not readable ({error})", "save it with numpy, without objects"
            ) from None
        wanted = (4,) if self.layout == "maps" else (2, 3)
        if features.ndim not in wanted or features.dtype.kind not in "fiu" or len(features) != len(names):
            fault = f"holds {features.dtype} of shape {features.shape} for {len(names)} names"
            raise InputError(self.array_file, fault, "see the words on array_file")
        return features, names

    def positions(self) -> list[list[float]]:
        """Return row and column of each token; all at one place where they make no rectangle."""
        columns = self._map[1] if self._map else self.columns or math.isqrt(self._n_tokens)
        if columns * (self._n_tokens // columns) != self._n_tokens:
            return [[0.0, float(token)] for token in range(self._n_tokens)]
        return [[float(token // columns), float(token % columns)] for token in range(self._n_tokens)]

    def described(self) -> str:
        """Return what it does, in words."""
        names = "" if self.names_file is None else f", their names from {file_name(self.names_file)}"
        layout = "maps of channels" if self.layout == "maps" else "tokens"
        skipped = "" if not self.skip else f" The first {self.skip} tokens, which have no place, were left out."
        wide = "" if self.columns is None else f" A row of the picture has {self.columns} tokens."
        return (
            f"Features of the stimuli were computed elsewhere and read as {layout} from"
            f" {file_name(self.array_file or 'a file')}{names}.{skipped}{wide}"
        )
