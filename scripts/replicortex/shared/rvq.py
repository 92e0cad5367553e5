"""Residual vector quantisation: codebooks that follow moving averages, a gradient that is rotated through them.

van den Oord, Vinyals & Kavukcuoglu (2017), doi:10.48550/arXiv.1711.00937; residual stages as in SoundStream (Zeghidour
et al. 2021, doi:10.1109/TASLP.2021.3129994); the rotation trick of Fifty et al. (2024, doi:10.48550/arXiv.2410.06424).

Two things differ from widespread implementations, on purpose. After the k-means start the running sums are those of the
clusters, not the means alone, which would shrink every code by the size of its cluster at the first update. And a code
that is given a new place gets sums that say so, where otherwise the update of the same step puts it back.
"""

from __future__ import annotations

from typing import Any


def residual_quantiser(
    dim: int,
    size: int,
    n_stages: int,
    *,
    decay: float = 0.99,
    commitment: float = 0.25,
    dead_below: float = 2.0,
    rotation: bool = True,
    kmeans: int = 10,
) -> Any:
    """Return a module that replaces vectors by sums of codes, one of each stage.

    Its names are those of the released BrainOmni checkpoints (``layers.<stage>._codebook.embed`` and so on).

    Parameters
    ----------
    dim, size, n_stages : int
        Of a vector, codes a stage, stages. Each stage quantises what those before it left.
    decay : float
        Of the moving averages that codes follow in training mode.
    commitment : float
        Weight of the mean squared distance between a vector and its code.
    dead_below : float
        Codes whose moving average of uses a batch falls below are moved to vectors of the batch.
    rotation : bool
        Rotate the gradient as the vector would have to be to become its code; else it passes straight through.
    kmeans : int
        Iterations of k-means on the first batch, from vectors of it.

    Returns
    -------
    nn.Module
        ``forward(x)`` takes ``(..., dim)``, returns the quantised vectors ``(..., dim)``, codes ``(..., n_stages)`` and
        the commitment loss (a scalar, the mean over stages); ``decode(codes)`` returns the vectors of codes.
    """
    import torch
    from torch import nn
    from torch.nn import functional

    class Codebook(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            codes = torch.empty(size, dim)
            nn.init.kaiming_uniform_(codes)
            self.register_buffer("inited", torch.tensor([False]))
            self.register_buffer("cluster_size", torch.zeros(size))
            self.register_buffer("embed", codes)
            self.register_buffer("embed_avg", torch.zeros(size, dim))

        def nearest(self, x: torch.Tensor) -> torch.Tensor:
            squares = (self.embed**2).sum(dim=1)
            return (squares - 2 * x @ self.embed.T).argmin(dim=1)

        @torch.no_grad()
        def start(self, x: torch.Tensor) -> None:
            """Place the codes by k-means on the first batch."""
            self.embed.copy_(drawn(x, size))
            for _ in range(kmeans):
                counts, sums = totals(x, self.nearest(x), size)
                self.embed.copy_(torch.where(counts[:, None] > 0, sums / counts.clamp(min=1)[:, None], self.embed))
            counts, _ = totals(x, self.nearest(x), size)
            self.cluster_size.copy_(counts)
            self.embed_avg.copy_(self.embed * counts[:, None])
            share_first(self)
            self.inited.fill_(True)

        @torch.no_grad()
        def follow(self, x: torch.Tensor, codes: torch.Tensor) -> None:
            """Move the codes towards the means of their vectors; then dead ones to vectors of the batch."""
            counts, sums = totals(x, codes, size)
            add_up(counts, sums)
            self.cluster_size.lerp_(counts, 1 - decay)
            self.embed_avg.lerp_(sums, 1 - decay)
            # Laplace smoothing keeps codes without vectors finite.
            total = self.cluster_size.sum()
            smooth = (self.cluster_size + 1e-6) / (total + 1e-6 * size) * total
            self.embed.copy_(self.embed_avg / smooth[:, None])
            dead = self.cluster_size < dead_below
            if bool(dead.any()):
                self.embed.copy_(torch.where(dead[:, None], drawn(x, size), self.embed))
                self.cluster_size.masked_fill_(dead, dead_below)
                self.embed_avg.copy_(torch.where(dead[:, None], dead_below * self.embed, self.embed_avg))
                share_first(self)

    class Stage(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self._codebook = Codebook()

        def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
            book = self._codebook
            # Tensors without content, on which costs are counted, tell nothing.
            counted = x.is_meta
            if self.training and not counted and not bool(book.inited):
                book.start(x.detach())
            codes = book.nearest(x.detach())
            found = book.embed[codes]
            if self.training and not counted:
                book.follow(x.detach(), codes)
            loss = commitment * functional.mse_loss(x, found)
            passed = rotated(x, found) if rotation else x + (found - x).detach()
            return (passed if self.training else found), codes, loss

    class Quantiser(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layers = nn.ModuleList(Stage() for _ in range(n_stages))

        def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
            left = x.reshape(-1, dim)
            found, codes, losses = torch.zeros_like(left), [], []
            for stage in self.layers:
                part, code, loss = stage(left)
                left, found = left - part.detach(), found + part
                codes.append(code)
                losses.append(loss)
            stacked = torch.stack(codes, dim=-1).reshape(*x.shape[:-1], n_stages)
            return found.reshape(x.shape), stacked, torch.stack(losses).mean()

        def decode(self, codes: torch.Tensor) -> torch.Tensor:
            return sum(stage._codebook.embed[codes[..., number]] for number, stage in enumerate(self.layers))

    return Quantiser()


def rotated(x: Any, code: Any) -> Any:
    """Return ``code``, with the gradient of a rotation and scaling that takes ``x`` (n, d) to it and is held constant.

    With ``u`` and ``q`` the unit vectors of both and ``w`` that of their sum, the rotation is
    ``1 - 2 w w' + 2 q u'``.
    """
    from torch.nn import functional

    size_x = x.norm(dim=1, keepdim=True).clamp(min=1e-6).detach()
    size_code = code.norm(dim=1, keepdim=True)
    u, q = (x / size_x).detach(), (code / size_code.clamp(min=1e-6)).detach()
    w = functional.normalize(u + q, dim=1, eps=1e-6)
    turned = x - 2 * (x * w).sum(dim=1, keepdim=True) * w + 2 * (x * u).sum(dim=1, keepdim=True) * q
    return turned * (size_code / size_x).detach()


def totals(x: Any, codes: Any, size: int) -> tuple[Any, Any]:
    """Return how many vectors each code has, and their sum; by a product, which is the same on every run."""
    import torch

    belongs = torch.nn.functional.one_hot(codes, size).to(x.dtype)
    return belongs.sum(dim=0), belongs.T @ x


def drawn(x: Any, n: int) -> Any:
    """Return ``n`` rows of ``x``, each once where there are enough."""
    import torch

    if len(x) >= n:
        return x[torch.randperm(len(x), device=x.device)[:n]]
    return x[torch.randint(len(x), (n,), device=x.device)]


def add_up(*values: Any) -> None:
    """Add tensors up over the processes that train together."""
    from torch import distributed

    if distributed.is_available() and distributed.is_initialized():
        for value in values:
            distributed.all_reduce(value)


def share_first(module: Any) -> None:
    """Give all processes that train together the buffers of the first."""
    from torch import distributed

    if distributed.is_available() and distributed.is_initialized():
        for value in (module.cluster_size, module.embed, module.embed_avg):
            distributed.broadcast(value, 0)
