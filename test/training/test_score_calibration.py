"""Calibrated scores: fitted on what was real, kept in model.yaml, and used by the model."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

from panoptic_ros.decoding.score_calibration import ScoreCalibration
from panoptic_ros.errors import InputError
from panoptic_ros.model import load_model, save_model
from panoptic_ros.perception import Perception
from training.score_calibration import fit_calibration


def test_between_knots_it_is_linear_and_outside_constant() -> None:
    calibration = ScoreCalibration((0.2, 0.4, 0.8), (0.1, 0.5, 0.9))
    scores = torch.tensor([0.0, 0.2, 0.3, 0.4, 0.5, 0.8, 1.0])
    np.testing.assert_allclose(calibration(scores), [0.1, 0.1, 0.3, 0.5, 0.6, 0.9, 0.9], rtol=1e-6)
    np.testing.assert_allclose(ScoreCalibration((0.5,), (0.7,))(scores), [0.7] * 7, rtol=1e-6)
    assert calibration(torch.zeros(0)).shape == (0,)
    assert ScoreCalibration.of(calibration.pairs()) == calibration


@pytest.mark.parametrize(("scores", "precisions"), [
    ((), ()), ((0.2, 0.1), (0.1, 0.2)), ((0.1, 0.2), (0.2, 0.1)), ((0.1, 0.1), (0.1, 0.2)), ((0.1,), (1.5,)),
    ((0.1,), (0.1, 0.2))])
def test_what_is_no_ascending_map_is_refused(scores: tuple[float, ...], precisions: tuple[float, ...]) -> None:
    with pytest.raises(InputError, match="ascending"):
        ScoreCalibration(scores, precisions)


def test_it_finds_the_probability_that_a_segment_is_real() -> None:
    rng = np.random.default_rng(0)
    score = rng.uniform(0.5, 1, 20000)
    calibration = fit_calibration(score, rng.uniform(size=len(score)) < (score - 0.5)**2 * 4)
    assert calibration is not None
    found = calibration(torch.tensor([0.6, 0.7, 0.8, 0.9]))
    np.testing.assert_allclose(found, [0.04, 0.16, 0.36, 0.64], atol=0.04)


def test_scores_that_say_nothing_have_one_precision_and_few_segments_none() -> None:
    calibration = fit_calibration(np.linspace(0, 1, 100), np.arange(100) % 2 == 0)
    assert calibration is not None
    np.testing.assert_allclose(calibration.precisions, 0.5, atol=0.01)
    assert fit_calibration(np.linspace(0, 1, 10), np.ones(10, bool)) is None


def test_a_calibrated_model_says_probabilities_for_things_and_is_saved_so(model_folder: Path, tmp_path: Path) -> None:
    image = np.random.default_rng(0).integers(0, 255, (64, 128, 3), np.uint8)
    plain = load_model(model_folder)
    save_model(dataclasses.replace(plain, calibration=ScoreCalibration((0.0, 1.0), (0.2, 0.4))), tmp_path / "model")
    before, after = (Perception(model, "torch", "cpu")(image).segments
                     for model in (plain, load_model(tmp_path / "model")))
    assert before.is_thing.any()
    assert not before.is_thing.all()
    expected = np.where(before.is_thing, 0.2 + 0.2 * before.score, before.score)
    np.testing.assert_allclose(after.score, expected, rtol=1e-3)


def test_a_calibration_that_is_none_is_named_with_its_file(model_folder: Path, tmp_path: Path) -> None:
    save_model(load_model(model_folder), tmp_path / "model")
    file = tmp_path / "model" / "model.yaml"
    file.write_text(file.read_text() + "score_calibration: [[0.5, 0.9], [0.4, 0.8]]\n")
    with pytest.raises(InputError, match="ascending"):
        load_model(tmp_path / "model")
