"""Explore this pod's share of the tasks, evaluate the committee where the trajectories are, keep what matters."""

from __future__ import annotations

import time
from functools import partial
from pathlib import Path
from typing import NamedTuple

from lamflow.config import stored
from lamflow.config.engines import SearcherSettings
from lamflow.config.schema import Config
from lamflow.data import Frame
from lamflow.data.results import Explored, TaskResult
from lamflow.engines import registry
from lamflow.engines.protocol import ExploreTask
from lamflow.errors import EngineError
from lamflow.ops._judge import FRAMES, RESULT, Models, Visited, compact, good_frames, judge
from lamflow.ops._op import Context, op
from lamflow.ops._read import read_structures
from lamflow.ops._search import Search
from lamflow.science.tasks import PlannedTask, deal, plan_tasks


class Explorations(NamedTuple):
    """explored: one folder a pod, and one a generation of each search, with results and one compact file of frames."""

    explored: Path


@op
def explore(
    context: Context, *, input: Path, structures: Path, models: Path, iteration: int, stage: int
) -> Explorations:
    """Run tasks pod, pod + pods, … of the iteration, except for searches that are split."""
    config = stored(input)
    committees = Models(config, models)
    starts = read_structures(structures)
    sizes = {name: len(frames) for name, frames in starts.items()}
    tasks = [task for task in plan_tasks(config.stages[stage], sizes, iteration, config.seed) if not task.split]
    mine = deal(len(tasks), context.pods, context.pod)
    results, visited = [], []
    out = context.out / "explored"
    for done, place in enumerate(mine):
        task = tasks[place]
        if isinstance(task.settings, SearcherSettings):
            search = Search(config, task, task.settings, committees, context.work)
            search.run(context, out, partial(_progress, context, done, len(mine)))
        else:
            result, found = _explore_one(context, config, task, starts[task.structure][task.start], committees)
            results.append(result)
            visited.append(found)
        context.progress((done + 1) / len(mine))
    folder = out / str(context.pod)
    folder.mkdir(parents=True)
    compact(config, visited, iteration, context.pod).save(folder / FRAMES)
    Explored(tasks=results).save(folder / RESULT)
    return Explorations(out)


def _progress(context: Context, done: int, tasks: int, share: float) -> None:
    context.progress((done + share) / tasks)


def _explore_one(
    context: Context, config: Config, task: PlannedTask, start: Frame, models: Models
) -> tuple[TaskResult, Visited]:
    """One task: its result, and its good frames with their deviations."""
    started, name = time.monotonic(), config.explored(task.settings)
    work = context.work / f"{task.number:05d}"
    failed, log = None, ""
    dropped: dict[str, int] = {}
    visited = Visited.nothing(task.number, start)
    committee = models.committee(name)
    turn = task.number % len(committee)
    try:
        explorer = registry.explorer(task.settings)
        request = ExploreTask(start, task.condition, task.seed, work, context.threads, context.timeout)
        whole = explorer.explore(request, committee[turn])
        failed, log = whole.failure, whole.log
        good, dropped = good_frames(config, whole)
        [visited] = judge(config, models, name, task.number, [good], work)
    except EngineError as error:
        failed = str(error).splitlines()[0]
        log = str(error)
    result = TaskResult(
        number=task.number,
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
