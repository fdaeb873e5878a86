"""Bounds of errors from distances between features of atoms."""

from __future__ import annotations

import numpy as np
import pytest

from lamflow.science.embedding import ErrorBounds, conformal_scale, shrunk_covariance


def test_the_scale_covers_the_wanted_fraction_of_new_atoms() -> None:
    rng = np.random.default_rng(1)
    covered = []
    for _ in range(200):
        distances = rng.uniform(0.5, 3, 60)
        errors = np.abs(rng.normal(size=60)) * distances * 0.2
        scale = conformal_scale(distances[:40], errors[:40], 0.9)
        covered.append(np.mean(errors[40:] <= scale * distances[40:]))
    assert np.mean(covered) == pytest.approx(0.9, abs=0.02)
    assert conformal_scale(np.ones(3), np.array([1.0, 3.0, 2.0]), 0.99) == 3.0


def test_distances_are_about_one_in_the_data_and_grow_outside() -> None:
    rng = np.random.default_rng(2)
    mixing = rng.normal(size=(6, 6))
    numbers = np.repeat([13, 29], 300)
    features = rng.normal(size=(600, 6)) @ mixing + np.where(numbers == 13, 5.0, -5.0)[:, None]
    bounds = ErrorBounds.fitted(numbers, features)
    assert bounds.distances(numbers, features).mean() == pytest.approx(1, abs=0.1)
    far = bounds.distances(numbers[:1], features[:1] + 10 * mixing[0])
    assert far[0] > 3
    swapped = bounds.distances(np.array([29]), features[:1])
    assert swapped[0] > 2 * bounds.distances(np.array([13]), features[:1])[0]
    unknown = bounds.distances(np.array([47]), features[:1])
    assert unknown[0] == pytest.approx(min(swapped[0], bounds.distances(np.array([13]), features[:1])[0]))


def test_fewer_atoms_than_features_are_no_problem() -> None:
    rng = np.random.default_rng(3)
    features = rng.normal(size=(5, 40))
    bounds = ErrorBounds.fitted(np.full(5, 29), features)
    assert np.isfinite(bounds.distances(np.full(5, 29), features)).all()
    assert np.isfinite(shrunk_covariance(np.zeros((5, 4)))).all()


def test_what_is_stored_is_read_again() -> None:
    rng = np.random.default_rng(4)
    numbers, features = np.repeat([13, 29], 20), rng.normal(size=(40, 3))
    bounds = ErrorBounds.fitted(numbers, features).calibrated(np.ones(9), np.arange(9.0), 0.5)
    again = ErrorBounds.of_arrays({key: np.asarray(value) for key, value in bounds.arrays().items()})
    np.testing.assert_array_equal(again.bounds(numbers, features), bounds.bounds(numbers, features))
