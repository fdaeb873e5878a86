"""What each explore group has seen, where ramps go from there, and whether there is anything to select from."""

from __future__ import annotations

import numpy as np

from lamflow.config.schema import Config, Stage
from lamflow.data.explored import ExploredFrames
from lamflow.data.results import GroupSeen, Selected, TaskResult
from lamflow.errors import EngineError
from lamflow.science.ramp import next_levels, ramp_temperatures
from lamflow.science.select import Window


def _is_lost(config: Config, tasks: dict[int, TaskResult], found: list[ExploredFrames]) -> bool:
    """Too many tasks failed outright, or nothing is left."""
    lost = [task for task in tasks.values() if task.failed and task.frames == 0]
    nothing = not any(len(part.deviation) for part in found)
    return nothing or len(lost) > config.select.max_failed * len(tasks)


def fallen_back(
    config: Config, stage: Stage, levels: list[int], tasks: dict[int, TaskResult], found: list[ExploredFrames]
) -> Selected | None:
    """When almost everything failed above the first level of a temperature ramp: step back instead of giving up."""
    if not _is_lost(config, tasks, found) or not any(levels):
        return None
    nothing = Window(0.0, 0.0)
    groups = groups_seen(stage, levels, tasks, [], nothing)
    down = next_levels(stage, levels, groups)
    if down == levels:
        return None
    return Selected(
        frames=0, accurate=0, candidates=0, failed=0, dropped={}, low=0.0, high=0.0, groups=groups, chosen=[],
        batches=0, decision="ramp", reason=f"almost every run failed; {ramp_status(stage, levels, down)}",
    )  # fmt: skip


def groups_seen(
    stage: Stage, levels: list[int], tasks: dict[int, TaskResult], found: list[ExploredFrames], window: Window
) -> list[GroupSeen]:
    """What each explore group of the stage has seen."""
    of_task = {task.number: int(task.group) for task in tasks.values()}
    deviation = np.concatenate([np.zeros(0), *(part.deviation for part in found)])
    group = np.array([of_task[int(n)] for part in found for n in part.task], dtype=np.int64)
    seen = []
    for index, temperatures in enumerate(ramp_temperatures(stage)):
        accurate, _, failed = window.counts(deviation[group == index])
        runs = [task for task in tasks.values() if int(task.group) == index]
        seen.append(
            GroupSeen(
                group=index, temperature=temperatures[levels[index]] if temperatures else None,
                frames=int((group == index).sum()), accurate=accurate, failed=failed, runs=len(runs),
                failed_runs=sum(task.failed is not None for task in runs),
            )
        )  # fmt: skip
    return seen


def ramp_status(stage: Stage, levels: list[int], following: list[int]) -> str:
    """The temperature ramps that have not reached their end, in words; empty if there is none."""
    descriptions = []
    for temperatures, level, next_level in zip(ramp_temperatures(stage), levels, following, strict=True):
        begin = f"a temperature ramp at {temperatures[level]:g} K" if temperatures else ""
        if temperatures and level < len(temperatures) - 1:
            verb = "stays" if next_level == level else "goes on to" if next_level > level else "goes back to"
            target = "" if next_level == level else f" {temperatures[next_level]:g} K"
            descriptions.append(f"{begin} of {temperatures[-1]:g} K {verb}{target}")
        elif temperatures and next_level < level:
            descriptions.append(f"{begin} goes back to {temperatures[next_level]:g} K")
    return "; ".join(descriptions)


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
