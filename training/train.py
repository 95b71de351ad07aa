"""Train a model: python -m training.train --config training/recipes/hle/city.yaml --out runs/city

Any key of the recipe may be given on the command line: --batch_size 4 --optimiser.learning_rate 0.0005. Run the command
again with the same --out to go on after an interruption. The model that validated best is in OUT/model.

Several devices of one machine: --devices 4. Several machines: on each
torchrun --nnodes 2 --nproc-per-node 4 --rdzv-endpoint FIRST:29500 -m training.train --config ... --out ...
with an --out that all of them see. A step then takes batch_size samples on every device.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Event
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from panoptic_ros.classes import load_class_table
from panoptic_ros.datasets import Dataset, Truth, open_dataset
from panoptic_ros.errors import InputError
from panoptic_ros.interruption import stop_on_interrupt
from panoptic_ros.methods import METHODS
from panoptic_ros.model import IMAGENET_MEAN, IMAGENET_STD, Model, load_model, save_model
from training.checkpoints import load_checkpoint, save_checkpoint
from training.devices import make_fabric, memory_format
from training.monitor import Monitor
from training.objectives import OBJECTIVES
from training.optimisers import freeze_batch_norm, make_optimiser
from training.recipe import Recipe, load_recipe
from training.sampling import Numbers, Samples, sample_batches
from training.schedules import rate_factor
from training.validation import validate


class Run:
    """A training run: what its recipe makes, and where it stands."""

    def __init__(self, recipe: Recipe, out: Path, fabric: Fabric) -> None:
        self.recipe, self.out, self.fabric = recipe, out, fabric
        self.dataset = _open(recipe.data.train, for_training=True)
        self.classes = load_class_table(recipe.data.classes) if recipe.data.classes else self.dataset.classes
        self.validation = _open(recipe.data.validation) if recipe.data.validation else None
        self.is_thing = torch.as_tensor(self.classes.thing_mask, device=fabric.device)
        self.objective = OBJECTIVES[recipe.method]
        self._memory_format = memory_format(fabric)
        network = self._make_network().to(memory_format=self._memory_format)
        optimiser = make_optimiser(recipe.optimiser, network)
        self.average = torch.optim.swa_utils.AveragedModel(
            network.to(fabric.device), multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(recipe.average),
            use_buffers=True) if recipe.average else None
        self.network, self.optimiser = fabric.setup(network, optimiser)
        self.step = 0
        self.best = -1.0
        mean, std = (torch.tensor(v, device=fabric.device).view(3, 1, 1) for v in (IMAGENET_MEAN, IMAGENET_STD))
        self._shift, self._scale = -mean / std, 1 / (255 * std)

    def samples(self) -> Samples:
        """The training samples."""
        recipe = self.recipe
        return Samples(self.dataset, recipe.augmentation, recipe.seed, self.classes,
                       Path(recipe.data.cache) if recipe.data.cache else None, recipe.clip_length)

    def train_step(self, batches: Iterator[dict[str, Tensor]]) -> dict[str, float]:
        """One update from `accumulate` batches; returns the loss's terms. Raises InputError when it is not finite."""
        recipe = self.recipe
        for group in self.optimiser.param_groups:
            group["lr"] = recipe.optimiser.learning_rate * group["rate"] * rate_factor(
                recipe.schedule, self.step, recipe.steps)
        sums: dict[str, Tensor] = {}
        for part in range(recipe.accumulate):
            batch = {name: value.to(self.fabric.device, non_blocking=True) for name, value in next(batches).items()}
            image = torch.addcmul(self._shift, batch["image"], self._scale)
            with self.fabric.no_backward_sync(self.network, enabled=part < recipe.accumulate - 1):
                outputs = self.network(image.contiguous(memory_format=self._memory_format))
                terms = self.objective.loss(self.network, outputs, batch, self.is_thing, recipe.objective)
                total = terms["total"]
                if self.fabric.world_size > 1:
                    # The processes wait for each other's gradient of every parameter, also where a loss has no use
                    # for an output, as without an object in the batch.
                    total = total + 0 * torch.stack([output.sum() for output in outputs.values()]).sum()
                self.fabric.backward(total / recipe.accumulate)
            for name, value in terms.items():
                sums[name] = sums.get(name, 0) + value.detach() / recipe.accumulate
        values = {name: float(value) for name, value in sums.items()}
        if not all(abs(value) < float("inf") for value in values.values()):  # NaN compares as false
            raise InputError(f"the loss is not finite at step {self.step}: lower optimiser.learning_rate or "
                             "optimiser.clip; the last checkpoint is kept, and the run goes on from there")
        if recipe.optimiser.clip:
            self.fabric.clip_gradients(self.network, self.optimiser, max_norm=recipe.optimiser.clip,
                                       error_if_nonfinite=False)
        self.optimiser.step()
        self.optimiser.zero_grad(set_to_none=True)
        self.step += 1
        # A moving average that starts with the first steps' weights would carry them for long.
        if self.average is not None and self.step > recipe.schedule.warm_up:
            self.average.update_parameters(self.network.module)
        return values

    def train_mode(self) -> None:
        """Ready for a step."""
        self.network.train()
        if self.recipe.freeze_batch_norm:
            freeze_batch_norm(self.network.module)

    def save(self) -> None:
        """Write the checkpoint; the first process does."""
        if self.fabric.is_global_zero:
            save_checkpoint(self.out / "checkpoint.pt", {
                "recipe": self.recipe.plain(), "processes": self.fabric.world_size, "step": self.step,
                "best": self.best,
                "network": self.network.module.state_dict(), "optimiser": self.optimiser.state_dict(),
                "average": None if self.average is None else self.average.state_dict()})

    def resume(self) -> None:
        """Go on from the checkpoint, where there is one.

        Raises InputError when it is of another recipe or of another number of processes, which would see other samples.
        """
        state = load_checkpoint(self.out / "checkpoint.pt", self.fabric.device)
        if state is None:
            return
        # A key that a recipe has only since the run began was what is its default now.
        defaults = {row.name: row.default for row in dataclasses.fields(Recipe)}
        ours, theirs = self.recipe.plain(), {**defaults, **state["recipe"]}
        # These do not change what was learned so far.
        free = {"validation", "test_time"}
        if changed := sorted(k for k in ours.keys() | theirs.keys() if k not in free and ours.get(k) != theirs.get(k)):
            raise InputError(f"{self.out} holds a run of another recipe (it differs in {', '.join(changed)}): give the "
                             "same recipe to go on, or another --out to begin anew")
        if (processes := state.get("processes", self.fabric.world_size)) != self.fabric.world_size:
            raise InputError(f"{self.out} holds a run of {processes} processes, now there are "
                             f"{self.fabric.world_size}: go on with as many devices, or begin anew with another --out "
                             f"and --initial_model {self.out / 'model'}")
        self.network.module.load_state_dict(state["network"])
        self.optimiser.load_state_dict(state["optimiser"])
        if self.average is not None:
            self.average.load_state_dict(state["average"])
        self.step, self.best = state["step"], state["best"]

    def model(self) -> Model:
        """The model as it stands: averaged weights, default thresholds."""
        recipe = self.recipe
        network = self.network.module if self.average is None else self.average.module
        seen = self.step * recipe.batch_size * recipe.accumulate * self.fabric.world_size
        crop = recipe.augmentation.crop
        training = {"data": f"{self.dataset.name}, {seen} crops of {crop[0]} x {crop[1]}", "steps": self.step,
                    "recipe": recipe.plain()}
        if recipe.test_time:
            training["test_time"] = recipe.test_time
        return Model(recipe.method, recipe.hyperparameters, network, self.classes, recipe.input_size, IMAGENET_MEAN,
                     IMAGENET_STD, METHODS[recipe.method].thresholds(), "", training)

    def validate(self, monitor: Monitor | None) -> None:
        """Score the model and export it to OUT/model, when it is the best so far or nothing can be scored."""
        if monitor is None:
            return
        model = self.model()
        if self.validation is not None and self.recipe.validation.images:
            model.network.eval()
            scores, pictures = validate(model, self._execute(model.network), self.validation,
                                        self.recipe.validation.images, self.fabric.device)
            monitor.scores(self.step, scores)
            for picture in pictures:
                monitor.pictures(self.step, picture.name, picture.overlay, picture.maps)
            best = scores.get("pq", scores.get("miou", 0.0))
            if best < self.best:
                return
            self.best = best
            training = {**model.training, "score": {
                **{name: round(value, 4) for name, value in scores.items()},
                "on": f"{self.validation.name}, {self.recipe.validation.images} images, default thresholds"}}
            model = dataclasses.replace(model, training=training)
        save_model(model, self.out / "model")

    def _execute(self, network: nn.Module) -> Callable[[Tensor], dict[str, Tensor]]:
        def execute(image: Tensor) -> dict[str, Tensor]:
            with self.fabric.autocast():
                outputs = network(image.contiguous(memory_format=self._memory_format))
            return {name: output.float() for name, output in outputs.items()}
        return execute

    def _make_network(self) -> nn.Module:
        recipe = self.recipe
        torch.manual_seed(recipe.seed)
        network = METHODS[recipe.method].network(recipe.hyperparameters, self.classes.is_thing, recipe.pretrained)
        self.objective.initialise(network, recipe.objective, recipe.seed)
        if recipe.initial_model:
            initial = load_model(recipe.initial_model)
            weights, ours = initial.network.state_dict(), network.state_dict()
            if initial.method != recipe.method or any(
                    weights[name].shape != ours[name].shape for name in weights.keys() & ours.keys()):
                raise InputError(f"initial_model {recipe.initial_model} is of another method, other hyper-parameters "
                                 "or another number of classes than the recipe's")
            network.load_state_dict(weights, strict=False)
        if recipe.initial_backbone:
            _load_backbone(network, recipe.initial_backbone)
        if recipe.freeze_batch_norm:
            freeze_batch_norm(network)
        if recipe.sync_batch_norm:
            network = nn.SyncBatchNorm.convert_sync_batchnorm(network)
        return network


def _load_backbone(network: nn.Module, path: str) -> None:
    """Give a network the backbone of another model. Raises InputError when theirs are not the same."""
    backbone: nn.Module = network.backbone  # type: ignore[assignment]
    try:
        backbone.load_state_dict(load_model(path).network.backbone.state_dict())  # type: ignore[union-attr]
    except RuntimeError as error:
        raise InputError(f"initial_backbone {path} has another backbone than the recipe's: {error}") from error


def _open(path: str, for_training: bool = False) -> Dataset:
    dataset = open_dataset(path, for_training=for_training)
    if not dataset.truth & {Truth.PANOPTIC, Truth.SEMANTIC}:
        raise InputError(f"{dataset.name} has objects alone as its truth: training needs a class for every pixel")
    return dataset


def train(recipe: Recipe, out: Path, fabric: Fabric, workers: int, stop: Event,
          checkpoint_minutes: float = 5) -> bool:
    """Run or go on with a training; returns whether it is done. Leaves model, checkpoint.pt, log.jsonl and tensorboard.

    When `stop` is set the run ends after the step it is in, with a checkpoint.
    """
    out.mkdir(parents=True, exist_ok=True)
    run = Run(recipe, out, fabric)
    run.resume()
    monitor = Monitor(out, run.step, recipe.steps) if fabric.is_global_zero else None
    numbers = Numbers(run.step, recipe.steps, recipe.batch_size * recipe.accumulate, fabric.global_rank,
                      fabric.world_size)
    batches = _timed(sample_batches(run.samples(), numbers, recipe.batch_size, workers))
    saved = time.monotonic()
    run.train_mode()
    try:
        stopped = False
        while run.step < recipe.steps and not stopped:
            batches.seconds = 0.0
            terms = run.train_step(batches)
            if monitor is not None:
                monitor.step(run.step, terms, max(g["lr"] for g in run.optimiser.param_groups), batches.seconds)
            every = recipe.validation.every
            if run.step == recipe.steps or every and run.step % every == 0:
                run.validate(monitor)
                fabric.barrier()
                run.train_mode()
            # Where one process is asked to stop, all do: a step needs all of them.
            stopped = bool(fabric.all_reduce(torch.tensor(float(stop.is_set()), device=fabric.device),
                                             reduce_op="sum"))
            if run.step == recipe.steps or stopped or time.monotonic() - saved >= 60 * checkpoint_minutes:
                run.save()
                saved = time.monotonic()
    finally:
        if monitor is not None:
            monitor.close()
    return run.step == recipe.steps


class _timed(Iterator[Any]):  # noqa: N801
    """An iterator that knows how many seconds were waited for it."""

    def __init__(self, batches: Any) -> None:
        self._batches, self.seconds = iter(batches), 0.0

    def __next__(self) -> Any:
        start = time.perf_counter()
        batch = next(self._batches)
        self.seconds += time.perf_counter() - start
        return batch


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m training.train", description=(__doc__ or "").splitlines()[0],
                                     epilog="Every other --KEY VALUE sets a key of the recipe.")
    parser.add_argument("--config", type=Path, required=True, help="recipe, for example training/recipes/hle/city.yaml")
    parser.add_argument("--out", type=Path, required=True, help="folder of the run; an unfinished run there goes on")
    parser.add_argument("--workers", type=int, default=1, help="processes per device that read samples")
    parser.add_argument("--accelerator", default="auto", help="auto, cpu or cuda")
    parser.add_argument("--devices", default=1, type=_device_count, metavar="N",
                        help="number of devices, or auto; under torchrun it is torchrun's")
    parser.add_argument("--print-recipe", action="store_true", help="print the recipe with all defaults, and end")
    args, overrides = parser.parse_known_args(arguments)
    try:
        recipe = load_recipe(args.config, overrides)
        if args.print_recipe:
            import yaml
            print(yaml.safe_dump(recipe.plain(), sort_keys=False, default_flow_style=None), end="")
            return 0
        fabric = make_fabric(recipe, args.accelerator, args.devices)
        fabric.launch()
        with stop_on_interrupt() as stop:
            done = train(recipe, args.out, fabric, args.workers, stop)
    except InputError as error:
        print(f"training: error: {error}", file=sys.stderr)
        return 2
    if not done:
        print(f"training: interrupted; the same command goes on from {args.out / 'checkpoint.pt'}", file=sys.stderr)
        return 130
    return 0


def _device_count(text: str) -> int | str:
    return text if text == "auto" else int(text)


if __name__ == "__main__":
    sys.exit(main())
