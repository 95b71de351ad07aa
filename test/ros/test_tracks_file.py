"""A node that starts again goes on with the tracks of the one before, however that ended."""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sensor_msgs.msg import Image
from std_srvs.srv import Trigger

from panoptic_ros.msg import PanopticSegmentArray
from panoptic_ros.ros.tracks_file import RESERVED_IDS
from panoptic_ros.tracking.state_file import read_state


def tracks(message: PanopticSegmentArray) -> list[int]:
    return [segment.track_id for segment in message.segments]


def test_ids_go_on_after_an_end_in_order_and_after_a_kill(
        start_node: Callable[..., Any], model_folder: Path, make_image: Callable[..., Image], tmp_path: Path) -> None:
    file = tmp_path / "tracks.npz"
    file.write_bytes(b"what another program wrote")
    parameters = {"model": str(model_folder), "tracking.state_file": str(file)}

    node = start_node(**parameters)
    node.wait_for(lambda: node.state() == "active", "the node to be active")
    assert "Tracks are not restored" in node.process.log()
    assert file.with_name("tracks.npz.unreadable").read_bytes() == b"what another program wrote"
    assert "fixed while the node is configured" in node.set_parameter("tracking.state_file", "")
    first = tracks(node.publish_until_answered(make_image((10, 0)), node.subscribe(PanopticSegmentArray,
                                                                                   "panoptic/segments")))
    assert max(first) > 0
    assert not file.exists()
    for transition in ("deactivate", "cleanup"):
        assert node.participant.transition(transition)
    assert int(read_state(file)["allocated"]) == max(first)
    for transition in ("configure", "activate"):
        assert node.participant.transition(transition)
    file.unlink()
    answers = node.subscribe(PanopticSegmentArray, "panoptic/segments")
    stamp = 0
    while not file.exists():  # it is written every few seconds
        stamp += 100_000
        assert tracks(node.publish_until_answered(make_image((10, stamp)), answers)) == first
    node.process.stop(by=signal.SIGKILL)
    assert int(read_state(file)["allocated"]) == max(first) + RESERVED_IDS

    node = start_node(**parameters)
    node.wait_for(lambda: node.state() == "active", "the node to be active")
    answers = node.subscribe(PanopticSegmentArray, "panoptic/segments")
    assert tracks(node.publish_until_answered(make_image((11, 0)), answers)) == first
    assert node.participant.call(Trigger, "reset_tracks", Trigger.Request()).success
    fresh = tracks(node.publish_until_answered(make_image((11, 100_000_000)), answers))
    assert min(track for track in fresh if track) > max(first) + RESERVED_IDS
    assert node.process.stop(by=signal.SIGINT) == 0
    assert int(read_state(file)["allocated"]) == max(fresh)


def test_a_file_in_a_folder_that_is_not_there_is_refused(start_node: Callable[..., Any], model_folder: Path,
                                                         tmp_path: Path) -> None:
    node = start_node(autostart=False, model=str(model_folder),
                      **{"tracking.state_file": str(tmp_path / "nowhere" / "tracks.npz")})
    assert not node.participant.transition("configure")
    assert f"no folder {tmp_path / 'nowhere'}" in node.process.log()
    assert node.set_parameter("tracking.state_file", str(tmp_path)) == ""
    assert not node.participant.transition("configure")
    assert "that is a folder" in node.process.log()
    assert node.set_parameter("tracking.state_file", str(tmp_path / "tracks.npz")) == ""
    for _ in range(2):
        assert node.participant.transition("configure")
        assert node.participant.transition("cleanup")
    assert (tmp_path / "tracks.npz").exists()
