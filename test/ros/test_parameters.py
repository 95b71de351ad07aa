"""The node's parameters and the file that documents them."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import pytest
import yaml

from panoptic_ros.errors import InputError
from panoptic_ros.paths import shared_folder
from panoptic_ros.ros.parameters import RENAMED, NodeSettings, TracksFileSettings
from panoptic_ros.tracking import TrackerSettings
from panoptic_ros.viewing.overlay import OverlayStyle


def test_the_commented_parameter_file_holds_the_defaults() -> None:
    file = yaml.safe_load((shared_folder("config") / "city.yaml").read_text())["/**"]["ros__parameters"]
    defaults = {name: list(value) if isinstance(value, tuple) else value
                for name, value in asdict(NodeSettings()).items()}
    for settings in (TrackerSettings(), TracksFileSettings()):
        defaults |= {f"tracking.{name}": value for name, value in asdict(settings).items()}
    defaults |= {f"overlay.{name}": value for name, value in asdict(OverlayStyle()).items()}
    assert file == defaults


def test_old_names_stand_for_parameters_that_are_there() -> None:
    names = {*asdict(NodeSettings()), *(f"tracking.{name}" for name in asdict(TrackerSettings()))}
    assert set(RENAMED.values()) <= names
    assert not set(RENAMED) & names


@pytest.mark.parametrize(("settings", "says"), [
    ({"cameras": ("left", "left")}, "name of its own"), ({"cameras": ("left", "")}, "name of its own"),
    ({"cameras": ()}, "name of its own"), ({"cameras": ("1st",)}, "1st"), ({"cameras": ("a/b",)}, "a/b"),
    ({"transport": "theora"}, "raw, compressed"), ({"warm_up_size": (512,)}, "height and width"),
    ({"warm_up_size": (-1, 5)}, "height and width"), ({"approximate_sync": True}, "two cameras"),
])
def test_settings_that_do_not_fit_together_are_refused(settings: dict[str, Any], says: str) -> None:
    with pytest.raises(InputError, match=says):
        NodeSettings(**settings)
