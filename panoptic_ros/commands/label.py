"""`panoptic-ros label`: a recording, labelled by a model -> a COCO-panoptic dataset to train on."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from panoptic_ros.bags.read import open_recording
from panoptic_ros.interruption import stop_on_interrupt


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of the command."""
    parser.add_argument("input", type=Path, metavar="DRIVE",
                        help="rosbag2 folder, .mcap or .db3 file, video, or folder of images")
    parser.add_argument("--out", type=Path, required=True, metavar="DATASET",
                        help="folder for the dataset; an unfinished one there goes on")
    parser.add_argument("--model", default="city", help="the teacher: model folder, or name of a shipped model")
    parser.add_argument("--topic", action="append", default=[], metavar="T",
                        help="image topic of a bag, or subfolder of a folder of images; once for each camera")
    parser.add_argument("--motion", type=float, default=0.05,
                        help="key frames: motion since the last one, as a share of the image's width")
    parser.add_argument("--novelty", type=float, default=0.05,
                        help="key frames: 1 - cosine similarity to the most similar one before")
    parser.add_argument("--count", type=int, default=0, help="so many key frames at most, 0 = all")
    parser.add_argument("--min-score", type=float, default=0.5, help="a segment with a lower score becomes void")
    parser.add_argument("--min-left", type=float, default=0.5,
                        help="a segment of which a smaller share is without doubt becomes void")
    parser.add_argument("--no-flip", action="store_true", help="do not average over the mirror image: twice as fast")
    parser.add_argument("--engine", default="auto", help="auto, openvino or torch")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    parser.add_argument("--precision", default="auto", help="auto, single or half")


def run(args: argparse.Namespace) -> int:
    """Label; returns 0, or 130 when interrupted."""
    recording = open_recording(args.input, args.topic)
    for notice in recording.notices:
        print(f"note: {notice}", file=sys.stderr)

    from panoptic_ros.labelling.label_recording import LabelSettings, label_recording
    from panoptic_ros.model import load_model

    settings = LabelSettings(args.motion, args.novelty, args.count, args.min_score, args.min_left, not args.no_flip)
    with stop_on_interrupt() as stop:
        report = label_recording(recording, load_model(args.model), args.out, settings, stop, args.engine, args.device,
                                 args.precision)
    if report is None:
        print(f"interrupted; the same command goes on, with what is in {args.out}", file=sys.stderr)
        return 130
    print(_text(report))
    print(f"look at {args.out / 'contact_sheet.jpg'}, then: panoptic-ros dataset check {args.out}")
    return 0


def _text(report: dict[str, Any]) -> str:
    void = ", ".join(f"{name} {share:.1%}" for name, share in report["void"].items() if share >= 0.0005)
    lines = [f"{report['labelled']} of {report['images']} images labelled by {report['model']}, "
             f"{report['labelled_share']:.0%} of their pixels; void: {void or 'none'}"]
    width = max((len(name) for name in report["classes"]), default=0)
    lines += [f"  {name:<{width}}  {row['segments']:6d} segments  {row['pixel_share']:6.1%} of the pixels"
              for name, row in report["classes"].items()]
    return "\n".join(lines)
