"""Distances under periodic boundary conditions."""

from __future__ import annotations

import numpy as np
import pytest
from ase import Atoms
from ase.neighborlist import neighbor_list

from lamflow.science.neighbors import pair_distances


@pytest.mark.parametrize("cutoff", [1.5, 3.0, 5.0, 9.0])
def test_every_pair_within_the_cutoff_is_found_in_cells_of_any_shape(cutoff: float) -> None:
    rng = np.random.default_rng(5)
    cells = rng.normal(size=(12, 3, 3)) + 4 * np.eye(3)
    cells[0] = 2 * cutoff * np.eye(3)  # half a height is the cutoff
    positions = rng.uniform(-9, 9, size=(12, 3, 3))
    for frames, distances in pair_distances(positions, cells, True, cutoff):
        for cell, places, found in zip(cells[frames], positions[frames], distances, strict=True):
            expected = neighbor_list("d", Atoms("Cu3", places, cell=cell, pbc=True), cutoff)
            assert np.allclose(np.sort(found[found < cutoff]), np.sort(expected))
