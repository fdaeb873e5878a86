"""What a label engine would refuse is said before anything runs."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import write

from lamflow.config import load, parse
from lamflow.config.read import with_lines
from lamflow.config.schema import DataStudy
from lamflow.driver.inspection import check_inputs
from lamflow.errors import InputError
from tests.conftest import STUDY


@pytest.mark.parametrize(
    ("label", "expected"),
    [
        ("engine: vasp, potcars: pp, kspacing: 0.3, input: {MAGMOM: 3*1}", "MAGMOM has 3 values for 8 atoms"),
        ("engine: gaussian, keywords: b3lyp/6-31g", "labels isolated systems, and this frame is periodic"),
        ("engine: custom, command: [x], input_format: nonsense", "the format 'nonsense' cannot be written"),
    ],
)
def test_structures_that_would_be_refused(label: str, expected: str, tmp_path: Path) -> None:
    (tmp_path / "pp" / "Cu").mkdir(parents=True)
    (tmp_path / "pp" / "Cu" / "POTCAR").write_text("PAW_PBE Cu\n")
    config = parse(STUDY.replace("engine: emt", label), root=tmp_path)
    with pytest.raises(InputError, match=rf"structures\.rattled cannot be labeled: .*{expected}"):
        check_inputs(config)


def test_potentials_that_only_pods_have_are_no_reason(tmp_path: Path) -> None:
    config = parse(STUDY.replace("engine: emt", "engine: vasp, potcars: /nowhere, kspacing: 0.3"), root=tmp_path)
    assert check_inputs(config) == ["label.potcars: there is no folder /nowhere here; label pods must have it"]


WRONG = """\
workflow: training
name: wrong
elements: [Cu]
structures:
  - {name: good, crystal: {formula: Cu, lattice: fcc, a: 3.6, cubic: true}}
  - {name: empty, files: [nothing.xyz]}
  - name: hollow
    crystal: {formula: Cu, lattice: fcc, a: 3.6}
    vacancies: 5
heads:
  - name: one
    start:
      data:
        - good.extxyz
        - cut.extxyz
        - zinc.extxyz
    heldout: {data: [held.extxyz]}
  - name: two
    start: {data: ["c*.extxyz"]}
    heldout: {label: [good]}
    label: {engine: vasp, potcars: pp, kspacing: 0.3}
train:
  engine: deepmd
  models: 1
  input:
    model:
      descriptor: {type: se_e2_a, sel: [30], rcut: 4.0, neuron: [0, 8]}
"""


def labeled() -> Atoms:
    atoms = bulk("Cu", cubic=True)
    atoms.calc = SinglePointCalculator(atoms, energy=1.0, forces=np.ones((4, 3)))
    return atoms


def spoilt(folder: Path) -> Path:
    """WRONG with its files, of which most are wrong too."""
    write(folder / "good.extxyz", labeled())
    text = (folder / "good.extxyz").read_text()
    (folder / "cut.extxyz").write_text("".join(text.splitlines(keepends=True)[:4]))
    (folder / "zinc.extxyz").write_text(text.replace("Cu ", "Zn "))
    (folder / "held.extxyz").write_text(text.replace("energy=1.0", "energy=nan"))
    (folder / "nothing.xyz").write_text("")
    (folder / "pp" / "Cu").mkdir(parents=True)
    (folder / "pp" / "Cu" / "POTCAR").write_text("VRHFIN =Ag: d\nTITEL  = PAW_PBE Ag\n")
    file = folder / "wrong.yaml"
    file.write_text(WRONG)
    return file


@pytest.mark.deepmd
def test_everything_that_is_wrong_is_said_at_once_with_its_line(tmp_path: Path) -> None:
    """Of data, structures, potentials and train.input: whatever reads it."""
    file = spoilt(tmp_path)
    with pytest.raises(InputError) as caught, with_lines(file):
        check_inputs(load(file, DataStudy))
    said = str(caught.value)
    assert said.startswith(f"{file}: 8 problems\n")
    for line, expected in (
        (6, r"structures\.empty: .*nothing\.xyz"),
        (7, r"structures\.hollow: 5 vacancies in a structure of 1 atoms leave nothing"),
        (15, r"heads\.one\.start\.data\[1\]: .*cut\.extxyz: frame 0 is cut off"),
        (16, r"heads\.one\.start\.data\[2\]: .*zinc\.extxyz: frame 0: Zn is not in elements \['Cu'\]"),
        (17, r"heads\.one\.heldout\.data\[0\]: .*held\.extxyz: frame 0"),
        (19, r"heads\.two\.start\.data\[0\]: .*cut\.extxyz: frame 0 is cut off"),
        (21, r"heads\.two\.label\.potcars: .*POTCAR"),
        (27, r"train\.input: model\.descriptor\.neuron"),
    ):
        assert re.search(rf"^  line {line:<4} {expected}", said, re.MULTILINE), (line, expected, said)


def test_structures_are_built_though_nobody_refuses_any(tmp_path: Path) -> None:
    text = """\
workflow: evaluation
name: x
elements: [Cu]
structures: [{name: x, crystal: {formula: Cu, lattice: fcc, a: 3.6}, vacancies: 5}]
heldout: {data: [x.extxyz]}
evaluate: {engine: emt}
"""
    write(tmp_path / "x.extxyz", labeled())
    with pytest.raises(InputError, match=r"structures\.x: 5 vacancies"):
        check_inputs(parse(text, root=tmp_path, kind=DataStudy))


def test_channels_that_isolated_structures_lack_and_shares_that_nobody_goes_on_with_are_said(tmp_path: Path) -> None:
    write(tmp_path / "dimer.xyz", Atoms("Cu2", positions=[[0, 0, 0], [2.4, 0, 0]]))
    isolated = "  - {name: crystal, files: [dimer.xyz]}\nstart"
    text = re.sub(r"  - \{name: crystal.*\nstart", isolated, STUDY)
    assert text != STUDY
    group = "every: 4, channels: [{metric: virial_max, low: 0.1, high: 1}]"
    with pytest.raises(InputError, match=r"explore\[0\]\.channels: virial_max: all structures of crystal are isolated"):
        check_inputs(parse(text.replace("every: 4", group), root=tmp_path))
    calibrated = text.replace("rule: fixed, low: 0.001, high: 2.0", "rule: calibrated, error: 0.2, risk: 0.1").replace(
        "  limit: 6", "  limit: 6\n  channels: [{metric: virial_max, error: 0.02}]"
    )
    with pytest.raises(InputError, match="select: virial_max: all structures that are explored are isolated"):
        check_inputs(parse(calibrated, root=tmp_path))
    early = parse(STUDY.replace("limit: 6", "limit: 6\n  enough: 0.9"), root=tmp_path)
    [said] = check_inputs(early)
    assert (
        "select.enough: on this machine all labels of an iteration are waited for; `lamflow run FILE --on shell`"
        in said
    )
    few = STUDY.replace("limit: 6", "limit: 6\n  enough: 0.9").replace("label: {parallel: 1}", "label: {parallel: 2}")
    [said] = check_inputs(parse(few + "batch: {system: shell}\n", root=tmp_path))
    assert (
        "0.9 of 2 label jobs are all of them, so all labels are waited for; `pods: {label: {work_per_job: 1}}`" in said
    )
    [on_kubernetes] = check_inputs(parse(few + "cluster: {namespace: mine}\n", root=tmp_path))
    assert on_kubernetes == said
    alone = few.replace("parallel: 2}", "parallel: 2, work_per_job: 1}")
    assert check_inputs(parse(alone + "batch: {system: shell}\n", root=tmp_path)) == []
