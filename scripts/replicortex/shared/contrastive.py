"""Contrastive losses between predicted and true embeddings: InfoNCE, SoftCLIP and BiMixCo, one loss and three targets.

All compare ``similarity[i, j]``, the cosine of prediction ``i`` and target ``j`` over a temperature, with a matrix
that says how much ``j`` is what ``i`` should have been: the identity (InfoNCE; van den Oord et al. 2018,
doi:10.48550/arXiv.1807.03748), the similarity of targets with each other (SoftCLIP) or the shares of a mixture
(BiMixCo; Scotti et al. 2023, doi:10.48550/arXiv.2305.18274). torch is imported where it is needed.
"""

from __future__ import annotations

from typing import Any


def unit(values: Any) -> Any:
    """Return rows of any shape as unit vectors, (n, d)."""
    import torch

    return torch.nn.functional.normalize(values.flatten(1), dim=1)


def contrast(predicted: Any, target: Any, wanted: Any, temperature: Any) -> Any:
    """Return the mean cross-entropy between similarities and ``wanted``, over rows and over columns.

    Parameters
    ----------
    predicted, target : Tensor of shape (n, ...)
        Compared by their cosine.
    wanted : Tensor of shape (n, n) or pair of them
        Weight of target ``j`` for prediction ``i``; of a pair, the first is for rows (which target is it) and the
        second for columns (which prediction is it; row ``j`` weighs predictions). One matrix serves columns
        transposed.
    temperature : float or Tensor
        Similarities are divided by it.
    """
    similar = unit(predicted) @ unit(target).T / temperature
    rows, columns = wanted if isinstance(wanted, tuple) else (wanted, wanted.T)
    forth = -(similar.log_softmax(dim=1) * rows).sum(dim=1).mean()
    back = -(similar.T.log_softmax(dim=1) * columns).sum(dim=1).mean()
    return (forth + back) / 2


def one_to_one(n: int, like: Any) -> Any:
    """Return the targets of InfoNCE: every prediction is one target and no other."""
    import torch

    return torch.eye(n, dtype=like.dtype, device=like.device)


def by_likeness(target: Any, temperature: Any) -> tuple[Any, Any]:
    """Return the targets of SoftCLIP: how alike the targets are, as shares; the same for rows and columns."""
    units = unit(target)
    shares = (units @ units.T / temperature).softmax(dim=1)
    return shares, shares


def by_mixture(share: Any, partner: Any) -> Any:
    """Return the targets of BiMixCo: row ``i`` was mixed of ``share[i]`` of itself and the rest of row ``partner[i]``.

    Parameters
    ----------
    share : Tensor of shape (n,)
        1 where a row was not mixed.
    partner : Tensor of int of shape (n,)
    """
    import torch

    other = torch.nn.functional.one_hot(partner, len(share)).to(share.dtype)
    # Added, not set: a row may be its own partner.
    return torch.diag(share) + (1 - share)[:, None] * other


def mixture(n: int, concentration: float, mixed: float, generator: Any, device: Any) -> tuple[Any, Any]:
    """Draw shares (n,) from Beta(concentration, concentration), 1 for those not ``mixed``, and partners (n,).

    Parameters
    ----------
    n : int
        Rows.
    concentration : float
        Below 1 most shares are near 0 or 1.
    mixed : float
        Share of the rows that are mixed.
    """
    import torch

    alpha = torch.full((2, n), concentration, dtype=torch.float64, device=device)
    # A beta variable is a share of two gamma variables; of a small concentration both may be as good as 0.
    gammas = torch._standard_gamma(alpha, generator=generator).clamp_min(1e-300)
    share = (gammas[0] / gammas.sum(dim=0)).float()
    taken = torch.rand(n, generator=generator, device=device) < mixed
    return torch.where(taken, share, torch.ones_like(share)), torch.randperm(n, generator=generator, device=device)


def blend(values: Any, share: Any, partner: Any) -> Any:
    """Return rows mixed with their partners."""
    share = share.reshape(-1, *[1] * (values.ndim - 1))
    return share * values + (1 - share) * values[partner]
