"""Do signals travel along paths of the connectome: pairs of neurons scored by the walks from one to the other.

Simeon Q. et al. 2024, "Homogenized C. elegans Neural Activity and Connectivity Data", doi:10.48550/arXiv.2411.12091,
which brings anatomy and signal propagation together for this question; walks that count less the longer they are go
back to Katz L. 1953, "A new status index derived from sociometric analysis", doi:10.1007/BF02289026.

Reproduced: connectomes as graphs with chemical synapses and gap junctions in one order of neurons, compared with the
atlas of signal propagation of Randi F. et al. 2023, doi:10.1038/s41586-023-06683-4.

Differs: the paper has no test; the number of steps and the decay are chosen by nested search over source neurons.
"""

from __future__ import annotations

import itertools
from typing import Annotated, Any

import numpy as np
from pydantic import Field, PositiveInt

from ..bundle import Bundle
from ..components import Method, component
from ..errors import InputError
from ..shared.linear_search import quick_score
from ..shared.node_folds import folds_of_nodes
from ..shared.predictions import classified
from ..shared.search import select
from ..shared.words import among, plain, searched, text

Decay = Annotated[float, Field(gt=0, le=1)]


@component
class GraphPropagation(Method):
    """Score pairs by ``sum over k <= hops of decay^(k-1) walks_k``: more walks, likelier to be functional.

    The columns of ``x`` that are the walks of 1, 2, ... steps are named ``prefix`` and a number. The search asks how
    well each configuration orders the pairs of source neurons that were held out. That more walks mean ``positive`` is
    the hypothesis and not learned: a sign that fits the hubs of a permuted atlas would otherwise be found. The decision
    is 0 where as many training pairs are above it as are positive. Cost: O(n_rows) a configuration.

    Parameters
    ----------
    prefix : str
        What the variables' names begin with: ``hop``, or ``reversed`` for the connectome turned round.
    hops : list of int
        Numbers of steps that the search tries.
    decays : list of float
        Weights of a further step that it tries.
    n_inner : int
        Inner folds of source neurons.
    positive : str
        Class that more walks speak for; the second of the two if there is none of that name.
    """

    tasks = frozenset({"classify"})
    needs = ("variable",)
    tiny = {"prefix": "V", "hops": [1, 5], "decays": [1.0], "n_inner": 2}
    state = ("weights_", "decision_", "classes_", "search_")

    prefix: str = "hop"
    hops: list[PositiveInt] = [1, 2, 3, 4, 5, 6]
    decays: list[Decay] = [0.5, 1.0]
    n_inner: PositiveInt = 3
    positive: str = "functional"

    def fit(self, train: Bundle, seed: int) -> None:
        """Choose steps and decay on the training pairs, then place the decision by all of them."""
        target = train.rows["target"]
        classes = np.unique(target)
        if len(classes) != 2:
            raise InputError("graph_propagation", f"tells two classes apart, not {len(classes)}", "name two classes")
        walks = self._walks(train)
        folds = folds_of_nodes(train.rows, target, self.n_inner, seed)
        first = classes[0] == self.positive

        def scores(configuration: dict[str, Any]) -> list[float]:
            values = walks @ self._weights(walks.shape[1], **configuration)
            return [quick_score(target[held], _columns(values[held], first), classes) for _, held in folds]

        known = [hops for hops in sorted(set(self.hops)) if hops <= walks.shape[1]]
        if not known:
            raise InputError("graph_propagation", f"features have {walks.shape[1]} step(s) only", "raise hops there")
        tried = [{"hops": hops, "decay": decay} for hops, decay in itertools.product(known, sorted(set(self.decays)))]
        chosen, score = select(tried, scores) if len(tried) > 1 else (tried[0], float("nan"))
        self.search_ = {**chosen, "inner_score": score}
        self.weights_ = self._weights(walks.shape[1], **chosen)
        values = walks @ self.weights_
        rare = float(np.mean(target == classes[0 if first else 1]))
        spread = float(values.std())
        self.decision_ = {"at": float(np.quantile(values, 1 - rare)), "spread": spread or 1.0, "first": bool(first)}
        self.classes_ = [str(name) for name in classes]

    def predict(self, test: Bundle) -> Bundle:
        """Return the scores of the pairs."""
        values = (self._walks(test) @ self.weights_ - self.decision_["at"]) / self.decision_["spread"]
        return classified(test, _columns(values, self.decision_["first"]), np.array(self.classes_))

    def _walks(self, rows: Bundle) -> np.ndarray:
        """Return the walks of 1, 2, ... steps, ``(n_rows, n_steps)``."""
        names = {str(name): place for place, name in enumerate(rows.axes["variable"])}
        numbered = sorted(
            int(name.removeprefix(self.prefix))
            for name in names
            if name.startswith(self.prefix) and name.removeprefix(self.prefix).isdigit()
        )
        if not numbered:
            fault = f"have no variables {self.prefix}1, {self.prefix}2, ..."
            raise InputError("features", fault, "choose the feature neuron_pairs, or another prefix")
        columns = [names[f"{self.prefix}{number}"] for number in numbered]
        return np.nan_to_num(np.asarray(rows["x"][:, columns], dtype=np.float64))

    @staticmethod
    def _weights(n_steps: int, hops: int, decay: float) -> np.ndarray:
        steps = np.arange(n_steps)
        return np.where(steps < hops, decay**steps, 0.0)

    def chosen(self) -> dict[str, Any]:
        """Return steps, decay and, where there was a search, the inner score."""
        return {name: value for name, value in self.search_.items() if value == value}

    def found(self) -> dict[str, np.ndarray]:
        """Return the weight of each number of steps."""
        return {"step_weights": self.weights_}

    def n_configurations(self) -> int:
        """Return the number of pairs of steps and decays tried."""
        return len(set(self.hops)) * len(set(self.decays))

    def described(self, task: str = "classify") -> str:
        """Return what it does, in words."""
        way = {
            "hop": "along the connectome",
            "reversed": "along the connectome with every connection turned round",
        }.get(self.prefix, f"of the variables that begin with {self.prefix}")
        return text(
            f"Pairs of neurons were scored by the walks that lead from the one to the other {way}, each further step"
            " weighted down [@katz1953]; the more of them, the likelier a pair was taken to be"
            f" {plain(self.positive)}.",
            searched(self.n_inner, among("the number of steps", self.hops), among("the decay", self.decays)),
        )


def _columns(values: np.ndarray, first: bool) -> np.ndarray:
    """Return a column a class; more speaks for the first, or for the second."""
    return np.column_stack([values, -values] if first else [-values, values])
