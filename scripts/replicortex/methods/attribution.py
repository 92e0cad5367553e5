"""Maps of what a fitted network looks at, by one explainer.

Siegel et al. (2025), Explainable AI methods for neuroimaging, doi:10.48550/arXiv.2508.02560, compare about twenty
explainers on networks whose target has a known place.

Reproduced: the explainers on a residual network (see ``explainers/``), with the authors' settings; what a map is judged
by, the labels of regions in each subject's own shape, is handed on to the metrics.

Differs: maps keep the network's voxels; the authors average them over 2 x 2 x 2 voxels of 1 mm. Their mean image, a
baseline, is that of the training rows of the fold.
"""

from __future__ import annotations

import dataclasses
import io
import zipfile
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field

from ..bundle import Bundle
from ..components import Method, component, make, parameters
from ..errors import InputError
from ..shared.torch_device import reproducible
from ..shared.words import text

_PARENT = "parent"
#: Rows that are read at a time for their mean.
_CHUNK = 32


@component
class Attribution(Method):
    """An explainer asked of the network that ``init_from`` names, on rows that this has not seen.

    Parameters
    ----------
    explainer : str
        A component of ``explainers/``.
    settings : mapping
        Its parameters.
    baseline : {"zero", "mean"}
        What stands for an input that says nothing, as the network takes it: zero, which is the mean intensity over all
        training voxels, or the mean image of the training rows.
    at_once : int
        Images in one pass: more need more memory and less time, and maps then differ by rounding.
    """

    untold = frozenset(["at_once"])
    tasks = frozenset({"regress"})
    needs = ("x_mm", "y_mm", "z_mm", "region")
    starts_from = ("resnet3d",)
    tiny = {"explainer": "gradient"}
    state = ("started_", "mean_")

    explainer: str = Field("smoothgrad", pattern=r"^[a-z][a-z0-9_]*$")
    settings: dict[str, Any] = {}
    baseline: Literal["zero", "mean"] = "zero"
    at_once: Annotated[int, Field(ge=1)] = 1

    def __post_init__(self) -> None:
        """Refuse an explainer that is not there, or parameters that it has not."""
        self._made = make("explainers", self.explainer, self.settings)

    def fit(self, train: Bundle, seed: int) -> None:
        """Take the network; the mean image is all that is learned from the rows."""
        parent = self.context.parent
        if parent is None:
            raise InputError("method attribution", "has no network to explain", "name one in init_from")
        self._parent = parent
        self.started_ = {"component": type(parent).__module__.rpartition(".")[2], "params": parameters(parent)}
        x = train["x"]
        total = np.zeros(x.shape[1:])
        for start in range(0, len(x) if self.baseline == "mean" else 0, _CHUNK):
            total += np.asarray(x[start : start + _CHUNK], dtype=np.float64).sum(axis=0)
        self.mean_ = (total / len(x)).astype(np.float32)

    def predict(self, test: Bundle) -> Bundle:
        """Return the network's predictions, ``attribution`` (n, X, Y, Z) float32, and ``regions`` to judge it by.

        What is explained beside does not count for a map.
        """
        import torch

        if "regions" not in test.arrays:
            raise InputError("features", "have no array 'regions'", "choose a feature card with labelled regions")
        found = np.zeros(test["x"].shape, np.float32)
        network = self._parent.network_
        with reproducible(0) as device:
            network.to(device).eval()
            prepared = self._made.prepared(network)
            mean = torch.from_numpy(self.mean_)[None].to(device)
            baseline = self._parent.scaled(mean) if self.baseline == "mean" else torch.zeros_like(mean)[:, None]
            for start in range(0, len(test), self.at_once):
                rows = slice(start, start + self.at_once)
                x = torch.from_numpy(np.asarray(test["x"][rows], dtype=np.float32)).to(device)
                regions = torch.from_numpy(np.asarray(test["regions"][rows], dtype=np.int64)).to(device)
                made = self._made.explain(prepared, self._parent.scaled(x), baseline, regions)
                found[rows] = made.detach().cpu().numpy()[:, 0]
            network.cpu()
        known = self._parent.predict(test)
        arrays = {**known.arrays, "attribution": found, "regions": np.asarray(test["regions"])}
        return dataclasses.replace(known, arrays=arrays, axes={"region": test.axes["region"]})

    def dump(self) -> bytes:
        """Return the fitted model with the network that it explains."""
        buffer = io.BytesIO(super().dump())
        with zipfile.ZipFile(buffer, "a") as archive:
            archive.writestr(zipfile.ZipInfo(_PARENT), self._parent.dump())
        return buffer.getvalue()

    def restore(self, content: bytes) -> None:
        """Read what :meth:`dump` wrote.

        Raises
        ------
        InputError
            If it is damaged, or the network's weights do not fit its parameters.
        """
        super().restore(content)
        try:
            with zipfile.ZipFile(io.BytesIO(content)) as archive:
                model = archive.read(_PARENT)
        except (KeyError, zipfile.BadZipFile) as error:
            raise InputError("model", f"not readable ({error})", "fit it again") from None
        if self.started_["component"] not in self.starts_from:
            fault = f"explains a {self.started_['component']}"
            raise InputError("model", fault, f"explain a network of {' or '.join(self.starts_from)}")
        self._parent = make("methods", self.started_["component"], self.started_["params"])
        self._parent.restore(model)

    def described(self, task: str = "regress") -> str:
        """Return what it does, in words."""
        mean = "the mean image of the training participants"
        against = mean if self.baseline == "mean" else "zero, the mean intensity"
        return text(
            "The network was asked what its predictions for held-out images depend on.",
            self._made.described(),
            f"The baseline, where there is one, was {against}.",
        )
