"""What torch methods share: models that are saved as safetensors with a card, and networks that can be priced."""

from __future__ import annotations

import functools
import hashlib
import io
import json
import zipfile
from abc import abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar

from ..bundle import Bundle
from ..components import Method, parameters
from ..errors import InputError

_CARD = "card.json"


@dataclass(frozen=True)
class Published:
    """The number of parameters that a paper or its released code states.

    Parameters
    ----------
    n_parameters : int
        Of the configuration ``paper_shapes`` with the default parameters.
    tolerance : float
        Relative difference that is allowed: 0 where an exact number is published.
    source : str
        Where it stands, in words, with the DOI or the closed form where the count is derived.
    """

    n_parameters: int
    tolerance: float
    source: str


class TorchMethod(Method):
    """A method whose fitted model is one or several torch networks.

    A subclass gives:

    ``network(self, **shapes)``
        Builds the untrained network from plain numbers; torch is imported inside. ``fit`` sets ``self.shapes_`` to
        these numbers and ``self.network_`` to what it trained. Only parameters of the component and ``shapes`` may
        decide on the architecture, since a saved model is built by ``network(**shapes_)`` before its weights are read.
    ``state``
        Other fitted attributes, saved as those of every method (:mod:`replicortex.stored`); ``shapes_`` must be one.
    ``modules``
        Names of the fitted networks; ``decoder_`` is built by ``self.decoder(**self.shapes_)``.
    ``paper_shapes``, ``published``
        Input shapes of the published configuration, and its number of parameters: a test builds
        ``network(**paper_shapes)`` with the default parameters on the meta device and compares.
    ``twin``
        Whether variants ``random-<k>`` ask the method for an untrained twin: ``fit`` passes ``self.context`` on to
        :func:`replicortex.shared.training.train`, which then takes no step.
    ``streams``
        Whether ``fit`` and ``predict`` take arrays of a bundle that are :class:`replicortex.shared.rows.Rows`, which
        are read by rows (pass them on to ``train`` and ``predict``; ``numpy.asarray`` of one reads all).

    For prices (:mod:`replicortex.shared.pricing`, shown by ``replicortex describe``) it may give

    ``step(self, network, batch)``
        The loss of one batch, as :func:`replicortex.shared.training.train` takes it: the function that ``fit`` trains
        with. It may not ask for values (``item``, boolean indices): it is priced on tensors without content.
    ``paper_batch(self)``
        Shape and type of each array of a batch of the published configuration, such as
        ``{"x": ((2, 1, 160, 192, 160), "float32"), "target": ((2,), "float32")}``.
    ``training(self)``
        The :class:`replicortex.shared.training.Training` that ``fit`` uses: optimiser, precision and moving average.

    Published weights are a parameter ``weights: Weights | None = None`` (:mod:`replicortex.shared.checkpoints`) that
    ``fit`` reads by ``load_weights(self.network_, self.weights, ...)``, but not if ``self.context.untrained``.
    """

    modules: ClassVar[tuple[str, ...]] = ("network_",)
    state: ClassVar[tuple[str, ...]] = ("shapes_",)
    twin: ClassVar[bool] = True
    streams: ClassVar[bool] = False
    paper_shapes: ClassVar[dict[str, Any]] = {}
    published: ClassVar[Published | None] = None
    #: What the weights may be used for; stands in the model's card.
    intended_use: ClassVar[str] = "Research: to repeat the study that it was fitted for. Not for decisions on patients."
    #: Of the weights, beside that of the data that they were fitted on.
    licence: ClassVar[str] = "BSD-3-Clause; the licence of the training data applies to what is derived from it"

    def __init_subclass__(cls, **kwargs: Any) -> None:
        own = "fit" in vars(cls)
        super().__init_subclass__(**kwargs)
        if own:
            cls.fit = _noted(vars(cls)["fit"])

    @abstractmethod
    def network(self, **shapes: Any) -> Any:
        """Return the untrained network (an ``nn.Module``) for inputs of these ``shapes``."""

    def card(self) -> dict[str, Any]:
        """Return what is to be known of the fitted model, as plain JSON values.

        Neither dates nor versions: the same model gives the same bytes. Subjects stand as the SHA-256 of their names,
        so that whoever has the names can ask whether one was seen; it does not hide names that can be guessed.
        """
        counts = {
            name: sum(entry.numel() for entry in getattr(self, name).parameters()) for name in sorted(self.modules)
        }
        return {
            "method": type(self).__module__.rpartition(".")[2],
            "params": parameters(self),
            "n_parameters": counts,
            "trained_on": getattr(self, "trained_on_", {}),
            "licence": self.licence,
            "intended_use": self.intended_use,
        }

    def dump(self) -> bytes:
        """Return the fitted model: what :meth:`Method.dump` writes, a safetensors member a network, and its card."""
        import safetensors.torch

        buffer = io.BytesIO(super().dump())
        with zipfile.ZipFile(buffer, "a") as archive:
            for name in self.modules:
                tensors = {key: entry.clone().contiguous() for key, entry in _tensors(getattr(self, name)).items()}
                archive.writestr(zipfile.ZipInfo(f"{name}.safetensors"), safetensors.torch.save(tensors))
            text = json.dumps(self.card(), indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False)
            archive.writestr(zipfile.ZipInfo(_CARD), text + "\n")
        return buffer.getvalue()

    def restore(self, content: bytes) -> None:
        """Read what :meth:`dump` wrote; no code in it is run.

        Raises
        ------
        InputError
            If it is damaged, or a tensor is missing, unknown, or of another shape or type than the parameters give.
        """
        import safetensors.torch
        import torch

        super().restore(content)
        try:
            with zipfile.ZipFile(io.BytesIO(content)) as archive:
                self.trained_on_ = json.loads(archive.read(_CARD))["trained_on"]
                found = {name: safetensors.torch.load(archive.read(f"{name}.safetensors")) for name in self.modules}
        except MemoryError:
            raise
        except Exception as error:
            # zipfile, JSON and safetensors fail in as many ways as files are damaged.
            raise InputError("model", f"not readable ({type(error).__name__}: {error})", "fit it again") from None
        for name, tensors in found.items():
            with torch.random.fork_rng(devices=[]):
                module = getattr(self, name.removesuffix("_"))(**self.shapes_)
            fault = _unlike(_tensors(module), tensors)
            if fault:
                raise InputError(f"model {name}", fault, "read it with the parameters that it was fitted with")
            module.load_state_dict(tensors, strict=False)
            setattr(self, name, module.eval())


def _tensors(module: Any) -> dict[str, Any]:
    """Return parameters and buffers by name; of those that share memory the first alone, as safetensors wants it."""
    seen, found = set(), {}
    for name, value in module.state_dict().items():
        key = (value.data_ptr(), value.shape, value.stride()) if value.numel() else name
        if key not in seen:
            seen.add(key)
            found[name] = value.detach().cpu()
    return found


def _unlike(wanted: dict[str, Any], found: dict[str, Any]) -> str | None:
    """Return the first difference of two sets of tensors, in words."""
    missing, strange = sorted(wanted.keys() - found.keys()), sorted(found.keys() - wanted.keys())
    if missing:
        return f"lacks {missing[0]} ({len(missing)} tensor(s) missing)"
    if strange:
        return f"has {strange[0]}, which the network has not ({len(strange)} tensor(s) unknown)"
    for name in sorted(wanted):
        if wanted[name].shape != found[name].shape:
            return f"{name} has shape {tuple(found[name].shape)}, the network {tuple(wanted[name].shape)}"
        if wanted[name].dtype != found[name].dtype:
            return f"{name} is {found[name].dtype}, in the network {wanted[name].dtype}"
    return None


def _noted(fit: Any) -> Any:
    """Wrap ``fit`` so that the model's card knows what it was trained on."""

    @functools.wraps(fit)
    def wrapper(self: Any, train: Bundle, seed: int) -> Any:
        subjects = sorted(set(map(str, train.rows["subject"])))
        self.trained_on_ = {
            "data": self.context.data,
            "n_rows": len(train),
            "n_subjects": len(subjects),
            "subjects_sha256": sorted(hashlib.sha256(name.encode()).hexdigest() for name in subjects),
            "seed": int(seed),
            "untrained": self.context.untrained,
        }
        return fit(self, train, seed)

    return wrapper
