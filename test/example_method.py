"""The method of docs/add_a_method.md, taken from the page: for tests, in process and in a node.

As a script it is the node with this method: `python example_method.py --ros-args ...`.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

from panoptic_ros import methods
from training import objectives

NAME = "center_offset"
PAGE = Path(__file__).parents[1] / "docs" / "add_a_method.md"
METHOD, OBJECTIVE = f"panoptic_ros/methods/{NAME}.py", f"training/objectives/{NAME}.py"
_HEADING = re.compile(r"#+ `([\w./]+)`$")


def files_of_page() -> dict[str, str]:
    """What the page's blocks of code are by the file in the heading above them.

    Every line stands where it does on the page, and all others are empty: so errors point into the page.
    """
    lines = PAGE.read_text().splitlines()
    files: dict[str, list[str]] = {}
    file, inside = "", False
    for number, line in enumerate(lines):
        if line.startswith("```"):
            inside = not inside
        elif inside:
            files.setdefault(file, [""] * len(lines))[number] = line
        elif line.startswith("#"):
            heading = _HEADING.match(line)
            file = heading[1] if heading else ""
    return {file: "\n".join(lines).rstrip() + "\n" for file, lines in files.items()}


def add_example_method(set_item: Callable[[Any, str, Any], None]) -> Any:
    """Enter the method in both tables, as the page says; returns small hyper-parameters of it, as the page has them.

    set_item: of pytest's monkeypatch, or `dict.__setitem__`.
    """
    files = files_of_page()
    method = _module(files, METHOD, set_item)
    set_item(methods.METHODS, NAME, _entry(files["panoptic_ros/methods/__init__.py"], {**vars(methods), NAME: method}))
    objective = _module(files, OBJECTIVE, set_item)
    set_item(objectives.OBJECTIVES, NAME, _entry(files["training/objectives/__init__.py"], vars(objective)))
    return _entry(files["test/methods/conftest.py"], {NAME: method})


def _module(files: dict[str, str], file: str, set_item: Callable[[Any, str, Any], None]) -> ModuleType:
    module = ModuleType(file.removesuffix(".py").replace("/", "."))
    module.__package__ = module.__name__.rpartition(".")[0]  # of relative imports
    set_item(sys.modules, module.__name__, module)
    exec(compile(files[file], str(PAGE), "exec"), vars(module))
    return module


def _entry(lines: str, names: dict[str, Any]) -> Any:
    """The value of the lines that the page adds to a table."""
    return eval(f"{{{lines}}}", dict(names))[NAME]


if __name__ == "__main__":
    from panoptic_ros.ros.node import main

    add_example_method(dict.__setitem__)
    sys.exit(main())
