"""Train a model: python -m training.train --config training/recipes/hle/city.yaml --out runs/city

Any key of the recipe may be given on the command line: --batch_size 4 --optimiser.learning_rate 0.0005. Run the command
again with the same --out to go on after an interruption. The model that validated best is in OUT/model; the stages of a
recipe that has some are runs of their own in OUT/STAGE.

Several devices of one machine: --devices 4. Several machines: on each, with an --out that all of them see,
torchrun --nnodes 2 --nproc-per-node 4 --rdzv-backend c10d --rdzv-endpoint FIRST:29500 -m training.train --config ...
See docs/training_many_machines.md. A step then takes batch_size samples on every device.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from threading import Event
from typing import Any

import torch
import yaml
from lightning_fabric import Fabric

from panoptic_ros.errors import InputError
from panoptic_ros.interruption import stop_on_interrupt

from .devices import make_fabric
from .monitor import Monitor
from .recipe import Recipe, load_stages, recipe_file
from .run import Run
from .samples import ResumableSampler, sample_batches


def train_stages(stages: Mapping[str, Recipe], out: Path, fabric: Fabric, workers: int, stop: Event,
                 checkpoint_minutes: float = 5) -> bool:
    """Run or go on with a recipe's stages, each with the model of the one before; returns whether all are done.

    stages: as `load_stages` returns them; the one of a recipe without stages, named "", is a run in `out` itself.
    Leaves the last stage's model in OUT/model.
    """
    before = ""
    for name, recipe in stages.items():
        if not train(recipe, out / name, fabric, workers, stop, checkpoint_minutes, before):
            return False
        before = str(out / name / "model")
    if fabric.is_global_zero and Path(before) != out / "model":
        shutil.copytree(before, out / "model", dirs_exist_ok=True)
    fabric.barrier()
    return True


def train(recipe: Recipe, out: Path, fabric: Fabric, workers: int, stop: Event, checkpoint_minutes: float = 5,
          initial_model: str = "") -> bool:
    """Run or go on with a training; returns whether it is done. Leaves model, checkpoint.pt, log.jsonl and tensorboard.

    initial_model: to initialise from in place of what the recipe says. When `stop` is set the run ends after the
    step it is in, with a checkpoint.
    """
    out.mkdir(parents=True, exist_ok=True)
    run = Run(recipe, out, fabric, initial_model)
    run.resume()
    if run.step == 0 and run.new_layers and fabric.is_global_zero:
        print(f"training: the initial model has no {', '.join(run.new_layers)}: they are initialised at random",
              file=sys.stderr)
    monitor = Monitor(out, run.step, recipe.steps) if fabric.is_global_zero else None
    sampler = ResumableSampler(run.step, recipe.steps, recipe.batch_size * recipe.grad_accum_steps, fabric.global_rank,
                               fabric.world_size)
    batches = _timed(sample_batches(run.samples(), sampler, recipe.batch_size, workers))
    if run.pseudo_labels is not None:
        per_step = recipe.self_training.batch_size
        sampler = ResumableSampler(run.step, recipe.steps, per_step, fabric.global_rank, fabric.world_size)
        run.unlabelled_batches = sample_batches(run.unlabelled_samples(), sampler, per_step, workers)
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
    """An iterator that counts the seconds that were waited for its items."""

    def __init__(self, batches: Any) -> None:
        self._batches, self.seconds = iter(batches), 0.0

    def __next__(self) -> Any:
        start = time.perf_counter()
        batch = next(self._batches)
        self.seconds += time.perf_counter() - start
        return batch


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog=f"python -m {__package__}.train", description=(__doc__ or "").splitlines()[0],
                                     epilog="Every other --KEY VALUE sets a key of the recipe.")
    parser.add_argument("--config", type=recipe_file, required=True,
                        help="recipe: a file, or the name of one in training/recipes, such as hle/city")
    parser.add_argument("--out", type=Path, help="folder of the run; an unfinished run there goes on")
    parser.add_argument("--workers", type=int, default=1, help="processes per device that read samples")
    parser.add_argument("--accelerator", default="auto", help="auto, cpu or cuda")
    parser.add_argument("--devices", default=1, type=_device_count, metavar="N",
                        help="number of devices, or auto; under torchrun it is torchrun's")
    parser.add_argument("--print-recipe", action="store_true", help="print the recipe with all defaults, and end")
    args, overrides = parser.parse_known_args(arguments)
    if args.out is None and not args.print_recipe:
        parser.error("the following arguments are required: --out")
    try:
        stages = load_stages(args.config, overrides)
        if args.print_recipe:
            plain: Any = {name: recipe.plain() for name, recipe in stages.items()}
            print(yaml.safe_dump(plain.get("", plain), sort_keys=False, default_flow_style=None), end="")
            return 0
        recipes = list(stages.values())
        if len({recipe.precision for recipe in recipes}) > 1:
            raise InputError(f"{args.config}: all stages of a recipe have one precision")
        fabric = make_fabric(recipes[0], args.accelerator, args.devices)
        fabric.launch()
        with stop_on_interrupt() as stop:
            done = train_stages(stages, args.out, fabric, args.workers, stop)
    except InputError as error:
        print(f"training: error: {error}", file=sys.stderr)
        return 2
    if not done:
        print(f"training: interrupted; the same command goes on from the last checkpoint in {args.out}",
              file=sys.stderr)
        return 130
    return 0


def _device_count(text: str) -> int | str:
    return text if text == "auto" else int(text)


if __name__ == "__main__":
    sys.exit(main())
