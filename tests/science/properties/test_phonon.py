"""Phonons of supercells that are too small."""

from __future__ import annotations

from ase.build import bulk

from lamflow.data import Frame
from tests.science.properties.emt import crystal, found, relaxed, value


def test_a_narrow_supercell_is_said() -> None:
    how = {"size": 10.0, "displacement": 0.01, "mesh": 3, "temperatures": [300.0]}
    narrow = found("phonon", crystal("Cu"), supercell=[2, 2, 2], **how)
    assert "the supercell is 4.1 Å wide: forces reach farther, so only its own q points are right" in narrow.notes
    assert not found("phonon", crystal("Cu"), supercell=[3, 3, 3], **how).notes


def test_a_crystal_that_is_no_minimum_has_no_thermal_properties() -> None:
    [simple] = relaxed([("simple", Frame.from_ase(bulk("Cu", "sc", a=2.4)))])
    result = found("phonon", simple, size=7.0, supercell=None, displacement=0.01, mesh=3, temperatures=[300.0])
    assert value(result, "imaginary_fraction") > 0.1
    assert not [one for one in result.values if one.name in ("F", "S", "Cv")]
    assert any("are left out" in note for note in result.notes)
