"""`panoptic-ros bag`: a video or a folder of images -> a rosbag2 with images and CameraInfo."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from threading import Event
from typing import Any

import cv2
from tqdm import tqdm

from panoptic_ros.bags.calibration import Calibration, read_calibration
from panoptic_ros.bags.read import open_recording
from panoptic_ros.bags.recording import BrokenFrame, Recording
from panoptic_ros.bags.write import BagWriter
from panoptic_ros.camera_image import CameraImage
from panoptic_ros.errors import InputError
from panoptic_ros.interruption import stop_on_interrupt
from panoptic_ros.messages import COMPRESSED_IMAGE, MessageTypes, camera_image_message, header

_JPEG_QUALITY = 95


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of the command."""
    parser.add_argument("input", type=Path, help="video, folder of images, or drive of KITTI (image_02, image_03, ...)")
    parser.add_argument("--out", type=Path, required=True, metavar="BAG",
                        help="folder of the rosbag2 to be made, or one file NAME.mcap")
    parser.add_argument("--calib", type=Path, metavar="FILE",
                        help="calibration: calib_cam_to_cam.txt of KITTI, or the YAML of ROS's camera_calibration "
                             "(default: calib_cam_to_cam.txt of the drive, where there is one)")
    parser.add_argument("--topic", metavar="T",
                        help="topic of the images (default: /camera/image, or /<camera>/image for several cameras)")
    parser.add_argument("--compressed", action="store_true", help="write JPEG (sensor_msgs/CompressedImage)")


def run(args: argparse.Namespace) -> int:
    """Write the bag; returns 0, or 130 when interrupted: the bag is complete up to there."""
    recording = open_recording(args.input)
    topics = _image_topics(recording, args.topic)
    calibrations = _calibrations(args.input, args.calib, list(topics))
    for notice in recording.notices:
        print(f"note: {notice}", file=sys.stderr)
    bag = BagWriter(args.out)
    try:
        with stop_on_interrupt() as stop, bag:
            written, skipped = _write(recording, topics, calibrations, args.compressed, bag, stop)
        if not written and not stop.is_set():
            raise InputError(f"not one of the {skipped} images of {args.input} could be read; no bag was written")
    except InputError:
        bag.discard()
        raise
    print(f"{args.out}: {written} images on {', '.join(topics.values())}"
          + (", with CameraInfo" if calibrations else "") + (f"; {skipped} could not be read" if skipped else ""))
    return 130 if stop.is_set() else 0


def _write(recording: Recording, topics: dict[str, str], calibrations: dict[str, Calibration], compressed: bool,
           bag: BagWriter, stop: Event) -> tuple[int, int]:
    """Write all images; returns how many were written and how many could not be read."""
    written = skipped = time_ns = 0
    for item in tqdm(recording.frames(), total=recording.frame_count, unit="image", disable=None):
        if stop.is_set():
            break
        if isinstance(item, BrokenFrame):
            skipped += item.frames
            tqdm.write(f"{item.reason}: {item.detail}", file=sys.stderr)
            continue
        time_ns = max(time_ns, item.stamp_ns or 0)  # the time of recording must not go back where stamps do
        topic = topics[item.camera]
        if compressed:
            bag.write(f"{topic}/compressed", _jpeg_message(item, bag.types), time_ns)
        else:
            bag.write(topic, camera_image_message(item, bag.types), time_ns)
        if item.camera in calibrations:
            calibration = calibrations[item.camera]
            if (calibration.height, calibration.width) != (item.height, item.width):
                raise InputError(f"the calibration of {item.camera} is for images of {calibration.width} x "
                                 f"{calibration.height}, but they have {item.width} x {item.height}")
            bag.write(topic.rsplit("/", 1)[0] + "/camera_info",
                      calibration.message(header(item, bag.types), bag.types), time_ns)
        written += 1
    return written, skipped


def _image_topics(recording: Recording, topic: str | None) -> dict[str, str]:
    """Topic of the images of each camera."""
    if recording.kind == "rosbag2":
        raise InputError(f"{recording.path} is a bag already")
    cameras = [stream.camera for stream in recording.streams]
    if topic is None:
        return {camera: f"/{camera}/image" for camera in cameras}
    if len(cameras) > 1:
        raise InputError(f"--topic names one topic, but {recording.path} has the cameras {', '.join(cameras)}: leave "
                         "it away, or give one of their folders as input")
    if not topic.startswith("/") or topic.count("/") < 2 or topic.endswith("/") or "//" in topic:
        raise InputError(f"--topic is '{topic}'; write it in full with a name before the last, such as /front/image")
    return {cameras[0]: topic}


def _calibrations(source: Path, file: Path | None, cameras: list[str]) -> dict[str, Calibration]:
    if file is None:
        file = source / "calib_cam_to_cam.txt"
        if not file.is_file():
            return {}
    # A camera folder of KITTI that was given alone is `camera` to the recording; its number is in the folder's name.
    names = {camera: source.resolve().name if camera == "camera" else camera for camera in cameras}
    return {camera: read_calibration(file, name) for camera, name in names.items()}


def _jpeg_message(image: CameraImage, types: MessageTypes) -> Any:
    _, jpeg = cv2.imencode(".jpg", image.pixels, [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])
    return types.create(COMPRESSED_IMAGE, header=header(image, types), format="bgr8; jpeg compressed bgr8",
                        data=types.sequence(jpeg.reshape(-1)))
