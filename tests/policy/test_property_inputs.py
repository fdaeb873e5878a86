"""What is wrong with the properties of a study is said before anything runs."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from lamflow.config import parse
from lamflow.config.properties import PropertiesStudy
from lamflow.driver.inspection import check_inputs
from lamflow.driver.structures import frames_of
from lamflow.engines.emt import Emt
from lamflow.errors import InputError
from lamflow.policy.property_inputs import examined
from tests.conftest import STUDY as LEARNING

STUDY = """
workflow: properties
name: checked
elements: [Cu, Au]
structures:
  - {name: copper, crystal: {formula: Cu, lattice: fcc}}
  - {name: cu3au, crystal: {formula: Cu, lattice: fcc, a: 3.74, cubic: true}, composition: {Cu: 0.75, Au: 0.25}}
potentials: [{name: emt, evaluate: {engine: emt}}]
"""
TRICLINIC = """Cu2
1.0
3.6 0.0 0.0
0.7 4.1 0.0
0.4 0.9 5.2
Cu
2
direct
0.0 0.0 0.0
0.43 0.56 0.47
"""


def checked(more: str, folder: Path, study: str = STUDY) -> list[str]:
    return check_inputs(parse(study + more, root=folder, kind=PropertiesStudy))


@pytest.mark.parametrize(
    ("more", "problem"),
    [
        ("properties: [{property: gamma, miller: [1, 1, 1], direction: [1, 1, 1]}]",
         "properties[0] (gamma): no structure that is asked about has this property: structures.copper, cu3au: the "
         "direction [1, 1, 1] does not lie in the plane [1, 1, 1]"),
        ("properties: [{property: vacancy, sizes: [2]}]", "a supercell of 2 Å is too small for a defect; give at least 5 Å"),
        ("reference: {values: [{structure: copper, property: eos, name: B0, value: 1, unit: Å}]}",
         "reference.values[0]: B0 of eos is in GPa: the unit 'Å' cannot be converted into 'GPa'"),
        ("reference: {values: [{structure: copper, property: elastic, name: K, value: 1, unit: GPa}]}",
         "reference.values[0]: elastic has no value 'K'; it has C11 … C66, B, G, E, poisson"),
        ("reference: {values: [{structure: copper, property: eos, name: B0, value: 1, unit: GPa}, "
         "{structure: copper, property: eos, name: B0, value: 2, unit: GPa}]}",
         "reference.values[1]: B0 of copper is given twice"),
        ("relax: {method: native}",
         "relax.method: native is for first-principles codes, and there is none in potentials"),
        ("properties: [{property: melting, hottest: 200}]", "hottest: 200 K must be above coldest, 300 K"),
        ("properties: [{property: thermal-elastic, time: 0.1}]", "0.1 ps are fewer than a hundred steps of 0.002 ps"),
        ("gates: [{property: phonon, name: imaginary_fraction, most: 0}]",
         "gates[0]: property phonon is not asked for; there are relaxation"),
        ("gates: [{property: relaxation, name: a0, most: 4}]", "gates[0]: relaxation has no value 'a0'; it has E, V, a,"),
    ],
)  # fmt: skip
def test_what_can_have_no_value_is_refused(more: str, problem: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=re.escape(problem)):
        checked(more, tmp_path)


def test_what_some_structures_do_not_have_is_a_warning(tmp_path: Path) -> None:
    [warning] = checked("properties: [{property: vacancy, sizes: [8]}]", tmp_path)
    assert warning == (
        "properties[0] (vacancy): structures.cu3au: the chemical potential of Au is not known: give chemical_potentials,"
        " or add a structure of pure Au to the study; it will have no value there"
    )
    assert checked("properties: [{property: vacancy, sizes: [8], chemical_potentials: {Cu: 0, Au: 0}}]", tmp_path) == []


def test_a_slip_line_of_a_triclinic_crystal_is_refused(tmp_path: Path) -> None:
    (tmp_path / "POSCAR").write_text(TRICLINIC)
    study = re.sub(r"structures:\n.*\n.*", "structures: [{name: odd, files: [POSCAR]}]", STUDY)
    with pytest.raises(InputError, match=r"structures\.odd: it is triclinic"):
        checked("properties: [{property: gamma, miller: [1, 1, 1], direction: [1, -1, 0]}]", tmp_path, study)


def test_references_of_a_file_that_fit_nothing_are_a_warning(tmp_path: Path) -> None:
    (tmp_path / "r.csv").write_text("structure,property,name,where,value,unit\ncopper,relaxation,a,,361,GPa\n")
    [warning] = checked("reference: {file: r.csv}", tmp_path)
    assert warning.startswith("reference.file: copper a of relaxation is in Å: the unit 'GPa' cannot be converted")


def test_a_code_for_molecules_is_refused(tmp_path: Path) -> None:
    study = STUDY.replace("evaluate: {engine: emt}", "label: {engine: gaussian, keywords: b3lyp/6-31g}")
    with pytest.raises(InputError, match=r"potentials\[0\].label: structures.copper cannot be labeled: .* isolated"):
        checked("", tmp_path, study)


def test_an_engine_without_stress_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Emt, "gives_virial", property(lambda self: False))
    with pytest.raises(InputError, match=r"potentials\[0\]: emt gives no virial .*: elastic needs it; cells cannot"):
        checked("properties: [{property: elastic}]", tmp_path)


def test_a_study_of_learning_is_looked_at_too(tmp_path: Path) -> None:
    section = "properties: {structures: [crystal], measure: [{property: vacancy, sizes: [3]}]}"
    with pytest.raises(InputError, match=r"properties\[0\] \(vacancy\): .* too small for a defect"):
        check_inputs(parse(LEARNING + section, root=tmp_path))


@pytest.mark.parametrize(
    ("label", "relax", "problem"),
    [
        ("{engine: ase, calculator: ase.calculators.emt.EMT}", "{method: native}",
         "potentials[1]: ase relaxes no structures by itself; set relax.method to lbfgs"),
        ("{engine: cp2k, basis: {Cu: B, Au: B}, potentials: {Cu: P, Au: P}, cutoff: 100}",
         "{method: native, cell_changes: volume}",
         "potentials[1]: cp2k cannot relax cells with cell_changes volume by itself; set relax.method to lbfgs, or "
         "cell_changes to all"),
    ],
)  # fmt: skip
def test_codes_that_cannot_relax_by_themselves_are_told(label: str, relax: str, problem: str, tmp_path: Path) -> None:
    text = STUDY.replace("evaluate: {engine: emt}}]", f"evaluate: {{engine: emt}}}}, {{name: code, label: {label}}}]")
    study = parse(f"{text}relax: {relax}\n", root=tmp_path, kind=PropertiesStudy)
    frames = {settings.name: frames_of(settings, study) for settings in study.structures}
    found = examined(study, frames, [])
    assert [one for one in found.problems if "relax" in one] == [problem]
    assert "potentials[0]: emt is relaxed by lbfgs: relax.method native is for codes with optimisers" in found.warnings


def test_k_points_that_change_between_frames_are_told(tmp_path: Path) -> None:
    label = "{engine: cp2k, basis: {Cu: B, Au: B}, potentials: {Cu: P, Au: P}, cutoff: 100, kspacing: 0.33}"
    text = STUDY.replace("evaluate: {engine: emt}}]", f"label: {label}}}]") + "properties: [{property: eos}]\n"
    for given, warned in ((text, True), (text.replace("kspacing: 0.33", "kpoints: [9, 9, 9]"), False)):
        study = parse(given, root=tmp_path, kind=PropertiesStudy)
        frames = {settings.name: frames_of(settings, study) for settings in study.structures}
        told = [one for one in examined(study, frames, []).warnings if "k points" in one]
        assert bool(told) == warned
        if warned:
            assert "within properties[0] (eos), and energies jump where they change; give cp2k kpoints" in told[0]
