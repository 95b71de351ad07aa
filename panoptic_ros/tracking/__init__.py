"""Tracks over time: which segment of this frame is which object of the frames before."""

from panoptic_ros.tracking.cameras import CameraTrackers
from panoptic_ros.tracking.settings import TrackerSettings
from panoptic_ros.tracking.tracker import Identities, Tracker

__all__ = ["CameraTrackers", "Identities", "Tracker", "TrackerSettings"]
