"""What labels cost."""

from __future__ import annotations

import numpy as np
import pytest

from lamflow.data.frames import Floats, Ints
from lamflow.science.costs import LabelCosts


def finished(count: int, exponent: float, seed: int, sizes: tuple[int, ...] = (8, 32, 128)) -> tuple[Ints, Floats]:
    rng = np.random.default_rng(seed)
    natoms = rng.choice(sizes, count)
    return natoms, 0.5 * natoms**exponent * np.exp(rng.normal(0, 0.2, count))


def test_the_exponent_is_learnt_from_labels_of_several_sizes() -> None:
    costs = LabelCosts.fitted(*finished(60, 2.6, 1))
    assert costs is not None
    assert costs.exponent == pytest.approx(2.6, abs=0.1)
    natoms, seconds = finished(200, 2.6, 2)
    assert costs.seconds(natoms).sum() == pytest.approx(seconds.sum(), rel=0.15)


def test_labels_of_one_size_leave_the_exponent_open() -> None:
    costs = LabelCosts.fitted(*finished(20, 2.6, 1, sizes=(32,)))
    assert costs is not None
    assert costs.exponent == 2.0
    assert costs.seconds(np.array([32]))[0] == pytest.approx(0.5 * 32**2.6, rel=0.3)


def test_what_labels_take_at_most_is_seldom_exceeded() -> None:
    exceeded = []
    for seed in range(200):
        costs = LabelCosts.fitted(*finished(15, 2.0, seed))
        assert costs is not None
        natoms, seconds = finished(10, 2.0, 1000 + seed)
        together = costs.at_most(natoms)
        assert (np.diff(together) > 0).all()
        exceeded.append(seconds.sum() > together[-1])
    assert np.mean(exceeded) < 0.1


def test_too_few_labels_and_cached_ones_tell_nothing() -> None:
    assert LabelCosts.fitted(np.array([4, 4]), np.array([1.0, 1.0])) is None
    assert LabelCosts.fitted(np.array([4, 4, 8]), np.zeros(3)) is None
