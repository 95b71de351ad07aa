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
        0.31, 0.01, 2.0, "appearance noise: sigma of an object's embedding from frame to frame (Eq. 7); larger trusts "
        "appearance less")
    embedding_noise_size: float = setting(
        0.05, 0.0, 1.0, "appearance noise of small objects: side of a box, image heights, of which the variance of the "
        "embedding is twice that of a large one, and four times as much more at half of it; smaller ones are not "
        "re-identified by appearance alone")
    embedding_drift_time: float = setting(
        18.0, 0.01, 60.0, "appearance drift: seconds out of sight after which the variance of the embedding is twice "
        "as large")
    sigma_iou: float = setting(
        1.0, 0.01, 2.0, "mask IoU noise: sigma of 1 - IoU between predicted mask and segment; larger trusts IoU less")
    sigma_position: float = setting(
        0.06, 0.005, 1.0, "position noise: sigma of an object's centre around its predicted box, image heights")
    sigma_position_relative: float = setting(
        0.7, 0.0, 2.0, "position noise relative to the box: sigma in widths and heights of the object; one that is "
        "partly occluded jumps")
    sigma_velocity_x: float = setting(
        0.28, 0.0, 5.0, "horizontal velocity noise: growth of the position's sigma with the time since the track was "
        "seen, image heights per second")
    sigma_velocity_y: float = setting(
        0.04, 0.0, 5.0, "vertical velocity noise: the same for y; a camera on a vehicle yaws, but hardly pitches")
    sigma_size: float = setting(
        0.7, 0.05, 5.0, "size noise: sigma of the logarithm of a box's width and height around the predicted ones")
    sigma_size_rate: float = setting(
        0.3, 0.0, 5.0, "size rate noise: growth of that sigma with the time since the track was seen, per second")
    min_affinity: float = setting(
        0.006, 1e-6, 1.0, "match threshold: a segment and a track with a lower affinity are never matched")
    class_mismatch_factor: float = setting(
        0.03, 0.0, 1.0, "class mismatch penalty: factor on the affinity when the class differs; 0 = never matched")
    high_score_threshold: float = setting(
        0.4, 0.0, 1.0, "high-score threshold (ByteTrack's track_high_thresh): such segments are matched first "
        "and start confirmed tracks; one with a lower score does not bring a lost track back")
    min_hits: int = setting(
        2, 1, 100, "min_hits (SORT) or n_init (DeepSORT): frames in a row in which a track that began with a "
        "lower score must be seen to be confirmed and get an id")
    lost_half_life: float = setting(
        0.2, 0.01, 60.0, "affinity decay of lost tracks: seconds out of sight after which it is a half; after twice as "
        "long a third, then a quarter ..")
    max_lost: float = setting(
        10.0, 0.0, 60.0, "lost-track buffer (ByteTrack's track_buffer, SORT's max_age), seconds: a track that is lost "
        "for longer is deleted")
    reid_false_match_rate: float = setting(
        0.01, 0.0, 0.5, "re-identification by appearance alone: a new object gets the id of a lost track of its class "
        "that it is closer to in appearance than this share of the pairs of different objects are; 0 = off")
    embedding_ema_weight: float = setting(
        0.35, 0.0, 1.0, "EMA weight of the newest embedding in a track's appearance")
    velocity_ema_weight: float = setting(
        0.2, 0.0, 1.0, "EMA weight of the newest displacement over 0.1 s in a track's velocity; one over a longer time "
        "weighs more; 0 = no motion model")
    camera_motion_compensation: bool = field(default=True, metadata={
        "description": "camera-motion compensation: estimate the camera's yaw from all objects and shift the predicted "
                       "boxes by it"})

    cross_camera_reid_distance: float = setting(
        0.0, 0.0, 2.0, "cross-camera re-identification: largest cosine distance of embeddings, without what "
        "their class has in common (different objects: about 1), at which a new object gets the id of one that another "
        "camera sees now; not before 100 things were seen; 0 = off")
    temporal_smoothing: bool = field(default=False, metadata={
        "description": "temporal smoothing of the segmentation: a tracked object has the class of most of its past, a "
                       "new one with a low score is held back for a frame, one that is missed for up to 0.35 s is "
                       "shown at its predicted box, and stuff that is lost for one frame is kept"})

    def __post_init__(self) -> None:
        check_ranges(self)
