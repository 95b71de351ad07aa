"""Image messages as camera images."""

from __future__ import annotations

from sensor_msgs.msg import CompressedImage, Image

from panoptic_ros.camera_image import PIXEL_ENCODINGS, CameraImage
from panoptic_ros.errors import InputError
from panoptic_ros.messages import stamp_in_ns
from panoptic_ros.pixels import compressed_pixels, image_pixels


def camera_image(message: Image | CompressedImage, camera: str) -> CameraImage:
    """The image of a message; its pixels are a view of the message's where the encoding is plain.

    A stamp of 0 has not been set, as everywhere in ROS: such an image has none.
    Raises InputError for an encoding that nobody here can read, and for sizes, steps, lengths, stamps that are wrong.
    """
    stamp_ns = stamp_in_ns(message.header) or None
    if isinstance(message, CompressedImage):
        pixels, encoding = compressed_pixels(message.format, message.data)
        return CameraImage(pixels, encoding, stamp_ns, camera, message.header.frame_id)
    try:
        pixels, encoding = image_pixels(message.height, message.width, message.encoding, message.step,
                                        message.is_bigendian, message.data)
    except ModuleNotFoundError:
        # A ROS without rosbags-image from PyPI. Not the other way round: cv_bridge 1.x breaks with NumPy 2.
        return _through_cv_bridge(message, stamp_ns, camera)
    return CameraImage(pixels, encoding, stamp_ns, camera, message.header.frame_id)


def _through_cv_bridge(message: Image, stamp_ns: int | None, camera: str) -> CameraImage:
    try:
        from cv_bridge import CvBridge, CvBridgeError
    except ImportError as error:
        raise InputError(f"the image encoding '{message.encoding}' needs rosbags-image (pip) or cv_bridge (ROS); "
                         f"without them these are taken: {', '.join(PIXEL_ENCODINGS)}") from error
    try:
        pixels = CvBridge().imgmsg_to_cv2(message, "bgr8")
    except CvBridgeError as error:
        raise InputError(f"cv_bridge cannot convert '{message.encoding}': {error}") from error
    return CameraImage(pixels, "bgr8", stamp_ns, camera, message.header.frame_id)
