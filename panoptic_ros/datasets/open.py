"""Opens a dataset of any supported format, which is found by the files that are there."""

from __future__ import annotations

from pathlib import Path

from panoptic_ros.datasets.camvid import CamVid, is_camvid
from panoptic_ros.datasets.city import City, CityName
from panoptic_ros.datasets.coco_layout import find_panoptic_json
from panoptic_ros.datasets.coco_panoptic import CocoPanoptic
from panoptic_ros.datasets.dataset import Dataset
from panoptic_ros.datasets.joined import JoinedDataset
from panoptic_ros.datasets.kitti_mots import KittiMots, find_mots_sequences
from panoptic_ros.datasets.nyuv2 import DepthFolder, NyuLabelled, is_depth_folder, is_nyu_file
from panoptic_ros.errors import InputError

FORMATS = """COCO panoptic: a .json file, or a folder with panoptic.json and panoptic/, or with X.json and X/
KITTI-MOTS: a folder with instances.txt and image_02/, one with instances_txt/0000.txt ..., or such a text file
CamVid: a folder with val/ and valannot/, or one of its train/ and val/
NYU Depth v2, for depth alone: nyu_depth_v2_labeled.mat (:train or :test behind it, with splits.mat beside it), or a
  folder of colour images and 16-bit depth: rgb/ and depth/, or rgb_N.jpg with sync_depth_N.png
synthetic city: city, or city:600-607x40@512x1024 (drives, frames of each, height x width; x40/12: every twelfth);
  with +tiny at the end, such as city+tiny, things below 25 pixels at 512 x 1024 are outlined, not crowds
several of these with ' + ' between them: one dataset, in the classes of the first"""


def open_dataset(path: str, video: bool | None = None, for_training: bool = False) -> Dataset:
    """The dataset at a path, or the synthetic city where the path is its name.

    video: of a COCO-panoptic folder, whether its images are videos in which an id is an object's own; None: as the
    JSON file says.
    for_training: without images that show what a dataset validates on (CamVid, see NEAR_VALIDATION there).
    Raises InputError with the formats that were looked for where there is none of them.
    """
    if len(parts := path.split(" + ")) > 1:
        return JoinedDataset([open_dataset(part.strip(), video, for_training) for part in parts])
    place = Path(path).expanduser()
    if not place.exists():
        file, _, split = path.rpartition(":")
        if is_nyu_file(mat := Path(file).expanduser()):
            return NyuLabelled(mat, split)
        if (city := CityName.parse(path)) is not None:
            return City(city)
        raise InputError(f"there is no '{path}'; a dataset is one of\n{FORMATS}")
    if (found := find_panoptic_json(place)) is not None:
        return CocoPanoptic(*found, video=video)
    if find_mots_sequences(place):
        return KittiMots(place)
    if is_camvid(place):
        return CamVid(place, for_training)
    if is_nyu_file(place):
        return NyuLabelled(place)
    if is_depth_folder(place):
        return DepthFolder(place)
    raise InputError(f"{path} is no dataset that is known here; looked for\n{FORMATS}")
