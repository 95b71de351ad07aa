"""The part of the packaging that pyproject.toml cannot say: config, launch and msg go inside the installed package."""

from setuptools import find_packages, setup

# `panoptic_ros.paths.shared_folder` looks there.
FOLDERS = {f"panoptic_ros.share.{name}": name for name in ("config", "launch", "msg")}

setup(
    packages=[*find_packages(include=["panoptic_ros", "panoptic_ros.*"]), *FOLDERS],
    package_dir=FOLDERS,
    package_data={"panoptic_ros": ["py.typed"], "panoptic_ros.evaluation.report": ["*.j2"],
                  **{package: ["**/*"] for package in FOLDERS}},
)
