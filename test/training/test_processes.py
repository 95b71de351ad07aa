"""Training by several processes, started by torchrun as on several machines."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from lightning_fabric import Fabric

from panoptic_ros.errors import InputError
from panoptic_ros.model import load_model
from training.recipe import load_recipe
from training.run import Run

RECIPE = """
data: {{train: '{folder}', validation: '{folder}'}}
augmentation: {{crop: [64, 64]}}
hyperparameters: {{backbone: test_efficientnet, decoder_channels: 16, output_stride: 32}}
objective: {{thomson: false, smallest_instance: 100}}
validation: {{every: 1, images: 1}}
schedule: {{warm_up: 0}}
precision: 32-true
steps: 2
batch_size: 1
"""
# The command, which also keeps what each process took and what weights it ended with.
PROGRAM = """
import sys, torch
from training import train
step = train.Run.train_step
def recorded(run, batches):
    batch = next(batches)
    values = step(run, iter([batch]))
    state = {k: v.clone() for k, v in run.network.named_parameters()}
    torch.save({"image": batch["image"], "weights": state}, f"{run.out}/{run.fabric.global_rank}_{run.step}.pt")
    return values
train.Run.train_step = recorded
sys.exit(train.main())
"""


@pytest.mark.skipif(not (torch.distributed.is_available() and torch.distributed.is_gloo_available()),
                    reason="this PyTorch has no gloo, which connects processes on the CPU")
def test_processes_of_torchrun_share_the_samples_of_a_step_and_end_with_the_same_weights(
        street_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "recipe.yaml").write_text(RECIPE.format(folder=street_folder))
    (tmp_path / "program.py").write_text(PROGRAM)
    out = tmp_path / "run"
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2",
               str(tmp_path / "program.py"), "--config", str(tmp_path / "recipe.yaml"), "--out", str(out),
               "--workers", "0", "--accelerator", "cpu"]
    root = str(Path(__file__).parents[2])
    done = subprocess.run(command, timeout=150, cwd=root, capture_output=True, text=True,
                          env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": root})
    assert done.returncode == 0, done.stderr

    samples = Run(load_recipe(tmp_path / "recipe.yaml"), out, Fabric(accelerator="cpu", devices=1)).samples()
    kept = {(rank, step): torch.load(out / f"{rank}_{step}.pt", weights_only=True)
            for rank in (0, 1) for step in (1, 2)}
    # Step by step what one process would take that has both places in its batch.
    for number, (step, rank) in enumerate([(1, 0), (1, 1), (2, 0), (2, 1)]):
        assert torch.equal(kept[rank, step]["image"][0], samples[number]["image"])
    for step in (1, 2):
        first, second = kept[0, step]["weights"], kept[1, step]["weights"]
        assert all(torch.equal(first[name], second[name]) for name in first)
    assert load_model(out / "model").training["data"].endswith("4 crops of 64 x 64")
    with pytest.raises(InputError, match="a run of 2 processes, now there are 1: go on with as many devices"):
        Run(load_recipe(tmp_path / "recipe.yaml"), out, Fabric(accelerator="cpu", devices=1)).resume()
