"""What a tokenizer and a transformer over its codes make of held-out rows, each row by itself."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from .brain_tokens import correlation, cut, standardised
from .training import predict

#: The same channels and tokens are withheld from every row of a device, whatever rows there are beside it.
_SEED = 20250518
WITHHELD, HIDDEN = 0.25, 0.5


def rebuilt(tokenizer: Any, arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return correlations of rebuilt with measured windows, the mean of each row.

    Parameters
    ----------
    tokenizer : nn.Module
        In evaluation mode, in single precision as a rule: correlations then differ by 1e-7 with the rows that stand
        beside a row, and half of the time is saved.
    arrays : mapping of str to ndarray
        As of :func:`replicortex.shared.brain_tokens.prepared`.

    Returns
    -------
    dict of ndarray of shape (n,)
        ``pcc_all``: all channels, where all were given; ``pcc_withheld``: a quarter, where these were not given;
        ``pcc_permuted``: the same quarter, where sensors of one type had swapped places and directions.
    """
    import torch

    present = arrays["present"]
    withheld = np.array([_first(row, WITHHELD) for row in present])
    order = np.array([_swapped(*row) for row in zip(present, arrays["sensor_type"], strict=True)])
    moved = np.take_along_axis(arrays["position"], order[:, :, None], axis=1)

    def score(network: Any, batch: dict[str, Any]) -> dict[str, Any]:
        kind = next(network.parameters()).dtype
        windows = cut(batch["x"].to(kind), network.window)
        wanted, there, hidden = standardised(windows), batch["present"], batch["withheld"]
        # The convolutions see one channel at a time: what they make of each is the same whichever are withheld.
        frames = network.encoder.frames(windows, there)

        def similar(position: Any, given: Any, judged: Any) -> Any:
            made, _, _ = network.rebuild(frames, position.to(kind), batch["sensor_type"], given, judged)
            of_channel = correlation(made, wanted).mean(dim=-1)
            return torch.where(judged, of_channel, 0).sum(dim=1) / judged.sum(dim=1)

        return {
            "pcc_all": similar(batch["position"], there, there),
            "pcc_withheld": similar(batch["position"], there & ~hidden, hidden),
            "pcc_permuted": similar(batch["moved"], there & ~hidden, hidden),
        }

    return predict(tokenizer, {**arrays, "withheld": withheld, "moved": moved}, 32, function=score)


def filled_in(transformer: Any, codes: np.ndarray, unigram: np.ndarray) -> dict[str, np.ndarray]:
    """Return the share of hidden codes that are filled in rightly, of each row.

    Half of the tokens, the same of every row, are hidden by the mask.

    Parameters
    ----------
    transformer : nn.Module
        In evaluation mode.
    codes : ndarray of shape (n, sources, frames, codebooks)
    unigram : ndarray of shape (sources, codebooks)
        The most frequent codes of the rows that were trained on: what is known without looking at the others.

    Returns
    -------
    dict of ndarray of shape (n,)
        ``masked_right`` and ``unigram_right``.
    """
    import torch

    hidden = np.random.default_rng([_SEED, *codes.shape[1:3]]).random(codes.shape[1:3]) < HIDDEN
    hidden.flat[0] = True

    def score(network: Any, batch: dict[str, Any]) -> Any:
        tokens = network.tokens(batch["codes"])
        masked = torch.from_numpy(hidden).to(tokens.device).expand(tokens.shape[:3])
        guess = network.predict(tokens, masked, network.mask_token.expand_as(tokens)).argmax(dim=-1)
        wanted = batch["codes"][:, masked[0]]
        return (guess.view(wanted.shape) == wanted).double().mean(dim=(1, 2))

    usual = (codes == unigram[None, :, None, :])[:, hidden].mean(axis=(1, 2))
    return {"masked_right": predict(transformer, {"codes": codes}, 32, function=score), "unigram_right": usual}


def _first(present: np.ndarray, share: float) -> np.ndarray:
    """Return a share of the channels that are there, one at least, drawn by their number alone."""
    channels = np.flatnonzero(present)
    drawn = np.random.default_rng([_SEED, len(channels)]).permutation(channels)
    chosen = np.zeros(len(present), dtype=bool)
    chosen[drawn[: max(1, int(share * len(channels)))]] = True
    return chosen


def _swapped(present: np.ndarray, kind: np.ndarray) -> np.ndarray:
    """Return an order of channels in which those of one type have swapped places and none stays."""
    order = np.arange(len(present))
    for number in np.unique(kind[present]):
        channels = np.flatnonzero(present & (kind == number))
        drawn = np.random.default_rng([_SEED, 1, len(channels)]).permutation(channels)
        # Along one cycle: nobody keeps a place.
        order[drawn] = np.roll(drawn, 1)
    return order
