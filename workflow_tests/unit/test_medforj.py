"""Diffusion: conversions in closed form, samplers on Gaussian data whose best predictor is known, judging volumes."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy import ndimage

from replicortex.bundle import Bundle
from replicortex.components import make
from replicortex.methods.medforj import moved
from replicortex.shared.diffusion import Path, ddim_steps, draw, noise_from, sample_from, target_of
from replicortex.shared.generation import coarse, generated, nearest
from replicortex.shared.unet3d import unet3d

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


def predictions(made, real, seen):
    n = len(made)
    rows = {"row_id": np.arange(n).astype(str), "subject": np.arange(n).astype(str)}
    return generated(Bundle({"x": real}, rows), made, coarse(seen))


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
    metrics = {name: make("metrics", name) for name in ("frechet_distance", "volume_test", "memorisation")}
    target = np.full(80, "x")

    def score(name, made):
        return metrics[name].score(target, predictions(made, real, seen))

    for name in ("frechet_distance", "volume_test"):
        assert score(name, real) == pytest.approx(0, abs=1e-6)
        assert 0 < score(name, second) < score(name, larger)
    assert score("memorisation", seen) == 1.0
    assert score("memorisation", second) < 0.2
    assert score("memorisation", seen[::-1]) == 1.0


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


def test_regions_of_simulated_heads_are_as_large_as_stated():
    """The band of intensities finds the regions of a finely sampled head."""
    simulator = make("simulators", "head_ellipsoids", {"mm": 4.0, "noise": 0.0, "spread": 0.3})
    for subject in (1, 2):
        image, brain, _ = simulator.image(subject, "planted", 0)
        volumes = simulator.volumes(subject, 0)
        found = {"putamen": (image > 900).sum() * 0.064, "ventricle": ((image < 305) & brain).sum() * 0.064}
        for name, value in found.items():
            assert value == pytest.approx(volumes[name], rel=0.25)


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
