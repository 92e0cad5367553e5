"""What models of tables share: nested tuning, forward selection, and what explains their predictions.

A model is a function of a row of numbers. Beside the scores every held-out row gets its Shapley values, and every
fit three importances of each variable (of the model itself, by permutation, by Shapley values), so that metrics can
compare them with each other and with what was planted.
"""

from __future__ import annotations

import functools
import itertools
from abc import abstractmethod
from collections.abc import Mapping
from fnmatch import fnmatchcase
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, NonNegativeInt, PositiveInt

from ..bundle import Bundle
from ..components import Method
from ..errors import InputError, did_you_mean
from .linear_search import quick_score, task_folds
from .predictions import two_columns
from .shapley import aspects, exact_shapley, sampled_shapley
from .vectors import as_matrix
from .words import count, digits, listed, plain, searched, text


class Explain(BaseModel):
    """How the predictions of a model of tables are explained; a parameter of methods.

    Parameters
    ----------
    players : {"features", "aspects"}
        Whether variables are explained one by one, or clusters of correlated ones as a unit.
    height : float
        Where the tree of variables is cut into aspects: any two variables of one have a rank correlation of at least
        1 - height.
    n_background : int
        Training rows, drawn at random, over which the worth of a coalition is averaged.
    most_exact : int
        Players up to which models that are neither trees nor linear are explained by enumeration of all coalitions;
        above, orders are sampled.
    rounds : int
        Pairs of sampled orders for each background row.
    n_rows : int
        Training rows whose Shapley values make the importance of variables.
    repeats : int
        Permutations of each variable for its importance by permutation.
    refits : int
        Fits with other seeds whose importances are compared, for how stable they are.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    players: Literal["features", "aspects"] = "features"
    height: Annotated[float, Field(gt=0, lt=1)] = 0.5
    n_background: PositiveInt = 100
    most_exact: PositiveInt = 10
    rounds: PositiveInt = 1
    n_rows: PositiveInt = 200
    repeats: PositiveInt = 10
    refits: NonNegativeInt = 5

    def described(self) -> str:
        """Return what it does, in words."""
        if self.players == "features":
            players = "one by one"
        else:
            players = (
                "as aspects, clusters (complete linkage) of variables of which any two have a rank correlation of"
                f" {digits(round(1 - self.height, 6))} or more in the training rows [@pekala2021]"
            )
        refits = (
            f" {count(self.refits, 'more fit').capitalize()} with other seeds showed how stable they are."
            if self.refits
            else ""
        )
        return (
            f"Held-out predictions were explained by Shapley values [@strumbelj2014] of the variables, {players},"
            f" against {count(self.n_background, 'training row')}. The importance of a variable was told by the model"
            f" itself, by {count(self.repeats, 'permutation')} of it in held-out inner folds [@breiman2001], and by the"
            f" mean magnitude of its Shapley values in {digits(self.n_rows)} training rows.{refits}"
        )

    def sampled(self) -> str:
        """Return how values are computed where no closed form is known."""
        return (
            f"The values were exact for up to {count(self.most_exact, 'player')}; for more, orders of the players were"
            f" sampled in antithetic pairs, {self.rounds} for each background row."
        )


class TabularMethod(Method):
    """A model of tables with two classes; a subclass says how one configuration is fitted and asked.

    It has the parameters ``groups`` (names of groups of variables to take, or ``None`` for all), ``selection`` (of
    variables, on training rows: ``none`` or ``forward``), ``most_selected``, ``n_inner`` and ``explain``, and lists in
    ``grid`` the parameters whose values the nested search combines.
    """

    tasks = frozenset({"classify"})
    state = ("columns_", "ready_", "model_", "classes_", "background_", "players_", "seed_", "search_", "found_")
    #: Parameters with lists of values, and the words for each.
    grid: ClassVar[Mapping[str, str]] = {}
    #: Whether variables are standardised on the training rows.
    standardised: ClassVar[bool] = False

    @abstractmethod
    def fitted(self, x: np.ndarray, positive: np.ndarray, configuration: Mapping[str, Any], seed: int) -> Any:
        """Return a model fitted to ``x`` (n_rows, n_features) without missing values and ``positive`` (n_rows,)."""

    @abstractmethod
    def margin(self, model: Any, x: np.ndarray) -> np.ndarray:
        """Return how far rows are on the side of the second class, (n_rows,): greater is likelier, 0 is undecided."""

    def native(self, model: Any, n_features: int) -> np.ndarray | None:
        """Return the importances that a model has of itself, (n_features,); ``None`` if it has none."""
        return None

    def shapley(
        self, model: Any, x: np.ndarray, background: np.ndarray, players: np.ndarray, seed: int
    ) -> tuple[np.ndarray, float]:
        """Return Shapley values of the margins of ``x``, (n_rows, n_players), and the mean margin of the background.

        Exact for few players, else sampled; models with a closed form have their own.
        """
        ask = functools.partial(self.margin, model)
        if int(players.max()) < self.explain.most_exact:
            return exact_shapley(ask, x, background, players)
        return sampled_shapley(ask, x, background, players, seed=seed, rounds=self.explain.rounds)[:2]

    # Fitting.

    def fit(self, train: Bundle, seed: int) -> None:
        """Search the configuration, select variables and fit on training rows; then say what counts."""
        self.classes_ = np.unique(train.rows["target"])
        if len(self.classes_) != 2:
            fault = f"are of {count(len(self.classes_), 'class', 'classes')}"
            raise InputError("training rows", fault, "choose two classes in the study card")
        positive = train.rows["target"] == self.classes_[1]
        x = as_matrix(train)
        taken = self._taken(train, x.shape[1])
        configurations = self.configurations()
        folds = task_folds(train, self.n_inner, seed)
        # The first of equals: lists begin with the simplest.
        scores = [self._inner(x[:, taken], positive, folds, one, seed) for one in configurations]
        best = int(np.argmax(scores)) if len(folds) else len(configurations) // 2
        configuration = configurations[best]
        score = scores[best]
        if self.selection == "forward" and len(folds):
            taken, score = self._forward(x, taken, positive, folds, configuration, seed)
        self.columns_, self.seed_ = np.array(taken), int(seed)
        self.ready_ = self._learned(x[:, taken])
        z = _made_ready(x[:, taken], self.ready_)
        self.model_ = self.fitted(z, positive, configuration, seed)
        generator = np.random.default_rng([seed, 1])
        self.background_ = z[_drawn(generator, len(z), self.explain.n_background)]
        by_feature = np.arange(len(taken))
        self.players_ = aspects(z, self.explain.height) if self.explain.players == "aspects" else by_feature
        self.search_ = {**configuration, **({"inner_score": float(score)} if len(folds) else {})}
        self._importances(x, z, positive, folds, configuration, seed)
        order = np.argsort(-self.found_["shapley"], kind="stable")
        names = self.names(train, x.shape[1])
        self.search_["ranking"] = [names[index] for index in order]
        if self.selection == "forward":
            # In the order in which they were taken.
            self.search_["ranking"] = [names[index] for index in [*taken, *(i for i in order if i not in set(taken))]]
            self.search_["n_selected"] = len(taken)

    def configurations(self) -> list[dict[str, Any]]:
        """Return all combinations of the values of the parameters in ``grid``."""
        values = [getattr(self, name) for name in self.grid]
        return [dict(zip(self.grid, one, strict=True)) for one in itertools.product(*values)]

    def n_configurations(self) -> int:
        """Return the number of configurations tried."""
        return len(self.configurations())

    @staticmethod
    def names(bundle: Bundle, n_features: int) -> list[str]:
        """Return names of the variables; their numbers where no axis names them."""
        names = bundle.axes.get("variable", ())
        return [str(name) for name in names] if len(names) == n_features else [str(i) for i in range(n_features)]

    def _taken(self, train: Bundle, n_features: int) -> list[int]:
        """Return the columns of the groups that are wanted."""
        if self.groups is None:
            return list(range(n_features))
        group = [str(name) for name in train.axes.get("group", ())]
        for name in self.groups:
            if name not in group:
                raise InputError("groups", f"the features have no group {name!r}", did_you_mean(name, set(group)))
        return [index for index, name in enumerate(group) if name in self.groups]

    def _learned(self, x: np.ndarray) -> list[np.ndarray]:
        """Return what stands for missing values, and the centre and scale of each variable, of training rows."""
        finite = np.isfinite(x)
        columns = zip(x.T, finite.T, strict=True)
        fill = np.array([np.median(column[here]) if here.any() else 0.0 for column, here in columns])
        if not self.standardised:
            return [fill, np.zeros(len(fill)), np.ones(len(fill))]
        x = np.where(finite, x, fill)
        deviation = x.std(axis=0)
        return [fill, x.mean(axis=0), np.where(deviation > 0, deviation, 1.0)]

    def _inner(
        self, x: np.ndarray, positive: np.ndarray, folds: list, configuration: Mapping[str, Any], seed: int
    ) -> float:
        """Return the mean area under the curve over inner folds."""
        values = []
        for inner, held in folds:
            ready = self._learned(x[inner])
            model = self.fitted(_made_ready(x[inner], ready), positive[inner], configuration, seed)
            values.append(_area(positive[held], self.margin(model, _made_ready(x[held], ready))))
        return float(np.mean(values)) if values else 0.5

    def _forward(
        self, x: np.ndarray, taken: list[int], positive: np.ndarray, folds: list, configuration: Mapping[str, Any],
        seed: int,
    ) -> tuple[list[int], float]:  # fmt: skip
        """Return variables added one by one, each the one that helps most in inner folds, until none helps."""
        chosen: list[int] = []
        best = 0.5
        while len(chosen) < min(self.most_selected, len(taken)):
            tried = {
                column: self._inner(x[:, [*chosen, column]], positive, folds, configuration, seed)
                for column in taken
                if column not in chosen
            }
            column = max(tried, key=tried.__getitem__)
            if chosen and tried[column] <= best:
                break
            chosen.append(column)
            best = tried[column]
        return chosen, best

    def _importances(
        self, x: np.ndarray, z: np.ndarray, positive: np.ndarray, folds: list, configuration: Mapping[str, Any],
        seed: int,
    ) -> None:  # fmt: skip
        """Note what counts, for all variables of the features: zero for those that the model does not have."""
        generator = np.random.default_rng([seed, 2])
        n_features, explained = x.shape[1], z[_drawn(generator, len(z), self.explain.n_rows)]
        alone = np.arange(z.shape[1])

        def told(values: np.ndarray) -> np.ndarray:
            whole = np.zeros(n_features)
            whole[self.columns_] = values
            return whole

        def by_shapley(model: Any, background: np.ndarray, of: int) -> np.ndarray:
            return told(np.abs(self.shapley(model, explained, background, alone, of)[0]).mean(axis=0))

        self.found_ = {"shapley": by_shapley(self.model_, self.background_, seed)}
        own = self.native(self.model_, z.shape[1])
        if own is not None:
            self.found_["native"] = told(own)
        if len(folds):
            self.found_["permutation"] = told(self._permuted(x[:, self.columns_], positive, folds, configuration, seed))
        refitted = []
        for number in range(self.explain.refits):
            of = int(np.random.SeedSequence([seed, 3, number]).generate_state(1)[0]) % 2**31
            model = self.fitted(z, positive, configuration, of)
            background = z[_drawn(np.random.default_rng([of, 1]), len(z), self.explain.n_background)]
            refitted.append(by_shapley(model, background, of))
        if refitted:
            self.found_["refitted"] = np.array(refitted)

    def _permuted(
        self, x: np.ndarray, positive: np.ndarray, folds: list, configuration: Mapping[str, Any], seed: int
    ) -> np.ndarray:
        """Return how much of the area under the curve is lost in inner folds when a variable is permuted."""
        generator, lost = np.random.default_rng([seed, 4]), np.zeros(x.shape[1])
        for inner, held in folds:
            ready = self._learned(x[inner])
            model = self.fitted(_made_ready(x[inner], ready), positive[inner], configuration, seed)
            z = _made_ready(x[held], ready)
            whole = _area(positive[held], self.margin(model, z))
            n, p, repeats = *z.shape, self.explain.repeats
            # All permutations of all variables in one question.
            asked = np.tile(z, (p * repeats, 1, 1))
            for place in range(p * repeats):
                asked[place, :, place // repeats] = generator.permutation(z[:, place // repeats])
            margins = self.margin(model, asked.reshape(-1, p)).reshape(p, repeats, n)
            lost += [np.mean([whole - _area(positive[held], one) for one in of]) for of in margins]
        return lost / len(folds)

    # Predicting.

    def predict(self, test: Bundle) -> Bundle:
        """Return margins as scores of the classes, with what explains them.

        ``attribution`` (n, n_variables) has the Shapley value of a player at its first variable and zero at all others,
        so that rows add up to ``margin`` less ``base``; ``player`` (n, n_variables) numbers the player that a
        variable belongs to, -1 for those that the model does not have; ``value`` (n, n_variables) is the variable
        itself, with what stands for missing ones.
        """
        x = as_matrix(test)
        z = _made_ready(x[:, self.columns_], self.ready_)
        margin = self.margin(self.model_, z)
        values, base = self.shapley(self.model_, z, self.background_, self.players_, self.seed_)
        first = self.columns_[np.unique(self.players_, return_index=True)[1]]
        attribution = np.zeros(x.shape)
        attribution[:, first] = values
        player = np.full(x.shape[1], -1, dtype=np.int32)
        player[self.columns_] = self.players_
        value = np.zeros(x.shape)
        value[:, self.columns_] = z * self.ready_[2] + self.ready_[1]
        arrays = {
            "y_score": two_columns(margin),
            "attribution": attribution,
            "player": np.tile(player, (len(x), 1)),
            "value": value,
            "margin": margin,
            "base": np.full(len(x), base),
        }
        axes = {"class": [str(name) for name in self.classes_], "variable": self.names(test, x.shape[1])}
        return Bundle(arrays, test.rows, axes)

    def chosen(self) -> dict[str, Any]:
        """Return the configuration, the inner score, and the variables in the order of their importance."""
        return dict(self.search_)

    def found(self) -> dict[str, np.ndarray]:
        """Return importances of all variables, each (n_variables,): ``shapley``, ``permutation`` and ``native``.

        And ``refitted`` (refits, n_variables), those by Shapley values of fits with other seeds.
        """
        return dict(self.found_)

    def words(self, model: str, *, sampled: bool = False) -> str:
        """Return what the method does, in words; ``model`` says what is fitted, without a full stop."""
        taken = f" {listed(plain(name) for name in self.groups)}" if self.groups else " all variables"
        ready = "missing values became the median of the training rows" + (
            ", and variables were standardised on these" if self.standardised else ""
        )
        forward = {
            "none": "",
            "forward": "Variables were selected forwards on the training rows of each fold, each the one that raised"
            f" the area under the curve in inner folds most, up to {digits(self.most_selected)} and while it rose"
            " [@whitney1971].",
        }
        return text(
            f"{model} was fitted to{taken}; {ready}.",
            searched(self.n_inner, *((words, len(getattr(self, name)), _shown(getattr(self, name)))
                                     for name, words in self.grid.items())),
            forward[self.selection],
            self.explain.described(),
            self.explain.sampled() if sampled else "",
        )  # fmt: skip


def _made_ready(x: np.ndarray, ready: list[np.ndarray]) -> np.ndarray:
    """Return rows without missing values, centred and scaled by what training rows told."""
    fill, centre, scale = ready
    return (np.where(np.isfinite(x), x, fill) - centre) / scale


def _shown(values: list) -> str:
    return listed(digits(value) if isinstance(value, int | float) else str(value) for value in values)


def _drawn(generator: np.random.Generator, n: int, most: int) -> np.ndarray:
    """Return at most so many rows, at random, in their order."""
    return np.sort(generator.permutation(n)[:most])


def _area(positive: np.ndarray, margin: np.ndarray) -> float:
    return quick_score(positive, two_columns(margin), np.array([False, True]))


def named(patterns: Mapping[str, Any], names: list[str]) -> dict[str, Any]:
    """Return what the first pattern (``*`` for any text) that fits a name says, for the names that any fits."""
    found = {}
    for name in names:
        for pattern, said in patterns.items():
            if fnmatchcase(name, pattern):
                found[name] = said
                break
    return found
