"""What the benchmarks compute and write beside timing things."""

from __future__ import annotations

import json
from pathlib import Path
from xml.etree import ElementTree

import pytest
import torch

from benchmarks.gpu_check import Report, machine
from benchmarks.growth import exponent
from benchmarks.peers import OBJECTS, query_outputs
from benchmarks.plots import line_plot


def test_the_exponent_is_that_of_the_power_law_and_leaves_out_what_is_not_above_zero() -> None:
    assert exponent([0, 1, 2, 4], [9, 3, 12, 48]) == pytest.approx(2)
    assert exponent([1, 10, 100], [5, 5, 5]) == pytest.approx(0, abs=1e-9)


def test_a_line_plot_has_a_line_for_each_name_with_all_of_its_points(tmp_path: Path) -> None:
    line_plot(tmp_path / "plot.svg", "a < b", [0, 10, 20], {"one": [1, 2, 4], "two & more": [0, 0, 1]}, "count", "ms")
    lines = ElementTree.parse(tmp_path / "plot.svg").getroot().findall("{*}polyline")
    assert [len(line.get("points", "").split()) for line in lines] == [3, 3]
    # The largest value is at the top, twice the second largest's height.
    heights = [float(point.split(",")[1]) for point in lines[0].get("points", "").split()]
    assert heights[2] < heights[1] < heights[0]


def test_a_section_that_fails_or_has_no_time_left_says_so_and_the_others_are_written(tmp_path: Path) -> None:
    report = Report(tmp_path / "new" / "check.json", 1000)
    report.add("good", lambda: {"ms": 1.5}, 0)
    report.add("broken", lambda: 1 / 0, 0)
    report.add("long", lambda: pytest.fail("was run"), 2000)
    content = json.loads((tmp_path / "new" / "check.json").read_text())
    assert content["good"] == {"ms": 1.5}
    assert content["broken"] == {"failed": "ZeroDivisionError: division by zero"}
    assert "no time was left" in content["long"]["skipped"]


def test_the_check_says_whether_there_is_a_gpu() -> None:
    found = machine()
    assert (found["cuda"] is None) == (not torch.cuda.is_available()) == ("no_cuda" in found)
    assert set(found["engines"]) == {"openvino", "torch", "onnxruntime", "tensorrt"}


def test_made_up_outputs_of_a_mask_transformer_have_so_many_sure_queries_with_a_mask_each() -> None:
    outputs = query_outputs(100, 128, 256)
    sure = outputs.class_queries_logits.softmax(2)[0, :, :-1].amax(1) > 0.8
    assert int(sure.sum()) == OBJECTS
    masks = outputs.masks_queries_logits[0, sure] > 0
    assert masks.flatten(1).any(1).all()
    assert int(masks.sum(0).max()) == 1
