"""Phonons of supercells that are too small."""

from __future__ import annotations

from tests.science.properties.emt import crystal, found


def test_a_narrow_supercell_is_said() -> None:
    how = {"size": 10.0, "displacement": 0.01, "mesh": 3, "temperatures": [300.0]}
    narrow = found("phonon", crystal("Cu"), supercell=[2, 2, 2], **how)
    assert "the supercell is 4.1 Å wide: forces reach farther, so only its own q points are right" in narrow.notes
    assert not found("phonon", crystal("Cu"), supercell=[3, 3, 3], **how).notes
