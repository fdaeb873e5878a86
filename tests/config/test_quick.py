"""A study of properties without a file."""

from __future__ import annotations

from pathlib import Path

import pytest
from ase.build import bulk

from lamflow.config.properties import Phonon, PropertiesStudy
from lamflow.config.quick import evaluator_spec, quick_study
from lamflow.errors import InputError


@pytest.fixture
def poscar(tmp_path: Path) -> Path:
    file = tmp_path / "Cu" / "POSCAR"
    file.parent.mkdir()
    bulk("Cu").write(file)
    return file


def test_structures_are_called_by_their_files(poscar: Path) -> None:
    study = quick_study([poscar, poscar], ["Cu"], "emt")
    assert study.name == "cu-emt-properties"
    assert [structures.name for structures in study.structures] == ["cu-1", "cu-2"]
    assert [settings.property for settings in study.properties] == ["eos", "elastic"]
    assert study.potentials[0].engine.engine == "emt"


def test_properties_of_a_study_are_taken(poscar: Path) -> None:
    like = quick_study([poscar], ["Cu"], "emt").model_copy(
        update={"properties": [Phonon(property="phonon", displacement=0.02)]}
    )
    assert isinstance(like, PropertiesStudy)
    assert quick_study([poscar], ["Cu"], "emt", like=like).properties == like.properties
    assert quick_study([poscar], ["Cu"], "emt", properties=["eos"], like=like).properties[0].property == "eos"


def test_what_a_model_is(poscar: Path) -> None:
    assert evaluator_spec(str(poscar), "Alloy") == {"engine": "deepmd", "model": {"file": str(poscar), "head": "Alloy"}}
    assert evaluator_spec("ase.calculators.emt.EMT") == {"engine": "ase", "calculator": "ase.calculators.emt.EMT"}


@pytest.mark.parametrize(
    ("model", "head", "message"),
    [("emtt", None, "no such engine"), ("model.pt", None, "no such file"), ("emt", "Alloy", "only these have heads")],
)
def test_a_model_that_nobody_can_evaluate_is_refused(model: str, head: str | None, message: str) -> None:
    with pytest.raises(InputError, match=message):
        evaluator_spec(model, head)


def test_a_property_that_there_is_not_is_refused(poscar: Path) -> None:
    with pytest.raises(InputError, match="did you mean 'eos'"):
        quick_study([poscar], ["Cu"], "emt", properties=["eoss"])
