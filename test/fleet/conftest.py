"""Small recordings with truth, and workers that live in the test's own process."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from threading import Event as ThreadEvent
from typing import Any

import numpy as np
import pytest

from panoptic_ros.bags.types import bag_types
from panoptic_ros.bags.write import BagWriter
from panoptic_ros.camera_image import CameraImage
from panoptic_ros.classes import load_class_table
from panoptic_ros.evaluation.content_hash import hash_path
from panoptic_ros.fleet.job import Job
from panoptic_ros.fleet.run import Outcome, run_fleet, worker_factory
from panoptic_ros.fleet.storage import Store
from panoptic_ros.fleet.worker import FleetWorker
from panoptic_ros.fleet.workers import Event
from panoptic_ros.messages import TRUTH, camera_image_message, panoptic_image_message, segments_message
from panoptic_ros.model import load_model, save_model
from panoptic_ros.synthetic_city.camera import CityCamera
from panoptic_ros.synthetic_city.drive import CityDrive
from panoptic_ros.synthetic_city.truth import DriveTruth

SIZE = (64, 128)
FRAMES = (3, 2, 4, 2)


@pytest.fixture(scope="session")
def bags(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Bags of city drives of a few frames with their truth, the third one damaged: four that can be read."""
    folder, classes = tmp_path_factory.mktemp("bags"), load_class_table("cityscapes")
    for seed, count in enumerate(FRAMES):
        drive, truth = CityDrive(seed, CityCamera.of_size(*SIZE), 10.0), DriveTruth(classes)
        with BagWriter(folder / f"drive_{seed}.mcap") as bag:
            for k in range(count):
                frame = truth.panoptic_frame(drive.render(k))
                image = CameraImage(np.ascontiguousarray(frame.image.pixels), frame.image.encoding,
                                    frame.image.stamp_ns, "camera")
                stamp = frame.image.stamp_ns
                bag.write("/camera/image", camera_image_message(image, bag_types()), stamp)
                bag.write("/camera/truth/panoptic/image", panoptic_image_message(frame, bag_types()), stamp)
                bag.write("/camera/truth/segments", segments_message(frame, TRUTH, bag_types()), stamp)
    (folder / "drive_1b.mcap").write_bytes(b"not a bag at all")
    return sorted(str(file) for file in folder.iterdir())


@pytest.fixture(scope="session")
def small_city_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The shipped model for small images: it does find something in a city."""
    folder = tmp_path_factory.mktemp("models") / "small_city"
    save_model(replace(load_model("city"), input_size=SIZE), folder)
    return folder


@pytest.fixture(scope="session")
def make_job(small_city_model: Path) -> Callable[..., Job]:
    """`make_job(command="evaluate", **options)` with the small model on the CPU."""
    model_id, model_hash = load_model(small_city_model).model_id, hash_path(small_city_model)

    def make(command: str = "evaluate", **options: Any) -> Job:
        defaults: dict[str, Any] = {"evaluate": {"truth": None, "match": None}, "replay": {"overlay": False},
                                    "label": {"flip": False}}[command]
        return Job(command, str(small_city_model), model_id, model_hash, "torch", "cpu", "single",
                   options={**defaults, **options})

    return make


class InlineWorkers:
    """Workers in this process, one after the other. `calls`: recordings that were processed."""

    def __init__(self, make: Callable[[], FleetWorker], count: int = 1) -> None:
        self.count, self._make = count, make
        self._workers: dict[int, FleetWorker] = {}
        self._asked: list[tuple[int, str, tuple[Any, ...]]] = []
        self.calls: list[str] = []

    def start(self, worker: int) -> None:
        self._workers[worker] = self._make()

    def submit(self, worker: int, method: str, *arguments: Any) -> None:
        self._asked.append((worker, method, arguments))

    def wait(self, seconds: float) -> list[Event]:
        worker, method, arguments = self._asked.pop(0)
        if method == "process":
            self.calls.append(Path(arguments[0]["recording"]).name)
        return [Event(worker, getattr(self._workers[worker], method)(*arguments))]

    def kill(self, worker: int) -> None:
        del self._workers[worker]

    def close(self) -> None:
        self._workers.clear()


@pytest.fixture(scope="session")
def run_inline() -> Callable[..., tuple[Outcome, list[str]]]:
    """`run_inline(job, recordings, out, **settings)`: what happened, and the names of what was processed."""
    def run(job: Job, recordings: list[str], out: Path | str, **settings: Any) -> tuple[Outcome, list[str]]:
        store = Store(str(out))
        name = store.begin_run()
        workers = InlineWorkers(worker_factory(job, store, name))
        return run_fleet(job, recordings, store, workers, ThreadEvent(), name, **settings), workers.calls

    return run


@pytest.fixture(scope="session")
def evaluated(bags: list[str], make_job: Callable[..., Job], run_inline: Callable[..., Any],
              tmp_path_factory: pytest.TempPathFactory) -> Path:
    """OUT of an evaluation of all bags by one worker."""
    out = tmp_path_factory.mktemp("fleet") / "one"
    run_inline(make_job(), bags, out)
    return out
