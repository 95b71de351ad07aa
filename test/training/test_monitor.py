"""What a training run tells while it runs."""

from __future__ import annotations

from pathlib import Path

import pytest

from training.monitor import Monitor


def test_a_validation_is_told_in_per_cent_and_depth_in_metres(
        tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    monitor = Monitor(tmp_path, 0, 10)
    monitor.scores(5, {"pq": 0.413, "depth_rmse": 25.896, "depth_abs_rel": 0.112})
    monitor.close()
    assert "step 5: pq 41.3, depth_rmse 25.90 m, depth_abs_rel 11.2\n" in capsys.readouterr().out
