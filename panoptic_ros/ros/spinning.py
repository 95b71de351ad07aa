"""Spin a node until SIGINT or SIGTERM, then shut it down in order."""

from __future__ import annotations

import signal
from collections.abc import Callable, Sequence
from threading import Event, Thread
from traceback import format_exception
from typing import Any

import rclpy
from rclpy.executors import ExternalShutdownException, MultiThreadedExecutor
from rclpy.node import Node
from rclpy.signals import SignalHandlerOptions

from panoptic_ros.ros.log_folder import have_log_folder
from panoptic_ros.ros.shared_memory import remove_abandoned_segments


def spin_until_signal(create: Callable[[], Node], close: Callable[[Any], None], args: Sequence[str] | None) -> None:
    """Create a node, run its callbacks until SIGINT or SIGTERM, close it while ROS is still there.

    What a callback raises is logged, and the node goes on: it does not end because of one message or request.
    Raises what `create` raises.
    """
    have_log_folder()
    remove_abandoned_segments()  # of a node that was killed, before this one starts in its place
    # Our own signal handlers: with those of rclpy the context is gone before the node could end in order.
    rclpy.init(args=args, signal_handler_options=SignalHandlerOptions.NO)
    stop = Event()

    def ask_to_stop(*_: Any) -> None:
        # Ctrl-C may come twice, from the terminal and from a launcher; SIGTERM ends a node that hangs.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        stop.set()

    signal.signal(signal.SIGINT, ask_to_stop)
    signal.signal(signal.SIGTERM, ask_to_stop)
    node = create()
    # One thread for images, one for everything else: a model may load for seconds while images go on.
    executor = MultiThreadedExecutor(num_threads=2)
    executor.add_node(node)

    def spin() -> None:
        while not stop.is_set() and rclpy.ok():
            try:
                executor.spin()
            except ExternalShutdownException:
                break
            except Exception as error:
                node.get_logger().error("A callback failed:\n" + "".join(format_exception(error)),
                                        throttle_duration_sec=5.0)
        stop.set()

    # Not in this thread: it would not see a signal while it waits in C code.
    spinning = Thread(target=spin, name="executor", daemon=True)
    spinning.start()
    stop.wait()
    executor.shutdown()
    spinning.join()
    close(node)
    rclpy.shutdown()
