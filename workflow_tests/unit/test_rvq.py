"""Residual vector quantisation against what it is by definition."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from replicortex.shared.rvq import residual_quantiser, rotated


@pytest.fixture(autouse=True)
def _one_thread():
    torch.set_num_threads(1)
    torch.manual_seed(0)


def quantiser(dim=4, size=8, n_stages=3, **given):
    return residual_quantiser(dim, size, n_stages, **given)


def test_codes_are_the_nearest_of_what_the_stages_before_left():
    module = quantiser().eval()
    x = torch.randn(5, 7, 4)
    found, codes, loss = module(x)
    left, total, losses = x.reshape(-1, 4).numpy(), np.zeros((35, 4)), []
    for number, stage in enumerate(module.layers):
        book = stage._codebook.embed.numpy()
        distance = ((left[:, None] - book) ** 2).sum(axis=2)
        nearest = distance.argmin(axis=1)
        np.testing.assert_array_equal(codes.reshape(-1, 3)[:, number], nearest)
        losses.append(0.25 * ((left - book[nearest]) ** 2).mean())
        left, total = left - book[nearest], total + book[nearest]
    np.testing.assert_allclose(found.reshape(-1, 4), total, atol=1e-6)
    np.testing.assert_allclose(module.decode(codes).reshape(-1, 4), total, atol=1e-6)
    assert float(loss) == pytest.approx(np.mean(losses), rel=1e-5)


def test_codes_follow_the_moving_averages_of_their_vectors():
    module = quantiser(size=3, n_stages=1, decay=0.9, dead_below=0.0).train()
    book = module.layers[0]._codebook
    x = torch.randn(64, 4)
    module(x)  # k-means, then one update
    for _ in range(5):
        counts, sums, embed = book.cluster_size.clone(), book.embed_avg.clone(), book.embed.clone()
        module(x)
        belongs = torch.nn.functional.one_hot(((x[:, None] - embed) ** 2).sum(-1).argmin(1), 3).float()
        counts, sums = 0.9 * counts + 0.1 * belongs.sum(0), 0.9 * sums + 0.1 * belongs.T @ x
        torch.testing.assert_close(book.cluster_size, counts)
        torch.testing.assert_close(book.embed_avg, sums)
        torch.testing.assert_close(book.embed, sums / counts[:, None], rtol=1e-4, atol=1e-5)


def test_kmeans_finds_the_clusters_of_the_first_batch_and_the_first_update_keeps_them():
    """The widespread start keeps means where sums are wanted, and shrinks every code by the size of its cluster."""
    centres = torch.tensor([[5.0, 0, 0, 0], [0, 5.0, 0, 0], [0, 0, 5.0, 0]])
    x = centres.repeat_interleave(50, dim=0) + 0.05 * torch.randn(150, 4)
    module = quantiser(size=6, n_stages=1, dead_below=0.0).train()
    module(x)
    book = module.layers[0]._codebook.embed
    assert torch.cdist(centres, book).min(dim=1).values.max() < 0.3
    assert book.norm(dim=1).min() > 4


def test_dead_codes_move_to_vectors_of_the_batch_and_stay_there():
    module = quantiser(size=8, n_stages=1).train()
    module(torch.randn(256, 4))
    book = module.layers[0]._codebook
    book.embed[3], book.cluster_size[3], book.embed_avg[3] = 100.0, 0.0, 0.0
    x = torch.randn(256, 4)
    module(x)
    assert torch.cdist(book.embed[3:4], x).min() < 1e-6
    before = book.embed[3].clone()
    module(torch.randn(256, 4))
    assert (book.embed[3] - before).norm() < 1.0, "the next update must not put it back"


def test_the_rotation_takes_a_vector_to_its_code_and_gradients_along():
    x, code = torch.randn(6, 5, requires_grad=True), torch.randn(6, 5)
    found = rotated(x, code)
    torch.testing.assert_close(found, code, rtol=1e-5, atol=1e-5)
    found.backward(weight := torch.randn(6, 5))
    for row in range(6):
        u, q = (v[row].detach() / v[row].detach().norm() for v in (x, code))
        w = (u + q) / (u + q).norm()
        turn = torch.eye(5) - 2 * torch.outer(w, w) + 2 * torch.outer(q, u)
        torch.testing.assert_close(turn @ turn.T, torch.eye(5), rtol=1e-4, atol=1e-5)
        scale = code[row].norm() / x[row].detach().norm()
        torch.testing.assert_close(x.grad[row], scale * turn.T @ weight[row], rtol=1e-4, atol=1e-5)


def test_more_stages_leave_less():
    x = torch.randn(2000, 4)
    module = quantiser(size=16, n_stages=4).train()
    for _ in range(20):
        module(x)
    module.eval()
    _, codes, _ = module(x)
    left = [x]
    for number, stage in enumerate(module.layers):
        left.append(left[-1] - stage._codebook.embed[codes[:, number]])
    errors = [float((part**2).mean() / (x**2).mean()) for part in left]
    assert all(after < 0.75 * before for before, after in itertools.pairwise(errors))


def test_nothing_moves_in_evaluation_and_straight_through_is_the_identity():
    module = quantiser(rotation=False).train()
    x = torch.randn(50, 4, requires_grad=True)
    found, _, _ = module(x)
    found.sum().backward()
    # Every stage passes the gradient of what is left: the first gets that of all, the others cancel.
    torch.testing.assert_close(x.grad, torch.ones_like(x) * len(module.layers))
    module.eval()
    before = {name: value.clone() for name, value in module.state_dict().items()}
    module(x)
    assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())
