"""What lets Snakemake plan and run a large graph of jobs sooner, and changes nothing of what it plans.

Standard library only: the workflow imports this module every time it starts.
"""

from __future__ import annotations

import gc
import inspect
from collections.abc import Iterable
from typing import Any

#: New objects between two looks for garbage, and how many of these until a look at older ones, and at all.
_RARELY = (100_000, 50, 100)


def collect_rarely() -> None:
    """Look for garbage rarely: a graph is a million small objects that stay, and by default all are looked at often."""
    gc.freeze()
    gc.set_threshold(*_RARELY)


def remember_signatures(rules: Iterable[Any]) -> None:
    """Note the signature of every function among the parameters and inputs of ``rules`` with the function.

    For each job Snakemake asks :mod:`inspect` three times for that of each, which otherwise works it out anew.
    """
    for rule in rules:
        for item in [*rule.params, *rule.input]:
            # An input function comes wrapped, as a path that is not known yet.
            function = getattr(getattr(item, "_file", item), "callable", item)
            if inspect.isfunction(function):
                function.__signature__ = inspect.signature(function)
