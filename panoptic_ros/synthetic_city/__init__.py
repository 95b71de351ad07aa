"""Drives through a synthetic city in perspective, with exact truth: for the demo, the tests and training."""

from __future__ import annotations

from panoptic_ros.synthetic_city.camera import CityCamera
from panoptic_ros.synthetic_city.drive import CityDrive, CityFrame
from panoptic_ros.synthetic_city.variation import varied_camera

__all__ = ["CityCamera", "CityDrive", "CityFrame", "varied_camera"]
