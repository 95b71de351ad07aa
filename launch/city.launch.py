"""Launch the node for a live camera, with RViz: `ros2 launch panoptic_ros city.launch.py image:=/camera/image`."""

from __future__ import annotations

from typing import Any

from ament_index_python.packages import PackageNotFoundError, get_package_prefix, get_package_share_path
from launch.actions import DeclareLaunchArgument, LogInfo, OpaqueFunction, SetEnvironmentVariable
from launch.conditions import IfCondition
from launch.substitutions import EnvironmentVariable, LaunchConfiguration
from launch_ros.actions import LifecycleNode, Node

from launch import LaunchContext, LaunchDescription

SHARE = get_package_share_path("panoptic_ros")

ARGUMENTS = {
    "image": ("image", "input image topic; with several cameras {camera} in it stands for their names"),
    "cameras": ("", "camera names, such as front,left; empty: as in params_file"),
    "model": ("", "model folder, or name of a shipped model; empty: as in params_file"),
    "params_file": (str(SHARE / "config" / "city.yaml"), "YAML file of node parameters"),
    "autostart": ("", "lifecycle: true = configure and activate at start, false = wait; empty: as in params_file"),
    "use_sim_time": ("false", "use the time from /clock, as a bag that is played publishes it"),
    "namespace": ("", "namespace of the node and its topics"),
    "log_level": ("info", "log level: debug, info, warn, error or fatal"),
    "rviz": ("true", "start RViz with the overlay"),
    "rviz_config": (str(SHARE / "config" / "city.rviz"), "RViz configuration file"),
}


def generate_launch_description() -> LaunchDescription:
    """All arguments, the DDS profile, the node, RViz."""
    profile = str(SHARE / "config" / "fastdds.xml")
    return LaunchDescription([
        *(DeclareLaunchArgument(name, default_value=default, description=description)
          for name, (default, description) in ARGUMENTS.items()),
        # Without it, large images do not fit into shared memory and are lost; see the file.
        *(SetEnvironmentVariable(name, EnvironmentVariable(name, default_value=profile))
          for name in ("FASTRTPS_DEFAULT_PROFILES_FILE", "FASTDDS_DEFAULT_PROFILES_FILE")),
        OpaqueFunction(function=_node),
        OpaqueFunction(function=_rviz, condition=IfCondition(LaunchConfiguration("rviz"))),
    ])


def _node(context: LaunchContext) -> list[Any]:
    argument = {name: LaunchConfiguration(name).perform(context) for name in ARGUMENTS}
    cameras = [name.strip() for name in argument["cameras"].split(",") if name.strip()]
    parameters: dict[str, Any] = {"use_sim_time": argument["use_sim_time"].lower() == "true"}
    if cameras:
        parameters["cameras"] = cameras
    if argument["model"]:
        parameters["model"] = argument["model"]
    if argument["autostart"]:
        parameters["autostart"] = argument["autostart"].lower() == "true"
    topics = {f"{camera}/image": argument["image"].replace("{camera}", camera) for camera in cameras
              if "{camera}" in argument["image"]} if cameras else {"image": argument["image"]}
    return [LifecycleNode(
        package="panoptic_ros", executable="node", name="panoptic_ros", namespace=argument["namespace"],
        parameters=[argument["params_file"], parameters], remappings=list(topics.items()), output="screen",
        ros_arguments=["--log-level", argument["log_level"]])]


def _rviz(context: LaunchContext) -> list[Any]:
    try:
        get_package_prefix("rviz2")
    except PackageNotFoundError:
        return [LogInfo(msg="RViz (rviz2) is not installed: the node runs without it")]
    overlay = "panoptic_ros/overlay/image"
    return [Node(package="rviz2", executable="rviz2", name="rviz", namespace=LaunchConfiguration("namespace"),
                 arguments=["-d", LaunchConfiguration("rviz_config")],
                 remappings=[(f"/{overlay}", overlay)],  # the one of this namespace
                 parameters=[{"use_sim_time": LaunchConfiguration("use_sim_time")}])]
