from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from ase import Atoms
from hypothesis import given
from hypothesis import strategies as st

from lamflow.data import Frame, Labels
from lamflow.data.packed import PackedFrames


def test_the_hash_is_of_the_atoms_the_positions_and_the_cell(copper: list[Frame]) -> None:
    frame = copper[0]
    assert frame.content_hash() == Frame.from_ase(frame.to_ase()).content_hash()
    assert frame.content_hash() == replace(frame, positions=frame.positions + 1e-9).content_hash()
    others = [
        replace(frame, positions=frame.positions + 1e-4),
        replace(frame, cell=frame.cell * 1.001),
        replace(frame, numbers=frame.numbers + 1),
        replace(frame, pbc=False),
    ]
    assert len({other.content_hash() for other in [frame, *others]}) == 5


def test_the_order_of_the_elements_does_not_matter() -> None:
    rng = np.random.default_rng(0)
    numbers, positions = np.array([79, 29, 79, 29]), rng.normal(size=(4, 3))
    order = np.array([1, 3, 0, 2])
    assert (
        Frame(numbers, positions, np.eye(3)).content_hash()
        == Frame(numbers[order], positions[order], np.eye(3)).content_hash()
    )


def test_minus_zero_is_zero() -> None:
    frame = Frame(np.array([29]), np.array([[0.0, 0.0, 0.0]]), np.eye(3))
    assert frame.content_hash() == replace(frame, positions=-frame.positions).content_hash()


def test_a_left_handed_cell_is_that_of_the_same_crystal(copper: list[Frame]) -> None:
    """Of the opposite vectors: lengths, angles, distances and with them energies stay."""
    right = copper[0].to_ase()
    left = right.copy()
    left.set_cell(right.cell.array[[1, 0, 2]])
    frame = Frame.from_ase(left)
    assert np.linalg.det(frame.cell) > 0
    np.testing.assert_array_equal(frame.cell, -left.cell.array)
    np.testing.assert_array_equal(frame.positions, right.positions)
    np.testing.assert_allclose(frame.to_ase().get_all_distances(mic=True), right.get_all_distances(mic=True))
    assert frame.content_hash() == Frame.from_ase(frame.to_ase()).content_hash()


def test_a_periodic_system_needs_a_cell() -> None:
    with pytest.raises(ValueError, match="three cell vectors"):
        Frame.from_ase(Atoms("Cu", pbc=True))


@given(st.lists(st.integers(1, 6), max_size=6))
def test_packing_loses_nothing(sizes: list[int]) -> None:
    rng = np.random.default_rng(len(sizes))
    frames = [
        Frame(rng.integers(1, 90, n), rng.normal(size=(n, 3)), rng.normal(size=(3, 3)), n % 2 == 0) for n in sizes
    ]
    back = list(PackedFrames.of(frames))
    assert [frame.content_hash() for frame in back] == [frame.content_hash() for frame in frames]


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        (Labels(1.0, np.zeros((8, 3)), np.zeros((3, 3))), None),
        (Labels(float("nan"), np.zeros((8, 3))), "the energy is nan eV"),
        (Labels(1.0, np.full((8, 3), np.inf)), "8 atoms have a force that is not finite"),
        (Labels(1.0, np.zeros((7, 3))), r"the forces have shape (7, 3) for 8 atoms"),
        (Labels(1.0, np.zeros((8, 3)), np.full((3, 3), np.nan)), "the virial is not a finite 3 by 3 matrix"),
    ],
)
def test_every_label_passes_one_gate(copper: list[Frame], labels: Labels, expected: str | None) -> None:
    assert labels.problem(copper[0]) == expected
