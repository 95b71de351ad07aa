"""A process that renders the frames of one drive for another; it imports nothing but what rendering needs."""

from __future__ import annotations

import signal

import cv2

from panoptic_ros.synthetic_city.camera import CityCamera
from panoptic_ros.synthetic_city.drive import CityDrive, CityFrame

_drive: CityDrive | None = None


def start(seed: int, camera: CityCamera, frame_rate: float, varied: bool = False) -> None:
    """Prepare this process; to be called once, before `render`."""
    global _drive
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the main process ends this one, between two frames
    cv2.setNumThreads(1)
    _drive = CityDrive(seed, camera, frame_rate, varied)


def render(k: int) -> CityFrame:
    """Frame k of the drive."""
    assert _drive is not None, "start() comes first"
    return _drive.render(k)
