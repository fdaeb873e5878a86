"""What each explore group has seen, where ladders go from there, and whether there is anything to select from."""

from __future__ import annotations

import numpy as np

from lamflow.config.schema import Config, Stage
from lamflow.data.explored import ExploredFrames
from lamflow.data.results import GroupSeen, Selected, TaskResult
from lamflow.errors import EngineError
from lamflow.science.ladder import moved, steps_of
from lamflow.science.select import Window


def _is_lost(config: Config, tasks: dict[int, TaskResult], found: list[ExploredFrames]) -> bool:
    """Too many tasks failed outright, or nothing is left."""
    lost = [task for task in tasks.values() if task.failed and task.frames == 0]
    nothing = not any(len(part.deviation) for part in found)
    return nothing or len(lost) > config.select.max_failed * len(tasks)


def fallen_back(
    config: Config, stage: Stage, standing: list[int], tasks: dict[int, TaskResult], found: list[ExploredFrames]
) -> Selected | None:
    """When almost everything failed above the first rung of a ladder: step back instead of giving up."""
    if not _is_lost(config, tasks, found) or not any(standing):
        return None
    nothing = Window(0.0, 0.0)
    groups = groups_seen(stage, standing, tasks, [], nothing)
    down = moved(stage, standing, groups)
    if down == standing:
        return None
    return Selected(
        frames=0, accurate=0, candidates=0, failed=0, dropped={}, low=0.0, high=0.0, groups=groups, chosen=[],
        batches=0, decision="climb", reason=f"almost every run failed; {climbing(stage, standing, down)}",
    )  # fmt: skip


def groups_seen(
    stage: Stage, standing: list[int], tasks: dict[int, TaskResult], found: list[ExploredFrames], window: Window
) -> list[GroupSeen]:
    """What each explore group of the stage has seen."""
    of_task = {task.number: int(task.group) for task in tasks.values()}
    deviation = np.concatenate([np.zeros(0), *(part.deviation for part in found)])
    group = np.array([of_task[int(n)] for part in found for n in part.task], dtype=np.int64)
    seen = []
    for place, ladder in enumerate(steps_of(stage)):
        accurate, _, failed = window.counts(deviation[group == place])
        runs = [task for task in tasks.values() if int(task.group) == place]
        seen.append(
            GroupSeen(
                group=place, temperature=ladder[standing[place]] if ladder else None,
                frames=int((group == place).sum()), accurate=accurate, failed=failed, runs=len(runs),
                failed_runs=sum(task.failed is not None for task in runs),
            )
        )  # fmt: skip
    return seen


def climbing(stage: Stage, standing: list[int], then: list[int]) -> str:
    """Where ladders stand that have not reached their end; empty if there is none."""
    said = []
    for ladder, now, coming in zip(steps_of(stage), standing, then, strict=True):
        if ladder and now < len(ladder) - 1:
            how = "stays" if coming == now else "climbs to" if coming > now else "goes back to"
            where = "" if coming == now else f" {ladder[coming]:g} K"
            said.append(f"a ladder at {ladder[now]:g} K of {ladder[-1]:g} K {how}{where}")
        elif ladder and coming < now:
            said.append(f"a ladder at {ladder[now]:g} K goes back to {ladder[coming]:g} K")
    return "; ".join(said)


def require_frames(config: Config, tasks: dict[int, TaskResult], found: list[ExploredFrames]) -> None:
    """Raise EngineError when too many tasks failed outright or nothing is left."""
    if _is_lost(config, tasks, found):
        lost = [task for task in tasks.values() if task.failed and task.frames == 0]
        nothing = not any(len(part.deviation) for part in found)
        shown = "\n".join(
            f"  {task.name}: {task.log or task.failed or task.dropped}" for task in list(tasks.values())[:3]
        )
        what = "no frame passed the filters" if nothing else f"{len(lost)} of {len(tasks)} explore tasks failed"
        raise EngineError(f"{what} (select.max_failed is {config.select.max_failed:g}); the first ones:\n{shown}")
