"""What `import panoptic_ros` offers, and that it is light."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import panoptic_ros
from panoptic_ros.camera_image import CameraImage
from panoptic_ros.frame import PanopticFrame
from panoptic_ros.model import load_model
from panoptic_ros.perception import Perception

ROOT = Path(__file__).parents[2]


def test_the_package_offers_what_users_import() -> None:
    assert {name: getattr(panoptic_ros, name) for name in panoptic_ros.__all__} == {
        "CameraImage": CameraImage, "PanopticFrame": PanopticFrame, "Perception": Perception, "load_model": load_model}


def test_a_name_that_is_not_there_is_an_error_as_in_any_package() -> None:
    with pytest.raises(AttributeError, match="module 'panoptic_ros' has no attribute 'Perceptron'"):
        _ = panoptic_ros.Perceptron
    with pytest.raises(ImportError, match="cannot import name 'Perceptron'"):
        from panoptic_ros import Perceptron  # noqa: F401


def test_importing_the_package_or_a_camera_image_imports_no_torch() -> None:
    program = ("import sys, panoptic_ros; from panoptic_ros import CameraImage, errors; "
               "print(sorted({'torch', 'cv2', 'openvino'} & set(sys.modules)))")
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, text=True, capture_output=True, timeout=60)
    assert done.stdout == "[]\n", done.stderr
