"""Launch the node with `ros2 bag play` and RViz: `ros2 launch panoptic_ros replay.launch.py bag:=DRIVE`."""

from __future__ import annotations

from ament_index_python.packages import get_package_share_path
from launch.actions import (
    DeclareLaunchArgument,
    ExecuteProcess,
    IncludeLaunchDescription,
    RegisterEventHandler,
    Shutdown,
)
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import LaunchConfiguration
from launch_ros.event_handlers import OnStateTransition

from launch import LaunchDescription


def generate_launch_description() -> LaunchDescription:
    """The arguments of city.launch.py and those of the bag; all ends with the bag."""
    city = get_package_share_path("panoptic_ros") / "launch" / "city.launch.py"
    bag, rate = LaunchConfiguration("bag"), LaunchConfiguration("rate")
    play = ExecuteProcess(
        cmd=["ros2", "bag", "play", bag, "--clock", "100", "--rate", rate],
        output="screen", on_exit=Shutdown(reason="the bag has been played"))
    return LaunchDescription([
        DeclareLaunchArgument("bag", description="rosbag2 folder or file to play"),
        DeclareLaunchArgument("rate", default_value="1.0", description="playback rate, 1 = as recorded"),
        # Not before the model is loaded, or the first images would be lost.
        RegisterEventHandler(OnStateTransition(goal_state="active", entities=[play])),
        IncludeLaunchDescription(PythonLaunchDescriptionSource(str(city)),
                                 launch_arguments={"use_sim_time": "true"}.items()),
    ])
