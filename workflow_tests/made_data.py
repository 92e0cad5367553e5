"""Small bundles with a planted effect, one a task, for tests that run over every component."""

from __future__ import annotations

import numpy as np
from scipy.signal import lfilter

from replicortex.bundle import Bundle

CLASSES = ("left_hand", "right_hand")


def rhythm(frequency: float, n_times: int, sfreq: float, generator: np.random.Generator) -> np.ndarray:
    """Return an AR(2) rhythm of unit variance."""
    radius, angle = 0.97, 2 * np.pi * frequency / sfreq
    x = lfilter([1], [1, -2 * radius * np.cos(angle), radius**2], generator.standard_normal(n_times + 200))[200:]
    return x / x.std()


def trials(effect: str = "both", n_subjects: int = 1, n_sessions: int = 1, n_trials: int = 48, seed: int = 0) -> Bundle:
    """Return trials of two classes, channel by time.

    ``effect`` is "spatial" (a source's power differs), "temporal" (its frequency differs, its covariance does
    not), "both" or "none".
    """
    generator = np.random.default_rng(seed)
    n_channels, n_times, sfreq = 6, 240, 80.0
    patterns = generator.standard_normal((2, n_channels))
    x, rows = [], {name: [] for name in ("row_id", "subject", "session", "run", "label")}
    for subject in range(n_subjects):
        for session in range(n_sessions):
            for number in range(n_trials):
                right = number % 2
                amplitude = 3.0 if effect in ("spatial", "both") and right else 1.5
                frequency = 20.0 if effect in ("temporal", "both") and right else 10.0
                trial = generator.standard_normal((n_channels, n_times))
                trial += amplitude * np.outer(patterns[0], rhythm(frequency, n_times, sfreq, generator))
                trial += 1.5 * np.outer(patterns[1], rhythm(13.0, n_times, sfreq, generator))
                x.append(trial)
                rows["row_id"].append(f"sub-{subject:02d}_ses-{session}_{number:03d}")
                rows["subject"].append(f"{subject:02d}")
                rows["session"].append(f"{session}")
                rows["run"].append("1")
                rows["label"].append(CLASSES[right])
    axes = {
        "channel": [f"E{i}" for i in range(n_channels)],
        "time": (np.arange(n_times) / sfreq).tolist(),
        "sfreq": [sfreq],
    }
    columns = {name: np.array(values) for name, values in rows.items()}
    return Bundle({"x": np.array(x, dtype=np.float32)}, columns, axes, {"fitted": []})


def halves(bundle: Bundle) -> tuple[Bundle, Bundle]:
    """Return training rows with targets and held-out rows without, alternating pairs of trials."""
    held = np.arange(len(bundle)) // 2 % 2 == 1
    train = bundle.take(~held)
    return train.with_rows(target=train.rows["label"], label=None), bundle.take(held).with_rows(label=None)
