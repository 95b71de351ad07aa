"""`panoptic-ros dataset`: checks a dataset, or converts one into a format that is read here."""

from __future__ import annotations

import argparse
from pathlib import Path

from panoptic_ros.datasets.check import check_dataset
from panoptic_ros.datasets.cityscapes import convert_cityscapes
from panoptic_ros.datasets.open import FORMATS


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of the command."""
    tasks = parser.add_subparsers(metavar="TASK", required=True)
    check = tasks.add_parser(
        "check", help="read every file of a dataset: what is there, and what is wrong with it",
        description="Reads every file of a dataset and says what is there, class by class, and what is wrong\n"
                    "with it: how often, and where first. Exit status 1: there are faults, which evaluation and\n"
                    "training refuse, or by which they lose something; 0: there are none. Of what is told as a\n"
                    "remark, such as an area that is wrong, they take the labels as they are.",
        epilog=f"A dataset is one of\n{FORMATS}", formatter_class=argparse.RawDescriptionHelpFormatter)
    check.add_argument("path", metavar="PATH", help="the dataset")
    check.add_argument("--strict", action="store_true", help="exit status 1 for remarks as well")
    check.set_defaults(task=_check)
    convert = tasks.add_parser("convert", help="make COCO-panoptic files of Cityscapes' labels",
                               description="Makes COCO-panoptic files of a dataset's own labels with the converter of "
                                           "its authors (pip install cityscapesscripts).")
    convert.add_argument("format", choices=["cityscapes"], help="what it is")
    convert.add_argument("root", type=Path, metavar="ROOT", help="the folder that holds gtFine")
    convert.add_argument("--out", type=Path, metavar="DIR",
                         help="where to write; gtFine itself if left out, where the images are found too")
    convert.set_defaults(task=_convert)


def run(args: argparse.Namespace) -> int:
    """Returns 0, or 1 where a check found something wrong."""
    status: int = args.task(args)
    return status


def _check(args: argparse.Namespace) -> int:
    check = check_dataset(args.path)
    print(check.text())
    return int((check.findings.total() if args.strict else check.findings.faults()) > 0)


def _convert(args: argparse.Namespace) -> int:
    for file in convert_cityscapes(args.root, args.out):
        print(f"wrote {file}; look at it with: panoptic-ros dataset check {file}")
    return 0
