"""The ground truth of a city drive as panoptic frames, numbered as data sets and messages need it."""

from __future__ import annotations

import numpy as np

from panoptic_ros.camera_image import CameraImage
from panoptic_ros.classes import VOID, ClassTable
from panoptic_ros.frame import PanopticFrame
from panoptic_ros.geometry.numpy_label_maps import label_areas_and_boxes
from panoptic_ros.segments import Segments
from panoptic_ros.synthetic_city.drive import CityFrame

FIRST_THING = 1000  # ids of things begin here; stuff has its class id + 1, so that 0 stays void


class DriveTruth:
    """Turns the frames of one drive, in their order, into panoptic frames.

    An object's id is the same in all of them: FIRST_THING and up, in the order in which objects come into view.
    """

    def __init__(self, classes: ClassTable, camera: str = "camera") -> None:
        self.classes, self.camera = classes, camera
        self._ids: dict[int, int] = {}
        self._first_seen: dict[int, int] = {}
        self._frames = 0

    def panoptic_frame(self, frame: CityFrame) -> PanopticFrame:
        """The frame's truth; `track_id` holds the ids, scores are 1, `track_age` counts from the first sight.

        Every pixel that shows a thing belongs to its segment, however small.
        """
        is_thing = self.classes.thing_mask
        # Stuff by class, then things by object; neither shares a number with the other.
        keys = np.where(frame.instance_map > 0, frame.instance_map.astype(np.int64) + 256, frame.class_map)
        found, inverse = np.unique(keys, return_inverse=True)
        inverse = inverse.reshape(keys.shape)
        kept = found != VOID
        number = np.where(kept, np.cumsum(kept), 0)
        segment_map = number[inverse].astype(np.uint16)
        area, box = label_areas_and_boxes(segment_map, int(kept.sum()))
        first = np.zeros(len(area) + 1, np.int64)
        first[segment_map.reshape(-1)[::-1]] = np.arange(segment_map.size)[::-1]
        class_id = frame.class_map.reshape(-1)[first[1:]].astype(np.int32)
        ids = [self._id_of(int(key)) for key in found[kept]]
        ages = [self._frames - self._first_seen.setdefault(i, self._frames) + 1 for i in ids]
        self._frames += 1
        segments = Segments(
            class_id, is_thing[class_id], np.ones(len(ids), np.float32), area, box, None, np.array(ids, np.int32),
            np.array(ages, np.int32))
        image = CameraImage(frame.image, "rgb8", frame.stamp_ns, self.camera, self.camera)
        return PanopticFrame(image, segment_map, segments, self.classes, frame.depth)

    def _id_of(self, key: int) -> int:
        return key + 1 if key < 256 else self._ids.setdefault(key, FIRST_THING + len(self._ids))
