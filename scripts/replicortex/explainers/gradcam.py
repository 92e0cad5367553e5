"""GradCAM: the channels of a layer, weighted by their mean gradient."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from ..components import Explainer, component
from ..errors import InputError


@component
class Gradcam(Explainer):
    """A map of one layer, brought to the voxels of the input (Selvaraju et al. 2017, doi:10.1109/ICCV.2017.74).

    Parameters
    ----------
    layer : int
        Which ``layer<number>`` of the network.
    weights : {"channel", "voxel"}
        Channels are weighted by the mean of their gradient, or each voxel of a channel by its own (HiResCAM, Draelos &
        Carin 2020, doi:10.48550/arXiv.2011.08891).
    """

    tiny = {"layer": 1}

    layer: Annotated[int, Field(ge=1, le=9)] = 4
    weights: Literal["channel", "voxel"] = "channel"

    def explain(self, network: Any, x: Any, baseline: Any, regions: Any = None) -> Any:
        """Return what is positive of the map; see :class:`~replicortex.components.Explainer`."""
        import torch

        layer = getattr(network, f"layer{self.layer}", None)
        if layer is None:
            raise InputError("explainers/gradcam", f"the network has no layer{self.layer}", "name a layer that it has")
        kept = []
        handle = layer.register_forward_hook(lambda module, inputs, output: kept.append(output))
        try:
            with torch.enable_grad():
                output = network(x.detach().clone().requires_grad_())
                slopes = torch.autograd.grad(output.sum(), kept[0])[0]
        finally:
            handle.remove()
        if self.weights == "channel":
            slopes = slopes.mean(dim=(2, 3, 4), keepdim=True)
        found = (slopes * kept[0].detach()).sum(dim=1, keepdim=True).clamp(min=0)
        return torch.nn.functional.interpolate(found, x.shape[2:], mode="trilinear", align_corners=False)

    def described(self) -> str:
        """Return what it does, in words."""
        how = (
            "channels weighted by their mean gradient (GradCAM [@selvaraju2017])"
            if self.weights == "channel"
            else "channels weighted voxel by voxel by their gradient (HiResCAM [@draelos2020])"
        )
        return (
            f"Maps are what is positive of the outputs of layer {self.layer}, {how}, interpolated to the voxels of the"
            " input."
        )
