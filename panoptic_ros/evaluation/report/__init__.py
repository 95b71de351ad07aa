"""The report of an evaluation: report.html, one file that opens offline."""

from panoptic_ros.evaluation.report.page import render
from panoptic_ros.evaluation.report.report import Report

__all__ = ["Report", "render"]
