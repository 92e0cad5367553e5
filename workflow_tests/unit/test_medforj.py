"""Diffusion: conversions in closed form, samplers on Gaussian data whose best predictor is known, judging volumes."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy import ndimage, stats

from replicortex.bundle import Bundle
from replicortex.components import load, make
from replicortex.files import read_tsv
from replicortex.methods.medforj import moved
from replicortex.metrics.volume_test import energy_coefficient
from replicortex.shared.diffusion import Path, ddim_steps, draw, noise_from, sample_from, target_of
from replicortex.shared.generation import beside_real, coarse, generated, nearest
from replicortex.shared.slices import slices
from replicortex.shared.unet3d import unet3d
from replicortex.stages.fit import fit
from replicortex.stages.generated import collect_generated
from replicortex.stages.score import score_predictions
from replicortex.stages.splits import make_splits, read_folds

TARGETS = ("sample", "epsilon", "velocity", "flow")
#: Mean and standard deviation of one-dimensional Gaussian data.
MEAN, SPREAD = 0.4, 0.5


# ---- the path


def test_the_path_preserves_variance_and_ends_in_noise():
    for n_steps in (1000, 250, 100):
        alphas = Path(n_steps).alphas()
        assert (np.diff(alphas) < 0).all()
        assert alphas[0] > 0.99
        assert alphas[-1] < 1e-4
        a, s = Path(n_steps).at(torch.arange(n_steps), torch.zeros(n_steps, 2, 3, dtype=torch.float64))
        assert a.shape == (n_steps, 1, 1)
        torch.testing.assert_close(a**2 + s**2, torch.ones_like(a))
    # The usual numbers of 1,000 steps, as a plain product.
    product = math.prod(1 - (1e-4 + i * (0.02 - 1e-4) / 999) for i in range(500))
    assert Path().alphas()[499] == pytest.approx(product, rel=1e-12)


@pytest.mark.parametrize("target", TARGETS)
def test_every_target_gives_back_volume_and_noise(target):
    torch.manual_seed(0)
    x0, noise = torch.randn(50, 4, dtype=torch.float64), torch.randn(50, 4, dtype=torch.float64)
    a, s = Path().at(torch.arange(0, 1000, 20), x0)
    xt = a * x0 + s * noise
    found = sample_from(target_of(x0, noise, a, s, target), xt, a, s, target)
    torch.testing.assert_close(found, x0, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(noise_from(found, xt, a, s), noise, rtol=1e-4, atol=1e-4)


def best(target, path):
    """The best prediction for Gaussian data: linear in x_t, from the joint covariance of the target and x_t."""

    def predict(xt, steps):
        a, s = path.at(steps, xt)
        of_sample, of_noise = {"sample": (1, 0), "epsilon": (0, 1), "velocity": (-s, a), "flow": (-1, 1)}[target]
        covariance = of_sample * a * SPREAD**2 + of_noise * s
        return of_sample * MEAN + covariance / (a**2 * SPREAD**2 + s**2) * (xt - a * MEAN)

    return predict


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("eta", [0.0, 1.0])
def test_samplers_return_the_moments_of_gaussian_data(target, eta):
    """With the best predictor both samplers end in the distribution of the data, whatever the target."""
    path, generator = Path(250), torch.Generator().manual_seed(0)
    start = torch.randn(6000, 1, generator=generator, dtype=torch.float64)
    made = draw(best(target, path), start, path, target, 250, eta=eta, generator=generator)
    assert made.mean().item() == pytest.approx(MEAN, abs=0.02)
    assert made.std().item() == pytest.approx(SPREAD, rel=0.03 if eta == 0 else 0.05)
    excess = ((made - made.mean()) ** 4).mean() / made.var() ** 2 - 3
    assert abs(excess.item()) < 0.2


def test_all_targets_take_the_same_way_with_their_best_predictors():
    path = Path(200)
    start = torch.linspace(-2, 2, 9, dtype=torch.float64)[:, None]
    ways = [draw(best(target, path), start, path, target, 50) for target in TARGETS]
    for way in ways[1:]:
        torch.testing.assert_close(way, ways[0], rtol=0, atol=1e-8)


def test_ddim_in_one_step_is_the_prediction_and_clips():
    path = Path(100)
    start = torch.full((3, 1), 5.0, dtype=torch.float64)
    sample = best("sample", path)(start, torch.full((3,), 99))
    torch.testing.assert_close(draw(best("sample", path), start, path, "sample", 1), sample)
    assert draw(lambda x, t: 7 * torch.ones_like(x), start, path, "sample", 5, clip=1.0).max() == 1.0
    assert ddim_steps(1000, 64)[0] == 999
    assert ddim_steps(1000, 64)[-1] == 0
    assert len(ddim_steps(1000, 64)) == 64


# ---- the network


def convolution(n_in, n_out, size=27):
    return n_out * (n_in * size + 1)


def closed_form(channels, n_blocks):
    width = 4 * channels[0]

    def residual(n_in, n_out):
        by = convolution(n_in, n_out, 1) if n_in != n_out else 0
        return 2 * n_in + convolution(n_in, n_out) + n_out * (width + 1) + 2 * n_out + convolution(n_out, n_out) + by

    def attention(n):
        return 2 * n + 4 * n * (n + 1)

    bottom, n, total, held = len(channels) - 1, channels[0], 0, [channels[0]]
    total += width * (channels[0] + 1) + width * (width + 1) + convolution(1, channels[0])
    for level, wide in enumerate(channels):
        for _ in range(n_blocks):
            total += residual(n, wide) + (attention(wide) if level == bottom else 0)
            n = wide
            held.append(n)
        if level < bottom:
            total += convolution(n, n)
            held.append(n)
    total += 2 * residual(n, n) + attention(n)
    for level, wide in reversed(list(enumerate(channels))):
        for _ in range(n_blocks + 1):
            total += residual(n + held.pop(), wide) + (attention(wide) if level == bottom else 0)
            n = wide
        if level:
            total += convolution(n, n)
    return total + 2 * n + convolution(n, 1)


def test_the_number_of_parameters_is_that_of_the_closed_form():
    for channels, n_blocks in (([8, 16, 32], 1), ([16, 32, 64], 2), ([16, 32, 64, 128, 256], 2)):
        method = make("methods", "medforj", {"channels": channels, "n_blocks": n_blocks})
        with torch.device("meta"):
            network = method.network(**method.paper_shapes)
        assert sum(parameter.numel() for parameter in network.parameters()) == closed_form(channels, n_blocks)


def test_the_network_begins_as_little_and_knows_the_step():
    torch.manual_seed(0)
    network = unet3d([4, 8], 1, 4, 4, [False, True]).eval()
    x = torch.randn(2, 1, 4, 6, 4)
    with torch.no_grad():
        assert network(x, torch.tensor([0, 5])).shape == x.shape
        for parameter in network.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
        early, late = network(x, torch.tensor([0, 0])), network(x, torch.tensor([0, 200]))
    torch.testing.assert_close(early[0], late[0])
    assert (early[1] - late[1]).abs().max() > 1e-3


def test_volumes_are_flipped_and_shifted_and_background_comes_in():
    x = torch.full((200, 4, 4, 4), -1.0)
    x[:, 0, 1, 2] = 1.0
    made = moved({"x": x}, torch.Generator().manual_seed(0), 1)["x"]
    assert made.shape == x.shape
    assert set(made.unique().tolist()) == {-1.0, 1.0}
    places = (made == 1).nonzero()[:, 1:]
    flipped = (places[:, 0] >= 2).double().mean().item()
    # Of the flipped the spot is at 3, and a shift takes it out of the grid in a third of them.
    assert 0.35 < flipped < 0.65
    assert set(places[:, 1].tolist()) == {0, 1, 2}
    assert torch.equal(moved({"x": x}, torch.Generator().manual_seed(3), 0)["x"].sum(), x.sum())


# ---- judging


def bundle_of(x, mm=1.0):
    rows = {"row_id": np.arange(len(x)).astype(str), "subject": np.arange(len(x)).astype(str)}
    axes = {
        f"{axis}_mm": (mm * (np.arange(n) - (n - 1) / 2)).tolist() for axis, n in zip("xyz", x.shape[1:], strict=True)
    }
    return Bundle({"x": x}, rows, axes)


def predictions(made, real, seen, mm=1.0):
    test = bundle_of(real, mm)
    return beside_real(generated(test, made), bundle_of(seen), test)


def blobs(n, size, seed):
    rng = np.random.default_rng(seed)
    made = ndimage.gaussian_filter(rng.standard_normal((n, 12, 12, 12)), (0, 1, 1, 1))
    made = np.clip(made * 0.5, -1, 0.7)
    for volume, extent in zip(made, rng.normal(size, 0.5, n), strict=True):
        grid = np.linalg.norm(np.indices((12, 12, 12)) - 5.5, axis=0)
        volume[grid < extent] = 0.9
    return made.astype(np.float32)


def test_metrics_know_real_volumes_from_others():
    real, second, larger, seen = blobs(80, 3, 0), blobs(80, 3, 1), blobs(80, 4, 2), blobs(80, 3, 3)
    metrics = {name: make("metrics", name) for name in ("frechet_distance", "memorisation")}
    target = np.full(80, "x")

    def score(name, made):
        return metrics[name].score(target, predictions(made, real, seen))

    assert score("frechet_distance", real) == pytest.approx(0, abs=1e-6)
    assert 0 < score("frechet_distance", second) < score("frechet_distance", larger)
    assert score("memorisation", seen) == 1.0
    assert score("memorisation", second) < 0.2
    assert score("memorisation", seen[::-1]) == 1.0


def heads(n, seed, mm=16.0, **given):
    """Heads as the feature gives them, and the volumes of their regions (mL)."""
    simulator = make("simulators", "head_ellipsoids", {"mm": mm, **given})
    images = np.stack([simulator.image(subject, "planted", seed)[0] for subject in range(1, n + 1)])
    top = np.quantile(images, 0.999, axis=(1, 2, 3), keepdims=True)
    volumes = [list(simulator.volumes(subject, seed).values()) for subject in range(1, n + 1)]
    return (2 * np.clip(images / top, 0, 1) - 1).astype(np.float32), np.array(volumes)


@pytest.mark.parametrize("mm", [8.0, 16.0])
def test_regional_volumes_of_images_are_those_that_were_simulated(mm):
    """Also where voxels are as large as the regions."""
    images, volumes = heads(40, 0, mm)
    metric = make("metrics", "volume_test")
    found = metric.volumes(images, [np.array(place) for place in bundle_of(images, mm).axes.values()])
    for number, least in enumerate((0.95, 0.65, 0.85)):
        assert np.corrcoef(found[:, number], volumes[:, number])[0, 1] > least
    np.testing.assert_allclose(found.mean(axis=0), volumes.mean(axis=0), rtol=0.6)


def test_other_volumes_are_found_in_the_same_heads():
    real, second, other = heads(60, 0)[0], heads(60, 1)[0], heads(60, 1, spread=0.0)[0]
    metric = make("metrics", "volume_test")
    same, floor, worse = (metric.score(None, predictions(made, real, real, 16.0)) for made in (real, second, other))
    assert same == pytest.approx(0, abs=1e-9)
    assert same < floor < worse / 2


def test_the_energy_coefficient_is_that_of_gaussians():
    """Mean distances of Gaussians are those of folded ones, known in closed form."""
    shift = 1.5
    first = stats.norm.ppf((np.arange(2000) + 0.5) / 2000)
    within = 2 / math.sqrt(math.pi)
    between = within * math.exp(-(shift**2) / 4) + shift * math.erf(shift / 2)
    assert energy_coefficient(first, first + shift) == pytest.approx(1 - within / between, rel=0.01)
    assert energy_coefficient(np.zeros(3), np.ones(4)) == 1
    assert energy_coefficient(np.zeros(3), np.zeros(4)) == 0


def test_the_frechet_distance_is_that_of_gaussians():
    """Known in closed form where covariances commute: here both are diagonal in the limit of many rows."""
    from replicortex.metrics.frechet_distance import frechet

    rng = np.random.default_rng(0)
    first = rng.standard_normal((200_000, 3)) * [1, 2, 3] + [1, 0, 0]
    second = rng.standard_normal((200_000, 3)) * [2, 2, 1]
    assert frechet(first, second) == pytest.approx(1 + (1 - 2) ** 2 + 0 + (3 - 1) ** 2, rel=0.02)


def test_the_nearest_is_found():
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal((5, 7)).astype(np.float32), rng.standard_normal((9, 7)).astype(np.float32)
    expected = np.sqrt(((a[:, None] - b) ** 2).mean(axis=2)).min(axis=1)
    np.testing.assert_allclose(nearest(a, b), expected, rtol=1e-4)
    np.testing.assert_allclose(coarse(np.ones((2, 5, 7, 6)), 3), 1)


def test_from_splits_to_scores_and_slices_without_a_target(tmp_path):
    """The stages put what a generator is judged by beside what it made; copies of training volumes are found out."""
    images, _ = heads(40, 0)
    features = bundle_of(images, 16.0)
    features.with_rows(session=np.full(40, "n/a"), run=np.full(40, "n/a"), label=np.full(40, "n/a")).save(
        tmp_path / "x.npz"
    )
    tables = [tmp_path / name for name in ("splits.tsv", "targets.tsv")]
    schemes = {"k_fold": {"folds": 2}}
    make_splits([tmp_path / "x.npz"], *tables, schemes, "observed", [], 0, task="generate", exchangeable=[])
    _, folds = read_folds(*tables)
    assert sorted(row for sides in folds.values() for row in sides["test"]) == sorted(features.rows["row_id"])
    assert all(len(sides["test"]) == 20 for sides in folds.values())
    fits, predictions = [], []
    for name in ("real_sample", "generator_pca"):
        outputs = [tmp_path / f"{name}.{ending}" for ending in ("npz", "zip", "json")]
        fit([tmp_path / "x.npz"], *tables, *outputs, name, name, {}, "observed", "0of1", 0, task="generate")
        predictions.append(outputs[0])
        fits.append(outputs[2])
    metrics = {"frechet_distance": {"cells": 1}, "volume_test": {}, "memorisation": {}}
    given = (fits, predictions, tables[1], tmp_path / "scores.tsv", metrics, "run", "observed")
    score_predictions(*given, task="generate", group=True)
    found = {}
    for row in read_tsv(tmp_path / "scores.tsv"):
        found.setdefault((row["metric"], row["method"], row["per"]), []).append(float(row["value"]))
    assert {key[::2]: len(values) for key, values in found.items()} == {
        ("frechet_distance", "pseudo"): 40, ("volume_test", "pseudo"): 40, ("memorisation", "fold"): 2,
    }  # fmt: skip
    assert found["memorisation", "real_sample", "fold"] == [1.0, 1.0]
    assert max(found["memorisation", "generator_pca", "fold"]) < 0.5
    collect_generated(fits, predictions, tmp_path / "generated.tsv")
    table = read_tsv(tmp_path / "generated.tsv")
    assert {row["method"] for row in table} == {"held_out", "real_sample", "generator_pca"}
    drawn = slices(table, "coronal")["held_out", "mean", 1]
    # Up is the first row: the middle of all held-out heads, with ventricles above thalami.
    np.testing.assert_allclose(drawn, images.mean(axis=0)[:, images.shape[2] // 2].T[::-1], atol=6e-4)


def test_models_keep_no_volume_of_anybody():
    """Distances to the training volumes are computed where these are at hand."""
    images, _ = heads(6, 0)
    for name in ("medforj", "generator_pca"):
        method = make("methods", name, load("methods", name).tiny)
        method.fit(bundle_of(images, 16.0), 0)
        kept = [np.asarray(getattr(method, key)) for key in method.state if hasattr(getattr(method, key), "shape")]
        for values in kept:
            assert len(images) not in values.shape
        predicted = method.predict(bundle_of(images[:2], 16.0))
        assert set(predicted.arrays) == {"y_generated"}


def test_gaussian_volumes_have_the_moments_of_the_training_volumes():
    rng = np.random.default_rng(0)
    x = (0.2 * rng.standard_normal((300, 1, 1, 1)) * np.linspace(0, 1, 64).reshape(4, 4, 4) + 0.1).astype(np.float32)
    x += 0.05 * rng.standard_normal(x.shape).astype(np.float32)
    rows = {"row_id": np.arange(300).astype(str), "subject": np.arange(300).astype(str)}
    method = make("methods", "generator_pca", {"explained": 0.5})
    method.fit(Bundle({"x": x}, rows), 0)
    made = method.predict(Bundle({"x": x}, rows))["y_generated"]
    np.testing.assert_allclose(made.mean(axis=0), x.mean(axis=0), atol=0.05)
    np.testing.assert_allclose(made.std(axis=0), x.std(axis=0), atol=0.04)
