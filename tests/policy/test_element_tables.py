"""What a package knows of the elements, as references with units and a source."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from ase.build import bulk

from lamflow.config import parse
from lamflow.config.properties import PropertiesStudy
from lamflow.data import Frame
from lamflow.errors import InputError
from lamflow.policy.element_tables import SOURCE, single_elements, tabulated
from lamflow.policy.property_inputs import examined

STUDY = """
workflow: properties
name: tabulated
elements: [Cu, Si]
structures:
  - {name: copper, crystal: {formula: Cu, lattice: fcc}}
potentials:
  - {name: emt, evaluate: {engine: emt}}
properties:
  - {property: eos}
  - {property: eos, points: 9}
  - {property: elastic}
  - {property: thermal-elastic, temperatures: [298, 900]}
  - {property: quasiharmonic, temperatures: [300]}
  - {property: dynamics}
  - {property: melting}
reference: {table: pymatgen}
"""


def test_measured_values_have_units_of_the_properties_and_a_source(tmp_path: Path) -> None:
    study = parse(STUDY, root=tmp_path, kind=PropertiesStudy)
    values = tabulated(study, {"copper": "Cu", "silicon": "Si"})
    known = {(v.structure, v.property, v.name, v.where): (v.value, v.unit) for v in values}
    assert known["copper", "eos-1", "B0", ""] == known["copper", "eos-2", "B0", ""] == (140.0, "GPa")
    assert known["copper", "elastic", "poisson", "hill"] == (0.34, "1")
    assert known["copper", "thermal-elastic", "G", "298 K, hill"] == (48.0, "GPa")
    assert known["copper", "quasiharmonic", "alpha_L", "300 K"] == (1.65e-5, "1/K")
    assert known["copper", "relaxation", "V", ""] == (pytest.approx(11.81, abs=0.01), "Å³/atom")
    assert known["copper", "melting", "T_m", ""] == (1357.77, "K")
    assert ("silicon", "elastic", "G", "hill") not in known
    assert {v.source for v in values} == {SOURCE}
    assert not examined(study, {"copper": [Frame.from_ase(bulk("Cu"))]}, values).problems


def test_a_compound_has_no_reference_and_a_wrong_name_is_refused(tmp_path: Path) -> None:
    frames = {"copper": Frame.from_ase(bulk("Cu")), "salt": Frame.from_ase(bulk("NaCl", "rocksalt", a=5.6))}
    assert single_elements(frames) == {"copper": "Cu"}
    with pytest.raises(InputError, match=re.escape("reference.table")) as caught:
        parse(STUDY.replace("table: pymatgen", "table: pymatgem"), root=tmp_path, kind=PropertiesStudy)
    assert "pymatgen" in str(caught.value)
