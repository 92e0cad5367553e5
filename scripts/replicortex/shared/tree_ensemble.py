"""Ensembles of decision trees as plain arrays: read from scikit-learn or XGBoost, predict, and explained exactly.

Shapley values are those of the game in which a player is in the coalition if its features are the person's own, and out
of it if they are those of a background row; values are averaged over background rows ("interventional", Lundberg et
al. 2020, doi:10.1038/s42256-019-0138-9). A leaf is reached by the coalition S of a person x and a background row z
if every player of its path to whom only x conforms is in S (u of them), and every one to whom only z conforms is not (v
of them); there is none to whom neither does. The leaf's value then gives (u - 1)! v! / (u + v)! of itself to each
of the former, and takes u! (v - 1)! / (u + v)! of it from each of the latter. What x and z do at a leaf is a word of
bits, one a player of its path, so that each of the few words that there are is computed with once, and not every pair.
"""

from __future__ import annotations

import functools
import json
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

#: Players on a path up to which its words of bits are tabulated (4 ** players entries a player).
_TABULATED = 8
#: Entries of the largest array that is made on the way.
_MOST = 1 << 24


class TreeEnsemble:
    """A sum of decision trees; a row goes left where its feature is not greater than the threshold.

    Parameters
    ----------
    feature : ndarray of int of shape (n_trees, n_nodes)
        Feature of each node; -1 for leaves.
    threshold : ndarray of shape (n_trees, n_nodes)
    children : ndarray of int of shape (n_trees, n_nodes, 2)
        Left and right child of each node; of a leaf the leaf itself.
    value : ndarray of shape (n_trees, n_nodes)
        What a leaf adds to the prediction.
    base : float
        What is added to the sum.
    """

    def __init__(self, feature: Any, threshold: Any, children: Any, value: Any, base: float = 0.0) -> None:
        self.feature = feature
        self.threshold = threshold
        self.children = children
        self.value = value
        self.base = base

    def plain(self) -> list[Any]:
        """Return its parameters in their order, plain arrays and a number, as models are saved."""
        return [self.feature, self.threshold, self.children, self.value, float(self.base)]

    def predict(self, x: np.ndarray) -> np.ndarray:
        """Return the sum over trees for rows ``x`` (n_rows, n_features); features are compared in single precision."""
        # Both libraries hold features in single precision, and equal numbers decide which side a row is on.
        x = np.asarray(x, dtype=np.float32)
        trees = np.arange(len(self.feature))
        node = np.zeros((len(x), len(trees)), dtype=np.intp)
        rows = np.arange(len(x))[:, None]
        while True:
            feature = self.feature[trees, node]
            if (feature < 0).all():
                return self.value[trees, node].sum(axis=1) + self.base
            right = x[rows, np.maximum(feature, 0)] > self.threshold[trees, node]
            node = self.children[trees, node, right.astype(np.intp)]

    def split_counts(self, n_features: int) -> np.ndarray:
        """Return how many nodes split by each feature."""
        return np.bincount(self.feature[self.feature >= 0], minlength=n_features)


def _stacked(trees: Sequence[tuple[np.ndarray, ...]], base: float) -> TreeEnsemble:
    """Return trees of unequal sizes as one ensemble; each is (feature, threshold, left, right, value)."""
    shape = (len(trees), max(len(tree[0]) for tree in trees))
    feature, threshold, value = np.full(shape, -1, np.int32), np.zeros(shape), np.zeros(shape)
    children = np.tile(np.arange(shape[1], dtype=np.int32)[:, None], (shape[0], 1, 2))
    for number, (features, thresholds, left, right, values) in enumerate(trees):
        inner = np.flatnonzero(left >= 0)
        feature[number, inner], threshold[number, inner] = features[inner], thresholds[inner]
        children[number, inner, 0], children[number, inner, 1] = left[inner], right[inner]
        leaves = np.flatnonzero(left < 0)
        value[number, leaves] = values[leaves]
    return TreeEnsemble(feature, threshold, children, value, base)


def of_sklearn(trees: Sequence[Any], positive: int = 1, base: float = 0.0) -> TreeEnsemble:
    """Return fitted ``DecisionTreeClassifier`` as an ensemble whose prediction is the mean probability of a class.

    Parameters
    ----------
    trees : sequence of DecisionTreeClassifier
    positive : int
        Which of the classes, by its place.
    base : float
        What is added to the probability.
    """
    found = []
    for fitted in trees:
        tree = fitted.tree_
        share = tree.value[:, 0, :] / tree.value[:, 0, :].sum(axis=1, keepdims=True)
        values = share[:, positive] / len(trees)
        found.append((tree.feature, tree.threshold, tree.children_left, tree.children_right, values))
    return _stacked(found, base)


def of_xgboost(booster: Any) -> TreeEnsemble:
    """Return a booster of trees for two classes as an ensemble whose prediction is its margin (log odds).

    Its trees must have been grown on numbers without missing ones.
    """
    told = json.loads(booster.save_raw("json"))["learner"]
    intercept = float(str(told["learner_model_param"]["base_score"]).strip("[]"))
    found = []
    for tree in told["gradient_booster"]["model"]["trees"]:
        left, right = np.array(tree["left_children"]), np.array(tree["right_children"])
        condition = np.array(tree["split_conditions"], dtype=np.float32)
        # There a row goes left if it is smaller, here if it is not greater: the number next below.
        below = np.nextafter(condition, np.float32(-np.inf)).astype(np.float64)
        found.append((np.array(tree["split_indices"]), below, left, right, condition.astype(np.float64)))
    return _stacked(found, math.log(intercept / (1 - intercept)))


class _Leaves:
    """The leaves of an ensemble, each with the conditions of its path: an interval for every feature of it."""

    def __init__(self, ensemble: TreeEnsemble, players: np.ndarray) -> None:
        conditions: list[dict[int, tuple[float, float]]] = []
        values = []
        for tree in range(len(ensemble.feature)):
            waiting: list[tuple[int, dict[int, tuple[float, float]]]] = [(0, {})]
            while waiting:
                node, path = waiting.pop()
                feature = int(ensemble.feature[tree, node])
                if feature < 0:
                    if path and ensemble.value[tree, node]:
                        conditions.append(path)
                        values.append(ensemble.value[tree, node])
                    continue
                low, high = path.get(feature, (-np.inf, np.inf))
                threshold = ensemble.threshold[tree, node]
                left, right = ensemble.children[tree, node]
                waiting.append((int(left), {**path, feature: (low, min(high, threshold))}))
                waiting.append((int(right), {**path, feature: (max(low, threshold), high)}))
        n_leaves, most = len(conditions), max((len(path) for path in conditions), default=0)
        self.value = np.array(values)
        self.feature = np.zeros((n_leaves, most), dtype=np.intp)
        self.low, self.high = np.full((n_leaves, most), -np.inf), np.full((n_leaves, most), np.inf)
        #: Which of the path's players each condition belongs to; which players these are, and how many.
        self.slot = np.zeros((n_leaves, most), dtype=np.int64)
        self.player = np.zeros((n_leaves, most), dtype=np.intp)
        self.n_players = np.zeros(n_leaves, dtype=np.intp)
        for leaf, path in enumerate(conditions):
            own = list(dict.fromkeys(int(players[feature]) for feature in path))
            self.player[leaf, : len(own)], self.n_players[leaf] = own, len(own)
            for place, (feature, (low, high)) in enumerate(path.items()):
                self.feature[leaf, place], self.low[leaf, place], self.high[leaf, place] = feature, low, high
                self.slot[leaf, place] = own.index(int(players[feature]))

    def words(self, x: np.ndarray, leaves: np.ndarray) -> np.ndarray:
        """Return, (n_rows, n_leaves), a word with a bit for each player of a path to whom a row conforms."""
        broken = np.zeros((len(x), len(leaves)), dtype=np.int64)
        for place in range(self.feature.shape[1]):
            values = x[:, self.feature[leaves, place]]
            outside = (values <= self.low[leaves, place]) | (values > self.high[leaves, place])
            broken |= outside.astype(np.int64) << self.slot[leaves, place]
        return ((1 << self.n_players[leaves]) - 1) & ~broken


@functools.cache
def _weights(n_players: int) -> np.ndarray:
    """Return what a leaf of value 1 gives, (words of x, words of z, players)."""
    words = np.arange(1 << n_players)
    bits = (words[:, None] >> np.arange(n_players)) & 1
    return _given(bits[:, None, :].astype(bool), bits[None, :, :].astype(bool))


def _given(own: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Return what a leaf of value 1 gives to each player, from who conforms to it: of x and of z, (..., players)."""
    n_players = own.shape[-1]
    factorial = np.array([math.factorial(k) for k in range(n_players + 1)], dtype=np.float64)
    only_own, only_other = own & ~other, other & ~own
    u, v = only_own.sum(axis=-1), only_other.sum(axis=-1)
    reached = (own | other).all(axis=-1)
    total = factorial[u + v]
    gives = np.where(reached & (u > 0), factorial[np.maximum(u - 1, 0)] * factorial[v] / total, 0.0)
    takes = np.where(reached & (v > 0), factorial[u] * factorial[np.maximum(v - 1, 0)] / total, 0.0)
    return only_own * gives[..., None] - only_other * takes[..., None]


def tree_shapley(
    ensemble: TreeEnsemble, x: np.ndarray, background: np.ndarray, players: np.ndarray | None = None
) -> tuple[np.ndarray, float]:
    """Return exact Shapley values of the predictions for ``x`` against background rows.

    Parameters
    ----------
    ensemble : TreeEnsemble
    x : ndarray of shape (n_rows, n_features)
    background : ndarray of shape (n_background, n_features)
    players : ndarray of int of shape (n_features,), optional
        Player that each feature belongs to, 0 .. n_players - 1; each is its own, if not given.

    Returns
    -------
    values : ndarray of shape (n_rows, n_players)
        They add up to the prediction less ``base``.
    base : float
        Mean prediction for the background.

    Notes
    -----
    With L leaves of at most d players on a path: O(L (n_rows + n_background) d + L d 4^d) time.
    """
    x, background = (np.asarray(rows, dtype=np.float32).astype(np.float64) for rows in (x, background))
    players = np.arange(x.shape[1]) if players is None else np.asarray(players)
    leaves = _Leaves(ensemble, players)
    values = np.zeros((len(x), int(players.max()) + 1))
    for n_players in np.unique(leaves.n_players):
        group = np.flatnonzero(leaves.n_players == n_players)
        add = _by_words if n_players <= _TABULATED else _by_pairs
        for part in _parts(group, len(x) * n_players):
            add(values, leaves, part, x, background, int(n_players))
    return values, float(ensemble.predict(background).mean())


def _parts(leaves: np.ndarray, entries: int) -> list[np.ndarray]:
    return np.array_split(leaves, max(1, math.ceil(len(leaves) * entries / _MOST)))


def _by_words(
    values: np.ndarray, leaves: _Leaves, group: np.ndarray, x: np.ndarray, background: np.ndarray, n_players: int
) -> None:
    """Add what leaves with few players on their paths give."""
    n_words = 1 << n_players
    of_x, of_z = leaves.words(x, group), leaves.words(background, group)
    place = np.arange(len(group))
    share = np.bincount((place * n_words + of_z).ravel(), minlength=len(group) * n_words)
    share = share.reshape(len(group), n_words) / len(background)
    table = _weights(n_players).transpose(1, 0, 2).reshape(n_words, -1)
    given = ((share * leaves.value[group, None]) @ table).reshape(len(group), n_words, n_players)
    for slot in range(n_players):
        to = leaves.player[group, slot]
        told = given[place, of_x, slot]
        # A sum over the leaves of each player; sorted, so that every player's stand together.
        order = np.argsort(to, kind="stable")
        first = np.flatnonzero(np.diff(to[order], prepend=-1))
        values[:, to[order][first]] += np.add.reduceat(told[:, order], first, axis=1)


def _by_pairs(
    values: np.ndarray, leaves: _Leaves, group: np.ndarray, x: np.ndarray, background: np.ndarray, n_players: int
) -> None:
    """Add what leaves with long paths give, pair by pair."""
    bits = np.arange(n_players)
    at_once = max(1, _MOST // (8 * max(1, len(background) * n_players)))
    for leaf in group:
        # One leaf at a time: pairs of rows are many.
        alone = np.array([leaf])
        own = (leaves.words(x, alone) >> bits & 1).astype(bool)
        other = (leaves.words(background, alone) >> bits & 1).astype(bool)
        for start in range(0, len(x), at_once):
            rows = slice(start, start + at_once)
            given = _given(own[rows, None, :], other[None, :, :]).mean(axis=1)
            values[rows, leaves.player[leaf, :n_players]] += leaves.value[leaf] * given
