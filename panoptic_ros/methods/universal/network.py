"""Mask2Former, OneFormer and EoMT of transformers as one network: class and mask logits of queries."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from panoptic_ros.errors import InputError

# Architecture -> the parts of the library's model that are its encoder. EoMT has no other: its queries go through the
# last blocks of the vision transformer itself.
ENCODERS: dict[str, tuple[str, ...]] = {
    "mask2former": ("model.pixel_level_module.encoder",),
    "oneformer": ("model.pixel_level_module.encoder",),
    "eomt": ("embeddings", "layers", "layernorm"),
}
_NUMBERED = re.compile(r"^.*?\.\d+(?=\.)")
_NO_WEIGHT_DECAY = ("cls_token", "register_tokens", "relative_position_bias_table")


@dataclass(frozen=True)
class Hyperparameters:
    """The architecture in the library's own words.

    architecture: `mask2former`, `oneformer` or `eomt`, the library's model_type.
    config: keys of its configuration that differ from the library's defaults; the number of classes is not among them.
    task_tokens: of OneFormer, the token ids of "the task is panoptic", which its tokenizer gives.
    """

    architecture: str = "mask2former"
    config: dict[str, Any] = field(default_factory=dict)
    task_tokens: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if self.architecture not in ENCODERS:
            raise InputError(f"architecture is '{self.architecture}'; it must be one of {', '.join(ENCODERS)}")


class Network(nn.Module):
    """Image (B, 3, H, W) -> class and mask logits of Q queries, and the embedding of each.

    The encoder is `backbone`, all else is `segmenter`, the library's model without it. EoMT takes images of any size
    here: its position embeddings are interpolated from the square that it was trained with.
    Raises InputError where transformers is not installed, or does not take the configuration.
    """

    pixel_outputs = frozenset({"mask_logits"})
    # Sizes of the feature maps are numbers in the library's code.
    dynamic_size = False
    # Of ImageNet, by which the library's models normalise; a model folder has its own.
    mean = (0.485, 0.456, 0.406)
    std = (0.229, 0.224, 0.225)
    task_tokens: Tensor

    def __init__(self, hyperparameters: Hyperparameters, is_thing: Sequence[bool],
                 pretrained: bool | Mapping[str, Tensor] = False) -> None:
        super().__init__()
        if pretrained:
            raise InputError("universal has no backbone of timm: in place of `pretrained`, start from a model that "
                             "`panoptic-ros fetch` made (initial_model)")
        self.architecture = hyperparameters.architecture
        segmenter = _library_model(hyperparameters, len(is_thing))
        if self.architecture == "eomt":
            patch = int(segmenter.config.patch_size)
            self.stride = patch
            segmenter.embeddings.position_embeddings = PositionGrid(segmenter.grid_size, segmenter.config.hidden_size)
        else:
            self.stride = 32
            segmenter.model.pixel_level_module.decoder.encoder.get_reference_points = reference_points
        encoder = {path.rpartition(".")[2]: segmenter.get_submodule(path) for path in ENCODERS[self.architecture]}
        self.backbone: nn.Module = nn.ModuleDict(encoder) if len(encoder) > 1 else next(iter(encoder.values()))
        self.segmenter = segmenter
        # The encoder's parameters belong to `backbone` alone; the library's code still finds it where it was.
        for path, (name, part) in zip(ENCODERS[self.architecture], encoder.items(), strict=True):
            parent = segmenter.get_submodule(path.rpartition(".")[0])
            del parent._modules[name]
            object.__setattr__(parent, name, part)
        tokens = hyperparameters.task_tokens
        if self.architecture == "oneformer" and len(tokens) != segmenter.config.task_seq_len:
            raise InputError(f"task_tokens has {len(tokens)} numbers; this OneFormer takes "
                             f"{segmenter.config.task_seq_len}, padded with 0")
        self.register_buffer("task_tokens", torch.tensor(tokens, dtype=torch.float32), persistent=False)

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        """
        image: (B, 3, H, W) float, normalised; H and W multiples of `stride`.

        Returns class_logits (B, Q, C + 1), the last of them for no object, mask_logits (B, Q, H/4, W/4) and
        query_embedding (B, Q, D), the decoder's output for each query, not normalised.
        """
        outputs = self.transformers_outputs(image)
        queries = outputs.class_queries_logits.shape[1]
        embedding = {"mask2former": "transformer_decoder_last_hidden_state", "eomt": "last_hidden_state",
                     "oneformer": "transformer_decoder_object_queries"}[self.architecture]
        return {"class_logits": outputs.class_queries_logits.float(),
                "mask_logits": outputs.masks_queries_logits.float(),
                "query_embedding": outputs[embedding][:, :queries].float()}

    def transformers_outputs(self, image: Tensor, **labels: Any) -> Any:
        """What the library's model returns. labels: mask_labels and class_labels, for its loss."""
        if self.architecture == "eomt":
            grid = (image.shape[2] // self.stride, image.shape[3] // self.stride)
            self.segmenter.grid_size = self.segmenter.embeddings.position_embeddings.grid = grid
        elif self.architecture == "oneformer":
            labels["task_inputs"] = self.task_tokens.expand(len(image), -1)
        return self.segmenter(pixel_values=image, **labels)

    def load_library_state(self, state: Mapping[str, Tensor]) -> None:
        """Take the weights of the library's model of this configuration, by its names."""
        ours = {}
        for name, value in state.items():
            for path in ENCODERS[self.architecture]:
                if name.startswith(f"{path}."):
                    inside = name if len(ENCODERS[self.architecture]) > 1 else name[len(path) + 1:]
                    ours[f"backbone.{inside}"] = value
                    break
            else:
                ours[f"segmenter.{name}"] = value
        self.load_state_dict(ours)

    def layers(self) -> dict[str, list[str]]:
        """Names of all parameters by layer from stem to head: a layer is a stage or block of the encoder."""
        layers: dict[str, list[str]] = {"stem": []}
        current = "stem"
        for name, _ in self.backbone.named_parameters(prefix="backbone"):
            if numbered := _NUMBERED.match(name):
                current = numbered.group()
            layers.setdefault(current, []).append(name)
        return {**layers, "head": [name for name, _ in self.segmenter.named_parameters(prefix="segmenter")]}

    def no_weight_decay(self) -> set[str]:
        """The queries, tokens and position embeddings."""
        embeddings = {f"{name}.weight" for name, module in self.named_modules() if isinstance(module, nn.Embedding)}
        return embeddings | {name for name, _ in self.named_parameters() if name.endswith(_NO_WEIGHT_DECAY)}

    def decode_parameters(self) -> dict[str, Tensor]:
        """None: all that the decode takes are outputs."""
        return {}


class PositionGrid(nn.Embedding):
    """Position embeddings of a grid of patches, interpolated to `grid` (rows, columns) where that is another one."""

    def __init__(self, trained: tuple[int, int], dimension: int) -> None:
        super().__init__(trained[0] * trained[1], dimension)
        self.trained = self.grid = trained

    def forward(self, input: Tensor) -> Tensor:
        """input: the numbers of all patches, which are not needed. Returns (1, rows * columns, D)."""
        if self.grid == self.trained:
            return self.weight[None]
        positions = self.weight.T.view(1, -1, *self.trained)
        resized = F.interpolate(positions, self.grid, mode="bicubic", align_corners=False)
        return resized.flatten(2).transpose(1, 2)


def reference_points(spatial_shapes_list: Sequence[tuple[int, int]], valid_ratios: Tensor,
                     device: torch.device) -> Tensor:
    """Centres of the cells of L feature maps, as the library's deformable attention has them, in single precision: its
    own are double in an ONNX graph, and no runtime samples at such.

    spatial_shapes_list: rows and columns of each map. valid_ratios: (B, L, 2). Returns (B, cells, L, 2), x and y from 0
    to 1. The names of the arguments are the library's.
    """
    points = []
    for level, (rows, columns) in enumerate(spatial_shapes_list):
        y, x = (torch.arange(int(n), device=device, dtype=valid_ratios.dtype) + 0.5 for n in (rows, columns))
        center = torch.stack([x.repeat(int(rows)), y.repeat_interleave(int(columns))], 1)
        extent = valid_ratios[:, level] * torch.tensor([float(columns), float(rows)], device=device)
        points.append(center / extent[:, None])
    return torch.cat(points, 1)[:, :, None] * valid_ratios[:, None]


def _library_model(hyperparameters: Hyperparameters, classes: int) -> Any:
    try:
        # Here, since the import takes seconds, and the package works without it.
        from transformers import AutoConfig, AutoModelForUniversalSegmentation
    except ImportError as error:
        raise InputError("a model of the method universal needs transformers, which is not installed: "
                         "pip install 'panoptic-ros[universal]'") from error
    try:
        config = AutoConfig.for_model(hyperparameters.architecture, num_labels=classes, **hyperparameters.config)
        return AutoModelForUniversalSegmentation.from_config(config)
    except Exception as error:  # of many kinds: its checks of types, PyTorch's of sizes, missing keys
        raise InputError(f"transformers cannot make a {hyperparameters.architecture} of this config: {error}"
                         ) from error
