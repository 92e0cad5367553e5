"""Which values the wildcards of the rules may take, as regular expressions made from the cards.

Each derived rule (one an environment) takes its share of the names; together they take all.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from .cards import Cards

#: Minutes; fits that may take longer have a rule of their own, so that a profile does not make them share a job.
_LONG = 60


def any_of(names: Iterable[str]) -> str:
    """Return a regular expression that matches exactly ``names``, and nothing if there is none."""
    return "|".join(sorted(map(re.escape, names))) or "(?!)"


class Patterns:
    """The names that occur in the runs of a configuration.

    Attributes
    ----------
    datasets, recipes, preprocessings, features, stimuli, methods, figures : list of str
        Sorted; ``recipes`` are all preprocessing cards, those that others build on included, and
        ``preprocessings`` those that features are taken from.
    """

    def __init__(self, cards: Cards) -> None:
        runs = list(cards.runs.values())
        self._cards, self._runs = cards, runs
        self.datasets = sorted({dataset for run in runs for dataset in run.datasets})
        self.preprocessings = sorted({run.preprocessing for run in runs})
        self.recipes = sorted({recipe for name in self.preprocessings for recipe in cards.recipes(name)})
        self.features = sorted({run.feature for run in runs})
        self.methods = sorted({name for run in runs for name in run.methods})
        self.figures = sorted({name for run in runs for name in run.card["figures"]})
        self.stimuli = sorted({run.stimuli for run in runs if run.stimuli})

    def datasets_by(self, origin: str, family: str = "signal") -> str:
        """Match the datasets that a key of their card says how to get, in an environment."""
        cards = {name: self._cards.dataset(name).get(origin) for name in self.datasets}
        return any_of(name for name, card in cards.items() if card and card.get("family", "signal") == family)

    def fetched(self) -> str:
        """Match the datasets that are fetched by name."""
        return any_of(filter(self._cards.is_fetched, self.datasets))

    def made(self) -> str:
        """Match the datasets that a rule makes."""
        return any_of(filter(self._cards.is_made, self.datasets))

    def methods_in(self, family: str, *, long: bool | None = None) -> str:
        """Match the methods that need an environment: all, those whose card asks for hours, or the others."""
        found = [(name, m) for run in self._runs for name, m in run.methods.items() if m["family"] == family]
        hours = {name for name, m in found if m["resources"].get("runtime", 0) > _LONG}
        return any_of({name for name, _ in found if long is None or long == (name in hours)})

    def stimuli_in(self, family: str) -> str:
        """Match the cards of stimuli whose provider needs an environment."""
        return any_of({run.stimuli for run in self._runs if run.stimuli and run.stimuli_family == family})

    def recipes_for(self, *modalities: str, on_host: bool = False) -> str:
        """Match the recipes of modalities; those whose engine starts a container itself, or the others."""
        cards = {name: self._cards.card("preprocessing", name) for name in self.recipes}
        fits = {name for name, card in cards.items() if card["modality"] in modalities}
        return any_of(name for name in fits if cards[name].get("on_host", False) == on_host)

    def recipes_of(self, family: str) -> str:
        """Match the recipes, those that others build on included, of modalities that an environment is for."""
        return any_of(name for name in self.recipes if self._cards.family(name) == family)

    def recipes_in(self, family: str) -> str:
        """Match the recipes whose features are taken in an environment."""
        return any_of(name for name in self.preprocessings if self._cards.family(name) == family)
