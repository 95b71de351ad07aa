"""Training throughput and data loading: python -m benchmarks.training_throughput [--quick] [--workers N]

The shipped model's recipe at full resolution. The same steps are done with samples that are read from the cache and
augmented as in a training, and with the very same batches kept in memory: the ratio says what the reading costs. The
first pass, which renders the city and fills the cache, is measured as well. All files lie in a temporary folder.
"""

from __future__ import annotations

import dataclasses
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from time import perf_counter
from typing import Any

import cv2
import numpy as np
import torch
from tqdm import tqdm

from benchmarks.command import run_benchmark
from training.devices import make_fabric
from training.recipe import Recipe, load_stages
from training.run import Run
from training.samples import ResumableSampler, sample_batches

RECIPE = Path(__file__).parents[1] / "training" / "recipes" / "hle" / "city.yaml"
FRAMES = 8  # of each drive, as in the recipe
BUDGET = 0.9


def measure(quick: bool, workers: int) -> dict[str, Any]:
    """Samples per second of each way, and the ratio of reading to memory, the median over the rounds."""
    cv2.setNumThreads(1)
    drives, steps, rounds = (1, 6, 1) if quick else (4, 40, 3)
    with tempfile.TemporaryDirectory() as folder:
        recipe = _recipe(drives, Path(folder))
        fabric = make_fabric(recipe)
        run = Run(recipe, Path(folder), fabric)
        run.train_mode()
        first = max(1, drives * FRAMES // recipe.batch_size)
        rendering, _ = _timed(run, _read(run, first, workers), first)
        reading, memory = [], []
        for _ in range(rounds):
            batches = _read(run, steps + 1, workers)
            run.train_step(batches)  # until the processes have begun to deliver
            seconds, kept = _timed(run, batches, steps)
            reading.append(seconds)
            memory.append(_timed(run, iter(kept), steps)[0])
    samples = steps * recipe.batch_size
    return {"rendering": first * recipe.batch_size / rendering,
            "reading": [samples / seconds for seconds in reading], "memory": [samples / seconds for seconds in memory],
            "ratio": float(np.median([m / r for r, m in zip(reading, memory, strict=True)])),
            "device": str(fabric.device), "workers": workers, "threads": torch.get_num_threads(),
            "steps": steps, "batch_size": recipe.batch_size, "crop": list(recipe.augmentation.crop)}


def _recipe(drives: int, folder: Path) -> Recipe:
    recipe = load_stages(RECIPE)["full"]
    last = 1_000_000 + drives - 1
    data = dataclasses.replace(recipe.data, train=f"city:1000000-{last}x{FRAMES}/12", validation="",
                               cache=str(folder / "cache"))
    return dataclasses.replace(recipe, data=data)


def _read(run: Run, steps: int, workers: int) -> Iterator[dict[str, Any]]:
    """The batches of the run's next steps, as `training.train` reads them."""
    sampler = ResumableSampler(run.step, run.step + steps, run.recipe.batch_size)
    return sample_batches(run.samples(), sampler, run.recipe.batch_size, workers)


def _timed(run: Run, batches: Iterator[dict[str, Any]], steps: int) -> tuple[float, list[dict[str, Any]]]:
    """Seconds of so many steps, and the batches that they took."""
    kept: list[dict[str, Any]] = []
    _wait_for(run)
    start = perf_counter()
    for _ in tqdm(range(steps), unit="step", disable=None):
        kept.append(next(batches))
        run.train_step(iter(kept[-1:]))
    _wait_for(run)
    return perf_counter() - start, kept


def _wait_for(run: Run) -> None:
    if run.fabric.device.type == "cuda":
        torch.cuda.synchronize()


def table(result: dict[str, Any]) -> str:
    """One line per way, and the ratio beside its budget."""
    height, width = result["crop"]
    rows = {"rendering the city, the first pass": [result["rendering"]],
            "read from the cache and augmented": result["reading"], "the same batches in memory": result["memory"]}
    return "\n".join([
        f"{result['device']}, {result['threads']} threads for the step, {result['workers']} processes that read; "
        f"{result['steps']} steps of {result['batch_size']} crops {height} x {width}",
        *(f"{name:38} {np.median(values):7.2f} samples/s" for name, values in rows.items()),
        f"{'reading : memory':38} {result['ratio']:7.1%}  (at least {BUDGET:.0%})"])


if __name__ == "__main__":
    run_benchmark(__doc__, measure, table, workers=max(1, (os.cpu_count() or 2) - 1))
