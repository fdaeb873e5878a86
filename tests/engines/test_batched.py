"""Many systems in one process, with models of any kind and with DeePMD's own neighbours."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from lamflow.data import Frame, Labels
from lamflow.engines.batched import BatchedExploration, BatchedExplorer
from lamflow.engines.emt import Emt
from lamflow.engines.lammps.explorer import LammpsExplorer
from lamflow.engines.lammps.settings import LammpsExploration
from lamflow.engines.protocol import BatchExplorer, Model, Simulation
from lamflow.engines.registry import evaluator, explorer
from lamflow.errors import EngineError
from lamflow.science.deviation import deviations
from lamflow.units import BOLTZMANN
from tests.engines.test_lammps_runs import alloys, committee

__all__ = ["committee"]


def settings(**more: object) -> BatchedExploration:
    given = {"engine": "batched", "structures": ["x"], "temperatures": [300], "steps": 20, "every": 5, **more}
    return BatchedExploration.model_validate(given)


def tasks(starts: Sequence[Frame], work: Path, **condition: float) -> list[Simulation]:
    given = {"temperature": 300.0, **condition}
    return [Simulation(start, given, 11 + n, work) for n, start in enumerate(starts)]


class Shaky:
    """A second opinion: EMT with noise that depends on the positions."""

    def evaluate(self, frames: Sequence[Frame]) -> list[Labels]:
        answers = evaluator(Emt()).evaluate(frames)
        return [
            replace(labels, forces=labels.forces + 0.1 * np.sin(frame.positions))
            for frame, labels in zip(frames, answers, strict=True)
        ]


EMT: Model = evaluator(Emt())  # type: ignore[assignment]  # LAMMPS does not know it, and is not asked


@pytest.mark.parametrize("ensemble", ["nve", "nvt", "langevin", "npt"])
def test_dynamics_visits_frames_and_repeats_itself(ensemble: str, copper: list[Frame], tmp_path: Path) -> None:
    pressures = [0] if ensemble == "npt" else []
    made = BatchedExplorer(settings(ensemble=ensemble, pressures=pressures))
    assert isinstance(made, BatchExplorer)
    asked = tasks([*copper[:2], alloys(1)[0]], tmp_path, pressure=0.0)
    first = list(made.explore_all(asked, [EMT]))
    again = list(made.explore_all(asked, [EMT]))
    for one, other, task in zip(first, again, asked, strict=True):
        assert one.failure is None
        assert one.steps.tolist() == [5, 10, 15, 20]
        assert one.numbers.tolist() == task.start.numbers.tolist()
        np.testing.assert_array_equal(one.positions, other.positions)
        assert (np.abs(one.cells[-1] - task.start.cell).max() > 1e-7) == (ensemble == "npt")
    [alone] = made.explore_all(asked[1:2], [EMT])
    np.testing.assert_allclose(alone.positions, first[1].positions, atol=1e-9)


def test_the_committee_is_asked_on_the_way(copper: list[Frame], tmp_path: Path) -> None:
    both: list[Any] = [EMT, Shaky()]
    for found in BatchedExplorer(settings()).explore_all(tasks(copper[:3], tmp_path), both):
        answers = [model.evaluate(list(found)) for model in both]
        own = deviations(
            np.array([[labels.energy for labels in answer] for answer in answers]),
            np.array([[labels.forces for labels in answer] for answer in answers]),
            np.array([[labels.virial for labels in answer] for answer in answers], dtype=np.float64),
        )
        assert found.deviations is not None
        for name in ("force_max", "force_mean", "force_min", "force_max_relative", "virial_max", "energy"):
            np.testing.assert_allclose(getattr(found.deviations, name), getattr(own, name), atol=1e-9)
        assert found.forces is not None
        np.testing.assert_allclose(found.forces, np.mean([[a.forces for a in b] for b in answers], axis=0), atol=1e-9)


class Explosive:
    """A stand-in for a bad model: copper atoms feel too much from the third call on when there are 8 of them."""

    calls = 0

    def evaluate(self, frames: Sequence[Frame]) -> list[Labels]:
        self.calls += 1
        return [
            Labels(0.0, np.full(frame.positions.shape, 1e3 if self.calls > 7 and frame.numbers[0] == 29 else 0.0))
            for frame in frames
        ]


def test_an_explosion_ends_one_system_only(copper: list[Frame], tmp_path: Path) -> None:
    silver = replace(copper[1], numbers=np.full(8, 47))
    found = list(
        BatchedExplorer(settings()).explore_all(tasks([copper[0], silver, copper[2]], tmp_path), [Explosive()])  # type: ignore[list-item]
    )
    assert [run.failure for run in found] == [
        "the run exploded: an atom feels 1.73e+03 eV/Å at step 7", None, "the run exploded: an atom feels 1.73e+03 eV/Å at step 7",
    ]  # fmt: skip
    assert [run.steps.tolist() for run in found] == [[5], [5, 10, 15, 20], [5]]


def test_what_the_model_cannot_evaluate_ends_alone(copper: list[Frame], tmp_path: Path) -> None:
    iron = replace(copper[1], numbers=np.full(8, 26))
    found = list(BatchedExplorer(settings()).explore_all(tasks([copper[0], iron], tmp_path), [EMT]))
    assert found[0].failure is None
    assert found[1].failure is not None
    assert len(found[1]) == 0


def test_relaxation_lowers_the_forces(copper: list[Frame], tmp_path: Path) -> None:
    made = BatchedExplorer(settings(ensemble="relax", temperatures=[], steps=150, every=20))
    given = [Simulation(frame, {}, 1, tmp_path) for frame in copper[:3]]
    for found in made.explore_all(given, [EMT]):
        [labels] = EMT.evaluate([found.frame(len(found) - 1)])
        assert np.abs(labels.forces).max() < 0.03


def test_what_makes_no_sense(copper: list[Frame], tmp_path: Path) -> None:
    with pytest.raises(ValidationError, match="did you mean 'npt'"):
        settings(pressures=[0])
    with pytest.raises(ValidationError, match="temperatures are needed"):
        settings(temperatures=[])
    isolated = replace(copper[0], pbc=False, cell=np.zeros((3, 3)))
    with pytest.raises(EngineError, match="npt needs periodic structures"):
        explorer(settings(ensemble="npt", pressures=[0])).explore(
            Simulation(isolated, {"temperature": 300.0, "pressure": 0.0}, 1, tmp_path), EMT
        )


@pytest.mark.deepmd
@pytest.mark.slow
class TestDeepmd:
    def test_neighbours_that_are_kept_change_nothing(self, committee: list[Model]) -> None:
        """Atoms that move, cells that strain, systems that end: always as a model says that sees the frames anew."""
        rng, starts = np.random.default_rng(3), alloys(12)[1::2]
        session = committee[0].open_session(starts, committee[1:])  # type: ignore[attr-defined]
        positions, cells = np.stack([s.positions for s in starts]), np.stack([s.cell for s in starts])
        numbers = np.arange(len(starts))
        for step in range(12):
            positions = positions + rng.normal(scale=0.04, size=positions.shape)
            cells = cells * (1 + 0.004 * rng.normal())
            if step == 6:
                rows = np.array([0, 2, 3, 5])
                positions, cells, numbers = positions[rows], cells[rows], numbers[rows]
            energies, forces, virials = session.evaluate(positions, cells, numbers, 2)
            frames = [Frame(starts[n].numbers, p, c) for n, p, c in zip(numbers, positions, cells, strict=True)]
            for place, model in enumerate(committee):
                answers = model.evaluate(frames)
                np.testing.assert_allclose(energies[place], [a.energy for a in answers], atol=1e-4)
                np.testing.assert_allclose(forces[place], [a.forces for a in answers], atol=2e-4)
                np.testing.assert_allclose(virials[place], np.array([a.virial for a in answers]), atol=2e-3)

    def test_isolated_systems(self, committee: list[Model], tmp_path: Path) -> None:
        isolated = [replace(s, pbc=False, cell=np.zeros((3, 3))) for s in alloys(2)]
        for found in BatchedExplorer(settings()).explore_all(tasks(isolated, tmp_path), committee):
            assert found.failure is None
            answers = committee[0].evaluate(list(found)), committee[1].evaluate(list(found))
            mean = np.mean([[labels.forces for labels in answer] for answer in answers], axis=0)
            assert found.forces is not None
            np.testing.assert_allclose(found.forces, mean, atol=2e-4)

    def test_energy_is_conserved_and_lammps_goes_the_same_way(self, committee: list[Model], tmp_path: Path) -> None:
        """From rest, velocity Verlet here and in LAMMPS visit the same positions."""
        start = alloys(2)[1]
        steps = {"steps": 60, "every": 20, "timestep": 0.001, "temperatures": [0]}
        given = {"engine": "lammps", "structures": ["x"], "ensemble": "nve", **steps}
        [theirs] = LammpsExplorer(LammpsExploration.model_validate(given)).explore_all(
            tasks([start], tmp_path / "lammps", temperature=0.0), committee[:1]
        )
        [ours] = BatchedExplorer(settings(ensemble="nve", **steps)).explore_all(
            tasks([start], tmp_path, temperature=0.0), committee[:1]
        )
        assert theirs.failure is None, theirs.log
        runs = [
            np.linalg.solve(cell.T, (a - a[0]).T).T for run in (ours, theirs) for a, cell in zip(run.positions, run.cells, strict=True)
        ]  # fmt: skip
        for mine, other in zip(runs[:3], runs[3:], strict=True):
            away = mine - other
            assert np.abs(away - np.round(away)).max() < 2e-4
        energies = [labels.energy for labels in committee[0].evaluate(list(ours))]
        assert ours.velocities is not None
        from ase.data import atomic_masses

        masses = atomic_masses[ours.numbers]
        kinetic = 0.5 / 9648.5332 * np.einsum("n,fnx->f", masses, ours.velocities**2)
        total = np.array(energies) + kinetic
        assert np.ptp(total) < 0.02 * kinetic.max() + 1e-4
        assert kinetic.max() > 10 * BOLTZMANN * 8
