"""Ladders: temperatures that are explored one after the other, each when the one before is safe."""

from __future__ import annotations

from collections.abc import Sequence

from lamflow.config.engines import WalkerSettings
from lamflow.config.schema import Stage
from lamflow.data.results import GroupSeen, Iteration


def steps_of(stage: Stage) -> list[list[float]]:
    """The temperatures of each explore group that climbs, in their order; empty for the others."""
    return [group.ladder if isinstance(group, WalkerSettings) and group.climb else [] for group in stage.explore]


def rungs(stage: Stage, past: Sequence[Iteration]) -> list[int]:
    """Where each explore group of a stage stands after the iterations that it has had: 0 for the first temperature."""
    now = [0] * len(stage.explore)
    for iteration in past:
        if iteration.selected is not None and iteration.stage == stage.name:
            now = moved(stage, now, iteration.selected.groups)
    return now


def moved(stage: Stage, now: Sequence[int], seen: Sequence[GroupSeen]) -> list[int]:
    """Where the groups stand after what an iteration has seen: a step up where it is safe, back where it fails."""
    found = list(now)
    for place, (group, ladder) in enumerate(zip(stage.explore, steps_of(stage), strict=True)):
        own = next((item for item in seen if item.group == place), None)
        if own is None or not ladder or not isinstance(group, WalkerSettings) or group.climb is None:
            continue
        if own.failed_fraction >= group.climb.failed:
            found[place] = max(0, now[place] - 1)
        elif own.accurate_fraction >= group.climb.safe:
            found[place] = min(len(ladder) - 1, now[place] + 1)
    return found
