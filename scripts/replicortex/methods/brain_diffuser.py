"""Brain-Diffuser's regressions: ridge from responses to the embedding and to the low-level code of what was seen.

Ozcelik & VanRullen (2023), Natural scene reconstruction from fMRI signals using generative latent diffusion.
doi:10.1038/s41598-023-42891-8

Reproduced: linear ridge regressions from standardised responses to the code of an autoencoder (the low-level picture)
and to all tokens of the picture's embedding. With ``transductive`` predictions are standardised by the held-out rows
themselves and given mean and spread of the training rows, as the released code does.

Differs: penalties are chosen by cross-validation over training stimuli from a wide and fine grid, one for each target
or one for all, whichever predicts held-out stimuli better; the paper fixes them (50,000 and 60,000 for its voxels).
The code is that of an autoencoder trained on the training pictures of the fold instead of a published VDVAE. There is
no regression to the embedding of captions and no Versatile Diffusion: the semantic picture is the training picture
nearest to the prediction. Held-out rows are not standardised by themselves unless asked for, since a session's offset
would then be known from its test rows. Responses to repeats of a stimulus are averaged before fitting.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field

from ..bundle import Bundle
from ..components import Method, component
from ..shared.ceilings import by_stimulus
from ..shared.decoding import JUDGED, check_finite, flat, judged_on, nearest, pictures, retrieved, targets
from ..shared.encoding import RidgePath, search
from ..shared.image_codes import ImageCode, decoded, encoded
from ..shared.words import searched, spaced, text

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
CODE = ImageCode()


@component
class BrainDiffuser(Method):
    """Ridge regression from responses to the embedding and to the low-level code of what was seen.

    Parameters
    ----------
    target : {"tokens", "pooled"}
        All tokens of the embedding, or their mean.
    lowest, highest : float
        Ends of the grid of penalties on standardised responses.
    n_penalties, n_inner : int
        Penalties, evenly spaced on a logarithmic scale, and inner folds over stimuli.
    transductive : bool
        Standardise predictions by the rows that are predicted together: a comparison of held-out rows with each
        other.
    low_level : bool
        Whether to predict the code of a picture, where stimuli are pictures.
    code : ImageCode
        The autoencoder of pictures.
    """

    tasks = frozenset({"retrieve"})
    judged_on = JUDGED[:1]
    state = ("weights_", "intercept_", "penalties_", "gain_", "moments_", "low_", "autoencoder_", "gallery_")
    tiny = {"target": "pooled", "n_penalties": 9, "n_inner": 3, "code": {"width": 4, "epochs": 1}}

    target: Literal["tokens", "pooled"] = "tokens"
    lowest: Positive = 1e-2
    highest: Positive = 1e7
    n_penalties: Annotated[int, Field(ge=2)] = 29
    n_inner: Annotated[int, Field(ge=2)] = 5
    transductive: bool = False
    low_level: bool = True
    code: ImageCode = CODE

    def fit(self, train: Bundle, seed: int) -> None:
        """Choose penalties and fit. Memory is that of the training responses, float64."""
        stimuli = self.context.stimuli
        check_finite(flat(train["x"]), "responses")
        names, x, _ = by_stimulus(flat(train["x"]), train.rows["target"].astype(str))
        self.gallery_ = names.tolist()
        y = targets(stimuli, names, self.target).astype(np.float64).reshape(len(names), -1)
        path = RidgePath(x)
        self.weights_, self.intercept_, self.penalties_, self.gain_ = self._regress(path, x, y, seed)
        self.moments_ = np.stack([y.mean(axis=0), y.std(axis=0)])
        seen = pictures(stimuli, self.gallery_) if self.low_level else None
        self.judged_on = judged_on(stimuli, self.target, pixels=seen is not None)
        self.low_, self.autoencoder_ = {}, {}
        if seen is not None:
            network = self.code.fit(seen, seed, self.context)
            self.autoencoder_ = {name: value.cpu().numpy() for name, value in network.state_dict().items()}
            codes = encoded(network, seen)
            weights, intercept, _, _ = self._regress(path, x, codes.reshape(len(codes), -1).astype(np.float64), seed)
            self.low_ = {
                "weights": weights,
                "intercept": intercept,
                "shape": list(codes.shape[1:]),
                "colours": seen.shape[1],
            }

    def _regress(self, path: RidgePath, x: np.ndarray, y: np.ndarray, seed: int) -> tuple[Any, ...]:
        """Return weights, intercepts and penalties of each target, and what own penalties gained."""
        grid = np.geomspace(self.lowest, self.highest, self.n_penalties)
        penalties, _, gain = search(x, y, grid, self.n_inner, seed)
        weights, intercept = path.coefficients(y, penalties)
        return weights.astype(np.float32), intercept, penalties, gain

    def predict(self, test: Bundle) -> Bundle:
        """Return the embedding of each trial; ``y_low_level`` and ``y_semantic`` where stimuli are pictures."""
        # Each row by itself, in the order in which it is summed up, so that it does not depend on the others.
        x = flat(test["x"]).astype(np.float64)
        y = x @ self.weights_.astype(np.float64) + self.intercept_
        if self.transductive:
            spread = y.std(axis=0)
            y = (y - y.mean(axis=0)) / np.where(spread > 0, spread, 1.0) * self.moments_[1] + self.moments_[0]
        arrays = {}
        if self.low_:
            import torch

            shown = pictures(self.context.stimuli, self.gallery_)
            gallery = targets(self.context.stimuli, np.array(self.gallery_), self.target)
            arrays["y_semantic"] = shown[nearest(y, gallery)]
            network = self.code.network(self.low_["colours"])
            network.load_state_dict({name: torch.from_numpy(value) for name, value in self.autoencoder_.items()})
            codes = x @ self.low_["weights"].astype(np.float64) + self.low_["intercept"]
            arrays["y_low_level"] = decoded(network, codes.reshape(-1, *self.low_["shape"]).astype(np.float32))
        return retrieved(test, y, **arrays)

    def n_configurations(self) -> int:
        """Return the penalties, one for each target or one for all."""
        return 2 * self.n_penalties

    def chosen(self) -> dict[str, Any]:
        """Return the usual penalty, and by how much own penalties were better than one for all."""
        return {"penalty": float(np.median(self.penalties_)), "gain_of_own_penalties": float(self.gain_)}

    def described(self, task: str = "retrieve") -> str:
        """Return what it does, in words."""
        what = "all tokens of the embedding" if self.target == "tokens" else "the mean token of the embedding"
        low = (
            "Another regression predicted the code of the picture, where stimuli were pictures."
            f" {self.code.described()}"
            if self.low_level
            else "There was no low-level branch."
        )
        return text(
            f"Ridge regressions [@hoerl1970] predicted {what} of what was seen from standardised responses, as in"
            " Brain-Diffuser [@ozcelik2023].",
            searched(self.n_inner, spaced("ridge penalty", self.lowest, self.highest, self.n_penalties)),
            "A penalty for each target, or one for all, was taken, whichever predicted better.",
            "Predictions were standardised by the held-out rows themselves (a transductive step)."
            if self.transductive
            else "",
            low,
        )
