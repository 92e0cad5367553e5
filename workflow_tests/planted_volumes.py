"""A table of what two methods generated, for tests of figures."""

from __future__ import annotations

import numpy as np

from made_data import generations
from replicortex.files import to_json, write_text
from replicortex.stages.generated import collect_generated

SUBJECT = "zx{:02d}q"


def planted_volumes(folder):
    """What two methods generated: people whom nobody has seen, and the same one again and again."""
    fits, predictions = [], []
    for name, kind in (("a", "another"), ("b", "one")):
        fits.append(folder / f"{name}.json")
        write_text(fits[-1], to_json({"name": name}))
        predictions.append(folder / f"{name}.npz")
        people = np.array([SUBJECT.format(i) for i in range(20)])
        generations(kind, n=20).with_rows(subject=people).save(predictions[-1])
    collect_generated(fits, predictions, folder / "generated.tsv")
    return folder / "generated.tsv"
