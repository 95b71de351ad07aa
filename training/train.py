"""Train a model: python -m training.train --config training/recipes/hle/city.yaml --out runs/city

Run it again with the same --out to go on after an interruption. The newest weights are exported to OUT/model, a model
folder, at each checkpoint.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import yaml
from torch import Tensor, nn
from tqdm import tqdm

from panoptic_ros.classes import ClassTable, load_class_table
from panoptic_ros.errors import InputError
from panoptic_ros.methods import hle
from panoptic_ros.model import IMAGENET_MEAN, IMAGENET_STD, Model, save_model
from training.objectives.hle import Weights, hle_loss, thomson_means
from training.sampling import CitySamples, city_batches


@dataclass(frozen=True)
class Recipe:
    """All that decides what comes out of a training run.

    input_size: (H, W) of the images the model is made for. crop, scale, around_things: see
    `CitySamples`.
    learning_rate: highest rate; it rises over `warm_up` steps and falls as (1 - step / steps) ** power.
    clip: largest norm of the gradient. average: decay of the moving average of the weights that is exported.
    precision: float32 or bfloat16.
    """

    hyperparameters: hle.Hyperparameters
    classes: str = "cityscapes"
    input_size: tuple[int, int] = (512, 1024)
    crop: tuple[int, int] = (256, 512)
    scale: tuple[float, float] = (0.7, 1.3)
    around_things: float = 0.5
    batch_size: int = 8
    steps: int = 4000
    learning_rate: float = 1e-3
    weight_decay: float = 1e-4
    warm_up: int = 200
    power: float = 0.9
    clip: float = 5.0
    average: float = 0.998
    precision: str = "bfloat16"
    pretrained: bool = False
    seed: int = 0
    weights: Weights = field(default_factory=Weights)


def load_recipe(path: Path) -> Recipe:
    """Raises InputError for a key that a recipe does not have."""
    if not path.is_file():
        raise InputError(f"there is no recipe {path}")
    text = yaml.safe_load(path.read_text()) or {}
    parts = {"hyperparameters": hle.Hyperparameters, "weights": Weights}
    for kind, values in [(Recipe, text), *((kind, text.get(key) or {}) for key, kind in parts.items())]:
        known = {f.name for f in dataclasses.fields(kind)}
        if unknown := sorted(values.keys() - known):
            raise InputError(f"{path}: unknown {', '.join(unknown)}; known are {', '.join(sorted(known))}")

    def tuples(values: dict[str, Any]) -> dict[str, Any]:
        return {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}

    return Recipe(**{**tuples(text), **{k: kind(**tuples(text.get(k) or {})) for k, kind in parts.items()}})


def learning_rate(recipe: Recipe, step: int) -> float:
    """Of a step: linear warm-up, then polynomial decay (section 4.2)."""
    return recipe.learning_rate * min(1, (step + 1) / max(1, recipe.warm_up)) * (1 - step / recipe.steps)**recipe.power


def make_network(recipe: Recipe, classes: ClassTable) -> hle.Network:
    """The network with Thomson-initialised class means."""
    torch.manual_seed(recipe.seed)
    network = hle.Network(recipe.hyperparameters, len(classes), recipe.pretrained)
    with torch.no_grad():
        network.class_mean.copy_(thomson_means(len(classes), recipe.hyperparameters.embedding_dimension, recipe.seed))
    return network


def make_optimiser(recipe: Recipe, network: nn.Module) -> torch.optim.Optimizer:
    """AdamW without weight decay on vectors: biases, normalisations and the embedding space's own parameters."""
    decayed = [p for n, p in network.named_parameters() if p.ndim > 1 and n != "class_mean"]
    others = [p for n, p in network.named_parameters() if p.ndim <= 1 or n == "class_mean"]
    return torch.optim.AdamW([{"params": decayed, "weight_decay": recipe.weight_decay},
                              {"params": others, "weight_decay": 0.0}], lr=recipe.learning_rate)


def train_step(recipe: Recipe, network: hle.Network, optimiser: torch.optim.Optimizer, batch: dict[str, Tensor],
               is_thing: Tensor, step: int) -> dict[str, float]:
    """One update; returns the terms of the loss. Raises InputError when the loss is not finite."""
    device = is_thing.device
    batch = {k: v.to(device, non_blocking=True) for k, v in batch.items()}
    mean = torch.tensor(IMAGENET_MEAN, device=device).view(3, 1, 1) * 255
    std = torch.tensor(IMAGENET_STD, device=device).view(3, 1, 1) * 255
    image = ((batch["image"] - mean) / std).contiguous(memory_format=torch.channels_last)
    for group in optimiser.param_groups:
        group["lr"] = learning_rate(recipe, step)
    with torch.autocast(device.type, torch.bfloat16, enabled=recipe.precision == "bfloat16"):
        outputs = network(image)
    terms = hle_loss(outputs, batch["class_map"], batch["instance_map"], network.class_mean, is_thing, recipe.weights)
    if not torch.isfinite(terms["total"]):
        raise InputError(f"the loss is not finite at step {step}: lower learning_rate or clip; "
                         "the last checkpoint is kept, the run goes on from there")
    optimiser.zero_grad(set_to_none=True)
    terms["total"].backward()
    nn.utils.clip_grad_norm_(network.parameters(), recipe.clip)
    optimiser.step()
    return {name: float(value.detach()) for name, value in terms.items()}


def train(recipe: Recipe, out: Path, workers: int, device: torch.device, checkpoint_minutes: float = 5) -> None:
    """Run or go on with a training; leaves OUT/model, OUT/checkpoint.pt and OUT/log.jsonl."""
    out.mkdir(parents=True, exist_ok=True)
    classes = load_class_table(recipe.classes)
    is_thing = torch.as_tensor(classes.thing_mask, device=device)
    network = make_network(recipe, classes).to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimiser = make_optimiser(recipe, network)
    average = torch.optim.swa_utils.AveragedModel(
        network, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(recipe.average), use_buffers=True)
    checkpoint, step = out / "checkpoint.pt", 0
    if checkpoint.is_file():
        state = torch.load(checkpoint, map_location=device, weights_only=True)
        network.load_state_dict(state["network"])
        optimiser.load_state_dict(state["optimiser"])
        average.load_state_dict(state["average"])
        step = state["step"]
    samples = CitySamples(recipe.crop, recipe.input_size, recipe.scale, recipe.around_things)
    network.train()
    saved = time.monotonic()
    bar = tqdm(total=recipe.steps, initial=step, unit="step", disable=None)
    with (out / "log.jsonl").open("a") as log:
        for batch in city_batches(samples, recipe.batch_size, step, recipe.steps, workers):
            terms = train_step(recipe, network, optimiser, batch, is_thing, step)
            # A moving average that starts with the first steps' weights would carry them for long.
            if step >= recipe.warm_up:
                average.update_parameters(network)
            step += 1
            log.write(json.dumps({"step": step, "time": round(time.time(), 1),
                                  **{k: round(v, 4) for k, v in terms.items()}}) + "\n")
            log.flush()
            bar.update()
            bar.set_postfix(loss=f"{terms['total']:.3f}")
            if step == recipe.steps or time.monotonic() - saved > 60 * checkpoint_minutes:
                _save(checkpoint, {"network": network.state_dict(), "optimiser": optimiser.state_dict(),
                                   "average": average.state_dict(), "step": step})
                _export(recipe, average.module, classes, step, out / "model")
                saved = time.monotonic()


def _save(file: Path, state: dict[str, Any]) -> None:
    """Atomically: a run killed while it writes keeps the checkpoint before."""
    partial = file.with_suffix(".partial")
    torch.save(state, partial)
    os.replace(partial, file)


def _export(recipe: Recipe, network: nn.Module, classes: ClassTable, step: int, folder: Path) -> None:
    training = {"data": f"synthetic city, {step * recipe.batch_size} crops of {recipe.crop[0]} x {recipe.crop[1]}",
                "steps": step, "recipe": _plain(recipe)}
    save_model(Model("hle", recipe.hyperparameters, network, classes, recipe.input_size, IMAGENET_MEAN, IMAGENET_STD,
                     hle.Thresholds(), "", training), folder)


def _plain(recipe: Recipe) -> dict[str, Any]:
    plain: dict[str, Any] = json.loads(json.dumps(dataclasses.asdict(recipe)))
    return plain


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m training.train", description=__doc__.splitlines()[0])
    parser.add_argument("--config", type=Path, required=True, help="recipe, for example training/recipes/hle/city.yaml")
    parser.add_argument("--out", type=Path, required=True, help="folder of the run; an unfinished run there goes on")
    parser.add_argument("--steps", type=int, help="another number of steps than the recipe's")
    parser.add_argument("--workers", type=int, default=1, help="processes that render samples")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    arguments = parser.parse_args()
    try:
        recipe = load_recipe(arguments.config)
        if arguments.steps:
            recipe = dataclasses.replace(recipe, steps=arguments.steps)
        train(recipe, arguments.out, arguments.workers, torch.device(arguments.device))
    except InputError as error:
        print(f"training: error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
