"""The wheel and the sdist have all that a user needs, and the wheel works where no checkout is."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from pathlib import Path

import pytest

setuptools = pytest.importorskip("setuptools", "77", reason="pyproject.toml asks for setuptools 77")

pytestmark = pytest.mark.timeout(600)  # it installs, and trains

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = ("benchmarks", "config", "docs", "launch", "msg", "panoptic_ros", "scripts", "test", "training")
# A training of seconds by a recipe that is made for hours.
TINY = ("--data.train", "city:1000000x2/12@64x128", "--data.validation", "", "--input_size", "[64, 128]",
        "--augmentation.crop", "[64, 96]", "--hyperparameters.backbone", "test_efficientnet", "--steps", "1",
        "--batch_size", "2", "--precision", "32-true", "--workers", "0", "--accelerator", "cpu")


def run(*command: str | Path, folder: Path) -> str:
    """What a command prints that sees neither this checkout nor what is in PYTHONPATH."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(command, cwd=folder, env=environment, text=True, capture_output=True, timeout=500)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def files_of_checkout(folder: str) -> set[str]:
    return {str(file.relative_to(ROOT)) for file in (ROOT / folder).rglob("*")
            if file.is_file() and "__pycache__" not in file.parts}


@pytest.fixture(scope="module")
def distributions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the sdist of a copy of this checkout, and the wheel that is built from the sdist."""
    sources, out = tmp_path_factory.mktemp("sources"), tmp_path_factory.mktemp("distributions")
    for file in ROOT.iterdir():
        if file.is_file():
            shutil.copy(file, sources)
    for name in FOLDERS:
        shutil.copytree(ROOT / name, sources / name, ignore=shutil.ignore_patterns("__pycache__"))
    program = "import sys; from setuptools import build_meta; build_meta.build_{}(sys.argv[1])"
    run(sys.executable, "-c", program.format("sdist"), out, folder=sources)
    (sdist,) = out.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        archive.extractall(out, filter="data")
    run(sys.executable, "-c", program.format("wheel"), out, folder=out / sdist.name.removesuffix(".tar.gz"))
    return out


@pytest.fixture(scope="module")
def installed(distributions: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Python of a virtual environment with the wheel, and behind it what is installed here."""
    folder = tmp_path_factory.mktemp("venv")
    run(sys.executable, "-m", "venv", "--without-pip", folder, folder=folder)
    python = folder / "bin" / "python"
    site = Path(run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", folder=folder).strip())
    (site / "behind.pth").write_text(f"{sysconfig.get_path('purelib')}\n")
    (wheel,) = distributions.glob("*.whl")
    run(python, "-m", "pip", "install", "--quiet", "--no-index", "--no-deps", "--ignore-installed",
        "--disable-pip-version-check", wheel, folder=folder)
    return python


def test_the_wheel_has_the_modules_recipes_models_and_nothing_else_of_the_checkout(distributions: Path) -> None:
    (wheel,) = distributions.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
    share = set().union(*map(files_of_checkout, ("config", "launch", "msg")))
    assert names == (files_of_checkout("panoptic_ros") | {f"panoptic_ros/share/{file}" for file in share}
                     | {f"panoptic_ros/{file}" for file in files_of_checkout("training")})


def test_the_sdist_can_be_built_by_colcon_and_tested(distributions: Path) -> None:
    (sdist,) = distributions.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert {"package.xml", "CMakeLists.txt", "CHANGELOG.rst", "README.md", "LICENSE", "requirements.lock"} <= names
    assert set().union(*map(files_of_checkout, FOLDERS)) <= names


def test_no_module_of_training_says_where_it_is_installed() -> None:
    absolute = [str(file) for file in (ROOT / "training").rglob("*.py")
                if any(line.lstrip().startswith(("from training", "import training")) for line in file.open())]
    assert absolute == [], "import them relatively: in a wheel they are `panoptic_ros.training`"


def test_an_install_has_no_package_of_the_name_training(installed: Path, tmp_path: Path) -> None:
    found = run(installed, "-c", "from importlib.util import find_spec; import panoptic_ros.training as inside; "
                "print(find_spec('training'), inside.__file__)", folder=tmp_path)
    assert found.startswith("None ")
    assert str(installed.parents[1]) in found


def test_an_installed_recipe_trains_a_model_that_the_installed_command_uses(installed: Path, tmp_path: Path) -> None:
    run(installed, "-m", "panoptic_ros.training.train", "--config", "hle/camvid", "--out", "run", *TINY,
        folder=tmp_path)
    command = installed.parent / "panoptic-ros"
    run(command, "city", "--seed", "3", "--frames", "2", "--size", "64x128", "--out", "city", folder=tmp_path)
    run(command, "replay", "city/images", "--model", "run/model", "--out", "out", "--engine", "torch", folder=tmp_path)
    assert (tmp_path / "out" / "result.mcap").is_file()
