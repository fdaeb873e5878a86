from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from ase.build import bulk
from pydantic import ValidationError

from lamflow.data import Frame, Labels
from lamflow.engines.conformance import virial_traces
from lamflow.engines.periodic import kpoint_grid
from lamflow.engines.protocol import Labeler, LabelFailure
from lamflow.engines.qe import QeLabeler, QuantumEspresso, read_output
from lamflow.engines.registry import labeler

PSEUDO = Path("/usr/share/espresso/pseudo/Si.pbe-rrkj.UPF")
FAST = {"engine": "qe", "pseudopotentials": {"Si": PSEUDO}, "ecutwfc": 12, "kspacing": 1.1}


def silicon(seed: int, strain: float = 0.0) -> Frame:
    atoms = bulk("Si", "diamond", a=5.43)
    atoms.set_cell(atoms.cell.array * (1 + strain), scale_atoms=True)
    atoms.positions += np.random.default_rng(seed).normal(scale=0.05, size=(2, 3))
    return Frame.from_ase(atoms)


@pytest.mark.qe
class TestLabeler:
    @pytest.fixture
    def engine(self) -> Labeler:
        return labeler(QuantumEspresso.model_validate(FAST))

    def test_the_virial_is_the_strain_derivative(self, tmp_path: Path) -> None:
        engine = labeler(QuantumEspresso.model_validate({**FAST, "ecutwfc": 30, "kspacing": 0.7}))
        stated, derived = virial_traces(engine, lambda strain: silicon(1, strain), tmp_path)
        assert stated == pytest.approx(derived, abs=0.05 * abs(derived) + 0.15)

    def test_an_unconverged_cycle_is_a_failure(self, tmp_path: Path) -> None:
        settings = {**FAST, "input": {"electrons": {"electron_maxstep": 2}}, "remedies": {}}
        [failed] = labeler(QuantumEspresso.model_validate(settings)).label([silicon(1)], tmp_path)
        assert isinstance(failed, LabelFailure)
        assert failed.reason == "the SCF cycle did not converge"
        assert failed.kind == "unconverged"
        assert "convergence NOT achieved" in failed.log

    def test_a_finished_label_is_not_computed_again(self, engine: Labeler, tmp_path: Path) -> None:
        frame = silicon(1)
        [first] = engine.label([frame], tmp_path)
        output = tmp_path / frame.content_hash() / "0" / "pw.out"
        before = output.stat().st_mtime_ns
        [again] = engine.label([frame], tmp_path)
        assert output.stat().st_mtime_ns == before
        assert isinstance(first, Labels)
        assert isinstance(again, Labels)
        assert first.energy == again.energy

    @pytest.mark.parametrize("until", ["Forces acting on atoms", "total   stress", "convergence has been"])
    def test_a_cut_off_output_is_a_failure(self, engine: Labeler, tmp_path: Path, until: str) -> None:
        frame = silicon(1)
        engine.label([frame], tmp_path)
        output = tmp_path / frame.content_hash() / "0" / "pw.out"
        output.write_text(output.read_text().split(until)[0])
        assert isinstance(read_output(output, frame, 1e-8), LabelFailure)


def test_the_program_is_missing(tmp_path: Path) -> None:
    from lamflow.errors import EngineError

    settings = QuantumEspresso.model_validate({**FAST, "command": ["no-pw.x"]})
    with pytest.raises(EngineError, match=r"no-pw\.x: no such program on PATH; install Quantum ESPRESSO"):
        labeler(settings).label([silicon(1)], tmp_path)


def test_nothing_that_hides_a_failure_is_allowed() -> None:
    with pytest.raises(
        ValidationError, match=r"constrained_magnetization: not allowed.*pw.x prints no magnetic forces"
    ):
        QuantumEspresso.model_validate({**FAST, "input": {"system": {"constrained_magnetization": "atomic"}}})
    with pytest.raises(ValidationError, match="scf_must_converge: not allowed"):
        QuantumEspresso.model_validate({**FAST, "input": {"electrons": {"scf_must_converge": False}}})


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"input": {"control": {"calculation": "relax"}}}, "calculation: not allowed: labels are single points"),
        ({"remedies": {"unconverged": [{"mixing_beta": 0.1}]}}, r"remedies.unconverged: input.mixing_beta"),
        ({"input": {"system": {"hubbard_u(1)": 4.0}}}, r"name the element, for example hubbard_u\(Fe\)"),
        ({"input": {"system": {"starting_magnetization": 0.3}}}, r"for example starting_magnetization\(Fe\): 0.3"),
        ({"input": {"system": {"starting_charge": [0.3]}}}, r"starting_charge: \[0.3\]: a key of pw.x has a number"),
        ({"input": {"electrons": {"mixing_mode": {"a": 1}}}}, "a key of pw.x has a number, a word, or true or false"),
    ],
)
def test_settings_that_would_label_something_else(given: dict[str, object], expected: str) -> None:
    with pytest.raises(ValidationError, match=expected):
        QuantumEspresso.model_validate({**FAST, **given})


def test_species_are_told_apart_in_every_order(tmp_path: Path) -> None:
    """Two pseudopotentials of the same name, a key of one species, and moments as the fraction of its valence electrons."""
    for element, electrons in (("Si", 4), ("O", 6)):
        (tmp_path / element).mkdir()
        (tmp_path / element / "pbe.upf").write_text(f'<PP_HEADER z_valence="{electrons}.0"/>')
    settings = QuantumEspresso.model_validate(
        {
            **FAST, "pseudopotentials": {e: tmp_path / e / "pbe.upf" for e in ("Si", "O")},
            "magnetic_moments": {"Si": 2.0}, "input": {"system": {"hubbard_u(Si)": 3.0, "hubbard_u(Fe)": 1.0}},
        }
    )  # fmt: skip
    for numbers, place in (([14, 8], 1), ([8, 14], 2)):
        frame = Frame(np.array(numbers), np.array([[0.0, 0, 0], [1.5, 0, 0]]), np.eye(3) * 5)
        made = QeLabeler(settings).files(settings, frame)
        assert {"Si-pbe.upf", "O-pbe.upf"} <= set(made)
        words = [line.split() for line in str(made["pw.in"]).lower().splitlines()]
        assert [f"hubbard_u({place})", "=", "3.0"] in words
        assert [f"starting_magnetization({place})", "=", "0.5"] in words
        assert "(3)" not in str(made["pw.in"])
    own = {"nspin": 2, "Starting_Magnetization(O)": 0.3}
    by_fraction = settings.model_copy(update={"magnetic_moments": {}, "input": {"system": own}})
    text = str(QeLabeler(by_fraction).files(by_fraction, frame)["pw.in"]).lower().split()
    assert text[text.index("starting_magnetization(1)") + 2] == "0.3"
    with pytest.raises(ValueError, match=r"label.pseudopotentials: there is none for Fe"):
        QeLabeler(settings).files(settings, Frame(np.array([26]), np.zeros((1, 3)), np.eye(3) * 5))


def test_a_mesh_survives_being_written_down() -> None:
    given = {key: value for key, value in FAST.items() if key != "kspacing"}
    settings = QuantumEspresso.model_validate({**given, "kpoints": [2, 2, 2]})
    again = QuantumEspresso.model_validate_json(settings.model_dump_json())
    assert again.mesh(silicon(1)) == (2, 2, 2)
    assert QuantumEspresso.model_validate(given).mesh(silicon(1)) == (11, 11, 11)
    with pytest.raises(ValidationError, match="give kspacing or kpoints, not both"):
        QuantumEspresso.model_validate({**FAST, "kpoints": [2, 2, 2]})


def test_k_points_are_at_most_so_far_apart() -> None:
    cell = np.diag([2.0, 4.0, 100.0])
    assert kpoint_grid(cell, 0.5) == (7, 4, 1)
    reciprocal = 2 * np.pi / np.diag(cell)
    assert (reciprocal / kpoint_grid(cell, 0.5) <= 0.5).all()


def test_no_output_at_all(tmp_path: Path) -> None:
    found = read_output(tmp_path / "pw.out", silicon(1), 1e-8)
    assert isinstance(found, LabelFailure)
    assert found.reason == "pw.x stopped early"
