"""Read and write recordings in Neurodata Without Borders (NWB 2): spike times, series over time, and trials.

Files are written with pynwb, so that they keep to the standard; they are read with h5py and these checks, since a file
from elsewhere may name other files of the machine, or claim a size that no memory holds.
"""

from __future__ import annotations

import itertools
import uuid
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import InputError
from ..files import atomic
from .raw_files import check_present

if TYPE_CHECKING:
    import h5py
    import pandas as pd

#: When a recording is said to have started that never took place, or whose date is nobody's business.
SESSION_START = "2000-01-01T00:00:00+00:00"
#: A file may become this many times its size in memory, or this many bytes.
_GROWTH, _ALWAYS = 64, 1 << 30
#: Groups below which measured series lie, and how many groups, links and steps inside each other are followed.
_PLACES, _MOST_OBJECTS, _DEPTH = ("acquisition", "processing"), 100_000, 16
#: A clock may stray from even steps by this share of one.
_EVEN = 0.01


@dataclass(frozen=True)
class Series:
    """What was measured over time.

    Parameters
    ----------
    data : ndarray of shape (n_samples, ...)
        Values in ``unit``.
    timestamps : ndarray of shape (n_samples,)
        Time of each sample, s since the start of the session; never going back.
    unit : str
        As the file says it.
    description : str
        As the file says it; empty if it says nothing.
    """

    data: np.ndarray
    timestamps: np.ndarray
    unit: str = ""
    description: str = ""

    @property
    def rate(self) -> float:
        """Samples a second; ``nan`` where they are not evenly spaced or fewer than two."""
        steps = np.diff(self.timestamps)
        if not len(steps):
            return float("nan")
        step = (self.timestamps[-1] - self.timestamps[0]) / len(steps)
        return 1 / step if step > 0 and np.all(np.abs(steps - step) <= _EVEN * step) else float("nan")


@dataclass(frozen=True)
class Recording:
    """One session.

    Parameters
    ----------
    spike_times : list of ndarray
        Of each unit, s, ascending; empty where the file has no units.
    units : list of str
        Their identifiers, unique.
    series : dict of str to Series
        By the name of the series; by its path in the file where several have that name.
    trials : DataFrame or None
        A row a trial: ``start_time`` and ``stop_time`` (s), and what else the file says of it in one value.
    identifier, session_start : str
        As the file says them.
    """

    spike_times: list[np.ndarray] = field(default_factory=list)
    units: list[str] = field(default_factory=list)
    series: dict[str, Series] = field(default_factory=dict)
    trials: pd.DataFrame | None = None
    identifier: str = ""
    session_start: str = ""


def write_nwb(
    path: Path,
    *,
    spikes: Sequence[np.ndarray] | None = None,
    series: Mapping[str, tuple[np.ndarray, float | np.ndarray, str]] | None = None,
    trials: pd.DataFrame | None = None,
    identifier: str,
    session_start: str = SESSION_START,
    description: str = "simulated recording",
) -> None:
    """Write one session to ``path``; the same input gives the same bytes.

    Parameters
    ----------
    path : Path
        The file, ending in ``.nwb``.
    spikes : sequence of ndarray, optional
        Spike times of each unit, s.
    series : mapping, optional
        For each name the data ``(n_samples, ...)``, their rate (Hz, from 0 s on) or the time of each sample (s), and
        the unit.
    trials : DataFrame, optional
        ``start_time`` and ``stop_time`` (s) of each trial; further columns of numbers or text are written too.
    identifier : str
        Names the session; the identity of every object in the file follows from it.
    session_start : str
        ISO 8601, with a time zone.
    description : str
        Of the session.
    """
    import pynwb

    start = datetime.fromisoformat(session_start)
    nwb = pynwb.NWBFile(description, identifier, start, file_create_date=[start])
    for name, (data, clock, unit) in (series or {}).items():
        timing = {"rate": float(clock), "starting_time": 0.0} if np.isscalar(clock) else {"timestamps": clock}
        nwb.add_acquisition(pynwb.TimeSeries(name=name, data=np.asarray(data), unit=unit, **timing))
    for times in spikes or ():
        nwb.add_unit(spike_times=np.asarray(times, dtype=float))
    if trials is not None:
        for name in trials.columns.drop(["start_time", "stop_time"]):
            nwb.add_trial_column(name, name)
        for row in trials.to_dict("records"):
            nwb.add_trial(**row)
    for place, child in _children(nwb):
        # hdmf gives every object a random identity and has no other way to say which.
        child._AbstractContainer__object_id = str(uuid.uuid5(uuid.NAMESPACE_URL, f"{identifier}{place}"))
    with atomic(path) as temporary, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pynwb.NWBHDF5IO(temporary, "w") as file:
            file.write(nwb)


def _children(container: Any, place: str = "") -> Iterator[tuple[str, Any]]:
    """Yield a container and all that it holds, each with its place."""
    yield place, container
    for child in container.children:
        yield from _children(child, f"{place}/{child.name}")


def read_nwb(path: Path, name: str | None = None, *, wanted: Callable[[str], bool] | None = None) -> Recording:
    """Read one session.

    Parameters
    ----------
    path : Path
        The file.
    name : str, optional
        What messages call it; the file's own name if not said.
    wanted : callable, optional
        Whether a series of this name is to be read; all if not said.

    Raises
    ------
    InputError
        If the file is missing, damaged or no NWB 2, leads to another file, would take far more memory than it has
        bytes, or holds times and values that are none.
    """
    import h5py

    name = name or path.name
    check_present(path, name)
    try:
        with h5py.File(path, "r") as file:
            return _Reading(file, name, max(_GROWTH * path.stat().st_size, _ALWAYS)).recording(wanted)
    except (InputError, MemoryError):
        raise
    except Exception as error:
        # HDF5 fails in as many ways as files are damaged; each means that this one is not readable.
        fault = f"not readable as NWB ({type(error).__name__}: {error})"
        raise InputError(name, fault, "restore or re-export it") from None


class _Reading:
    """One open file: nothing is opened that lies outside of it, and no more read than ``most`` bytes."""

    def __init__(self, file: h5py.File, name: str, most: int) -> None:
        self._file, self._name, self._most = file, name, most
        self._read = self._looked_at = 0

    def recording(self, wanted: Callable[[str], bool] | None) -> Recording:
        version = self._text_of(self._file.attrs.get("nwb_version", ""))
        if not version.lower().removeprefix("nwb-").startswith("2"):
            raise self._fault(f"states NWB version {version or 'none'}", "convert it to NWB 2")
        spike_times, units = self._units()
        return Recording(
            spike_times=spike_times,
            units=units,
            series=self._all_series(wanted),
            trials=self._trials(),
            identifier=self._text("identifier"),
            session_start=self._text("session_start_time"),
        )

    def _fault(self, fault: str, remedy: str = "correct the file") -> InputError:
        return InputError(self._name, fault, remedy)

    def _get(self, path: str, depth: int = 0) -> h5py.Group | h5py.Dataset | None:
        """Return the object at ``path``, ``None`` if there is none; every link on the way is looked at first."""
        import h5py

        if depth > _DEPTH:
            raise self._fault(f"{path[:80]} is a link in a circle")
        found, steps = self._file["/"], [step for step in path.split("/") if step not in ("", ".")]
        for i, step in enumerate(steps):
            link = found.get(step, getlink=True) if isinstance(found, h5py.Group) else None
            if link is None:
                return None
            if isinstance(link, h5py.ExternalLink):
                raise self._fault(
                    f"{found.name.rstrip('/')}/{step} leads to another file", "copy what it means into this file"
                )
            if isinstance(link, h5py.SoftLink):
                there = link.path if link.path.startswith("/") else f"{found.name}/{link.path}"
                return self._get("/".join([there, *steps[i + 1 :]]), depth + 1)
            found = found[step]
        return found

    def _values(self, path: str) -> np.ndarray | None:
        """Return a dataset as an array: numbers as they are, text as text."""
        import h5py

        found = self._get(path)
        if found is None:
            return None
        if not isinstance(found, h5py.Dataset):
            raise self._fault(f"{path} is no dataset")
        if found.external or found.is_virtual:
            raise self._fault(f"the values of {path} lie in another file", "copy them into this file")
        self._read += found.size * max(found.dtype.itemsize, 8)
        if self._read > self._most:
            fault = f"{path} brings what would be read to {self._read} bytes, far more than the file has"
            raise self._fault(fault, "store it in a file of its own, or repair it")
        if h5py.check_string_dtype(found.dtype):
            return np.array(found.asstr()[()], dtype=str)
        if found.dtype.kind not in "biuf":
            raise self._fault(f"{path} holds {found.dtype}, neither numbers nor text")
        return found[()]

    def _numbers(self, path: str, what: str, *, finite: bool = True) -> np.ndarray | None:
        values = self._values(path)
        if values is None:
            return None
        if values.dtype.kind not in "biuf":
            raise self._fault(f"{path} ({what}) holds text")
        values = values.astype(float)
        if finite and not np.isfinite(values).all():
            raise self._fault(f"{path} ({what}) holds values that are not finite")
        return values

    def _text(self, path: str) -> str:
        value = self._values(path)
        return "" if value is None or value.dtype.kind != "U" or value.size != 1 else str(value.reshape(())[()])

    @staticmethod
    def _text_of(value: Any) -> str:
        return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)

    def _units(self) -> tuple[list[np.ndarray], list[str]]:
        times, ends = self._numbers("units/spike_times", "spike times"), self._values("units/spike_times_index")
        if times is None and ends is None:
            return [], []
        if times is None or ends is None or times.ndim != 1 or ends.ndim != 1 or ends.dtype.kind not in "iu":
            raise self._fault("units lack spike_times or spike_times_index, or these are no lists")
        edges = np.concatenate([[0], ends.astype(np.int64)])
        if np.any(np.diff(edges) < 0) or edges[-1] != len(times):
            raise self._fault("units/spike_times_index does not cut units/spike_times into units")
        identities = self._values("units/id")
        identities = np.arange(len(ends)) if identities is None else identities
        if len(identities) != len(ends) or len(np.unique(identities)) != len(ends):
            raise self._fault("units/id does not name each unit once")
        return [np.sort(times[a:b]) for a, b in itertools.pairwise(edges)], [str(i) for i in identities]

    def _all_series(self, wanted: Callable[[str], bool] | None) -> dict[str, Series]:
        paths = [path for place in _PLACES for path in self._series_below(f"/{place}")]
        names = [path.rpartition("/")[2] for path in paths]
        named = {
            (name if names.count(name) == 1 else path.lstrip("/")): path
            for name, path in zip(names, paths, strict=True)
        }
        return {name: self._series(path) for name, path in named.items() if wanted is None or wanted(name)}

    def _series_below(self, path: str, depth: int = 0) -> list[str]:
        """Return the paths of the series below a group, in order of their names."""
        import h5py

        group = self._get(path)
        if not isinstance(group, h5py.Group):
            return []
        self._looked_at += len(group)
        if depth > _DEPTH or self._looked_at > _MOST_OBJECTS:
            raise self._fault(f"holds groups inside each other without end below {path[:80]}")
        # Asking whether a name is "in" a group would open what it links to.
        links = {key: group.get(key, getlink=True) for key in sorted(group)}
        if "data" in links and ("timestamps" in links or "starting_time" in links):
            return [path]
        outside = [key for key, link in links.items() if isinstance(link, h5py.ExternalLink)]
        if outside:
            raise self._fault(f"{path}/{outside[0]} leads to another file", "copy what it means into this file")
        # A link to a group could lead back to where it stands; the series that it means is found where it lies.
        inside = [key for key, link in links.items() if isinstance(link, h5py.HardLink)]
        return [found for key in inside for found in self._series_below(f"{path}/{key}", depth + 1)]

    def _series(self, path: str) -> Series:
        data = self._numbers(f"{path}/data", "data", finite=False)
        if data.ndim == 0:
            raise self._fault(f"{path}/data is one number, not a series")
        attributes = dict(self._get(f"{path}/data").attrs)
        data = data * float(attributes.get("conversion", 1.0)) + float(attributes.get("offset", 0.0))
        timestamps = self._numbers(f"{path}/timestamps", "time of each sample")
        if timestamps is None:
            start, rate = self._numbers(f"{path}/starting_time", "start"), self._get(f"{path}/starting_time")
            rate = float(rate.attrs.get("rate", 0))
            if start.size != 1 or not rate > 0 or not np.isfinite(rate):
                raise self._fault(f"{path} states no sampling rate")
            timestamps = float(start.reshape(())) + np.arange(len(data)) / rate
        if timestamps.shape != (len(data),) or np.any(np.diff(timestamps) < 0):
            raise self._fault(f"{path}/timestamps does not give each of {len(data)} samples a time that follows")
        described = self._get(path).attrs.get("description", "")
        return Series(data, timestamps, self._text_of(attributes.get("unit", "")), self._text_of(described))

    def _trials(self) -> pd.DataFrame | None:
        import h5py
        import pandas as pd

        table = self._get("intervals/trials")
        if not isinstance(table, h5py.Group):
            return None
        names = [self._text_of(name) for name in np.atleast_1d(table.attrs.get("colnames", []))]
        columns = {}
        for name in dict.fromkeys(["start_time", "stop_time", *names]):
            # Columns with an index hold lists, and references mean other objects: neither is one value a trial.
            found = self._get(f"intervals/trials/{name}")
            plain = isinstance(found, h5py.Dataset) and found.ndim == 1
            plain = plain and (found.dtype.kind in "biuf" or h5py.check_string_dtype(found.dtype) is not None)
            if plain and table.get(f"{name}_index", getlink=True) is None:
                columns[name] = self._values(f"intervals/trials/{name}")
        lacking = {"start_time", "stop_time"} - columns.keys()
        if lacking or len({len(values) for values in columns.values()}) != 1:
            raise self._fault("intervals/trials lacks start_time or stop_time, or its columns differ in length")
        start, stop = (self._numbers(f"intervals/trials/{name}", "times") for name in ("start_time", "stop_time"))
        if np.any(stop < start):
            raise self._fault(f"trial {int(np.argmax(stop < start))} stops before it starts")
        return pd.DataFrame(columns)
