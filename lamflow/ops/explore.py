"""Explore this pod's share of the tasks, evaluate the committee where the trajectories are, keep what matters."""

from __future__ import annotations

import itertools
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

from lamflow.config import stored
from lamflow.config.engines import ExplorerSettings, SearcherSettings, WalkerSettings
from lamflow.config.schema import Config
from lamflow.data import Frame, Trajectory
from lamflow.data.results import Explored, History, TaskResult
from lamflow.engines import registry
from lamflow.engines.protocol import BatchExplorer, Explorer, Model, Simulation
from lamflow.errors import EngineError
from lamflow.ops._judge import FRAMES, RESULT, Models, Visited, compact, good_frames, judge
from lamflow.ops._read import read_structures
from lamflow.ops._search import Search
from lamflow.ops.operation import Context, op
from lamflow.science.ramp import ramp_levels
from lamflow.science.tasks import PlannedTask, deal, plan_tasks


class Explorations(NamedTuple):
    """explored: one folder a pod, and one a generation of each search, with results and one compact file of frames."""

    explored: Path


@op
def explore(
    context: Context, *, input: Path, structures: Path, models: Path, history: Path | None, iteration: int, stage: int
) -> Explorations:
    """Run tasks pod, pod + pods, … of the iteration, except for searches that are split.

    history  of the run, where a temperature ramp asks for it
    """
    config = stored(input)
    past = History.read(history / "history.json").iterations if history is not None else []
    committees = Models(config, models)
    starts = read_structures(structures)
    sizes = {name: len(frames) for name, frames in starts.items()}
    planned = plan_tasks(config.stages[stage], sizes, iteration, config.seed, ramp_levels(config.stages[stage], past))
    tasks = [task for task in planned if not task.split]
    mine = [tasks[place] for place in deal(len(tasks), context.pods, context.pod)]
    out = context.out / "explored"
    done = 0
    for task in mine:
        if isinstance(task.settings, SearcherSettings):
            search = Search(config, task, task.settings, committees, context.work)
            search.run(context, out, partial(_progress, context, done, len(mine)))
            done += 1
    found: list[tuple[TaskResult, Visited]] = []
    walks = [task for task in mine if not isinstance(task.settings, SearcherSettings)]
    for each in _walk(context, config, walks, starts, committees, iteration):
        found.append(each)
        _progress(context, done + len(found), len(mine), 0.0)
    found.sort(key=lambda pair: pair[0].number)
    folder = out / str(context.pod)
    folder.mkdir(parents=True, exist_ok=True)
    compact(config, [visited for _, visited in found], iteration, context.pod).save(folder / FRAMES)
    Explored(tasks=[result for result, _ in found]).save(folder / RESULT)
    return Explorations(out)


def _progress(context: Context, done: int, tasks: int, fraction: float) -> None:
    context.progress((done + fraction) / tasks)


def _walk(
    context: Context, config: Config, tasks: Sequence[PlannedTask], starts: Mapping[str, list[Frame]],
    models: Models, iteration: int,
) -> Iterator[tuple[TaskResult, Visited]]:  # fmt: skip
    """Each task's result, and its good frames with their deviations. Tasks that run better together run together."""
    turns = {task.number: _turn(config, task, iteration, config.train.n_models) for task in tasks}
    together = sorted(tasks, key=lambda task: (task.group, turns[task.number], task.number))
    for (_, turn), group in itertools.groupby(together, key=lambda task: (task.group, turns[task.number])):
        members = list(group)
        name = config.explored(members[0].settings)
        whole = models.committee(name)
        committee = [*whole[turn:], *whole[:turn]]
        requests = [_request(context, task, starts) for task in members]
        clock = time.monotonic()
        runs = _runs(config, members[0].settings, requests, committee)
        for task, request, run in zip(members, requests, runs, strict=True):
            visited, dropped, failed, log = _judged(config, models, name, task, request, run)
            for file in run.files:
                kept = context.out / "explored" / str(context.pod) / "files" / f"{task.number:05d}"
                kept.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(file, kept / file.name)
            now = time.monotonic()
            result = TaskResult(
                number=task.number, name=task.name, group=f"{task.group}", structure=task.structure, start=task.start,
                condition=task.condition, task=name, model=turn, seed=task.seed, frames=len(visited.trajectory),
                dropped=dropped, failed=failed, log=log, seconds=now - clock,
            )  # fmt: skip
            clock = now
            yield result, visited


def _turn(config: Config, task: PlannedTask, iteration: int, models: int) -> int:
    """Which model drives a task: they take turns. Tasks that share a program share the model that drives it."""
    shared = config.select.score == "committee" and isinstance(registry.explorer(task.settings), BatchExplorer)
    return (iteration - 1 if shared else task.number) % models


def _request(context: Context, task: PlannedTask, starts: Mapping[str, list[Frame]]) -> Simulation:
    start, end = starts[task.structure][task.start], None
    if isinstance(task.settings, WalkerSettings) and task.settings.final_structures is not None:
        end = starts[task.settings.final_structures][task.start % len(starts[task.settings.final_structures])]
    if "electronic_temperature" in task.condition:
        start = start.with_fields(electronic_temperature=task.condition["electronic_temperature"])
    work = context.work / f"{task.number:05d}"
    return Simulation(start, task.condition, task.seed, work, context.threads, context.timeout, end)


def _runs(
    config: Config, settings: ExplorerSettings, requests: Sequence[Simulation], committee: Sequence[Model]
) -> Iterator[Trajectory]:
    """The trajectory of each request in turn."""
    explorer = registry.explorer(settings)
    if isinstance(explorer, BatchExplorer):
        yield from explorer.explore_all(requests, committee if config.select.score == "committee" else committee[:1])
        return
    for request in requests:
        yield _run_one(explorer, request, committee[0])


def _run_one(explorer: Explorer, request: Simulation, model: Model) -> Trajectory:
    try:
        return explorer.explore(request, model)
    except EngineError as error:
        return Trajectory.nothing(request.start, str(error).splitlines()[0], str(error))


def _judged(
    config: Config, models: Models, name: str, task: PlannedTask, request: Simulation, run: Trajectory
) -> tuple[Visited, dict[str, int], str | None, str]:
    """The good frames of a run, how many each filter refused, and why it failed with the end of its log."""
    try:
        good, dropped = good_frames(config, run)
        [visited] = judge(config, models, name, task.number, [good], request.work)
    except EngineError as error:
        return Visited.nothing(task.number, request.start), {}, str(error).splitlines()[0], str(error)
    return visited, dropped, run.failure, run.log
