"""The command `panoptic-ros`: a table of sub-commands, each a module that is imported only when it is used."""

from __future__ import annotations

import argparse
import errno
import importlib
import io
import os
import sys
from collections.abc import Sequence

from panoptic_ros import __version__
from panoptic_ros.errors import InputError

# Sub-command -> its module, which has `add_arguments(parser)` and `run(args) -> exit status`, and a line of help.
COMMANDS: dict[str, tuple[str, str]] = {
    "replay": ("panoptic_ros.commands.replay",
               "segment and track a bag, a video or a folder of images: a result bag, a video and numbers"),
    "evaluate": ("panoptic_ros.commands.evaluate",
                 "replay a bag, a video or a folder of images and score it: evaluation.json and report.html"),
    "bag": ("panoptic_ros.commands.bag", "make a rosbag2 from a video or a folder of images"),
    "city": ("panoptic_ros.commands.city", "drive through a synthetic city: images or a bag, with exact truth"),
    "score": ("panoptic_ros.commands.score",
              "score what any system wrote to disk: COCO-panoptic folders or KITTI-MOTS text files"),
    "dataset": ("panoptic_ros.commands.dataset",
                "check a dataset before it is used, or convert one"),
    "quantise": ("panoptic_ros.commands.quantise",
                 "make a model's INT8 graph, several times as fast on a CPU, and say what it costs"),
    "build": ("panoptic_ros.commands.build",
              "make an engine ready ahead of time, such as a TensorRT plan, so that no start waits for it"),
    "fetch": ("panoptic_ros.commands.fetch",
              "make a model folder of a Mask2Former, OneFormer or EoMT from Hugging Face"),
    "label": ("panoptic_ros.commands.label",
              "label a recording with a model: a COCO-panoptic dataset of its key frames, to train on"),
    "view": ("panoptic_ros.commands.view",
             "show overlay, tracks and latency in a browser, of a running node or of a replay's results"),
    "fleet": ("panoptic_ros.commands.fleet",
              "evaluate, replay or label many recordings over many machines, and merge what they found"),
    "doctor": ("panoptic_ros.commands.doctor", "what is installed, what would be used and why, and what is missing"),
}

# A disk that is full, read-only or not ours is the user's to solve; a traceback would hide it.
USER_ERRNOS = {errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSPC, errno.EDQUOT}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the sub-command that the arguments name (default: those of the process); returns the exit status.

    0: done; 2: the input cannot be used, the reason is on stderr; 130: interrupted.
    """
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="surrogateescape")  # names of files that are no UTF-8
    try:
        try:
            args = _parser(arguments).parse_args(arguments)
            status: int = args.run(args)
            return status
        finally:
            sys.stdout.flush()  # here, where a closed pipe is caught; after --help too, which leaves with SystemExit
    except InputError as error:
        return _complain(str(error))
    except KeyboardInterrupt:
        print("panoptic-ros: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:
        # The reader (`head`, a closed pager) has seen enough; Python must not fail once more when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except OSError as error:
        if error.errno not in USER_ERRNOS:
            raise
        return _complain(f"{error.strerror}: {error.filename or 'an output file'}; "
                         "choose another place, or free or unlock this one")


def _parser(arguments: Sequence[str]) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="panoptic-ros", description="Panoptic segmentation and tracking of camera streams for ROS 2.",
        epilog="`panoptic-ros COMMAND --help` tells what a command takes.")
    parser.add_argument("--version", action="version", version=f"panoptic-ros {__version__}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    for name, (module_name, summary) in COMMANDS.items():
        command = commands.add_parser(name, help=summary, description=summary[0].upper() + summary[1:] + ".",
                                      formatter_class=_HelpFormatter)
        if arguments and arguments[0] == name:
            module = importlib.import_module(module_name)
            module.add_arguments(command)
            command.set_defaults(run=module.run)
    return parser


class _HelpFormatter(argparse.ArgumentDefaultsHelpFormatter):
    """Tells defaults, but neither `None`, which says nothing, nor that a switch is off."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        return action.help if action.default in (None, False, []) else super()._get_help_string(action)


def _complain(text: str) -> int:
    print(f"panoptic-ros: error: {text}", file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main())
