"""What every engine that makes models or runs with them must hold: trainers, explorers, searchers, folders to relax."""

from __future__ import annotations

import multiprocessing
import os
import shutil
import signal
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from lamflow.config.engines import Relaxation
from lamflow.data import Frame, Labels, Relaxed, Trajectory
from lamflow.data.dataset import Item
from lamflow.engines.example import Example, emt_items, training_job
from lamflow.engines.protocol import (
    BatchExplorer,
    Evaluator,
    Explorer,
    LammpsPotential,
    Model,
    RelaxFolder,
    Searcher,
    SearchJob,
    Simulation,
    Trainer,
)
from lamflow.errors import EngineError, InputError
from lamflow.science.relaxation import relax

HUGE = 1.7e308
"""eV/Å; the sum of two of them is no number any more."""
KILL_AFTER = (0.0, 0.02, 0.1)
"""s after which a search is killed."""


class TrainerConformance:
    """What any Trainer must hold. Subclasses define the fixtures `engine` and `example`."""

    def test_the_same_seed_gives_the_same_model(self, engine: Trainer, example: Example, tmp_path: Path) -> None:
        first = _forces(engine, example, tmp_path, "first", seed=1)
        np.testing.assert_allclose(
            first, _forces(engine, example, tmp_path, "again", seed=1), atol=example.force_tolerance
        )
        assert np.abs(first - _forces(engine, example, tmp_path, "other", seed=2)).max() > 1e-6

    def test_it_goes_on_with_what_a_killed_one_left(self, engine: Trainer, example: Example, tmp_path: Path) -> None:
        first = _forces(engine, example, tmp_path, "model", seed=1)
        shutil.rmtree(tmp_path / "model")  # as if it had been killed before it left its model
        np.testing.assert_allclose(
            first, _forces(engine, example, tmp_path, "model", seed=1), atol=example.force_tolerance
        )

    def test_a_loss_that_is_no_number_is_an_engine_error(
        self, engine: Trainer, example: Example, tmp_path: Path
    ) -> None:
        items = [_with_huge_forces(item) for item in emt_items(example.frames)]
        try:
            engine.train(training_job(items, tmp_path), lambda _: None)
        except EngineError:
            return
        raise AssertionError("a training whose loss is no number came to an end as if it were good")


def _forces(engine: Trainer, example: Example, folder: Path, name: str, seed: int) -> np.ndarray:
    """Forces of a model of that name on the first frame, (N, 3)."""
    job = training_job(emt_items(example.frames), folder, name, seed)
    fractions: list[float] = []
    assert engine.train(job, fractions.append) >= 0
    assert all(0 <= fraction <= 1 for fraction in fractions), "progress is a fraction of the work"
    [labels] = engine.load(job.output).evaluate(example.frames[:1])
    assert labels.problem(example.frames[0]) is None
    return labels.forces


def _with_huge_forces(item: Item) -> Item:
    labels = replace(item.labeled.labels, forces=np.full(item.labeled.labels.forces.shape, HUGE))
    return replace(item, labeled=replace(item.labeled, labels=labels))


class EvaluatedModel:
    """Any Evaluator as a Model that no other code knows; it fails after `calls` calls."""

    def __init__(self, evaluator: Evaluator, calls: float = np.inf) -> None:
        self.evaluator, self.calls = evaluator, calls

    def evaluate(self, frames: Sequence[Frame]) -> list[Labels]:
        """See Evaluator."""
        self.calls -= 1
        if self.calls < 0:
            raise EngineError("the model fails on purpose")
        return self.evaluator.evaluate(frames)

    def lammps(self) -> LammpsPotential:
        """See Model."""
        raise EngineError("this model is only for tests")


class ExplorerConformance:
    """What any Explorer must hold. Subclasses define the fixtures `engine`, `condition`, `model`, `example`, `failing`.

    failing  an explorer and a model with which a simulation ends early, after it has written frames
    """

    def test_the_same_seed_visits_the_same_frames(
        self, engine: Explorer, condition: dict[str, float], model: Model, example: Example, tmp_path: Path
    ) -> None:
        first, again, other = (
            engine.explore(simulation(example.frames[0], condition, tmp_path / name, seed), model)
            for name, seed in (("first", 5), ("again", 5), ("other", 6))
        )
        assert first.failure is None, first.failure
        assert len(first) > 0
        np.testing.assert_array_equal(first.positions, again.positions)
        assert first.positions.shape != other.positions.shape or np.abs(first.positions - other.positions).max() > 1e-6
        assert sorted(first.numbers) == sorted(example.frames[0].numbers)

    def test_frames_before_a_failure_are_kept(
        self, failing: tuple[Explorer, Model, dict[str, float]], example: Example, tmp_path: Path
    ) -> None:
        explorer, model, condition = failing
        trajectory = explorer.explore(simulation(example.frames[0], condition, tmp_path / "run", 5), model)
        assert trajectory.failure, "it ended early, and the trajectory does not say why"
        assert len(trajectory) > 0
        assert np.isfinite(trajectory.positions).all()

    def test_files_lie_below_work_only(
        self, engine: Explorer, condition: dict[str, float], model: Model, example: Example, tmp_path: Path
    ) -> None:
        start, folder = example.frames[0], Path.cwd()
        before, files = start.content_hash(), {path.name for path in folder.iterdir()}
        engine.explore(simulation(start, condition, tmp_path / "run", 5), model)
        assert start.content_hash() == before
        assert {path.name for path in tmp_path.iterdir()} == {"run"}
        assert {path.name for path in folder.iterdir()} == files

    def test_one_simulation_is_the_same_as_among_others(
        self, engine: Explorer, condition: dict[str, float], model: Model, example: Example, tmp_path: Path
    ) -> None:
        if not isinstance(engine, BatchExplorer):
            return  # it does one after the other
        starts = list(example.frames[:2])
        together = list(engine.explore_all(_simulations(starts, condition, tmp_path / "together"), [model]))
        singly = [
            trajectory
            for one in _simulations(starts, condition, tmp_path / "singly")
            for trajectory in engine.explore_all([one], [model])
        ]
        assert len(together) == len(singly) == 2
        for one, other in zip(together, singly, strict=True):
            assert_same_trajectory(one, other)


def simulation(start: Frame, condition: dict[str, float], work: Path, seed: int) -> Simulation:
    """A simulation whose folder is there and empty."""
    work.mkdir(parents=True)
    return Simulation(start, condition, seed, work)


def _simulations(starts: Sequence[Frame], condition: dict[str, float], work: Path) -> list[Simulation]:
    return [simulation(start, condition, work / str(index), 11 + index) for index, start in enumerate(starts)]


def assert_same_trajectory(one: Trajectory, other: Trajectory) -> None:
    """Both visit the same frames at the same steps."""
    assert one.failure == other.failure
    assert one.steps.tolist() == other.steps.tolist()
    np.testing.assert_allclose(one.positions, other.positions, atol=1e-5)
    np.testing.assert_allclose(one.cells, other.cells, atol=1e-5)


class SearcherConformance:
    """What any Searcher must hold. Subclasses define the fixtures `engine`, `condition` and `evaluator`."""

    def test_asked_twice_it_answers_the_same(
        self, engine: Searcher, condition: dict[str, float], evaluator: Evaluator, tmp_path: Path
    ) -> None:
        folder = tmp_path / "search"
        first = engine.propose(SearchJob(folder, 1, condition, 1), [])
        assert first, "the first generation is empty"
        assert hashes(engine.propose(SearchJob(folder, 1, condition, 1), [])) == hashes(first)
        relaxed = relaxed_frames(first, evaluator)
        second = engine.propose(SearchJob(folder, 2, condition, 1), relaxed)
        assert hashes(engine.propose(SearchJob(folder, 2, condition, 1), relaxed)) == hashes(second)
        other = engine.propose(SearchJob(tmp_path / "other", 1, condition, 2), [])
        assert hashes(other) != hashes(first), "another seed proposes the same structures"

    def test_killed_it_answers_the_same(
        self, engine: Searcher, condition: dict[str, float], evaluator: Evaluator, tmp_path: Path
    ) -> None:
        whole, cut = tmp_path / "whole", tmp_path / "cut"
        first = engine.propose(SearchJob(whole, 1, condition, 1), [])
        relaxed = relaxed_frames(first, evaluator)
        shutil.copytree(whole, cut)
        second = engine.propose(SearchJob(whole, 2, condition, 1), relaxed)
        for seconds in KILL_AFTER:
            _propose_and_die(engine, SearchJob(cut, 2, condition, 1), relaxed, seconds)
        assert hashes(engine.propose(SearchJob(cut, 2, condition, 1), relaxed)) == hashes(second)


def hashes(frames: Sequence[Frame]) -> list[str]:
    """Content hashes of structures, in their order."""
    return [frame.content_hash() for frame in frames]


def relaxed_frames(frames: Sequence[Frame], evaluator: Evaluator) -> list[Relaxed]:
    """What the structures relax to in a few steps."""
    return [path.relaxed for path in relax(frames, evaluator.evaluate, Relaxation(steps=5))]


def _propose_and_die(engine: Searcher, job: SearchJob, relaxed: Sequence[Relaxed], seconds: float) -> None:
    """Ask for a generation in a process that is killed after so many s."""
    process = multiprocessing.get_context("fork").Process(target=engine.propose, args=(job, relaxed))
    process.start()
    time.sleep(seconds)
    if process.pid is not None and process.is_alive():
        os.kill(process.pid, signal.SIGKILL)
    process.join()


class RelaxFolderConformance:
    """What any RelaxFolder must hold. Subclasses define the fixtures `engine`, `example`, `empty` and `evaluator`.

    empty  the same engine on a folder without structures
    """

    def test_its_structures_are_those_that_were_left(self, engine: RelaxFolder, example: Example) -> None:
        structures = engine.structures()
        assert len({name for name, _ in structures}) == len(structures) == len(example.frames)
        for (_, frame), expected in zip(structures, example.frames, strict=True):
            assert sorted(frame.numbers) == sorted(expected.numbers)
            np.testing.assert_allclose(
                np.abs(np.linalg.det(frame.cell)), np.abs(np.linalg.det(expected.cell)), rtol=1e-6
            )

    def test_results_and_failures_can_be_left(self, engine: RelaxFolder, evaluator: Evaluator, folder: Path) -> None:
        before = _files(folder)
        (name, frame), *others = engine.structures()
        [labels] = evaluator.evaluate([frame])
        engine.leave(name, Relaxed(frame, labels), 0.0)
        with_result = _files(folder)
        assert with_result != before, "a result left no trace in the folder"
        for other, failed in others:
            engine.leave(other, Relaxed(failed, None), 0.0)
        assert not others or _files(folder) != with_result, "a failure left no trace in the folder"

    def test_what_it_asks_for_are_numbers_or_nothing(self, engine: RelaxFolder) -> None:
        assert engine.pressure is None or np.isfinite(engine.pressure)
        assert engine.fmax is None or engine.fmax > 0

    def test_an_empty_folder_is_an_input_error(self, empty: RelaxFolder) -> None:
        try:
            empty.structures()
        except InputError:
            return
        raise AssertionError("a folder without structures was taken")


def _files(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
