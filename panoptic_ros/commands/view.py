"""`panoptic-ros view`: overlay, tracks and latency in a browser, of a running node or of a replay's results."""

from __future__ import annotations

import argparse
from importlib.util import find_spec
from pathlib import Path

from panoptic_ros.errors import InputError
from panoptic_ros.interruption import stop_on_interrupt
from panoptic_ros.viewing.web_view import WebView, serve


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of the command."""
    parser.add_argument("results", type=Path, nargs="?", metavar="DIR",
                        help="folder that `panoptic-ros replay` wrote; without one a running node is shown")
    parser.add_argument("--node", default="/panoptic_ros", metavar="NAME", help="the node, with its namespace")
    parser.add_argument("--rate", type=float, default=1.0, metavar="FACTOR", help="speed of results, 1 = as recorded")
    parser.add_argument("--host", default="127.0.0.1",
                        help="address to listen on; 0.0.0.0 shows the images to everybody in the network")
    parser.add_argument("--port", type=int, default=8080, help="port to listen on; 0 = any that is free")


def run(args: argparse.Namespace) -> int:
    """Show until interrupted; returns 0."""
    if not 0.001 <= args.rate <= 1000:
        raise InputError(f"--rate is {args.rate:g}; it must lie between 0.001 and 1000")
    view = WebView()
    if args.results is not None:
        from panoptic_ros.replay.playback import Playback

        playback = Playback(args.results)
        with serve(view, args.host, args.port) as address, stop_on_interrupt() as stop:
            _tell(address)
            playback.run(view, stop, args.rate)
        return 0
    missing = [name for name in ("rclpy", "panoptic_ros.msg") if find_spec(name) is None]
    if missing:
        raise InputError(f"a running node is seen where ROS 2 and the messages of this package are (missing: "
                         f"{', '.join(missing)}); without them give the folder of a replay's results")
    from panoptic_ros.ros.node_view import NodeView
    from panoptic_ros.ros.spinning import spin_until_signal

    with serve(view, args.host, args.port) as address:
        _tell(address)
        spin_until_signal(lambda: NodeView(args.node, view), NodeView.destroy_node, [])
    return 0


def _tell(address: str) -> None:
    print(f"open {address} in a browser; Ctrl-C ends", flush=True)
