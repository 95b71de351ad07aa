"""Multi-object tracking by detection: each thing segment gets the id of its track over time."""

from panoptic_ros.tracking.cameras import CameraTrackers
from panoptic_ros.tracking.settings import TrackerSettings
from panoptic_ros.tracking.tracker import Tracker, TrackIdAllocator

__all__ = ["CameraTrackers", "TrackIdAllocator", "Tracker", "TrackerSettings"]
