"""Class tables: the names, colours and kinds of the classes of a dataset, read from config/datasets."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from panoptic_ros.errors import InputError
from panoptic_ros.paths import shared_folder

VOID = 255  # in class maps: the class of the pixel is unknown, and nothing is judged or learned there


@dataclass(frozen=True)
class ClassTable:
    """The classes of a dataset; a class id is an index into these tuples.

    names: one per class.
    is_thing: whether its objects are counted one by one.
    colors: (red, green, blue), 0-255, one per class.
    includes: for each class the names that other tables have for it or for parts of it: (car, truck) for a class car.
    """

    name: str
    names: tuple[str, ...]
    is_thing: tuple[bool, ...]
    colors: tuple[tuple[int, int, int], ...]
    includes: tuple[tuple[str, ...], ...] = ()

    def __post_init__(self) -> None:
        if not self.includes:
            object.__setattr__(self, "includes", ((),) * len(self.names))
        if not self.names or not len(self.names) == len(self.is_thing) == len(self.colors) == len(self.includes):
            raise InputError(f"class table '{self.name}': needs a name, a kind and a colour for each of its classes")
        if len(self.names) > VOID:
            raise InputError(f"class table '{self.name}': {len(self.names)} classes, at most {VOID} fit ({VOID} is "
                             "void)")
        if len(set(self.names)) != len(self.names):
            raise InputError(f"class table '{self.name}': a class name is there twice")

    def __len__(self) -> int:
        return len(self.names)

    @cached_property
    def thing_mask(self) -> np.ndarray:
        """(C,) bool."""
        return np.array(self.is_thing)

    @cached_property
    def color_array(self) -> np.ndarray:
        """(C, 3) uint8, red, green, blue."""
        return np.array(self.colors, np.uint8)

    def to_dict(self) -> dict[str, Any]:
        """The form in which `from_dict` and the YAML files have it."""
        rows = zip(self.names, self.is_thing, self.colors, self.includes, strict=True)
        return {"name": self.name,
                "classes": [{"name": n, "thing": bool(t), "color": list(c), **({"includes": list(i)} if i else {})}
                            for n, t, c, i in rows]}

    @staticmethod
    def from_dict(table: dict[str, Any]) -> ClassTable:
        """Raises InputError where an entry is missing or of the wrong type."""
        try:
            rows = table["classes"]
            return ClassTable(str(table["name"]), tuple(str(r["name"]) for r in rows),
                              tuple(bool(r["thing"]) for r in rows),
                              tuple((int(r["color"][0]), int(r["color"][1]), int(r["color"][2])) for r in rows),
                              tuple(tuple(str(name) for name in r.get("includes", ())) for r in rows))
        except (KeyError, TypeError, IndexError, ValueError) as error:
            if isinstance(error, InputError):
                raise
            raise InputError("a class table needs 'name' and 'classes', each with name, thing and color "
                             f"[r, g, b]; this one has a fault at: {error}") from error


def class_mapping(table: ClassTable, other: ClassTable) -> np.ndarray:
    """The class id in `other` of each class of `table`, (C,) int32; -1 (`labels.NO_CLASS`) where it has none.

    A class is mapped to the class of its name, else to the one that includes its name.
    Raises InputError when the tables have nothing in common.
    """
    by_name = {part: k for k, parts in enumerate(other.includes) for part in parts}
    by_name.update({name: k for k, name in enumerate(other.names)})
    result = np.array([by_name.get(name, -1) for name in table.names], np.int32)
    if (result < 0).all():
        raise InputError(f"the class tables '{table.name}' and '{other.name}' have no class in common: compare like "
                         f"with like, or say in '{other.name}' what its classes include")
    return result


def load_class_table(name_or_path: str | Path) -> ClassTable:
    """A table by the name of a file in config/datasets (`cityscapes`) or by the path of a YAML file."""
    path = Path(name_or_path)
    if path.suffix not in (".yaml", ".yml"):
        path = shared_folder("config") / "datasets" / f"{name_or_path}.yaml"
    if not path.is_file():
        known = ", ".join(sorted(p.stem for p in path.parent.glob("*.yaml"))) or "none"
        raise InputError(f"no class table {path}; there are: {known}")
    return ClassTable.from_dict(yaml.safe_load(path.read_text()))
