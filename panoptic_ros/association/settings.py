"""The settings of the tracker, each with its range and its meaning."""

from __future__ import annotations

from dataclasses import dataclass

from panoptic_ros.settings import check_ranges, setting


@dataclass(frozen=True)
class TrackerSettings:
    """How segments are matched with tracks, and how long tracks live.

    Lengths are in image heights, times in seconds. Raises InputError for a value outside its range.
    """

    sigma_embedding: float = setting(
        0.12, 0.01, 2.0, "spread of an object's embedding from frame to frame, sigma of Eq. 7; larger trusts it less")
    sigma_overlap: float = setting(
        0.5, 0.01, 2.0, "the same for 1 - IoU of the boxes, which stands in where a method has no embedding")
    sigma_position: float = setting(
        0.06, 0.005, 1.0, "how far an object may be from where its track predicts it, image heights")
    sigma_speed: float = setting(
        0.5, 0.0, 5.0, "how much that grows with the time since the track was seen, image heights per second")
    sigma_size: float = setting(
        0.8, 0.05, 5.0, "how much the logarithm of a box's width and height may differ from the track's")
    min_affinity: float = setting(
        0.001, 1e-6, 1.0, "a segment and a track with less affinity than this are not the same object")
    class_change: float = setting(
        0.1, 0.0, 1.0, "factor on the affinity when the class differs; 0 = an object never changes its class")
    birth_score: float = setting(
        0.5, 0.0, 1.0, "a new object with this score has its id at once, others when seen often enough")
    confirm_hits: int = setting(
        3, 1, 100, "frames in a row in which a new object with a lower score must be seen to get an id")
    max_lost: float = setting(
        2.0, 0.0, 60.0, "seconds after which a track that is not seen is given up")
    embedding_weight: float = setting(
        0.2, 0.0, 1.0, "weight of the newest embedding in a track's running mean")
    velocity_weight: float = setting(
        0.5, 0.0, 1.0, "weight of the newest displacement in a track's velocity; 0 = no motion is predicted")

    def __post_init__(self) -> None:
        check_ranges(self)
