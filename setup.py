"""What pyproject.toml cannot say: which folders lie beside the package in a checkout and inside it once installed."""

from setuptools import find_namespace_packages, find_packages, setup

# Installed package -> folder of the checkout.
# `training` goes inside, so that nobody gets a top-level package of so common a name: its modules import each other
# relatively and so are right in both places. The others are looked for by `panoptic_ros.paths.shared_folder`.
FOLDERS = {"panoptic_ros.training": "training",
           **{f"panoptic_ros.share.{name}": name for name in ("config", "launch", "msg")}}

setup(
    # Folders of data are named too: setuptools warns of those that are not.
    packages=[*find_packages(include=["panoptic_ros", "panoptic_ros.*"]), *FOLDERS,
              *(f"{package}.{name}" for package, root in FOLDERS.items() for name in find_namespace_packages(root))],
    package_dir=FOLDERS,
    package_data={"panoptic_ros": ["py.typed"], "panoptic_ros.evaluation.report": ["*.j2"],
                  "panoptic_ros.viewing": ["*.html"],
                  **{package: ["**/*"] for package in FOLDERS}},
    exclude_package_data={"": ["__pycache__/*", "*.py[cod]"]},
)
