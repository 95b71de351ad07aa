"""The whole way of a frame: camera images in, tracked panoptic frames out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from time import perf_counter
from typing import Any, NamedTuple, overload

import numpy as np
import torch

from panoptic_ros.camera_image import CameraImage, as_camera_image
from panoptic_ros.engines import BuiltAhead, build_engine
from panoptic_ros.frame import PanopticFrame
from panoptic_ros.intra_op_threads import one_intra_op_thread
from panoptic_ros.model import Model, load_model
from panoptic_ros.preprocessing import Preprocessor
from panoptic_ros.tracking import CameraTrackers, TrackerSettings


class PreparedImage(NamedTuple):
    """An image with the network's input that was made of it, (1, 3, H, W), the milliseconds it took, and for which
    model."""

    image: CameraImage
    batch: torch.Tensor
    milliseconds: float
    model: Model


class Perception:
    """resize + normalise -> engine(network) -> decode -> track; the same for node, replay and benchmark.

    Called with one image it returns one PanopticFrame, with a sequence of images a list of them.
    Not thread-safe: one thread calls it; only `prepare` may be called by another one meanwhile. Several may live beside
    each other, each in a thread of its own. Thresholds, tracker settings and `with_semantics` may be replaced between
    two calls.
    """

    def __init__(self, model: str | Path | Model = "city", engine: str = "auto", device: str = "auto",
                 precision: str = "auto", tracking: TrackerSettings | None = None,
                 with_semantics: bool = False, progress: Callable[[str], None] | None = None) -> None:
        """model: the name of a shipped model, a model folder, or what `load_model` returned.

        engine, device, precision: see `panoptic_ros.engines.explain_choice`. tracking: the tracker's settings.
        with_semantics: whether frames have the likeliest class of every pixel, see `PanopticFrame.semantics`.
        progress: told what an engine that builds for minutes is doing.
        Raises InputError where there is no such model, or it cannot be run in this way on this machine.
        """
        self.model = model if isinstance(model, Model) else load_model(model)
        self.thresholds: Any = self.model.thresholds
        self.tracking = tracking or TrackerSettings()
        self.with_semantics = with_semantics
        self.engine = build_engine(self.model.network, engine, device, precision, self.model.int8, progress)
        self._preprocess = Preprocessor(self.model, self.engine.device)
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
    def prepare(self, image: CameraImage) -> PreparedImage:
        """The first stage alone, for `finish`: another thread may have it done while an image is in the network."""
        start = perf_counter()
        with self._torch_threads():
            batch = self._preprocess([image])
        return PreparedImage(image, batch, 1e3 * (perf_counter() - start), self.model)

    @torch.inference_mode()
    def finish(self, prepared: Sequence[PreparedImage]) -> list[PanopticFrame]:
        """The other stages: a frame for each image, as a call with the images gives them.

        What another model was prepared for is prepared anew.
        """
        return self._frames([one if one.model is self.model else self.prepare(one.image) for one in prepared])

    @torch.inference_mode()
    def warm_up(self, height: int, width: int, batch: int = 1) -> None:
        """Make the engine ready for images of this size, so that the first of them does not wait; no track is born."""
        shape = (batch, 3, *self.model.input_shape(height, width))
        if isinstance(self.engine, BuiltAhead):
            self.engine.prepare(shape)
        image = torch.zeros(shape, device=self.engine.device)
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

    def _frames(self, images: Sequence[CameraImage | PreparedImage]) -> list[PanopticFrame]:
        frames: dict[int, PanopticFrame] = {}
        by_size: dict[tuple[int, int], list[int]] = {}
        for i, one in enumerate(images):
            image = one.image if isinstance(one, PreparedImage) else one
            by_size.setdefault((image.height, image.width), []).append(i)
        for (height, width), indices in by_size.items():
            for i, frame in zip(indices, self._segment([images[i] for i in indices], height, width), strict=True):
                frames[i] = frame
        return [self._track(frames[i]) for i in range(len(images))]

    def _segment(self, given: Sequence[CameraImage | PreparedImage], height: int, width: int) -> list[PanopticFrame]:
        prepared = [one for one in given if isinstance(one, PreparedImage)]
        images = [one.image if isinstance(one, PreparedImage) else one for one in given]
        clock = _StageClock(self.engine.device)
        clock.mark()
        if prepared:
            batch = prepared[0].batch if len(prepared) == 1 else torch.cat([one.batch for one in prepared])
        else:
            with self._torch_threads():
                batch = self._preprocess(images)
        clock.mark()
        outputs = self.engine(batch)
        clock.mark()
        with self._torch_threads():
            found = self._decode(outputs, self.thresholds, (height, width), self.with_semantics)
            maps = found.segment_map.to(torch.uint16).cpu().numpy()
            depths, semantics = ([None] * len(images) if values is None else values.cpu().numpy()
                                 for values in (found.depth, found.semantic_map))
            if found.depth is not None:
                depths = [depth * depth_factor(self.model, image) for depth, image in zip(depths, images, strict=True)]
        clock.mark()
        # A batch is one piece of work: each of its images waited for all of it.
        timings = dict(zip(("preprocess", "network", "decode"), clock.milliseconds(), strict=True))
        timings["preprocess"] += sum(one.milliseconds for one in prepared)
        return [PanopticFrame(image, segment_map, rows.numpy(), self.model.classes, depth, dict(timings), semantic_map,
                              self.model.embedding_kind)
                for image, segment_map, rows, depth, semantic_map
                in zip(images, maps, found.segments, depths, semantics, strict=True)]

    def _torch_threads(self) -> AbstractContextManager[None]:
        # Where torch does not run the network, what is left for it is many small steps, most of them the decode's: on
        # several threads they wait for each other more than they gain, and on a busy machine a hundred times more.
        return nullcontext() if self.engine.name == "torch" else one_intra_op_thread()

    def _track(self, frame: PanopticFrame) -> PanopticFrame:
        start = perf_counter()
        tracked = self._trackers.update(frame, self.tracking)
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
    return Preprocessor(model, device)(images)


class _StageClock:
    """Times between marks: of the process, or on a CUDA device of the device, so that nobody has to wait at a mark."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._marks: list[Any] = []

    def mark(self) -> None:
        """The end of a stage, and the beginning of the next."""
        if self._device.type == "cuda":
            event = torch.cuda.Event(enable_timing=True)
            event.record(torch.cuda.current_stream(self._device))
            self._marks.append(event)
        else:
            self._marks.append(perf_counter())

    def milliseconds(self) -> list[float]:
        """Of each stage; the last mark is to have been reached."""
        if self._device.type == "cuda":
            self._marks[-1].synchronize()
            return [first.elapsed_time(last) for first, last in zip(self._marks[:-1], self._marks[1:], strict=True)]
        return [1e3 * (last - first) for first, last in zip(self._marks[:-1], self._marks[1:], strict=True)]
