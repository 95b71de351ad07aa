"""Class tables: which class of one is which of another."""

import pytest

from panoptic_ros.classes import ClassTable, class_mapping, load_class_table
from panoptic_ros.errors import InputError
from panoptic_ros.labels import NO_CLASS


def table(name, names, things, includes=()):
    return ClassTable(name, tuple(names), tuple(things), tuple((i, i, i) for i in range(len(names))), tuple(includes))


def test_a_class_is_mapped_by_its_name_or_by_what_the_other_includes():
    model = table("model", ["road", "truck", "car", "rail"], [False, True, True, False])
    truth = table("truth", ["car", "road"], [False, False], [("truck", "bus"), ()])

    assert class_mapping(model, truth).tolist() == [1, 0, 0, NO_CLASS]


def test_tables_without_a_common_class_are_refused():
    with pytest.raises(InputError, match="no class in common"):
        class_mapping(table("a", ["cat"], [True]), table("b", ["dog"], [True]))


def test_the_classes_of_cityscapes_include_those_of_mapillary_vistas() -> None:
    vistas, cityscapes = load_class_table("mapillary_vistas"), load_class_table("cityscapes")
    mapped = class_mapping(vistas, cityscapes).tolist()
    assert set(mapped) == {NO_CLASS, *range(19)}
    assert all(any(name in vistas.names for name in names) for names in cityscapes.includes)
    assert mapped[vistas.names.index("Motorcyclist")] == cityscapes.names.index("rider")
