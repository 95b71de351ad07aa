"""A fleet's failures and its scaling: python -m benchmarks.fleet [--quick] [--ray local] [--json FILE]

Twenty short city drives and one damaged bag through `panoptic-ros fleet evaluate`, again and again: by one worker, by
two, with a worker killed in the middle, with the run itself killed and started again, in shards, and on a Ray cluster
of this machine. Each result has to be the first one's, byte for byte. The scaling to more machines is modelled: the
measured CPU seconds per recording, the longest first to whichever machine is free, and the start of a worker on each.
"""

from __future__ import annotations

import heapq
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from benchmarks.command import run_benchmark
from panoptic_ros.bags.write import BagWriter
from panoptic_ros.classes import load_class_table
from panoptic_ros.errors import InputError
from panoptic_ros.messages import TRUTH, camera_image_message, panoptic_image_message, segments_message
from panoptic_ros.model import load_model, save_model
from panoptic_ros.synthetic_city.camera import CityCamera
from panoptic_ros.synthetic_city.drive import CityDrive
from panoptic_ros.synthetic_city.truth import DriveTruth

ROOT = Path(__file__).parents[1]
DRIVES, QUICK = 20, 5
SIZE = (64, 128)
MACHINES = (1, 2, 5, 10, 20)
COPIES = 50  # of the recordings, in the model of a larger fleet
_WAIT_S = 1800.0


def measure(quick: bool, model: str, ray: str) -> dict[str, Any]:
    """What each way of running took and whether its result is the first one's; measured and modelled scaling."""
    with TemporaryDirectory(prefix="fleet_") as name:
        folder = Path(name)
        # The real network at the size of the small images: what is measured here is the fleet.
        save_model(replace(load_model(model), input_size=SIZE), folder / "small")
        write_drives(folder / "bags", QUICK if quick else DRIVES)
        experiment = _Experiment(folder, ray)
        experiment.run("one worker", 1)
        experiment.run("two workers", 2)
        experiment.run("two workers, one killed", 2, kill="worker")
        experiment.run("two workers, the run killed and started again", 2, kill="run")
        experiment.run("three shards, merged", 1, shards=3)
        if ray:
            experiment.run("Ray, two workers", 2, on_ray=True)
            experiment.run("Ray, two workers, one killed", 2, on_ray=True, kill="worker")
            experiment.run("Ray, the run killed and started again", 2, on_ray=True, kill="run")
        timing = json.loads((folder / "one worker" / "timing.json").read_text())
        seconds, start = list(timing["cpu_seconds"].values()), start_seconds(folder / "small")
        return {"recordings": len(seconds), "frames": experiment.frames, "runs": experiment.rows,
                "cpu_seconds_per_recording": {"least": min(seconds), "mean": float(np.mean(seconds)),
                                              "most": max(seconds)},
                "cpu_seconds_to_start_a_worker": start,
                "modelled": {str(copies * len(seconds)): {str(n): round(makespan(seconds * copies, n, start), 1)
                                                          for n in MACHINES} for copies in (1, COPIES)}}


def makespan(seconds: Sequence[float], machines: int, start: float) -> float:
    """Seconds until the last machine is done, where each takes the longest recording that is left when it is free."""
    free = [start] * machines
    for one in sorted(seconds, reverse=True):
        heapq.heappush(free, heapq.heappop(free) + one)
    return max(free)


def start_seconds(model: Path) -> float:
    """CPU seconds that a new process takes until it has loaded a model and is ready for work."""
    program = ("import sys, time\n"
               "from panoptic_ros.fleet import work\n"
               "from panoptic_ros.perception import Perception\n"
               "Perception(sys.argv[1], device='cpu').warm_up(64, 128)\n"
               "print(time.process_time())")
    done = subprocess.run([sys.executable, "-c", program, str(model)], env=_environment(), check=True,
                          capture_output=True, text=True)
    return round(float(done.stdout), 2)


def write_drives(folder: Path, count: int) -> None:
    """Bags of 6 to 16 frames with their truth, and a damaged one."""
    classes = load_class_table("cityscapes")
    folder.mkdir()
    for seed in range(count):
        drive, truth = CityDrive(seed, CityCamera.of_size(*SIZE), 10.0), DriveTruth(classes)
        with BagWriter(folder / f"drive_{seed:02d}.mcap") as bag:
            for k in range(6 + 7 * seed % 11):
                rendered = drive.render(k)
                frame = truth.panoptic_frame(rendered)
                messages = {"/camera/image": camera_image_message(frame.image, bag.types),
                            "/camera/truth/panoptic/image": panoptic_image_message(frame, bag.types),
                            "/camera/truth/segments": segments_message(frame, TRUTH, bag.types)}
                for topic, message in messages.items():
                    bag.write(topic, message, rendered.stamp_ns)
    (folder / "damaged.mcap").write_bytes(bytes(range(256)) * 40)


def table(result: dict[str, Any]) -> str:
    """The figures for a terminal."""
    lines = [f"{result['recordings']} recordings, {result['frames']} frames; CPU seconds per recording: "
             + ", ".join(f"{name} {value:.2f}" for name, value in result["cpu_seconds_per_recording"].items())
             + f"; to start a worker {result['cpu_seconds_to_start_a_worker']:.1f}"]
    lines += [run_line(row) for row in result["runs"]]
    for count, by_machines in result["modelled"].items():
        one = by_machines["1"]
        lines.append(f"modelled, {count} recordings: " + ", ".join(
            f"{n} machines {seconds:.0f} s ({one / seconds:.1f}x)" for n, seconds in by_machines.items()))
    return "\n".join(lines)


def run_line(row: dict[str, Any]) -> str:
    """What one way of running came to."""
    return (f"{row['name']:<46} {row['seconds']:7.1f} s  {row['ok']} ok, {row['failed']} failed, {row['skipped']} done "
            f"before, {row['again']} tried again  {'the same bytes' if row['same'] else 'OTHER BYTES'}")


class _Experiment:
    """Runs the command in `folder`, and compares what it leaves with what the first run left."""

    def __init__(self, folder: Path, ray: str) -> None:
        self._folder, self._ray = folder, ray
        self._first = b""
        self.rows: list[dict[str, Any]] = []
        self.frames = 0

    def run(self, name: str, workers: int, kill: str = "", shards: int = 1, on_ray: bool = False) -> None:
        """kill: `worker`, `run` or nothing, in the middle."""
        out = self._folder / name
        more = ["--ray", self._ray, "--cpus-per-worker", "1"] if on_ray else []
        begin, said = time.monotonic(), ""
        if kill == "run":
            said += self._command(out, workers, more, kill)
        for k in range(1, shards + 1):
            said = self._command(out, workers, [*more, *(["--shard", f"{k}/{shards}"] if shards > 1 else [])],
                                 kill if kill == "worker" else "")
        if shards > 1:
            self._merge(out)
        seconds = time.monotonic() - begin
        content = (out / "fleet.json").read_bytes()
        self._first = self._first or content
        result = json.loads(content)
        self.frames = result["frames"]["out"]
        skipped, again = re.search(r"(\d+) done before", said), re.findall("^again: /", said, re.MULTILINE)
        self.rows.append({"name": name, "seconds": round(seconds, 1), "same": content == self._first,
                          "ok": result["recordings"]["ok"], "failed": result["recordings"]["failed"],
                          "skipped": int(skipped[1]) if skipped else 0, "again": len(again)})
        print(run_line(self.rows[-1]), file=sys.stderr, flush=True)  # at once: all together take long

    def _command(self, out: Path, workers: int, more: Sequence[str], kill: str) -> str:
        bags = sorted(str(file) for file in (self._folder / "bags").iterdir())
        command = [sys.executable, "-m", "panoptic_ros.cli", "fleet", "evaluate", *bags, "--out", str(out), "--model",
                   str(self._folder / "small"), "--device", "cpu", "--workers", str(workers), *more]
        said = self._folder / "said.txt"
        with said.open("w") as stream:
            process = subprocess.Popen(command, env=_environment(), stdout=stream, stderr=stream)
            if kill:
                self._kill_in_the_middle(process, out, said, len(bags), kill)
            process.wait(_WAIT_S)
        text = said.read_text()
        if process.returncode not in (0, 1, -signal.SIGKILL):
            raise InputError(f"the run ended with status {process.returncode}: {text[-2000:]}")
        return text

    def _kill_in_the_middle(self, process: subprocess.Popen[bytes], out: Path, said: Path, bags: int,
                            kill: str) -> None:
        end = time.monotonic() + _WAIT_S
        while len(list(out.glob("recordings/*/result.json"))) < bags // 3 or not list(out.glob(".partial/*/*")):
            if process.poll() is not None or time.monotonic() > end:
                raise InputError(f"the run was over before it could be disturbed: {said.read_text()[-2000:]}")
            time.sleep(0.02)
        workers = [int(pid) for pid in re.findall(r"^worker \d+: .*process (\d+)$", said.read_text(), re.MULTILINE)]
        os.kill(process.pid if kill == "run" else workers[0], signal.SIGKILL)

    def _merge(self, out: Path) -> None:
        subprocess.run([sys.executable, "-m", "panoptic_ros.cli", "fleet", "merge", str(out)], env=_environment(),
                       check=False, capture_output=True)


def _environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}


if __name__ == "__main__":
    run_benchmark(__doc__, measure, table, model="city", ray="")
