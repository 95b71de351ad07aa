"""What killed participants leave in /dev/shm is given back at the next start, and nothing else."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from panoptic_ros.ros import qos, shared_memory
from panoptic_ros.ros.inputs import CameraInput
from panoptic_ros.ros.node_process import private_network
from panoptic_ros.ros.shared_memory import FOLDER, abandoned_segments, remove_abandoned_segments, shortage

PARTICIPANT = """
import re, time
import rclpy
rclpy.init()
node = rclpy.create_node("killed")
# What it has in its memory: other tests may run at the same time.
print(*sorted(set(re.findall("/dev/shm/(fastrtps_[0-9a-f]{16})$", open("/proc/self/maps").read(), re.M))), flush=True)
time.sleep(600)
"""


@pytest.fixture
def participant() -> Iterator[tuple[subprocess.Popen[str], list[Path]]]:
    """A process with a participant, and its shared memory."""
    with subprocess.Popen([sys.executable, "-c", PARTICIPANT], env=os.environ | private_network(),
                          stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        yield process, [FOLDER / name for name in process.stdout.readline().split()]
        process.kill()


def test_the_memory_of_a_killed_participant_is_given_back_and_that_of_a_living_one_is_not(
        participant: tuple[subprocess.Popen[str], list[Path]]) -> None:
    process, segments = participant
    assert segments
    for segment in segments:
        os.utime(f"{segment}_el", (0, 0))  # not young any more
    assert not set(segments) & set(abandoned_segments())
    remove_abandoned_segments()
    assert all(segment.exists() for segment in segments)

    process.kill()
    process.wait()
    assert set(segments) <= set(abandoned_segments())
    assert remove_abandoned_segments() >= sum(1 for _ in segments)
    assert not any(segment.exists() or Path(f"{segment}_el").exists() for segment in segments)
    assert not set(segments) & set(abandoned_segments())


def test_what_is_young_or_of_something_else_is_left_alone(tmp_path: Path) -> None:
    names = ["fastrtps_0123456789abcdef", "fastrtps_port7400", "fastrtps_port7400_el", "mine", "mine_el"]
    for name in [*names, f"{names[0]}_el"]:
        (tmp_path / name).write_bytes(b"12345")
    assert not abandoned_segments(tmp_path)
    for file in tmp_path.iterdir():
        os.utime(file, (0, 0))
    assert abandoned_segments(tmp_path) == {tmp_path / names[0]: 5}
    assert remove_abandoned_segments(tmp_path) == 5
    assert sorted(file.name for file in tmp_path.iterdir()) == sorted(names[1:])


def test_without_shared_memory_there_is_nothing_to_give_back(tmp_path: Path) -> None:
    assert not abandoned_segments(tmp_path / "none")
    assert remove_abandoned_segments(tmp_path / "none") == 0


@pytest.mark.parametrize(("mebibytes", "is_told"), [(8, True), (64, True), (512, False)])
def test_too_little_shared_memory_is_told_with_what_mends_it(
        monkeypatch: pytest.MonkeyPatch, tmp_path: Path, mebibytes: int, is_told: bool) -> None:
    monkeypatch.setattr(shared_memory.shutil, "disk_usage", lambda _: SimpleNamespace(total=mebibytes * 2**20))
    assert ("--shm-size=1g" in shortage(tmp_path)) == is_told
    assert (f"{mebibytes} MiB" in shortage(tmp_path)) == is_told


def test_no_shared_memory_at_all_is_too_little(tmp_path: Path) -> None:
    assert "has 0 MiB" in shortage(tmp_path / "none")


def test_a_published_topic_of_which_no_image_comes_is_explained_by_too_little_shared_memory(
        monkeypatch: pytest.MonkeyPatch) -> None:
    fitting = SimpleNamespace(topic_type="sensor_msgs/msg/Image", qos_profile=qos.newest_image())
    node = SimpleNamespace(resolve_topic_name=lambda _: "/image", get_publishers_info_by_topic=lambda _: [fitting],
                           create_subscription=lambda *_, **__: SimpleNamespace(qos_profile=qos.newest_image()))
    one = CameraInput(node, "image", "raw", print, None)
    for short, told in (("", ""), ("8 MiB", "images on /image may not arrive: 8 MiB")):
        monkeypatch.setattr(shared_memory, "shortage", lambda short=short: short)
        assert one.problem() == told
