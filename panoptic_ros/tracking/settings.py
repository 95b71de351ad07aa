"""The settings of the tracker, each with its range and its meaning."""

from __future__ import annotations

from dataclasses import dataclass, field

from panoptic_ros.settings import check_ranges, setting


@dataclass(frozen=True)
class TrackerSettings:
    """How segments are matched with tracks, and how long tracks live.

    Lengths are in image heights, times in seconds. Raises InputError for a value outside its range.
    """

    sigma_embedding: float = setting(
        0.17, 0.01, 2.0, "spread of an object's embedding from frame to frame, sigma of Eq. 7; larger trusts it less")
    embedding_memory: float = setting(
        1.8, 0.01, 60.0, "seconds out of sight after which the square of that spread is twice as large")
    sigma_overlap: float = setting(
        0.5, 0.01, 2.0, "the same for 1 - IoU of the masks of what was in sight just now")
    sigma_position: float = setting(
        0.017, 0.005, 1.0, "how far an object may be from where its track predicts it, image heights")
    sigma_extent: float = setting(
        0.5, 0.0, 2.0, "the same in widths and heights of the object: one that is partly hidden jumps")
    sigma_speed: float = setting(
        0.2, 0.0, 5.0, "how much that grows sideways with the time since the track was seen, image heights per second")
    sigma_climb: float = setting(
        0.04, 0.0, 5.0, "how much it grows up and down: a camera on a vehicle turns, but hardly nods")
    sigma_size: float = setting(
        0.9, 0.05, 5.0, "how much the logarithm of a box's width and height may differ from the track's")
    sigma_growth: float = setting(
        0.38, 0.0, 5.0, "how much that grows with the time since the track was seen, per second")
    min_affinity: float = setting(
        0.0006, 1e-6, 1.0, "a segment and a track with less affinity than this are not the same object")
    class_change: float = setting(
        0.05, 0.0, 1.0, "factor on the affinity when the class differs; 0 = an object never changes its class")
    birth_score: float = setting(
        0.7, 0.0, 1.0, "a new object with this score has its id at once, others when seen often enough; a segment with "
        "a lower score does not bring a lost track back")
    confirm_hits: int = setting(
        2, 1, 100, "frames in a row in which a new object with a lower score must be seen to get an id")
    patience: float = setting(
        0.5, 0.01, 60.0, "seconds out of sight after which the affinity of a track is half, then a third, a quarter ..")
    max_lost: float = setting(
        3.0, 0.0, 60.0, "seconds after which a track that is not seen is given up")
    embedding_weight: float = setting(
        0.3, 0.0, 1.0, "weight of the newest embedding in a track's running mean")
    velocity_weight: float = setting(
        0.2, 0.0, 1.0, "weight of a displacement over 0.1 s in a track's velocity, one over a longer time weighs more; "
        "0 = no motion is predicted")
    follow_camera: bool = field(default=True, metadata={
        "description": "estimate the camera's turn from all objects and look for each of them accordingly"})

    across_cameras: float = setting(
        0.0, 0.0, 2.0, "largest cosine distance at which a new object is taken for one that another camera sees now, "
        "and gets its id; 0 = every camera has its own")
    stabilise: bool = field(default=False, metadata={
        "description": "a followed object has the class that most of its past says, a doubtful one that is new is held "
                       "back for a frame, what is missed for up to 0.35 s is shown where it is expected, and a surface "
                       "that is lost for one frame is kept"})

    def __post_init__(self) -> None:
        check_ranges(self)
