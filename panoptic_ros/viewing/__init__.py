"""Pictures and videos of panoptic frames, for people to look at."""

from panoptic_ros.viewing.overlay import OverlayStyle, draw_overlay
from panoptic_ros.viewing.video import VideoWriter

__all__ = ["OverlayStyle", "VideoWriter", "draw_overlay"]
