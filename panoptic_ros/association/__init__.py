"""Tracks over time: which segment of this frame is which object of the frames before."""

from panoptic_ros.association.cameras import CameraTrackers
from panoptic_ros.association.settings import TrackerSettings
from panoptic_ros.association.tracker import Identities, Tracker

__all__ = ["CameraTrackers", "Identities", "Tracker", "TrackerSettings"]
