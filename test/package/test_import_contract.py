"""The rules of the house are kept, and the contract notices when they are not."""

from __future__ import annotations

import runpy
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

if sys.version_info >= (3, 11):
    import tomllib
else:
    tomllib = pytest.importorskip("tomli")

pytest.importorskip("importlinter", reason="import-linter is not installed: pip install '.[dev]'")

ROOT = Path(__file__).resolve().parents[2]


def lint_imports(folder: Path) -> subprocess.CompletedProcess[str]:
    program = "import sys; sys.path.insert(0, ''); from importlinter.cli import lint_imports_command as lint; lint()"
    return subprocess.run([sys.executable, "-c", program, "--no-cache", "--no-logo"], cwd=folder, text=True,
                          capture_output=True, timeout=120)


@pytest.fixture
def copied_sources(tmp_path: Path) -> Path:
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    for package in ("panoptic_ros", "training"):
        shutil.copytree(ROOT / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__"))
    return tmp_path


def test_the_sources_keep_the_rules() -> None:
    report = lint_imports(ROOT)
    assert report.returncode == 0, report.stdout + report.stderr


@pytest.mark.parametrize(("module", "line", "rule"), [
    ("panoptic_ros/frame.py", "import rclpy", "Only panoptic_ros.ros imports rclpy or ROS messages"),
    ("panoptic_ros/bags/__init__.py", "from sensor_msgs.msg import Image",
     "Only panoptic_ros.ros imports rclpy or ROS messages"),
    ("training/train.py", "import std_msgs.msg", "Only panoptic_ros.ros imports rclpy or ROS messages"),
    ("panoptic_ros/networks/__init__.py", "from panoptic_ros.errors import InputError; import pathlib",
     "Methods, networks and decoding know tensors alone"),
    ("panoptic_ros/methods/hle/__init__.py", "import panoptic_ros.engines",
     "Methods, networks and decoding know tensors alone"),
    ("panoptic_ros/decoding/__init__.py", "from training import losses",
     "Methods, networks and decoding know tensors alone"),
    ("panoptic_ros/methods/sixth.py", "import panoptic_ros.methods.hle", "No method imports another method"),
    ("panoptic_ros/perception.py", "import training.train", "panoptic_ros never imports training"),
    ("panoptic_ros/evaluation/report/report.py", "import panoptic_ros.evaluation.report.page", "No two modules"),
    ("panoptic_ros/bags/recording.py", "import panoptic_ros.replay.accounting", "No two modules"),
    ("training/reading.py", "import training.evaluate", "No two modules"),
    ("panoptic_ros/perception.py", "import panoptic_ros.synthetic_city", "Only the datasets and the city command"),
    ("training/train.py", "import panoptic_ros.synthetic_city.camera", "Only the datasets and the city command"),
    ("panoptic_ros/replay/in_process.py", "import panoptic_ros.commands.replay", "Only the command line"),
    ("training/evaluate.py", "import panoptic_ros.commands.evaluate", "Only the command line"),
])
def test_an_import_against_a_rule_is_found(copied_sources: Path, module: str, line: str, rule: str) -> None:
    with (copied_sources / module).open("a") as file:
        file.write(f"\n\ndef _against_the_rule():\n    {line}\n")
    report = lint_imports(copied_sources)
    assert report.returncode == 1, report.stdout + report.stderr
    broken = report.stdout.split("Broken contracts")[1]
    assert rule in " ".join(broken.split())


def test_the_method_of_the_documentation_keeps_the_rules(copied_sources: Path) -> None:
    page = runpy.run_path(str(ROOT / "test" / "example_method.py"))
    for file in (page["METHOD"], page["OBJECTIVE"]):
        (copied_sources / file).write_text(page["files_of_page"]()[file])
    report = lint_imports(copied_sources)
    assert report.returncode == 0, report.stdout + report.stderr


def test_ros_may_import_ros(copied_sources: Path) -> None:
    with (copied_sources / "panoptic_ros/ros/__init__.py").open("a") as file:
        file.write("\nimport nav_msgs.msg\nimport rclpy\n")
    report = lint_imports(copied_sources)
    assert report.returncode == 0, report.stdout + report.stderr


def test_methods_are_closed_to_every_other_part_of_the_package() -> None:
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    closed = next(c for c in contracts if c["name"].startswith("Methods, networks and decoding"))
    parts = {f"panoptic_ros.{path.stem}" for path in (ROOT / "panoptic_ros").iterdir()
             if path.suffix == ".py" or (path / "__init__.py").is_file()}
    open_to_methods = {"panoptic_ros.__init__", "panoptic_ros.errors", "panoptic_ros.settings"}
    assert parts - open_to_methods - set(closed["source_modules"]) <= set(closed["forbidden_modules"])


def test_generated_messages_are_imported_by_ros_alone() -> None:
    # The import linter does not see panoptic_ros.msg: it is made by the build, not a file of the sources.
    importers = [path.relative_to(ROOT) for package in ("panoptic_ros", "training")
                 for path in (ROOT / package).rglob("*.py") if "panoptic_ros.msg import" in path.read_text()]
    assert all(path.parts[:2] == ("panoptic_ros", "ros") for path in importers), importers
