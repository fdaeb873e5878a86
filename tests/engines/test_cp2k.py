"""CP2K: outputs of other versions, and whether kinds, basis sets and potentials are of the right element."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from lamflow.data import Frame, Labels
from lamflow.engines import cp2k
from lamflow.engines.conformance import virial_traces
from lamflow.engines.protocol import Labeler, LabelFailure
from lamflow.units import BAR_IN_EV_PER_A3, BOHR, HARTREE
from tests.engines.conftest import Put, failed

SETTINGS = {
    "engine": "cp2k", "basis": {"H": "SZV-MOLOPT-SR-GTH"}, "potentials": {"H": "GTH-PBE-q1"}, "cutoff": 100,
}  # fmt: skip
OLD_FORCES = """\
 ATOMIC FORCES in [a.u.]

 # Atom   Kind   Element          X              Y              Z
      1      1      H          -0.01000000     0.00000000     0.02000000
      2      1      H           0.01000000     0.00000000    -0.02000000
 SUM OF ATOMIC FORCES           0.00000000     0.00000000     0.00000000     0.00000000
"""
NEW_FORCES = """\
 FORCES| Atomic forces [hartree/bohr]
 FORCES| Atom x y z |f|
 FORCES|      1 -1.00000000E-02  0.00000000E+00  2.00000000E-02  2.23606798E-02
 FORCES|      2  1.00000000E-02  0.00000000E+00 -2.00000000E-02  2.23606798E-02
 FORCES|    Sum  0.00000000E+00  0.00000000E+00  0.00000000E+00  0.00000000E+00
"""
OLD_STRESS = """\
 STRESS TENSOR [GPa]

            X               Y               Z
  X       1.00000000      0.10000000      0.20000000
  Y       0.10000000      2.00000000      0.30000000
  Z       0.20000000      0.30000000      3.00000000

  1/3 Trace(stress tensor):    2.000E+00
"""
NEW_STRESS = """\
 STRESS| Analytical stress tensor [bar]
 STRESS|                        x                   y                   z
 STRESS|      x       1.00000000000E+04   1.00000000000E+03   2.00000000000E+03
 STRESS|      y       1.00000000000E+03   2.00000000000E+04   3.00000000000E+03
 STRESS|      z       2.00000000000E+03   3.00000000000E+03   3.00000000000E+04
 STRESS| 1/3 Trace                                              2.0E+04

 STRESS| Eigenvectors and eigenvalues of the analytical stress tensor [bar]
 STRESS|                        1                   2                   3
 STRESS| Eigenvalues     1.0E+04   2.0E+04  3.0E+04
 STRESS|      x             0.950000000000      0.100000000000      0.000000000000
 STRESS|      y             0.100000000000      0.950000000000      0.000000000000
 STRESS|      z             0.000000000000      0.000000000000      1.000000000000
"""
FRAME = Frame(np.array([1, 1]), np.array([[0.0, 0, 0], [0, 0, 0.8]]), np.eye(3) * 5)


def read(tmp_path: Path, *parts: str) -> Labels | LabelFailure:
    path = tmp_path / "cp2k.out"
    path.write_text("\n".join(["  *** SCF run converged in    12 steps ***", *parts, " PROGRAM ENDED AT  now"]))
    return cp2k.read_output(path, FRAME)


@pytest.mark.parametrize(
    "parts",
    [
        (" ENERGY| Total FORCE_EVAL ( QS ) energy (a.u.):              -1.164190264587725", OLD_FORCES, OLD_STRESS),
        (" ENERGY| Total FORCE_EVAL ( QS ) energy [a.u.]:              -1.164190264587725", OLD_FORCES, NEW_STRESS),
        (" ENERGY| Total FORCE_EVAL ( QS ) energy [hartree]             -1.164190264587725", NEW_FORCES, NEW_STRESS),
    ],
    ids=["7.1", "2023", "2025"],
)
def test_every_version_says_the_same(parts: tuple[str, ...], tmp_path: Path) -> None:
    """The parts are written here as these versions write them."""
    labels = read(tmp_path, *parts)
    assert isinstance(labels, Labels), labels
    assert labels.energy == pytest.approx(-1.164190264587725 * HARTREE, abs=1e-12)
    np.testing.assert_allclose(labels.forces[0], np.array([-0.01, 0, 0.02]) * HARTREE / BOHR)
    assert labels.virial is not None
    pressures = np.array([[1, 0.1, 0.2], [0.1, 2, 0.3], [0.2, 0.3, 3]]) * 1e4
    np.testing.assert_allclose(labels.virial, pressures * BAR_IN_EV_PER_A3 * 125)


def test_units_that_are_not_known_are_no_labels(tmp_path: Path) -> None:
    energy = " ENERGY| Total FORCE_EVAL ( QS ) energy [hartree]             -1.1"
    answer = read(tmp_path, energy, NEW_FORCES.replace("hartree/bohr", "mN"), NEW_STRESS)
    assert isinstance(answer, LabelFailure)
    assert "mn, a unit" in answer.reason
    answer = read(tmp_path, energy.replace("hartree", "Ry"), NEW_FORCES, NEW_STRESS)
    assert isinstance(answer, LabelFailure)
    assert "ry, a unit" in answer.reason


def test_kinds_are_what_they_are_called() -> None:
    kind = {"_": "H", "element": "Cu"}
    with pytest.raises(ValidationError, match="atoms of the kind H would be of Cu"):
        cp2k.Cp2k.model_validate({**SETTINGS, "input": {"force_eval": {"subsys": {"kind": [kind]}}}})


@pytest.mark.parametrize(
    "command",
    [["mpirun", "-n", "32", "cp2k.popt", "-i", "input.inp"], ["cp2k", "in.inp"], ["sh", "-c", "cp2k.psmp -i a.inp $@"]],
)
def test_a_command_that_names_an_input_is_refused(command: list[str]) -> None:
    with pytest.raises(ValidationError, match="lamflow writes the input and tells the program its name"):
        cp2k.Cp2k.model_validate({**SETTINGS, "command": command})
    good = cp2k.Cp2k.model_validate({**SETTINGS, "command": ["mpirun", "-i", "x", "cp2k.psmp", "--echo"]})
    assert good.command[-1] == "--echo"


def test_names_are_looked_up_for_their_elements(tmp_path: Path) -> None:
    (tmp_path / "BASIS").write_text("# H NOT-THIS\n H  SZV-X SZV-X-q1\n  1\n 1 0 0 7 1\nCu  DZVP-Y\n  1\n")
    (tmp_path / "POT").write_text("H GTH-PBE-q1 GTH-PBE\n    1\nCu GTH-PBE-q11\n")
    given = {
        **SETTINGS, "basis_file": "BASIS", "potential_file": "POT", "files": [tmp_path / "BASIS", tmp_path / "POT"],
    }  # fmt: skip

    def check(basis: str, potential: str) -> None:
        more = {"basis": {"H": basis}, "potentials": {"H": potential}}
        cp2k.Cp2k.model_validate({**given, **more}).check_data(["H"])

    check("SZV-X-q1", "GTH-PBE")
    with pytest.raises(ValueError, match=r"basis.H: .*BASIS has no DZVP-Y of H; it has one of Cu"):
        check("DZVP-Y", "GTH-PBE")
    with pytest.raises(ValueError, match=r"potentials.H: .*POT has no GTH-PBE-q11 of H; it has one of Cu"):
        check("SZV-X", "GTH-PBE-q11")
    with pytest.raises(ValueError, match=r"has no NOT-THIS of H$"):
        check("NOT-THIS", "GTH-PBE")


@pytest.mark.cp2k
def test_the_files_of_an_installed_cp2k_are_found() -> None:
    cp2k.Cp2k.model_validate(SETTINGS).check_data(["H"])
    wrong = cp2k.Cp2k.model_validate({**SETTINGS, "potentials": {"H": "GTH-PBE-q11"}})
    with pytest.raises(ValueError, match="GTH_POTENTIALS has no GTH-PBE-q11 of H"):
        wrong.check_data(["H"])


HYDROGEN = {
    "engine": "cp2k", "basis": {"H": "SZV-MOLOPT-SR-GTH"}, "potentials": {"H": "GTH-PBE-q1"}, "cutoff": 120,
    "rel_cutoff": 30, "command": ["cp2k.psmp"],
    "input": {"FORCE_EVAL": {"DFT": {"SCF": {"EPS_SCF": 1e-6}}}},
}  # fmt: skip


def hydrogen(strain: float = 0.0, pbc: bool = True) -> Frame:
    positions = np.array([[1.0, 1, 1], [1.1, 1.2, 1.75]]) * (1 + strain)
    cell = np.diag([3.0, 3.2, 3.4]) * (1 + strain) if pbc else np.zeros((3, 3))
    return Frame(np.array([1, 1]), positions, cell, pbc)


def test_cp2k_of_another_build_is_read(put: Put) -> None:
    path = put("cp2k-2023.1-converged.out", "cp2k.out")
    frame = Frame(np.array([11, 11]), np.array([[0, 0, 0], [2.0, 2, 2]]), np.eye(3) * 9, pbc=False)
    found = cp2k.read_output(path, frame)
    assert isinstance(found, Labels)
    assert found.energy == pytest.approx(-94.456784327723540 * 27.211386246, abs=1e-5)
    assert np.linalg.norm(found.forces, axis=1).max() == pytest.approx(0.052832, abs=1e-5)


def test_cp2ks_newer_table_of_forces(put: Put) -> None:
    """Its lines are written here after CP2K 2024's source; the rest is a real output."""
    path = put("cp2k-2023.1-converged.out", "cp2k.out")
    text = path.read_text()
    old = text[text.index(" ATOMIC FORCES in [a.u.]") : text.index(" SUM OF ATOMIC FORCES")]
    new = (
        " FORCES| Atomic forces [hartree/bohr]\n FORCES| Atom     x               y               z          |f|\n"
        " FORCES|      1 1.0E-02 -2.0E-02 0.0E+00 2.2E-02\n FORCES|      2 -1.0E-02 2.0E-02 0.0E+00 2.2E-02\n"
        " FORCES| Sum  0.0E+00 0.0E+00 0.0E+00 0.0E+00\n"
    )
    path.write_text(text.replace(old, new))
    found = cp2k.read_output(path, Frame(np.array([11, 11]), np.zeros((2, 3)), np.eye(3) * 9, pbc=False))
    assert isinstance(found, Labels)
    assert found.forces[0] == pytest.approx(np.array([0.01, -0.02, 0]) * 27.211386246 / 0.529177210903)


def test_cp2k_settings_that_make_no_sense() -> None:
    with pytest.raises(ValidationError, match="potentials: H has a basis set and nothing in potentials"):
        cp2k.Cp2k.model_validate({**HYDROGEN, "potentials": {}})
    changes = {"FORCE_EVAL": {"DFT": {"SCF": {"IGNORE_CONVERGENCE_FAILURE": True}}}}
    with pytest.raises(ValidationError, match="IGNORE_CONVERGENCE_FAILURE: not allowed"):
        cp2k.Cp2k.model_validate({**HYDROGEN, "input": changes})


def test_cp2k_gets_the_spin_and_the_functional_that_are_asked_for() -> None:
    oxygen = Frame(np.array([8, 8]), np.array([[0, 0, 0], [0, 0, 1.2]]), np.zeros((3, 3)), pbc=False)
    given = {**HYDROGEN, "basis": {"O": "B"}, "potentials": {"O": "P"}, "magnetic_moments": {"O": 1.0}}
    own: dict[str, Any] = {"force_eval": {"dft": {"xc": {"xc_functional": {"becke88": {}, "lyp": {}}}}}}
    settings = cp2k.Cp2k.model_validate({**given, "input": own})
    text = str(cp2k.Cp2kLabeler(settings).files(settings, oxygen)["cp2k.inp"])
    assert "MULTIPLICITY 3" in text
    assert "&BECKE88" in text
    assert "&XC_FUNCTIONAL PBE" not in text
    assert text.count("&DFT") == 1
    with pytest.raises(ValueError, match=r"label.basis: there is none for H"):
        cp2k.Cp2kLabeler(settings).files(settings, hydrogen())


@pytest.mark.cp2k
class TestCp2k:
    @pytest.fixture
    def engine(self) -> Labeler:
        return cp2k.Cp2kLabeler(cp2k.Cp2k.model_validate(HYDROGEN))

    def test_the_virial_is_the_strain_derivative(self, engine: Labeler, tmp_path: Path) -> None:
        stated, derived = virial_traces(engine, hydrogen, tmp_path)
        assert stated == pytest.approx(derived, rel=0.02)

    def test_an_unconverged_cycle_is_a_failure_until_a_remedy_helps(self, tmp_path: Path) -> None:
        short = {"FORCE_EVAL": {"DFT": {"SCF": {"MAX_SCF": 1}}}}
        none = cp2k.Cp2k.model_validate({**HYDROGEN, "input": short, "remedies": {}})
        [answer] = cp2k.Cp2kLabeler(none).label([hydrogen()], tmp_path)
        failed(answer, "unconverged")
        remedied = none.model_copy(update={"remedies": cp2k.REMEDIES})
        [answer] = cp2k.Cp2kLabeler(remedied).label([hydrogen()], tmp_path)
        assert isinstance(answer, Labels)
        assert [attempt.kind for attempt in answer.attempts] == ["unconverged", None]
        assert answer.attempts[1].changes == cp2k.REMEDIES["unconverged"][0]

    def test_an_abort_says_why(self, tmp_path: Path) -> None:
        settings = cp2k.Cp2k.model_validate({**HYDROGEN, "potentials": {"H": "NOPE"}})
        [answer] = cp2k.Cp2kLabeler(settings).label([hydrogen()], tmp_path)
        assert "An invalid potential type <NOPE>" in failed(answer, "stopped")

    def test_hot_electrons(self, tmp_path: Path) -> None:

        hot = hydrogen().with_fields(electronic_temperature=20_000.0)
        settings = cp2k.Cp2k.model_validate({**HYDROGEN, "basis": {"H": "DZVP-MOLOPT-SR-GTH"}})
        cold_labels, hot_labels = cp2k.Cp2kLabeler(settings).label([hydrogen(), hot], tmp_path)
        assert isinstance(cold_labels, Labels)
        assert isinstance(hot_labels, Labels), hot_labels
        assert hot_labels.energy < cold_labels.energy, "the free energy has the electrons' entropy"
