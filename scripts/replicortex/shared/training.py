"""The training engine of all torch methods: one loop, resumable after a kill, the same numbers on every run.

A method brings a network, a loss and arrays; what else training needs stands here once: batches that are cut from
memory or from mapped files larger than it, schedules, accumulation, clipping, mixed precision, a moving average of
weights, early stopping by groups of training rows, several devices, checkpoints, logs. Devices, precision and
processes are those of lightning-fabric.
"""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import functools
import math
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np

from ..errors import InputError
from ..files import write_text
from . import torch_device
from .rows import batches
from .torch_device import n_devices, reproducible
from .training_log import Log
from .training_state import digest_of_training, read_checkpoint, write_checkpoint

#: Where :func:`train` says that it was given what it can not train.
_WHERE = "training"
#: What an array is called that a function returned without a name.
_ALONE = "."
#: Where one of several processes leaves what it found wrong.
_FAULT = "fault.txt"
_CHECKPOINT = "training.pt"
#: Minutes between checkpoints on this machine, where jobs are ended sooner than methods expect.
MINUTES = "REPLICORTEX_CHECKPOINT_MINUTES"


@dataclasses.dataclass(frozen=True)
class Training:
    """How a network is trained.

    Parameters
    ----------
    epochs : int
        Passes over the training rows.
    batch_size : int
        Rows a batch, over all devices together. A last batch of a single row joins the one before, since batch
        normalisation and contrasts need two.
    learning_rate : float
        The highest of the schedule.
    optimiser : {"adamw", "adam", "sgd", "rmsprop"}
        As in torch, with ``weight_decay``, ``betas`` (Adam) and ``momentum`` (SGD, RMSprop).
    schedule : {"constant", "cosine", "one_cycle", "warmup_cosine"}
        Of the learning rate, by optimiser steps; the cosine ends at zero, ``one_cycle`` is Smith's as in torch.
    warmup : float
        Steps over which the rate rises linearly: a share of all steps if below 1, else a number of steps.
        For ``one_cycle`` the share of rising (0.3 if 0).
    clip : float, optional
        Largest norm of all gradients together.
    accumulate : int
        Batches whose gradients make one step; every row of a step weighs the same, also in a last short one.
    precision : {"32-true", "bf16-mixed", "16-mixed"}
        Of lightning-fabric; weights stay in 32 bits.
    ema : float, optional
        Decay a step of a moving average of the weights, which validation judges and which is what is returned.
    validation : float
        Share of training groups that are kept for validation; at least one. Without it nothing is validated.
    patience : int, optional
        Epochs without a better validation after which training ends.
    shuffle : bool
        New order of rows in every epoch.
    parameter_groups : callable, optional
        ``parameter_groups(network)`` returns what torch optimisers take: mappings with ``params`` and, where they
        differ, ``lr`` and ``weight_decay``.
    max_steps : int, optional
        Optimiser steps after which training ends, whatever ``epochs`` says.
    devices : int, optional
        Most devices to share batches among; all that the job holds if not given. 1 where the loss compares the rows
        of a batch with each other.
    deterministic : bool
        Refuse operations that have no deterministic kernel on a GPU (max pooling and trilinear resampling in 3D are
        such); where false they are warned of.
    minutes : float
        Between checkpoints, unless ``REPLICORTEX_CHECKPOINT_MINUTES`` is set.

    Raises
    ------
    InputError
        If a value makes no sense.
    """

    epochs: int = 100
    batch_size: int = 32
    learning_rate: float = 1e-3
    optimiser: Literal["adamw", "adam", "sgd", "rmsprop"] = "adamw"
    weight_decay: float = 0.0
    schedule: Literal["constant", "cosine", "one_cycle", "warmup_cosine"] = "constant"
    warmup: float = 0.0
    clip: float | None = None
    accumulate: int = 1
    precision: Literal["32-true", "bf16-mixed", "16-mixed"] = "32-true"
    ema: float | None = None
    validation: float = 0.0
    patience: int | None = None
    shuffle: bool = True
    parameter_groups: Callable[[Any], list[dict[str, Any]]] | None = None
    betas: tuple[float, float] = (0.9, 0.999)
    momentum: float = 0.0
    max_steps: int | None = None
    devices: int | None = None
    deterministic: bool = True
    minutes: float = 5.0

    def __post_init__(self) -> None:
        known = {
            "optimiser": ("adamw", "adam", "sgd", "rmsprop"),
            "schedule": ("constant", "cosine", "one_cycle", "warmup_cosine"),
            "precision": ("32-true", "bf16-mixed", "16-mixed"),
        }
        for name, values in known.items():
            if getattr(self, name) not in values:
                raise InputError(_WHERE, f"{name} {getattr(self, name)!r}", f"choose one of: {', '.join(values)}")
        least = {"epochs": 1, "batch_size": 1, "accumulate": 1, "patience": 1, "max_steps": 1, "devices": 1}
        for name, value in least.items():
            if getattr(self, name) is not None and getattr(self, name) < value:
                raise InputError(_WHERE, f"{name} is {getattr(self, name)}", f"give at least {value}")
        ranges = {
            "learning_rate": 0 < self.learning_rate < math.inf,
            "weight_decay": 0 <= self.weight_decay < math.inf,
            "warmup": 0 <= self.warmup < math.inf,
            "clip": self.clip is None or 0 < self.clip < math.inf,
            "ema": self.ema is None or 0 <= self.ema < 1,
            "validation": 0 <= self.validation < 1,
            "minutes": self.minutes >= 0,
        }
        for name, good in ranges.items():
            if not good:
                raise InputError(_WHERE, f"{name} is {getattr(self, name)}", "give a value in its range")
        if self.patience is not None and not self.validation:
            raise InputError(_WHERE, "patience without validation", "keep a share of groups by `validation`")


@dataclasses.dataclass(frozen=True)
class Trained:
    """What training gave.

    Parameters
    ----------
    network : nn.Module
        In evaluation mode, on the processor: the best state where there was validation, else the last one.
    history : list of dict
        Of every epoch ``epoch``, ``loss`` (mean over rows), ``loss_<term>`` where the loss has terms, ``val_loss``
        (None without validation) and ``lr`` (of the last step).
    best_epoch, n_steps : int
        The epoch whose state this is, and the optimiser steps taken.
    """

    network: Any
    history: list[dict[str, Any]]
    best_epoch: int
    n_steps: int


def train(
    network: Any,
    loss: Callable[[Any, dict[str, Any]], Any],
    arrays: Mapping[str, Any],
    settings: Training,
    *,
    seed: int,
    context: Any = None,
    groups: np.ndarray | None = None,
    augment: Callable[[dict[str, Any], Any], dict[str, Any]] | None = None,
    validate: Callable[[Any, dict[str, Any]], Any] | None = None,
) -> Trained:
    """Train ``network`` in place and return it with the history.

    Parameters
    ----------
    network : nn.Module
        Built under ``reproducible(seed)``, on the processor.
    loss : callable
        ``loss(network, batch)`` returns the mean over the rows of the batch (a scalar), or a mapping of terms whose
        sum is minimised; a term whose name begins with ``_`` is only recorded. It may use torch's own generator.
    arrays : mapping of str to ndarray or Rows
        Same number of rows. Batches are cut from it: floats become float32, whole numbers int64, booleans stay.
    settings : Training
        How to train.
    seed : int
        Of order, dropout, augmentation and the validation groups.
    context : Context, optional
        Of the method: with ``untrained`` the network is returned as it was built; checkpoints and logs go to
        ``scratch``, and the same training is taken up there if it was interrupted.
    groups : ndarray of shape (n_rows,), optional
        Such as subjects: validation never shares a group with training. Each row is its own if not given.
    augment : callable, optional
        ``augment(batch, generator)`` of training batches; ``generator`` is a torch.Generator on the batch's device.
    validate : callable, optional
        ``validate(network, batch)`` returns a scalar, lower is better; the loss in evaluation mode if not given.

    Raises
    ------
    InputError
        If arrays differ in length or hold text, there are too few groups, the loss is not finite, or an operation
        has no deterministic kernel.
    """
    import torch

    n_rows = _n_rows(arrays)
    if getattr(context, "untrained", False):
        return Trained(network.eval(), [], 0, 0)
    training, validation = held_back(groups if groups is not None else np.arange(n_rows), settings.validation, seed)
    scratch = getattr(context, "scratch", None)
    name = getattr(context, "name", "") or "training"
    used = min(n_devices(), settings.devices or n_devices(), len(training))
    if used > 1 and torch.cuda.is_initialized():
        # Processes that share out the work must start before CUDA does; one device gives the same batches.
        print(f"{name}: this process has started CUDA, training on one device", file=sys.stderr)
        used = 1
    job = _Job(network, loss, arrays, settings, seed, training, validation, augment, validate, used)
    with contextlib.ExitStack() as stack:
        stack.enter_context(reproducible(seed, strict=settings.deterministic))
        if scratch is not None or used > 1:
            # Processes leave the result in a folder too.
            where = scratch or stack.enter_context(tempfile.TemporaryDirectory(prefix="replicortex-training-"))
            known = {**_plain(settings), "seed": seed, "devices": used}
            job.digest = digest_of_training(network, [loss, augment, validate], arrays, known, training)
            job.folder = Path(where) / f"{name}-{job.digest[:16]}"
        job.name = name
        if scratch is not None:
            job.minutes = _minutes(settings)
        _launch(job)
        done = job.done or read_checkpoint(job.folder / _CHECKPOINT, job.digest)
        if done is None or not done["finished"]:
            raise InputError(job.folder, "training ended without a result", "run it again")
        network.load_state_dict(done["network"])
    return Trained(network.cpu().eval(), done["history"], done["best_epoch"], done["n_steps"])


def _minutes(settings: Training) -> float:
    """Return the time between checkpoints: that of the machine, if it has one."""
    given = os.environ.get(MINUTES)
    try:
        minutes = settings.minutes if given is None else float(given)
    except ValueError:
        minutes = -1.0
    if not 0 <= minutes < math.inf:
        raise InputError(MINUTES, f"is {given!r}", "give a number of minutes, or unset it")
    return minutes


def predict(
    network: Any,
    arrays: Mapping[str, Any],
    batch_size: int = 256,
    function: Callable[[Any, dict[str, Any]], Any] | None = None,
    *,
    seed: int = 0,
    gradients: bool = False,
    double: bool = False,
) -> Any:
    """Return what ``function(network, batch)`` gives for all rows, computed in chunks.

    Parameters
    ----------
    network : nn.Module
        Put into evaluation mode, on the job's device meanwhile.
    arrays : mapping of str to ndarray or Rows
        As of :func:`train`.
    batch_size : int
        Rows at a time.
    function : callable, optional
        Returns a tensor, or a mapping of tensors, with the rows of the batch first; ``network(*batch.values())`` if
        not given.
    seed : int
        Of torch's generator, for functions that draw.
    gradients : bool
        Whether the function needs them.
    double : bool
        Compute a copy of the network on batches in 64 bits, so that what a row gets does not depend, by rounding, on
        how many rows there are beside it.

    Returns
    -------
    ndarray or dict of ndarray
        As ``function`` returns; 16 bits become float32.
    """
    import torch

    n_rows = _n_rows(arrays)
    network = copy.deepcopy(network).double() if double else network
    function = function or (lambda network, batch: network(*batch.values()))
    cuts = [np.arange(start, min(start + batch_size, n_rows)) for start in range(0, n_rows, batch_size)]
    cuts = cuts or [np.arange(0)]
    several = min(n_devices(), len(cuts))
    with reproducible(seed, strict=False), tempfile.TemporaryDirectory(prefix="replicortex-predict-") as name:
        if several > 1 and not torch.cuda.is_initialized():
            # Not in this process: once it has started CUDA, no other could share a training with it.
            _share_out(_fabric(several), _predict_share, network, arrays, cuts, function, gradients, double, Path(name))
            parts = [_read_share(Path(name) / f"{rank}.npz") for rank in range(several)]
        else:
            parts = [_predicted(network, arrays, cuts, function, gradients, double, torch_device.device())]
    made = {key: np.concatenate([part[key] for part in parts]) for key in parts[0]}
    return made.get(_ALONE, made)


def _predict_share(
    fabric: Any, network: Any, arrays: Any, cuts: Any, function: Any, gradients: bool, double: bool, to: Path
) -> None:
    """Predict this process's share of the chunks and write it down."""
    rank = fabric.global_rank
    mine = [cuts[number] for number in np.array_split(np.arange(len(cuts)), fabric.world_size)[rank]]
    np.savez(to / f"{rank}.npz", **_predicted(network, arrays, mine, function, gradients, double, fabric.device))


def _read_share(path: Path) -> dict[str, np.ndarray]:
    with np.load(path, allow_pickle=False) as archive:
        return {name: archive[name] for name in archive.files}


def _predicted(
    network: Any, arrays: Any, cuts: list[np.ndarray], function: Any, gradients: bool, double: bool, on: Any
) -> dict[str, np.ndarray]:
    """Return the arrays that ``function`` gives for these chunks; a tensor alone is called as :data:`_ALONE` says."""
    import torch

    where = next((entry.device for entry in network.parameters()), torch.device("cpu"))
    found: dict[str, list[np.ndarray]] = {}
    network.to(on).eval()
    with torch.enable_grad() if gradients else torch.inference_mode():
        for batch in batches(arrays, cuts, functools.partial(_tensors, pin=on.type == "cuda", double=double)):
            made = function(network, {name: values.to(on, non_blocking=True) for name, values in batch.items()})
            for name, values in (made if isinstance(made, Mapping) else {_ALONE: made}).items():
                values = values.float() if values.dtype in (torch.bfloat16, torch.float16) else values
                found.setdefault(name, []).append(values.detach().cpu().numpy())
    network.to(where)
    return {name: np.concatenate(values) for name, values in found.items()}


def held_back(groups: np.ndarray, share: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the rows to train on and those to validate on; no group has rows in both.

    Raises
    ------
    InputError
        If there is no row, or validation is wanted and there are fewer than two groups.
    """
    groups = np.asarray(groups)
    if not len(groups):
        raise InputError(_WHERE, "has no rows", "choose a split with training rows")
    if not share:
        return np.arange(len(groups)), np.arange(0)
    names, number = np.unique(groups, return_inverse=True)
    if len(names) < 2:
        raise InputError(_WHERE, "validation needs two groups of rows, there is one", "set validation to 0")
    n_kept = min(max(1, round(share * len(names))), len(names) - 1)
    kept = np.random.default_rng([seed, 1]).permutation(len(names))[:n_kept]
    held = np.isin(number, kept)
    return np.flatnonzero(~held), np.flatnonzero(held)


@dataclasses.dataclass
class _Job:
    """All that one training is."""

    network: Any
    loss: Any
    arrays: Mapping[str, Any]
    settings: Training
    seed: int
    training: np.ndarray
    validation: np.ndarray
    augment: Any
    validate: Any
    n_devices: int
    digest: str = ""
    #: Of checkpoints and logs; None where nothing is kept.
    folder: Path | None = None
    name: str = _WHERE
    #: Between checkpoints.
    minutes: float = math.inf
    #: The result, where this process made it.
    done: dict[str, Any] | None = None

    def plan(self) -> tuple[int, int]:
        """Return steps an epoch, and steps in all."""
        a_step = math.ceil(len(_cuts(self.training, self.settings.batch_size)) / self.settings.accumulate)
        total = a_step * self.settings.epochs
        return a_step, min(total, self.settings.max_steps or total)


def _n_rows(arrays: Mapping[str, Any]) -> int:
    lengths = {name: len(values) for name, values in arrays.items()}
    if not lengths or len(set(lengths.values())) > 1:
        raise InputError(_WHERE, f"arrays differ in length: {lengths}", "give every array the same rows")
    for name, values in arrays.items():
        if values.dtype.kind not in "fiubc":
            raise InputError(_WHERE, f"array {name} holds {values.dtype}", "give numbers")
    return next(iter(lengths.values()))


def _plain(settings: Training) -> dict[str, Any]:
    """Return the settings that decide on the result."""
    return {entry.name: getattr(settings, entry.name) for entry in dataclasses.fields(settings)} | {
        "minutes": None,
        "devices": None,
    }


def _tensors(batch: Mapping[str, np.ndarray], *, pin: bool = False, double: bool = False) -> dict[str, Any]:
    """Return a batch as tensors: float32, int64, bool or complex64; in pinned memory for a GPU."""
    import torch

    kinds = {"f": np.float32, "i": np.int64, "u": np.int64, "b": np.bool_, "c": np.complex64}
    if double:
        kinds |= {"f": np.float64, "c": np.complex128}
    # Their own memory, aligned: whatever a network does to a batch stays there.
    made = {
        name: torch.from_numpy(np.ascontiguousarray(values, dtype=kinds[values.dtype.kind]))
        for name, values in batch.items()
    }
    return {name: values.pin_memory() for name, values in made.items()} if pin else made


def _cuts(rows: np.ndarray, batch_size: int) -> list[np.ndarray]:
    """Return rows cut into batches; a last one of a single row joins the one before."""
    edges = list(range(0, len(rows), batch_size))
    if len(edges) > 1 and len(rows) - edges[-1] == 1 and batch_size > 1:
        edges.pop()
    return [rows[start:stop] for start, stop in zip(edges, [*edges[1:], len(rows)], strict=True)]


def _launch(job: _Job) -> None:
    """Train in this process on one device, or in a process for each of several; the result is the checkpoint."""
    from torch.multiprocessing.spawn import ProcessException

    if job.n_devices == 1:
        _work(_fabric(1, job.settings.precision), job)
        return
    fault = job.folder / _FAULT
    fault.unlink(missing_ok=True)
    try:
        _share_out(_fabric(job.n_devices, job.settings.precision), _work_and_tell, job)
    except ProcessException:
        if not fault.is_file():
            raise
        raise InputError(*fault.read_text(encoding="utf-8").split("\n")) from None


def _share_out(fabric: Any, function: Any, *arguments: Any) -> None:
    """Call a function in a process a device, and wait for all; what it makes it has to write."""
    # Fabric leaves there what it told its processes; the next ones, here or of another job, need another port.
    told = ("MASTER_ADDR", "MASTER_PORT", "WORLD_SIZE", "NODE_RANK", "LOCAL_RANK")
    before = {name: os.environ.pop(name, None) for name in told}
    try:
        fabric.launch(function, *arguments)
    finally:
        for name, value in before.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value
    torch_device.shared_out = True


def _fabric(n: int, precision: str = "32-true") -> Any:
    """Return what runs a function on ``n`` devices, in as many processes."""
    cuda = n_devices(cuda=True) > 0
    # To make one takes 20 ms, which a search over many small networks would notice; that of 16 bits has a state.
    make = _made if n > 1 or precision == "16-mixed" else _kept
    return make(n, precision, cuda)


def _made(n: int, precision: str, cuda: bool) -> Any:
    from lightning_fabric import Fabric
    from lightning_fabric.plugins.environments import LightningEnvironment
    from lightning_fabric.strategies import DDPStrategy

    strategy: Any = "auto"
    if n > 1:
        # Forked, so that any function may be a loss and mapped arrays are not copied.
        backend = "nccl" if cuda else "gloo"
        strategy = DDPStrategy(process_group_backend=backend, start_method="fork", find_unused_parameters=True)
    return Fabric(
        accelerator="cuda" if cuda else "cpu",
        devices=n,
        strategy=strategy,
        precision=precision,
        # Not that of a batch system: the stage decides how many processes there are.
        plugins=[LightningEnvironment()],
    )


_kept = functools.cache(_made)


def _work_and_tell(fabric: Any, job: _Job) -> None:
    """As :func:`_work`, in a process of its own: bad input is written down, for the process that waits to raise."""
    try:
        _work(fabric, job)
    except InputError as error:
        where, _, rest = str(error).partition(f": {error.fault}; ")
        job.folder.mkdir(parents=True, exist_ok=True)
        write_text(job.folder / _FAULT, "\n".join([where, error.fault, rest]))
        # The others may wait for this process, and are ended when it fails.
        raise


def _work(fabric: Any, job: _Job) -> None:
    """Train on this process's share of every batch, from the checkpoint where there is one."""
    import torch

    known = read_checkpoint(job.folder / _CHECKPOINT, job.digest) if job.folder else None
    if known is not None and known["finished"]:
        return
    try:
        _Loop(fabric, job, known).run()
    except torch.OutOfMemoryError:
        remedy = "lower batch_size and raise accumulate by as much"
        raise InputError(_WHERE, f"{job.settings.batch_size} rows a batch do not fit on the GPU", remedy) from None
    except RuntimeError as error:
        if "deterministic" not in str(error):
            raise
        fault = str(error).partition(". ")[0]
        raise InputError(_WHERE, fault, "set `deterministic` of its settings to false") from None


class _Loop:
    """One process of one training."""

    def __init__(self, fabric: Any, job: _Job, known: dict[str, Any] | None) -> None:
        import torch

        self.fabric, self.job, self.settings = fabric, job, job.settings
        self.rank, self.world, self.device = fabric.global_rank, fabric.world_size, fabric.device
        if self.world > 1:
            # Else every process would drop the same units of different rows.
            torch.manual_seed(job.seed + self.rank)
        self.network = job.network
        self.network.train()
        self.module, self.optimiser = fabric.setup(_step(job.network, job.loss), _optimiser(job.network, job.settings))
        self.bases = [group["lr"] for group in self.optimiser.optimizer.param_groups]
        self.generator = torch.Generator(device=self.device).manual_seed(job.seed + self.rank)
        self.steps_an_epoch, self.n_total = job.plan()
        self.epoch, self.step, self.n_steps = 1, 0, 0
        self.sums: dict[str, Any] = {}
        self.n_summed = 0
        self.history: list[dict[str, Any]] = []
        self.best: dict[str, Any] | None = None
        self.average = None
        if self.settings.ema is not None:
            self.average = {name: entry.detach().clone() for name, entry in self._floating()}
        if known is not None:
            self._take_up(known)
        self.saved = time.monotonic()

    def _floating(self) -> list[tuple[str, Any]]:
        return [(name, entry) for name, entry in self.network.named_parameters() if entry.is_floating_point()]

    # ---- the loop

    def run(self) -> None:
        """Train to the end and write the result as the last checkpoint."""
        log = Log(self.job.folder, self.job.name, self.settings.epochs, self.history) if not self.rank else None
        try:
            while self.epoch <= self.settings.epochs and self.n_steps < self.n_total and not self._waited_enough():
                started, rows = time.monotonic(), self.n_summed
                self._pass()
                rate = (self.n_summed - rows) / max(time.monotonic() - started, 1e-9)
                self._close_epoch()
                if log is not None:
                    log.epoch(self.history[-1], self.n_steps, rate)
        finally:
            if log is not None:
                log.close()
        self._check_weights()
        self._save(finished=True)

    def _check_weights(self) -> None:
        """Check what the last step made, which no loss has seen."""
        import torch

        for name, value in self.network.named_parameters():
            if not bool(torch.isfinite(value).all()):
                raise InputError(
                    f"{_WHERE} {self.job.name}", f"weights {name} are not finite", "lower learning_rate or set clip"
                )

    def _waited_enough(self) -> bool:
        patience = self.settings.patience
        return patience is not None and self.best is not None and self.epoch - 1 - self.best["epoch"] >= patience

    def _pass(self) -> None:
        """Take the steps of this epoch that were not yet taken."""
        job, settings = self.job, self.settings
        rows = job.training
        if settings.shuffle:
            rows = np.random.default_rng([job.seed, 2, self.epoch]).permutation(rows)
        cuts = _cuts(rows, settings.batch_size)
        steps = [cuts[start : start + settings.accumulate] for start in range(0, len(cuts), settings.accumulate)]
        steps = steps[self.step : self.step + self.n_total - self.n_steps]
        shares = [self._share(cut)[0] for step in steps for cut in step]
        stream = batches(job.arrays, shares, functools.partial(_tensors, pin=self.device.type == "cuda"))
        for step in steps:
            n_rows = sum(map(len, step))
            self._set_rate()
            for number, cut in enumerate(step):
                batch = self._moved(next(stream))
                if job.augment is not None:
                    batch = job.augment(batch, self.generator)
                self._backward(batch, len(cut), self._share(cut)[1], n_rows, last=number == len(step) - 1)
            self._update()
            self.step, self.n_steps = self.step + 1, self.n_steps + 1
            self._look_after()
        stream.close()

    def _share(self, cut: np.ndarray) -> tuple[np.ndarray, int]:
        """Return this process's rows of a batch, and how many of them count: a process without rows lends one."""
        if self.world == 1:
            return cut, len(cut)
        mine = np.array_split(cut, self.world)[self.rank]
        return (mine, len(mine)) if len(mine) else (cut[:1], 0)

    def _moved(self, batch: dict[str, Any]) -> dict[str, Any]:
        return {name: values.to(self.device, non_blocking=True) for name, values in batch.items()}

    def _backward(self, batch: dict[str, Any], n_cut: int, n_mine: int, n_rows: int, *, last: bool) -> None:
        """Add the gradient of a batch, weighted so that every row of the step weighs the same on every device."""
        hold = self.world > 1 and not last
        with self.fabric.no_backward_sync(self.module, enabled=hold) if hold else contextlib.nullcontext():
            terms, total = _terms(self.module(_Batch(batch)))
            # Gradients are averaged over processes, hence the factor.
            share = self.world * n_mine / n_rows
            self.fabric.backward(total if share == 1 else total * share)
        for name, value in {"loss": total, **terms}.items():
            self.sums[name] = self.sums.get(name, 0.0) + value.detach().double() * n_mine
        self.n_summed += n_cut

    def _set_rate(self) -> None:
        factor, momentum = rate_at(self.n_steps, self.n_total, self.settings)
        for group, base in zip(self.optimiser.optimizer.param_groups, self.bases, strict=True):
            group["lr"] = base * factor
            if momentum is not None and "betas" in group:
                group["betas"] = (momentum, group["betas"][1])
            elif momentum is not None:
                group["momentum"] = momentum

    def _update(self) -> None:
        import torch

        if self.settings.clip is not None:
            # In 16 bits gradients overflow at times; the scaler then passes over the step.
            self.fabric.clip_gradients(
                self.module, self.optimiser, max_norm=self.settings.clip, error_if_nonfinite=False
            )
        self.optimiser.step()
        self.optimiser.zero_grad()
        if self.average is not None:
            with torch.no_grad():
                now = [entry for _, entry in self._floating()]
                torch._foreach_lerp_(list(self.average.values()), now, 1 - self.settings.ema)

    def _look_after(self) -> None:
        """Check the loss and write a checkpoint if it is time; rarely on a GPU, which would have to be waited for."""
        if self.device.type == "cpu" and self.world == 1:
            self._check_loss()
            due = time.monotonic() - self.saved >= 60 * self.job.minutes
        elif self.n_steps % 50 == 0:
            self._check_loss()
            due = self.fabric.broadcast(time.monotonic() - self.saved >= 60 * self.job.minutes)
        else:
            return
        if due:
            self._save()

    def _check_loss(self) -> None:
        if not math.isfinite(self._summed(self.sums["loss"])):
            raise InputError(
                f"{_WHERE} {self.job.name}",
                f"the loss is not finite (epoch {self.epoch}, step {self.n_steps})",
                "lower learning_rate, set clip, or scale the data",
            )

    def _summed(self, value: Any) -> float:
        # Of a copy: sums are added up in place.
        return float(self.fabric.all_reduce(value.clone(), reduce_op="sum") if self.world > 1 else value)

    # ---- epochs and validation

    def _close_epoch(self) -> None:
        self._check_loss()
        entry: dict[str, Any] = {"epoch": self.epoch}
        for name, value in self.sums.items():
            entry[name if name == "loss" else f"loss_{name.removeprefix('_')}"] = self._summed(value) / self.n_summed
        entry["val_loss"] = self._judge() if len(self.job.validation) else None
        entry["lr"] = float(self.optimiser.optimizer.param_groups[0]["lr"])
        self.history.append(entry)
        if entry["val_loss"] is not None and (self.best is None or entry["val_loss"] < self.best["value"]):
            self.best = {"value": entry["val_loss"], "epoch": self.epoch, "network": self._result()}
        self.epoch, self.step, self.sums, self.n_summed = self.epoch + 1, 0, {}, 0

    def _judge(self) -> float:
        """Return the mean over validation rows, with the same random numbers in every epoch."""
        import torch

        judge, total, count = self.job.validate or self.job.loss, 0.0, 0
        modes = {module: module.training for module in self.network.modules()}
        self.network.eval()
        mine = np.array_split(self.job.validation, self.world)[self.rank]
        cuts = _cuts(mine, max(1, self.settings.batch_size // self.world)) if len(mine) else []
        cuda = [self.device.index] if self.device.type == "cuda" else []
        with self._averaged(), torch.random.fork_rng(devices=cuda), torch.no_grad(), self.fabric.autocast():
            torch.manual_seed(self.job.seed + self.rank)
            for batch in batches(self.job.arrays, cuts, functools.partial(_tensors, pin=bool(cuda))):
                n_rows = len(next(iter(batch.values())))
                total = total + _terms(judge(self.network, self._moved(batch)))[1].double() * n_rows
                count += n_rows
        for module, mode in modes.items():
            module.training = mode
        sums = (torch.as_tensor(entry, dtype=torch.float64, device=self.device) for entry in (total, count))
        value = self._summed(next(sums)) / self._summed(next(sums))
        if not math.isfinite(value):
            fault = f"the validation loss is not finite (epoch {self.epoch})"
            raise InputError(f"{_WHERE} {self.job.name}", fault, "lower learning_rate, set clip, or scale the data")
        return value

    @contextlib.contextmanager
    def _averaged(self) -> Iterator[None]:
        """Put the moving average in place of the weights meanwhile."""
        import torch

        if self.average is None:
            yield
            return
        entries = self._floating()
        with torch.no_grad():
            kept = [entry.detach().clone() for _, entry in entries]
            for name, entry in entries:
                entry.copy_(self.average[name])
            yield
            for (_, entry), value in zip(entries, kept, strict=True):
                entry.copy_(value)

    def _result(self) -> dict[str, Any]:
        """Return the state that would be handed back now, on the processor."""
        with self._averaged():
            return {name: value.detach().cpu().clone() for name, value in self.network.state_dict().items()}

    # ---- checkpoints

    def _save(self, *, finished: bool = False) -> None:
        import torch

        random = [torch.get_rng_state(), self.generator.get_state().cpu()]
        if self.device.type == "cuda":
            random.append(torch.cuda.get_rng_state(self.device).cpu())
        # Each process has its own random numbers, and its own share of the sums.
        random = [self.fabric.all_gather(entry).cpu().reshape(self.world, -1) for entry in random]
        sums = {name: self.fabric.all_gather(value).cpu().reshape(-1) for name, value in sorted(self.sums.items())}
        if self.rank == 0:
            common = {"finished": finished, "history": self.history, "n_steps": self.n_steps}
            if finished:
                best = self.best or {"epoch": self.epoch - 1, "network": self._result()}
                state = {**common, "network": best["network"], "best_epoch": best["epoch"]}
            else:
                state = {
                    **common,
                    "epoch": self.epoch,
                    "step": self.step,
                    "sums": sums,
                    "n_summed": self.n_summed,
                    "network": self.network.state_dict(),
                    "optimiser": self.optimiser.optimizer.state_dict(),
                    "precision": self.fabric.strategy.precision.state_dict(),
                    "average": self.average,
                    "best": self.best,
                    "random": random,
                }
            if self.job.folder is not None:
                write_checkpoint(self.job.folder / _CHECKPOINT, state, self.job.digest)
            if finished:
                self.job.done = state
        self.fabric.barrier()
        self.saved = time.monotonic()

    def _take_up(self, known: dict[str, Any]) -> None:
        import torch

        self.network.load_state_dict(known["network"])
        self.optimiser.optimizer.load_state_dict(known["optimiser"])
        self.fabric.strategy.precision.load_state_dict(known["precision"])
        for name, value in (known["average"] or {}).items():
            self.average[name].copy_(value)
        self.epoch, self.step, self.n_steps = known["epoch"], known["step"], known["n_steps"]
        self.n_summed, self.history, self.best = known["n_summed"], known["history"], known["best"]
        # Copies: a generator reads its state from the beginning of the memory.
        mine = [entry[self.rank].clone() for entry in known["random"]]
        self.sums = {name: value[self.rank].clone().to(self.device) for name, value in known["sums"].items()}
        torch.set_rng_state(mine[0])
        self.generator.set_state(mine[1])
        if self.device.type == "cuda":
            torch.cuda.set_rng_state(mine[2], self.device)


class _Batch:
    """A batch that neither precision nor processes look into: targets stay in 32 bits."""

    def __init__(self, content: dict[str, Any]) -> None:
        self.content = content


def _step(network: Any, loss: Any) -> Any:
    """Return the network with its loss as one module, so that a loss may call any method of the network."""
    from torch import nn

    class Step(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.network = network

        def forward(self, batch: _Batch) -> Any:
            return loss(self.network, batch.content)

    return Step()


def _terms(value: Any) -> tuple[dict[str, Any], Any]:
    """Return the terms of a loss, and the sum that is minimised."""
    if not isinstance(value, Mapping):
        return {}, value
    return dict(value), sum(entry for name, entry in value.items() if not name.startswith("_"))


def _optimiser(network: Any, settings: Training) -> Any:
    import torch

    groups: Any = [entry for entry in network.parameters() if entry.requires_grad]
    if settings.parameter_groups is not None:
        groups = settings.parameter_groups(network)
    if not groups:
        raise InputError(_WHERE, "the network has no parameter to train", "thaw one")
    known = {"lr": settings.learning_rate, "weight_decay": settings.weight_decay}
    # One call for all weights instead of ten for each: a quarter of the time where networks are small. With scaled
    # gradients such an optimiser unscales them itself, and they could not be clipped before.
    fused = settings.precision != "16-mixed"
    if settings.optimiser == "adamw":
        return torch.optim.AdamW(groups, betas=settings.betas, fused=fused, **known)
    if settings.optimiser == "adam":
        return torch.optim.Adam(groups, betas=settings.betas, fused=fused, **known)
    if settings.optimiser == "sgd":
        return torch.optim.SGD(groups, momentum=settings.momentum, **known)
    return torch.optim.RMSprop(groups, momentum=settings.momentum, **known)


def rate_at(step: int, total: int, settings: Training) -> tuple[float, float | None]:
    """Return the factor of the learning rate for step 0, 1, ... of ``total``, and the momentum where it is scheduled.

    Both follow from the number of the step, so that a training that is taken up needs no state of a schedule.
    """
    if settings.schedule == "one_cycle":
        rise = (settings.warmup or 0.3) * total - 1
        if step <= rise:
            share = step / rise if rise > 0 else 1.0
            return _between(1 / 25, 1.0, share), _between(0.95, 0.85, share)
        share = (step - rise) / (total - 1 - rise)
        return _between(1.0, 1 / 25 / 1e4, share), _between(0.85, 0.95, share)
    warm = settings.warmup * total if settings.warmup < 1 else settings.warmup
    if step < warm:
        return min(1.0, (step + 1) / warm), None
    if settings.schedule == "constant":
        return 1.0, None
    return 0.5 * (1 + math.cos(math.pi * (step - warm) / max(total - warm, 1))), None


def _between(first: float, last: float, share: float) -> float:
    """Return what lies between two values on half a cosine."""
    return last + (first - last) / 2 * (1 + math.cos(math.pi * share))
