"""PanopticNetwork: what the networks of all methods that have a backbone declare in the same way."""

from __future__ import annotations

from torch import Tensor, nn

from panoptic_ros.networks.backbones import Backbone


class PanopticNetwork(nn.Module):
    """Base of a method's network; see `panoptic_ros.methods.Network` for the contract.

    backbone: set by the subclass. pixel_outputs: names of the outputs that are maps (B, ., h, w) over the image.
    """

    backbone: Backbone
    pixel_outputs: frozenset[str]

    @property
    def stride(self) -> int:
        """Sides of the input are multiples of it."""
        return self.backbone.stride

    @property
    def dynamic_size(self) -> bool:
        """Whether what is traced at one size of the input holds at all others; else it is traced for each."""
        return not self.backbone.is_vit

    @property
    def mean(self) -> tuple[float, float, float]:
        """Of the colours, 0 to 1, red first, that the backbone's weights were trained with."""
        return self.backbone.mean

    @property
    def std(self) -> tuple[float, float, float]:
        """As `mean`: the deviation."""
        return self.backbone.std

    def layers(self) -> dict[str, list[str]]:
        """Names of all parameters by layer from stem to head; all that is not the backbone is the layer `head`."""
        layers = {layer: [f"backbone.{name}" for name in names] for layer, names in self.backbone.layers().items()}
        known = {name for names in layers.values() for name in names}
        return {**layers, "head": [name for name, _ in self.named_parameters() if name not in known]}

    def no_weight_decay(self) -> set[str]:
        """Names of parameters that are not decayed, besides vectors and scalars, which never are."""
        return {f"backbone.{name}" for name in self.backbone.no_weight_decay()}

    def decode_parameters(self) -> dict[str, Tensor]:
        """What the decode takes besides the outputs and what does not depend on the image."""
        return {}
