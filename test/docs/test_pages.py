"""The pages name what is there: folders, files, anchors and commands."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from panoptic_ros.cli import COMMANDS

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])
NAMES = [str(page.relative_to(ROOT)) for page in PAGES]
PACKAGES = ("panoptic_ros", "training")


def folders_on_page() -> set[str]:
    return set(re.findall(r"`((?:panoptic_ros|training)(?:/[a-z_]+)*)`", (ROOT / "docs/architecture.md").read_text()))


def test_the_architecture_names_every_folder_and_none_that_is_not_there() -> None:
    folders = {file.parent.relative_to(ROOT) for package in PACKAGES for file in (ROOT / package).rglob("__init__.py")}
    # Methods are named by the table METHODS: a new one does not touch the page.
    names = {str(folder) for folder in folders if folder.parts[:-1] != ("panoptic_ros", "methods")}
    assert names | {"training/recipes"} == folders_on_page()


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_links_lead_somewhere(page: Path) -> None:
    for link in re.findall(r"\]\(([^)#]*)(?:#[^)]*)?\)", page.read_text()):
        assert link.startswith("http") or (page.parent / link).exists(), link


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_anchors_are_headings(page: Path) -> None:
    for link, anchor in re.findall(r"\]\(([^)#]*)#([^)]*)\)", page.read_text()):
        headings = re.findall(r"^#+ (.*)$", ((page.parent / link) if link else page).read_text(), re.MULTILINE)
        assert anchor in {re.sub(r"[^\w -]", "", heading).lower().replace(" ", "-") for heading in headings}, anchor


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_files_that_are_named_are_there(page: Path) -> None:
    of_example = {"center_offset"}
    for file in re.findall(r"(?:panoptic_ros|training|test|config|docs|scripts|launch|benchmarks)/[\w./]+\.[a-z]+\b",
                           page.read_text()):
        if not of_example & set(re.split(r"[/.]", file)):
            assert (ROOT / file).exists() or (page.parent / file).exists(), file


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_commands_that_are_named_are_there(page: Path) -> None:
    text = page.read_text()
    assert set(re.findall(r"panoptic-ros ([a-z]+)", text)) <= COMMANDS.keys()
    for module in re.findall(r"python -m ((?:training|benchmarks)[\w.]*)", text):
        place = ROOT / module.replace(".", "/")
        if not module.endswith(".NAME"):
            assert place.with_suffix(".py").is_file() or (place / "__main__.py").is_file(), module
