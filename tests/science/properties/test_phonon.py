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


def test_an_imaginary_mode_that_the_mesh_lacks_counts() -> None:
    """CuAu by EMT in a supercell of 3×3×3, which does not hold R: an odd mesh has none of its modes."""
    cell = bulk("Cu", "fcc", a=3.85, cubic=True)
    cell.symbols[2:] = "Au"
    [ordered] = relaxed([("ordered", Frame.from_ase(cell))])
    how = {"displacement": 0.01, "mesh": 5, "temperatures": [300.0]}
    result = found("phonon", ordered, size=1.0, supercell=[3, 3, 3], **how)
    at_points = [one.value for one in result.values if one.name.startswith("mode_")]
    assert value(result, "frequency_min") <= min(at_points)
    assert value(result, "frequency_max") >= max(at_points)
    imaginary = sum(mode < -0.05 for mode in at_points) / len(at_points)
    assert value(result, "imaginary_fraction") >= imaginary


def test_bands_jump_where_the_path_does_and_say_where_they_are() -> None:
    result = found(
        "phonon", crystal("Cu"), size=1.0, supercell=[3, 3, 3], displacement=0.01, mesh=3, temperatures=[300.0]
    )
    bands = [curve for curve in result.curves if curve.name == "bands"]
    assert {curve.where for curve in bands} == {"branch 1", "branch 2", "branch 3"}
    assert len(bands) == 6, "Γ-X-U and K-Γ-L-W-X are two pieces"
    assert {"Γ", "X", "U|K", "L", "W"} == set(bands[0].ticks)
    for place in bands[0].ticks["Γ"]:
        lowest = [y for curve in bands for x, y in zip(curve.x, curve.y, strict=True) if abs(x - place) < 1e-9]
        assert min(map(abs, lowest)) < 1e-3, "acoustic modes are at rest at Γ"
