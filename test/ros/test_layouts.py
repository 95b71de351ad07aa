"""The layouts of RViz and Foxglove ask for topics that the node has, of the types that they take."""

from __future__ import annotations

import json
import re
from pathlib import Path

import yaml

from panoptic_ros.ros.outputs import _OUTPUTS

CONFIG = Path(__file__).resolve().parents[2] / "config"


def outputs() -> dict[str, str]:
    return {f"/panoptic_ros/{topic}": kind for topic, (kind, _) in _OUTPUTS.items()}


def test_the_foxglove_layout_shows_what_the_node_publishes() -> None:
    layout = json.loads((CONFIG / "foxglove.json").read_text())
    panels = layout["configById"]
    assert set(re.findall(r'"(\w+!\w+)"', json.dumps(layout["layout"]))) == panels.keys()
    asked = [match for match in re.findall(r'"(/[^".]*)', json.dumps(panels)) if match != "/diagnostics"]
    assert len(asked) == 3
    assert set(asked) <= outputs().keys()
    image = panels["Image!overlay"]["imageMode"]["imageTopic"]
    assert outputs()[image] == "sensor_msgs/msg/CompressedImage"


def test_the_rviz_layout_shows_an_image_that_the_node_publishes() -> None:
    layout = yaml.safe_load((CONFIG / "city.rviz").read_text())
    images = [row["Topic"]["Value"] for row in layout["Visualization Manager"]["Displays"] if "Image" in row["Class"]]
    assert images
    assert {outputs()[topic] for topic in images} == {"sensor_msgs/msg/Image"}
