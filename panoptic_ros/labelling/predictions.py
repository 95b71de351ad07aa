"""The predictions for every image of a recording, kept in a folder, so that an interrupted run goes on."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from threading import Event
from typing import Any

import numpy as np
from tqdm import tqdm

from panoptic_ros.atomic_write import write_atomically
from panoptic_ros.bags.recording import BrokenFrame, Recording
from panoptic_ros.camera_image import CameraImage
from panoptic_ros.errors import InputError
from panoptic_ros.labelling.motion import motion_between, small_grey, thumbnail
from panoptic_ros.perception import Perception

# Images between two checkpoints: the state of the tracks is as large as their masks.
CHECKPOINT_EVERY = 25


@dataclass(frozen=True)
class Prediction:
    """What the teacher says of one image, besides its maps, which `Predictions.maps` reads.

    number: of the image in the recording. position: of the image in its camera's sequence.
    motion: since the camera's image before, a share of the image's width; 0 of the first. thumbnail: see `motion`.
    class_id, is_thing, score, track_id: (N,) of its segments.
    """

    number: int
    position: int
    camera: str
    stamp_ns: int
    motion: float
    thumbnail: np.ndarray
    class_id: np.ndarray
    is_thing: np.ndarray
    score: np.ndarray
    track_id: np.ndarray


class Predictions:
    """A folder of predictions, one file for each image."""

    def __init__(self, folder: Path, settings: dict[str, Any]) -> None:
        """settings: what they depend on, as JSON has it. Raises InputError where the folder is of other settings."""
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        said = folder / "settings.json"
        text = json.dumps(settings, sort_keys=True)
        if said.is_file() and said.read_text() != text:
            raise InputError(f"{folder.parent} has the unfinished labels of another recording, model or setting: go on "
                             "with the same ones, or delete it")
        write_atomically(said, text)

    def make(self, recording: Recording, perception: Perception, stop: Event) -> bool:
        """Segment and track every image that has not been yet; returns whether all are done.

        Broken images, and such without a stamp or not after the one before, are left out.
        """
        first = self._resume(perception)
        perception.with_semantics = True
        before: dict[str, tuple[int, int, np.ndarray]] = {}  # camera -> position, stamp and picture of its last image
        images = (image for image in recording.frames() if not isinstance(image, BrokenFrame))
        for number, image in enumerate(tqdm(images, total=recording.frame_count, unit="image", disable=None)):
            if stop.is_set():
                return False
            position, stamp, grey_before = before.get(image.camera, (-1, -1, None))
            if image.stamp_ns is None or image.stamp_ns <= stamp:
                continue
            # Of what was done before only the last picture is needed, to go on with the flow.
            grey = small_grey(image.rgb())
            before[image.camera] = (position + 1, image.stamp_ns, grey)
            if number < first:
                continue
            frame = perception(image)
            assert frame.semantics is not None
            rows = frame.segments
            moved = 0.0
            if grey_before is not None and grey_before.shape == grey.shape:
                moved = motion_between(grey_before, grey)
            self._write(number, position=position + 1, camera=image.camera, stamp_ns=image.stamp_ns, motion=moved,
                        thumbnail=thumbnail(grey), class_id=rows.class_id, is_thing=rows.is_thing, score=rows.score,
                        track_id=rows.track_id, segment_map=frame.segment_map, semantics=frame.semantics)
            if (number + 1) % CHECKPOINT_EVERY == 0:
                self._checkpoint(number + 1, perception)
        return True

    def __iter__(self) -> Iterator[Prediction]:
        """In the order of the recording, without their maps."""
        for file in sorted(self.folder.glob("image_*.npz")):
            with np.load(file) as read:
                yield Prediction(int(file.stem.removeprefix("image_")), int(read["position"]), str(read["camera"]),
                                 int(read["stamp_ns"]), float(read["motion"]), read["thumbnail"], read["class_id"],
                                 read["is_thing"], read["score"], read["track_id"])

    def maps(self, number: int) -> tuple[np.ndarray, np.ndarray]:
        """segment_map (H, W) uint16 and semantics (H, W) uint8 of an image."""
        with np.load(self._file(number)) as read:
            return read["segment_map"], read["semantics"]

    def delete(self) -> None:
        """Delete the folder."""
        for file in self.folder.iterdir():
            file.unlink()
        self.folder.rmdir()

    def _file(self, number: int) -> Path:
        return self.folder / f"image_{number:08d}.npz"

    def _write(self, number: int, **arrays: Any) -> None:
        self._replace(self._file(number), arrays)

    def _checkpoint(self, next_image: int, perception: Perception) -> None:
        self._replace(self.folder / "tracks.npz", {"next_image": next_image, **perception.tracks_state()})

    def _replace(self, file: Path, arrays: dict[str, Any]) -> None:
        write_atomically(file, lambda opened: np.savez_compressed(opened, **arrays))

    def _resume(self, perception: Perception) -> int:
        """The first image that is to be done."""
        file = self.folder / "tracks.npz"
        if not file.is_file():
            return 0
        with np.load(file) as read:
            state = {name: read[name] for name in read.files}
        first = int(state.pop("next_image"))
        perception.restore_tracks(state)
        return first


def pictures(recording: Recording, numbers: set[int]) -> Iterator[tuple[int, CameraImage]]:
    """The images of these numbers, in order."""
    images = (image for image in recording.frames() if not isinstance(image, BrokenFrame))
    for number, image in enumerate(images):
        if number in numbers:
            yield number, image
