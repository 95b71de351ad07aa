"""The INT8 graph of a model: where it lies in the model folder, whether it is of these weights, how it is made."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from panoptic_ros.engines.openvino_core import keep_signal_stack, openvino_core
from panoptic_ros.errors import InputError

# OpenVINO's graph, beside it its weights (int8.bin), and what it was made of and what it scored.
GRAPH, DESCRIPTION = "int8.xml", "int8.yaml"

_log = logging.getLogger(__name__)


def weights_hash(weights: bytes) -> str:
    """What an INT8 graph or an appearance head is kept under: the hash of the file of weights that it was made of."""
    return hashlib.sha256(weights).hexdigest()


def find_quantised_graph(folder: Path, weights: bytes) -> Path | None:
    """The INT8 graph of a model folder; None, with a warning, where it is of other weights or damaged.

    weights: the content of their file, as it was read: the file may be replaced meanwhile.
    """
    graph, description = folder / GRAPH, folder / DESCRIPTION
    if not graph.is_file():
        return None
    try:
        made_of = yaml.safe_load(description.read_text())["weights"]
    except (OSError, yaml.YAMLError, KeyError, TypeError, UnicodeDecodeError) as error:
        _log.warning("%s is left out: %s does not say what it was made of (%s); run panoptic-ros quantise again", graph,
                     DESCRIPTION, type(error).__name__)
        return None
    if made_of != weights_hash(weights):
        _log.warning("%s is left out: it was made of other weights; run panoptic-ros quantise again", graph)
        return None
    return graph


def quantise(graph: Any, inputs: Sequence[np.ndarray], validate: Callable[[Any], float],
             largest_drop: float) -> tuple[Any, dict[str, Any]]:
    """An OpenVINO graph in INT8, layer by layer as far as the score allows (NNCF's post-training quantisation).

    graph: of a network, of one shape. inputs: images (1, 3, H, W) float32, normalised, to calibrate ranges on.
    validate: the score of a compiled graph, higher is better. largest_drop: that the score may lose: where it loses
    more, layers go back to floating point, those that cost most first, until it does not.
    Returns the graph, and what was done: score_before, score_after, with_accuracy_control (whether layers went back).
    Raises InputError where NNCF is not installed, the graph cannot be quantised, or its score before is 0.
    """
    try:
        import nncf
    except ImportError as error:
        raise InputError("quantisation needs NNCF: pip install panoptic-ros[quantise]") from error
    scores: list[float] = []

    def score(compiled: Any, _: Any) -> tuple[float, None]:
        scores.append(validate(compiled))
        _log.info("score %.4f", scores[-1])
        return scores[-1], None

    def compiled(model: Any) -> Any:
        # The precision that the engine runs the rest in is chosen there; here both are judged in the same one.
        return openvino_core().compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})

    calibration = nncf.Dataset(list(inputs))
    settings: dict[str, Any] = {"preset": nncf.QuantizationPreset.MIXED, "subset_size": len(inputs)}
    before = score(compiled(graph), None)[0]
    if before <= 0:
        raise InputError("the model finds nothing in the validation images: what INT8 costs cannot be measured on them")
    try:
        with keep_signal_stack():
            made = nncf.quantize(graph, calibration, **settings)
            after = score(compiled(made), None)[0]
            controlled = before - after > largest_drop
            if controlled:
                made = nncf.quantize_with_accuracy_control(
                    graph, calibration, nncf.Dataset([None]), score, max_drop=largest_drop,
                    drop_type=nncf.DropType.ABSOLUTE, **settings)
                after = score(compiled(made), None)[0]
    except (RuntimeError, nncf.ValidationError, nncf.UnsupportedModelError) as error:
        raise InputError(f"the graph cannot be quantised: {error}") from error
    return made, {"score_before": before, "score_after": after, "with_accuracy_control": controlled}
