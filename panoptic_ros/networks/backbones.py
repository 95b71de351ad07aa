"""Backbones: encoders from timm, convolutional or plain vision transformers, behind one interface."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping, Sequence
from typing import Any

import timm
from torch import Tensor, nn

from panoptic_ros.errors import InputError

# timm's modules of plain vision transformers: all of their maps have the stride of a patch.
_PLAIN_VITS = ("timm.models.vision_transformer", "timm.models.eva", "timm.models.beit", "timm.models.deit")
# Parts of an encoder that hold its layers one by one, and parts that are one layer each.
_STACKS = ("blocks", "stages", "layers", "features")
_NUMBERED = re.compile(r"(layer|stage|blocks_|stages_|layers_|features_)\d+")


class Backbone(nn.Module):
    """Image -> feature maps at several strides, finest first.

    name: any timm model with `features_only`, such as `resnet50` or `tf_efficientnet_lite0`, or a plain vision
        transformer with `forward_intermediates`, such as `vit_base_patch14_dinov2`.
    strides: of the maps, powers of two that the encoder has. A vision transformer gives as many maps, all at the stride
        of its patches.
    output_stride: of the last map, 8, 16 or 32: the stages beyond it are dilated instead. None: as the encoder is.
    blocks: of a vision transformer, after which block, counted from 1, each map is taken; default: evenly spaced.
    pretrained: initial weights: False = random, True = timm's own by name, or a state dict of the timm model.

    Has, besides, `channels` and `strides` of each map, `stride` (sides of the image must be multiples of it), `is_vit`,
    `mean` and `std` that inputs are normalised by, RGB from 0 to 1 (timm's pretrained_cfg).
    Raises InputError for a name that timm does not have, or an encoder without such maps.
    """

    def __init__(self, name: str, strides: Sequence[int], output_stride: int | None = None,
                 blocks: Sequence[int] = (), pretrained: bool | Mapping[str, Tensor] = False) -> None:
        super().__init__()
        if not timm.is_model(name):
            known = difflib.get_close_matches(name, timm.list_models(), 3, 0.5)
            raise InputError(f"timm has no backbone '{name}'" + (f"; near are {', '.join(known)}" if known else ""))
        settings: dict[str, Any] = {"pretrained": bool(pretrained)}
        if isinstance(pretrained, Mapping):
            settings["pretrained_cfg_overlay"] = {"state_dict": dict(pretrained)}
        self.is_vit = timm.models.model_entrypoint(name.split(".")[0]).__module__ in _PLAIN_VITS
        if self.is_vit:
            self._make_vit(name, len(strides), blocks, settings)
        else:
            self._make_convolutional(name, tuple(strides), output_stride, settings)
        cfg = self.encoder.pretrained_cfg
        self.mean: tuple[float, float, float] = tuple(cfg["mean"])
        self.std: tuple[float, float, float] = tuple(cfg["std"])

    def _make_convolutional(self, name: str, strides: tuple[int, ...], output_stride: int | None,
                            settings: dict[str, Any]) -> None:
        if output_stride is not None:
            settings["output_stride"] = output_stride
        try:
            # Without weights at first: what fails here is the encoder, not that its weights cannot be had.
            self.encoder: Any = timm.create_model(name, features_only=True, **{**settings, "pretrained": False})
        except (RuntimeError, AttributeError, NotImplementedError, TypeError) as error:
            raise InputError(f"timm's '{name}' is no backbone with maps at several strides: {error}") from error
        if settings["pretrained"]:
            self.encoder = timm.create_model(name, features_only=True, **settings)
        reduction, channels = self.encoder.feature_info.reduction(), self.encoder.feature_info.channels()
        if missing := [stride for stride in strides if stride not in reduction]:
            raise InputError(f"the backbone '{name}' has no map at stride {missing[0]}; it has maps at "
                             f"{', '.join(map(str, dict.fromkeys(reduction)))}")
        last = {stride: i for i, stride in enumerate(reduction)}
        self._maps = [last[stride] for stride in strides]
        self.strides = list(strides)
        self.channels: list[int] = [channels[i] for i in self._maps]
        self.stride = 32

    def _make_vit(self, name: str, count: int, blocks: Sequence[int], settings: dict[str, Any]) -> None:
        self.encoder = timm.create_model(name, num_classes=0, dynamic_img_size=True, **settings)
        depth = len(self.encoder.blocks)
        chosen = list(blocks) or [round(depth * (i + 1) / count) for i in range(count)]
        if len(chosen) != count or not all(1 <= block <= depth for block in chosen):
            raise InputError(f"blocks are {list(blocks)}; of '{name}' it takes {count} from 1 to {depth}")
        self._maps = [block - 1 for block in chosen]
        # What no map is made from is not kept, and not trained.
        self.encoder.prune_intermediate_layers(self._maps, prune_norm=False, prune_head=True)
        self.stride = int(self.encoder.patch_embed.patch_size[0])
        self.strides, self.channels = [self.stride] * count, [self.encoder.embed_dim] * count

    def forward(self, image: Tensor) -> list[Tensor]:
        """(B, 3, H, W), sides multiples of `stride` -> maps (B, channels[i], H / strides[i], W / strides[i])."""
        if self.is_vit:
            maps: list[Tensor] = self.encoder.forward_intermediates(
                image, indices=self._maps, intermediates_only=True, norm=True, output_fmt="NCHW")
            return maps
        every = self.encoder(image)
        return [every[i] for i in self._maps]

    def layers(self) -> dict[str, list[str]]:
        """Names of the parameters by layer, from stem to last.

        A layer is a block or stage of the encoder; the first, `stem`, is all that stands before them.
        """
        layers: dict[str, list[str]] = {"stem": []}
        current = "stem"
        for name, _ in self.named_parameters():
            first, *rest = name.removeprefix("encoder.").split(".")
            if first in _STACKS:
                current = f"{first}.{rest[0]}"
            elif _NUMBERED.fullmatch(first) or (current != "stem" and not first.startswith(("norm", "fc_norm"))):
                current = first
            layers.setdefault(current, []).append(name)
        return layers

    def no_weight_decay(self) -> set[str]:
        """Names of parameters without weight decay besides vectors: a transformer's tokens and position embeddings."""
        names: set[str] = getattr(self.encoder, "no_weight_decay", set)()
        return {f"encoder.{name}" for name in names}
