from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from lamflow.data import Frame
from lamflow.science.diversity import descriptor, farthest_points
from lamflow.science.select import Window, adaptive_window, limited, pick, sample

deviation_arrays = arrays(np.float64, st.integers(0, 60), elements=st.floats(0, 2) | st.just(np.nan))


@given(deviation_arrays, st.floats(0, 1), st.floats(0, 1))
def test_every_frame_is_accurate_candidate_or_failed(deviation: np.ndarray, low: float, width: float) -> None:
    window = Window(low, low + width)
    accurate, candidates, failed = window.counts(deviation)
    assert accurate + candidates + failed == len(deviation)
    assert failed >= np.isnan(deviation).sum()
    assert len(window.candidates(deviation)) == candidates


@given(deviation_arrays, st.floats(0.1, 2), st.integers(1, 20), st.floats(0, 0.5))
def test_an_adaptive_window_holds_as_many_as_wanted(
    deviation: np.ndarray, high: float, wanted: int, fraction: float
) -> None:
    window = adaptive_window(deviation, high, wanted, fraction)
    found = window.candidates(deviation)
    below = int((deviation < high).sum())
    assert len(found) >= min(below, max(wanted, int(np.ceil(fraction * len(deviation)))))
    outside = np.setdiff1d(np.flatnonzero(deviation < high), found)
    if len(found) and len(outside):
        assert deviation[outside].max() < deviation[found].min()


@given(st.integers(0, 30), st.integers(0, 10), st.integers(0, 12), st.integers(0, 1000))
def test_farthest_points_are_distinct_and_each_is_the_farthest(count: int, known: int, limit: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    candidates, old = rng.normal(size=(count, 3)), rng.normal(size=(known, 3))
    picked = farthest_points(candidates, old, limit)
    assert len(set(picked.tolist())) == len(picked) == min(count, limit)
    taken = [*old]
    for index in picked:
        if taken:
            nearest = [min(float(np.linalg.norm(c - t)) for t in taken) for c in candidates]
            for earlier in picked[: list(picked).index(index)]:
                nearest[earlier] = -1
            assert nearest[index] >= max(nearest) - 1e-6
        taken.append(candidates[index])


def test_what_is_known_already_is_not_picked() -> None:
    points = np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 0.0], [1.0, 0.0]])
    assert farthest_points(points, np.zeros((0, 2)), 4).tolist() == [0, 1]
    assert farthest_points(points, points[:1], 4).tolist() == [1]


@pytest.mark.parametrize("how", ["diverse", "uncertain", "random"])
def test_the_same_seed_picks_the_same(how: str) -> None:
    rng = np.random.default_rng(0)
    deviation, points = rng.uniform(size=50), rng.normal(size=(50, 4))
    first = pick(deviation, points, points[:3], how, 10, seed=5)  # type: ignore[arg-type]
    again = pick(deviation, points, points[:3], how, 10, seed=5)  # type: ignore[arg-type]
    assert first.tolist() == again.tolist()
    assert len(set(first.tolist())) == 10


def test_limits_in_all_and_of_each_group() -> None:
    order, group = np.arange(10), np.array([0, 0, 0, 0, 0, 0, 1, 1, 1, 2])
    assert limited(order, group, 4, None).tolist() == [0, 1, 2, 3]
    assert limited(order, group, 9, 2).tolist() == [0, 1, 6, 7, 9]


def test_a_sample_is_seeded_and_sorted() -> None:
    drawn = sample(np.arange(100), 10, seed=1)
    assert drawn.tolist() == sample(np.arange(100), 10, seed=1).tolist()
    assert (np.diff(drawn) > 0).all()
    assert sample(np.arange(5), 10, seed=1).tolist() == [0, 1, 2, 3, 4]


def test_the_descriptor_ignores_order_translation_and_rotation(copper: list[Frame]) -> None:
    frame = copper[0]
    rng = np.random.default_rng(0)
    rotation, _ = np.linalg.qr(rng.normal(size=(3, 3)))
    order = rng.permutation(frame.natoms)
    moved = Frame(frame.numbers[order], (frame.positions[order] + 0.7) @ rotation, frame.cell @ rotation)
    np.testing.assert_allclose(descriptor(frame, [29]), descriptor(moved, [29]), atol=1e-8)
    doubled = Frame.from_ase(frame.to_ase().repeat((2, 1, 1)))
    np.testing.assert_allclose(descriptor(frame, [29]), descriptor(doubled, [29]), atol=1e-8)
    assert np.abs(descriptor(frame, [29]) - descriptor(copper[1], [29])).max() > 1e-3
