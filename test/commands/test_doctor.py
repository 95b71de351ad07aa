"""The doctor reports what is there and gives a hint for what is not."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from panoptic_ros import __version__, cli
from panoptic_ros.commands import doctor
from panoptic_ros.commands.doctor import Finding
from panoptic_ros.paths import shared_folder

Printed = pytest.CaptureFixture[str]
Remove = Callable[[str], None]
needs_ros = pytest.mark.skipif(find_spec("rclpy") is None, reason="no rclpy here")


def by_name() -> dict[str, Finding]:
    return {finding.name: finding for finding in doctor.examine()}


@pytest.fixture
def without(monkeypatch: pytest.MonkeyPatch) -> Remove:
    """Make a package look as if it were not installed."""
    def remove(package: str) -> None:
        monkeypatch.setattr(doctor, "find_spec", lambda name: None if name == package else find_spec(name))
    return remove


def test_the_report_is_json_on_demand(capsys: Printed) -> None:
    assert cli.main(["doctor", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["package"]["numpy"] == {"value": np.__version__}
    assert report["package"]["panoptic_ros"] == {"value": f"{__version__} in {Path(cli.__file__).parent}"}
    assert " on " in report["inference"]["choice"]["value"]


def test_a_hint_stands_below_the_finding_it_belongs_to(capsys: Printed, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "examine", lambda: [
        Finding("ros", "rclpy", "not found", "source a ROS 2"), Finding("transport", "shared memory", "64 MiB")])
    assert cli.main(["doctor"]) == 0
    assert capsys.readouterr().out == ("ros\n"
                                       "  rclpy          not found\n"
                                       "                 -> source a ROS 2\n"
                                       "\n"
                                       "transport\n"
                                       "  shared memory  64 MiB\n")


def test_a_missing_core_package_is_a_broken_installation(without: Remove, capsys: Printed) -> None:
    without("safetensors")
    assert cli.main(["doctor"]) == 1
    assert "pip install safetensors" in capsys.readouterr().out


def test_without_ros_the_report_says_how_to_get_it(without: Remove, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ROS_DISTRO", raising=False)
    without("rclpy")
    findings = by_name()
    assert "scripts/with_env" in findings["rclpy"].hint
    assert not findings["rclpy"].broken
    assert not {"middleware", "fast dds profile", "shared memory"} & findings.keys()


def test_a_ros_for_another_python_is_told_apart_from_no_ros(without: Remove, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ROS_DISTRO", "jazzy")
    without("rclpy")
    assert sys.executable in by_name()["rclpy"].hint


@needs_ros
def test_the_messages_are_reported_as_built_only_if_they_can_be_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "panoptic_ros.msg", None)
    assert "colcon build" in by_name()["panoptic_ros.msg"].hint
    monkeypatch.setitem(sys.modules, "panoptic_ros.msg", ModuleType("panoptic_ros.msg"))
    assert by_name()["panoptic_ros.msg"] == Finding("ros", "panoptic_ros.msg", "built")


@needs_ros
def test_our_fast_dds_profile_is_recognised_by_its_content(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RMW_IMPLEMENTATION", raising=False)
    monkeypatch.delenv("FASTDDS_DEFAULT_PROFILES_FILE", raising=False)

    def reported(profile: Path | None) -> Finding:
        if profile is None:
            monkeypatch.delenv("FASTRTPS_DEFAULT_PROFILES_FILE", raising=False)
        else:
            monkeypatch.setenv("FASTRTPS_DEFAULT_PROFILES_FILE", str(profile))
        return by_name()["fast dds profile"]

    assert reported(None).value == "not set"
    assert reported(tmp_path / "none.xml").value.endswith("does not exist")
    (tmp_path / "foreign.xml").write_text("<profiles/>")
    assert reported(tmp_path / "foreign.xml").value.endswith("not the one of panoptic_ros")
    (tmp_path / "copy.xml").write_bytes((shared_folder("config") / "fastdds.xml").read_bytes())
    assert reported(tmp_path / "copy.xml").hint == ""


def test_another_middleware_needs_no_fast_dds_profile(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RMW_IMPLEMENTATION", "rmw_cyclonedds_cpp")
    assert "fast dds profile" not in by_name()


@pytest.mark.parametrize(("mebibytes", "enough"), [(64, False), (1024, True)])
@needs_ros
def test_a_small_shared_memory_gets_a_hint(monkeypatch: pytest.MonkeyPatch, mebibytes: int, enough: bool) -> None:
    size = mebibytes * 2**20
    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda path:
                        type("Usage", (), {"total": size, "used": 0, "free": size}))
    assert (by_name()["shared memory"].hint == "") == enough
