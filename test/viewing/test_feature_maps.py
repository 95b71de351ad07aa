"""Pictures of a network's maps."""

from __future__ import annotations

import numpy as np

from panoptic_ros.viewing.feature_maps import feature_picture


def test_embeddings_that_lie_close_have_similar_colours() -> None:
    random = np.random.default_rng(0)
    centres = random.normal(size=(4, 12))
    which = np.repeat(np.arange(4), 64).reshape(16, 16)
    maps = (centres[which] + 0.01 * random.normal(size=(16, 16, 12))).transpose(2, 0, 1)
    picture = feature_picture(maps).astype(int)
    assert picture.shape == (16, 16, 3)
    colours = np.array([picture[which == k].mean(0) for k in range(4)])
    within = max(np.abs(picture[which == k] - colours[k]).max() for k in range(4))
    between = min(np.abs(colours[i] - colours[j]).max() for i in range(4) for j in range(i))
    assert within < 20 < 80 < between


def test_a_single_map_is_shown_by_its_brightness() -> None:
    picture = feature_picture(np.linspace(0, 1, 100).reshape(1, 10, 10))
    assert (picture[..., 0] == picture[..., 1]).all()
    assert (np.diff(picture[..., 0].ravel().astype(int)) >= 0).all()
    assert (picture[0, 0, 0], picture[-1, -1, 0]) == (0, 255)


def test_a_map_of_one_value_is_black() -> None:
    assert not feature_picture(np.full((1, 4, 4), 0.3)).any()
