"""The networks of BrainOmni: a tokenizer that knows where its sensors are, and a transformer over its tokens.

Xiao, Cui, Zhang et al. (2025), doi:10.48550/arXiv.2505.18185. Names of parameters are those of the released
checkpoints, so that these can be read (:data:`RELEASED_NAMES`).
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from scipy.signal import resample

from ..bundle import Bundle
from ..errors import InputError
from .criss_cross import attend, criss_cross_block, feed_forward, rms_norm
from .rvq import residual_quantiser
from .seanet import seanet
from .training import predict

#: Numbers of the types of sensors, as in the released code; the paper's text has the two coils the other way round.
SENSOR_TYPES = ("eeg", "mag", "grad")
#: Endings of names in the released checkpoints, and what the same tensors are called here.
RELEASED_NAMES = {
    "weight_g": "parametrizations.weight.original0",
    "weight_v": "parametrizations.weight.original1",
}
#: Arrays of a bundle that the networks take beside ``x``.
SENSORS = ("position", "sensor_type", "present")


def prepared(bundle: Bundle, sfreq: float) -> dict[str, np.ndarray]:
    """Return the arrays that the networks take, each row by itself.

    Signals are resampled to ``sfreq``; the mean over the sensors of a type is taken out of each moment, and each type
    divided by its standard deviation over sensors and times. Absent channels are zero.

    Raises
    ------
    InputError
        If the features have no sensors.
    """
    lacking = [name for name in SENSORS if name not in bundle.arrays]
    if lacking:
        raise InputError("features", f"have no array {lacking[0]!r}", "choose a feature card of windows with sensors")
    x = np.asarray(bundle["x"], dtype=np.float64)
    found = float(bundle.axes["sfreq"][0])
    if found != sfreq:
        x = resample(x, round(x.shape[2] * sfreq / found), axis=2)
    kind, present = np.asarray(bundle["sensor_type"]), np.asarray(bundle["present"]).astype(bool)
    made = np.zeros(x.shape, dtype=np.float32)
    for number in range(len(SENSOR_TYPES)):
        of_type = (present & (kind == number))[:, :, None]
        n = np.maximum(of_type.sum(axis=(1, 2), keepdims=True), 1)
        centred = np.where(of_type, x - np.where(of_type, x, 0).sum(axis=1, keepdims=True) / n, 0)
        power = (centred**2).sum(axis=(1, 2), keepdims=True) / (n * x.shape[2])
        scale = np.sqrt(power)
        made += np.divide(centred, scale, out=np.zeros_like(centred), where=scale > 0).astype(np.float32)
    position = np.asarray(bundle["position"], dtype=np.float32)
    return {"x": made, "position": position, "sensor_type": kind.astype(np.int64), "present": present}


def cut(x: Any, length: int, overlap: float = 0.0) -> Any:
    """Return windows (..., n, length) of signals (..., T), which are continued by zeros to whole windows."""
    import torch

    step = max(1, int(length * (1 - overlap)))
    missing = max(length - x.shape[-1], 0) or -(x.shape[-1] - length) % step
    return torch.nn.functional.pad(x, (0, missing)).unfold(-1, length, step)


def tokenizer_network(
    *,
    window: int,
    n_filters: int,
    ratios: Sequence[int],
    kernel: int,
    dim: int,
    n_sources: int,
    n_heads: int,
    codebook_size: int,
    n_codebooks: int,
    rotation: bool,
    sensor_encoder: bool,
    spread: float,
    keep_scale: bool,
    named_sources: bool,
) -> Any:
    """Return the tokenizer.

    ``forward(x, position, sensor_type, present, given)`` takes signals (n, C, T), sensors (n, C, 6), (n, C) and (n, C)
    and which channels the encoder is given (n, C); it returns windows of all channels rebuilt (n, C, N, window), the
    commitment loss, and codes (n, sources, frames, codebooks). It is ``rebuild`` of ``encoder.frames``, for which
    channels do not know of each other. ``tokens(x, ..., overlap)`` returns the quantised features
    (n, sources, frames, dim) and codes.
    """
    import torch
    from torch import nn
    from torch.nn import functional

    class SensorEncoder(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.sensor_embedding_layer = nn.Embedding(len(SENSOR_TYPES), dim)
            self.pos_embedding_layer = nn.Sequential(nn.Linear(6, dim // 2), nn.SELU(), nn.Linear(dim // 2, dim))
            self.aggregate_mlp = feed_forward(dim, 0.0)
            self.norm = rms_norm(dim)

        def forward(self, position: torch.Tensor, sensor_type: torch.Tensor) -> torch.Tensor:
            x = self.pos_embedding_layer(position) + self.sensor_embedding_layer(sensor_type)
            return self.norm(x + self.aggregate_mlp(x))

    class Inverse(nn.Module):
        """Sources ask the channels: cross-attention with the sources as queries."""

        def __init__(self) -> None:
            super().__init__()
            self.v, self.proj = nn.Linear(dim, dim), nn.Linear(dim, dim)

        def forward(self, query: torch.Tensor, key: torch.Tensor, x: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
            return self.proj(attend(query, key, self.v(x), n_heads, mask=mask))

    class Forward(nn.Module):
        """Sensors ask the sources: cross-attention with the sensors as queries."""

        def __init__(self) -> None:
            super().__init__()
            self.kv, self.proj = nn.Linear(dim, 2 * dim), nn.Linear(dim, dim)

        def forward(self, sensors: torch.Tensor, sources: torch.Tensor, names: torch.Tensor) -> torch.Tensor:
            key, value = self.kv(sources).chunk(2, dim=-1)
            if named_sources:
                # Else nothing but its content tells the decoder which source a token is of.
                key = key + names
            return self.proj(attend(sensors, key, value, n_heads))

    class Encoder(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.seanet_encoder = seanet("encoder", dim, n_filters, ratios, kernel, keep_scale=keep_scale)
            self.neuros = nn.Parameter(torch.randn(n_sources, dim))
            self.backwardsolution = Inverse()
            self.k_proj = nn.Linear(dim, dim)

        def frames(self, windows: torch.Tensor, given: torch.Tensor) -> torch.Tensor:
            """Return what the convolutions make of each channel, (n, C, frames, dim)."""
            n_windows, length = windows.shape[2:]
            # Channels that are not there cost nothing.
            found = self.seanet_encoder(picked(windows, given).reshape(-1, 1, length))
            n_frames = n_windows * found.shape[-1]
            found = found.reshape(-1, n_windows, dim, found.shape[-1]).transpose(2, 3).reshape(-1, n_frames, dim)
            return placed(found, given)

        def sources(self, frames: torch.Tensor, sensors: torch.Tensor, given: torch.Tensor) -> torch.Tensor:
            """Return the sources (n, sources, frames, dim) that the given channels show."""
            n, n_channels, n_frames, _ = frames.shape
            x = frames.transpose(1, 2).reshape(n * n_frames, n_channels, dim)
            sensors = sensors.repeat_interleave(n_frames, dim=0)
            mask = given.repeat_interleave(n_frames, dim=0)
            query = self.neuros.expand(len(x), -1, -1)
            found = self.backwardsolution(query, self.k_proj(x + sensors), x, mask)
            return found.reshape(n, n_frames, n_sources, dim).transpose(1, 2)

        def forward(self, windows: torch.Tensor, sensors: torch.Tensor, given: torch.Tensor) -> torch.Tensor:
            return self.sources(self.frames(windows, given), sensors, given)

    class Quantiser(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.rvq = residual_quantiser(dim, codebook_size, n_codebooks, rotation=rotation)

        def forward(self, x: torch.Tensor) -> Any:
            return self.rvq(functional.normalize(x, dim=-1))

    class Decoder(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.forwardsolution = Forward()
            self.seanet_decoder = seanet("decoder", dim, n_filters, ratios, kernel, keep_scale=keep_scale)

        def forward(self, x: Any, sensors: Any, present: Any, length: int, names: Any) -> torch.Tensor:
            n, _, n_frames, _ = x.shape
            n_channels, a_window = sensors.shape[1], length // int(np.prod(ratios))
            sources = x.transpose(1, 2).reshape(n * n_frames, -1, dim)
            x = self.forwardsolution(sensors.repeat_interleave(n_frames, dim=0), sources, names)
            x = picked(x.reshape(n, n_frames, n_channels, dim).transpose(1, 2), present)
            x = x.reshape(-1, a_window, dim).transpose(1, 2)
            return placed(self.seanet_decoder(x).reshape(-1, n_frames // a_window, length), present)

    class Tokenizer(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.window = window
            self.sensor_embed = SensorEncoder()
            self.encoder, self.quantizer, self.decoder = Encoder(), Quantiser(), Decoder()
            initialise(spread, self)

        def sensors(self, position: torch.Tensor, sensor_type: torch.Tensor) -> torch.Tensor:
            if not sensor_encoder:
                # Every sensor of every device is like any other.
                position, sensor_type = torch.zeros_like(position), torch.zeros_like(sensor_type)
            return self.sensor_embed(position, sensor_type)

        def tokens(
            self, x: Any, position: Any, sensor_type: Any, present: Any, overlap: float = 0.0
        ) -> tuple[torch.Tensor, torch.Tensor]:
            windows = cut(x, window, overlap)
            found, codes, _ = self.quantizer(self.encoder(windows, self.sensors(position, sensor_type), present))
            return found, codes

        def rebuild(self, frames: Any, position: Any, sensor_type: Any, given: Any, wanted: Any) -> Any:
            """Return windows (n, C, N, window) of the channels that are wanted, the commitment loss, and codes."""
            sensors = self.sensors(position, sensor_type)
            found, codes, loss = self.quantizer(self.encoder.sources(frames, sensors, given))
            return self.decoder(found, sensors, wanted, window, self.encoder.neuros), loss, codes

        def forward(self, x: Any, position: Any, sensor_type: Any, present: Any, given: Any) -> Any:
            frames = self.encoder.frames(cut(x, window), given)
            return self.rebuild(frames, position, sensor_type, given, present)

    return Tokenizer()


def transformer_network(
    tokenizer: Mapping[str, Any],
    *,
    width: int,
    n_heads: int,
    depth: int,
    dropout: float,
    overlap: float,
    spread: float,
    token_scale: float,
) -> Any:
    """Return the transformer over the tokens of a tokenizer that stays as it is.

    Parameters
    ----------
    tokenizer : mapping
        Arguments of :func:`tokenizer_network`.
    width, n_heads, depth, dropout
        Of the criss-cross blocks.
    overlap : float
        Of the windows that are tokenised.
    spread : float
        Standard deviation of the normal distribution that linear layers start from.
    token_scale : float
        What tokens, whose length is 1, are multiplied by before the query of their source is added, whose length is the
        root of its width.

    Returns
    -------
    nn.Module
        Works on codes (n, sources, frames, codebooks): ``codes(x, position, sensor_type, present)`` tokenises;
        ``forward(codes, mask_share, swap_share)`` returns logits (n_hidden, codebooks, codes) of the tokens that were
        hidden, and which these are (n, sources, frames); ``embed(codes)`` what a classifier reads: tokens
        (n, sources, frames, width) of unit length, after all blocks but the last.
    """
    import torch
    from torch import nn
    from torch.nn import functional

    dim, n_codebooks, size = tokenizer["dim"], tokenizer["n_codebooks"], tokenizer["codebook_size"]

    class Transformer(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.tokenizer = tokenizer_network(**tokenizer)
            self.mask_token = nn.Parameter(torch.randn(dim))
            self.projection = nn.Linear(dim, width) if dim != width else nn.Identity()
            self.blocks = nn.ModuleList(criss_cross_block(width, n_heads, dropout) for _ in range(depth))
            self.predict_head = nn.Linear(width, n_codebooks * size)
            initialise(spread, self.projection, self.blocks, self.predict_head)
            self.tokenizer.requires_grad_(False)

        def train(self, mode: bool = True) -> Any:
            super().train(mode)
            # Codebooks follow what is tokenised in training mode.
            self.tokenizer.eval()
            return self

        def codes(self, x: Any, position: Any, sensor_type: Any, present: Any) -> torch.Tensor:
            with torch.no_grad():
                return self.tokenizer.tokens(x, position, sensor_type, present, overlap)[1]

        def through(self, tokens: torch.Tensor, blocks: Any) -> torch.Tensor:
            # Which source a token is of: the query that found it.
            x = self.projection(tokens + self.tokenizer.encoder.neuros[None, :, None])
            for block in blocks:
                x = block(x)
            return x

        def tokens(self, codes: torch.Tensor) -> torch.Tensor:
            # Not what stands for hidden ones: the mask is as long as a query from the start, and must not drown it.
            return token_scale * self.tokenizer.quantizer.rvq.decode(codes)

        def predict(self, tokens: torch.Tensor, masked: torch.Tensor, instead: torch.Tensor) -> torch.Tensor:
            """Return logits (n_masked, codebooks, codes) of the tokens ``masked``, for which ``instead`` stands."""
            x = self.through(torch.where(masked[..., None], instead, tokens), self.blocks)
            # Costs are counted on tensors without content, whose mask is not known.
            hidden = x.flatten(0, 2) if x.is_meta else x[masked]
            return self.predict_head(hidden).unflatten(-1, (n_codebooks, size))

        def forward(self, codes: torch.Tensor, mask_share: float, swap_share: float) -> Any:
            tokens = self.tokens(codes)
            drawn = torch.rand(2, *tokens.shape[:3], device=tokens.device)
            masked, swapped = drawn[0] < mask_share, drawn[1] < swap_share
            # What stands for a token is the mask, or at times another token of the batch.
            order = torch.randperm(masked.numel(), device=tokens.device)
            others = tokens.reshape(-1, dim)[order].reshape(tokens.shape)
            instead = torch.where(swapped[..., None], others, self.mask_token.expand_as(tokens))
            return self.predict(tokens, masked, instead), masked

        def embed(self, codes: torch.Tensor) -> torch.Tensor:
            return functional.normalize(self.through(self.tokens(codes), self.blocks[:-1]), dim=-1, eps=1e-6)

    return Transformer()


def picked(x: Any, mask: Any) -> Any:
    """Return ``x[mask]``, of (n, C, ...) and (n, C); all of a tensor without content, whose mask is not known."""
    return x.flatten(0, 1) if x.is_meta else x[mask]


def placed(values: Any, mask: Any) -> Any:
    """Return ``values`` at the places of a mask (n, C), zeros elsewhere; the reverse of :func:`picked`."""
    if values.is_meta:
        return values.unflatten(0, mask.shape)
    made = values.new_zeros(*mask.shape, *values.shape[1:])
    return made.masked_scatter(mask.reshape(*mask.shape, *[1] * (values.ndim - 1)), values)


def initialise(spread: float, *modules: Any) -> None:
    """Draw linear layers and embeddings from a normal distribution of standard deviation ``spread``; biases 0."""
    from torch import nn

    for module in modules:
        for layer in module.modules():
            if isinstance(layer, nn.Linear | nn.Embedding):
                nn.init.trunc_normal_(layer.weight, std=spread)
            if isinstance(layer, nn.Linear) and layer.bias is not None:
                nn.init.zeros_(layer.bias)


def standardised(windows: Any) -> Any:
    """Return windows (..., length) with mean 0 and standard deviation 1: what a decoder is to rebuild."""
    return (windows - windows.mean(dim=-1, keepdim=True)) / (windows.std(dim=-1, keepdim=True) + 1e-6)


def correlation(a: Any, b: Any) -> Any:
    """Return Pearson's correlation over the last axis."""
    a, b = a - a.mean(dim=-1, keepdim=True), b - b.mean(dim=-1, keepdim=True)
    sizes = a.norm(dim=-1) * b.norm(dim=-1)
    return (a * b).sum(dim=-1) / (sizes + 1e-6)


def reconstruction_losses(rebuilt: Any, wanted: Any) -> dict[str, Any]:
    """Return the terms of the tokenizer's loss for windows (n, length): time, correlation, amplitude and phase.

    Spectra are of windows under Hamming's; the difference of phases is that of angles as they are, in the released code
    too, so that -180 and 180 degrees count as far apart.
    """
    import torch

    taper = torch.hamming_window(wanted.shape[-1], device=wanted.device, dtype=wanted.dtype)
    one, other = (torch.fft.rfft(taper * entry, norm="ortho") for entry in (rebuilt, wanted))
    return {
        "time": (rebuilt - wanted).abs().mean(),
        "correlation": torch.exp(-correlation(rebuilt, wanted).mean()),
        "amplitude": (one.abs() - other.abs()).abs().mean(),
        "phase": 0.5 * (one.angle() - other.angle()).abs().mean(),
    }


def tokens_of(transformer: Any, arrays: Mapping[str, np.ndarray]) -> np.ndarray:
    """Return the codes (n, sources, frames, codebooks) of prepared rows, in double precision: the same in any batch."""

    def codes(network: Any, batch: dict[str, Any]) -> Any:
        return network.codes(batch["x"].double(), batch["position"].double(), batch["sensor_type"], batch["present"])

    # A copy: codebooks and weights of the original stay as they are.
    return predict(copy.deepcopy(transformer).double(), dict(arrays), 32, function=codes)
