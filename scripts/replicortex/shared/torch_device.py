"""Where torch methods compute, and with which settings: the same numbers on every run of the same machine."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from typing import Any

#: Whether processes that this one started have computed on the devices that it holds, and it has not.
shared_out = False


def device() -> Any:
    """Return the device of this job: the GPU that it holds, else the processor.

    The stage has shown torch the devices that the job holds and no others, so that the first is the right one. A job
    that holds a GPU which torch can not use says so in its log and runs on the processor.
    """
    import torch

    if n_devices(cuda=True):
        return torch.device("cuda", 0)
    held = os.environ.get("CUDA_VISIBLE_DEVICES")
    if held:
        reason = "it is built without CUDA" if torch.version.cuda is None else "the driver does not answer it"
        print(f"gpu: torch can not use {held}: {reason}; running on the processor", file=sys.stderr)
    return torch.device("cpu")


def n_devices(*, cuda: bool = False) -> int:
    """Return how many GPUs torch can use here; with ``cuda=False`` at least one, since the processor is a device too.

    Asked without starting CUDA in this process, which could not share its work among processes any more.
    """
    import torch

    # Read whenever torch asks the driver; NVML answers without a context of this process.
    os.environ.setdefault("PYTORCH_NVML_BASED_CUDA_CHECK", "1")
    found = torch.cuda.device_count() if torch.cuda.is_available() else 0
    return found if cuda else max(found, 1)


@contextlib.contextmanager
def reproducible(seed: int, *, strict: bool = True) -> Iterator[Any]:
    """Seed torch, allow it nothing that differs from run to run, and restore all settings afterwards.

    One thread on the processor; on a GPU deterministic kernels, a fixed workspace of cuBLAS, no choice of kernels by
    timing and no TF32. An operation that has no deterministic kernel raises an error.

    Parameters
    ----------
    seed : int
        Of torch's generators, that of the processor and that of the device.
    strict : bool
        Where false, an operation that has no deterministic kernel is warned of instead.

    Yields
    ------
    torch.device
        Where to put the model and the data.
    """
    import torch

    # Read when cuBLAS is first used by the process; without it deterministic products are refused.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    chosen = device()
    cuda, cudnn = torch.backends.cuda.matmul, torch.backends.cudnn
    # As `use_deterministic_algorithms`, which imports the compiler too: that takes longer than many a fit.
    before = torch.get_num_threads(), torch.get_deterministic_debug_mode()
    flags = [(cuda, "allow_tf32", False), (cudnn, "allow_tf32", False), (cudnn, "benchmark", False)]
    flags.append((cudnn, "deterministic", True))
    # Memory is not filled before it is written: that finds faulty operations, and small networks pay for it.
    flags.append((torch.utils.deterministic, "fill_uninitialized_memory", False))
    known = [getattr(owner, name) for owner, name, _ in flags]
    torch.set_num_threads(1)
    torch.set_deterministic_debug_mode("error" if strict else "warn")
    for owner, name, value in flags:
        setattr(owner, name, value)
    try:
        # Generators of a device on which nothing was computed yet are seeded when it is, and have no state to restore.
        started = chosen.type == "cuda" and torch.cuda.is_initialized()
        with torch.random.fork_rng(devices=[chosen.index] if started else []):
            torch.manual_seed(seed)
            yield chosen
    finally:
        torch.set_num_threads(before[0])
        torch.set_deterministic_debug_mode(before[1])
        for (owner, name, _), value in zip(flags, known, strict=True):
            setattr(owner, name, value)
