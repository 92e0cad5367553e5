"""Dissimilarities of layers of small networks, in place of those of regions of people's brains.

Ground truth as in topological representational similarity analysis (Lin & Kriegeskorte 2024,
doi:10.1073/pnas.2317881121): the same architecture, trained on the same pictures from different random weights, stands
for different people, and its layers stand for their regions. Which layer a matrix was measured in is known.
"""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from pydantic import Field

from .. import __version__
from ..components import Simulator, component
from ..files import to_json, to_tsv, write_text
from ..shared.rdm import dissimilarities, square
from ..shared.words import count, digits, percent

Count = Annotated[int, Field(ge=1)]
#: Digits of the training set; the pictures that are shown are among the others.
N_TRAINING = 1437
#: Noise above which the facts call a dataset noisy.
NOISY = 1.0


@component
class LayerRdms(Simulator):
    """Networks that learned to tell digits, and how unlike each other pictures are in each of their layers.

    Every network learns the same training digits from other random weights. It is then shown the same pictures of
    other digits; a share of the units of a layer is recorded with noise, and one minus the correlation of two pictures'
    patterns is their dissimilarity. Every run draws other units and other noise. Where the truth is absent the layers
    of a network change their names in every run.

    Parameters
    ----------
    n_networks, n_layers, n_units : int
        Networks, hidden layers of each, and rectified linear units of a layer.
    n_images : int
        Pictures shown, of all ten digits in turn.
    n_epochs : int
        Passes through the training digits.
    share : float
        Share of the units of a layer that a run records.
    noise : float
        Standard deviation of the noise, in that of the layer's activations.
    n_runs : int
        Matrices of each layer.
    """

    datatype = "func"
    tiny = {"n_networks": 2, "n_layers": 2, "n_units": 8, "n_images": 10, "n_epochs": 1, "n_runs": 1}

    n_networks: Count = 16
    n_layers: Annotated[int, Field(ge=2)] = 5
    n_units: Annotated[int, Field(ge=4)] = 128
    n_images: Annotated[int, Field(ge=4, le=300)] = 40
    n_epochs: Count = 8
    share: Annotated[float, Field(gt=0, le=1)] = 0.5
    noise: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.2
    n_runs: Count = 2

    @property
    def layers(self) -> list[str]:
        """Names of the layers, from the pictures on."""
        return [f"layer{number}" for number in range(1, self.n_layers + 1)]

    def activations(self, network: int, seed: int) -> list[np.ndarray]:
        """Train a network and return the activations of its layers, each (n_images, n_units).

        Cost: about half a second of one core at the defaults.
        """
        from sklearn.datasets import load_digits
        from sklearn.exceptions import ConvergenceWarning
        from sklearn.neural_network import MLPClassifier

        pictures, digit = load_digits(return_X_y=True)
        pictures = pictures / 16
        model = MLPClassifier(
            (self.n_units,) * self.n_layers,
            batch_size=100,
            max_iter=self.n_epochs,
            random_state=int(np.random.SeedSequence([seed, network]).generate_state(1)[0]),
        )
        with warnings.catch_warnings():
            # The number of passes is a parameter, not a limit.
            warnings.simplefilter("ignore", ConvergenceWarning)
            model.fit(pictures[:N_TRAINING], digit[:N_TRAINING])
        held = np.arange(N_TRAINING, len(digit))
        # In turn by digit: the first of each, the second of each, ...
        place = np.array([np.count_nonzero(digit[held[:i]] == digit[picture]) for i, picture in enumerate(held)])
        shown = held[np.lexsort([digit[held], place])][: self.n_images]
        found, values = [], pictures[shown]
        for weights, bias in zip(model.coefs_[:-1], model.intercepts_[:-1], strict=True):
            values = np.maximum(values @ weights + bias, 0)
            found.append(values)
        return found

    def measured(self, activations: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Return the dissimilarities that one run finds in one layer: (n_pairs,)."""
        n_recorded = max(2, round(self.share * self.n_units))
        recorded = activations[:, rng.choice(self.n_units, n_recorded, replace=False)]
        noise = self.noise * activations.std() * rng.standard_normal(recorded.shape)
        return dissimilarities(recorded + noise)

    def simulate(self, root: Path, truth: str, seed: int) -> dict[str, Any]:
        """Write the dataset and return what was planted; see :class:`~replicortex.components.Simulator`."""
        width = max(2, len(str(self.n_networks)))
        items = [f"digit{number % 10}x{number // 10 + 1}" for number in range(self.n_images)]
        rows = []
        for network in range(1, self.n_networks + 1):
            name = f"sub-{network:0{width}d}"
            layers = self.activations(network, seed)
            for run in range(1, self.n_runs + 1):
                rng = np.random.default_rng([seed, network, run])
                named = np.arange(self.n_layers)
                if truth != "planted":
                    named = np.random.default_rng([seed, network, run, 1]).permutation(self.n_layers)
                for layer, values in zip(named, layers, strict=True):
                    matrix = square(self.measured(values, rng)[None])[0]
                    stem = f"{name}_task-view_run-{run}_desc-{self.layers[layer]}_relmat"
                    _write(root / name / "func" / stem, matrix, items)
            rows.append({"participant_id": name, "seed": network})
        self._describe(root, rows)
        return {
            "contrast": "noisy" if self.noise > NOISY else "clean",
            "truth": truth,
            "noise": self.noise,
            "layers": self.layers,
        }

    def _describe(self, root: Path, rows: list[dict[str, Any]]) -> None:
        about = {
            "Name": "Dissimilarities of pictures in layers of networks",
            "BIDSVersion": "1.10.0",
            "DatasetType": "derivative",
            "License": "CC0",
            "Authors": ["Replicortex"],
            "GeneratedBy": [{"Name": "replicortex", "Version": __version__}],
        }
        write_text(root / "dataset_description.json", to_json(about))
        write_text(root / "participants.tsv", to_tsv(rows, ["participant_id", "seed"]))
        columns = {"seed": {"Description": "Number of the random weights that the network began with."}}
        write_text(root / "participants.json", to_json({**columns, "Description": "Networks in place of people."}))
        write_text(root / "README", _README)
        write_text(root / ".bidsignore", "*_relmat.tsv\n*_relmat.json\n")

    def described(self) -> str:
        """Return what it does, in words."""
        return (
            f"{count(self.n_networks, 'network').capitalize()} with {count(self.n_layers, 'hidden layer')} of"
            f" {digits(self.n_units)} rectified linear units were trained for {count(self.n_epochs, 'epoch')} to tell"
            " handwritten digits, each from random weights of its own. They were shown"
            f" {digits(self.n_images)} other pictures of digits {count(self.n_runs, 'time')}; each time"
            f" {percent(self.share)} of the units of every layer were recorded with noise of {digits(self.noise)} times"
            " the standard deviation of the layer's activations, and the dissimilarity of two pictures was one minus"
            " the correlation of their patterns [@lin2024]."
        )


def _write(stem: Path, matrix: np.ndarray, items: list[str]) -> None:
    lines = ["\t".join(["Node", *items])]
    lines += ["\t".join([item, *(f"{value:.6g}" for value in row)]) for item, row in zip(items, matrix, strict=True)]
    write_text(stem.with_name(f"{stem.name}.tsv"), "\n".join(lines) + "\n")
    sidecar = {"Description": "Dissimilarity of pictures: one minus the correlation of their patterns of activity."}
    write_text(stem.with_name(f"{stem.name}.json"), to_json({**sidecar, "Measure": "correlation distance"}))


_README = """\
Dissimilarities of pictures in layers of networks
=================================================

No person was recorded. Every subject is a small network that learned to tell handwritten digits; it was shown pictures
of digits, and each matrix says how unlike each other two pictures are in one of its layers (desc).
"""
