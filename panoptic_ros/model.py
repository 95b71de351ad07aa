"""A model folder: model.yaml beside weights.safetensors -> network, method, class table, preprocessing."""

from __future__ import annotations

import dataclasses
import hashlib
import logging
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import yaml
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor, nn

from panoptic_ros.atomic_write import write_all_atomically, write_atomically
from panoptic_ros.classes import ClassTable
from panoptic_ros.decoding.appearance import appearance_vectors
from panoptic_ros.decoding.score_calibration import ScoreCalibration
from panoptic_ros.engines.quantised_graph import find_quantised_graph, weights_hash
from panoptic_ros.errors import InputError
from panoptic_ros.methods import METHODS, Decoded
from panoptic_ros.networks.appearance_head import AppearanceHead
from panoptic_ros.paths import model_folder

# Files of a model folder; the last only where the model has an appearance head.
DESCRIPTION, WEIGHTS, APPEARANCE = "model.yaml", "weights.safetensors", "appearance.safetensors"
MIN_INPUT_SIZE = 32  # pixels per side
# BatchNorm's running statistics, which stay in single precision.
_STATISTICS = ("running_mean", "running_var")

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Model:
    """A network with its preprocessing, method, class table and decode thresholds.

    input_size: (H, W) it was made for; other shapes of images get the same number of pixels, see `input_shape`.
    mean, std: the input normalisation: RGB, 0 to 1.
    thresholds: the method's decode settings.
    model_id: the folder's name and eight digits of its content's hash.
    training: how it was trained and what it scored, as written in model.yaml.
    appearance: what makes vectors of segments by which objects are known again; None where the model has none.
    calibration: of the scores of things, which are probabilities with it; None: scores are the network's own.
    int8: the file of its INT8 graph, see `engines.quantised_graph`; None where it has none.
    """

    method: str
    hyperparameters: Any
    network: Any  # `panoptic_ros.methods.Network`, an nn.Module
    classes: ClassTable
    input_size: tuple[int, int]
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    thresholds: Any
    model_id: str
    training: dict[str, Any]
    appearance: AppearanceHead | None = None
    calibration: ScoreCalibration | None = None
    int8: Path | None = None

    @property
    def predicts_depth(self) -> bool:
        """Whether its frames have a depth in metres."""
        return "depth" in self.network.pixel_outputs

    @property
    def focal_length(self) -> float:
        """Pixels of the network's input, of the camera that depth is predicted for; 0 where the model knows none."""
        return float(getattr(self.hyperparameters, "focal_length", 0.0))

    @property
    def embedding_kind(self) -> str:
        """What its segments' embeddings are: `appearance`, by its appearance head; `pooled`, the method's beside the
        backbone's features over the segment; `method`, the method's alone, where it has one."""
        if "appearance" not in self.network.pixel_outputs:
            return "method"
        return "pooled" if self.appearance is None else "appearance"

    def input_shape(self, height: int, width: int) -> tuple[int, int]:
        """The network's input for an image of this size: its aspect ratio, multiples of the network's stride, about as
        many pixels as `input_size`, so that the time per frame is the same for every camera and nothing is distorted.
        """
        stride = self.network.stride
        pixels = self.input_size[0] * self.input_size[1]
        ideal = math.sqrt(pixels * height / width)
        rows = max(1, round(ideal / stride))
        columns = max(1, round(pixels / (stride * rows) / stride))
        return stride * rows, stride * columns

    def normalise(self, image: Tensor) -> Tensor:
        """(B, H, W, 3) uint8, red first -> (B, 3, H, W) float32, mean 0 and deviation 1."""
        scale = torch.tensor([1 / (255 * s) for s in self.std], device=image.device)
        shift = torch.tensor([-m / s for m, s in zip(self.mean, self.std, strict=True)], device=image.device)
        return torch.addcmul(shift.view(3, 1, 1), image.permute(0, 3, 1, 2), scale.view(3, 1, 1))

    def decode(self, outputs: dict[str, Tensor], thresholds: Any, output_size: tuple[int, int],
               with_semantics: bool = False) -> Decoded:
        """The method's decode of the network's outputs, on their device: segments, and depth, at (H, W) output_size.

        with_semantics: whether to make the semantic map as well, see `methods.Decode`.
        """
        return self.decoder(next(iter(outputs.values())).device)(outputs, thresholds, output_size, with_semantics)

    def decoder(self, device: torch.device) -> Callable[[dict[str, Tensor], Any, tuple[int, int], bool], Decoded]:
        """`decode` for outputs on one device, with what it takes from the model brought there once."""
        parameters = {name: value.detach().to(device) for name, value in self.network.decode_parameters().items()}
        is_thing = torch.as_tensor(self.classes.thing_mask, device=device)
        head = None if self.appearance is None else self.appearance.to(device)

        def decode(outputs: dict[str, Tensor], thresholds: Any, output_size: tuple[int, int],
                   with_semantics: bool) -> Decoded:
            features = outputs.get("appearance")
            outputs = {name: value for name, value in outputs.items() if name != "appearance"}
            found = METHODS[self.method].decode({**outputs, **parameters}, is_thing, thresholds, output_size,
                                                with_semantics)
            segments = found.segments
            if features is not None:
                segments = [dataclasses.replace(rows, embedding=appearance_vectors(maps, segment_map, rows, head))
                            for maps, segment_map, rows in zip(features, found.segment_map, segments, strict=True)]
            if self.calibration is not None:
                segments = [self.calibration.calibrated(rows) for rows in segments]
            return dataclasses.replace(found, segments=segments)

        return decode


def load_model(name_or_path: str | Path) -> Model:
    """A model from a folder, or from its name below config/models.

    Raises InputError when a file is missing, damaged, or does not fit the network it describes.
    """
    folder = model_folder(name_or_path)
    description, weights = folder / DESCRIPTION, folder / WEIGHTS
    for file in (description, weights):
        if not file.is_file():
            raise InputError(f"the model folder {folder} has no {file.name}")
    # Each is read once: a file may be replaced meanwhile.
    described, weighed = _content(description), _content(weights)
    try:
        text = yaml.safe_load(described.decode("utf-8-sig"))
        method = METHODS.get(text["method"])
        if method is None:
            raise InputError(f"{description}: method '{text['method']}' is not one of {', '.join(METHODS)}")
        hyperparameters = _dataclass_from(method.hyperparameters, text.get("hyperparameters") or {}, description)
        thresholds = _dataclass_from(method.thresholds, text.get("thresholds") or {}, description)
        classes = ClassTable.from_dict(text["classes"])
        input_size = (int(text["input_size"][0]), int(text["input_size"][1]))
        mean, std = (tuple(float(v) for v in text[key]) for key in ("mean", "std"))
        training = text.get("training") or {}
        calibration = ScoreCalibration.of(text["score_calibration"]) if text.get("score_calibration") else None
    except (yaml.YAMLError, KeyError, TypeError, IndexError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{description} is not a model description: {type(error).__name__} at {error}") from error
    if len(mean) != 3 or len(std) != 3 or min(std) <= 0 or min(input_size) < MIN_INPUT_SIZE:
        raise InputError(f"{description}: mean and std need three values each, input_size at least {MIN_INPUT_SIZE} x "
                         f"{MIN_INPUT_SIZE}")
    try:
        network = method.network(hyperparameters, classes.is_thing)
    except InputError as error:
        raise InputError(f"{description}: {error}") from error
    _load_weights(network, weighed, weights)
    head, content = _appearance_head(folder / APPEARANCE, weights_hash(weighed))
    digest = hashlib.sha256(described + weighed + content).hexdigest()[:8]
    return Model(text["method"], hyperparameters, network.eval(), classes, input_size, mean, std, thresholds,
                 f"{folder.resolve().name}@{digest}", training, head, calibration,
                 find_quantised_graph(folder, weighed))


def save_model(model: Model, folder: Path) -> None:
    """Write a model folder that `load_model` reads.

    Weights are stored in half precision, statistics of BatchNorm in single: a variance may be above 65,504, where half
    precision ends. Raises InputError for weights that are not finite in it, and where the disk is full; a model that
    was there before is whole then.
    """
    state = {name: value.contiguous() if not value.is_floating_point() else
             (value.float() if name.endswith(_STATISTICS) else value.half()).contiguous()
             for name, value in model.network.state_dict().items() if not name.endswith("num_batches_tracked")}
    if bad := [name for name, value in state.items() if value.is_floating_point() and not torch.isfinite(value).all()]:
        raise InputError(f"{bad[0]} has values that are not finite in half precision: the model in {folder} is not "
                         "replaced; lower the learning rate")
    folder.mkdir(parents=True, exist_ok=True)
    text = {"method": model.method, "input_size": list(model.input_size), "mean": list(model.mean),
            "std": list(model.std), "hyperparameters": dataclasses.asdict(model.hyperparameters),
            "thresholds": dataclasses.asdict(model.thresholds), "training": model.training,
            "classes": model.classes.to_dict()}
    if model.calibration is not None:
        text["score_calibration"] = model.calibration.pairs()
    write_all_atomically([
        (folder / WEIGHTS, save(state)),
        (folder / DESCRIPTION, yaml.safe_dump(text, sort_keys=False, default_flow_style=None, width=110))])


def _content(file: Path) -> bytes:
    """The content of a file of a model folder. Raises InputError where something else lies in its place."""
    try:
        content = file.read_bytes()
    except OSError as error:
        raise InputError(f"{file} cannot be read: {error.strerror}") from error
    if content.startswith(b"version https://git-lfs"):
        raise InputError(f"{file} is a pointer to a file of Git LFS, not the file: get it with `git lfs pull` where it "
                         "was cloned")
    if content.lstrip()[:1] == b"<":
        raise InputError(f"{file} is a web page, not the file: download it again, from the address of the file itself")
    return content


def _appearance_head(file: Path, weights: str) -> tuple[AppearanceHead | None, bytes]:
    """The appearance head of a model folder and the file's content; None where there is none, or, with a warning, where
    it is of other weights than these, given by their hash. Raises InputError where it is damaged."""
    if not file.is_file():
        return None, b""
    content = _content(file)
    try:
        state = load(content)
        made_of = bytes(state.pop("weights").tolist()).hex()
        head = AppearanceHead.of_state(state)
    except (SafetensorError, KeyError, RuntimeError, ValueError) as error:
        raise InputError(f"{file} is no appearance head, or is damaged: {error}; delete it, or train it again with "
                         "python -m training.train_appearance") from error
    if made_of != weights:
        _log.warning("%s is left out: it was trained for other weights; train it again with python -m "
                     "training.train_appearance", file)
        return None, b""
    return head, content


def save_appearance_head(head: AppearanceHead, folder: Path) -> None:
    """Write the appearance head of the model in this folder, for the weights that lie there."""
    made_of = bytes.fromhex(weights_hash((folder / WEIGHTS).read_bytes()))
    state = {name: value.detach().cpu().contiguous() for name, value in head.state_dict().items()}
    write_atomically(folder / APPEARANCE,
                     save({**state, "weights": torch.tensor(list(made_of), dtype=torch.uint8)}))


def _load_weights(network: nn.Module, content: bytes, file: Path) -> None:
    try:
        state = load(content)
    except SafetensorError as error:
        raise InputError(f"{file} is not a safetensors file, or is damaged or cut off after {len(content)} bytes: "
                         f"{error}") from error
    expected = {k: v for k, v in network.state_dict().items() if not k.endswith("num_batches_tracked")}
    missing, unexpected = sorted(expected.keys() - state.keys()), sorted(state.keys() - expected.keys())
    wrong = [f"{k} is {tuple(state[k].shape)} and should be {tuple(expected[k].shape)}"
             for k in expected.keys() & state.keys() if state[k].shape != expected[k].shape]
    faults = [f"{len(rows)} {what} (first: {rows[0]})" for what, rows in
              (("missing", missing), ("unexpected", unexpected), ("of the wrong shape", sorted(wrong))) if rows]
    if faults:
        raise InputError(f"{file} does not fit the network that model.yaml describes; tensors " + ", ".join(faults))
    bad = [k for k, v in state.items() if v.is_floating_point() and not torch.isfinite(v).all()]
    if bad:
        raise InputError(f"{file} has values that are not finite, first in {bad[0]}: export the model again")
    network.load_state_dict({k: v.float() if v.is_floating_point() else v for k, v in state.items()}, strict=False)


def _dataclass_from(kind: type, values: dict[str, Any], source: Path) -> Any:
    # A file of an earlier version may use the names that its fields had then.
    renamed: dict[str, str] = getattr(kind, "renamed", {})
    values = {renamed.get(name, name): value for name, value in values.items()}
    known = {f.name for f in dataclasses.fields(kind)}
    unknown = sorted(values.keys() - known)
    if unknown:
        raise InputError(f"{source}: unknown {', '.join(unknown)}; known are {', '.join(sorted(known))}")
    return kind(**{k: tuple(v) if isinstance(v, list) else v for k, v in values.items()})
