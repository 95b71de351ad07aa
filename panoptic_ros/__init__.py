"""Panoptic segmentation and tracking of camera streams for ROS 2."""

from pkgutil import extend_path
from typing import TYPE_CHECKING

# The generated messages (panoptic_ros.msg) are installed by colcon under the same package name; with this line
# they are found beside the modules of a source checkout too.
__path__ = extend_path(__path__, __name__)

__version__ = "0.1.0"

__all__ = ["CameraImage", "PanopticFrame", "Perception", "load_model"]

if TYPE_CHECKING:
    from panoptic_ros.camera_image import CameraImage
    from panoptic_ros.frame import PanopticFrame
    from panoptic_ros.model import load_model
    from panoptic_ros.perception import Perception
else:
    _MODULES = {"CameraImage": "camera_image", "PanopticFrame": "frame", "Perception": "perception",
                "load_model": "model"}

    def __getattr__(name):
        # Imported when first asked for (PEP 562): the command line and the messages do without torch.
        if name not in _MODULES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from importlib import import_module

        return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
