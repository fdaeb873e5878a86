"""Pseudopotentials say which element they are of; inputs are named by lamflow alone; keys are those of the program."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from pydantic import ValidationError

from lamflow.engines import abacus, gaussian, gpaw, qe, vasp
from lamflow.engines.pseudopotentials import potcar_elements, upf_element
from lamflow.errors import InputError

PSEUDO = Path("/usr/share/espresso/pseudo")
DIALECTS = {
    "version 2": '<UPF version="2.0.1">\n<PP_INFO>\nelement="Fe"\n</PP_INFO>\n<PP_HEADER generated="x"\n element="{} "\n z_valence="1"/>',
    "apostrophes": "<PP_HEADER author='x' element=' {}' z_valence='1' />",
    "schema": "<qe_pp:pseudo><pp_header>\n<element>{}</element>\n</pp_header>",
    "version 1": "<PP_HEADER>\n   0    Version Number\n  {}     Element\n   NC    Norm\n</PP_HEADER>",
}  # fmt: skip
POTCAR = "  PAW_PBE {0} 05Jan2001\n 11.0\n   VRHFIN ={1}: d10 p1\n   TITEL  = PAW_PBE {0} 05Jan2001\n End of Dataset"
COPPER_AND_HYDROGEN: Any = SimpleNamespace(elements=["H", "Cu"])


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("element", ["H", "Cu"])
def test_every_dialect_of_upf(dialect: str, element: str) -> None:
    assert upf_element(DIALECTS[dialect].format(element)) == element


def test_a_file_that_does_not_say_is_no_problem() -> None:
    assert upf_element("") is None
    assert upf_element('<PP_HEADER element="Xx"/>') is None
    assert upf_element("Goedecker\n   14.00000  4.00000  20101 zatom,zion,pspdat\n") == "Si"


@pytest.mark.skipif(not PSEUDO.is_dir(), reason="needs the package quantum-espresso-data")
def test_the_files_of_quantum_espresso_are_told() -> None:
    elements = {path.name: upf_element(path.read_text(errors="replace")) for path in PSEUDO.glob("*.UPF")}
    assert len(elements) > 40
    wrong = {name: element for name, element in elements.items() if not element or not name.startswith(element)}
    assert set(wrong) <= {"pb_s.UPF"}, wrong


def test_swapped_files_are_found(tmp_path: Path) -> None:
    for element in ("H", "Cu"):
        (tmp_path / f"{element}.upf").write_text(DIALECTS["version 2"].format(element))
        (tmp_path / f"{element}.orb").write_text(
            f"-----\nElement                     {element}\nEnergy Cutoff(Ry) 100\n"
        )
    right = {element: tmp_path / f"{element}.upf" for element in ("H", "Cu")}
    swapped = {"H": right["Cu"], "Cu": right["H"]}
    for kind in ({"engine": "qe"}, {"engine": "abacus"}):
        settings = qe.QuantumEspresso if kind["engine"] == "qe" else abacus.Abacus
        settings.model_validate({**kind, "pseudopotentials": right, "ecutwfc": 20}).examine(COPPER_AND_HYDROGEN)
        with pytest.raises(InputError, match=r"label.pseudopotentials.H: .*Cu.upf is of Cu"):
            settings.model_validate({**kind, "pseudopotentials": swapped, "ecutwfc": 20}).examine(COPPER_AND_HYDROGEN)
    orbitals = {"H": tmp_path / "Cu.orb", "Cu": tmp_path / "H.orb"}
    given = {"engine": "abacus", "pseudopotentials": right, "orbitals": orbitals, "ecutwfc": 20}
    with pytest.raises(InputError, match=r"label.orbitals.H: .*Cu.orb is of Cu"):
        abacus.Abacus.model_validate(given).examine(COPPER_AND_HYDROGEN)


def test_a_potcar_says_its_element(tmp_path: Path) -> None:
    assert potcar_elements(POTCAR.format("Cu_pv", "Cu")) == ["Cu"]
    assert potcar_elements("   TITEL  = PAW_PBE Hf_sv 10Jan2008\n") == ["Hf"]
    assert potcar_elements("   TITEL  = US H\n") == ["H"]
    for element, text in {"H": POTCAR.format("Cu", "Cu"), "Cu": POTCAR.format("Cu", "Cu")}.items():
        (tmp_path / element).write_text(text)
    settings = vasp.Vasp.model_validate({"engine": "vasp", "potcars": str(tmp_path), "kspacing": 0.5})
    with pytest.raises(InputError, match="the POTCAR of H is of Cu"):
        settings.examine(COPPER_AND_HYDROGEN)
    with pytest.raises(ValueError, match="the POTCAR of H is of Cu"):
        vasp._potcar(settings, ["Cu", "H"])
    (tmp_path / "H").write_text(POTCAR.format("H", "H"))
    settings.examine(COPPER_AND_HYDROGEN)
    assert "End of Dataset\n  PAW_PBE Cu" in vasp._potcar(settings, ["H", "Cu"]), "lines of two potentials are apart"
    (tmp_path / "H").write_text(POTCAR.format("H", "H") + "\n" + POTCAR.format("Cu", "Cu"))
    with pytest.raises(InputError, match=r"has 2 potentials \(H, Cu\)"):
        settings.examine(COPPER_AND_HYDROGEN)


@pytest.mark.parametrize(
    ("settings", "given"),
    [
        (qe.QuantumEspresso, {"engine": "qe", "pseudopotentials": {}, "ecutwfc": 20, "command": ["pw.x", "-inp", "x"]}),
        (qe.QuantumEspresso, {"engine": "qe", "pseudopotentials": {}, "ecutwfc": 20, "command": ["pw.x", "<", "x"]}),
        (qe.QuantumEspresso, {"engine": "qe", "pseudopotentials": {}, "ecutwfc": 20, "command": ["pw.x", "a.in"]}),
        (abacus.Abacus, {"engine": "abacus", "pseudopotentials": {}, "ecutwfc": 20, "command": ["abacus", "INPUT"]}),
        (vasp.Vasp, {"engine": "vasp", "potcars": "/x", "kspacing": 1, "command": ["vasp_std", "INCAR"]}),
        (gaussian.Gaussian, {"engine": "gaussian", "keywords": "hf/3-21g", "command": ["g16", "water.gjf"]}),
        (gpaw.Gpaw, {"engine": "gpaw", "cutoff": 300, "command": ["gpaw", "python", "mine.py"]}),
    ],
)
def test_commands_name_no_input(settings: Any, given: dict[str, object]) -> None:
    with pytest.raises(ValidationError, match="lamflow writes the input and tells the program its name"):
        settings.model_validate(given)


@pytest.mark.parametrize(
    ("namelist", "key", "expected"),
    [
        ("electrons", "mixing_bta", "no such key; did you mean 'mixing_beta'"),
        ("system", "conv_thr", "in the namelist electrons"),
        ("system", "hubard_u(Fe)", "did you mean 'hubbard_u'"),
        ("control", "xyzzy", r"no such key \[type"),
    ],
)
def test_keys_that_pw_does_not_know(namelist: str, key: str, expected: str) -> None:
    given = {"engine": "qe", "pseudopotentials": {}, "ecutwfc": 20, "input": {namelist: {key: 1}}}
    with pytest.raises(ValidationError, match=expected):
        qe.QuantumEspresso.model_validate(given)


def test_setups_are_given_by_element() -> None:
    given = {"engine": "gpaw", "cutoff": 300, "input": {"setups": {"0": "paw"}}}
    with pytest.raises(ValidationError, match="give setups by chemical symbol"):
        gpaw.Gpaw.model_validate(given)
    foreign = gpaw.Gpaw.model_validate({**given, "input": {"setups": {"default": "paw", "Fe": "paw"}}})
    with pytest.raises(InputError, match=r"label.input.setups: Fe is not in elements"):
        foreign.examine(COPPER_AND_HYDROGEN)
