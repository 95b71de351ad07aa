"""`panoptic-ros evaluate`: a recording, replayed and scored -> evaluation.json and report.html."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from panoptic_ros.commands.replay import add_replay_arguments, open_input, replay_into, speed
from panoptic_ros.evaluation.comparison_arguments import add_comparison_arguments, earlier_result, print_comparison


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of the command."""
    add_replay_arguments(parser)
    parser.add_argument("--truth", metavar="PATH|TOPIC",
                        help="dataset (COCO panoptic, KITTI-MOTS, CamVid), bag with truth topics, or topic of label "
                             "images in the input; `none` measures speed and tracks alone (default: the truth topics "
                             "of the input)")
    parser.add_argument("--match", choices=("stamp", "name", "number"),
                        help="what an image and its truth have in common (default: chosen by what is there)")
    add_comparison_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Evaluate; returns 0, 1 when the comparison finds something worse, or 130 when interrupted."""
    other = earlier_result(args)
    recording, out = open_input(args)

    from panoptic_ros.evaluation.content_hash import hash_path
    from panoptic_ros.evaluation.replay_evaluation import OUTPUTS, ReplayEvaluation, evaluation_settings
    from panoptic_ros.evaluation.results import format_table
    from panoptic_ros.evaluation.truth_sources import open_truth
    from panoptic_ros.model import load_model
    from panoptic_ros.paths import model_folder
    from panoptic_ros.replay.result import check_output

    check_output(out, args.overwrite, OUTPUTS)
    model = load_model(args.model)
    truth = open_truth(args.truth, recording, model.classes, args.match)
    if truth is not None:
        print(f"truth: {truth.source}, matched by {truth.match}: {truth.reason}", file=sys.stderr)
        recording = truth.matched_recording()
    facts: dict[str, Any] = {"bag_hash": hash_path(recording.path), "model_hash": hash_path(model_folder(args.model)),
             "truth": truth.facts() if truth else None}
    if args.truth and Path(args.truth).exists():
        facts["truth_hash"] = hash_path(Path(args.truth))

    evaluation = replay_into(lambda: ReplayEvaluation(out, recording, model.classes, model.model_id, truth,
                                                      evaluation_settings(model), facts),
                             recording, model, args, with_semantics=True)
    print(format_table(evaluation))
    _print_frames(evaluation)
    print("\n".join([speed(evaluation), *(f"  {out / name}" for name in OUTPUTS)]))
    if evaluation["interrupted"]:
        return 130
    return print_comparison(evaluation, other, args)


def _print_frames(evaluation: dict[str, Any]) -> None:
    """Tell how many frames there were, and of all that did not fit together."""
    frames = evaluation["frames"]
    dropped = ", ".join(f"{count} {reason}" for reason, count in frames["dropped"].items()) or "none"
    print(f"{frames['out']} of {frames['in']} frames segmented (dropped: {dropped}), {evaluation['tracks']} tracks")
    words = {"without_truth": "frames without truth", "repeated": "frames that repeat another's stamp, not scored",
             "truth_without_frame": "truths without a frame"}
    for key, text in words.items():
        if frames.get(key):
            print(f"  {frames[key]} {text}, first: {'; '.join(evaluation['unmatched'][key][:3])}")
