"""Temperature ramps: temperatures that are explored one after the other, each when the one before is learned."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from lamflow.config.engines import WalkerSettings
from lamflow.config.learning import Stage
from lamflow.data.explored import ExploredFrames
from lamflow.data.results import Iteration, SimulationResult
from lamflow.data.selected import GroupSeen, Selected
from lamflow.policy.windows import Window


def ramp_temperatures(stage: Stage) -> list[list[float]]:
    """The temperatures of each explore group that has a ramp, in their order; empty for the others."""
    return [
        group.ramp_temperatures if isinstance(group, WalkerSettings) and group.ramp else [] for group in stage.explore
    ]


def ramp_levels(stage: Stage, past: Sequence[Iteration]) -> list[int]:
    """The level of each explore group of a stage after the iterations that it has had: 0 for the first temperature."""
    levels = [0] * len(stage.explore)
    for iteration in past:
        if iteration.selected is not None and iteration.stage == stage.name:
            levels = next_levels(stage, levels, iteration.selected.groups)
    return levels


def next_levels(stage: Stage, levels: Sequence[int], seen: Sequence[GroupSeen]) -> list[int]:
    """The levels after what an iteration has seen: one up where its frames are accurate, one back where it fails."""
    following = list(levels)
    for index, (group, temperatures) in enumerate(zip(stage.explore, ramp_temperatures(stage), strict=True)):
        outcome = next((item for item in seen if item.group == index), None)
        if outcome is None or not temperatures or not isinstance(group, WalkerSettings) or group.ramp is None:
            continue
        if outcome.failed_fraction >= group.ramp.failed:
            following[index] = max(0, levels[index] - 1)
        elif outcome.accurate_fraction >= group.ramp.advance_at:
            following[index] = min(len(temperatures) - 1, levels[index] + 1)
    return following


def groups_seen(
    stage: Stage, levels: Sequence[int], results: Mapping[int, SimulationResult], explored: Sequence[ExploredFrames],
    window: Window,
) -> list[GroupSeen]:  # fmt: skip
    """What each explore group of the stage has seen."""
    group_of = {result.number: int(result.group) for result in results.values()}
    deviation = np.concatenate([np.zeros(0), *(frames.deviation for frames in explored)])
    group = np.array([group_of[int(number)] for frames in explored for number in frames.simulation], dtype=np.int64)
    seen = []
    for index, temperatures in enumerate(ramp_temperatures(stage)):
        accurate, _, failed = window.counts(deviation[group == index])
        runs = [result for result in results.values() if int(result.group) == index]
        seen.append(
            GroupSeen(
                group=index, temperature=temperatures[levels[index]] if temperatures else None,
                frames=int((group == index).sum()), accurate=accurate, failed=failed, runs=len(runs),
                refused=refused_frames(stage, runs),
                failed_runs=sum(result.failed is not None for result in runs),
            )
        )  # fmt: skip
    return seen


def refused_frames(stage: Stage, results: Iterable[SimulationResult]) -> int:
    """Frames of dynamics and relaxations that the filters refused."""
    walkers = {str(index) for index, group in enumerate(stage.explore) if isinstance(group, WalkerSettings)}
    return sum(sum(one.dropped.values()) for one in results if one.group in walkers)


def step_back(stage: Stage, levels: list[int], results: Mapping[int, SimulationResult]) -> Selected | None:
    """The decision to go back to lower temperatures after an iteration in which almost everything failed.

    None where no ramp is above its first level.
    """
    groups = groups_seen(stage, levels, results, [], Window(0.0, 0.0))
    following = next_levels(stage, levels, groups)
    if following == levels:
        return None
    return Selected(
        frames=0, accurate=0, candidates=0, failed=0, dropped={}, low=0.0, high=0.0, groups=groups, chosen=[],
        batches=0, decision="ramp", reason=f"almost every run failed; {ramp_status(stage, levels, following)}",
    )  # fmt: skip


def ramp_status(stage: Stage, levels: Sequence[int], following: Sequence[int]) -> str:
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
