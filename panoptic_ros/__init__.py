"""Panoptic segmentation and tracking of camera streams for ROS 2."""

from pkgutil import extend_path

# The generated messages (panoptic_ros.msg) are installed by colcon under the same package name; with this line
# they are found beside the modules of a source checkout too.
__path__ = extend_path(__path__, __name__)

__version__ = "0.1.0"
