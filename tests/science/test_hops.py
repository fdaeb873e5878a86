"""How single ions move: walks, and ions that wait and jump."""

from __future__ import annotations

import numpy as np
import pytest

from lamflow.science.hops import BINS, RANGE, hops


def test_a_walk_is_gaussian() -> None:
    walk = np.cumsum(np.random.default_rng(1).normal(scale=0.3, size=(2000, 30, 3)), axis=0)
    found = hops(walk, 0.1, 2.0)
    assert np.abs(found.gaussian[:2]).max() < 0.1
    assert found.van_hove[0].sum() * RANGE / BINS == pytest.approx(1, abs=0.01)
    assert found.ion_time == pytest.approx(0.1 * 1999 * 30)


def test_jumps_between_sites_are_counted_with_their_length() -> None:
    """Ions that rattle by 0.1 Å and jump by 3 Å at 0.01 a frame."""
    rng = np.random.default_rng(2)
    directions = np.eye(3)[rng.integers(0, 3, size=(5000, 20))] * rng.choice([-3.0, 3.0], size=(5000, 20, 1))
    leaps = (rng.uniform(size=(5000, 20)) < 0.01)[..., None] * directions
    found = hops(np.cumsum(leaps, axis=0) + rng.normal(scale=0.1, size=leaps.shape), 1.0, 1.5)
    assert found.jumps / found.ion_time == pytest.approx(0.01, rel=0.1)
    assert np.sqrt(found.square) == pytest.approx(3.0, rel=0.02)
    assert found.gaussian[0] > 0.5


def test_a_jump_that_takes_many_frames_is_one() -> None:
    """Ions rattle by 0.1 Å and take 0.2 ps for 3 Å; frames every 0.02 ps, every 0.1 ps, and every ps."""
    rng = np.random.default_rng(4)
    starts = rng.uniform(size=(30_000, 8)) < 0.001
    steps = np.zeros((30_000, 8, 3))
    number = 0
    for ion in range(8):
        free = 0
        for frame in np.flatnonzero(starts[:-10, ion]):
            if frame >= free:
                steps[frame : frame + 10, ion, rng.integers(3)] = rng.choice([-0.3, 0.3])
                free, number = int(frame) + 30, number + 1
    paths = np.cumsum(steps, axis=0) + rng.normal(scale=0.1, size=steps.shape)
    for every, missed in ((1, 0.03), (5, 0.03), (50, 0.1)):
        found = hops(paths[::every], 0.02 * every, 1.5)
        assert found.jumps == pytest.approx(number, rel=missed)
        assert np.sqrt(found.square) == pytest.approx(3.0, rel=0.03)


def test_ions_at_rest_do_not_jump() -> None:
    found = hops(np.random.default_rng(3).normal(scale=0.2, size=(300, 5, 3)), 1.0, 1.5)
    assert (found.jumps, found.square) == (0, 0.0)
