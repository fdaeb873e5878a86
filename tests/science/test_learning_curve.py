"""Power laws with noise."""

from __future__ import annotations

import numpy as np
import pytest

from lamflow.science.learning_curve import expected_gain


def test_a_power_law_is_continued() -> None:
    frames = np.array([20.0, 40.0, 60.0, 80.0, 100.0])
    gain = expected_gain(frames, 2.0 * frames**-0.5, 30)
    assert gain is not None
    assert gain.expected == pytest.approx(2.0 * (100**-0.5 - 130**-0.5))
    assert 0 < gain.uncertainty < gain.expected


def test_the_uncertainty_is_that_of_the_noise() -> None:
    rng, frames, off = np.random.default_rng(0), np.linspace(20, 100, 8), []
    for _ in range(300):
        gain = expected_gain(frames, frames**-0.4 * np.exp(rng.normal(0, 0.05, 8)), 40)
        assert gain is not None
        off.append((gain.expected - (100**-0.4 - 140**-0.4)) / gain.uncertainty)
    assert np.std(off) == pytest.approx(1.2, abs=0.35)
    assert abs(np.mean(off)) < 0.2


@pytest.mark.parametrize(
    ("frames", "error"),
    [([10.0, 20.0], [1.0, 0.5]), ([10.0, 10.0, 10.0], [1.0, 1.0, 1.0]), ([10.0, 20.0, 30.0], [np.nan, 1.0, 0.5])],
)
def test_too_little_is_known(frames: list[float], error: list[float]) -> None:
    assert expected_gain(np.array(frames), np.array(error), 10) is None
