"""Contrastive losses and the diffusion prior: closed forms, gradients against finite differences, planted truth."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from replicortex.shared import contrastive, diffusion_prior

N, D = 6, 5


def pair(seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return tuple(torch.randn(N, D, generator=generator, dtype=torch.float64) for _ in range(2))


def wanted(kind: str, target: torch.Tensor):
    if kind == "one":
        return contrastive.one_to_one(N, target)
    if kind == "soft":
        return contrastive.by_likeness(target, 0.3)
    share = torch.tensor([1, 0.3, 0.9, 1, 0.5, 0.2], dtype=torch.float64)
    # The third row is its own partner.
    return contrastive.by_mixture(share, torch.tensor([3, 0, 2, 1, 5, 4]))


@pytest.mark.parametrize("kind", ["one", "soft", "mixed"])
def test_the_gradient_is_that_of_finite_differences(kind):
    predicted, target = pair()
    goal = wanted(kind, target)

    def loss(values: torch.Tensor) -> torch.Tensor:
        return contrastive.contrast(values, target, goal, 0.2)

    assert torch.autograd.gradcheck(loss, predicted.requires_grad_())
    (gradient,) = torch.autograd.grad(loss(predicted), predicted)
    assert gradient.abs().max() > 1e-3


def test_info_nce_is_the_cross_entropy_of_both_directions():
    predicted, target = pair()
    a, b = (x / x.norm(dim=1, keepdim=True) for x in (predicted, target))
    similar, number = a @ b.T / 0.2, torch.arange(N)
    expected = sum(torch.nn.functional.cross_entropy(x, number) for x in (similar, similar.T)) / 2
    found = contrastive.contrast(predicted, target, contrastive.one_to_one(N, target), 0.2)
    assert found.item() == pytest.approx(expected.item(), rel=1e-12)


def test_a_mixture_of_nothing_is_info_nce():
    _, target = pair()
    nothing = contrastive.by_mixture(torch.ones(N, dtype=torch.float64), torch.randperm(N))
    torch.testing.assert_close(nothing, contrastive.one_to_one(N, target))


def test_a_mixture_names_both_of_whom_it_was_made():
    share, partner = torch.tensor([0.7, 1.0, 0.4]), torch.tensor([2, 0, 2])
    expected = torch.tensor([[0.7, 0, 0.3], [0, 1, 0], [0, 0, 1]])
    torch.testing.assert_close(contrastive.by_mixture(share, partner), expected)
    x = torch.tensor([[1.0], [10.0], [100.0]])
    torch.testing.assert_close(contrastive.blend(x, share, partner), torch.tensor([[30.7], [10.0], [100.0]]))


def test_soft_targets_of_a_low_temperature_are_the_identity_and_equal_targets_share():
    _, target = pair()
    rows, columns = contrastive.by_likeness(target, 1e-4)
    torch.testing.assert_close(rows, torch.eye(N, dtype=torch.float64))
    torch.testing.assert_close(rows, columns)
    twice = torch.cat([target[:1], target])
    assert contrastive.by_likeness(twice, 1e-4)[0][0, :2].tolist() == pytest.approx([0.5, 0.5])


def test_the_least_loss_is_the_entropy_of_the_target():
    """Where similarities say exactly what is wanted, no other prediction has a smaller loss."""
    _, target = pair()
    goal = contrastive.by_likeness(target, 0.3)
    entropy = -(goal[0] * goal[0].log()).sum(dim=1).mean()
    assert contrastive.contrast(target, target, goal, 0.3).item() == pytest.approx(entropy.item(), rel=1e-9)
    assert contrastive.contrast(pair(1)[0], target, goal, 0.3) > entropy


def test_shares_of_mixtures_are_beta_distributed():
    generator = torch.Generator().manual_seed(0)
    share, partner = contrastive.mixture(20000, 0.15, 0.5, generator, "cpu")
    assert sorted(partner.tolist()) == list(range(20000))
    mixed = share[share < 1].double().numpy()
    # Of Beta(a, a): mean 1/2, variance 1 / (4 (2 a + 1)). Draws that round to 1 are few and not among these.
    assert (share < 1).double().mean() == pytest.approx(0.5, abs=0.05)
    every = contrastive.mixture(20000, 0.15, 1.0, generator, "cpu")[0].double().numpy()
    assert every.mean() == pytest.approx(0.5, abs=0.01)
    assert every.var() == pytest.approx(1 / (4 * 1.3), rel=0.02)
    assert np.isfinite(mixed).all()
    assert mixed.min() >= 0


# ---- the prior


def test_the_schedule_is_the_published_cosine():
    kept = diffusion_prior.kept_signal(100)
    level = np.cos((np.arange(101) / 100 + 0.008) / 1.008 * np.pi / 2) ** 2
    np.testing.assert_allclose(kept[:-1], (level[1:] / level[0])[:-1], rtol=1e-6)
    assert kept[0] > 0.999
    assert kept[-1] < 1e-4


def test_the_posterior_is_that_of_gaussians():
    """Mean and spread of the embedding one step earlier follow from Bayes' rule for three jointly normal variables."""
    kept = torch.tensor(diffusion_prior.kept_signal(10))
    step, noisy, clean = 4, torch.tensor(0.7, dtype=torch.float64), torch.tensor(-1.2, dtype=torch.float64)
    alpha = kept[step] / kept[step - 1]
    # Before: N(sqrt(k') clean, 1 - k'); now given before: N(sqrt(alpha) before, 1 - alpha).
    precision = 1 / (1 - kept[step - 1]) + alpha / (1 - alpha)
    mean = (kept[step - 1].sqrt() * clean / (1 - kept[step - 1]) + alpha.sqrt() * noisy / (1 - alpha)) / precision
    found = diffusion_prior.posterior(kept, step, noisy, clean)
    assert found[0].item() == pytest.approx(mean.item(), rel=1e-9)
    assert found[1].item() == pytest.approx(precision.rsqrt().item(), rel=1e-9)


def test_samples_with_a_perfect_network_are_the_truth_and_with_a_normal_one_are_normal():
    """The chain is exact: a network that knows the answer gives it, that of N(0, s^2) data their spread."""
    made = diffusion_prior.prior(1, 1, 1, 1, 2, 50, 0.0)
    noise = torch.randn(51, 20000, 1, 1, generator=torch.Generator().manual_seed(0))
    condition = torch.zeros(20000, 1, 1)
    made.forward = lambda noisy, step, condition: torch.full_like(noisy, 3.0)
    torch.testing.assert_close(made.sample(condition, noise), torch.full_like(condition, 3.0))
    spread = 2.0

    def best(noisy: torch.Tensor, step: torch.Tensor, condition: torch.Tensor) -> torch.Tensor:
        kept = made.kept[step][:, None, None]
        return kept.sqrt() * spread**2 / (kept * spread**2 + 1 - kept) * noisy

    made.forward = best
    found = made.sample(condition, noise)
    assert found.mean().item() == pytest.approx(0, abs=0.05)
    assert found.std().item() == pytest.approx(spread, rel=0.05)


def test_every_parameter_of_the_prior_is_learnt_from_and_the_loss_is_differentiated_right():
    torch.manual_seed(0)
    made = diffusion_prior.prior(3, 4, 2, 2, 2, 5, 0.5).double()
    condition, target = (torch.randn(16, 3, 4, dtype=torch.float64) for _ in range(2))
    condition.requires_grad_()
    torch.manual_seed(1)
    made.loss(condition, target).backward()
    assert all(entry.grad is not None and entry.grad.abs().max() > 0 for entry in made.parameters())
    direction, step = torch.randn_like(condition), 1e-6
    values = []
    for sign in (1, -1):
        torch.manual_seed(1)
        values.append(made.loss((condition + sign * step * direction).detach(), target).item())
    slope = (values[0] - values[1]) / (2 * step)
    assert (condition.grad * direction).sum().item() == pytest.approx(slope, rel=1e-5)
    assert abs(slope) > 1e-4
