"""`panoptic-ros` runs the sub-command it is given and turns what the user can solve into one line."""

from __future__ import annotations

import argparse
import errno
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

from panoptic_ros import __version__, cli
from panoptic_ros.errors import InputError

ROOT = Path(__file__).resolve().parents[2]
ENVIRONMENT = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}


Printed = pytest.CaptureFixture[str]
Install = Callable[[Callable[[argparse.Namespace], int]], None]


@pytest.fixture
def command_that(monkeypatch: pytest.MonkeyPatch) -> Install:
    """Gives `panoptic-ros try` the function that it runs."""
    def install(run: Callable[[argparse.Namespace], int]) -> None:
        module = ModuleType("command_of_the_test")
        module.add_arguments = lambda parser: parser.add_argument("--count", type=int, default=1)
        module.run = run
        monkeypatch.setitem(sys.modules, module.__name__, module)
        monkeypatch.setitem(cli.COMMANDS, "try", (module.__name__, "try something"))
    return install


def panoptic_ros(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "panoptic_ros.cli", *arguments], env=ENVIRONMENT, text=True,
                          capture_output=True, timeout=120)


def test_a_command_gets_its_arguments_and_gives_the_exit_status(command_that: Install) -> None:
    command_that(lambda args: args.count + 1)
    assert cli.main(["try", "--count", "6"]) == 7


def test_an_input_error_is_one_line_without_traceback_and_status_2(command_that: Install, capsys: Printed) -> None:
    def run(args: argparse.Namespace) -> int:
        raise InputError("no images in drive.mcap")
    command_that(run)
    assert cli.main(["try"]) == 2
    assert capsys.readouterr().err == "panoptic-ros: error: no images in drive.mcap\n"


def test_a_full_disk_is_the_users_to_solve(command_that: Install, capsys: Printed) -> None:
    def run(args: argparse.Namespace) -> int:
        raise OSError(errno.ENOSPC, "No space left on device", "out/overlay.mp4")
    command_that(run)
    assert cli.main(["try"]) == 2
    assert "No space left on device: out/overlay.mp4" in capsys.readouterr().err


def test_a_fault_of_the_program_keeps_its_traceback(command_that: Install) -> None:
    def run(args: argparse.Namespace) -> int:
        raise OSError(errno.EBADF, "Bad file descriptor")
    command_that(run)
    with pytest.raises(OSError, match="Bad file descriptor"):
        cli.main(["try"])


def test_an_interrupt_ends_with_status_130(command_that: Install) -> None:
    def run(args: argparse.Namespace) -> int:
        raise KeyboardInterrupt
    command_that(run)
    assert cli.main(["try"]) == 130


def test_a_reader_that_has_seen_enough_is_no_error() -> None:
    read_end, write_end = os.pipe()
    os.close(read_end)
    process = subprocess.run([sys.executable, "-m", "panoptic_ros.cli", "--help"],
                             env={**ENVIRONMENT, "PYTHONUNBUFFERED": ""},  # unbuffered, argparse itself is silent
                             stdout=write_end, stderr=subprocess.PIPE, text=True, timeout=120)
    os.close(write_end)
    assert process.stderr == ""
    assert process.returncode == 141


def test_the_help_lists_every_command_and_loads_none() -> None:
    program = ("import sys\nfrom panoptic_ros import cli\n"
               "try: cli.main(['--help'])\n"
               "except SystemExit: pass\n"
               "print(sorted({'torch', 'cv2', 'numpy', 'rosbags'} & set(sys.modules)))")
    process = subprocess.run([sys.executable, "-c", program], env=ENVIRONMENT, text=True, capture_output=True,
                             timeout=60, check=True)
    assert all(f"\n    {name} " in process.stdout for name in cli.COMMANDS)
    assert process.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize("command", sorted(cli.COMMANDS))
def test_every_command_explains_itself(command: str) -> None:
    process = panoptic_ros(command, "--help")
    assert process.returncode == 0, process.stderr
    assert process.stdout.startswith(f"usage: panoptic-ros {command}")


def test_an_unknown_command_names_those_there_are() -> None:
    process = panoptic_ros("relpay")
    assert process.returncode == 2
    assert "replay" in process.stderr
    assert "Traceback" not in process.stderr


def test_the_version_is_that_of_the_package_xml() -> None:
    assert panoptic_ros("--version").stdout == f"panoptic-ros {__version__}\n"
    assert f"<version>{__version__}</version>" in (ROOT / "package.xml").read_text()
