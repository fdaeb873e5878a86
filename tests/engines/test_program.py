"""What codes that run as programs share: hot electrons, remedies, versions."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from lamflow.engines import abacus, cp2k, gaussian, vasp
from lamflow.engines.gpaw import Gpaw, GpawLabeler
from lamflow.engines.protocol import SaysVersion
from lamflow.engines.qe import QuantumEspresso
from lamflow.engines.vasp_incar import read_incar
from lamflow.units import BOLTZMANN
from tests.engines.conftest import Put
from tests.engines.test_gpaw import GPAW
from tests.engines.test_qe import silicon


def test_hot_electrons_are_smeared(tmp_path: Path) -> None:
    """Each code's own words for a Fermi-Dirac distribution at a temperature."""

    hot = silicon(1).with_fields(electronic_temperature=11604.5)
    (tmp_path / "Si").mkdir()
    (tmp_path / "Si" / "POTCAR").write_text("fake\n")
    (tmp_path / "Si.upf").touch()
    width = 11604.5 * BOLTZMANN
    settings = vasp.Vasp.model_validate({"engine": "vasp", "potcars": str(tmp_path), "kspacing": 0.5})
    tags = read_incar(str(vasp.VaspLabeler(settings).files(settings, hot)["INCAR"]))
    assert tags["ISMEAR"] == "-1"
    assert float(tags["SIGMA"]) == pytest.approx(width)
    ab = abacus.Abacus.model_validate(
        {"engine": "abacus", "pseudopotentials": {"Si": tmp_path / "Si.upf"}, "ecutwfc": 50}
    )
    keys = dict(line.split(None, 1) for line in str(abacus.AbacusLabeler(ab).files(ab, hot)["INPUT"]).splitlines()[1:])
    assert keys["smearing_method"] == "fd"
    assert float(keys["smearing_sigma"]) == pytest.approx(width / 13.605693123)
    gp = Gpaw.model_validate(GPAW)
    task = json.loads(str(GpawLabeler(gp).files(gp, hot)["task.json"]))
    assert task["arguments"]["occupations"] == {"name": "fermi-dirac", "width": pytest.approx(width)}


def test_remedies_cannot_hide_a_failure() -> None:
    with pytest.raises(ValidationError, match="electrons.scf_must_converge: not allowed"):  # noqa: RUF043
        QuantumEspresso.model_validate(
            {"engine": "qe", "pseudopotentials": {}, "ecutwfc": 10,
             "remedies": {"unconverged": [{"electrons": {"scf_must_converge": False}}]}}
        )  # fmt: skip


@pytest.mark.parametrize(
    ("output", "file", "labeler", "expected"),
    [
        ("vasp-6.2.0-converged.OUTCAR", "OUTCAR", vasp.VaspLabeler, "6.2.0"),
        ("vasp-5.4.4-converged.OUTCAR", "OUTCAR", vasp.VaspLabeler, "5.4.4.18Apr17-6-g9f103f2a35"),
        ("cp2k-2023.1-converged.out", "cp2k.out", cp2k.Cp2kLabeler, "2023.1"),
        ("gaussian-16-methane.log", "stdout.log", gaussian.GaussianLabeler, "16, Revision B.01"),
        ("gaussian-09-water.log", "stdout.log", gaussian.GaussianLabeler, "09, Revision A.02"),
        ("abacus-3.11.0-unconverged.log", abacus.LOG, abacus.AbacusLabeler, "3.11.0-beta10"),
    ],
)
def test_outputs_say_the_version_of_the_code(
    put: Put, tmp_path: Path, output: str, file: str, labeler: type[Any], expected: str
) -> None:
    made = labeler(None)
    assert isinstance(made, SaysVersion)
    assert made.version(tmp_path) is None
    put(output, f"hash/0/{file}")
    assert made.version(tmp_path) == expected
