"""The ground truth of a city drive: labels, and panoptic frames numbered as data sets and messages need it."""

from __future__ import annotations

import numpy as np

from panoptic_ros.camera_image import CameraImage
from panoptic_ros.classes import ClassTable
from panoptic_ros.frame import PanopticFrame
from panoptic_ros.geometry.numpy_label_maps import label_areas_and_boxes
from panoptic_ros.labels import PanopticLabel
from panoptic_ros.segments import Segments
from panoptic_ros.synthetic_city.drive import CityFrame

FIRST_THING = 1000  # ids of things begin here; stuff has its class id + 1, so that 0 stays void
SMALLEST_OUTLINED = 25  # visible pixels of a thing in an image of _REFERENCE_SIZE; in others, scaled with the area
_REFERENCE_SIZE = 512 * 1024


def group_tiny_things(label: PanopticLabel, is_thing: np.ndarray) -> PanopticLabel:
    """The label with all tiny things of a class as one crowd without an object id; is_thing: (C,) bool.

    Tiny is a thing that shows fewer than 25 pixels at 512 x 1024: annotators do not outline what they cannot see, but
    mark it as a group of its class, such as Cityscapes' `cargroup`.
    """
    area = np.bincount(label.segment_map.reshape(-1), minlength=len(label) + 1)[1:]
    is_tiny = is_thing[label.class_id] & (area * _REFERENCE_SIZE < SMALLEST_OUTLINED * label.segment_map.size)
    object_id = np.where(is_tiny, 0, label.object_id)
    _, first, row = np.unique(object_id << 8 | label.class_id, return_index=True, return_inverse=True)
    number = np.concatenate([[0], row + 1]).astype(label.segment_map.dtype)
    return PanopticLabel.of(number[label.segment_map], label.class_id[first], object_id[first], is_tiny[first])


def frame_label(frame: CityFrame, classes: ClassTable, outline_tiny: bool = False) -> PanopticLabel:
    """The frame's truth; object ids are those of its instance map.

    outline_tiny: whether every thing is a segment, however small; else see `group_tiny_things`.
    """
    label = PanopticLabel.of_maps(frame.class_map, frame.instance_map)
    return label if outline_tiny else group_tiny_things(label, classes.thing_mask)


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

        Tiny things are crowds, see `group_tiny_things`; a crowd is a thing whose track_id and track_age are 0.
        """
        label = frame_label(frame, self.classes)
        area, box = label_areas_and_boxes(label.segment_map, len(label))
        rows = zip(label.class_id.tolist(), label.object_id.tolist(), label.is_crowd.tolist(), strict=True)
        ids = [0 if is_crowd else self._id_of(class_id, object_id) for class_id, object_id, is_crowd in rows]
        ages = [self._frames - self._first_seen.setdefault(i, self._frames) + 1 if i else 0 for i in ids]
        self._frames += 1
        segments = Segments(
            label.class_id, self.classes.thing_mask[label.class_id], np.ones(len(ids), np.float32), area, box, None,
            np.array(ids, np.int32), np.array(ages, np.int32))
        image = CameraImage(frame.image, "rgb8", frame.stamp_ns, self.camera, self.camera)
        return PanopticFrame(image, label.segment_map.astype(np.uint16), segments, self.classes, frame.depth)

    def _id_of(self, class_id: int, object_id: int) -> int:
        return self._ids.setdefault(object_id, FIRST_THING + len(self._ids)) if object_id else class_id + 1
