"""Which explore tasks an iteration has, and how tasks are dealt out to pods."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from lamflow.config.engines import ExplorerSettings, SearcherSettings, WalkerSettings
from lamflow.config.schema import Stage
from lamflow.config.seeds import child_seed
from lamflow.data.results import Iteration, TaskResult

POD_SECONDS = 600.0
"""What a pod should work for at least, so that its start of half a minute or so does not matter."""


@dataclass(frozen=True)
class PlannedTask:
    """One explore task.

    number     within the iteration
    group      place of its section in the stage's `explore`
    structure  name of the structure set, and `start` the number of the structure in it; empty for a search
    """

    number: int
    group: int
    settings: ExplorerSettings
    structure: str
    start: int
    condition: dict[str, float]
    seed: int

    @property
    def name(self) -> str:
        """What a person recognises it by."""
        condition = " ".join(f"{key} {value:g}" for key, value in self.condition.items())
        begin = f"{self.structure}:{self.start} " if self.structure else ""
        return f"task {self.number}: {self.settings.engine} {begin}{condition}".strip()

    @property
    def split(self) -> bool:
        """It is a search whose relaxations are dealt out to pods of their own."""
        return isinstance(self.settings, SearcherSettings) and self.settings.mode == "split"


def plan_tasks(
    stage: Stage, sizes: Mapping[str, int], iteration: int, seed: int, levels: Sequence[int] = ()
) -> list[PlannedTask]:
    """Every explore task of an iteration, in a fixed order.

    sizes  how many structures each set has
    levels  of each group's temperature ramp, see science.ramp; the first temperature if it is empty

    A search is one task for each condition and repeat. In other groups each condition gets `starts` structures of each
    of its sets; those of a set are drawn in one seeded order that goes on from iteration to iteration and begins again
    when it is through.
    """
    tasks: list[PlannedTask] = []
    drawn: dict[str, int] = {}

    def add(group: int, settings: ExplorerSettings, structure: str, start: int, condition: dict[str, float]) -> None:
        number = len(tasks)
        seed_here = child_seed(seed, "explore", iteration, number)
        tasks.append(PlannedTask(number, group, settings, structure, start, condition, seed_here))

    for group, settings in enumerate(stage.explore):
        if isinstance(settings, SearcherSettings):
            for condition in settings.conditions():
                for _ in range(settings.repeats):
                    add(group, settings, "", 0, condition)
        if not isinstance(settings, WalkerSettings):
            continue
        for structure in settings.structures:
            size = sizes[structure]
            order = np.random.default_rng(child_seed(seed, "starts", structure)).permutation(size)
            for condition in settings.conditions_at(levels[group] if levels else 0):
                for _ in range(settings.starts):
                    place = drawn.get(structure, 0)
                    drawn[structure] = place + 1
                    turn = place + (iteration - 1) * _draws(stage, structure)
                    add(group, settings, structure, int(order[turn % size]), condition)
    return tasks


def _draws(stage: Stage, structure: str) -> int:
    """How often an iteration of `stage` draws from a structure set."""
    return sum(
        len(group.conditions_at(0)) * group.starts
        for group in stage.explore
        if isinstance(group, WalkerSettings)
        for name in group.structures
        if name == structure
    )


def deal(count: int, pods: int, pod: int) -> range:
    """The tasks, of `count`, that pod number `pod` of `pods` does: every `pods`-th, so that costs even out."""
    return range(pod, count, pods)


def collected(partial: Iterable[TaskResult]) -> list[TaskResult]:
    """Tasks in their order; what several pods say of one task is added up."""
    tasks: dict[int, TaskResult] = {}
    for result in sorted(partial, key=lambda task: task.number):
        before = tasks.get(result.number)
        if before is not None:
            dropped = Counter(before.dropped)
            dropped.update(result.dropped)
            result = result.model_copy(  # noqa: PLW2901  the sum takes its place
                update={
                    "frames": before.frames + result.frames,
                    "dropped": dict(dropped),
                    "failed": before.failed or result.failed,
                    "log": before.log or result.log,
                    "seconds": before.seconds + result.seconds,
                }
            )
        tasks[result.number] = result
    return list(tasks.values())


def pods_needed(
    count: int, parallel: int, tasks_per_pod: int | Literal["auto"] | None, seconds: float | None = None
) -> int:
    """How many pods share `count` tasks: no more than `parallel` unless `tasks_per_pod` is a number, at least one.

    seconds  that one task takes, if it has been measured; `auto` needs it, and spreads evenly without
    """
    if isinstance(tasks_per_pod, int):
        return max(1, -(-count // tasks_per_pod))
    if tasks_per_pod == "auto" and seconds:
        parallel = min(parallel, math.ceil(count * seconds / POD_SECONDS))
    return max(1, min(count, parallel))


def share_of(pods: int, count: int, total: int) -> int:
    """How many of `pods` pods `count` tasks of `total` get, in proportion, at least one."""
    return max(1, round(pods * count / total)) if total else 1


def task_seconds(done: Sequence[Iteration]) -> dict[str, float]:
    """Mean time of one task of each kind, in s, in the newest iteration that has any."""
    found: dict[str, float] = {}
    for iteration in done:
        trained = [model.seconds for model in iteration.models if not model.reused]
        explored = [task.seconds for task in iteration.tasks]
        if trained:
            found["train"] = sum(trained) / len(trained)
        if explored:
            found["explore"] = sum(explored) / len(explored)
        if iteration.merged and (labels := iteration.merged.added + len(iteration.merged.failed)):
            found["label"] = iteration.merged.seconds / labels
    return found
