"""Cells of crystals."""

from __future__ import annotations

import pytest
from ase.build import bulk, fcc111, molecule

from lamflow.data import Frame
from lamflow.ops.relaxed import RelaxedEntry, relaxation_results
from lamflow.science.properties.cells import vacuum


def test_layers_without_atoms_are_vacuum() -> None:
    slab = fcc111("Cu", (1, 1, 4), vacuum=8.0)
    slab.pbc = True
    assert vacuum(Frame.from_ase(slab)) == pytest.approx(16.0)
    slab.translate((0, 0, 10.0))
    slab.wrap()
    assert vacuum(Frame.from_ase(slab)) == pytest.approx(16.0), "wherever the slab stands"
    for atoms in (bulk("Cu"), bulk("Cs", "bcc", a=6.05, cubic=True), bulk("NaCl", "rocksalt", a=5.64)):
        assert vacuum(Frame.from_ase(atoms)) < 6.1


def test_a_relaxed_slab_says_that_its_volume_is_none() -> None:
    water = molecule("H2O")
    water.set_cell([12.0] * 3)
    water.pbc = True
    for atoms, says in ((water, True), (bulk("Cu"), False)):
        frame = Frame.from_ase(atoms)
        entry = RelaxedEntry(structure="x", energy=0.0, converged=True, steps=1, before="a", after="a")
        [result] = relaxation_results([(entry, frame)], "emt")
        assert any("are vacuum" in note for note in result.notes) == says
