"""PanopticNetwork: base class of the methods' networks, with what each declares about its backbone."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from panoptic_ros.networks.backbones import Backbone

# Of the map that objects are told apart by. The one at stride 4 tells them apart no better and has four times as many
# numbers; what lies deeper says more of the class than of the object.
APPEARANCE_STRIDE = 8


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
        """Mean that the backbone's pretrained weights expect inputs to be normalised by: RGB, 0 to 1."""
        return self.backbone.mean

    @property
    def std(self) -> tuple[float, float, float]:
        """Standard deviation that goes with `mean`."""
        return self.backbone.std

    def appearance(self, maps: Sequence[Tensor]) -> dict[str, Tensor]:
        """The output `appearance` (B, A, h, w), by which objects are told apart over time: the backbone's map at
        APPEARANCE_STRIDE or the nearest to it. None in training, where nothing needs it.

        maps: of the backbone.
        """
        if self.training:
            return {}
        strides = self.backbone.strides
        return {"appearance": maps[min(range(len(strides)), key=lambda i: abs(strides[i] - APPEARANCE_STRIDE))].float()}

    def layers(self) -> dict[str, list[str]]:
        """Names of all parameters by layer from stem to head; all outside the backbone are the layer `head`."""
        layers = {layer: [f"backbone.{name}" for name in names] for layer, names in self.backbone.layers().items()}
        in_backbone = {name for names in layers.values() for name in names}
        return {**layers, "head": [name for name, _ in self.named_parameters() if name not in in_backbone]}

    def no_weight_decay(self) -> set[str]:
        """Names of parameters without weight decay, besides vectors and scalars, which never have any."""
        return {f"backbone.{name}" for name in self.backbone.no_weight_decay()}

    def decode_parameters(self) -> dict[str, Tensor]:
        """Tensors that the decode takes besides the outputs, the same for every image."""
        return {}
