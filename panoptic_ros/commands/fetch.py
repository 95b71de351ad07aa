"""`panoptic-ros fetch`: a universal segmentation model of Hugging Face, or a local folder of one -> a model folder."""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path

from panoptic_ros.errors import InputError
from panoptic_ros.model import MIN_INPUT_SIZE


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of the command."""
    parser.add_argument("source", metavar="NAME_OR_FOLDER",
                        help="repository, such as facebook/mask2former-swin-tiny-cityscapes-panoptic, or a folder with "
                             "its files")
    parser.add_argument("--out", type=Path, metavar="DIR", help="the model folder (default: models/NAME)")
    parser.add_argument("--overwrite", action="store_true", help="replace a model that is there already")
    parser.add_argument("--revision", help="commit, tag or branch of the repository (default: its newest commit; which "
                                           "one it was stands in model.yaml)")
    parser.add_argument("--input-size", metavar="HxW", help="size of the network's input (default: that of the model's "
                                                            "image processor)")
    parser.add_argument("--classes", default="", metavar="TABLE",
                        help="class table, a name in config/datasets or a file, that says which classes are things "
                             "(default: the one that has most of the model's classes)")
    parser.add_argument("--thing", action="append", default=[], metavar="CLASS",
                        help="a class that is a thing, where no table says it; once for each")


def run(args: argparse.Namespace) -> int:
    """Fetch; returns 0."""
    out = args.out or Path("models") / Path(args.source.rstrip("/")).name
    if out.exists() and not args.overwrite:
        raise InputError(f"{out} is there already: choose another folder with --out, or give --overwrite")
    if out.exists() and not (out / "model.yaml").is_file():
        raise InputError(f"{out} is no model folder: nothing is overwritten there")
    size = _size(args.input_size) if args.input_size else None

    from panoptic_ros.hugging_face import fetched_model, find_source
    from panoptic_ros.model import save_model

    source = find_source(args.source, args.revision)
    print(f"{source.name}{f' at {source.revision}' if source.revision else ''}; licence of the weights: "
          f"{source.licence}{' (ask whoever made them)' if source.licence == 'unknown' else ''}", file=sys.stderr)
    fetched = fetched_model(source, size, args.classes, args.thing)
    model = fetched.model
    save_model(model, out)
    things = [name for name, thing in zip(model.classes.names, model.classes.is_thing, strict=True) if thing]
    print(f"{model.hyperparameters.architecture}, {model.input_size[0]} x {model.input_size[1]}, "
          f"{len(model.classes)} classes, of which {len(things)} things: {', '.join(things)}")
    if fetched.unknown:
        print(f"{len(fetched.unknown)} classes that no table knows are taken as stuff (--thing CLASS changes it): "
              f"{', '.join(fetched.unknown)}", file=sys.stderr)
    print(f"wrote {out}; try it with: panoptic-ros replay RECORDING --model {out}")
    return 0


def _size(text: str) -> tuple[int, int]:
    match = re.fullmatch(r"(\d+)x(\d+)", text)
    if match is None or min(int(match[1]), int(match[2])) < MIN_INPUT_SIZE:
        raise InputError(f"--input-size is '{text}'; give height x width in pixels, such as 512x1024, at least "
                         f"{MIN_INPUT_SIZE} each")
    return int(match[1]), int(match[2])
