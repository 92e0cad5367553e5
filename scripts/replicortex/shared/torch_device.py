"""Where torch methods compute, and with which settings: the same numbers on every run of the same machine."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from typing import Any


def device() -> Any:
    """Return the device of this job: the GPU that it holds, else the processor.

    The stage has shown torch the devices that the job holds and no others, so that the first is the right one. A job
    that holds a GPU which torch can not use says so in its log and runs on the processor.
    """
    import torch

    if torch.cuda.is_available():
        return torch.device("cuda", 0)
    held = os.environ.get("CUDA_VISIBLE_DEVICES")
    if held:
        reason = "it is built without CUDA" if torch.version.cuda is None else "the driver does not answer it"
        print(f"gpu: torch can not use {held}: {reason}; running on the processor", file=sys.stderr)
    return torch.device("cpu")


@contextlib.contextmanager
def reproducible(seed: int) -> Iterator[Any]:
    """Seed torch, allow it nothing that differs from run to run, and restore all settings afterwards.

    One thread on the processor; on a GPU deterministic kernels, a fixed workspace of cuBLAS, no choice of kernels by
    timing and no TF32. An operation that has no deterministic kernel raises an error.

    Parameters
    ----------
    seed : int
        Of torch's generators, that of the processor and that of the device.

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
    before = (
        torch.get_num_threads(),
        torch.are_deterministic_algorithms_enabled(),
        torch.is_deterministic_algorithms_warn_only_enabled(),
    )
    flags = [(cuda, "allow_tf32", False), (cudnn, "allow_tf32", False), (cudnn, "benchmark", False)]
    flags.append((cudnn, "deterministic", True))
    known = [getattr(owner, name) for owner, name, _ in flags]
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    for owner, name, value in flags:
        setattr(owner, name, value)
    try:
        with torch.random.fork_rng(devices=[chosen.index] if chosen.type == "cuda" else []):
            torch.manual_seed(seed)
            yield chosen
    finally:
        torch.set_num_threads(before[0])
        torch.use_deterministic_algorithms(before[1], warn_only=before[2])
        for (owner, name, _), value in zip(flags, known, strict=True):
            setattr(owner, name, value)
