"""Finds the files of a COCO-panoptic dataset in the folder layouts that are in use."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import product
from pathlib import Path

from panoptic_ros.errors import InputError
from panoptic_ros.image_files import IMAGE_SUFFIXES

# Where a dataset's root or split keeps its JSON files: our own and Cityscapes' gtFine, COCO, Mapillary Vistas.
_JSON_FOLDERS = ("", "annotations", "gtFine", "panoptic", "v2.0/panoptic", "v1.2/panoptic")
# What the converters of Cityscapes and its relatives (IDD) append to an image's name.
_LABEL_ENDING = re.compile(r"(_gtFine)?_(leftImg8bit|panoptic|gtFine|instancelevel3Ids)$")


def find_panoptic_json(path: Path) -> tuple[Path, Path] | None:
    """The JSON file of the dataset at a path and the folder of its PNGs; None where there is no such dataset.

    path: a .json file; a folder with panoptic.json and panoptic/, with X.json and X/, or with a panoptic_*.json among
    its PNGs, itself or in annotations/, gtFine/ or panoptic/; a folder X beside X.json.
    Raises InputError where a JSON file that was given has no PNGs, or where several are there.
    """
    if path.suffix == ".json" and path.is_file():
        if (pngs := _png_folder(path)) is None:
            raise InputError(f"no PNGs to {path}: they were looked for in {path.with_suffix('')}, in "
                             f"{path.parent / 'panoptic'} and beside it")
        return path, pngs
    if not path.is_dir():
        return None
    if (beside := path.parent / f"{path.name}.json").is_file() and any(path.glob("*.png")):
        return beside, path
    for folder in (path / name for name in _JSON_FOLDERS):
        found = [(file, pngs) for file in sorted(folder.glob("*.json")) if (pngs := _png_folder(file)) is not None]
        if len(found) > 1:
            raise InputError(f"{path} has several panoptic JSON files, give one of them: "
                             f"{', '.join(str(file) for file, _ in found)}")
        if found:
            return found[0]
    return None


def image_places(json_file: Path, png_folder: Path, png_name: str, file_name: str) -> Iterator[Path]:
    """Every place where an image may be, the likeliest first; its own name first, then the same with another suffix.

    png_name, file_name: of the label and of the image, as the JSON file has them.
    """
    name = Path(file_name)
    bare = bare_name(name.stem)
    names = [name, Path(name.name)]
    if bare != name.stem:
        # Cityscapes: leftImg8bit/val/frankfurt/frankfurt_000000_000294_leftImg8bit.png; IDD: the same without the
        # folder's name in the file's.
        city, _, rest = bare.partition("_")
        names = [Path(city, f"{stem}_leftImg8bit{suffix}") for stem, suffix in product((bare, rest), (".png", ".jpg"))
                 ] + [Path(f"{bare}_leftImg8bit.png"), *names]
    # panoptic_val2017, cityscapes_panoptic_val and val_panoptic have the images of val2017 and val.
    split = re.sub(r"^(cityscapes_)?panoptic_|(_panoptic|_trainId)$", "", png_folder.name)
    parents = list(dict.fromkeys([json_file.parent, png_folder.parent, *list(json_file.parents)[1:3]]))
    folders = [Path(), Path("images"), Path("leftImg8bit", split), Path(split), Path("images", split)]
    label = png_folder / png_name
    for suffix in (None, *IMAGE_SUFFIXES):
        for parent, folder, file in product(parents, folders, names):
            place = parent / folder / (file if suffix is None else file.with_suffix(suffix))
            if place != label:
                yield place


def bare_name(stem: str) -> str:
    """The stem of a file without what converters appended: frankfurt_000000_000294 of ..._gtFine_leftImg8bit."""
    return _LABEL_ENDING.sub("", stem)


def image_names(files: Sequence[Path]) -> list[str]:
    """A name for each image file, its bare stem: with its folders where two have the same, 000000 of each folder."""
    stems = [bare_name(file.stem) for file in files]
    if len(set(stems)) < len(stems):
        stems = ["_".join((*file.parent.parts, stem)) for file, stem in zip(files, stems, strict=True)]
    return stems


def _png_folder(json_file: Path) -> Path | None:
    for folder in (json_file.with_suffix(""), json_file.parent / "panoptic"):
        if folder.is_dir() and (folder.name == json_file.stem or json_file.name == "panoptic.json"):
            return folder
    if json_file.stem.startswith("panoptic") and any(json_file.parent.glob("*.png")):
        return json_file.parent
    return None
