"""`panoptic-ros fleet`: many recordings over many workers and machines -> fleet.json, timing.json and report.html."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import Any

from panoptic_ros.errors import InputError
from panoptic_ros.evaluation.comparison_arguments import check_tolerance
from panoptic_ros.interruption import stop_on_interrupt

_WORST = 5


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of the command: those of its four actions."""
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)

    def action(name: str, summary: str) -> argparse.ArgumentParser:
        return actions.add_parser(name, help=summary, description=f"{summary[0].upper()}{summary[1:]}.",
                                  formatter_class=parser.formatter_class)

    evaluate = action("evaluate", "replay and score every recording; the numbers are of all together")
    _add_run_arguments(evaluate)
    evaluate.add_argument("--truth", metavar="PATH|TOPIC",
                          help="as in `panoptic-ros evaluate`; {name} in a path stands for the name of the recording "
                               "without its suffix (default: the truth topics of the recordings)")
    evaluate.add_argument("--match", choices=("stamp", "name", "number"),
                          help="what an image and its truth have in common (default: chosen by what is there)")
    _add_baseline_arguments(evaluate)
    replay = action("replay", "replay every recording: result bags and videos")
    _add_run_arguments(replay)
    replay.add_argument("--no-overlay", action="store_true", help="write no videos")
    label = action("label", "label every recording with a model: a dataset of each")
    _add_run_arguments(label)
    label.add_argument("--motion", type=float, default=0.05, help="see `panoptic-ros label`; so are those that follow")
    label.add_argument("--novelty", type=float, default=0.05)
    label.add_argument("--count", type=int, default=0, help="key frames of each recording at most, 0 = all")
    label.add_argument("--min-score", type=float, default=0.5)
    label.add_argument("--min-left", type=float, default=0.5)
    label.add_argument("--no-flip", action="store_true", help="do not average over the mirror image: twice as fast")
    merge = action("merge", "one result of the results of several machines or shards, the same as if one had done all")
    merge.add_argument("inputs", nargs="+", metavar="OUT", help="folder or URL that --out named; one or several")
    merge.add_argument("--out", metavar="DIR", help="for the merged result (default: the first OUT)")
    _add_baseline_arguments(merge)
    _add_allowed_failures(merge)


def _add_run_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("recordings", nargs="+", metavar="BAG",
                        help="rosbag2 folder, .mcap or .db3 file, video or folder of images, or its fsspec URL, in "
                             "which * may stand for several")
    parser.add_argument("--out", required=True, metavar="DIR",
                        help="folder that all machines see, or fsspec URL; what is done there already is skipped")
    parser.add_argument("--model", default="city",
                        help="model folder that all machines see, or name of a shipped model")
    parser.add_argument("--topic", action="append", default=[], metavar="T",
                        help="image topic of the bags, or subfolder of the folders; once for each camera")
    parser.add_argument("--engine", default="auto", help="auto, openvino, torch, onnxruntime or tensorrt")
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda")
    parser.add_argument("--precision", default="auto", help="auto, single, half or int8")
    parser.add_argument("--focal-length", type=float, metavar="PIXELS",
                        help="focal length of the cameras, see `panoptic-ros replay`")
    parser.add_argument("--workers", type=int, default=0, metavar="N",
                        help="0 = one for each GPU, else for two processors; with --ray as many as there is room for")
    parser.add_argument("--ray", metavar="ADDRESS",
                        help="work on a Ray cluster: ray://HOST:10001; auto: the one this machine belongs to; local: "
                             "one on this machine (default: processes of this machine)")
    parser.add_argument("--cpus-per-worker", type=float, metavar="N", help="with --ray (default: 2)")
    parser.add_argument("--gpus-per-worker", type=float, metavar="N",
                        help="with --ray, also a fraction (default: 1 where --device is cuda, else 0)")
    parser.add_argument("--shard", default="1/1", metavar="i/N",
                        help="only every Nth recording from the ith on, i from 1; `panoptic-ros fleet merge` joins "
                             "them (default: all)")
    parser.add_argument("--timeout", type=float, default=0.0, metavar="SECONDS",
                        help="for one recording, 0 = as long as it takes")
    parser.add_argument("--retries", type=int, default=1,
                        help="of a recording after a fault of the system, such as a worker that was ended")
    parser.add_argument("--retry-failed", action="store_true",
                        help="try again what failed in an earlier run though nothing has changed")
    _add_allowed_failures(parser)


def _add_baseline_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--compare", action="append", default=[], metavar="OTHER_OUT",
                        help="an earlier fleet evaluation: print what changed over the recordings of both, and end "
                             "with status 1 where something is worse; several times where it has several parts")
    parser.add_argument("--tolerance", type=float, metavar="FRACTION",
                        help="with --compare: how much worse a metric may be (default: 0.01)")


def _add_allowed_failures(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--allow-failed", type=int, default=0, metavar="N",
                        help="so many recordings may fail or be missing without ending with status 1")


def run(args: argparse.Namespace) -> int:
    """Returns 0; 1 where a metric is worse than --compare allows or more recordings failed than --allow-failed; or 130
    when interrupted."""
    tolerance = check_tolerance(args) if "compare" in args else 0.0
    if args.action == "merge":
        return _merge(args, args.inputs, args.out or args.inputs[0], tolerance)
    return _run(args, tolerance)


def _run(args: argparse.Namespace, tolerance: float) -> int:
    _check(args)
    from panoptic_ros.fleet.run import parse_shard, run_fleet, worker_factory
    from panoptic_ros.fleet.storage import Store, expand

    shard = parse_shard(args.shard)
    if shard[1] > 1 and getattr(args, "compare", []):
        raise InputError("--compare goes with all recordings: give it to `panoptic-ros fleet merge`, after the shards")
    recordings = expand(args.recordings)
    job = _job(args)
    store = Store(args.out)
    for other in getattr(args, "compare", []):
        _baseline(other)  # before any work is done
    run_name = store.begin_run()
    useful = len(recordings[shard[0] - 1::shard[1]])
    workers = _workers(args, useful, worker_factory(job, store, run_name))
    with stop_on_interrupt() as stop:
        outcome = run_fleet(job, recordings, store, workers, stop, run_name, shard, args.timeout, args.retries,
                            args.retry_failed)
    print(f"{outcome.done} recordings done, {outcome.failed} failed, {outcome.skipped} done before, in "
          f"{outcome.seconds:.1f} s")
    if outcome.interrupted:
        print(f"interrupted; the same command goes on, with what is in {store.place}", file=sys.stderr)
        return 130
    if shard[1] > 1:
        print(f"shard {shard[0]} of {shard[1]} is done; when all are: panoptic-ros fleet merge {args.out}")
        return int(outcome.failed > args.allow_failed)
    return _merge(args, [args.out], args.out, tolerance, outcome.skipped)


def _check(args: argparse.Namespace) -> None:
    if args.workers < 0 or args.retries < 0 or args.timeout < 0 or args.allow_failed < 0:
        raise InputError("--workers, --retries, --timeout and --allow-failed are numbers from 0 up")
    if args.ray is None and (args.cpus_per_worker is not None or args.gpus_per_worker is not None):
        raise InputError("--cpus-per-worker and --gpus-per-worker go with --ray; processes share what this machine has")
    if args.cpus_per_worker is not None and not 0 < args.cpus_per_worker < float("inf"):
        raise InputError(f"--cpus-per-worker is {args.cpus_per_worker:g}; it must be above 0")
    if args.gpus_per_worker is not None and not 0 <= args.gpus_per_worker < float("inf"):
        raise InputError(f"--gpus-per-worker is {args.gpus_per_worker:g}; it is a number from 0 up")
    if args.focal_length is not None and not 0 < args.focal_length < float("inf"):
        raise InputError(f"--focal-length is {args.focal_length:g}; it must be a number of pixels above 0")
    if args.device.startswith("cuda:"):
        raise InputError("--device is auto, cpu or cuda: workers are given the GPUs that there are")


def _job(args: argparse.Namespace) -> Any:
    from panoptic_ros.engines import explain_choice
    from panoptic_ros.evaluation.content_hash import hash_path
    from panoptic_ros.fleet.job import Job
    from panoptic_ros.labelling.label_recording import LabelSettings
    from panoptic_ros.model import load_model
    from panoptic_ros.paths import model_folder

    model = load_model(args.model)
    if args.ray is None:
        explain_choice(args.engine, args.device, args.precision, model.int8 is not None)  # raises what all would
    options: dict[str, Any] = {}
    if args.action == "evaluate":
        truth = args.truth
        if truth and ("{name}" in truth or os.path.exists(truth)):
            truth = os.path.abspath(truth)  # workers may be anywhere
        options = {"truth": truth, "match": args.match}
    elif args.action == "replay":
        options = {"overlay": not args.no_overlay}
    else:
        options = vars(LabelSettings(args.motion, args.novelty, args.count, args.min_score, args.min_left,
                                     not args.no_flip))
    # The path for workers anywhere; a shipped model is found by its name wherever this package is.
    name = str(Path(args.model).resolve()) if Path(args.model).is_dir() else args.model
    return Job(args.action, name, model.model_id, hash_path(model_folder(args.model)), args.engine, args.device,
               args.precision, tuple(args.topic), args.focal_length, options)


def _workers(args: argparse.Namespace, useful: int, make: Any) -> Any:
    if args.ray is not None:
        from panoptic_ros.fleet.ray_workers import RayWorkers

        gpus = args.gpus_per_worker if args.gpus_per_worker is not None else float(args.device == "cuda")
        cpus = 2.0 if args.cpus_per_worker is None else args.cpus_per_worker
        return RayWorkers(args.ray, args.workers, make, cpus, gpus)
    import torch

    from panoptic_ros.fleet.workers import ProcessWorkers

    gpus = torch.cuda.device_count() if args.device != "cpu" else 0
    count = args.workers or gpus or max(1, len(os.sched_getaffinity(0)) // 2)
    return ProcessWorkers(max(1, min(count, useful)), make, gpus)


def _baseline(other: str) -> Any:
    from panoptic_ros.fleet.merge import read_fleet
    from panoptic_ros.fleet.storage import Store

    store = Store(other)
    if read_fleet([store]).facts["command"] != "evaluate":
        raise InputError(f"{other} is no fleet evaluation: there are no metrics to compare with")
    return store


def _merge(args: argparse.Namespace, inputs: list[str], out: str, tolerance: float, skipped: int | None = None) -> int:
    from panoptic_ros.evaluation.comparison import format_comparison
    from panoptic_ros.evaluation.results import format_table
    from panoptic_ros.fleet.merge import FAILED, MISSING, OK
    from panoptic_ros.fleet.run import outputs_of, write_merged
    from panoptic_ros.fleet.storage import Store

    target = Store(out)
    compared = getattr(args, "compare", [])
    merged = write_merged([Store(place) for place in inputs], target, [_baseline(other) for other in compared],
                          tolerance, skipped)
    result, counts = merged.result, merged.result["recordings"]
    if counts[OK] and result["command"] == "evaluate":
        print(format_table({name: value for name, value in result.items() if name != "warnings"}))
    print(", ".join(f"{count} {status}" for status, count in counts.items()) + f"; {result['frames'].get('out', 0)} "
          f"frames in {merged.timing['seconds_in_all']:.0f} s of work")
    for row in result["rows"]:
        if row["status"] in (FAILED, MISSING):
            print(f"  {row['status']}: {row['recording']}: {row['reason']}")
    if len(merged.worst) > 1:
        print("the worst:", *(f"  {name}: {value}" for name, value in merged.worst[:_WORST]), sep="\n")
    print("\n".join(f"  {name}" for name in outputs_of(target)))
    status = int(counts[FAILED] + counts[MISSING] > args.allow_failed)
    if merged.comparison is not None:
        print(f"\nin comparison with {', '.join(compared)}:\n{format_comparison(merged.comparison)}")
        for name in merged.lost:
            print(f"done there and not here: {name}")
        status |= bool(merged.comparison.regressions or merged.lost)
    return status
