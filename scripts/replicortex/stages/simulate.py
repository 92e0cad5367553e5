"""Simulate a BIDS dataset and write down, outside of it, what was planted."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..components import make, parameters
from ..errors import InputError, did_you_mean
from ..files import atomic, to_json

TRUTHS = ("planted", "absent")


def simulate_dataset(
    simulator: str, params: Mapping[str, Any], truth: str, seed: int, bids: Path, truth_path: Path
) -> None:
    """Write a simulated dataset to folder ``bids`` and its truth to ``truth_path`` (JSON).

    Both appear together and complete, replacing older ones, or not at all.

    Parameters
    ----------
    simulator : str
        Name of a component of kind ``simulators``.
    params : mapping
        Its parameters.
    truth : {"planted", "absent"}
        Whether the effect is there.
    seed : int
        Not negative; same seed, same bytes.
    bids, truth_path : Path
        ``truth_path`` may not lie inside ``bids``, where a method could read it.

    Raises
    ------
    InputError
        If the simulator or a parameter is unknown or wrong, or the truth would lie inside the dataset.

    """
    bids, truth_path = Path(bids), Path(truth_path)
    if truth not in TRUTHS:
        raise InputError(f"simulators/{simulator}", f"truth {truth!r}", did_you_mean(truth, TRUTHS))
    if seed < 0:
        raise InputError(f"simulators/{simulator}", f"seed {seed}", "give a seed of 0 or more")
    if truth_path.resolve().is_relative_to(bids.resolve()):
        raise InputError(truth_path, "lies inside the dataset, where a method could read it", "move it out")
    component = make("simulators", simulator, params)

    # Fixed names, so that what a killed job left behind goes with the next attempt.
    partial, old = (bids.with_name(f".{bids.name}.{state}") for state in ("partial", "old"))
    for leftover in (partial, old):
        shutil.rmtree(leftover, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        facts = component.simulate(partial, truth, seed)
        content = {
            "simulator": simulator,
            "parameters": parameters(component),
            "truth": truth,
            "seed": seed,
            "facts": facts,
        }
        with atomic(truth_path) as temporary:
            temporary.write_text(to_json(content), encoding="utf-8")
            if bids.exists():
                bids.rename(old)
            partial.rename(bids)
    finally:
        for leftover in (partial, old):
            shutil.rmtree(leftover, ignore_errors=True)
