"""The table of metrics: numbers are found in results, named, and formatted by their unit."""

from panoptic_ros.evaluation.metrics import METRICS, find_metric

RESULT = {"panoptic": {"all": {"pq": 0.5}, "classes": {"a.b": {"pq": 0.25, "tp": 3}}}, "iou": {"a.b": 0.75}, "miou": 1,
          "depth": {"rmse": 4.256}, "mots": None}


def test_a_metric_finds_its_number_where_a_result_has_it():
    assert METRICS["panoptic.all.pq"].value(RESULT) == 0.5
    assert METRICS["miou"].value(RESULT) == 1
    assert METRICS["panoptic.classes.*.pq"].value(RESULT, "a.b") == 0.25
    assert METRICS["iou.*"].value(RESULT, "a.b") == 0.75
    for key in ("panoptic.all.sq", "panoptic.stuff.pq", "mots.hota", "flicker"):
        assert METRICS[key].value(RESULT) is None
    assert METRICS["iou.*"].value(RESULT, "c") is None


def test_a_key_names_a_metric_and_a_class():
    assert find_metric("mots.id_switches") == (METRICS["mots.id_switches"], None)
    assert find_metric("panoptic.classes.a.b.pq") == (METRICS["panoptic.classes.*.pq"], "a.b")
    assert find_metric("iou.car") == (METRICS["iou.*"], "car")
    unknown, class_name = find_metric("panoptic.all.new")
    assert (unknown.label, unknown.unit, unknown.better, class_name) == ("panoptic.all.new", "%", "higher", None)


def test_fractions_are_shown_in_per_cent_and_metres_and_counts_as_they_are():
    assert METRICS["miou"].format(0.4567) == "45.7"
    assert METRICS["depth.rmse"].format(4.256) == "4.26"
    assert METRICS["mots.id_switches"].format(3.0) == "3"
    assert METRICS["miou"].format(None) == "-"
