"""Thermal expansion: two ways to the same number."""

from __future__ import annotations

from typing import Any

import pytest
from ase.build import bulk
from ase.spacegroup import crystal as of_group

from lamflow.data import Frame
from lamflow.science.properties.quasiharmonic import frames
from lamflow.science.properties.sample import Crystal
from lamflow.units import EV_PER_A3_IN_GPA
from tests.science.properties.emt import crystal, found, relaxed, value

SETTINGS: dict[str, Any] = {
    "strain": 0.06, "points": 5, "size": 5.0, "supercell": None, "displacement": 0.01, "mesh": 7,
    "temperatures": [300.0],
}  # fmt: skip
EV_IN_J_PER_MOL = 96485.33


def test_the_free_energy_expands_as_gruneisen_says() -> None:
    copper = crystal("Cu")
    result = found("quasiharmonic", copper, **SETTINGS)
    alpha, gamma = value(result, "alpha_V", "300 K"), value(result, "gruneisen", "300 K")
    phonons = found("phonon", copper, size=5.0, supercell=None, displacement=0.01, mesh=7, temperatures=[300.0])
    capacity = value(phonons, "Cv", "300 K") / EV_IN_J_PER_MOL
    modulus = value(result, "B_T", "300 K") / EV_PER_A3_IN_GPA
    assert alpha == pytest.approx(gamma * capacity / (value(result, "V", "300 K") * modulus), rel=0.1)
    assert alpha == 3 * value(result, "alpha_L", "300 K")
    assert value(result, "V", "300 K") > copper.frame.volume
    assert gamma == pytest.approx(2.196, abs=0.05)  # of larger supercells and finer meshes


def test_atoms_that_may_move_are_no_matter_of_the_volume_alone() -> None:
    rutile = of_group(["Cu", "Au"], [(0, 0, 0), (0.3, 0.3, 0)], spacegroup=136, cellpar=[4.6, 4.6, 3.0, 90, 90, 90])
    with pytest.raises(ValueError, match="symmetry lets its atoms move"):
        frames(Crystal("rutile", Frame.from_ase(rutile), 0.0), **SETTINGS)
    hexagonal = frames(Crystal("hcp", Frame.from_ase(bulk("Ti", "hcp", a=2.95, c=4.68)), 0.0), **SETTINGS)
    assert len({sample.about["volume_factor"] for sample in hexagonal}) == 5


def test_a_crystal_that_outgrows_the_volumes_says_so() -> None:
    [copper] = relaxed([("copper", Frame.from_ase(bulk("Cu", "fcc")))])
    with pytest.raises(ValueError, match="raise strain"):
        found("quasiharmonic", copper, **{**SETTINGS, "strain": 0.01, "temperatures": [900.0]})
