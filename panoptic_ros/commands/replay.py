"""`panoptic-ros replay`: a recording -> result.mcap, overlay.mp4 (and depth.mp4) and summary.json."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from panoptic_ros.bags.read import open_recording
from panoptic_ros.bags.recording import Recording
from panoptic_ros.errors import InputError
from panoptic_ros.interruption import stop_on_interrupt

if TYPE_CHECKING:
    from panoptic_ros.model import Model
    from panoptic_ros.replay.accounting import ReplaySink


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of the command."""
    add_replay_arguments(parser)
    parser.add_argument("--no-overlay", action="store_true", help="write no video")


def add_replay_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments that every command has that replays a recording."""
    parser.add_argument("input", type=Path, help="rosbag2 folder, .mcap or .db3 file, video, or folder of images")
    parser.add_argument("--out", type=Path, metavar="DIR", help="folder for the results (default: out/NAME_OF_INPUT)")
    parser.add_argument("--overwrite", action="store_true", help="replace results that are in the folder already")
    parser.add_argument("--topic", action="append", default=[], metavar="T",
                        help="image topic of a bag, or subfolder of a folder of images; once for each camera")
    parser.add_argument("--model", default="city", help="model folder, or name of a shipped model")
    parser.add_argument("--engine", default="auto", help="auto, openvino, torch, onnxruntime or tensorrt")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    parser.add_argument("--precision", default="auto", help="auto, single, half or int8")
    parser.add_argument("--focal-length", type=float, metavar="PIXELS",
                        help="focal length of the camera in pixels of the images, by which depth is scaled (default: "
                             "as the camera_info topic beside a bag's images says)")
    parser.add_argument("--live", action="store_true",
                        help="send the images through the ROS 2 node at the speed at which they were recorded")
    parser.add_argument("--rate", type=float, metavar="FACTOR", help="with --live: speed, 1 = as recorded (default: 1)")


def open_input(args: argparse.Namespace) -> tuple[Recording, Path]:
    """The recording and the folder for the results that `add_replay_arguments` took.

    Raises InputError where the arguments do not go together, or there is no such recording.
    """
    if args.rate is not None and not args.live:
        raise InputError("--rate goes with --live: in process every frame is taken as fast as it can be")
    if args.rate is not None and not 0.001 <= args.rate <= 1000:
        raise InputError(f"--rate is {args.rate:g}; it must lie between 0.001 and 1000")
    missing = [name for name in ("rclpy", "sensor_msgs", "panoptic_ros.msg") if find_spec(name) is None]
    if args.live and missing:
        raise InputError(f"--live needs ROS 2 and the messages of this package (missing: {', '.join(missing)}): source "
                         "a workspace in which panoptic_ros was built with colcon, or in a checkout put "
                         "`scripts/with_env` before the command")
    if args.focal_length is not None and not 0 < args.focal_length < float("inf"):
        raise InputError(f"--focal-length is {args.focal_length:g}; it must be a number of pixels above 0")
    recording = open_recording(args.input, args.topic)
    if args.focal_length is not None:
        recording = recording.with_focal_length(args.focal_length)
    for notice in recording.notices:
        print(f"note: {notice}", file=sys.stderr)
    return recording, args.out or Path("out") / args.input.resolve().stem


def replay_into(make_sink: Callable[[], ReplaySink], recording: Recording, model: Model,
                args: argparse.Namespace, with_semantics: bool = False) -> dict[str, Any]:
    """Replay in process or live, as the arguments say; returns the summary of the sink.

    model: the one that the arguments name. make_sink: called when nothing but the replay itself can fail any more.
    with_semantics: whether frames have the likeliest class of every pixel.
    """
    if args.live:
        from panoptic_ros.ros.live_replay import replay_live

        with stop_on_interrupt() as stop:
            summary: dict[str, Any] = replay_live(
                recording, make_sink(), stop, model=args.model, engine=args.engine, device=args.device,
                precision=args.precision, rate=args.rate or 1.0, with_depth=model.predicts_depth,
                with_semantics=with_semantics)
            return summary
    from panoptic_ros.perception import Perception
    from panoptic_ros.replay.in_process import replay

    perception = Perception(model, args.engine, args.device, args.precision, with_semantics=with_semantics)
    with stop_on_interrupt() as stop:
        return replay(recording, perception, make_sink(), stop)


def run(args: argparse.Namespace) -> int:
    """Replay; returns 0, 1 when not one frame had a result, or 130 when interrupted."""
    recording, out = open_input(args)
    from panoptic_ros.model import load_model
    from panoptic_ros.replay.result import ResultWriter, check_output

    check_output(out, args.overwrite)
    model = load_model(args.model)
    summary = replay_into(lambda: ResultWriter(out, recording, model.classes, model.model_id, not args.no_overlay),
                          recording, model, args)
    _print(summary, out)
    if summary["interrupted"]:
        return 130
    return 0 if summary["frames_out"] else 1


def _print(summary: dict[str, Any], out: Path) -> None:
    dropped = ", ".join(f"{count} {reason}" for reason, count in summary["dropped"].items()) or "none"
    print(f"{summary['frames_out']} of {summary['frames_in']} frames segmented (dropped: {dropped}), "
          f"{summary['tracks']} tracks\n{speed(summary)}\n"
          + "\n".join(f"  {out / name}" for name in summary["files"]))


def speed(summary: dict[str, Any]) -> str:
    """A line on frames per second, latency, and what they were measured on."""
    times = summary["latency_ms"].get("end_to_end")
    latency = "{p50:.1f} / {p95:.1f} / {p99:.1f} ms (p50 / p95 / p99)".format(**times) if times else "unknown"
    return (f"{summary['fps']:.1f} frames/s, latency {latency}; {summary['model']} on {summary['engine']}, "
            f"{summary['device']}, {summary['precision']} precision")
