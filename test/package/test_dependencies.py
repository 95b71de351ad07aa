"""What the package imports is what package.xml and pyproject.toml say that it needs."""

from __future__ import annotations

import ast
import re
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

if sys.version_info >= (3, 11):
    import tomllib
else:
    tomllib = pytest.importorskip("tomli")

ROOT = Path(__file__).resolve().parents[2]

# Imported module -> its distribution in pyproject.toml, and its rosdep key; None where rosdep has none.
PYTHON: dict[str, tuple[str, str | None]] = {
    "av": ("av", None), "backports": ("backports.zstd", None), "cv2": ("opencv-python-headless", "python3-opencv"),
    "jinja2": ("jinja2", "python3-jinja2"), "lz4": ("lz4", None), "numpy": ("numpy", "python3-numpy"),
    "openvino": ("openvino", None), "pycocotools": ("pycocotools", None), "rosbags": ("rosbags", "python3-rosbags-pip"),
    "safetensors": ("safetensors", None), "scipy": ("scipy", "python3-scipy"), "timm": ("timm", "python3-timm-pip"),
    "torch": ("torch", "python3-pytorch-pip"), "torchvision": ("torchvision", "python3-torchvision-pip"),
    "tqdm": ("tqdm", "python3-tqdm"), "yaml": ("pyyaml", "python3-yaml"),
}
# Imported without being a dependency of its own, and why.
NO_DEPENDENCY = {
    "cityscapesscripts": "for `dataset convert cityscapes` alone, which says that it is needed",
    "fsspec": "of torch; for URLs of `panoptic-ros fleet` alone",
    "h5py": "for NYU Depth v2's .mat file alone, which says that it is needed (the extra `depth`)",
    "nncf": "for `panoptic-ros quantise` alone, which says that it is needed (the extra `quantise`)",
    "onnxruntime": "for the engine of its name, which says that it is needed (the extra `onnx`)",
    "tensorrt": "for the engine of its name, which says that it is needed (NVIDIA's own installer has it)",
    "compression": "of Python 3.14", "markupsafe": "of jinja2", "panoptic_ros": "the package",
    "huggingface_hub": "of transformers", "transformers": "of the extra universal, which says that it is needed",
    "ray": "for `panoptic-ros fleet --ray` alone, which says that it is needed (the extra `fleet`)",
    "typing_extensions": "for type checkers alone",
}
# It adds rosbags.image to the modules of rosbags.
NOT_IMPORTED = {"rosbags-image"}


# What training imports besides -> its distribution.
OF_TRAINING = {"jsonargparse": "jsonargparse", "lightning_fabric": "lightning-fabric"}
# It writes the files that torch.utils.tensorboard is asked for.
NOT_IMPORTED_BY_TRAINING = {"tensorboard"}


def imported(folder: str = "panoptic_ros") -> set[str]:
    """The top-level modules that a package imports anywhere, without those of Python."""
    names: set[str] = set()
    for file in (ROOT / folder).rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Import):
                names.update(alias.name for alias in node.names)
            elif isinstance(node, ast.ImportFrom) and not node.level:
                names.add(str(node.module))
    return {name.split(".")[0] for name in names} - set(sys.stdlib_module_names) - NO_DEPENDENCY.keys()


def test_every_module_that_is_imported_is_in_package_xml() -> None:
    package = ElementTree.parse(ROOT / "package.xml").getroot()
    said = {str(row.text) for kind in ("depend", "exec_depend") for row in package.iter(kind)}
    needed = imported()
    keys = {key for module in needed & PYTHON.keys() if (key := PYTHON[module][1])}
    of_ros = needed - PYTHON.keys()  # a ROS package has the name of its module
    assert keys | of_ros <= said
    assert {key for key in said if key.startswith("python3-")} == keys


def test_what_rosdep_does_not_know_is_named_in_package_xml() -> None:
    comments = " ".join(re.findall(r"<!--(.*?)-->", (ROOT / "package.xml").read_text(), re.DOTALL))
    unknown = {PYTHON[module][0] for module in imported() & PYTHON.keys() if PYTHON[module][1] is None}
    assert {name for name in unknown | NOT_IMPORTED if name not in comments} == set()


def test_the_python_modules_that_are_imported_are_the_dependencies_in_pyproject() -> None:
    rows = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    distributions = {re.split(r"[\s<>=;\[]", row)[0] for row in rows}
    assert distributions - NOT_IMPORTED == {PYTHON[module][0] for module in imported() & PYTHON.keys()}


def test_what_training_imports_is_the_extra_of_its_name() -> None:
    rows = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]["training"]
    distributions = {re.split(r"[\s<>=;\[]", row)[0] for row in rows}
    needed = imported("training") - PYTHON.keys()
    assert {OF_TRAINING[module] for module in needed} == distributions - NOT_IMPORTED_BY_TRAINING
