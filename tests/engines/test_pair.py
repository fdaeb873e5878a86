from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from ase.data import chemical_symbols

from lamflow.data import Frame, LabeledFrame
from lamflow.data.dataset import Item, Origin, systems, write_dataset
from lamflow.engines.conformance import EvaluatorConformance
from lamflow.engines.emt import Emt
from lamflow.engines.pair import PairSpin, PairTraining
from lamflow.engines.protocol import Model, TrainingJob
from lamflow.engines.registry import evaluator, trainer
from lamflow.engines.spin_lattice import SpinLatticeLabels, iron_frames
from lamflow.errors import EngineError, InputError
from lamflow.science.metrics import errors


@pytest.fixture
def task(copper: list[Frame], tmp_path: Path) -> TrainingJob:
    labels = evaluator(Emt()).evaluate(copper)
    items = [
        Item(LabeledFrame(frame, label), Origin(iteration=0, source=str(n)))
        for n, (frame, label) in enumerate(zip(copper, labels, strict=True))
    ]
    write_dataset(tmp_path / "data", items, ["Cu"], "deepmd/npy")
    return TrainingJob(
        systems=tuple(systems(tmp_path / "data")), elements=("Cu",), seed=1, previous=None,
        output=tmp_path / "model", scratch=tmp_path / "scratch",
    )  # fmt: skip


def test_it_learns(task: TrainingJob, copper: list[Frame]) -> None:
    made = trainer(PairTraining(engine="pair"))
    made.train(task, lambda fraction: None)
    truth = evaluator(Emt()).evaluate(copper)
    found = errors(made.load(task.output).evaluate(copper), truth)
    assert found.force_rmse < 0.25 * found.force_size
    assert np.isfinite(found.energy_rmse)


def test_elements_that_are_in_no_frame_cost_nothing(task: TrainingJob, copper: list[Frame]) -> None:
    """A type map of a hundred elements has 80,000 coefficients, of which these frames tell seventeen."""
    settings = PairTraining(engine="pair", ridge=1e-9)
    made = trainer(settings)
    made.train(task, lambda fraction: None)
    many = replace(task, elements=tuple(chemical_symbols[1:101]), output=task.output.with_name("many"))
    made.train(many, lambda fraction: None)
    alone, among = (made.load(job.output).evaluate(copper) for job in (task, many))
    assert errors(among, alone).force_rmse < 1e-6


def test_equations_that_fit_into_no_memory_are_refused(task: TrainingJob, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lamflow.engines.pair.LARGEST", 10)
    with pytest.raises(InputError, match="1 elements has 17 coefficients for the pairs of these"):
        trainer(PairTraining(engine="pair")).train(task, lambda fraction: None)


@pytest.fixture
def magnetic_job(tmp_path: Path) -> TrainingJob:
    frames = iron_frames()
    labels = evaluator(SpinLatticeLabels(engine="spin-lattice")).evaluate(frames)
    items = [
        Item(LabeledFrame(frame, label), Origin(iteration=0, source=str(n)))
        for n, (frame, label) in enumerate(zip(frames, labels, strict=True))
    ]
    write_dataset(tmp_path / "data", items, ["Fe"], "deepmd/npy")
    return TrainingJob(
        systems=tuple(systems(tmp_path / "data")), elements=("Fe",), seed=1, previous=None,
        output=tmp_path / "model", scratch=tmp_path / "scratch",
    )  # fmt: skip


class TestMagneticModel(EvaluatorConformance):
    """Forces, magnetic forces and virial are derivatives of the energy of a model with moments."""

    @pytest.fixture
    def engine(self, magnetic_job: TrainingJob) -> Model:
        made = trainer(PairTraining(engine="pair", spin=PairSpin(elements=["Fe"])))
        made.train(magnetic_job, lambda fraction: None)
        return made.load(magnetic_job.output)

    def frames(self) -> list[Frame]:
        return iron_frames()

    def test_it_learns_magnetic_forces(self, engine: Model) -> None:
        truth = evaluator(SpinLatticeLabels(engine="spin-lattice")).evaluate(iron_frames())
        found = errors(engine.evaluate(iron_frames()), truth)
        assert found.magnetic_force_rmse is not None
        assert found.magnetic_force_size is not None
        assert found.magnetic_force_rmse < 0.05 * found.magnetic_force_size
        with pytest.raises(EngineError, match="frame 0: the model needs the magnetic moments of Fe"):
            engine.evaluate([iron_frames()[0].with_fields(spin=None)])


def test_a_model_without_spins_takes_no_moments(task: TrainingJob, copper: list[Frame]) -> None:
    made = trainer(PairTraining(engine="pair"))
    made.train(task, lambda fraction: None)
    moments = copper[0].with_fields(spin=np.ones((copper[0].natoms, 3)))
    with pytest.raises(EngineError, match="frame 0: the model knows no spins, and the frame has magnetic moments"):
        made.load(task.output).evaluate([moments])
