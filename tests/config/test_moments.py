"""Studies whose parts do not agree on magnetic moments."""

from __future__ import annotations

from pathlib import Path

import pytest

from lamflow.config import parse
from lamflow.config.learning import Config
from lamflow.driver.inspection import check_inputs
from lamflow.errors import InputError

STUDY = """
name: iron
elements: [Fe]
structures:
  - {name: bcc, crystal: {formula: Fe, lattice: bcc, a: 2.86}, supercell: [2, 2, 2], spins: {moments: {Fe: 2.2}}}
start: {label: [bcc]}
heldout: {fraction: 0.2}
train: {engine: deepmd, spin: {elements: [Fe]}}
stages:
  - name: all
    explore:
      - {engine: batched, structures: [bcc], temperatures: [300], spins: {temperatures: [600]}, steps: 100}
select: {channels: [{metric: magnetic_force_max, low: 0.05, high: 0.5}]}
label: {engine: spin-lattice}
"""


def test_a_study_of_a_magnet() -> None:
    study: Config = parse(STUDY)
    assert study.train.magnetic_elements == ["Fe"]
    assert study.stages[0].explore[0].conditions() == [{"temperature": 300.0, "spin_temperature": 600.0}]


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        (
            ", spin: {elements: [Fe]}",
            "",
            r"structures.bcc: it has spins, and models of deepmd learn none .* train.spin",
        ),
        ("elements: [Fe]}}", "elements: [Co]}}", r"structures.bcc.spins: Fe is not among the magnetic elements Co"),
        (
            "{engine: spin-lattice}",
            "{engine: ase, calculator: ase.calculators.lj.LennardJones}",
            r"label: ase gives no magnetic forces as it is set up here",
        ),
        ("spins: {moments: {Fe: 2.2}}", "spins: {moments: {Fe: 220}}", "moments.Fe"),
        (
            "spin: {elements: [Fe]}",
            "spin: {elements: [Fe, Co]}",
            r"train.spin.elements: Co is not in elements \['Fe'\]",
        ),
    ],
)
def test_parts_that_do_not_agree_are_named(old: str, new: str, expected: str) -> None:
    assert old in STUDY
    with pytest.raises(InputError, match=expected):
        parse(STUDY.replace(old, new))


def test_magnetic_forces_of_models_without_spins_cannot_be_looked_at() -> None:
    text = STUDY.replace(", spin: {elements: [Fe]}", "").replace(", spins: {moments: {Fe: 2.2}}", "")
    with pytest.raises(InputError, match=r"select: magnetic_force_max: the models have no magnetic forces"):
        parse(text)


def test_structures_without_the_moments_that_models_need_are_refused() -> None:
    text = STUDY.replace(", spins: {moments: {Fe: 2.2}}", "")
    reason = r"structures.bcc: structure 0: its Fe has no magnetic moments, which train.spin needs"
    with pytest.raises(InputError, match=reason):
        check_inputs(parse(text))


def test_first_labels_that_say_nothing_of_turning_moments_are_warned_of() -> None:
    text = STUDY.replace("engine: deepmd", "engine: pair")
    [warning] = check_inputs(parse(text))
    assert "the moments of every frame lie along one line" in warning
    assert check_inputs(parse(text.replace("{moments: {Fe: 2.2}}", "{moments: {Fe: 2.2}, tilt: 10}"))) == []


@pytest.mark.parametrize(
    ("held", "expected"),
    [
        ("[Co]", r"Fe is among the magnetic elements of train.spin, and its moments are not held; those of Co are"),
        ("[Fe, Co]", r"the moments of Co are to be held, and it is not in elements \['Fe'\]"),
    ],
)
def test_the_moments_that_models_learn_are_held(tmp_path: Path, held: str, expected: str) -> None:
    (tmp_path / "Fe").mkdir()
    (tmp_path / "Fe" / "POTCAR").write_text("PAW_PBE Fe\n", encoding="utf-8")
    label = (
        f"{{engine: vasp, potcars: {tmp_path}, kspacing: 0.5, command: [vasp_ncl], deltaspin: {{elements: {held}}}}}"
    )
    with pytest.raises(InputError, match=expected):
        check_inputs(parse(STUDY.replace("{engine: spin-lattice}", label)))
