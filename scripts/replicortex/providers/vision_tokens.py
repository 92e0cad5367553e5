"""The map of tokens of a vision transformer: DINOv2, CLIP, ViT, from a folder with its weights or tiny and random."""

from __future__ import annotations

import contextlib
import importlib
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field, PositiveInt

from ..components import Provider, component
from ..errors import InputError
from ..files import digest_file
from ..shared.pictures import read_picture
from ..shared.torch_device import reproducible
from ..shared.words import count, listed, text

#: What the networks were trained with, where the folder does not say.
_MEAN, _DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_NAMES = {"dinov2": "DINOv2 [@oquab2023]", "clip": "CLIP [@radford2021]", "vit": "ViT [@dosovitskiy2020]"}
_CLASSES = {"dinov2": "Dinov2", "clip": "CLIPVision", "vit": "ViT"}
#: A network of the same kind that takes seconds; the names of what differs between them are those of the library.
_TINY = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}


@component
class VisionTokens(Provider):
    """Pass pictures through a frozen vision transformer and take the tokens of one of its layers.

    Needs the package transformers, which is no part of the environments that are shipped, and never reaches for the
    network: weights lie in a folder in the layout of that package (``config.json``, ``model.safetensors`` and perhaps
    ``preprocessor_config.json``). No code and no pickle of the folder is read.

    Parameters
    ----------
    kind : {"dinov2", "clip", "vit"}
        Which network.
    config_file : str or None
        ``config.json`` of the folder; without it a tiny network with random weights takes its place, of the same class.
    digest : str or None
        That of the weights (blake2b, 32 hex digits) as ``replicortex`` prints it; other weights are refused.
    size : int
        Side in pixels that pictures are brought to, with its multiple of the patch: 434 makes 31 x 31 tokens of 14.
    layer : int
        Of the hidden states, 0 the embedding; negative from the end.
    class_token : bool
        Keep the class token, as the first one, at the middle of the picture.
    batch_size : int
        Pictures at a time.
    seed : int
        Of the random weights.
    """

    kinds = ("image",)
    family = "torch"
    tiny = {"size": 28}
    untold = frozenset({"batch_size", "digest"})

    kind: Literal["dinov2", "clip", "vit"] = "dinov2"
    config_file: str | None = None
    digest: Annotated[str, Field(pattern="^[0-9a-f]{32}$")] | None = None
    size: PositiveInt = 434
    layer: int = -1
    class_token: bool = False
    batch_size: PositiveInt = 16
    seed: int = 0

    def tokens(self, stimuli: Sequence[Mapping[str, str]], root: Path) -> Iterator[np.ndarray]:
        """Yield the tokens of the layer, rows of the picture first; see :class:`Provider`.

        Raises
        ------
        InputError
            If the package is missing, the folder is not one of this kind of network, or its weights are others.
        """
        import torch

        with reproducible(self.seed) as device:
            network, patch = self._network()
            network.to(device).eval()
            if self.size % patch:
                raise InputError("stimulus card", f"size {self.size} is no multiple of {patch} pixels", "correct it")
            mean, deviation = (torch.tensor(value, device=device).view(3, 1, 1) for value in self._colours())
            side = self.size // patch
            self._grid = side
            for first in range(0, len(stimuli), self.batch_size):
                part = [read_picture(root, row["path"]) for row in stimuli[first : first + self.batch_size]]
                scaled = [
                    torch.nn.functional.interpolate(
                        torch.from_numpy(picture).permute(2, 0, 1)[None],
                        (self.size, self.size),
                        mode="bicubic",
                        antialias=True,
                    )
                    for picture in part
                ]
                pixels = (torch.cat(scaled).clamp(0, 1).to(device) - mean) / deviation
                with torch.no_grad(), _quiet():
                    # DINOv2 stretches its places to any size unasked, the others when told.
                    told = {} if self.kind == "dinov2" else {"interpolate_pos_encoding": True}
                    hidden = network(pixels, output_hidden_states=True, **told).hidden_states
                if not -len(hidden) <= self.layer < len(hidden):
                    fault = f"the network has no hidden state {self.layer} ({len(hidden)} of them)"
                    raise InputError("stimulus card", fault, "correct layer")
                values = hidden[self.layer]
                places = values[:, -side * side :]
                made = torch.cat([values[:, :1], places], dim=1) if self.class_token else places
                yield made.float().cpu().numpy()

    def _network(self) -> tuple[Any, int]:
        """Return the network and the side of its patches in pixels."""
        try:
            library = importlib.import_module("transformers")
        except ImportError as error:
            fault = f"needs the package transformers, which this environment lacks ({error})"
            raise InputError("providers/vision_tokens", fault, "install it, or give a file of features") from None
        model, config = (getattr(library, _CLASSES[self.kind] + part) for part in ("Model", "Config"))
        if self.config_file is None:
            given = {**_TINY, **({"mlp_ratio": 2} if self.kind == "dinov2" else {})}
            made = config(**given, image_size=self.size, patch_size=14)
            return model(made), made.patch_size
        folder = Path(self.config_file).parent
        weights = folder / "model.safetensors"
        if Path(self.config_file).name != "config.json" or not weights.is_file():
            raise InputError(self.config_file, "is not beside a model.safetensors", "name config.json of such a folder")
        found = digest_file(weights)
        print(f"weights of {folder.name}: {found}")
        if self.digest not in (None, found):
            raise InputError(weights.name, f"has the digest {found}, not {self.digest}", "restore the weights")
        try:
            with _quiet():
                made, told = model.from_pretrained(
                    folder,
                    local_files_only=True,
                    use_safetensors=True,
                    trust_remote_code=False,
                    output_loading_info=True,
                )
        except (OSError, ValueError, RuntimeError, KeyError, TypeError) as error:
            first = str(error).strip().partition("\n")[0]
            raise InputError(
                self.config_file, f"not readable as {self.kind} ({first})", "choose another kind"
            ) from None
        if told["missing_keys"]:
            lacking = sorted(told["missing_keys"])
            fault = f"lacks {lacking[0]} ({len(lacking)} tensor(s) missing)"
            raise InputError(weights.name, fault, "choose the kind of network that the folder holds")
        return made, int(made.config.patch_size)

    def _colours(self) -> tuple[Sequence[float], Sequence[float]]:
        """Return mean and standard deviation of the colours that the network was trained with."""
        file = Path(self.config_file).parent / "preprocessor_config.json" if self.config_file else None
        told = json.loads(file.read_text(encoding="utf-8")) if file and file.is_file() else {}
        return told.get("image_mean", _MEAN), told.get("image_std", _DEVIATION)

    def positions(self) -> list[list[float]]:
        """Return row and column of each token; the class token is in the middle."""
        middle = [[(self._grid - 1) / 2, (self._grid - 1) / 2]] if self.class_token else []
        return middle + [[float(row), float(column)] for row in range(self._grid) for column in range(self._grid)]

    def described(self) -> str:
        """Return what it does, in words."""
        weights = (
            f"with random weights (seed {self.seed}), of {count(_TINY['num_hidden_layers'], 'layer')} and width"
            f" {_TINY['hidden_size']}"
            if self.config_file is None
            else f"with published weights, kept frozen{'' if self.seed == 0 else f' (seed {self.seed})'}"
        )
        state = "the last layer" if self.layer == -1 else f"hidden state {self.layer}"
        kept = listed(["the class token", "the tokens of patches"]) if self.class_token else "the tokens of patches"
        return text(
            f"Pictures of {count(self.size, 'pixel')} a side were passed through the vision transformer"
            f" {_NAMES[self.kind]} {weights}, by the package transformers [@wolf2020]; {kept} of {state} were taken."
        )


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep the library from writing to the log what is no fault."""
    logging = importlib.import_module("transformers").logging
    before = logging.get_verbosity()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(before)
