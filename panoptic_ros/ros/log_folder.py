"""A folder for the log files of ROS, where the usual one cannot be written."""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path


def have_log_folder() -> None:
    """Set ROS_LOG_DIR to a temporary folder where ROS would end a program because it cannot make its own.

    That is so where HOME is read-only or missing, as for services and in containers; to be called before rclpy.init.
    """
    home = Path(os.environ.get("ROS_HOME") or Path(os.environ.get("HOME") or "/nonexistent") / ".ros")
    folder = Path(os.environ.get("ROS_LOG_DIR") or home / "log")
    try:
        folder.expanduser().mkdir(parents=True, exist_ok=True)
        if os.access(folder.expanduser(), os.W_OK | os.X_OK):
            return
    except OSError:
        pass
    os.environ["ROS_LOG_DIR"] = tempfile.mkdtemp(prefix="ros_log_")
    print(f"panoptic_ros: {folder} cannot be written; ROS logs to {os.environ['ROS_LOG_DIR']}", file=sys.stderr)
