"""Monitor of a training run: progress bar, JSON-lines log, TensorBoard's scalars and images."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
from torch import Tensor
from torch.utils.tensorboard import SummaryWriter
from tqdm import tqdm

from panoptic_ros.atomic_write import write_atomically
from panoptic_ros.errors import InputError
from panoptic_ros.viewing.feature_maps import feature_picture

from .validation import METRICS

_SCALARS_EVERY = 10


class Monitor:
    """Writes OUT/log.jsonl, a line for each step, and OUT/tensorboard. Raises InputError when the disk is full."""

    def __init__(self, out: Path, first_step: int, steps: int) -> None:
        self._drop_lines_after(out / "log.jsonl", first_step)
        self._log = (out / "log.jsonl").open("a")
        self._board = SummaryWriter(str(out / "tensorboard"), purge_step=first_step)
        self._bar = tqdm(total=steps, initial=first_step, unit="step", disable=None)

    def step(self, step: int, terms: Mapping[str, float], learning_rate: float, data_time: float) -> None:
        """Log a step: the terms of its loss, its learning rate, and the seconds it waited for its batches."""
        with self._telling_of_the_disk():
            self._log.write(json.dumps({"step": step, "time": round(time.time(), 1), "learning_rate": learning_rate,
                                        "data_time": round(data_time, 4),
                                        **{name: round(value, 5) for name, value in terms.items()}}) + "\n")
            self._log.flush()
            if step % _SCALARS_EVERY == 0:
                for name, value in {**{f"loss/{k}": v for k, v in terms.items()}, "learning_rate": learning_rate,
                                    "data_time": data_time}.items():
                    self._board.add_scalar(name, value, step)
        self._bar.update()
        self._bar.set_postfix(loss=f"{terms['total']:.3f}")

    def scores(self, step: int, scores: Mapping[str, float]) -> None:
        """Log the scores of a validation: fractions from 0 to 1, but depth_rmse in metres."""
        with self._telling_of_the_disk():
            for name, value in scores.items():
                self._board.add_scalar(f"validation/{name}", value, step)
            self._board.flush()
        tqdm.write(f"step {step}: " + ", ".join(
            f"{name} {METRICS[name].format(value)}" + (" m" if METRICS[name].unit == "m" else "")
            for name, value in scores.items()))

    def images(self, step: int, name: str, overlay: np.ndarray, outputs: Mapping[str, Tensor]) -> None:
        """Log a validation image: overlay (H, W, 3) uint8 RGB, and the network's maps (D, h, w) for it."""
        with self._telling_of_the_disk():
            self._board.add_image(f"{name}/prediction", overlay, step, dataformats="HWC")
            for output, maps in outputs.items():
                self._board.add_image(f"{name}/{output}", feature_picture(maps.float().cpu().numpy()), step,
                                      dataformats="HWC")

    def close(self) -> None:
        """Complete the files, as far as the disk has room for what is still to be written."""
        for one in (self._log, self._board, self._bar):
            with suppress(OSError):
                one.close()

    @contextmanager
    def _telling_of_the_disk(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise InputError(f"{self._log.name} cannot be written ({error.strerror or error}): free disk space and run "
                             "the same command again; it goes on from its last checkpoint") from error

    @staticmethod
    def _drop_lines_after(file: Path, step: int) -> None:
        # Steps behind the checkpoint are done again; a killed run has left their lines, the last perhaps in part.
        if file.is_file():
            lines = [line for line in file.read_text().splitlines(keepends=True)
                     if line.endswith("\n") and json.loads(line)["step"] <= step]
            write_atomically(file, "".join(lines))
