"""Temperature ramps: temperatures that are explored one after the other, each when the one before is learned."""

from __future__ import annotations

from collections.abc import Sequence

from lamflow.config.engines import WalkerSettings
from lamflow.config.schema import Stage
from lamflow.data.results import GroupSeen, Iteration


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
    levels = list(levels)
    for index, (group, temperatures) in enumerate(zip(stage.explore, ramp_temperatures(stage), strict=True)):
        outcome = next((item for item in seen if item.group == index), None)
        if outcome is None or not temperatures or not isinstance(group, WalkerSettings) or group.ramp is None:
            continue
        if outcome.failed_fraction >= group.ramp.failed:
            levels[index] = max(0, levels[index] - 1)
        elif outcome.accurate_fraction >= group.ramp.advance_at:
            levels[index] = min(len(temperatures) - 1, levels[index] + 1)
    return levels
