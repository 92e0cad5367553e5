"""Posteriors and paths of hidden Markov chains against the sum over every path (half a second)."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from replicortex.shared.hmm import _in_logs, _inside, forward_backward, matched, sticky, transitions_of, viterbi


def chain(n_states, seed=0):
    generator = np.random.default_rng(seed)
    return generator.dirichlet(np.ones(n_states), n_states), generator.dirichlet(np.ones(n_states))


def by_enumeration(log_emission, transition, initial):
    """Posterior of states, expected pairs, log likelihood of each prefix, and best path, by all paths."""
    n_steps, n_states = log_emission.shape

    def of(path):
        value = np.log(initial[path[0]]) + sum(np.log(transition[a, b]) for a, b in itertools.pairwise(path))
        return value + sum(log_emission[step, state] for step, state in enumerate(path))

    paths = list(itertools.product(range(n_states), repeat=n_steps))
    weights = np.array([of(path) for path in paths])
    total = np.logaddexp.reduce(weights)
    states, pairs = np.zeros((n_steps, n_states)), np.zeros((n_states, n_states))
    for path, weight in zip(paths, np.exp(weights - total), strict=True):
        states[np.arange(n_steps), path] += weight
        for a, b in itertools.pairwise(path):
            pairs[a, b] += weight
    prefixes = [
        np.logaddexp.reduce([of(path) for path in itertools.product(range(n_states), repeat=length)])
        for length in range(1, n_steps + 1)
    ]
    return states, pairs, prefixes, paths[int(weights.argmax())]


@pytest.mark.parametrize(("n_states", "n_steps"), [(1, 4), (2, 7), (3, 6)])
def test_the_posterior_is_the_sum_over_all_paths(n_states, n_steps):
    transition, initial = chain(n_states)
    lengths = np.array([n_steps, n_steps - 2, 1])
    log_emission = 3 * np.random.default_rng(1).standard_normal((3, n_steps, n_states))
    found = forward_backward(log_emission, transition, initial, lengths)
    path = viterbi(log_emission, transition, initial, lengths)
    expected_pairs = np.zeros((n_states, n_states))
    for i, length in enumerate(lengths):
        states, pairs, prefixes, best = by_enumeration(log_emission[i, :length], transition, initial)
        expected_pairs += pairs
        np.testing.assert_allclose(found.states[i, :length], states, atol=1e-12)
        np.testing.assert_allclose(np.cumsum(found.log_likelihood[i])[:length], prefixes, atol=1e-12)
        assert not found.states[i, length:].any()
        assert path[i, :length].tolist() == list(best)
        assert np.all(path[i, length:] == -1)
    np.testing.assert_allclose(found.pairs, expected_pairs, atol=1e-12)


@pytest.mark.parametrize("n_steps", [31, 32, 33, 100, 997])
def test_blocks_give_what_the_plain_recursion_gives(n_steps):
    transition, initial = chain(4, seed=2)
    log_emission = 20 * np.random.default_rng(3).standard_normal((5, n_steps, 4)) - 300
    lengths = np.array([n_steps, n_steps - 1, n_steps // 2, 7, 1])
    found = forward_backward(log_emission, transition, initial, lengths)
    inside = _inside(log_emission, lengths)
    plain = _in_logs(np.where(inside[..., None], log_emission, 0.0), inside, transition, initial)
    np.testing.assert_allclose(found.states, plain.states, atol=1e-9)
    np.testing.assert_allclose(found.pairs, plain.pairs, atol=1e-8)
    np.testing.assert_allclose(found.log_likelihood, plain.log_likelihood, atol=1e-8)


def test_states_that_can_not_follow_each_other_and_observations_that_all_but_exclude_them():
    # Only the second state explains the second step, and by e^-2000; the chain can not go there.
    transition, initial = np.array([[1.0, 0.0], [0.0, 1.0]]), np.array([1.0, 0.0])
    log_emission = np.array([[[0.0, 0.0], [-2000.0, 0.0], [0.0, -5.0]]])
    found = forward_backward(log_emission, transition, initial)
    np.testing.assert_allclose(found.states[0], [[1, 0]] * 3)
    np.testing.assert_allclose(found.log_likelihood[0], [0, -2000, 0])
    np.testing.assert_allclose(found.pairs, [[2, 0], [0, 0]])
    assert viterbi(log_emission, transition, initial)[0].tolist() == [0, 0, 0]


def test_chains_and_names_of_states():
    np.testing.assert_allclose(sticky(3, 0.98).sum(axis=1), 1)
    np.testing.assert_allclose(np.diag(sticky(3, 0.98)), 0.98)
    assert sticky(1, 0.5).tolist() == [[1.0]]
    np.testing.assert_allclose(transitions_of(np.array([[3.0, 1.0], [0.0, 0.0]]), 0.5), [[0.7, 0.3], [0.5, 0.5]])
    assert matched(np.array([[1, 9], [8, 9.5]])).tolist() == [1, 0]
    assert matched(np.array([[1.0], [5.0]])).tolist() == [-1, 0]
