"""`panoptic-ros doctor`: what is installed, which engine, device and ROS are used and why, and what is missing."""

from __future__ import annotations

import argparse
import importlib
import json
import os
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path

from panoptic_ros import __version__
from panoptic_ros.errors import InputError
from panoptic_ros.paths import shared_folder
from panoptic_ros.ros.shared_memory import FOLDER, REMEDY, WANTED, abandoned_segments

# Module -> distribution. Without one of these nothing works.
CORE_PACKAGES = {"numpy": "numpy", "cv2": "opencv-python-headless", "torch": "torch", "torchvision": "torchvision",
                 "timm": "timm", "scipy": "scipy", "safetensors": "safetensors", "yaml": "PyYAML", "tqdm": "tqdm",
                 "rosbags": "rosbags"}
# ROS package -> what it adds where it is installed, the node runs without it.
OPTIONAL_ROS_PACKAGES = {
    "cv_bridge": "images in encodings other than 8-bit rgb, bgr and mono",
    "message_filters": "frames of several cameras taken together by their stamps",
    "vision_msgs": "~/detections and ~/semantic/label_info",
    "launch_ros": "ros2 launch panoptic_ros city.launch.py",
    "rosbag2_py": "ros2 bag; panoptic-ros reads and writes bags without it",
}


@dataclass(frozen=True)
class Finding:
    """One line of the report.

    hint: what to do about it, empty where nothing is wrong.
    broken: nothing works before that is done.
    """

    topic: str
    name: str
    value: str
    hint: str = ""
    broken: bool = False


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print the report as JSON")


def run(args: argparse.Namespace) -> int:
    """Print the report; 1 where the installation is broken, else 0."""
    findings = examine()
    print(_as_json(findings) if args.json else _as_text(findings))
    return int(any(finding.broken for finding in findings))


def examine() -> list[Finding]:
    """Look at everything; nothing is changed, and no ROS needs to be installed."""
    return [*_packages(), *_inference(), *_models(), *_ros(), *_transport()]


def _packages() -> Iterator[Finding]:
    yield Finding("package", "panoptic_ros", f"{__version__} in {Path(__file__).resolve().parents[1]}")
    yield Finding("package", "python", f"{sys.version.split()[0]} at {sys.executable}")
    for module, distribution in CORE_PACKAGES.items():
        if find_spec(module) is None:
            yield Finding("package", module, "missing", f"pip install {distribution}", broken=True)
        else:
            yield Finding("package", module, _version(distribution))


def _inference() -> Iterator[Finding]:
    yield _gpu()
    yield _openvino()
    for module in ("onnxruntime", "tensorrt"):
        yield Finding("inference", module, _version(module) if find_spec(module) else "not installed")
    try:
        from panoptic_ros.engines import engine_report, explain_choice
        choice, report = explain_choice(), engine_report()
    except (ImportError, InputError) as error:
        yield Finding("inference", "choice", f"none: {error}", "repair what is reported above", broken=True)
    else:
        yield Finding("inference", "choice",
                      f"{choice.engine} on {choice.device} in {choice.precision} precision: {choice.reason}")
        for name, why in report.items():
            yield Finding("inference", f"engine {name}", why)
        yield _cache()


def _cache() -> Finding:
    from panoptic_ros.engines.cache import FOLDER_VARIABLE, cache_folder
    if (folder := cache_folder()) is None:
        return Finding("inference", "cache", f"none: {FOLDER_VARIABLE} is set to nothing")
    existing = next(place for place in (folder, *folder.parents) if place.exists())
    if not existing.is_dir() or not os.access(existing, os.W_OK):
        return Finding("inference", "cache", f"{folder} cannot be written",
                       f"each start compiles the network again; set {FOLDER_VARIABLE} to a folder of yours")
    size = sum(file.stat().st_size for file in folder.glob("*") if file.is_file())
    return Finding("inference", "cache", f"{size / 2**20:.0f} MiB in {folder}")


def _gpu() -> Finding:
    try:
        import torch
    except ImportError as error:
        return Finding("inference", "cuda", f"unknown, torch cannot be loaded: {error}", "reinstall torch", broken=True)
    if not torch.cuda.is_available():
        built_for = torch.version.cuda
        why = f"torch is built for CUDA {built_for} and finds no device" if built_for else "torch is built without CUDA"
        has_driver = Path("/proc/driver/nvidia/version").exists()
        hint = f"there is an NVIDIA driver, but it does not serve CUDA {built_for}: update it" if has_driver else ""
        return Finding("inference", "cuda", why, hint)
    devices = [torch.cuda.get_device_properties(i) for i in range(torch.cuda.device_count())]
    return Finding("inference", "cuda", f"{torch.version.cuda}: " + ", ".join(
        f"{d.name} ({d.total_memory / 2**30:.0f} GiB)" for d in devices))


def _openvino() -> Finding:
    if find_spec("openvino") is None:
        return Finding("inference", "openvino", "not installed",
                       "pip install openvino: on CPUs it is several times faster than torch")
    from panoptic_ros.engines.openvino_core import openvino_core
    devices = ", ".join(openvino_core().available_devices)
    return Finding("inference", "openvino", f"{_version('openvino')}: {devices}")


def _models() -> Iterator[Finding]:
    try:
        folder = shared_folder("config") / "models"
    except InputError as error:
        yield Finding("models", "folder", "missing", str(error), broken=True)
        return
    names = sorted(file.parent.name for file in folder.glob("*/model.yaml"))
    yield Finding("models", "shipped", ", ".join(names) or "none",
                  "" if names else "give a model folder with --model, or train one (training/recipes)")


def _ros() -> Iterator[Finding]:
    sourced = os.environ.get("ROS_DISTRO")
    if find_spec("rclpy") is None:
        hint = f"ROS 2 {sourced} is sourced but made for another Python than {sys.executable}" if sourced else \
            "source a ROS 2 (source /opt/ros/jazzy/setup.bash), or run scripts/with_env in a checkout"
        yield Finding("ros", "rclpy", "not found: panoptic-ros works, the live node does not", hint)
        return
    yield Finding("ros", "distribution", f"{sourced or 'from wheels'}, rclpy {_version('rclpy')}")
    prefixes = os.environ.get("AMENT_PREFIX_PATH", "")
    yield Finding("ros", "prefixes", prefixes or "AMENT_PREFIX_PATH is not set",
                  "" if prefixes else "source the setup.bash of your ROS and workspace, or use scripts/with_env")
    yield Finding("ros", "middleware", os.environ.get("RMW_IMPLEMENTATION") or "the default of this ROS")
    domain = os.environ.get("ROS_DOMAIN_ID", "0")
    yield Finding("ros", "domain", f"{domain} (ROS_DOMAIN_ID)")
    try:
        importlib.import_module("panoptic_ros.msg")
    except ImportError as error:
        yield Finding("ros", "panoptic_ros.msg", f"cannot be imported: {error}",
                      "colcon build this package and source install/setup.bash, or use scripts/with_env")
    else:
        yield Finding("ros", "panoptic_ros.msg", "built")
    for package, adds in OPTIONAL_ROS_PACKAGES.items():
        found = find_spec(package) is not None
        source = f"apt install ros-{sourced}-{package.replace('_', '-')}" if sourced else "not among the wheels of ROS"
        hint = f"adds {adds}; {source}"
        yield Finding("ros", package, "installed" if found else "not installed", "" if found else hint)


def _transport() -> Iterator[Finding]:
    if find_spec("rclpy") is None:
        return
    middleware = os.environ.get("RMW_IMPLEMENTATION", "rmw_fastrtps_cpp")
    if "fastrtps" in middleware:
        yield _fastdds_profile()
    if not FOLDER.is_dir():
        yield Finding("transport", "shared memory", f"no {FOLDER}", "images then travel over UDP, which is slower")
        return
    if abandoned := sum(abandoned_segments().values()):
        yield Finding("transport", "abandoned segments", f"{abandoned / 2**20:.0f} MiB of processes that were killed",
                      "the next node gives them back, and so does the command fastdds shm clean")
    space = shutil.disk_usage(FOLDER)
    too_small = space.total < WANTED or space.free < WANTED // 2
    yield Finding("transport", "shared memory", f"{space.free / 2**20:.0f} of {space.total / 2**20:.0f} MiB free",
                  f"too little for camera images: {REMEDY}" if too_small else "")


def _fastdds_profile() -> Finding:
    hint = "images above 0.5 MB may be lost; scripts/with_env and the launch files set it, or export " \
           "FASTRTPS_DEFAULT_PROFILES_FILE=<panoptic_ros>/config/fastdds.xml"
    # The second name is that of Fast DDS 3, in ROS 2 after Jazzy.
    names = ("FASTRTPS_DEFAULT_PROFILES_FILE", "FASTDDS_DEFAULT_PROFILES_FILE")
    chosen = next((os.environ[name] for name in names if os.environ.get(name)), None)
    if chosen is None:
        return Finding("transport", "fast dds profile", "not set", hint)
    if not Path(chosen).is_file():
        return Finding("transport", "fast dds profile", f"{chosen} does not exist", hint)
    try:
        ours = shared_folder("config") / "fastdds.xml"
        is_ours = ours.is_file() and Path(chosen).read_bytes() == ours.read_bytes()
    except InputError:
        is_ours = False
    return Finding("transport", "fast dds profile", chosen if is_ours else f"{chosen}, not the one of panoptic_ros",
                   "" if is_ours else "make sure that its shared-memory segment holds several images")


def _version(distribution: str) -> str:
    """Of a pip package; packages of a ROS on the system do not always tell theirs."""
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return "installed"


def _as_json(findings: list[Finding]) -> str:
    report: dict[str, dict[str, dict[str, str]]] = {}
    for finding in findings:
        entry = {"value": finding.value} | ({"hint": finding.hint} if finding.hint else {})
        report.setdefault(finding.topic, {})[finding.name] = entry
    return json.dumps(report, indent=2)


def _as_text(findings: list[Finding]) -> str:
    width = max(len(finding.name) for finding in findings)
    lines: list[str] = []
    topic = None
    for finding in findings:
        if finding.topic != topic:
            topic = finding.topic
            lines += ["", topic]
        lines.append(f"  {finding.name:<{width}}  {finding.value}")
        if finding.hint:
            lines.append(f"  {'':<{width}}  -> {finding.hint}")
    return "\n".join(lines[1:])
