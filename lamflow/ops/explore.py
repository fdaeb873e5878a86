"""Explore this pod's share of the tasks, evaluate the committee where the trajectories are, keep what matters."""

from __future__ import annotations

import time
from pathlib import Path
from typing import NamedTuple

import numpy as np

from lamflow.config import stored
from lamflow.config.schema import Config, FixedWindow
from lamflow.config.seeds import child_seed
from lamflow.data import Frame, Trajectory
from lamflow.data.explored import ExploredFrames
from lamflow.data.frames import Floats, Ints
from lamflow.data.packed import PackedFrames
from lamflow.data.results import Explored, ModelResult, TaskResult
from lamflow.engines import registry
from lamflow.engines.protocol import ExploreTask, Model
from lamflow.errors import EngineError
from lamflow.ops._op import Context, op
from lamflow.ops._read import descriptors, read_structures
from lamflow.science import filters
from lamflow.science.deviation import deviations
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
    committee = _committee(config, models)
    starts = read_structures(structures)
    tasks = plan_tasks(
        config.stages[stage], {name: len(frames) for name, frames in starts.items()}, iteration, config.seed
    )
    mine = deal(len(tasks), context.pods, context.pod)
    results, visited = [], []
    for done, number in enumerate(mine):
        task = tasks[number]
        result, found = _explore_one(context, config, task, starts[task.structure][task.start], committee)
        results.append(result)
        visited.append(found)
        context.progress((done + 1) / len(mine))
    folder = context.out / "explored" / str(context.pod)
    folder.mkdir(parents=True)
    _compact(config, visited, iteration, context.pod).save(folder / FRAMES)
    Explored(tasks=results).save(folder / RESULT)
    return Explorations(context.out / "explored")


def _committee(config: Config, models: Path) -> list[Model]:
    """The models, all good. Raises EngineError that names the bad ones."""
    results = [ModelResult.read(models / str(index) / "model.json") for index in range(config.train.models)]
    bad = bad_models(results)
    if bad:
        raise EngineError("a model went bad, so nothing was explored:\n  " + "\n  ".join(bad))
    trainer = registry.trainer(config.train)
    return [trainer.load(models / str(index)) for index in range(config.train.models)]


def _explore_one(
    context: Context, config: Config, task: PlannedTask, start: Frame, committee: list[Model]
) -> tuple[TaskResult, tuple[int, Trajectory, Floats]]:
    """One task: its result, and its good frames with their deviations."""
    started = time.monotonic()
    work = context.work / f"{task.number:05d}"
    failed, log, dropped = None, "", {}
    trajectory = _part(Trajectory.of([start], [0]), np.zeros(0, dtype=np.int64))
    deviation = np.zeros(0)
    try:
        explorer = registry.explorer(task.settings)
        request = ExploreTask(start, task.condition, task.seed, work, context.threads, context.timeout)
        whole = explorer.explore(request, committee[task.number % len(committee)])
        failed, log = whole.failure, whole.log
        verdict = filters.refused(whole, filters.Limits(**config.select.filters.model_dump()))
        dropped = filters.counts(verdict)
        good = _part(whole, np.flatnonzero(verdict == 0))
        deviation = _deviation(config, good, committee)
        trajectory = good
    except EngineError as error:
        failed = str(error).splitlines()[0]
        log = str(error)
    result = TaskResult(
        name=task.name,
        group=f"{task.group}",
        structure=task.structure,
        start=task.start,
        condition=task.condition,
        seed=task.seed,
        frames=len(trajectory),
        dropped=dropped,
        failed=failed,
        log=log,
        seconds=time.monotonic() - started,
    )
    return result, (task.number, trajectory, deviation)


def _part(trajectory: Trajectory, frames: Ints) -> Trajectory:
    return Trajectory(
        trajectory.numbers,
        trajectory.positions[frames],
        trajectory.cells[frames],
        trajectory.steps[frames],
        trajectory.pbc,
    )


def _deviation(config: Config, trajectory: Trajectory, committee: list[Model]) -> Floats:
    """What the window looks at, for each frame."""
    if not len(trajectory):
        return np.zeros(0)
    frames = list(trajectory)
    answers = [model.evaluate(frames) for model in committee]
    energies = np.array([[labels.energy for labels in answer] for answer in answers])
    forces = np.array([[labels.forces for labels in answer] for answer in answers])
    virials = None
    if all(labels.virial is not None for answer in answers for labels in answer):
        virials = np.array([[labels.virial for labels in answer] for answer in answers], dtype=np.float64)
    chosen: Floats = getattr(deviations(energies, forces, virials), config.select.by)
    return chosen


def _compact(config: Config, visited: list[tuple[int, Trajectory, Floats]], iteration: int, pod: int) -> ExploredFrames:
    """Deviations of all frames, coordinates of the candidates that this pod sends on."""
    task = np.concatenate([np.zeros(0, dtype=np.int64), *(np.full(len(d), n) for n, _, d in visited)])
    step = np.concatenate([np.zeros(0, dtype=np.int64), *(t.steps for _, t, _ in visited)])
    deviation = np.concatenate([np.zeros(0), *(d for _, _, d in visited)])
    chosen = _sent_on(config, deviation, child_seed(config.seed, "pool", iteration, pod))
    ends = np.cumsum([len(d) for _, _, d in visited])
    frames = []
    for index in chosen:
        place = int(np.searchsorted(ends, index, side="right"))
        frames.append(visited[place][1].frame(int(index - (ends[place - 1] if place else 0))))
    return ExploredFrames(
        task=task, step=step, deviation=deviation, candidate=chosen, descriptor=descriptors(frames, config),
        frames=PackedFrames.of(frames),
    )  # fmt: skip


def _sent_on(config: Config, deviation: Floats, seed: int) -> Ints:
    """Which frames could be selected once all pods are seen, at most `pool` of them."""
    window, pool = config.select.window, config.select.pool
    below = np.flatnonzero(deviation < window.high)
    if isinstance(window, FixedWindow):
        return sample(below[deviation[below] >= window.low], pool, seed)
    return np.sort(below[np.argsort(-deviation[below], kind="stable")][: max(pool, window.candidates)])
