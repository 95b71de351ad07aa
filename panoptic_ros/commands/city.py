"""`panoptic-ros city`: a drive through a synthetic city, written as images with truth or as a rosbag2."""

from __future__ import annotations

import argparse
import multiprocessing
import os
import re
import shutil
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from threading import Event

import cv2
import numpy as np
import yaml
from tqdm import tqdm

from panoptic_ros.atomic_write import write_atomically
from panoptic_ros.bags.calibration import Calibration
from panoptic_ros.bags.write import BagWriter
from panoptic_ros.classes import ClassTable, load_class_table
from panoptic_ros.datasets.coco_panoptic import CocoPanopticWriter
from panoptic_ros.errors import InputError
from panoptic_ros.image_files import DEPTH_STEPS, write_image
from panoptic_ros.interruption import stop_on_interrupt
from panoptic_ros.labels import PanopticLabel
from panoptic_ros.messages import (
    TRUTH,
    camera_image_message,
    depth_image_message,
    header,
    panoptic_image_message,
    segments_message,
)
from panoptic_ros.processes import usable_processes
from panoptic_ros.synthetic_city import rendering
from panoptic_ros.synthetic_city.camera import CityCamera
from panoptic_ros.synthetic_city.drive import CityDrive, CityFrame
from panoptic_ros.synthetic_city.truth import DriveTruth
from panoptic_ros.synthetic_city.variation import varied_camera

_OUTPUTS = {"images", "panoptic", "depth", "panoptic.json", "poses.txt", "timestamps.txt", "calibration.yaml"}
_LIMITS = (64, 4096)  # pixels per side


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of the command."""
    parser.add_argument("--out", type=Path, required=True, metavar="DIR",
                        help="folder to be made, with images/, panoptic/ and panoptic.json (COCO format), depth/, "
                             "poses.txt, timestamps.txt and calibration.yaml")
    parser.add_argument("--seed", type=int, default=0, help="another town and weather for each number from 0 up")
    parser.add_argument("--frames", type=int, default=100, metavar="N", help="how many images")
    parser.add_argument("--size", default="512x1024", metavar="HxW", help="of the images in pixels: height x width")
    parser.add_argument("--frame-rate", type=float, default=10.0, metavar="HZ", help="images per second of the drive")
    parser.add_argument("--varied", action="store_true",
                        help="vary camera, own bonnet, traffic and photography as real recordings do, for training")
    parser.add_argument("--bag", action="store_true",
                        help="DIR becomes a rosbag2 (metadata.yaml and .mcap) with images, CameraInfo and truth "
                             "topics, in place of pictures and text files; a name that ends in .mcap makes one file")
    parser.add_argument("--overwrite", action="store_true", help="replace an earlier drive in DIR")


def run(args: argparse.Namespace) -> int:
    """Render and write; returns 0, or 130 when interrupted: what is there is complete up to there."""
    camera = _camera(args.size)
    if args.seed < 0:
        raise InputError(f"--seed is {args.seed}; a seed is a whole number from 0 up")
    if args.frames < 1:
        raise InputError(f"--frames is {args.frames}; a drive needs at least one")
    if not 0.1 <= args.frame_rate <= 1000:
        raise InputError(f"--frame-rate is {args.frame_rate}; it must lie between 0.1 and 1000 images per second")
    _make_room(args.out, args.overwrite)
    classes = load_class_table("cityscapes")
    view = varied_camera(args.seed, camera) if args.varied else camera
    begin = time.perf_counter()
    with stop_on_interrupt() as stop:
        frames = _render(args.seed, camera, args.frame_rate, args.frames, args.varied, stop)
        progress = tqdm(frames, total=args.frames, unit="image", disable=None)
        count = _write_bag(args.out, progress, view, classes) if args.bag else _write_files(
            args.out, progress, view, classes)
    seconds = time.perf_counter() - begin
    print(f"{args.out}: {count} images of {camera.width} x {camera.height} in {seconds:.1f} s "
          f"({count / seconds:.1f} per second)")
    return 130 if stop.is_set() else 0


def _camera(size: str) -> CityCamera:
    match = re.fullmatch(r"(\d{1,6})x(\d{1,6})", size)
    if match is None:
        raise InputError(f"--size is '{size}'; give height x width in pixels, such as 512x1024")
    height, width = int(match[1]), int(match[2])
    low, high = _LIMITS
    if not (low <= height <= high and low <= width <= high):
        raise InputError(f"--size is {height} x {width}; both sides must have {low} to {high} pixels")
    return CityCamera.of_size(height, width)


def _make_room(out: Path, overwrite: bool) -> None:
    """Nothing is at `out` afterwards; only what this command wrote is ever deleted."""
    if out.is_file() or (out.is_dir() and any(out.iterdir())):
        if not overwrite:
            raise InputError(f"{out} has files already: choose another folder, or give --overwrite to replace them")
        names = {out.name} if out.is_file() else {entry.name for entry in out.iterdir()}
        foreign = sorted(n for n in names - _OUTPUTS - {"metadata.yaml"} if not n.endswith(".mcap"))
        if foreign:
            raise InputError(f"{out} has files that are not of a city drive ({', '.join(foreign[:3])}): delete it "
                             "yourself")
    try:
        if out.is_file():
            out.unlink()
        elif out.is_dir():
            shutil.rmtree(out)
        out.parent.mkdir(parents=True, exist_ok=True)
        if not os.access(out.parent, os.W_OK):
            raise PermissionError(13, "Permission denied")
    except OSError as error:
        raise InputError(f"nothing can be written to {out}: {error.strerror}") from error


def _render(seed: int, camera: CityCamera, frame_rate: float, count: int, varied: bool,
            stop: Event) -> Iterator[CityFrame]:
    """The frames in their order, rendered by two processes, where there can be, never more than a few frames ahead."""
    context = multiprocessing.get_context("spawn")
    if usable_processes(2) == 1:
        drive = CityDrive(seed, camera, frame_rate, varied)
        for k in range(count):
            if stop.is_set():
                return
            yield drive.render(k)
        return
    # Not a multiprocessing.Pool: it ends its processes by a signal, and one that holds the lock of a queue at that
    # moment leaves it locked, for which the pool then waits for ever.
    with ProcessPoolExecutor(2, context, rendering.start, (seed, camera, frame_rate, varied)) as pool:
        waiting = [pool.submit(rendering.render, k) for k in range(min(6, count))]
        for k in range(count):
            if stop.is_set():
                return
            frame = waiting.pop(0).result()
            if k + 6 < count:
                waiting.append(pool.submit(rendering.render, k + 6))
            yield frame


def _write_files(out: Path, frames: Iterable[CityFrame], camera: CityCamera, classes: ClassTable) -> int:
    """Images, COCO-panoptic truth, depth, poses and calibration; returns the number of images.

    Where they cannot be written, as on a full disk, all of them are taken away.
    """
    try:
        return _write_drive(out, frames, camera, classes)
    except (InputError, OSError):
        shutil.rmtree(out, ignore_errors=True)
        raise


def _write_drive(out: Path, frames: Iterable[CityFrame], camera: CityCamera, classes: ClassTable) -> int:
    for folder in ("images", "depth"):
        (out / folder).mkdir(parents=True)
    write_atomically(out / "calibration.yaml", _calibration_yaml(_calibration(camera)))
    truth, writer = DriveTruth(classes), CocoPanopticWriter(out, classes)
    poses, stamps = [], []
    fast = [cv2.IMWRITE_PNG_COMPRESSION, 1]
    try:
        for k, frame in enumerate(frames):
            name = f"{k:06d}.png"
            write_image(out / "images" / name, frame.image[..., ::-1], fast)
            steps = np.nan_to_num(frame.depth * DEPTH_STEPS, posinf=0.0)  # 0 = sky, or farther than 65535 steps
            write_image(out / "depth" / name, np.where(steps > 65535, 0, np.rint(steps)).astype(np.uint16), fast)
            panoptic = truth.panoptic_frame(frame)
            rows = panoptic.segments
            is_crowd = rows.is_thing & (rows.track_id == 0)
            label = PanopticLabel.of(panoptic.segment_map, rows.class_id, rows.track_id, is_crowd)
            # The id of a crowd: as those of stuff, which are class ids + 1.
            writer.add(f"images/{name}", label, out.name, k, frame.stamp_ns,
                       np.where(is_crowd, rows.class_id + 1, rows.track_id))
            poses.append(" ".join(f"{value:.9g}" for value in frame.camera_pose[:3].reshape(-1)))
            stamps.append(str(frame.stamp_ns))
    finally:
        writer.close()
        write_atomically(out / "poses.txt", "".join(f"{line}\n" for line in poses))
        write_atomically(out / "timestamps.txt", "".join(f"{line}\n" for line in stamps))
    return len(poses)


def _write_bag(out: Path, frames: Iterable[CityFrame], camera: CityCamera, classes: ClassTable) -> int:
    """Images, CameraInfo and truth topics; returns the number of images."""
    truth, calibration = DriveTruth(classes), _calibration(camera)
    count = 0
    with BagWriter(out, compress=True) as bag:
        for frame in frames:
            panoptic = truth.panoptic_frame(frame)
            stamp, head = frame.stamp_ns, header(panoptic.image, bag.types)
            bag.write("/camera/image", camera_image_message(panoptic.image, bag.types), stamp)
            bag.write("/camera/camera_info", calibration.message(head, bag.types), stamp)
            bag.write("/camera/truth/panoptic/image", panoptic_image_message(panoptic, bag.types), stamp)
            bag.write("/camera/truth/segments", segments_message(panoptic, TRUTH, bag.types), stamp)
            bag.write("/camera/truth/depth", depth_image_message(panoptic, bag.types), stamp)
            count += 1
    return count


def _calibration(camera: CityCamera) -> Calibration:
    intrinsic = np.array([[camera.fx, 0, camera.cx], [0, camera.fy, camera.cy], [0, 0, 1.0]])
    return Calibration(camera.height, camera.width, "plumb_bob", np.zeros(5), intrinsic, np.eye(3),
                       np.concatenate([intrinsic, np.zeros((3, 1))], 1))


def _calibration_yaml(calibration: Calibration) -> str:
    """As camera_calibration of ROS writes it."""
    def matrix(values: np.ndarray) -> dict[str, object]:
        rows = np.atleast_2d(values)
        return {"rows": rows.shape[0], "cols": rows.shape[1], "data": [float(v) for v in rows.reshape(-1)]}

    return yaml.safe_dump({
        "image_width": calibration.width, "image_height": calibration.height, "camera_name": "camera",
        "distortion_model": calibration.distortion_model, "camera_matrix": matrix(calibration.intrinsic),
        "distortion_coefficients": matrix(calibration.distortion),
        "rectification_matrix": matrix(calibration.rectification),
        "projection_matrix": matrix(calibration.projection)}, sort_keys=False)
