"""What matcalc's references of the elements say of crystals, from an entry as its version 0.7.0 has it."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest
from ase.build import bulk

from lamflow.data import Frame
from lamflow.errors import InputError
from lamflow.ops.reference_files import read_references

COPPER = {
    "functional": "r2SCAN", "energy_per_atom": -10.84677467, "cohesive_energy_per_atom": -3.8830521200000003,
    "structure": {
        "lattice": {"matrix": [[2.19071987, 0.0, 1.26481248], [0.73024029, 2.06543106, 1.26481248],
                               [0.0, 0.0, 2.52962495]]},
        "sites": [{"species": [{"element": "Cu", "occu": 1}], "abc": [0.0, 0.0, 0.0]}],
    },
}  # fmt: skip
STRUCTURES = {
    name: Frame.from_ase(atoms)
    for name, atoms in (
        ("fcc", bulk("Cu", cubic=True)), ("bcc", bulk("Cu", "bcc", a=2.9)), ("gold", bulk("Au")),
        ("alloy", bulk("CuAu", "cesiumchloride", a=3.0)),
    )
}  # fmt: skip


def packed(file: Path, text: str) -> Path:
    """A compressed file with this text."""
    file.write_bytes(gzip.compress(text.encode()))
    return file


def test_a_crystal_has_the_values_of_its_element_in_its_space_group(tmp_path: Path) -> None:
    file = packed(tmp_path / "MatPES-r2SCAN-Element-Refs.json.gz", json.dumps({"Cu": COPPER}))
    found = {(v.structure, v.name): v for v in read_references(file, STRUCTURES, ["cohesive"])}
    assert {structure for structure, _ in found} == {"fcc"}
    assert found["fcc", "a"].value == pytest.approx(3.57743, abs=1e-5)
    assert found["fcc", "V"].value == pytest.approx(11.445999, abs=1e-6)
    assert found["fcc", "E_coh"].value == 3.8830521200000003
    assert found["fcc", "a"].source == "matcalc's references of the elements, PBE"
    assert found["fcc", "E_coh"].source == "matcalc's references of the elements, r2SCAN"


def test_several_crystals_of_an_element_are_searched_for_the_space_group(tmp_path: Path) -> None:
    other = {"lattice": {"matrix": [[3, 0, 0], [0, 3, 0], [0, 0, 3]]}, "sites": COPPER["structure"]["sites"]}  # type: ignore[index]
    entry = {"structure": [other, COPPER["structure"]], "energy_per_atom": [-3.9, -4.09]}
    file = packed(tmp_path / "MP-PBE-Element-Refs.json.gz", json.dumps({"Cu": entry}))
    found = {v.name: v.value for v in read_references(file, STRUCTURES, ["cohesive"])}
    assert found["a"] == pytest.approx(3.57743, abs=1e-5)
    assert "E_coh" not in found


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    file = packed(tmp_path / "x.json.gz", json.dumps({"Cu": COPPER}))
    file.write_bytes(file.read_bytes()[:80])
    with pytest.raises(InputError, match=r"x\.json\.gz: it is cut off or damaged"):
        read_references(file, STRUCTURES)
    packed(file, json.dumps({"Cu": {**COPPER, "structure": {}}}))
    with pytest.raises(InputError, match="not as matcalc writes its references"):
        read_references(file, STRUCTURES)
