"""Moments that move with the atoms, by the spin-lattice itself and by a committee of two of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError

from lamflow.data import Trajectory
from lamflow.engines.batched import BatchedExploration, BatchedExplorer
from lamflow.engines.protocol import Model, Simulation
from lamflow.engines.registry import evaluator
from lamflow.engines.spin_lattice import SpinLatticeLabels, iron_frames
from lamflow.errors import EngineError
from lamflow.science.deviation import deviations

TOY: Model = evaluator(SpinLatticeLabels(engine="spin-lattice"))  # type: ignore[assignment]  # LAMMPS knows none
OTHER: Model = evaluator(SpinLatticeLabels(engine="spin-lattice", exchange=0.006))  # type: ignore[assignment]


def settings(**spins: object) -> BatchedExploration:
    given = {
        "engine": "batched",
        "structures": ["x"],
        "temperatures": [300],
        "steps": 20,
        "every": 5,
        "timestep": 0.002,
    }
    return BatchedExploration.model_validate({**given, "spins": {"mobility": 20.0, **spins}})


def explored(settings: BatchedExploration, committee: list[Model], work: Path, **condition: float) -> list[Trajectory]:
    starts = [frame.with_fields(spin=2.2 * np.eye(3)[np.arange(frame.natoms) % 3]) for frame in iron_frames()]
    runs = [Simulation(start, {"temperature": 300.0, **condition}, 5 + n, work) for n, start in enumerate(starts)]
    return list(BatchedExplorer(settings).explore_all(runs, committee))


def test_moments_move_and_models_say_what_they_disagree_on(tmp_path: Path) -> None:
    found = explored(settings(), [TOY, OTHER], tmp_path)
    again = explored(settings(), [TOY, OTHER], tmp_path)
    for trajectory, same in zip(found, again, strict=True):
        assert trajectory.failure is None
        assert len(trajectory) == 4
        spins = trajectory.fields["spin"]
        assert np.abs(np.diff(spins, axis=0)).max(axis=(1, 2)).min() > 1e-3
        np.testing.assert_array_equal(spins, same.fields["spin"])
        frames = list(trajectory)
        answers = [model.evaluate(frames) for model in (TOY, OTHER)]
        energies, forces, magnetic = (
            np.array([[getattr(labels, name) for labels in answer] for answer in answers])
            for name in ("energy", "forces", "force_mag")
        )
        expected = deviations(energies, forces, None, magnetic)
        assert trajectory.deviations is not None
        np.testing.assert_allclose(trajectory.deviations.magnetic_force_max, expected.magnetic_force_max)
        assert expected.magnetic_force_max.min() > 1e-3


def test_moments_may_be_colder_than_the_atoms(tmp_path: Path) -> None:
    cold = settings(temperatures=[0.0, 300.0], fixed_length=True)
    assert cold.conditions()[0] == {"temperature": 300.0, "spin_temperature": 0.0}
    found = explored(cold, [TOY], tmp_path, spin_temperature=0.0)
    for trajectory in found:
        np.testing.assert_allclose(np.linalg.norm(trajectory.fields["spin"], axis=-1), 2.2)


def test_a_moment_that_no_model_knows_ends_its_system(tmp_path: Path) -> None:
    for trajectory in explored(settings(max_moment=2.0), [TOY], tmp_path):
        assert trajectory.failure is not None
        assert "the run exploded: a moment has 2.2 μB at step 0" in trajectory.failure


def test_what_makes_no_sense(tmp_path: Path) -> None:
    bare = iron_frames()[0].with_fields(spin=None)
    with pytest.raises(
        EngineError, match="a structure has no magnetic moments to move; give its structure set `spins`"
    ):
        BatchedExplorer(settings()).explore(Simulation(bare, {"temperature": 300.0}, 1, tmp_path), TOY)
    with pytest.raises(ValidationError, match=r"spins.mobility: relax brings moments to rest; take it out"):
        relaxation(mobility=3.0)


def relaxation(**spins: object) -> BatchedExploration:
    given = {"engine": "batched", "structures": ["x"], "ensemble": "relax", "steps": 40, "every": 5, "spins": spins}
    return BatchedExploration.model_validate(given)


def test_moments_come_to_rest_with_atoms_and_cell(tmp_path: Path) -> None:
    for trajectory in explored(relaxation(), [TOY], tmp_path):
        assert trajectory.failure is None
        first, last = (TOY.evaluate([trajectory.frame(index)])[0] for index in (0, len(trajectory) - 1))
        assert np.abs(np.asarray(last.force_mag)).max() < 0.2 * np.abs(np.asarray(first.force_mag)).max()
        assert last.energy < first.energy
    turned = explored(relaxation(fixed_length=True), [TOY], tmp_path)
    for trajectory in turned:
        np.testing.assert_allclose(np.linalg.norm(trajectory.fields["spin"], axis=-1), 2.2)
    for trajectory in explored(relaxation(max_moment=2.0), [TOY], tmp_path):
        assert trajectory.failure == "the run exploded: a moment has 2.2 μB at step 0"
        assert not len(trajectory)
