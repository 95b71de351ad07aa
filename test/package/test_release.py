"""What a release is made of agrees: one version everywhere, and a changelog that bloom's parser reads."""

from __future__ import annotations

import re
from pathlib import Path
from xml.etree import ElementTree

import pytest
import yaml

from panoptic_ros import __version__
from panoptic_ros.methods import METHODS

ROOT = Path(__file__).resolve().parents[2]


def test_the_version_of_the_package_is_the_one_that_ros_reads_and_that_is_cited() -> None:
    assert ElementTree.parse(ROOT / "package.xml").getroot().findtext("version") == __version__
    assert yaml.safe_load((ROOT / "CITATION.cff").read_text())["version"] == __version__


def test_every_method_of_a_paper_is_cited() -> None:
    notes = [row["notes"] for row in yaml.safe_load((ROOT / "CITATION.cff").read_text())["references"]]
    assert {re.match(r"The method (\w+)\.", note)[1] for note in notes} == METHODS.keys() - {"universal"}


def test_the_changelog_can_be_released_with_catkin_s_tools() -> None:
    changelog = pytest.importorskip("catkin_pkg.changelog", reason="catkin_pkg is not installed")
    text = (ROOT / "CHANGELOG.rst").read_text()
    # What `catkin_prepare_release` does with the heading.
    released, count = re.subn(r"^Forthcoming\n-+$", f"{__version__} (2030-01-31)\n------------------", text, flags=re.M)
    assert count == 1
    parsed = changelog.populate_changelog_from_rst(changelog.Changelog("panoptic_ros"), released)
    rows = {version: [str(row) for row in contents] for version, _, contents in parsed.foreach_version()}
    assert len(re.findall("^- ", text, re.M)) == sum(str(row).count("\n* ") + 1 for row in rows[__version__]
                                                     if str(row).startswith("* "))


def test_the_changelog_is_valid_restructured_text() -> None:
    core = pytest.importorskip("docutils.core", reason="docutils is not installed")
    core.publish_doctree((ROOT / "CHANGELOG.rst").read_text(), settings_overrides={"halt_level": 2, "report_level": 5})
