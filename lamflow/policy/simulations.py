"""Which simulations and searches an iteration runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from lamflow.config.engines import DynamicsSettings, ExplorerSettings, SearcherSettings, WalkerSettings
from lamflow.config.learning import Stage
from lamflow.config.seeds import child_seed
from lamflow.config.tracked import FAILED_PROPERTIES


@dataclass(frozen=True)
class PlannedSimulation:
    """One simulation, or one search.

    number     within the iteration
    group      index of its section in the stage's `explore`
    structure  name of the structure set, and `start` the index of the structure in it; empty for a search
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
        return f"simulation {self.number}: {self.settings.engine} {begin}{condition}".strip()

    @property
    def split(self) -> bool:
        """It is a search whose relaxations are dealt out to jobs of their own."""
        return isinstance(self.settings, SearcherSettings) and self.settings.mode == "split"


def frames_written(settings: ExplorerSettings) -> int:
    """Frames that a simulation or a search leaves, at most."""
    if isinstance(settings, SearcherSettings):
        return settings.population * settings.generations
    return settings.steps // settings.every + 1 if isinstance(settings, DynamicsSettings) else 1


def plan_simulations(
    stage: Stage, sizes: Mapping[str, int], iteration: int, seed: int, levels: Sequence[int] = ()
) -> list[PlannedSimulation]:
    """Every simulation and search of an iteration, in a fixed order.

    sizes   how many structures each set has
    levels  of each group's temperature ramp, see policy.ramps; the first temperature if it is empty

    A search is one for each condition and repeat. In other groups each condition gets `starts` structures of each of
    its sets; those of a set are drawn in one seeded order that goes on from iteration to iteration and begins again
    when it is through. Last come those that begin with frames of failed properties, where there are any.
    """
    planned: list[PlannedSimulation] = []
    drawn: dict[str, int] = {}

    def add(group: int, settings: ExplorerSettings, structure: str, start: int, condition: dict[str, float]) -> None:
        number = len(planned)
        own_seed = child_seed(seed, "explore", iteration, number)
        planned.append(PlannedSimulation(number, group, settings, structure, start, condition, own_seed))

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
                    draw = drawn.get(structure, 0)
                    drawn[structure] = draw + 1
                    turn = draw + (iteration - 1) * _draws(stage, structure)
                    add(group, settings, structure, int(order[turn % size]), condition)
    failed = sizes.get(FAILED_PROPERTIES, 0)
    order = np.random.default_rng(child_seed(seed, "starts", FAILED_PROPERTIES, iteration)).permutation(failed)
    walkers = [(group, one) for group, one in enumerate(stage.explore) if isinstance(one, WalkerSettings) and failed]
    runs = [
        (group, settings, condition)
        for group, settings in walkers
        for condition in settings.conditions_at(levels[group] if levels else 0)
        for _ in range(settings.starts)
    ]
    for number, (group, settings, condition) in enumerate(runs):
        add(group, settings, FAILED_PROPERTIES, int(order[number % failed]), condition)
    return planned


def _draws(stage: Stage, structure: str) -> int:
    """How often an iteration of `stage` draws from a structure set."""
    return sum(
        len(group.conditions_at(0)) * group.starts
        for group in stage.explore
        if isinstance(group, WalkerSettings)
        for name in group.structures
        if name == structure
    )
