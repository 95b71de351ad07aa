"""Truth on disk: what a person or a renderer says is in each pixel."""

from __future__ import annotations

from panoptic_ros.datasets.dataset import Dataset, Entry, Truth
from panoptic_ros.datasets.open import open_dataset

__all__ = ["Dataset", "Entry", "Truth", "open_dataset"]
