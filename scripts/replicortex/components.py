"""Components: the name in a card is the name of a file, and the file holds one public class.

There is no list of components. ``load("methods", "mdm")`` imports ``replicortex/methods/mdm.py`` and nothing
else, so that a job needs only the packages of its own method, and adding a file adds a component.
"""

from __future__ import annotations

import copy
import dataclasses
import functools
import importlib
import inspect
import io
import re
import zipfile
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from pydantic import ConfigDict, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass as pydantic_dataclass

from . import guard, stored
from .bundle import Bundle
from .errors import InputError, did_you_mean

PACKAGE = Path(__file__).parent
KINDS = (
    *("simulators", "readers", "preprocessing", "features", "providers", "methods", "explainers"),
    *("metrics", "splitters", "figures", "displays"),
)

#: What a study may ask of its methods.
TASKS = ("classify", "regress", "select", "encode", "retrieve", "decode", "infer", "generate")


def names(kind: str) -> list[str]:
    """Return the names of all components of a kind: the files of its folder."""
    return sorted(path.stem for path in (PACKAGE / kind).glob("[a-z]*.py"))


def component(cls: type) -> type:
    """Make a class a component: typed, keyword-only parameters, unknown ones refused.

    A list or mapping may stand as a default, plainly; every instance gets its own copy.
    """
    for name in inspect.get_annotations(cls):
        default = vars(cls).get(name)
        if isinstance(default, list | dict):
            setattr(cls, name, dataclasses.field(default_factory=functools.partial(copy.deepcopy, default)))
    made = pydantic_dataclass(cls, config=ConfigDict(extra="forbid", arbitrary_types_allowed=True), kw_only=True)
    made.__is_component__ = made.__module__
    return made


def load(kind: str, name: str) -> type:
    """Return the class of component ``name``.

    Raises
    ------
    InputError
        If there is no such component, or a package it needs is not installed.
    """
    if kind not in KINDS:
        raise ValueError(f"no kind of component {kind!r}")
    if not re.fullmatch(r"[a-z][a-z0-9_]*", name) or name not in names(kind):
        raise InputError(f"{kind}/{name}", "no such component", did_you_mean(name, names(kind)))
    try:
        module = importlib.import_module(f".{kind}.{name}", __package__)
    except ModuleNotFoundError as error:
        raise InputError(
            f"{kind}/{name}.py",
            f"needs the package {error.name!r}, which this environment lacks",
            "install it, or name the right family in the study card",
        ) from error
    found = [entry for entry in vars(module).values() if getattr(entry, "__is_component__", None) == module.__name__]
    if len(found) != 1:
        raise TypeError(f"{kind}/{name}.py must hold one @component class, holds {len(found)}")
    return found[0]


def make(kind: str, name: str, params: Mapping[str, Any] | None = None) -> Any:
    """Return component ``name`` with ``params``, checked.

    Raises
    ------
    InputError
        If a parameter is unknown or of the wrong type; the message names it.
    """
    cls = load(kind, name)
    known = [entry.name for entry in dataclasses.fields(cls)]
    params = dict(params or {})
    for key in params:
        if key not in known:
            raise InputError(f"{kind}/{name}", f"unknown parameter {key!r}", did_you_mean(key, known))
    try:
        return cls(**params)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"]) or "parameters"
        raise InputError(f"{kind}/{name}", f"{place}: {first['msg']}", "correct it in the card") from None


def parameters(instance: Any) -> dict[str, Any]:
    """Return all parameters of a component, defaults included, as plain JSON values."""
    return {
        entry.name: TypeAdapter(entry.type if not isinstance(entry.type, str) else Any).dump_python(
            getattr(instance, entry.name), mode="json"
        )
        for entry in dataclasses.fields(instance)
    }


class Component:
    """What all components can do: say in words what they do."""

    #: Parameters that do not change what is computed (threads, memory), so that the words need not tell them.
    untold: ClassVar[frozenset[str]] = frozenset()

    def described(self) -> str:
        """Return what it does, as the Methods section of a paper says it: sentences with the parameters filled in.

        Sources stand as ``[@key]``, keys of ``data/references.bib``; there is no other markup. A component without
        words of its own says the first sentence of its docstring.
        """
        summary = (inspect.getdoc(type(self)) or type(self).__name__).partition("\n\n")[0]
        return " ".join(summary.split()).replace("``", "")


class Simulator(Component, ABC):
    """Writes one BIDS dataset. ``tiny`` are parameters with which it runs in seconds."""

    tiny: ClassVar[dict[str, Any]] = {}
    datatype: ClassVar[str] = ""
    #: Environment that it needs, a file of ``envs/``.
    family: ClassVar[str] = "signal"

    @abstractmethod
    def simulate(self, root: Path, truth: str, seed: int) -> dict[str, Any]:
        """Write the dataset under ``root`` and return what was planted (plain JSON values).

        Parameters
        ----------
        root : Path
            An empty folder; becomes a valid BIDS dataset. No file in it may tell the truth.
        truth : {"planted", "absent"}
            Whether the effect is there. Everything else is the same for both.
        seed : int
            Same seed, same data.
        """


class Reader(Component, ABC):
    """Brings the published files of one source, which are not BIDS, to BIDS; computes nothing."""

    tiny: ClassVar[dict[str, Any]] = {}

    @abstractmethod
    def read(self, source: Path, root: Path) -> list[dict[str, Any]]:
        """Write recordings, tables and sidecars below ``root``; return the rows of ``participants.tsv``.

        The stage writes that table, the description of the dataset and its README; without a row for a subject that
        has files, or the other way round, it refuses the dataset.

        Parameters
        ----------
        source : Path
            Folder of the published files, which are only read.
        root : Path
            An empty folder; becomes a BIDS dataset.

        Returns
        -------
        list of dict
            A row a subject: ``participant_id`` (``sub-01``), and what is known of it; ``None`` where it is not.

        Raises
        ------
        InputError
            If a file is missing or damaged.
        """


class Preprocessor(Component, ABC):
    """Turns one raw recording into one BIDS derivative."""

    tiny: ClassVar[dict[str, Any]] = {}
    datatypes: ClassVar[tuple[str, ...]] = ()
    #: Suffixes that it takes, such as ``T1w``; all of its datatypes if empty.
    suffixes: ClassVar[tuple[str, ...]] = ()
    #: Environment that it needs, a file of ``envs/``.
    family: ClassVar[str] = "signal"
    #: How the name of the main file ends, where several data files are written for one recording.
    main: ClassVar[str] = ""

    def takes(self, recording: Mapping[str, str]) -> bool:
        """Return whether ``recording`` (a row of ``recordings.tsv``) is of a kind that this engine processes."""
        fits = not self.suffixes or recording["suffix"] in self.suffixes
        return recording["datatype"] in self.datatypes and fits

    def inputs(self, recording: Mapping[str, str], root: Path) -> list[Path]:
        """Return files outside the recording that its result depends on: their content is part of its identity."""
        return []

    @abstractmethod
    def preprocess(
        self, recording: Mapping[str, str], root: Path, out: Path, parents: Sequence[Path] = ()
    ) -> dict[str, Any]:
        """Preprocess ``recording`` (a row of ``recordings.tsv``) from dataset ``root`` into folder ``out``.

        ``out`` is a temporary folder; the stage moves its files to their final place if this returns: those
        beside each other to the folder of the recording, those in ``out/figures`` to the subject's figures.

        Parameters
        ----------
        recording : mapping
            Its row of ``recordings.tsv``.
        root, out : Path
            The dataset, which is only read, and the folder to write to.
        parents : sequence of Path
            Main files that the recipe named under ``after`` made of the same subject, such as its T1w image.

        Returns
        -------
        dict
            Entries of the main file's sidecar that say what was done; those under ``Quality`` (name and number)
            also stand in the table of quality.

        Raises
        ------
        InputError
            If the recording can not be processed; the stage records the line and goes on with the others.
        """


class Extractor(Component, ABC):
    """Turns one preprocessed recording into one bundle; fits nothing, since it sees one recording alone."""

    tiny: ClassVar[dict[str, Any]] = {}
    datatypes: ClassVar[tuple[str, ...]] = ()
    #: Suffixes of the recordings that it takes, such as ``bold``; all of its datatypes if empty.
    suffixes: ClassVar[tuple[str, ...]] = ()
    needs_events: ClassVar[bool] = False
    #: Row columns that it measures from images, which a study may name as covariates.
    measures: ClassVar[frozenset[str]] = frozenset()
    #: Environment that it needs, a file of ``envs/``.
    family: ClassVar[str] = "signal"
    #: Whether its rows are presentations of stimuli, which the stage then hands over as ``presentations``.
    needs_stimuli: ClassVar[bool] = False
    #: Of the recording that it is to see: ``stim_id``, ``onset`` and ``duration`` (s) of each, in order.
    presentations: ClassVar[Sequence[Mapping[str, Any]]] = ()

    def lacks(self, channels: Collection[str]) -> list[str]:
        """Return the channels that it needs and a recording with ``channels`` has not, none where that will do."""
        return []

    def described(self, suffixes: Collection[str] = ()) -> str:
        """Return what it does in words; see :meth:`Component.described`.

        Parameters
        ----------
        suffixes : collection of str
            Of the recordings at hand, such as ``bold`` or ``timeseries``: images and tables ask for other words. All
            that it takes, if there is none.
        """
        return super().described()

    @abstractmethod
    def extract(self, recording: Mapping[str, str], path: Path, classes: Mapping[str, list[str]]) -> Bundle:
        """Extract the features of the derivative at ``path``.

        Parameters
        ----------
        recording : mapping
            Its row of the manifest: ``recording``, ``subject``, ``session``, ``run``, ...
        path : Path
            The derivative's data file; its sidecars and ``events.tsv`` lie beside it.
        classes : mapping of str to list of str
            The study's name of each class, and the ``trial_type`` values that mean it in this dataset.
        """


class Provider(Component, ABC):
    """Says what a stimulus is, in numbers: a network's features, a user's array, or the stimulus itself.

    A function of the stimulus alone: it sees no response and no subject.
    """

    tiny: ClassVar[dict[str, Any]] = {}
    #: Kinds of stimuli that it takes, such as ``image``; all if empty.
    kinds: ClassVar[tuple[str, ...]] = ()
    #: Environment that it needs, a file of ``envs/``.
    family: ClassVar[str] = "signal"

    @abstractmethod
    def tokens(self, stimuli: Sequence[Mapping[str, str]], root: Path) -> Iterator[np.ndarray]:
        """Yield the features of the stimuli, some at a time, in order: ``(n, n_tokens, n_channels)``, float32.

        Parameters
        ----------
        stimuli : sequence of mapping
            Rows of the stimulus table: ``stim_id``, ``path`` (relative to ``root``), ``kind``, ...
        root : Path
            The dataset, which is only read.

        Raises
        ------
        InputError
            If a file is missing or damaged, or differs in size from the others.
        """

    @abstractmethod
    def positions(self) -> list[list[float]]:
        """Return row and column of each token in the stimulus, once :meth:`tokens` was read to its end."""

    def beside(self, stimuli: Sequence[Mapping[str, str]], root: Path) -> dict[str, np.ndarray]:
        """Return further arrays of the stimuli, a row each, such as their ``pixels``; none if not said otherwise."""
        return {}


class Splitter(Component, ABC):
    """Says which rows are held out in which fold.

    ``held_out`` is the unit that may never stand on both sides of a fold: one of :data:`replicortex.guard.UNITS`.
    """

    tiny: ClassVar[dict[str, Any]] = {}
    held_out: ClassVar[str] = "row"
    #: Whether two subjects may each train a fold that holds out the other, so that their scores are not independent:
    #: see :func:`replicortex.shared.statistics.spread_p`.
    crossed: ClassVar[bool] = False
    #: Row columns that it reads beside those that all rows have, such as ``segment`` and ``onset``; text.
    columns: ClassVar[tuple[str, ...]] = ()

    def unfit(self, rows: Mapping[str, np.ndarray]) -> str | None:
        """Return why this scheme can not be used on these rows, or ``None``."""
        return None

    @abstractmethod
    def split(
        self, rows: Mapping[str, np.ndarray], target: np.ndarray, seed: int
    ) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
        """Yield ``(fold name, train indices, test indices)``."""


class Metric(Component, ABC):
    """Scores predictions of held-out rows."""

    tiny: ClassVar[dict[str, Any]] = {}
    greater_is_better: ClassVar[bool] = True
    #: Values that the metric can not pass; intervals end there. ``None`` on a side that has no bound.
    bounds: ClassVar[tuple[float | None, float | None]] = (None, None)
    #: Unit of its values, as it stands at an axis.
    unit: ClassVar[str] = "dimensionless"
    #: Tasks whose predictions it can score.
    tasks: ClassVar[frozenset[str]] = frozenset({"classify"})
    #: Whether it judges a fold as a whole, so that no subject has a share in its value.
    whole: ClassVar[bool] = False
    #: Whether its value is the mean of one value a row, so that each subject's share is its own value.
    averages: ClassVar[bool] = False
    #: Arrays that it reads beside the prediction itself; where a method does not hand them on, its value is ``nan``.
    arrays: ClassVar[tuple[str, ...]] = ()

    def of_rows(self, predictions: Bundle) -> dict[str, np.ndarray]:
        """Return arrays that :meth:`score` is made of, each row by itself, where they take time; nothing as a rule.

        They are made once, before rows are left out in turn, and stand among the arrays that :meth:`score` gets.
        """
        return {}

    @abstractmethod
    def score(self, target: np.ndarray, predictions: Bundle) -> float:
        """Return the value for these rows; ``nan`` where it is not defined (one class only, say)."""

    @abstractmethod
    def chance(self, target: np.ndarray) -> float:
        """Return the value expected of a prediction that knows nothing."""


class Figure(ABC):
    """Draws one table. The table drawn is written beside the figure."""

    tiny: ClassVar[dict[str, Any]] = {}

    @abstractmethod
    def table(self, sources: Mapping[str, Path]) -> list[dict[str, Any]]:
        """Return the rows that the figure shows, from the run's result tables."""

    @abstractmethod
    def draw(self, table: list[dict[str, str]], path: Path) -> None:
        """Draw ``table``, as read back from its file, to ``path`` (SVG)."""


@dataclasses.dataclass(frozen=True)
class Audience:
    """Who may see what of the people in a dataset, and what every caption says.

    Parameters
    ----------
    fewest : int
        Recordings that every value shown must come from.
    means_only : bool
        Nothing that tells recordings apart may be shown, not even without their names.
    sample : str
        Of which recordings the display is, in a sentence.
    """

    fewest: int
    means_only: bool
    sample: str


class Display(ABC):
    """Shows what preprocessing gave of a whole dataset, one recording in memory at a time, without anybody's name.

    Its file is ``<modality>_group.py``.
    """

    tiny: ClassVar[dict[str, Any]] = {}
    #: Environment that it needs, a file of ``envs/``.
    family: ClassVar[str] = "signal"
    #: Recordings that are looked into where a dataset has more.
    most: ClassVar[int] = 200

    @abstractmethod
    def look(self, recording: Mapping[str, str], path: Path) -> dict[str, float]:
        """Take in one recording; return numbers of its quality that preprocessing did not state.

        Parameters
        ----------
        recording : mapping
            Its row of the manifest.
        path : Path
            The derivative's main file.

        Raises
        ------
        InputError
            If the recording has nothing for this display; the fault is counted in the captions.
        """

    @abstractmethod
    def show(self, folder: Path, audience: Audience) -> list[dict[str, str]]:
        """Write displays of all that was taken in to ``folder``; return ``name``, ``title``, ``kind``, ... of each."""


@dataclasses.dataclass(frozen=True)
class Context:
    """What a fit has beside its training rows; set by the stage before it calls ``fit``.

    Parameters
    ----------
    name, data : str
        The method's name in the study, and that of the dataset.
    untrained : bool
        Whether its random-initialised twin is wanted: everything is built, and no step is taken.
    parent : Method, optional
        The method that ``init_from`` names, fitted on the same fold with the same seed.
    stimuli : Bundle, optional
        What was shown: a row a stimulus (``row_id`` is the target of rows), the held-out ones among them.
    scratch : Path, optional
        Folder for checkpoints and logs of training; it outlives a job that is killed.
    """

    name: str = ""
    data: str = ""
    untrained: bool = False
    parent: Method | None = None
    stimuli: Bundle | None = None
    scratch: Path | None = None


class Explainer(Component, ABC):
    """Says of a fitted network which parts of its input its output depends on."""

    tiny: ClassVar[dict[str, Any]] = {}
    #: Environment that it needs, a file of ``envs/``.
    family: ClassVar[str] = "torch"

    def prepared(self, network: Any) -> Any:
        """Return the network in the form that :meth:`explain` works on, once for many inputs; itself as a rule."""
        return network

    @abstractmethod
    def explain(self, network: Any, x: Any, baseline: Any, regions: Any = None) -> Any:
        """Return a map of each input; that of one does not depend on the others.

        Parameters
        ----------
        network : torch.nn.Module
            In evaluation mode: inputs (n, 1, X, Y, Z) to outputs (n,). It is left as it was.
        x : Tensor of shape (n, 1, X, Y, Z)
            What to explain.
        baseline : Tensor of shape (1, 1, X, Y, Z)
            An input that says nothing, such as zeros or the mean over training rows.
        regions : Tensor of int of shape (n, X, Y, Z), optional
            Label of the region of each voxel, 0 outside of all.

        Returns
        -------
        Tensor of shape (n, 1, X, Y, Z)
            Greater means that the output is greater because of this place, as far as the method gives a sign.

        Raises
        ------
        InputError
            If the network lacks the layer, or the input the regions, that it works on.
        """


class Method(Component, ABC):
    """A published method or a baseline: fitted on training rows, predicts held-out rows.

    A subclass is the whole model. ``tasks`` says what it can do, ``needs`` which axes ``x`` must have.
    Every call of ``fit`` is written down by :mod:`replicortex.guard`, so that the leak guard knows which rows
    a fitted thing has seen.

    Tasks are ``classify``, ``regress``, ``select``, ``encode`` (the response to a stimulus), ``retrieve`` (the stimulus
    of a response), ``decode`` (several numbers of each moment), ``infer`` (what lies behind data without any target),
    ``generate`` (data like those seen), and ``pretrain`` for a method that is only a step for others: it is fitted and
    saved, and its predictions have no arrays.
    """

    tasks: ClassVar[frozenset[str]] = frozenset()
    needs: ClassVar[tuple[str, ...]] = ()
    tiny: ClassVar[dict[str, Any]] = {}
    #: Names of the fitted attributes that make a model; saved by :meth:`dump`.
    state: ClassVar[tuple[str, ...]] = ("estimator_",)
    #: Full names of the classes in ``state`` that skops does not know. A package would be too much: numpy and sklearn
    #: have functions that run text as code, and a model file may have any function called that is trusted.
    trusted: ClassVar[tuple[str, ...]] = ()
    #: Components that it can start from (``init_from``): it needs one of them, and none if there is no name.
    starts_from: ClassVar[tuple[str, ...]] = ()
    #: Whether it can be built and left untrained (``context.untrained``).
    twin: ClassVar[bool] = False
    #: Whether it reads arrays by rows, as :class:`replicortex.shared.rows.Rows`, so that they need not fit into memory.
    streams: ClassVar[bool] = False
    #: Arrays of the stimuli that its retrieval is judged on; they stand in its predictions as ``stimulus_<name>``.
    judged_on: ClassVar[tuple[str, ...]] = ()
    context: ClassVar[Context] = Context()

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "fit" in vars(cls):
            cls.fit = _recorded(vars(cls)["fit"])

    @abstractmethod
    def fit(self, train: Bundle, seed: int) -> None:
        """Fit on ``train``, whose row column ``target`` is what to predict: text to classify, numbers to regress.

        To decode it is the array ``y`` of shape ``(n_rows, n_outputs)``; rows are in the order of time, and those of
        one ``segment`` follow each other without a gap. To infer there is none.

        Covariates that the study names (``site``, ``age``, ``mean_fd``) are row columns too, text or numbers.
        """

    @abstractmethod
    def predict(self, test: Bundle) -> Bundle:
        """Return the predictions for ``test``, which has neither ``target`` nor ``label``.

        For ``classify``: array ``y_score`` of shape ``(n_rows, n_classes)``, greater is likelier, with
        ``axes["class"]`` naming its columns. For ``regress``: array ``y_pred`` of shape ``(n_rows,)``. For
        ``select``: array ``y_selected`` of shape ``(n_rows,)``, greater is taken earlier, and the arrays that
        the selection is judged by. For ``encode``: ``test`` has the column ``target``, which names stimuli, and no
        arrays; ``y_pred`` of shape ``(n_rows, n_responses)``. For ``retrieve``: ``y_embedding`` of shape
        ``(n_rows, n_dimensions)``. For ``decode``: ``test`` has no ``y``; ``y_pred`` of shape ``(n_rows, n_outputs)``.
        For ``infer``: arrays of its own, ``log_likelihood`` of shape ``(n_rows,)`` (nats) first. For ``generate``:
        ``y_generated``; the stage lays held-out data, and distances to those seen, beside it.
        """

    def described(self, task: str = "classify") -> str:
        """Return what it does in words; see :meth:`Component.described`.

        Parameters
        ----------
        task : str
            What it is used for, one of ``tasks``.
        """
        return super().described()

    def chosen(self) -> dict[str, Any]:
        """Return what the nested search chose (plain JSON values), for the report and for truth metrics."""
        return {}

    def found(self) -> dict[str, np.ndarray]:
        """Return what a fit found out (weights, an order, an embedding): some ten thousand numbers at most.

        They stand in the fit's record, for metrics of what was found out; the report does not print them.
        """
        return {}

    def n_configurations(self) -> int:
        """Return how many configurations the nested search tries: the tuning budget."""
        return 1

    def dump(self) -> bytes:
        """Return the fitted model as bytes that :meth:`restore` reads without running code."""
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w") as archive:
            for name in self.state:
                # A fixed date, so that the same model gives the same bytes.
                archive.writestr(zipfile.ZipInfo(name), stored.written(getattr(self, name)))
        return buffer.getvalue()

    def restore(self, content: bytes) -> None:
        """Read what :meth:`dump` wrote.

        Raises
        ------
        InputError
            If the content names a class outside ``trusted``, or is damaged.
        """
        try:
            with zipfile.ZipFile(io.BytesIO(content)) as archive:
                for name in self.state:
                    setattr(self, name, stored.read(archive.read(name), self.trusted))
        except (InputError, MemoryError):
            raise
        except Exception as error:
            # zipfile, JSON, numpy and skops fail in as many ways as files are damaged.
            raise InputError("model", f"not readable ({type(error).__name__}: {error})", "fit it again") from None


def _recorded(fit: Callable) -> Callable:
    """Wrap a method's ``fit`` so that the guard learns which rows it saw."""

    @functools.wraps(fit)
    def wrapper(self: Any, train: Bundle, *args: Any, **kwargs: Any) -> Any:
        guard.record(type(self).__name__, train)
        return fit(self, train, *args, **kwargs)

    return wrapper
