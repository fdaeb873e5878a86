"""Descriptors of frames, and the frames that differ most."""

from __future__ import annotations

import numpy as np
from ase.build import bulk
from hypothesis import given, settings
from hypothesis import strategies as st

from lamflow.data import Frame
from lamflow.science.diversity import descriptor, descriptors, farthest_points, uncertain_and_far


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


@given(st.integers(0, 2**31), st.integers(1, 12))
@settings(max_examples=40)
def test_informative_frames_are_wrong_and_far_at_every_step(seed: int, limit: int) -> None:
    rng = np.random.default_rng(seed)
    points, known, error = rng.normal(size=(30, 3)), rng.normal(size=(4, 3)), rng.exponential(size=30)
    picked = uncertain_and_far(points, known, error, limit).tolist()
    assert len(picked) == limit
    for count, choice in enumerate(picked):
        near = np.concatenate([known, points[picked[:count]]])
        worth = error * np.linalg.norm(points[:, None] - near[None], axis=-1).min(axis=1)
        worth[picked[:count]] = -1
        assert worth[choice] >= worth.max() * (1 - 1e-6)


def test_informative_frames_end_where_nothing_is_left() -> None:
    points = np.array([[0.0, 0.0], [1.0, 0.0], [1.0, 0.0], [2.0, 0.0]])
    assert uncertain_and_far(points, points[:1], np.array([9.0, 1.0, 2.0, 0.0]), 4).tolist() == [2]
    assert uncertain_and_far(np.zeros((0, 2)), points, np.zeros(0), 4).tolist() == []


def test_descriptors_of_many_frames_are_those_of_each(copper: list[Frame]) -> None:
    atoms = bulk("Cu", "fcc", a=3.6)
    others = [Frame.from_ase(atoms.repeat((1, 1, n))) for n in (1, 2, 1)]
    isolated = bulk("Al", "fcc", a=4.0).repeat(2)
    isolated.pbc = False
    frames = [*others, *copper, Frame.from_ase(isolated)]
    together = descriptors(frames, ["Al", "Cu"])
    for frame, found in zip(frames, together, strict=True):
        assert np.array_equal(found, descriptor(frame, [13, 29]))


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


def test_frames_that_differ_in_their_moments_are_different() -> None:
    atoms = bulk("Fe", cubic=True).repeat(2)
    bare, up = Frame.from_ase(atoms), np.tile([0.0, 0.0, 2.0], (len(atoms), 1))
    sideways, flipped = up[:, [2, 0, 1]], up * np.where(np.arange(len(atoms)) % 2, -1, 1)[:, None]
    plain, one, other, alternating = (
        descriptors([frame], ["Fe"])[0]
        for frame in (bare, bare.with_fields(spin=up), bare.with_fields(spin=sideways), bare.with_fields(spin=flipped))
    )
    np.testing.assert_allclose(one, other)
    np.testing.assert_array_equal(one[: len(plain)], plain)
    assert np.linalg.norm(one - alternating) > 1.0
    both = descriptors([bare, bare.with_fields(spin=up)], ["Fe"])
    assert both.shape == (2, len(one))
