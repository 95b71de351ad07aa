"""Tracks over time: which segment of this frame is which object of the frames before."""

from panoptic_ros.association.settings import TrackerSettings
from panoptic_ros.association.tracker import Tracker

__all__ = ["Tracker", "TrackerSettings"]
