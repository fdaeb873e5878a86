from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ase.calculators.emt import EMT
from pydantic import ValidationError

from lamflow.data import Frame, Labels
from lamflow.engines.ase import AseExploration, AseLabels
from lamflow.engines.conformance import EvaluatorConformance, LabelerConformance
from lamflow.engines.emt import Emt
from lamflow.engines.protocol import Evaluator, LabelFailure, Simulation
from lamflow.engines.registry import evaluator, explorer, labeler
from lamflow.errors import EngineError, InputError


def explore(frame: Frame, work: Path, seed: int = 1, condition: dict[str, float] | None = None, **settings: object):  # type: ignore[no-untyped-def]
    made = AseExploration.model_validate({"engine": "ase", "structures": ["x"], "steps": 40, "every": 5, **settings})
    task = Simulation(frame, condition or {"temperature": 600.0}, seed, work)
    return explorer(made).explore(task, evaluator(Emt()))  # type: ignore[arg-type]  # EMT stands in for a model


@pytest.mark.parametrize("method", ["nve", "nvt", "langevin", "npt"])
def test_dynamics_visits_frames_and_repeats_itself(method: str, copper: list[Frame], tmp_path: Path) -> None:
    settings: dict[str, Any] = {"method": method, "temperatures": [600], "timestep": 0.002}
    condition = {"temperature": 600.0, "pressure": 0.0}
    if method == "npt":
        settings["pressures"] = [0]
    first = explore(copper[0], tmp_path, condition=condition, **settings)
    again = explore(copper[0], tmp_path, condition=condition, **settings)
    other = explore(copper[0], tmp_path, seed=2, condition=condition, **settings)
    assert first.failure is None
    assert first.steps.tolist() == [5, 10, 15, 20, 25, 30, 35, 40]
    np.testing.assert_array_equal(first.positions, again.positions)
    assert np.abs(first.positions - other.positions).max() > 1e-3
    changes = np.abs(first.cells[-1] - first.cells[0]).max()
    assert (changes > 1e-6) == (method == "npt")


def test_relaxation_lowers_the_forces(copper: list[Frame], tmp_path: Path) -> None:
    found = explore(copper[0], tmp_path, condition={}, method="relax", steps=200, fmax=0.02)
    before, after = evaluator(Emt()).evaluate([copper[0], found.frame(len(found) - 1)])
    assert np.abs(after.forces).max() < 0.1 * np.abs(before.forces).max()


class Explosive:
    """A stand-in for a bad model: its forces grow a thousandfold after ten calls."""

    calls = 0

    def evaluate(self, frames: list[Frame]) -> list[Labels]:
        self.calls += 1
        size = 1e3 if self.calls > 10 else 1e-3
        return [Labels(0.0, np.full(frame.positions.shape, size), np.zeros((3, 3))) for frame in frames]


class Broken(Explosive):
    """A stand-in for a code that gives up after ten calls."""

    def evaluate(self, frames: list[Frame]) -> list[Labels]:
        if self.calls >= 10:
            raise EngineError("no more")
        return super().evaluate(frames)


def test_a_model_that_gives_up_costs_no_frame_of_before(copper: list[Frame], tmp_path: Path) -> None:
    settings = AseExploration.model_validate(
        {"engine": "ase", "structures": ["x"], "temperatures": [300], "steps": 40, "every": 2, "method": "nve"}
    )
    task = Simulation(copper[0], {"temperature": 300.0}, 1, tmp_path)
    found = explorer(settings).explore(task, Broken())  # type: ignore[arg-type]  # it evaluates, and is no Model otherwise
    assert found.failure == "ASE cannot run this: EngineError: no more"
    assert found.steps.tolist() == [2, 4, 6, 8]


def test_an_explosion_keeps_what_came_before(copper: list[Frame], tmp_path: Path) -> None:
    settings = AseExploration.model_validate(
        {"engine": "ase", "structures": ["x"], "temperatures": [300], "steps": 40, "every": 2, "method": "nve"}
    )
    task = Simulation(copper[0], {"temperature": 300.0}, 1, tmp_path)
    found = explorer(settings).explore(task, Explosive())  # type: ignore[arg-type]
    assert found.failure == "the run exploded: an atom feels 1e+03 eV/Å at step 10"
    assert found.steps.tolist() == [2, 4, 6, 8]


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"method": "nvt"}, "temperatures are needed"),
        ({"method": "npt", "temperatures": [300]}, "pressures are needed"),
        ({"method": "nvt", "temperatures": [300], "pressures": [0]}, "did you mean 'npt'"),
    ],
)
def test_settings_that_make_no_sense(settings: dict[str, object], expected: str) -> None:
    with pytest.raises(ValidationError, match=expected):
        AseExploration.model_validate({"engine": "ase", "structures": ["x"], "steps": 40, **settings})


class TestXtb(EvaluatorConformance, LabelerConformance):
    """xTB, a calculator of another package: tight binding by tblite."""

    @pytest.fixture
    def engine(self) -> Evaluator:
        arguments = {"method": "GFN1-xTB", "verbosity": 0}
        made = {"engine": "ase", "calculator": "tblite.ase.TBLite", "arguments": arguments}
        return evaluator(AseLabels.model_validate(made))

    def frames(self) -> list[Frame]:
        from ase.build import molecule

        rng, made = np.random.default_rng(3), []
        for name, pbc in (("CH3OH", True), ("H2O", True), ("CH3OH", False)):
            atoms = molecule(name, vacuum=2.0, pbc=pbc)
            atoms.positions += rng.normal(scale=0.05, size=atoms.positions.shape)
            made.append(Frame.from_ase(atoms))
        return [made[0], made[1], made[2]]

    def good_frames(self) -> list[Frame]:
        return self.frames()

    def test_an_unconverged_cycle_is_a_failure(self, tmp_path: Path) -> None:
        arguments = {"method": "GFN1-xTB", "verbosity": 0, "max_iterations": 2}
        settings = AseLabels(engine="ase", calculator="tblite.ase.TBLite", arguments=arguments)
        [failed] = labeler(settings).label(self.frames()[:1], tmp_path)
        assert isinstance(failed, LabelFailure)
        assert failed.kind == "unconverged"


def test_a_calculator_without_stress_is_refused_unless_no_virial_is_wanted() -> None:
    mopac = AseLabels(engine="ase", calculator="ase.calculators.mopac.MOPAC")
    with pytest.raises(InputError, match="cannot do stress, so frames would have no virial"):
        mopac.examine(None)  # type: ignore[arg-type]  # it looks at no file
    assert mopac.model_copy(update={"virial": False}).examine(None) == []  # type: ignore[arg-type]


def test_a_calculator_that_fails_fails_its_frame_only(copper: list[Frame], tmp_path: Path) -> None:
    emt = labeler(AseLabels(engine="ase", calculator="ase.calculators.emt.EMT"))
    iron = Frame(np.full(8, 26), copper[0].positions, copper[0].cell)
    good, bad, again = emt.label([copper[0], iron, iron], tmp_path)
    assert isinstance(good, Labels)
    assert isinstance(bad, LabelFailure)
    assert isinstance(again, LabelFailure)
    assert "Fe" in bad.reason
    assert again.reason == bad.reason, "a calculator that has failed knows why once more"


class Leaves(EMT):  # type: ignore[misc]  # ASE has no types
    """What ends the program instead of raising."""

    def calculate(self, *arguments: object, **options: object) -> None:
        raise SystemExit("bad input")


def test_a_calculator_that_ends_the_program_fails_its_frame_only(copper: list[Frame], tmp_path: Path) -> None:
    [failure] = labeler(AseLabels(engine="ase", calculator=f"{__name__}.Leaves")).label(copper[:1], tmp_path)
    assert isinstance(failure, LabelFailure)
    assert failure.reason == "SystemExit: bad input"


def test_a_calculator_that_is_not_there() -> None:
    assert "the package 'nowhere' is not installed" in (
        AseLabels(engine="ase", calculator="nowhere.Thing").missing() or ""
    )
    with pytest.raises(EngineError, match=r"the calculator ase.calculators.emt.Nothing cannot be made"):
        labeler(AseLabels(engine="ase", calculator="ase.calculators.emt.Nothing")).label(
            [Frame(np.array([29]), np.zeros((1, 3)), np.eye(3))], Path()
        )
    with pytest.raises(ValidationError):
        AseLabels(engine="ase", calculator="os; rm -rf")
    with pytest.raises(InputError, match=r"label: os.system: TypeError: this is no class of calculators of ASE"):
        AseLabels(engine="ase", calculator="os.system").examine(None)  # type: ignore[arg-type]  # it looks at no file


@pytest.mark.parametrize(
    ("calculator", "arguments", "expected"),
    [
        ("ase.calculators.lj.LennardJones", {"sigm": 1.0}, "no argument 'sigm'; did you mean 'sigma'"),
        ("ase.calculators.emt.EMT", {"asap_cutof": True}, "no argument 'asap_cutof'; did you mean 'asap_cutoff'"),
    ],
)
def test_arguments_that_a_calculator_does_not_know(
    calculator: str, arguments: dict[str, object], expected: str
) -> None:
    with pytest.raises(TypeError, match=expected):
        AseLabels.model_validate({"engine": "ase", "calculator": calculator, "arguments": arguments}).create()


@pytest.mark.parametrize(
    ("calculator", "arguments"),
    [("ase.calculators.lj.LennardJones", {"sigma": 1.0}), ("ase.calculators.vasp.Vasp", {"encut": 300})],
)
def test_arguments_that_a_calculator_hands_on(calculator: str, arguments: dict[str, object]) -> None:
    AseLabels.model_validate({"engine": "ase", "calculator": calculator, "arguments": arguments}).create()
