"""`panoptic-ros city`: the files and topics it writes, and what it says to bad input."""

from __future__ import annotations

import json
import os

import cv2
import numpy as np
import pytest
import yaml

from panoptic_ros.bags.read import open_recording
from panoptic_ros.classes import load_class_table
from panoptic_ros.cli import main
from panoptic_ros.datasets import Truth, open_dataset
from panoptic_ros.datasets.check import check_dataset
from panoptic_ros.evaluation.truth_sources import open_truth
from panoptic_ros.synthetic_city import CityCamera, CityDrive


@pytest.fixture(scope="module")
def drive(tmp_path_factory):
    """Three frames of a drive, as files."""
    out = tmp_path_factory.mktemp("city") / "drive"
    assert main(["city", "--seed", "1", "--frames", "3", "--size", "96x160", "--out", str(out)]) == 0
    return out


def test_all_files_are_there_with_one_line_or_picture_per_frame(drive):
    names = ["000000.png", "000001.png", "000002.png"]
    for folder in ("images", "panoptic", "depth"):
        assert sorted(file.name for file in (drive / folder).iterdir()) == names
    assert (drive / "timestamps.txt").read_text().split() == ["0", "100000000", "200000000"]
    assert np.loadtxt(drive / "poses.txt").shape == (3, 12)


def test_json_and_pictures_agree_with_each_other_and_with_the_drive(drive):
    truth = json.loads((drive / "panoptic.json").read_text())
    assert [c["name"] for c in truth["categories"]] == list(load_class_table("cityscapes").names)
    city = CityDrive(1, CityCamera.of_size(96, 160))
    for k, (image, annotation) in enumerate(zip(truth["images"], truth["annotations"], strict=True)):
        assert image["id"] == annotation["image_id"]
        blue, green, red = cv2.split(cv2.imread(str(drive / "panoptic" / annotation["file_name"])).astype(np.int64))
        ids = red + 256 * green + 65536 * blue
        frame = city.render(k)
        assert np.array_equal(cv2.imread(str(drive / image["file_name"]))[..., ::-1], frame.image)
        assert set(np.unique(ids)) - {0} == {s["id"] for s in annotation["segments_info"]}
        assert np.array_equal(ids == 0, frame.class_map == 255)
        for segment in annotation["segments_info"]:
            mask = ids == segment["id"]
            rows, columns = np.nonzero(mask)
            assert segment["area"] == mask.sum()
            assert segment["bbox"] == [columns.min(), rows.min(), np.ptp(columns) + 1, np.ptp(rows) + 1]
            assert (frame.class_map[mask] == segment["category_id"]).all()
            assert len(np.unique(frame.instance_map[mask])) == 1


def test_an_id_is_one_object_in_all_frames(drive):
    truth = json.loads((drive / "panoptic.json").read_text())
    city = CityDrive(1, CityCamera.of_size(96, 160))
    object_of: dict[int, int] = {}
    for k, annotation in enumerate(truth["annotations"]):
        blue, green, red = cv2.split(cv2.imread(str(drive / "panoptic" / annotation["file_name"])).astype(np.int64))
        ids, instances = red + 256 * green + 65536 * blue, city.render(k).instance_map
        for number in np.unique(ids[instances > 0]).tolist():
            thing = int(instances[ids == number][0])
            assert object_of.setdefault(number, thing) == thing
    assert len(set(object_of.values())) == len(object_of)


def test_depth_pictures_are_metres_times_256(drive):
    depth = CityDrive(1, CityCamera.of_size(96, 160)).render(2).depth
    written = cv2.imread(str(drive / "depth" / "000002.png"), cv2.IMREAD_UNCHANGED)
    near = depth < 255
    assert written.dtype == np.uint16
    assert np.abs(written[near] / 256 - depth[near]).max() <= 0.5 / 256 + 1e-4
    assert (written[~near & (depth > 256)] == 0).all()


def test_the_bag_has_images_calibration_and_truth_with_the_same_headers(tmp_path):
    from rosbags.highlevel import AnyReader

    from panoptic_ros.bags.types import bag_typestore
    from panoptic_ros.messages import read_segments

    out = tmp_path / "bag"
    assert main(["city", "--seed", "1", "--frames", "2", "--size", "96x160", "--bag", "--out", str(out)]) == 0
    messages: dict[str, list] = {}
    with AnyReader([out], default_typestore=bag_typestore()) as reader:
        for connection, _, raw in reader.messages():
            messages.setdefault(connection.topic, []).append(reader.deserialize(raw, connection.msgtype))
    assert set(messages) == {"/camera/image", "/camera/camera_info", "/camera/truth/panoptic/image",
                             "/camera/truth/segments", "/camera/truth/depth"}
    city = CityDrive(1, CityCamera.of_size(96, 160))
    for k in range(2):
        headers = {(m[k].header.stamp.sec, m[k].header.stamp.nanosec, m[k].header.frame_id) for m in messages.values()}
        assert headers == {(0, k * 100_000_000, "camera")}
        frame = city.render(k)
        assert np.array_equal(messages["/camera/image"][k].data.reshape(96, 160, 3), frame.image)
        assert np.array_equal(messages["/camera/truth/depth"][k].data.view("<f4").reshape(96, 160), frame.depth)
        assert messages["/camera/camera_info"][k].k[0] == pytest.approx(city.camera.fx)
        segment_map, segments = read_segments(messages["/camera/truth/panoptic/image"][k],
                                              messages["/camera/truth/segments"][k])
        classes = np.concatenate([[255], segments.class_id])[segment_map]
        assert np.array_equal(classes, frame.class_map)
    # The replay takes it as it is: truth is no camera.
    recording = open_recording(out)
    assert [stream.camera for stream in recording.streams] == ["camera"]
    truth = open_truth(None, recording, load_class_table("cityscapes"))
    assert Truth.DEPTH in truth.dataset.truth
    assert np.array_equal(truth.dataset.depth(1), city.render(1).depth)


def test_the_folder_the_bag_and_the_dataset_have_the_same_crowds_and_objects(tmp_path):
    for place, options in (("drive", []), ("bag", ["--bag"])):
        assert main(["city", "--seed", "600", "--frames", "2", "--size", "256x512", "--out", str(tmp_path / place),
                     *options]) == 0
    city, folder = open_dataset("city:600x2@256x512"), open_dataset(str(tmp_path / "drive"))
    bag = open_truth(None, open_recording(tmp_path / "bag"), city.classes).dataset
    assert Truth.TRACKS in folder.truth & bag.truth
    numbers = [set() for _ in (folder, bag)]
    for k in range(2):
        label = city.label(k)
        assert label.is_crowd.any()
        for other, pairs in zip((folder.label(k), bag.label(k)), numbers, strict=True):
            assert np.array_equal(other.class_map(), label.class_map())
            assert np.array_equal(*(np.append(False, one.is_crowd)[one.segment_map] for one in (other, label)))
            mine, theirs = (np.append(0, np.where(city.classes.thing_mask[one.class_id], one.object_id, 0))[
                one.segment_map] for one in (label, other))
            pairs |= set(zip(mine.reshape(-1).tolist(), theirs.reshape(-1).tolist(), strict=True))
    # An object has one number in each of them, and what is none has none.
    for pairs in numbers:
        assert (0, 0) in pairs
        assert len(pairs) == len({mine for mine, _ in pairs}) == len({theirs for _, theirs in pairs}) > 5
    assert check_dataset(str(tmp_path / "drive")).tally.findings.kinds() == []


def test_varied_drives_are_written_with_the_calibration_of_their_own_camera(tmp_path):
    out = tmp_path / "drive"
    assert main(["city", "--seed", "5", "--frames", "1", "--size", "96x160", "--varied", "--out", str(out)]) == 0
    city = CityDrive(5, CityCamera.of_size(96, 160), varied=True)
    assert np.array_equal(cv2.imread(str(out / "images" / "000000.png"))[..., ::-1], city.render(0).image)
    camera = yaml.safe_load((out / "calibration.yaml").read_text())["camera_matrix"]["data"]
    assert camera == pytest.approx([city.camera.fx, 0, city.camera.cx, 0, city.camera.fy, city.camera.cy, 0, 0, 1])


@pytest.mark.parametrize(("options", "words"), [
    (["--size", "32x64"], "64 to 4096"), (["--size", "9000x64"], "64 to 4096"), (["--size", "big"], "height x width"),
    (["--frames", "0"], "at least one"), (["--frame-rate", "0"], "between"), (["--seed", "-1"], "from 0 up"),
])
def test_bad_numbers_are_refused_with_what_would_work(tmp_path, capsys, options, words):
    assert main(["city", "--out", str(tmp_path / "x"), *options]) == 2
    assert words in capsys.readouterr().err
    assert not (tmp_path / "x").exists()


def test_a_folder_with_files_is_kept_unless_overwrite_is_given(tmp_path, capsys):
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "old.png").touch()
    command = ["city", "--frames", "1", "--size", "64x64", "--out", str(tmp_path)]
    assert main(command) == 2
    assert "--overwrite" in capsys.readouterr().err
    assert main([*command, "--overwrite"]) == 0
    assert not (tmp_path / "images" / "old.png").exists()


def test_overwrite_does_not_delete_what_the_command_did_not_write(tmp_path, capsys):
    (tmp_path / "thesis.txt").write_text("years of work")
    assert main(["city", "--frames", "1", "--size", "64x64", "--out", str(tmp_path), "--overwrite"]) == 2
    assert "thesis.txt" in capsys.readouterr().err
    assert (tmp_path / "thesis.txt").read_text() == "years of work"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_may_not_be_written_is_named(tmp_path, capsys):
    tmp_path.chmod(0o500)
    assert main(["city", "--frames", "1", "--size", "64x64", "--out", str(tmp_path / "x")]) == 2
    assert str(tmp_path / "x") in capsys.readouterr().err


def test_a_file_in_the_way_of_the_folder_is_named(tmp_path, capsys):
    (tmp_path / "file").touch()
    assert main(["city", "--frames", "1", "--size", "64x64", "--out", str(tmp_path / "file" / "x")]) == 2
    assert "file" in capsys.readouterr().err
