"""Surroundings of an atom: what is kept, and that it is what it was."""

from __future__ import annotations

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, molecule
from ase.neighborlist import neighbor_list

from lamflow.data import Frame
from lamflow.science.cut_out import cut_out


def surroundings(frame: Frame, center: int, radius: float) -> np.ndarray:
    """Sorted distances of the atoms around an atom."""
    first, distance = neighbor_list("id", frame.to_ase(), radius)
    return np.sort(distance[first == center])


def test_a_box_of_a_crystal_is_a_crystal_again() -> None:
    """The side is a multiple of the period, so nothing is left out, and every neighbourhood is the crystal's."""
    large = Frame.from_ase(bulk("Cu", "fcc", a=3.6, cubic=True) * (8, 8, 8))
    small, _ = cut_out(large, 700, 5.0)
    np.testing.assert_allclose(np.diag(small.cell), 4 * 3.6, rtol=0.02)
    assert small.natoms == 4 * 4**3
    assert abs(len(surroundings(small, 0, 4.0)) - 18) <= 1


def test_the_sphere_is_kept_as_it_was() -> None:
    atoms = bulk("Cu", "fcc", a=3.6, cubic=True) * (7, 7, 7)
    atoms.rattle(0.15, seed=3)
    large, center = Frame.from_ase(atoms), 411
    small, kept = cut_out(large, center, 4.5)
    assert 100 < small.natoms < large.natoms / 3
    middle = int(np.flatnonzero(kept == center)[0])
    np.testing.assert_allclose(surroundings(small, middle, 4.5), surroundings(large, center, 4.5), atol=1e-9)
    assert neighbor_list("d", small.to_ase(), 2.2).min(initial=9.0) > 1.8, "nothing stands too close across the sides"
    density = large.natoms / large.volume
    assert abs(small.natoms / small.volume / density - 1) < 0.1


def test_thin_directions_stay_as_they_are() -> None:
    large = Frame.from_ase(bulk("Cu", "fcc", a=3.6, cubic=True) * (10, 10, 2))
    small, _ = cut_out(large, 0, 5.0)
    np.testing.assert_allclose(small.cell[2], large.cell[2])
    assert small.cell[0, 0] < large.cell[0, 0] / 2


def test_molecules_stay_whole() -> None:
    water = molecule("H2O")
    water.set_cell(np.eye(3) * 3.1)
    water.pbc = True
    large = water * (8, 8, 8)
    large.wrap()
    small, _ = cut_out(Frame.from_ase(large), 300, 4.0)
    assert 3 * small.symbols.count("O") == small.natoms
    first = neighbor_list("i", small.to_ase(), 1.2)
    assert len(first) == 4 * small.symbols.count("O"), "every oxygen has its two hydrogens"
    large.pbc = False
    cluster, _ = cut_out(Frame.from_ase(water * (8, 8, 8)), 300, 4.0)
    assert cluster.natoms % 3 == 0


def test_molecules_that_reach_into_the_sphere_are_kept() -> None:
    """Also with their middles out of the box, and where they come close to each other across its sides."""
    random = np.random.default_rng(2)
    large = Atoms(cell=[21.2] * 3, pbc=True)
    for place in np.ndindex(4, 4, 4):
        ethanol = molecule("CH3CH2OH")
        ethanol.rotate(random.uniform(0, 360), random.normal(size=3), center="COP")
        ethanol.translate(5.3 * np.array(place) - ethanol.positions.mean(axis=0))
        large += ethanol
    large.wrap()
    frame = Frame.from_ase(large)
    for center in random.integers(0, len(large), 6):
        small, kept = cut_out(frame, int(center), 6.0)
        assert small.natoms < frame.natoms
        assert small.natoms % 9 == 0
        middle = int(np.flatnonzero(kept == center)[0])
        np.testing.assert_allclose(surroundings(small, middle, 6.0), surroundings(frame, int(center), 6.0), atol=1e-9)


@pytest.mark.parametrize("carbons", [5, 15])
def test_a_box_is_longer_than_the_chains_in_it(carbons: int) -> None:
    chain = Atoms()
    for number in range(carbons):
        side = 1 if number % 2 else -1
        middle = [1.27 * number, 0.44 * side, 0.0]
        chain += Atoms("CHH", [middle, np.add(middle, [0, 0.63 * side, 0.89]), np.add(middle, [0, 0.63 * side, -0.89])])
    large = Atoms(cell=[24, 20, 20], pbc=True)
    for row in np.ndindex(4, 4):
        moved = chain.copy()
        moved.translate([11.0 + sum(row), 5 * row[0], 5 * row[1]])
        large += moved
    large.rattle(0.02, seed=1)
    large.wrap()
    frame = Frame.from_ase(large)
    small, kept = cut_out(frame, 0, 6.0)
    assert small.natoms < frame.natoms
    assert small.natoms % len(chain) == 0, "chains stay whole"
    index = int(np.flatnonzero(kept == 0)[0])
    np.testing.assert_allclose(surroundings(small, index, 6.0), surroundings(frame, 0, 6.0), atol=1e-9)
    bonds = len(neighbor_list("i", small.to_ase(), 1.7)) / (small.natoms // len(chain))
    assert bonds == 2 * (carbons - 1 + 2 * carbons)


def test_of_an_isolated_frame_a_cluster_is_left() -> None:
    atoms = bulk("Cu", "fcc", a=3.6, cubic=True) * (5, 5, 5)
    atoms.pbc, atoms.cell = False, None
    spins = np.arange(3 * len(atoms), dtype=float).reshape(-1, 3)
    large = Frame.from_ase(atoms).with_fields(spin=spins)
    small, kept = cut_out(large, 250, 4.0)
    distance = np.linalg.norm(large.positions - large.positions[250], axis=1)
    assert not small.pbc
    np.testing.assert_array_equal(small.positions, large.positions[distance <= 4.0])
    np.testing.assert_array_equal(small.spins, spins[kept])
