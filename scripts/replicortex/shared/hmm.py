"""Hidden Markov chains: posterior probabilities, the most likely path, and likelihoods, of many sequences at once.

What a state makes likely is given as the logarithm of the probability of each observation in each state; what kind of
observation it is does not matter here. Sequences may differ in length: ``lengths`` says how many steps of each count.

Along a sequence the steps of a chain depend on each other, but products of its matrices may be taken in any order. A
sequence is therefore cut into blocks that are gone through side by side: about twice the root of its length in steps,
with the result of the plain recursion.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

#: Sequences shorter than this are not worth cutting.
_SHORT = 32


@dataclass(frozen=True)
class Posterior:
    """What is known of the states once a sequence was seen.

    Parameters
    ----------
    states : ndarray of shape (n, T, S)
        Probability of each state at each step, given the whole sequence; zero beyond its end.
    pairs : ndarray of shape (S, S)
        Expected number of steps from each state to each other, over all sequences.
    log_likelihood : ndarray of shape (n, T)
        Log probability of each step given those before it; zero beyond the end. Their sum is that of the sequence.
    """

    states: np.ndarray
    pairs: np.ndarray
    log_likelihood: np.ndarray


def forward_backward(
    log_emission: np.ndarray, transition: np.ndarray, initial: np.ndarray, lengths: np.ndarray | None = None
) -> Posterior:
    """Return posterior probabilities of the states.

    Parameters
    ----------
    log_emission : ndarray of shape (n, T, S)
        Log probability of the observation of each step in each state.
    transition : ndarray of shape (S, S)
        Probability of each state (columns) after each (rows).
    initial : ndarray of shape (S,)
        Probability of each state at the first step.
    lengths : ndarray of int of shape (n,), optional
        Steps of each sequence; all ``T`` if not given.
    """
    log_emission = np.asarray(log_emission, dtype=float)
    inside = _inside(log_emission, lengths)
    # Beyond the end nothing is observed: all states are as likely, and go on as the chain does.
    log_emission = np.where(inside[..., None], log_emission, 0.0)
    found = _scaled(log_emission, inside, transition, initial)
    return _in_logs(log_emission, inside, transition, initial) if found is None else found


def _inside(log_emission: np.ndarray, lengths: np.ndarray | None) -> np.ndarray:
    """Return which steps of each sequence count, ``(n, T)``."""
    n, n_steps, _ = log_emission.shape
    lengths = np.full(n, n_steps) if lengths is None else np.asarray(lengths)
    return np.arange(n_steps) < lengths[:, None]


def _scaled(
    log_emission: np.ndarray, inside: np.ndarray, transition: np.ndarray, initial: np.ndarray
) -> Posterior | None:
    """Return the posterior by probabilities that are scaled at every step; ``None`` where one has no digits left."""
    n, n_steps, n_states = log_emission.shape
    greatest = log_emission.max(axis=2, keepdims=True)
    length = n_steps if n_steps < _SHORT else int(np.ceil(np.sqrt(n_steps)))
    n_blocks = -(-n_steps // length)
    emission = np.ones((n, n_blocks * length, n_states))
    emission[:, :n_steps] = np.exp(log_emission - greatest)
    # (block, step, sequence, state): blocks side by side.
    emission = np.ascontiguousarray(emission.reshape(n, n_blocks, length, n_states).transpose(2, 1, 0, 3))
    with np.errstate(all="ignore"):
        before = _before_blocks(emission, transition, initial)
        forward, scale = np.empty_like(emission), np.empty((*emission.shape[:3], 1))
        state = before
        for step in range(length):
            # Of the first step of all there is no state before; ``before`` is then the initial one itself.
            state = np.concatenate([state[:1], state[1:] @ transition]) if step == 0 else state @ transition
            state = state * emission[step]
            scale[step] = state.sum(axis=-1, keepdims=True)
            state = state / scale[step]
            forward[step] = state
        backward = np.empty_like(emission)
        later = _after_blocks(emission, scale, transition)
        for step in range(length - 1, -1, -1):
            backward[step] = later
            later = (later * emission[step] / scale[step]) @ transition.T
        of_pairs = backward * emission / scale
    if not (np.isfinite(forward).all() and np.isfinite(backward).all()):
        return None

    def in_order(values: np.ndarray) -> np.ndarray:
        return values.transpose(2, 1, 0, 3).reshape(n, n_blocks * length, -1)[:, :n_steps]

    forward, backward, of_pairs, scale = map(in_order, (forward, backward, of_pairs, scale))
    states = np.where(inside[..., None], forward * backward, 0.0)
    of_pairs = np.where(inside[..., None], of_pairs, 0.0)
    pairs = transition * np.einsum("nti,ntj->ij", forward[:, :-1], of_pairs[:, 1:])
    log_likelihood = np.where(inside, np.log(scale[..., 0]) + greatest[..., 0], 0.0)
    return Posterior(states / np.maximum(states.sum(axis=2, keepdims=True), 1e-300), pairs, log_likelihood)


def _before_blocks(emission: np.ndarray, transition: np.ndarray, initial: np.ndarray) -> np.ndarray:
    """Return the probability of each state at the last step before each block, (block, sequence, state).

    Before the first block it is the initial one.
    """
    length, n_blocks, n, n_states = emission.shape
    found = np.empty((n_blocks, n, n_states))
    found[0] = initial
    if n_blocks == 1:
        return found
    product = np.broadcast_to(np.eye(n_states), (n_blocks, n, n_states, n_states))
    for step in range(length):
        # The first step of the first block has no transition before it.
        product = np.concatenate([product[:1], product[1:] @ transition]) if step == 0 else product @ transition
        product = product * emission[step][:, :, None, :]
        product = product / product.max(axis=(-2, -1), keepdims=True)
    for block in range(1, n_blocks):
        state = (found[block - 1][:, None, :] @ product[block - 1])[:, 0]
        found[block] = state / state.sum(axis=-1, keepdims=True)
    return found


def _after_blocks(emission: np.ndarray, scale: np.ndarray, transition: np.ndarray) -> np.ndarray:
    """Return how likely all that follows each block is in each state at its end, scaled, (block, sequence, state)."""
    length, n_blocks, n, n_states = emission.shape
    found = np.ones((n_blocks, n, n_states))
    if n_blocks == 1:
        return found
    product = np.broadcast_to(np.eye(n_states), (n_blocks, n, n_states, n_states))
    for step in range(length):
        product = (product @ transition) * (emission[step] / scale[step])[:, :, None, :]
    for block in range(n_blocks - 2, -1, -1):
        found[block] = (product[block + 1] @ found[block + 1][..., None])[..., 0]
    return found


def _in_logs(log_emission: np.ndarray, inside: np.ndarray, transition: np.ndarray, initial: np.ndarray) -> Posterior:
    """Return the posterior by logarithms, step by step: slower, and right whatever the probabilities are."""
    _, n_steps, n_states = log_emission.shape
    with np.errstate(divide="ignore"):
        moves, start = np.log(transition), np.log(initial)
    forward, backward = np.empty_like(log_emission), np.zeros_like(log_emission)
    forward[:, 0] = start + log_emission[:, 0]
    for step in range(1, n_steps):
        reached = np.logaddexp.reduce(forward[:, step - 1, :, None] + moves, axis=1)
        forward[:, step] = reached + log_emission[:, step]
    for step in range(n_steps - 2, -1, -1):
        ahead = (log_emission[:, step + 1] + backward[:, step + 1])[:, None, :]
        backward[:, step] = np.logaddexp.reduce(moves + ahead, axis=2)
    total = np.logaddexp.reduce(forward, axis=2)
    states = forward + backward
    whole = np.logaddexp.reduce(states, axis=2, keepdims=True)
    pairs = np.zeros((n_states, n_states))
    for step in range(1, n_steps):
        ahead = (log_emission[:, step] + backward[:, step])[:, None, :]
        joint = np.exp(forward[:, step - 1, :, None] + moves + ahead - whole[:, step, :, None])
        pairs += joint[inside[:, step]].sum(axis=0)
    log_likelihood = np.diff(total, axis=1, prepend=0.0)
    return Posterior(
        np.where(inside[..., None], np.exp(states - whole), 0.0), pairs, np.where(inside, log_likelihood, 0.0)
    )


def viterbi(
    log_emission: np.ndarray, transition: np.ndarray, initial: np.ndarray, lengths: np.ndarray | None = None
) -> np.ndarray:
    """Return the most likely path of states, ``(n, T)``, -1 beyond the end; see :func:`forward_backward`."""
    log_emission = np.asarray(log_emission, dtype=float)
    n, n_steps, n_states = log_emission.shape
    inside = _inside(log_emission, lengths)
    with np.errstate(divide="ignore"):
        moves, best = np.log(transition), np.log(initial) + log_emission[:, 0]
    reached = np.empty((n_steps, n, n_states))
    reached[0] = best
    # Columns are states that are gone to: the greatest is then sought along the last axis, which is contiguous.
    from_each, everywhere = np.ascontiguousarray(moves.T), bool(inside.all())
    for step in range(1, n_steps):
        further = (best[:, None, :] + from_each).max(axis=2) + log_emission[:, step]
        # Beyond the end the path stays where it ended.
        best = further if everywhere else np.where(inside[:, step, None], further, best)
        reached[step] = best
    path = np.empty((n, n_steps), dtype=np.int64)
    path[:, -1] = state = best.argmax(axis=1)
    for step in range(n_steps - 1, 0, -1):
        before = (reached[step - 1] + from_each[state]).argmax(axis=1)
        state = before if everywhere else np.where(inside[:, step], before, state)
        path[:, step - 1] = state
    return np.where(inside, path, -1)


def transitions_of(pairs: np.ndarray, prior: np.ndarray) -> np.ndarray:
    """Return the transition matrix of expected counts of steps, with ``prior`` counts added to each."""
    counts = pairs + prior
    return counts / counts.sum(axis=1, keepdims=True)


def sticky(n_states: int, stay: float) -> np.ndarray:
    """Return a chain that stays where it is with probability ``stay``, and else goes anywhere alike."""
    if n_states == 1:
        return np.ones((1, 1))
    return np.full((n_states, n_states), (1 - stay) / (n_states - 1)) + np.eye(n_states) * (
        stay - (1 - stay) / (n_states - 1)
    )


def matched(agreement: np.ndarray) -> np.ndarray:
    """Return for each row of ``agreement`` (true by found states) the found state that it is, so that the sum is most.

    Numbers of states that a fit finds are arbitrary. Rows for which no found state is left get -1.
    """
    from scipy.optimize import linear_sum_assignment

    rows, columns = linear_sum_assignment(-np.asarray(agreement, dtype=float))
    found = np.full(len(agreement), -1)
    found[rows] = columns
    return found
