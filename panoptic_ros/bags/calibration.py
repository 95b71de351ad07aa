"""Camera calibrations from files, as sensor_msgs/CameraInfo has them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from panoptic_ros.errors import InputError
from panoptic_ros.messages import MessageTypes


@dataclass(frozen=True)
class Calibration:
    """Intrinsics of one camera, in the terms of sensor_msgs/CameraInfo.

    distortion: D, its meaning by `distortion_model`; empty where the images are rectified.
    intrinsic: K (3, 3) of the images as they are. rectification: R (3, 3). projection: P (3, 4) of rectified images.
    """

    height: int
    width: int
    distortion_model: str
    distortion: np.ndarray
    intrinsic: np.ndarray
    rectification: np.ndarray
    projection: np.ndarray

    def message(self, message_header: Any, types: MessageTypes) -> Any:
        """A sensor_msgs/CameraInfo with the header of an image."""
        return types.create(
            "sensor_msgs/msg/CameraInfo", header=message_header, height=self.height, width=self.width,
            distortion_model=self.distortion_model, d=types.sequence(self.distortion),
            k=self.intrinsic.reshape(-1), r=self.rectification.reshape(-1), p=self.projection.reshape(-1),
            binning_x=0, binning_y=0,
            roi=types.create("sensor_msgs/msg/RegionOfInterest", x_offset=0, y_offset=0, height=0, width=0,
                             do_rectify=False))


def read_calibration(file: Path, camera: str) -> Calibration:
    """The calibration of a camera, from KITTI's calib_cam_to_cam.txt or a YAML file of ROS's camera_calibration.

    camera: for KITTI a name that ends with the camera's number, such as image_02.
    Raises InputError when the file is neither, or the camera is not in it.
    """
    try:
        text = file.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"the calibration {file} cannot be read: {error}") from error
    try:
        return _from_kitti(text, camera) if "P_rect_" in text else _from_yaml(text)
    except (yaml.YAMLError, KeyError, TypeError, ValueError) as error:
        raise InputError(f"{file} has no calibration for {camera}: KITTI's calib_cam_to_cam.txt (S_rect_NN, P_rect_NN) "
                         "and the YAML of camera_calibration (image_width, image_height, camera_matrix, ...) are read; "
                         f"the fault is at: {error}") from error


def _from_kitti(text: str, camera: str) -> Calibration:
    """The rectified images of a drive: no distortion is left, and K is the left part of P.

    P is taken as it is: its last column refers to camera 0 of the drive, not to the left of a pair.
    """
    rows = dict(line.split(":", 1) for line in text.splitlines() if ":" in line)
    number = camera[-2:]
    width, height = (int(float(value)) for value in rows[f"S_rect_{number}"].split())
    projection = np.array(rows[f"P_rect_{number}"].split(), float).reshape(3, 4)
    return Calibration(height, width, "plumb_bob", np.zeros(5), projection[:, :3].copy(), np.eye(3), projection)


def _from_yaml(text: str) -> Calibration:
    rows = yaml.safe_load(text)

    def matrix(name: str, *shape: int) -> np.ndarray:
        return np.array(rows[name]["data"], float).reshape(shape)

    return Calibration(int(rows["image_height"]), int(rows["image_width"]), str(rows["distortion_model"]),
                       matrix("distortion_coefficients", -1), matrix("camera_matrix", 3, 3),
                       matrix("rectification_matrix", 3, 3), matrix("projection_matrix", 3, 4))
