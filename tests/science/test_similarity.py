from __future__ import annotations

import numpy as np
import pytest
from ase.build import bulk
from hypothesis import given
from hypothesis import strategies as st

from lamflow.data import Frame
from lamflow.science.similarity import bond_matrix, bonds, distance, same, space_group


def frame(*names: str, **options: float) -> Frame:
    return Frame.from_ase(bulk(*names, **options))


def test_bonds_are_those_of_ase() -> None:
    from ase.neighborlist import neighbor_list

    crystal = frame("Cu", "hcp", a=2.6, c=4.1)
    expected = np.sort(neighbor_list("d", crystal.to_ase(), 6.0))
    assert np.sort(np.linalg.norm(bonds(crystal, 6.0)[2], axis=1)) == pytest.approx(expected)


@given(st.integers(0, 10_000))
def test_another_cell_orientation_or_order_is_the_same_crystal(seed: int) -> None:
    rng = np.random.default_rng(seed)
    atoms = bulk("CuAu", "cesiumchloride", a=3.1) * (2, 1, 1)
    atoms.rattle(0.2, seed=seed)
    other = atoms.copy()
    other.rotate(float(rng.uniform(0, 180)), rng.normal(size=3), rotate_cell=True)
    other.positions += rng.normal(size=3)
    other = other[rng.permutation(len(other))] * (1, 2, 1)
    matrices = [bond_matrix(Frame.from_ase(each), [29, 79]) for each in (atoms, other)]
    assert distance(*matrices) < 1e-9


def test_stackings_are_told_apart() -> None:
    fcc, hcp = frame("Cu", "fcc", a=3.6), frame("Cu", "hcp", a=3.6 / 2**0.5, c=3.6 / 2**0.5 * (8 / 3) ** 0.5)
    first, second = [(each, bond_matrix(each, [29])) for each in (fcc, hcp)]
    assert not same(first, second, tolerance=0.02)
    assert same(first, first, tolerance=0.02)


def test_another_composition_is_another_crystal() -> None:
    one, other = frame("CuAu", "cesiumchloride", a=3.1), frame("Cu", "bcc", a=3.1)
    assert not same((one, bond_matrix(one, [29])), (other, bond_matrix(other, [29])), tolerance=100.0)


@pytest.mark.parametrize(("lattice", "number"), [("fcc", 225), ("bcc", 229), ("diamond", 227), ("sc", 221)])
def test_space_groups(lattice: str, number: int) -> None:
    assert space_group(frame("Cu", lattice, a=3.6)) == number
