"""What training a network costs, before anything is trained: parameters, operations and memory of one step.

Everything is computed on tensors without content (shapes alone travel through the network, its loss and its backward
pass), so that a model of billions of parameters is priced on a laptop, in seconds and without its memory.
"""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import math
import warnings
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

#: Numbers that an optimiser keeps for each trained one.
_KEPT = {"adamw": 2, "adam": 2, "sgd": 0, "rmsprop": 1}
_MIXED = {"bf16-mixed": "bfloat16", "16-mixed": "float16"}
#: Operations that cost much, and of which PyTorch's counter knows nothing.
_UNCOUNTED = {
    "fft": "Fourier transforms",
    "rnn": "recurrent layers",
    "lstm": "recurrent layers",
    "gru": "recurrent layers",
}
_UNCOUNTED |= {"linalg": "decompositions of matrices", "grid_sampler": "resampling", "upsample": "resampling"}


@dataclasses.dataclass(frozen=True)
class Price:
    """What one step of training costs.

    Parameters
    ----------
    parameters, trainable : int
        Numbers that the network has, and those of them that training changes.
    by_module : mapping of str to int
        Parameters of each part of the network.
    precision : str
        As :class:`replicortex.shared.training.Training` has it.
    batch : mapping of str to tuple of int
        Shape of each array of a batch; without one only the network is priced.
    forward, step : int
        Floating-point operations of the forward pass, and of forward and backward pass together; a multiplication
        with an addition counts as two. Products of matrices, convolutions and attention are counted, nothing else.
    memory : mapping of str to int
        Bytes: ``weights``, ``gradients``, ``optimiser``, ``average`` (a moving average of the weights), ``buffers``,
        ``batch`` and ``activations``, which is all that the forward pass keeps for the backward pass. Working memory
        of single operations comes on top.
    not_counted : tuple of str
        Costly operations that it has and ``forward`` and ``step`` leave out.
    """

    parameters: int
    trainable: int
    by_module: Mapping[str, int]
    precision: str = "32-true"
    batch: Mapping[str, tuple[int, ...]] = dataclasses.field(default_factory=dict)
    forward: int = 0
    step: int = 0
    memory: Mapping[str, int] = dataclasses.field(default_factory=dict)
    not_counted: tuple[str, ...] = ()

    @property
    def total(self) -> int:
        """Bytes in all."""
        return sum(self.memory.values())

    def told(self) -> dict[str, Any]:
        """Return it as plain JSON values."""
        found = dataclasses.asdict(self) | {"batch": {name: list(shape) for name, shape in self.batch.items()}}
        return found | {"not_counted": list(self.not_counted), "bytes": self.total}


def price(
    build: Callable[[], Any],
    step: Callable[[Any, dict[str, Any]], Any] | None = None,
    batch: Mapping[str, tuple[tuple[int, ...], str]] | None = None,
    *,
    optimiser: str = "adamw",
    momentum: float = 0.0,
    average: bool = False,
    precision: str = "32-true",
) -> Price:
    """Return what one training step of a network costs, without its memory.

    Parameters
    ----------
    build : callable
        Returns the network.
    step : callable, optional
        ``step(network, batch)`` returns the loss, or a mapping of terms whose sum is minimised.
    batch : mapping of str to (tuple of int, str), optional
        Shape and type (``float32``, ``int64``, ``bool``) of each array of a batch.
    optimiser, momentum, average, precision
        As in training; ``average`` says whether a moving average of the weights is kept.

    Raises
    ------
    ValueError
        If the loss asks for the value of a tensor, which has none here.
    """
    import torch

    with torch.device("meta"):
        network = build()
    own = list(network.parameters())
    trained = [entry for entry in own if entry.requires_grad]
    found = Price(sum(entry.numel() for entry in own), sum(entry.numel() for entry in trained), _parts(network))
    if step is None or batch is None:
        return found
    try:
        measured = _on_the_processor(copy.deepcopy(network), step, batch, precision)
    except Exception:
        # Code that knows tensors without content knows them by their device.
        measured, precision = _on_no_device(network, step, batch), "32-true"
    per_number = _KEPT[optimiser] + (optimiser in ("sgd", "rmsprop") and momentum > 0)
    memory = {
        "weights": _bytes(own),
        "gradients": _bytes(trained),
        "optimiser": per_number * _bytes(trained),
        "average": _bytes(own) if average else 0,
        "buffers": _bytes(network.buffers()),
        "batch": sum(math.prod(shape) * getattr(torch, dtype).itemsize for shape, dtype in batch.values()),
        "activations": measured.activations,
    }
    return dataclasses.replace(
        found,
        precision=precision,
        batch={name: tuple(shape) for name, (shape, _) in batch.items()},
        forward=measured.forward,
        step=measured.step,
        memory=memory,
        not_counted=tuple(sorted({words for mark, words in _UNCOUNTED.items() for op in measured.ops if mark in op})),
    )


def price_of(method: Any, precision: str | None = None) -> Price:
    """Return the price of a torch method with its parameters and the shapes of the published configuration.

    Parameters
    ----------
    method : TorchMethod
        Its ``paper_batch()`` and ``step`` say what a step is, without which only the network is priced; its
        ``training()``, else its parameter ``precision``, how it is trained, else by AdamW in 32 bits.
    precision : str, optional
        Instead of the method's own.

    Raises
    ------
    ValueError
        See :func:`price`.
    """
    settings = method.training() if hasattr(method, "training") else None
    has = hasattr(method, "step") and hasattr(method, "paper_batch")
    first, *others = (getattr(method, name.removesuffix("_")) for name in method.modules)
    found = price(
        lambda: first(**method.paper_shapes),
        method.step if has else None,
        method.paper_batch() if has else None,
        optimiser=getattr(settings, "optimiser", "adamw"),
        momentum=getattr(settings, "momentum", 0.0),
        average=getattr(settings, "ema", None) is not None,
        precision=precision or getattr(settings or method, "precision", "32-true"),
    )
    for build in others:
        more = price(lambda build=build: build(**method.paper_shapes))
        found = dataclasses.replace(
            found,
            parameters=found.parameters + more.parameters,
            trainable=found.trainable + more.trainable,
            by_module={**found.by_module, build.__name__: more.parameters},
        )
    return found


def in_words(told: Mapping[str, Any]) -> list[str]:
    """Return sentences on a price, as :meth:`Price.told` gives it."""
    frozen = told["parameters"] - told["trainable"]
    parts = sorted(told["by_module"].items(), key=lambda pair: -pair[1])
    most = ", ".join(f"{name} {count:,}" for name, count in parts[:4] if count)
    lines = [f"{told['parameters']:,} parameters{f', {frozen:,} of them frozen' if frozen else ''}: {most}"]
    if told["step"]:
        shapes = ", ".join(f"{name} {'x'.join(map(str, shape))}" for name, shape in told["batch"].items())
        lines.append(f"a step of {shapes}: {scaled(told['step'])}FLOP ({scaled(told['forward'])}FLOP of them forward)")
        memory = {name: count for name, count in told["memory"].items() if count >= told["bytes"] / 100}
        split = ", ".join(
            f"{name} {scaled(count)}B" for name, count in sorted(memory.items(), key=lambda pair: -pair[1])
        )
        lines.append(f"memory in {told['precision']}: at least {scaled(told['bytes'])}B ({split})")
    if told["not_counted"]:
        lines.append(f"not counted among the FLOP: {', '.join(told['not_counted'])}")
    return lines


def scaled(value: float) -> str:
    """Return a number with three digits and the letter of its power of 1000: ``1.23 G``."""
    power = 0
    while value >= 999.5 and power < 6:
        value, power = value / 1000, power + 1
    return f"{value:.3g} {['', 'k', 'M', 'G', 'T', 'P', 'E'][power]}"


class _Measured(NamedTuple):
    """What one step did: operations forward and in all, bytes kept between the passes, names of operations."""

    forward: int
    step: int
    activations: int
    ops: set[str]


def _on_the_processor(network: Any, step: Any, batch: Mapping[str, Any], precision: str) -> _Measured:
    """Measure a step on tensors that claim to be on the processor: kernels and precisions are chosen as there."""
    import torch
    from torch._subclasses.fake_tensor import FakeTensorMode

    with warnings.catch_warnings(), torch.random.fork_rng(devices=[]), FakeTensorMode(allow_non_fake_inputs=True):
        # Copying a module asks for addresses; those of tensors without content are all zero, which does no harm.
        warnings.filterwarnings("ignore", "Accessing the data pointer of FakeTensor")
        mixed = contextlib.nullcontext()
        if precision in _MIXED:
            mixed = torch.autocast("cpu", dtype=getattr(torch, _MIXED[precision]))
        return _measure(_moved(network), step, batch, mixed)


def _on_no_device(network: Any, step: Any, batch: Mapping[str, Any]) -> _Measured:
    """Measure a step on the meta device.

    Raises
    ------
    ValueError
        If the loss asks for values.
    """
    import torch
    from torch.overrides import TorchFunctionMode

    attention = torch.nn.functional.scaled_dot_product_attention

    class Fused(TorchFunctionMode):
        """Attention by the kernel that keeps no map, as other devices choose it by themselves."""

        def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            kwargs = kwargs or {}
            if func is attention and len(args) == 3 and args[0].ndim == 4 and args[0].shape[3] == args[2].shape[3]:
                plain = {key for key, value in kwargs.items() if value not in (None, False, 0.0)} <= {
                    "is_causal",
                    "scale",
                }
                if plain:
                    causal, scale = kwargs.get("is_causal", False), kwargs.get("scale")
                    fused = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
                    return fused(*args, 0.0, causal, scale=scale)[0]
            return func(*args, **kwargs)

    try:
        with torch.random.fork_rng(devices=[]), torch.device("meta"), Fused():
            return _measure(network, step, batch, contextlib.nullcontext())
    except (RuntimeError, NotImplementedError, TypeError) as error:
        raise ValueError(f"its cost depends on values, or can not be told ({' '.join(str(error).split())})") from None


def _measure(network: Any, step: Any, batch: Mapping[str, Any], mixed: Any) -> _Measured:
    import torch

    network.train()
    given = {name: torch.zeros(shape, dtype=getattr(torch, dtype)) for name, (shape, dtype) in batch.items()}
    counter, recorder = _counter(), _recorder()
    known = [*network.parameters(), *network.buffers(), *given.values()]
    with counter, recorder, _kept(known) as kept:
        with mixed:
            loss = step(network, dict(given))
        loss = sum(loss.values()) if isinstance(loss, Mapping) else loss
        activations, forward = sum(kept.values()), counter.get_total_flops()
        loss.backward()
    return _Measured(forward, counter.get_total_flops(), activations, recorder.ops)


def _moved(network: Any) -> Any:
    """Put tensors of the mode at hand in place of those on the meta device; shared ones stay shared."""
    import torch

    copied: dict[int, Any] = {}

    def copy_of(entry: Any) -> Any:
        if id(entry) not in copied:
            made = torch.empty(entry.shape, dtype=entry.dtype)
            learnt = isinstance(entry, torch.nn.Parameter)
            copied[id(entry)] = torch.nn.Parameter(made, entry.requires_grad) if learnt else made
        return copied[id(entry)]

    for module in network.modules():
        for entries in (module._parameters, module._buffers):
            entries.update({name: copy_of(entry) for name, entry in entries.items() if entry is not None})
    return network


def _parts(network: Any) -> dict[str, int]:
    """Return the parameters of each direct part, shared ones where they come first; of the network's own by name."""
    seen: set[int] = set()
    found = {}
    for name, part in [*network.named_children(), *network.named_parameters(recurse=False)]:
        entries = list(part.parameters()) if hasattr(part, "parameters") else [part]
        new = {id(entry): entry.numel() for entry in entries if id(entry) not in seen}
        seen |= new.keys()
        found[name] = sum(new.values())
    return found


def _bytes(tensors: Any) -> int:
    return sum(entry.numel() * entry.element_size() for entry in tensors)


@contextlib.contextmanager
def _kept(known: Any) -> Iterator[dict[int, int]]:
    """Yield the bytes of every storage that is kept for the backward pass, but for those of ``known`` tensors."""
    import torch

    left_out = {entry.untyped_storage()._cdata for entry in known}
    held: list[Any] = []  # an address is only that of one storage as long as this lives
    found: dict[int, int] = {}

    def pack(tensor: Any) -> Any:
        storage = tensor.untyped_storage()
        if storage._cdata not in left_out and storage._cdata not in found:
            held.append(storage)
            found[storage._cdata] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        yield found


def _counter() -> Any:
    """Return PyTorch's counter, which does not know the kernel that the processor uses for attention."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode, sdpa_backward_flop_count, sdpa_flop_count

    def forward(query: Any, key: Any, value: Any, *_: Any, out_shape: Any = None, **__: Any) -> int:
        return sdpa_flop_count(query, key, value)

    def backward(gradient: Any, query: Any, key: Any, value: Any, *_: Any, out_shape: Any = None, **__: Any) -> int:
        return sdpa_backward_flop_count(gradient, query, key, value)

    own = {
        torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: forward,
        torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward: backward,
    }
    return FlopCounterMode(display=False, custom_mapping=own)


def _recorder() -> Any:
    """Return a mode that writes down the names of all operations."""
    from torch.utils._python_dispatch import TorchDispatchMode

    class Recorder(TorchDispatchMode):
        def __init__(self) -> None:
            super().__init__()
            self.ops: set[str] = set()

        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            self.ops.add(func.__name__)
            return func(*args, **(kwargs or {}))

    return Recorder()
