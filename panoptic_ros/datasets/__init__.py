"""Datasets: images with ground truth from disk, from a bag or rendered."""

from __future__ import annotations

from panoptic_ros.datasets.dataset import Dataset, Entry, Truth
from panoptic_ros.datasets.open import open_dataset

__all__ = ["Dataset", "Entry", "Truth", "open_dataset"]
