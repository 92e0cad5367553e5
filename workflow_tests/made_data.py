"""Small bundles with a planted effect, one a task, for tests that run over every component."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from scipy.signal import lfilter

from replicortex.bundle import Bundle
from replicortex.shared.generation import beside_real, generated

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


def whole_halves(bundle: Bundle) -> tuple[Bundle, Bundle]:
    """Return training and held-out rows, alternating whole segments; only the former have ``y``."""
    held = np.unique(bundle.rows["segment"], return_inverse=True)[1] % 2 == 1
    train, test = bundle.take(~held).with_rows(label=None), bundle.take(held).with_rows(label=None)
    return train, replace(test, arrays={name: values for name, values in test.arrays.items() if name != "y"})


def moments(task: str = "decode", effect: bool = True, n_segments: int = 8, seed: int = 0) -> Bundle:
    """Return stretches of 60 moments of two hidden courses, and what twelve neurons make of them, if ``effect``.

    To decode, ``x`` are noisy linear readouts and ``y`` the courses; to infer, ``x`` are counts, more of them where the
    first course is positive, and there is no ``y``.
    """
    generator = np.random.default_rng(seed)
    n_times, n = 60, 60 * n_segments
    z = np.zeros((n_segments, n_times, 2))
    for time in range(1, n_times):
        z[:, time] = 0.9 * z[:, time - 1] + 0.3 * generator.standard_normal((n_segments, 2))
    z = z.reshape(n, 2)
    shown = z if effect else np.roll(z[::-1], n_times // 2, axis=0)
    mixing = np.random.default_rng(11).standard_normal((2, 12))
    if task == "decode":
        x = shown @ mixing + 0.3 * generator.standard_normal((n, 12))
    else:
        x = generator.poisson(np.where((shown[:, :1] > 0) == (mixing[:1] > 0), 3.0, 0.5))
    number = np.arange(n)
    rows = {
        "row_id": np.array([f"sub-01_{i:04d}" for i in number]),
        "subject": np.full(n, "01"),
        "session": np.full(n, "n/a"),
        "run": np.full(n, "1"),
        "segment": np.array([f"trial-{i // n_times:02d}" for i in number]),
        "onset": number * 0.1,
        "label": np.array([f"sub-01_{i:04d}" for i in number]),
    }
    arrays = {"x": x.astype(np.float32)} | ({"y": z} if task == "decode" else {})
    axes = {
        "neuron": [f"unit-{i}" for i in range(12)],
        "bin_s": [0.1],
        **({"output": ["a", "b"]} if "y" in arrays else {}),
    }
    return Bundle(arrays, rows, axes, {"fitted": []})


def people(task: str = "classify", shape: str = "vector", effect: bool = True, n: int = 120, seed: int = 0) -> Bundle:
    """Return one row a person whose label, a class or a number, shows in the features and in the site, if ``effect``.

    ``shape`` is "vector" (n, variable), "matrix" (n, region, region; positive definite) or "map" (n, map, voxel).
    """
    generator = np.random.default_rng(seed)
    z = generator.standard_normal(n)
    if task == "classify":
        z = np.where(np.arange(n) // 2 % 2 == generator.integers(2), 1.0, -1.0)[generator.permutation(n)]
    label = np.where(z > 0, CLASSES[1], CLASSES[0]) if task == "classify" else 40 + 10 * z
    shown = z if effect else generator.permutation(z)
    site = np.digitize(shown + 0.15 * generator.standard_normal(n), [-0.8, 0, 0.8])
    if shape == "matrix":
        x = np.stack([np.cov(generator.standard_normal((6, 80))) for _ in range(n)])
        mixing = np.zeros((n, 6, 6)) + np.eye(6)
        mixing[:, 0, 1] = 0.6 * shown
        x, axes = mixing @ x @ mixing.transpose(0, 2, 1), {"region": [f"R{i}" for i in range(6)]}
    elif shape == "map":
        x = generator.standard_normal((n, 2, 40))
        x[:, :, :5] += 1.2 * shown[:, None, None]
        axes = {"map": ["degree", "cycles"], "voxel": list(range(40))}
    else:
        x = generator.standard_normal((n, 40))
        x[:, :5] += shown[:, None]
        axes = {"variable": [f"V{i}" for i in range(40)]}
    rows = {
        "row_id": np.array([f"sub-{i:03d}" for i in range(n)]),
        "subject": np.array([f"{i:03d}" for i in range(n)]),
        "session": np.full(n, "n/a"),
        "run": np.full(n, "n/a"),
        "site": np.array([f"site{number}" for number in site]),
        "age": 30 + 5 * generator.standard_normal(n),
        "mean_fd": np.where(np.arange(n) % 17 == 0, np.nan, generator.gamma(2, 0.1, n)),
        "label": label,
    }
    return Bundle({"x": x.astype(np.float32)}, rows, axes, {"fitted": []})


def windows(n_subjects: int = 10, n_windows: int = 4, seed: int = 0) -> Bundle:
    """Return windows of regional time series with the connectivity of their subject, by two operators."""
    generator = np.random.default_rng(seed)
    n, n_regions, n_times = n_subjects * n_windows, 5, 60
    mixing = np.eye(n_regions) + 0.4 * generator.standard_normal((n_subjects, n_regions, n_regions))
    subject = np.repeat(np.arange(n_subjects), n_windows)
    series = mixing[subject] @ generator.standard_normal((n, n_regions, n_times))
    row, column = np.triu_indices(n_regions, 1)
    pearson = np.array([np.corrcoef(window)[row, column] for window in series])
    names = [f"R{i}" for i in range(n_regions)]
    rows = {
        "row_id": np.array([f"sub-{s:02d}_{i:03d}" for i, s in enumerate(subject)]),
        "subject": np.array([f"{s:02d}" for s in subject]),
        "session": np.full(n, "n/a"),
        "run": np.full(n, "n/a"),
        "label": np.array([f"{s:02d}" for s in subject]),
    }
    axes = {
        "operator": ["pearson", "squared"],
        "edge": [f"{names[a]}--{names[b]}" for a, b in zip(row, column, strict=True)],
        "region": names,
    }
    x = np.stack([pearson, pearson**2], axis=1).astype(np.float32)
    start = np.tile(np.arange(n_windows) * n_times, n_subjects)
    span = np.column_stack([start, start + n_times]).astype(np.int32)
    return Bundle({"x": x, "series": series.astype(np.float32), "span": span}, rows, axes, {"fitted": []})


def stimuli(n: int = 40) -> Bundle:
    """Return what was shown in :func:`responses`: maps of tokens, and their means."""
    tokens = np.random.default_rng(7).standard_normal((n, 9, 4)).astype(np.float32)
    names = np.array([f"image{i:02d}" for i in range(n)])
    rows = {"row_id": names, "subject": np.full(n, "n/a")}
    axes = {"token": list(range(9)), "channel": list(range(4)), "position": [[i // 3, i % 3] for i in range(9)]}
    return Bundle({"tokens": tokens, "pooled": tokens.mean(axis=1)}, rows, axes, {"fitted": []})


def responses(effect: bool = True, n_repeats: int = 2, seed: int = 0) -> Bundle:
    """Return the responses of a person to each of the :func:`stimuli`, linear in the mean of its tokens."""
    generator, shown = np.random.default_rng(seed), stimuli()
    n, n_targets = len(shown), 12
    clean = shown["pooled"] @ generator.standard_normal((shown["pooled"].shape[1], n_targets))
    row = np.repeat(np.arange(n), n_repeats)
    seen = row if effect else generator.permutation(n)[row]
    x = clean[seen] + 0.1 * clean.std() * generator.standard_normal((len(row), n_targets))
    rows = {
        "row_id": np.array([f"sub-01_{i:03d}" for i in range(len(row))]),
        "subject": np.full(len(row), "01"),
        "session": np.full(len(row), "n/a"),
        "run": np.full(len(row), "1"),
        "label": shown.rows["row_id"][row],
    }
    return Bundle({"x": x.astype(np.float32)}, rows, {"response": [f"V{i}" for i in range(n_targets)]}, {"fitted": []})


def volumes(effect: bool = True, n: int = 120, seed: int = 0) -> Bundle:
    """Return one labelled volume a person; the number to predict is the intensity of the first of six regions.

    All regions share a part, which the ``phenotypes`` of the others tell.
    """
    generator = np.random.default_rng(seed)
    shared, own = generator.standard_normal(n), generator.standard_normal((n, 6))
    labels = np.zeros((8, 8, 8), np.int16)
    for number in range(6):
        x, y = 1 + 3 * (number % 2), 1 + 2 * (number // 2)
        labels[x : x + 3, y : y + 2, 2:6] = number + 1
    level = own + 0.5 * shared[:, None]
    label = 40 + 10 * (level[:, 0] if effect else generator.permutation(level[:, 0]))
    x = 0.3 * generator.standard_normal((n, 8, 8, 8))
    for number in range(6):
        x[:, labels == number + 1] += level[:, [number]]
    rows = {
        "row_id": np.array([f"sub-{i:03d}" for i in range(n)]),
        "subject": np.array([f"{i:03d}" for i in range(n)]),
        "session": np.full(n, "n/a"),
        "run": np.full(n, "n/a"),
        "label": label,
    }
    line = np.arange(8.0).tolist()
    axes = {"x_mm": line, "y_mm": line, "z_mm": line, "region": [f"R{number}" for number in range(1, 7)]}
    arrays = {"x": x.astype(np.float32), "regions": np.repeat(labels[None], n, axis=0), "phenotypes": level}
    return Bundle(arrays, rows, axes, {"fitted": []})


def generations(kind: str, n: int = 80, seed: int = 0) -> Bundle:
    """Return volumes as if they had been generated, with what the stage lays beside them to judge them by.

    ``kind`` is "another" (people that nobody has seen, which no generator can do better than), "copies" (the training
    volumes), "one" (the same volume again and again) or "brighter" (people as they are not).
    """
    people = volumes(n=3 * n, seed=seed)
    x = np.clip(people["x"] / 6, -1, 1)
    rows = replace(people, arrays={"x": x})
    real, train, other = (rows.take(np.arange(3 * n) // n == part) for part in range(3))
    made = {
        "another": other["x"],
        "copies": train["x"],
        "one": np.repeat(other["x"][:1], n, axis=0),
        "brighter": np.clip(other["x"] + 0.3, -1, 1),
    }[kind]
    return beside_real(generated(real, made), train, real)


def sensors(effect: bool = True, n_trials: int = 48, seed: int = 0) -> Bundle:
    """Return trials of two devices, of 8 electrodes and of 6 coils padded to 8, over the same two rhythms in space.

    Which of the two is stronger is the label.
    """
    generator = np.random.default_rng(seed)
    n_channels, n_times, sfreq = 8, 80, 40.0
    places = np.random.default_rng(5).standard_normal((2, n_channels, 3))
    places /= np.linalg.norm(places, axis=2, keepdims=True)
    x = np.zeros((n_trials, n_channels, n_times))
    arrays = {"position": np.zeros((n_trials, n_channels, 6)), "sensor_type": np.zeros((n_trials, n_channels), int)}
    arrays["present"] = np.ones((n_trials, n_channels), np.int8)
    label = np.arange(n_trials) % 2
    shown = label if effect else generator.permutation(label)
    device = np.arange(n_trials) // 8 % 2
    for row in range(n_trials):
        place = places[device[row]]
        sources = [rhythm(frequency, n_times, sfreq, generator) for frequency in (4.0, 9.0)]
        gains = (3.0, 1.0) if shown[row] else (1.0, 3.0)
        for axis, (course, gain) in enumerate(zip(sources, gains, strict=True)):
            x[row] += gain * np.outer(place[:, axis], course)
        x[row] += 0.3 * generator.standard_normal((n_channels, n_times))
        arrays["position"][row, :, :3] = 0.6 * place
        if device[row]:
            arrays["sensor_type"][row], arrays["position"][row, :, 3:] = 1, place
            for values in (x, *arrays.values()):
                values[row, 6:] = 0
    rows = {
        "row_id": np.array([f"sub-{i // 8:02d}_{i:03d}" for i in range(n_trials)]),
        "subject": np.array([f"{i // 8:02d}" for i in range(n_trials)]),
        "session": np.full(n_trials, "n/a"),
        "run": np.full(n_trials, "1"),
        "montage": np.array(["eeg-8", "meg-6"])[device],
        "label": np.array(CLASSES)[label],
    }
    axes = {
        "channel": [f"slot-{i}" for i in range(n_channels)],
        "time": (np.arange(n_times) / sfreq).tolist(),
        "sfreq": [sfreq],
        "sensor": ["x", "y", "z", "direction_x", "direction_y", "direction_z"],
    }
    arrays = {name: values.astype(np.float32) if name == "position" else values for name, values in arrays.items()}
    return Bundle({"x": x.astype(np.float32), **arrays}, rows, axes, {"fitted": []})


def choices(effect: bool = True, n: int = 1200, seed: int = 0) -> Bundle:
    """Return choices of the odd one among three of twelve objects in three groups; the third is never the odd one.

    Two of each three are of one group, whose features are alike.
    """
    generator = np.random.default_rng(seed)
    group = np.arange(12) % 3
    odd = generator.integers(2, size=n)
    pair = generator.integers(3, size=n)
    other = (pair + generator.integers(1, 3, size=n)) % 3
    members = np.array([generator.permutation(4) for _ in range(n)])
    x = np.column_stack([3 * members[:, 0] + pair, 3 * members[:, 0] + pair, 3 * members[:, 1] + pair])
    x[np.arange(n), odd] = 3 * members[:, 2] + other
    shown = odd if effect else generator.integers(2, size=n)
    rows = {
        "row_id": np.array([f"sub-{i % 6:02d}_{i:04d}" for i in range(n)]),
        "subject": np.array([f"{i % 6:02d}" for i in range(n)]),
        "session": np.full(n, "n/a"),
        "run": np.full(n, "n/a"),
        "label": np.array(["first", "second"])[shown],
    }
    features = np.eye(3)[group] + 0.1 * np.random.default_rng(3).standard_normal((12, 3))
    axes = {"object": [f"object{i}" for i in range(12)], "object_features": features.tolist()}
    return Bundle({"x": x.astype(np.float32)}, rows, axes, {"fitted": []})


def planted(needs: tuple[str, ...], task: str, effect: bool = True, seed: int = 0) -> Bundle:
    """Return data that a method with such ``needs`` can be asked to do ``task`` on."""
    if task == "select":
        return windows(seed=seed)
    if task in ("decode", "infer"):
        return moments(task, effect, seed=seed)
    if task in ("encode", "retrieve"):
        return responses(effect, seed=seed)
    if "x_mm" in needs:
        return volumes(effect, seed=seed)
    if "sensor" in needs:
        return sensors(effect, seed=seed)
    if "object" in needs:
        return choices(effect, seed=seed)
    if {"channel", "time"} <= set(needs):
        return trials("both" if effect else "none", seed=seed)
    shape = next((shape for axis, shape in {"region": "matrix", "map": "map"}.items() if axis in needs), "vector")
    return people(task, shape, effect, seed=seed)
