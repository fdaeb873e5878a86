"""From scores to errors, on worlds whose truth is known."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lamflow.data.frames import Floats
from lamflow.science.error_map import ErrorMap, KnownErrors, needed, rank_correlation


def world(frames: int, round: int, drift: float, rng: np.random.Generator) -> KnownErrors:
    """Scores whose errors are three times as large, give or take a factor, and change by `drift` from round to round."""
    score = np.exp(rng.normal(-2, 0.7, frames))
    error = 3 * drift**round * score * np.exp(rng.normal(0, 0.5, frames))
    return KnownErrors(score, error, np.full(frames, round))


def joined(rounds: list[KnownErrors]) -> KnownErrors:
    return KnownErrors(
        *(np.concatenate([getattr(part, name) for part in rounds]) for name in ("score", "error", "round"))
    )


@pytest.mark.parametrize(("drift", "slack"), [(1.0, 0.01), (0.9, 0.01), (1.1, 0.03)])
def test_the_stated_risk_is_found_whatever_the_drift(drift: float, slack: float) -> None:
    rng, missed, predicted, true = np.random.default_rng(1), [], [], []
    for _ in range(40):
        error_map = ErrorMap.fitted(joined([world(30, number, drift, rng) for number in range(5)]), half_life=80)
        today = world(500, 5, drift, rng)
        missed.append((today.error > error_map.bound(today.score, 0.05)).mean())
        predicted.append(error_map.exceeds(today.score, 0.5).mean())
        true.append((today.error > 0.5).mean())
    assert 0.02 < np.mean(missed) < 0.05 + slack
    assert np.mean(predicted) == pytest.approx(np.mean(true), abs=0.06)


def test_frames_below_the_level_keep_the_promise() -> None:
    rng = np.random.default_rng(2)
    error_map = ErrorMap.fitted(joined([world(60, number, 1.0, rng) for number in range(3)]), half_life=80)
    today = world(20_000, 3, 1.0, rng)
    accurate = today.score < error_map.level(0.5, 0.05)
    assert accurate.mean() > 0.1
    assert (today.error[accurate] > 0.5).mean() < 0.05


@given(st.lists(st.floats(1e-4, 1e2), min_size=10, max_size=60), st.integers(0, 2**31), st.floats(0.01, 0.5))
@settings(max_examples=50)
def test_a_map_never_falls_and_its_level_is_its_inverse(scores: list[float], seed: int, risk: float) -> None:
    rng = np.random.default_rng(seed)
    score = np.array(scores)
    known = KnownErrors(score, np.exp(rng.normal(size=len(score))), np.sort(rng.integers(0, 4, len(score))))
    error_map = ErrorMap.fitted(known, half_life=40)
    grid: Floats = np.geomspace(1e-5, 1e3, 300)
    assert (np.diff(error_map.expected(grid)) >= -1e-12).all()
    assert (np.diff(error_map.exceeds(grid, 0.3)) >= -1e-12).all()
    level = error_map.level(0.3, risk)
    below = grid[grid < level * (1 - 1e-9)]
    assert (error_map.bound(below, risk) <= 0.3 * (1 + 1e-9)).all()
    assert (error_map.exceeds(below, 0.3) <= risk + 1e-9).all()


def test_too_few_frames_promise_nothing() -> None:
    rng = np.random.default_rng(3)
    error_map = ErrorMap.fitted(world(18, 0, 1.0, rng), half_life=80)
    assert np.isinf(error_map.bound(np.array([0.1]), 0.05)).all()
    assert error_map.level(0.5, 0.05) == 0
    assert needed(0.05) == 19
    assert np.isfinite(ErrorMap.fitted(world(19, 0, 1.0, rng), half_life=80).bound(np.array([0.1]), 0.05)).all()


def test_scores_that_say_nothing_stand_for_one_error() -> None:
    rng = np.random.default_rng(4)
    known = KnownErrors(np.full(40, 0.1), np.exp(rng.normal(size=40)), np.zeros(40, dtype=np.int64))
    assert np.isnan(rank_correlation(known, 40))
    flat = ErrorMap.fitted(known, half_life=80, flat=True)
    assert flat.level(1e-6, 0.05) == 0
    assert np.isinf(flat.level(1e6, 0.05))
    assert flat.exceeds(np.array([np.nan, 0.1]), 1e6).tolist() == [1.0, pytest.approx(1 / 41)]
