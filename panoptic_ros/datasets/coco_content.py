"""What is acceptable in a COCO-panoptic JSON file, entry by entry: one rule for those who read it and who check it."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import Any

from panoptic_ros.errors import InputError

MAX_ID = (1 << 24) - 1  # a pixel's id is red + 256 green + 65536 blue
_LARGEST_NUMBER = 1 << 62

# Told of each fault: its kind, the same words for all of its kind, and where it is.
Report = Callable[[str, str], None]


def refuse(json_file: Path) -> Report:
    """A report that raises InputError with the first fault."""

    def report(kind: str, place: str) -> None:
        raise InputError(f"{json_file}: {kind}: {place}; see `panoptic-ros dataset check`")

    return report


def accepted(content: dict[str, Any], png_folder: Path, report: Report) -> dict[str, Any]:
    """The entries of a file that are sound, in one form; each of the others is reported and left out.

    Ids and other whole numbers may be written as text or with a .0; they come out as int, text that is none stays text
    where it is the id of an image or a video. Paths come out below their folder, with slashes: of one that leads
    elsewhere the file's name is left; a label's ends with .png. Kinds are bool, a colour that is missing is black.
    """
    categories = _categories(content["categories"], report)
    images = _images(content["images"], report)
    known = {category["id"] for category in categories}
    unannotated = {image["id"] for image in images}
    annotated: set[int | str] = set()
    pngs: set[str] = set()
    annotations = []
    for place, row in enumerate(content["annotations"]):
        if (annotation := _annotation(row, place, png_folder, report)) is None:
            continue
        number, file = annotation["image_id"], annotation["file_name"]
        if number in annotated:
            report("an image is annotated twice", f"{file}: image {number}")
        elif number not in unannotated:
            report("an annotation is of no image in the list", f"{file}: image {number}")
        elif file not in pngs:
            annotations.append({**annotation, "segments_info": _segments(annotation, known, report)})
            unannotated.remove(number)
            annotated.add(number)
        if file in pngs:
            report("two annotations have one PNG", file)
        pngs.add(file)
    return {**content, "images": images, "annotations": annotations, "categories": categories,
            "videos": [video for video in content.get("videos") or [] if isinstance(video, dict)]}


def _categories(rows: list[Any], report: Report) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    ids: set[int] = set()
    names: set[str] = set()
    for place, row in enumerate(rows):
        if not isinstance(row, dict):
            report("a category is no object", f"number {place}: {_short(row)}")
            continue
        missing = [key for key in ("id", "name", "isthing") if key not in row]
        for key in missing:
            report(f"a category has no {key}", _short(row))
        if missing:
            continue
        number, is_thing, color = whole_number(row["id"]), _flag(row["isthing"]), row.get("color")
        where = f"category {_short(row['id'])}: {_short(row['name'])}"
        if number is None:
            report("a category's id is no whole number", where)
        elif not isinstance(row["name"], str):
            report("a category's name is no text", where)
        elif is_thing is None:
            report("a category's isthing is neither 0 nor 1", f"{where}: {_short(row['isthing'])}")
        elif number in ids:
            report("two categories have one id", where)
        elif row["name"] in names:
            report("two categories have one name", where)
        else:
            ids.add(number)
            names.add(row["name"])
            rgb = [whole_number(part) for part in color] if isinstance(color, list) else []
            is_color = len(rgb) == 3 and all(part is not None and 0 <= part < 256 for part in rgb)
            if color is not None and not is_color:
                report("a category's color is not [red, green, blue]", f"{where}: {_short(color)}")
            found.append({**row, "id": number, "isthing": is_thing, "color": rgb if is_color else [0, 0, 0]})
    return found


def _images(rows: list[Any], report: Report) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    ids: set[int | str] = set()
    files: set[str] = set()
    for place, row in enumerate(rows):
        if not isinstance(row, dict) or (number := _id(row.get("id"))) is None:
            report("an image has no id that is a number or text", f"number {place}: {_short(row)}")
            continue
        if number in ids:
            report("two images have one id", f"image {number}")
            continue
        where, image = f"image {number}", {**row, "id": number}
        bad = False
        for key in ("height", "width", "frame_id", "frame_index", "stamp_ns"):
            if row.get(key) is None:
                image.pop(key, None)
            elif (value := whole_number(row[key])) is None or (key in ("height", "width") and value < 1):
                report(f"an image's {key} is no whole number", f"{where}: {_short(row[key])}")
                bad = True
            else:
                image[key] = value
        if row.get("video_id") is None:
            image.pop("video_id", None)
        elif (video := _id(row["video_id"])) is None:
            report("an image's video_id is no number or text", f"{where}: {_short(row['video_id'])}")
            bad = True
        else:
            image["video_id"] = video
        if row.get("file_name") is None:
            image.pop("file_name", None)
        elif not isinstance(row["file_name"], str) or not _name(row["file_name"]):
            report("an image's file_name is no path", f"{where}: {_short(row['file_name'])}")
            bad = True
        else:
            image["file_name"] = inside(row["file_name"])
            if image["file_name"] in files:
                report("two images have one file name", image["file_name"])
            files.add(image["file_name"])
        ids.add(number)
        if not bad:
            found.append(image)
    return found


def _annotation(row: Any, place: int, png_folder: Path, report: Report) -> dict[str, Any] | None:
    if not isinstance(row, dict):
        report("an annotation is no object", f"number {place}: {_short(row)}")
        return None
    number, file = _id(row.get("image_id")), row.get("file_name")
    if not isinstance(file, str) or not _name(file):
        report("an annotation's file_name is no path", f"number {place}: {_short(file)}")
    elif number is None:
        report("an annotation's image_id is no number or text", f"{file}: {_short(row.get('image_id'))}")
    elif not isinstance(row["segments_info"], list):
        report("an annotation's segments_info is no list", f"{file}: {_short(row['segments_info'])}")
    else:
        return {**row, "image_id": number,
                "file_name": str(PurePosixPath(inside(file, png_folder)).with_suffix(".png"))}
    return None


def _segments(annotation: dict[str, Any], categories: set[int], report: Report) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    ids: set[int] = set()
    for segment in annotation["segments_info"]:
        if not isinstance(segment, dict):
            report("a segment is no object", f"{annotation['file_name']}: {_short(segment)}")
            continue
        number, category = whole_number(segment.get("id")), whole_number(segment.get("category_id"))
        where = f"{annotation['file_name']}: segment {_short(segment.get('id'))}"
        crowd, score = _flag(segment.get("iscrowd") or 0), segment.get("score")
        if number is None or not 1 <= number <= MAX_ID:
            report(f"a segment id is no number from 1 to {MAX_ID}", where)
            continue
        if number in ids:
            report("two segments of an image have one id", where)
            continue
        if category not in categories:
            report("a segment is of an unknown class", f"{where}: category {_short(segment.get('category_id'))}")
            category = None
        if crowd is None:
            report("a segment's iscrowd is neither 0 nor 1", f"{where}: {_short(segment['iscrowd'])}")
        if "score" in segment and (isinstance(score, bool) or not isinstance(score, int | float)
                                   or not math.isfinite(score)):
            report("a score is no number", f"{where}: {_short(score)}")
            score = None
        ids.add(number)
        row = {**segment, "id": number, "category_id": category, "iscrowd": bool(crowd)}
        if score is None:
            row.pop("score", None)
        found.append(row)
    return found


def whole_number(value: Any) -> int | None:
    """5, 5.0, "5", "5.0" -> 5; None for anything else, and for numbers that no program counts to."""
    if isinstance(value, str) and (found := re.fullmatch(r"\s*([+-]?[0-9]{1,19})(\.0*)?\s*", value)):
        value = int(found[1])
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or abs(value) > _LARGEST_NUMBER:
        return None
    return value


def inside(name: str, folder: Path | None = None) -> str:
    """A path below a folder: itself with slashes; of one that leads elsewhere the last part alone.

    folder: an absolute path to something in it is made relative.
    """
    path = PurePosixPath(name.replace("\\", "/"))
    if path.is_absolute() and folder is not None and path.is_relative_to(folder.absolute()):
        path = path.relative_to(folder.absolute())
    return path.name if path.is_absolute() or ".." in path.parts or re.match(r"[A-Za-z]:/", str(path)) else str(path)


def _name(path: str) -> str:
    name = PurePosixPath(path.replace("\\", "/")).name
    return "" if "\0" in path or name == ".." else name


def _id(value: Any) -> int | str | None:
    number = whole_number(value)
    return number if number is not None else value if isinstance(value, str) else None


def _flag(value: Any) -> bool | None:
    if isinstance(value, bool):
        return value
    number = whole_number(value)
    return bool(number) if number in (0, 1) else None


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
