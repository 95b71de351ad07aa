"""Checkpoints: the whole state of a run in one file, written atomically."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path
from typing import Any

import torch

from panoptic_ros.errors import InputError

from .recipe import Recipe


def save_checkpoint(file: Path, state: dict[str, Any]) -> None:
    """Write a checkpoint atomically: a run that is killed meanwhile keeps the old one.

    Raises InputError when the disk is full; the old checkpoint is whole then.
    """
    partial = file.with_suffix(".partial")
    try:
        with partial.open("wb") as stream:
            torch.save(state, stream)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(partial, file)
    except (OSError, RuntimeError) as error:
        partial.unlink(missing_ok=True)
        kept = "the checkpoint before is whole" if file.is_file() else "there is no earlier checkpoint"
        raise InputError(f"{file} could not be written ({error}): free disk space and run the same command again; "
                         f"{kept}") from error


def load_checkpoint(file: Path, device: torch.device) -> dict[str, Any] | None:
    """The saved state, or None without a file. Raises InputError for a file that is no checkpoint."""
    if not file.is_file():
        return None
    try:
        state: dict[str, Any] = torch.load(file, map_location=device, weights_only=True)
    except Exception as error:
        raise InputError(f"{file} is not a checkpoint, or is damaged ({error}): remove it to begin anew, or choose "
                         "another --out") from error
    return state


def check_same_run(state: dict[str, Any], recipe: Recipe, processes: int, out: Path) -> None:
    """Raises InputError where a checkpoint's state is of another recipe, of another number of processes, which would
    see other samples, or of a version that kept other things."""
    if "objective" not in state:
        raise InputError(f"{out} holds a run of an earlier version, which cannot go on: begin anew with another --out "
                         f"and --initial_model {out / 'model'}")
    # A key that a recipe has only since the run began was what is its default now.
    defaults = {row.name: dataclasses.asdict(row.default) if dataclasses.is_dataclass(row.default)
                and not isinstance(row.default, type) else row.default for row in dataclasses.fields(Recipe)}
    ours, theirs = recipe.plain(), {**defaults, **state["recipe"]}
    # These do not change what was learned so far.
    free = {"validation", "test_time", "thresholds"}
    if changed := sorted(k for k in ours.keys() | theirs.keys() if k not in free and ours.get(k) != theirs.get(k)):
        raise InputError(f"{out} holds a run of another recipe (it differs in {', '.join(changed)}): give the same "
                         "recipe to go on, or another --out to begin anew")
    if state["processes"] != processes:
        raise InputError(f"{out} holds a run of {state['processes']} processes, now there are {processes}: go on "
                         f"with as many devices, or begin anew with another --out and --initial_model {out / 'model'}")
