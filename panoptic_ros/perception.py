"""The whole way of a frame: camera images in, tracked panoptic frames out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from time import perf_counter
from typing import Any, overload

import cv2
import numpy as np
import torch

from panoptic_ros.camera_image import CameraImage, as_camera_image
from panoptic_ros.engines import build_engine
from panoptic_ros.frame import PanopticFrame
from panoptic_ros.intra_op_threads import one_intra_op_thread
from panoptic_ros.model import Model, load_model
from panoptic_ros.tracking import CameraTrackers, TrackerSettings


class Perception:
    """resize + normalise -> engine(network) -> decode -> track; the same for node, replay and benchmark.

    Called with one image it returns one PanopticFrame, with a sequence of images a list of them.
    Not thread-safe: one thread calls it. Several may live beside each other, each in a thread of its own. Thresholds,
    tracker settings and `with_semantics` may be replaced between two calls.
    """

    def __init__(self, model: str | Path | Model = "city", engine: str = "auto", device: str = "auto",
                 precision: str = "auto", tracking: TrackerSettings | None = None,
                 with_semantics: bool = False) -> None:
        """model: the name of a shipped model, a model folder, or what `load_model` returned.

        engine, device, precision: see `panoptic_ros.engines.explain_choice`. tracking: the tracker's settings.
        with_semantics: whether frames have the likeliest class of every pixel, see `PanopticFrame.semantics`.
        Raises InputError where there is no such model, or it cannot be run in this way on this machine.
        """
        self.model = model if isinstance(model, Model) else load_model(model)
        self.thresholds: Any = self.model.thresholds
        self.tracking = tracking or TrackerSettings()
        self.with_semantics = with_semantics
        self.engine = build_engine(self.model.network, engine, device, precision, self.model.int8)
        self._decode = self.model.decoder(self.engine.device)
        self._trackers = CameraTrackers()

    @overload
    def __call__(self, images: CameraImage | np.ndarray) -> PanopticFrame: ...

    @overload
    def __call__(self, images: Sequence[CameraImage | np.ndarray]) -> list[PanopticFrame]: ...

    @torch.inference_mode()
    def __call__(self, images: CameraImage | np.ndarray | Sequence[CameraImage | np.ndarray],
                 ) -> PanopticFrame | list[PanopticFrame]:
        """Segment images, and follow the objects of those that have a stamp, camera by camera.

        images: one image, or a sequence of images, such as those of several cameras; those of one size go through the
            network as one batch. A NumPy array is uint8: (H, W, 3) red first, (H, W, 4) with alpha, which is ignored,
            (H, W) or (H, W, 1) grey. It has no stamp; a CameraImage may have one, in ascending order for each camera.
        Returns one frame per image, in the same order. Raises InputError for what is no image or has no pixels.
        """
        if isinstance(images, (str, bytes)) or not isinstance(images, Sequence):
            return self._frames([as_camera_image(images)])[0]
        return self._frames([as_camera_image(image) for image in images])

    @torch.inference_mode()
    def warm_up(self, height: int, width: int, batch: int = 1) -> None:
        """Make the engine ready for images of this size, so that the first of them does not wait; no track is born."""
        image = torch.zeros(batch, 3, *self.model.input_shape(height, width), device=self.engine.device)
        outputs = self.engine(image)
        with self._torch_threads():
            self._decode(outputs, self.thresholds, (height, width), self.with_semantics)

    def reset_tracks(self, camera: str | None = None) -> None:
        """Forget the tracks of one camera, or of all; ids that were given out are not given out again."""
        self._trackers.reset(camera)

    def start_recording(self) -> None:
        """Forget all tracks and ids, as a new perception: recordings have the same ids in whatever order they come."""
        self._trackers = CameraTrackers()

    def continue_tracks_of(self, other: Perception) -> None:
        """Take the place of another perception: tracks start anew, but ids it gave out are not given out again."""
        self._trackers = other._trackers
        self.reset_tracks()

    def tracks_state(self) -> dict[str, np.ndarray]:
        """All that the next track ids depend on, as named arrays, fit for np.savez."""
        return {"model": np.array(self.model.model_id), **self._trackers.state()}

    def restore_tracks(self, state: Mapping[str, np.ndarray]) -> None:
        """Go on with the tracks of a state, as after a restart, or with its ids alone where another model made it.

        Raises InputError where it is no such state; then nothing has changed.
        """
        self._trackers.restore(state)
        if str(state.get("model")) != self.model.model_id:
            self.reset_tracks()

    def tracks_born(self) -> int:
        """How many tracks there have been so far, over all cameras."""
        return self._trackers.born

    def _frames(self, images: Sequence[CameraImage]) -> list[PanopticFrame]:
        frames: dict[int, PanopticFrame] = {}
        by_size: dict[tuple[int, int], list[int]] = {}
        for i, image in enumerate(images):
            by_size.setdefault((image.height, image.width), []).append(i)
        for (height, width), indices in by_size.items():
            for i, frame in zip(indices, self._segment([images[i] for i in indices], height, width), strict=True):
                frames[i] = frame
        return [self._track(frames[i]) for i in range(len(images))]

    def _segment(self, images: list[CameraImage], height: int, width: int) -> list[PanopticFrame]:
        start = perf_counter()
        with self._torch_threads():
            batch = preprocess(self.model, images, self.engine.device)
        preprocessed = perf_counter()
        outputs = self.engine(batch)
        inferred = perf_counter()
        with self._torch_threads():
            found = self._decode(outputs, self.thresholds, (height, width), self.with_semantics)
            maps = found.segment_map.to(torch.uint16).cpu().numpy()
            depths, semantics = ([None] * len(images) if values is None else values.cpu().numpy()
                                 for values in (found.depth, found.semantic_map))
            if found.depth is not None:
                depths = [depth * depth_factor(self.model, image) for depth, image in zip(depths, images, strict=True)]
        decoded = perf_counter()
        # A batch is one piece of work: each of its images waited for all of it.
        timings = {"preprocess": 1e3 * (preprocessed - start), "network": 1e3 * (inferred - preprocessed),
                   "decode": 1e3 * (decoded - inferred)}
        return [PanopticFrame(image, segment_map, rows.numpy(), self.model.classes, depth, dict(timings), semantic_map)
                for image, segment_map, rows, depth, semantic_map
                in zip(images, maps, found.segments, depths, semantics, strict=True)]

    def _torch_threads(self) -> AbstractContextManager[None]:
        # Where torch does not run the network, what is left for it is many small steps, most of them the decode's: on
        # several threads they wait for each other more than they gain, and on a busy machine a hundred times more.
        return nullcontext() if self.engine.name == "torch" else one_intra_op_thread()

    def _track(self, frame: PanopticFrame) -> PanopticFrame:
        start = perf_counter()
        tracked = self._trackers.update(frame, self.tracking).with_segment_depths()
        tracked.timings_ms["track"] = 1e3 * (perf_counter() - start)
        return tracked


def depth_factor(model: Model, image: CameraImage) -> np.float32:
    """What a decoded depth is multiplied by: the focal length of the image's camera over that of the model's training,
    both in pixels of the network's input; 1 where one of the two is not known."""
    if not model.focal_length or image.focal_length is None:
        return np.float32(1)
    columns = model.input_shape(image.height, image.width)[1]
    return np.float32(image.focal_length * columns / image.width / model.focal_length)


def preprocess(model: Model, images: Sequence[CameraImage], device: torch.device) -> torch.Tensor:
    """Images of one size -> the network's input, normalised float (B, 3, H, W), red first."""
    shape = model.input_shape(images[0].height, images[0].width)
    batch = np.empty((len(images), *shape, 3), np.uint8)
    for row, image in zip(batch, images, strict=True):
        pixels = image.pixels
        if pixels.shape[:2] != shape:
            shrinks = shape[0] < image.height and shape[1] < image.width
            pixels = cv2.resize(pixels, shape[::-1], interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)
        row[:] = CameraImage(pixels.reshape(*shape, -1), image.encoding).rgb()
    return model.normalise(torch.from_numpy(batch).to(device))
