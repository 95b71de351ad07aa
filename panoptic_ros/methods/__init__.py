"""The published methods: each module holds a network and its decode, on tensors alone.

A method is described by the protocols below; `docs/add_a_method.md` adds one step by step.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from torch import Tensor, nn

from panoptic_ros.decoding.segments import Decoded
from panoptic_ros.methods import all_scales, centroid_embedding, dense_detections, einet, hle, universal

__all__ = ["METHODS", "AugmentedNetwork", "Decode", "Decoded", "MakeNetwork", "Method", "Network"]


class Network(Protocol):
    """A method's network, an nn.Module; `networks.panoptic_network.PanopticNetwork` has most of it.

    stride: sides of its input are multiples of it.
    pixel_outputs: names of the outputs that are maps over the image (B, ., h, w); what is not named there is per
        object, per level or per location. A network that predicts depth in metres has an output `depth` among them.
    dynamic_size: whether a graph that was traced at one input shape holds at all others; False: it is traced for each,
        as where positions are interpolated or anchors are laid out for the size, or images are gone through one by one.
    mean, std: the input normalisation of the backbone's pretrained weights: RGB, 0 to 1.
    backbone: the encoder, which pretrained weights or another model's backbone are loaded into; its parameters' names
        begin with `backbone.`.
    """

    @property
    def stride(self) -> int: ...
    @property
    def pixel_outputs(self) -> frozenset[str]: ...
    @property
    def dynamic_size(self) -> bool: ...
    @property
    def mean(self) -> tuple[float, float, float]: ...
    @property
    def std(self) -> tuple[float, float, float]: ...
    @property
    def backbone(self) -> nn.Module: ...

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        """(B, 3, H, W) float, normalised -> named tensors; exportable: static shapes, no data-dependent control flow.

        A two-stage network has a fixed number of proposals, padded, with a score that says which are real.
        """

    def layers(self) -> dict[str, list[str]]:
        """Names of all parameters by layer, from stem to head: for learning-rate decay by layer and for freezing."""

    def no_weight_decay(self) -> set[str]:
        """Names of parameters without weight decay, besides vectors and scalars, which never have any."""

    def decode_parameters(self) -> dict[str, Tensor]:
        """Tensors that the decode takes besides the outputs, the same for every image, such as class means."""


class MakeNetwork(Protocol):
    """Called with the hyper-parameters and which of the classes are things.

    pretrained: initial weights of the backbone, see `networks.backbones.Backbone`.
    """

    def __call__(self, hyperparameters: Any, is_thing: Sequence[bool],
                 pretrained: bool | Mapping[str, Tensor] = False) -> nn.Module: ...


class Decode(Protocol):
    """Tensor code on the device of its inputs, without a loop over pixels or instances.

    outputs: of the network, and its decode_parameters. is_thing: (C,) bool. thresholds: the method's. output_size:
    (H, W). with_semantics: whether to make the semantic map as well: the argmax of the class probabilities in every
    pixel, which no threshold changes; the segments are the same with it and without.
    """

    def __call__(self, outputs: dict[str, Tensor], is_thing: Tensor, thresholds: Any,
                 output_size: tuple[int, int], with_semantics: bool = False) -> Decoded: ...


class AugmentedNetwork(Protocol):
    """Test-time augmentation: the network's outputs for an image (B, 3, H, W), averaged over the image at these scales
    and, with flip, over the mirror image of each.

    network: an image to its outputs. stride: of the network. Raises InputError for scales that the method does not
    take.
    """

    def __call__(self, network: Callable[[Tensor], dict[str, Tensor]], image: Tensor, scales: Sequence[float],
                 flip: bool, stride: int) -> dict[str, Tensor]: ...


@dataclass(frozen=True)
class Method:
    """What the rest of the package needs to know of a method.

    hyperparameters: frozen dataclass, the paper's values as defaults; built from `model.yaml`.
    network: makes a `Network`.
    thresholds: frozen dataclass of the decode's settings; each field's metadata has `range`, `description` and, where
        tuning looks for the best value, `search` (see `panoptic_ros.settings.setting`).
    test_time_augmentation: None where the method has none.
    """

    hyperparameters: type
    network: MakeNetwork
    thresholds: type
    decode: Decode
    test_time_augmentation: AugmentedNetwork | None = None


METHODS: dict[str, Method] = {
    "all_scales": Method(all_scales.Hyperparameters, all_scales.Network, all_scales.Thresholds, all_scales.decode,
                         all_scales.test_time_augmentation),
    "centroid_embedding": Method(centroid_embedding.Hyperparameters, centroid_embedding.Network,
                                 centroid_embedding.Thresholds, centroid_embedding.decode),
    "dense_detections": Method(dense_detections.Hyperparameters, dense_detections.Network, dense_detections.Thresholds,
                               dense_detections.decode, dense_detections.test_time_augmentation),
    "einet": Method(einet.Hyperparameters, einet.Network, einet.Thresholds, einet.decode,
                    einet.test_time_augmentation),
    "hle": Method(hle.Hyperparameters, hle.Network, hle.Thresholds, hle.decode, hle.test_time_augmentation),
    "universal": Method(universal.Hyperparameters, universal.Network, universal.Thresholds, universal.decode,
                        universal.test_time_augmentation),
}
