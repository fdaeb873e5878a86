"""Explore this pod's share of the tasks, evaluate the committee where the trajectories are, keep what matters."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from lamflow.config import stored
from lamflow.config.schema import Config
from lamflow.config.seeds import child_seed
from lamflow.config.select import FixedWindow
from lamflow.data import Frame, Labels, Trajectory
from lamflow.data.explored import ExploredFrames
from lamflow.data.frames import Floats, Ints
from lamflow.data.packed import PackedFrames
from lamflow.data.results import Explored, ModelResult, TaskResult
from lamflow.engines import registry
from lamflow.engines.protocol import ExploreTask, Labeler, Model
from lamflow.errors import EngineError
from lamflow.ops._op import Context, op
from lamflow.ops._read import descriptors, read_structures
from lamflow.science import filters
from lamflow.science.deviation import deviations, true_errors
from lamflow.science.metrics import bad_models
from lamflow.science.select import sample
from lamflow.science.tasks import PlannedTask, deal, plan_tasks

RESULT, FRAMES = "explored.json", "frames.npz"


class Explorations(NamedTuple):
    """explored: one folder a pod, with the tasks' results and the one compact file of frames."""

    explored: Path


@op
def explore(
    context: Context, *, input: Path, structures: Path, models: Path, iteration: int, stage: int
) -> Explorations:
    """Run tasks pod, pod + pods, … of the iteration."""
    config = stored(input)
    models_of = _Models(config, models)
    starts = read_structures(structures)
    tasks = plan_tasks(
        config.stages[stage], {name: len(frames) for name, frames in starts.items()}, iteration, config.seed
    )
    mine = deal(len(tasks), context.pods, context.pod)
    results, visited = [], []
    for done, number in enumerate(mine):
        task = tasks[number]
        result, found = _explore_one(context, config, task, starts[task.structure][task.start], models_of)
        results.append(result)
        visited.append(found)
        context.progress((done + 1) / len(mine))
    folder = context.out / "explored" / str(context.pod)
    folder.mkdir(parents=True)
    _compact(config, visited, iteration, context.pod).save(folder / FRAMES)
    Explored(tasks=results).save(folder / RESULT)
    return Explorations(context.out / "explored")


class _Models:
    """The committee and the teacher of each task, loaded once. Raises EngineError that names the bad models."""

    def __init__(self, config: Config, folder: Path) -> None:
        self.config, self.folder = config, folder
        results = [ModelResult.read(folder / str(index) / "model.json") for index in range(config.train.total)]
        bad = bad_models(results)
        if bad:
            raise EngineError("a model went bad, so nothing was explored:\n  " + "\n  ".join(bad))
        self.committees: dict[str, list[Model]] = {}
        self.teachers: dict[str, Labeler] = {}

    def committee(self, task: str) -> list[Model]:
        """Every model with the head of `task`."""
        if task not in self.committees:
            trainer = registry.trainer(self.config.train)
            places = range(self.config.train.total)
            self.committees[task] = [trainer.load(self.folder / str(index), task) for index in places]
        return self.committees[task]

    def teach(self, task: str, frames: list[Frame], work: Path) -> list[Labels]:
        """What is true for `task`; a frame that its teacher cannot label has labels that are no numbers."""
        if task not in self.teachers:
            self.teachers[task] = registry.labeler(self.config.labeler(task))
        answers = self.teachers[task].label(frames, work)
        return [
            answer if isinstance(answer, Labels) else Labels(np.nan, np.full((frame.natoms, 3), np.nan))
            for frame, answer in zip(frames, answers, strict=True)
        ]


@dataclass(frozen=True, eq=False)
class _Visited:
    """The good frames of one task, F of N atoms.

    forces     (F, N, 3)  what the models predict on average, eV/Å
    deviation  (F,)       what the window looks at
    error      (F,)       force RMSE against the teacher, eV/Å
    """

    number: int
    trajectory: Trajectory
    forces: Floats
    deviation: Floats
    error: Floats


def _explore_one(
    context: Context, config: Config, task: PlannedTask, start: Frame, models: _Models
) -> tuple[TaskResult, _Visited]:
    """One task: its result, and its good frames with their deviations."""
    started, name = time.monotonic(), config.explored(task.settings)
    work = context.work / f"{task.number:05d}"
    failed, log, dropped = None, "", {}
    nothing = _part(Trajectory.of([start], [0]), np.zeros(0, dtype=np.int64))
    visited = _Visited(task.number, nothing, np.zeros((0, start.natoms, 3)), np.zeros(0), np.zeros(0))
    committee = models.committee(name)
    turn = task.number % len(committee)
    try:
        explorer = registry.explorer(task.settings)
        request = ExploreTask(start, task.condition, task.seed, work, context.threads, context.timeout)
        whole = explorer.explore(request, committee[turn])
        failed, log = whole.failure, whole.log
        verdict = filters.refused(whole, filters.Limits(**config.select.filters.model_dump()))
        dropped = filters.counts(verdict)
        visited = _score(config, task, _part(whole, np.flatnonzero(verdict == 0)), models, work)
    except EngineError as error:
        failed = str(error).splitlines()[0]
        log = str(error)
    result = TaskResult(
        name=task.name,
        group=f"{task.group}",
        structure=task.structure,
        start=task.start,
        condition=task.condition,
        task=name,
        model=turn,
        seed=task.seed,
        frames=len(visited.trajectory),
        dropped=dropped,
        failed=failed,
        log=log,
        seconds=time.monotonic() - started,
    )
    return result, visited


def _part(trajectory: Trajectory, frames: Ints) -> Trajectory:
    return Trajectory(
        trajectory.numbers,
        trajectory.positions[frames],
        trajectory.cells[frames],
        trajectory.steps[frames],
        trajectory.pbc,
    )


def _score(config: Config, task: PlannedTask, trajectory: Trajectory, models: _Models, work: Path) -> _Visited:
    """What the window looks at, for each frame: the committee's deviation, or the error of the model that explored."""
    frames, natoms, number = list(trajectory), len(trajectory.numbers), task.number
    name = config.explored(task.settings)
    committee = models.committee(name)
    if not frames:
        return _Visited(number, trajectory, np.zeros((0, natoms, 3)), np.zeros(0), np.zeros(0))
    judged_by_teacher = config.select.score == "teacher"
    if judged_by_teacher:
        answers = [committee[number % len(committee)].evaluate(frames), models.teach(name, frames, work)]
    else:
        answers = [model.evaluate(frames) for model in committee]
    energies = np.array([[labels.energy for labels in answer] for answer in answers])
    forces = np.array([[labels.forces for labels in answer] for answer in answers])
    virials = None
    if all(labels.virial is not None for answer in answers for labels in answer):
        virials = np.array([[labels.virial for labels in answer] for answer in answers], dtype=np.float64)
    found = (true_errors if judged_by_teacher else deviations)(energies, forces, virials)
    error = np.full(len(frames), np.nan)
    if judged_by_teacher:
        error = np.sqrt(np.mean((forces[0] - forces[1]) ** 2, axis=(1, 2)))
    predicted = forces[0] if judged_by_teacher else forces.mean(axis=0)
    return _Visited(number, trajectory, predicted, getattr(found, config.select.by), error)


def _compact(config: Config, visited: list[_Visited], iteration: int, pod: int) -> ExploredFrames:
    """Deviations of all frames, coordinates of the candidates that this pod sends on."""
    task = np.concatenate([np.zeros(0, dtype=np.int64), *(np.full(len(v.deviation), v.number) for v in visited)])
    step = np.concatenate([np.zeros(0, dtype=np.int64), *(v.trajectory.steps for v in visited)])
    deviation = np.concatenate([np.zeros(0), *(v.deviation for v in visited)])
    chosen = _sent_on(config, deviation, child_seed(config.seed, "pool", iteration, pod))
    ends = np.cumsum([len(v.deviation) for v in visited])
    frames, forces = [], [np.zeros((0, 3))]
    for index in chosen:
        place = int(np.searchsorted(ends, index, side="right"))
        within = int(index - (ends[place - 1] if place else 0))
        frames.append(visited[place].trajectory.frame(within))
        forces.append(visited[place].forces[within])
    return ExploredFrames(
        task=task, step=step, deviation=deviation, error=np.concatenate([np.zeros(0), *(v.error for v in visited)]),
        candidate=chosen, descriptor=descriptors(frames, config), frames=PackedFrames.of(frames),
        forces=np.concatenate(forces),
    )  # fmt: skip


def _sent_on(config: Config, deviation: Floats, seed: int) -> Ints:
    """Which frames could be selected once all pods are seen, at most `pool` of them."""
    window, pool = config.select.window, config.select.pool
    below = np.flatnonzero(deviation < window.high)
    if isinstance(window, FixedWindow):
        return sample(below[deviation[below] >= window.low], pool, seed)
    return np.sort(below[np.argsort(-deviation[below], kind="stable")][: max(pool, window.candidates)])
