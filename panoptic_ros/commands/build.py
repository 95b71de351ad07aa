"""`panoptic-ros build`: make an engine ready for a model and a size of images, and keep what it compiles."""

from __future__ import annotations

import argparse
import sys
from time import perf_counter

from panoptic_ros.engines import ENGINES, PRECISIONS, BuiltAhead
from panoptic_ros.engines.cache import cache_folder
from panoptic_ros.errors import InputError
from panoptic_ros.perception import Perception


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of the command."""
    parser.add_argument("--model", default="city", help="model folder, or name of a shipped model")
    parser.add_argument("--size", type=int, nargs=2, metavar=("H", "W"),
                        help="of the camera's images (default: the model's own)")
    parser.add_argument("--cameras", type=int, default=1, metavar="N", help="images at once")
    parser.add_argument("--engine", default="auto", choices=("auto", *ENGINES), help="inference engine")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    parser.add_argument("--precision", default="auto", choices=("auto", *PRECISIONS), help="inference precision")


def run(args: argparse.Namespace) -> int:
    """Returns 0, or 1 where the engine could not be built; a warning has said why."""
    if args.cameras < 1 or (args.size and min(args.size) < 1):
        raise InputError("--cameras is at least 1, --size at least 1 x 1")
    start = perf_counter()
    perception = Perception(args.model, args.engine, args.device, args.precision,
                            progress=lambda text: print(text, file=sys.stderr))
    height, width = args.size or perception.model.input_size
    engine, shape = perception.engine, (args.cameras, 3, *perception.model.input_shape(height, width))
    if isinstance(engine, BuiltAhead) and not engine.prepare(shape):
        return 1
    perception.warm_up(height, width, args.cameras)
    folder = cache_folder()
    print(f"{engine.name} on {engine.device} in {engine.precision} precision is ready for {args.cameras} x 3 x "
          f"{shape[2]} x {shape[3]} after {perf_counter() - start:.1f} s; " + (
              "nothing is kept: there is no cache folder" if folder is None else f"kept in {folder}"))
    return 0
