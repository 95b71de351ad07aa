"""Panoptic frames as ROS messages and back; one code for the classes of rclpy and for those of rosbags."""

from __future__ import annotations

import array
import math
import struct
from collections.abc import Callable
from dataclasses import dataclass
from itertools import repeat
from typing import Any

import numpy as np

from panoptic_ros.camera_image import CameraImage
from panoptic_ros.errors import InputError
from panoptic_ros.frame import PanopticFrame
from panoptic_ros.segments import Segments

# Names of the message types that frames are written to, as in ROS: package/msg/Name.
IMAGE = "sensor_msgs/msg/Image"
COMPRESSED_IMAGE = "sensor_msgs/msg/CompressedImage"
CAMERA_INFO = "sensor_msgs/msg/CameraInfo"
SEGMENTS = "panoptic_ros/msg/PanopticSegmentArray"
EMBEDDINGS = "panoptic_ros/msg/InstanceEmbeddingArray"
# model_id of segments that are ground truth. Where they have track ids, a thing without one is a crowd.
TRUTH = "truth"

# Encodings of depth images (REP 118): metres, or millimetres.
DEPTH_ENCODINGS = {"32FC1": "f4", "16UC1": "u2"}


@dataclass(frozen=True)
class MessageTypes:
    """Where the message classes come from.

    create: `create("sensor_msgs/msg/Image", header=..., ...)` makes a message with all of its fields.
    sequence: a one-dimensional NumPy array -> what the classes take as a sequence of numbers.
    """

    create: Callable[..., Any]
    sequence: Callable[[np.ndarray], Any]


def generated_types(find: Callable[[str], Any]) -> MessageTypes:
    """For the classes that rosidl generates for rclpy; `find("sensor_msgs/msg/Image")` returns the class."""

    def create(name: str, **fields: Any) -> Any:
        message = find(name)()
        # Given to the constructor, an array would be copied once more.
        for field, value in fields.items():
            setattr(message, field, value)
        return message

    return MessageTypes(create, _as_array)


def header(image: CameraImage, types: MessageTypes) -> Any:
    """The header of the image, as it came: stamp and frame_id, never stamped anew; without a stamp it is 0."""
    return header_at(image.stamp_ns or 0, image.frame_id, types)


def header_at(stamp_ns: int, frame_id: str, types: MessageTypes) -> Any:
    """A std_msgs/Header for a time in nanoseconds."""
    sec, nanosec = divmod(stamp_ns, 1_000_000_000)
    return types.create("std_msgs/msg/Header", frame_id=frame_id,
                        stamp=types.create("builtin_interfaces/msg/Time", sec=sec, nanosec=nanosec))


def stamp_in_ns(message_header: Any) -> int:
    """The time of a std_msgs/Header in nanoseconds; 0 is what it has where nobody has set it.

    Raises InputError when its nanoseconds are a second or more, for it could not be given back bit for bit.
    """
    stamp = message_header.stamp
    if stamp.nanosec >= 1_000_000_000:
        raise InputError(f"the stamp has {stamp.nanosec} nanoseconds beside {stamp.sec} s; less than 1e9 are allowed")
    return int(stamp.sec) * 1_000_000_000 + int(stamp.nanosec)


def serialized_header(cdr: bytes) -> tuple[int, str]:
    """Stamp (ns) and frame_id of a serialized message that starts with a std_msgs/Header, read without the rest."""
    order = "<" if cdr[1] & 1 else ">"
    sec, nanosec, length = struct.unpack_from(f"{order}iII", cdr, 4)
    return sec * 1_000_000_000 + nanosec, cdr[16:16 + length - 1].decode(errors="surrogateescape")


def image_message(pixels: np.ndarray, encoding: str, message_header: Any, types: MessageTypes) -> Any:
    """A sensor_msgs/Image, little-endian and without row padding, of (H, W) or (H, W, C) uint8, uint16 or float32."""
    little = pixels.astype(pixels.dtype.newbyteorder("<"), copy=False)
    content = np.ascontiguousarray(little).reshape(-1).view(np.uint8)
    height, width = pixels.shape[:2]
    return types.create(IMAGE, header=message_header, height=height, width=width, encoding=encoding, is_bigendian=0,
                        step=content.size // max(1, height), data=types.sequence(content))


def camera_image_message(image: CameraImage, types: MessageTypes) -> Any:
    """The camera's image as a sensor_msgs/Image."""
    return image_message(image.pixels, image.encoding, header(image, types), types)


def panoptic_image_message(frame: PanopticFrame, types: MessageTypes) -> Any:
    """The segment map as mono16: pixel = id of the segment, 0 = void, at the size of the camera's image."""
    return image_message(frame.segment_map, "mono16", header(frame.image, types), types)


def semantic_image_message(frame: PanopticFrame, types: MessageTypes) -> Any:
    """Class ids as mono8, 255 = void."""
    return image_message(frame.semantic_map(), "mono8", header(frame.image, types), types)


def depth_image_message(frame: PanopticFrame, types: MessageTypes) -> Any:
    """The depth as REP 118 has it, 32FC1 in metres, NaN where it is not known; ValueError where there is none."""
    if frame.depth is None:
        raise ValueError("the frame has no depth")
    depth = np.where(frame.depth > 0, frame.depth, np.float32(np.nan)).astype(np.float32, copy=False)
    return image_message(depth, "32FC1", header(frame.image, types), types)


def segments_message(frame: PanopticFrame, model_id: str, types: MessageTypes) -> Any:
    """All segments of the frame as a PanopticSegmentArray; ids are the pixel values of the panoptic image."""
    rows, depths = frame.segments, frame.segment_depths
    columns = zip(rows.class_id.tolist(), rows.is_thing.tolist(), rows.score.tolist(), rows.area.tolist(),
                  rows.box.tolist(), rows.track_id.tolist(), rows.track_age.tolist(),
                  repeat(math.nan, len(rows)) if depths is None else depths.tolist(), strict=True)
    segments = [
        types.create("panoptic_ros/msg/PanopticSegment", id=number, class_id=class_id,
                     class_name=frame.classes.names[class_id], is_thing=is_thing, score=score, area=area,
                     roi=types.create("sensor_msgs/msg/RegionOfInterest", x_offset=x0, y_offset=y0, height=y1 - y0,
                                      width=x1 - x0, do_rectify=False),
                     track_id=track_id, track_age=track_age, depth=depth)
        for number, (class_id, is_thing, score, area, (x0, y0, x1, y1), track_id, track_age, depth)
        in enumerate(columns, 1)]
    height, width = frame.segment_map.shape
    return types.create(SEGMENTS, header=header(frame.image, types), height=height, width=width, model_id=model_id,
                        segments=segments)


def embeddings_message(frame: PanopticFrame, model_id: str, types: MessageTypes) -> Any:
    """The unit embeddings of the frame's segments as an InstanceEmbeddingArray.

    Of each segment whose embedding is not all zero: of things, and of stuff where the method gives it one; dimension 0
    and no rows where there are no embeddings.
    """
    rows = frame.segments
    embedding = np.zeros((len(rows), 0), np.float32) if rows.embedding is None else rows.embedding
    given = np.flatnonzero(embedding.any(axis=1))
    return types.create(EMBEDDINGS, header=header(frame.image, types), model_id=model_id,
                        dimension=embedding.shape[1],
                        segment_ids=types.sequence((given + 1).astype(np.uint16)),
                        track_ids=types.sequence(rows.track_id[given].astype(np.uint32)),
                        data=types.sequence(embedding[given].astype(np.float32).reshape(-1)), kind=frame.embedding_kind)


def read_segments(panoptic_image: Any, segments: Any,
                  embeddings: Any = None) -> tuple[np.ndarray, Segments[np.ndarray]]:
    """The messages of one frame -> segment map (H, W) uint16 and Segments; segments without embedding get zeros.

    Raises InputError when the messages do not belong together or ids are not 1 ... N in order.
    """
    height, width = panoptic_image.height, panoptic_image.width
    content = np.frombuffer(panoptic_image.data, np.uint8)
    if panoptic_image.encoding != "mono16" or panoptic_image.is_bigendian or content.size != 2 * height * width:
        raise InputError(f"a panoptic image is mono16, little-endian, without padding; this one is "
                         f"{panoptic_image.encoding}, {content.size} bytes for {width} x {height}")
    rows = segments.segments
    count = len(rows)
    if [row.id for row in rows] != list(range(1, count + 1)) or (segments.height, segments.width) != (height, width):
        raise InputError("the segments do not belong to the panoptic image: ids must be 1 ... N, sizes must agree")
    segment_map = content.view("<u2").astype(np.uint16, copy=False).reshape(height, width)
    if int(segment_map.max(initial=0)) > count:
        raise InputError(f"the panoptic image has the id {segment_map.max()}, but there are {count} segments")
    box = np.array([(r.roi.x_offset, r.roi.y_offset, r.roi.x_offset + r.roi.width, r.roi.y_offset + r.roi.height)
                    for r in rows], np.int32).reshape(count, 4)
    # Messages of before 0.1.0 have no depth.
    depth = np.array([getattr(r, "depth", math.nan) for r in rows], np.float32)
    embedding = None
    if embeddings is not None and embeddings.dimension:
        embedding = np.zeros((count, embeddings.dimension), np.float32)
        ids = np.asarray(embeddings.segment_ids, np.int64)
        embedding[ids - 1] = np.asarray(embeddings.data, np.float32).reshape(len(ids), embeddings.dimension)
    return segment_map, Segments(
        np.array([r.class_id for r in rows], np.int32), np.array([r.is_thing for r in rows], bool),
        np.array([r.score for r in rows], np.float32), np.array([r.area for r in rows], np.int32), box, embedding,
        np.array([r.track_id for r in rows], np.int32), np.array([r.track_age for r in rows], np.int32),
        None if np.isnan(depth).all() else depth)


def read_semantics(semantic_image: Any) -> np.ndarray:
    """A semantic image -> class ids (H, W) uint8, 255 = void. Raises InputError where it is none."""
    height, width = semantic_image.height, semantic_image.width
    content = np.frombuffer(semantic_image.data, np.uint8)
    if semantic_image.encoding != "mono8" or content.size != height * width:
        raise InputError(f"a semantic image is mono8, without padding; this one is {semantic_image.encoding}, "
                         f"{content.size} bytes for {width} x {height}")
    return content.reshape(height, width)


def read_depth(depth_image: Any) -> np.ndarray:
    """A depth image of REP 118, 32FC1 in metres or 16UC1 in millimetres -> (H, W) float32 metres, NaN where not known.

    Infinite depths stay, which REP 117 has for what is out of range. Raises InputError for any other encoding, and
    where the size does not match.
    """
    height, width, step = depth_image.height, depth_image.width, depth_image.step
    name = DEPTH_ENCODINGS.get(depth_image.encoding)
    if name is None:
        raise InputError(f"a depth image is {' or '.join(DEPTH_ENCODINGS)}; this one is {depth_image.encoding}")
    number = np.dtype(name).newbyteorder(">" if depth_image.is_bigendian else "<")
    content = np.frombuffer(depth_image.data, np.uint8)
    if step < width * number.itemsize or content.size != height * step:
        raise InputError(f"the depth image is {width} x {height} {depth_image.encoding} with a step of {step} bytes; "
                         f"{content.size} bytes came")
    rows = np.ascontiguousarray(content.reshape(height, step)[:, :width * number.itemsize]).view(number)
    depth = rows.astype(np.float32) * np.float32(0.001 if name == "u2" else 1)
    return np.where(depth > 0, depth, np.float32(np.nan))


def camera_info_topic(image_topic: str) -> str:
    """Where the calibration of a camera is: beside its images, as in image_transport."""
    return image_topic.removesuffix("/compressed").rpartition("/")[0] + "/camera_info"


def focal_length(camera_info: Any, width: int) -> float | None:
    """The horizontal focal length of a sensor_msgs/CameraInfo, in pixels of images so wide; None where it is 0: the
    camera is not calibrated."""
    binning = max(1, camera_info.binning_x)
    columns = (camera_info.roi.width or camera_info.width) / binning
    pixels = float(camera_info.k[0]) / binning
    return pixels * width / columns if columns > 0 and 0 < pixels < math.inf else None


def camera_info_message(image: CameraImage, types: MessageTypes) -> Any:
    """A sensor_msgs/CameraInfo of an image whose focal length is known: a pinhole in its middle, without distortion."""
    f, x, y = image.focal_length or 0.0, (image.width - 1) / 2, (image.height - 1) / 2
    return types.create(
        CAMERA_INFO, header=header(image, types), height=image.height, width=image.width,
        distortion_model="plumb_bob", d=types.sequence(np.zeros(5)), k=np.array([f, 0, x, 0, f, y, 0, 0, 1]),
        r=np.eye(3).reshape(-1), p=np.array([f, 0, x, 0, 0, f, y, 0, 0, 0, 1, 0]), binning_x=0, binning_y=0,
        roi=types.create("sensor_msgs/msg/RegionOfInterest", x_offset=0, y_offset=0, height=0, width=0,
                         do_rectify=False))


def _as_array(values: np.ndarray) -> array.array[Any]:
    """NumPy -> array.array with one copy of the bytes; rclpy takes it as it is."""
    sequence: array.array[Any] = array.array(values.dtype.char)
    sequence.frombytes(np.ascontiguousarray(values).view(np.uint8).data)
    return sequence
