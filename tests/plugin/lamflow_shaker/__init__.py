"""An explorer that shakes its structures, downhill and up again: a whole third-party engine in one file."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import Field

from lamflow.config.engines import WalkerSettings
from lamflow.data import Frame, Trajectory
from lamflow.engines.engine import Engine, Role
from lamflow.engines.example import Example
from lamflow.engines.protocol import Model, Simulation
from lamflow.errors import EngineError
from lamflow.units import Angstrom


class Shaking(WalkerSettings):
    """Random displacements that grow from frame to frame."""

    engine: Literal["shaker"]
    frames: int = Field(10, ge=1)
    """How many frames one simulation makes."""
    amplitudes: list[Angstrom] = Field(min_length=1)
    """Largest standard deviations of a coordinate's displacement; each is a simulation of its own."""

    def conditions(self) -> list[dict[str, float]]:
        """One simulation for each amplitude."""
        return [{"amplitude": amplitude} for amplitude in self.amplitudes]


class Shaker:
    """Explorer by shaking."""

    def __init__(self, settings: Shaking) -> None:
        self.settings = settings

    def explore(self, simulation: Simulation, model: Model) -> Trajectory:
        """See lamflow's Explorer."""
        rng, start = np.random.default_rng(simulation.seed), simulation.start
        made: list[Frame] = []
        for number in range(1, self.settings.frames + 1):
            scale = simulation.condition["amplitude"] * number / self.settings.frames
            moved = start.positions + rng.normal(scale=scale, size=start.positions.shape)
            frame = Frame(start.numbers, moved, start.cell, start.pbc)
            try:
                [labels] = model.evaluate([frame])  # a short step downhill, so that the model has a say
            except EngineError as error:
                if not made:
                    raise
                return Trajectory.of(made, list(range(1, len(made) + 1)), str(error))
            step = np.clip(0.05 * labels.forces, -0.05, 0.05)
            made.append(Frame(start.numbers, moved + step, start.cell, start.pbc))
        return Trajectory.of(made, list(range(1, len(made) + 1)))


def _example(folder: Path) -> Example:
    del folder
    return Example({"structures": ["x"], "frames": 12, "amplitudes": [0.1]})


ENGINE = Engine(
    "shaker",
    probe=lambda: "lamflow-shaker 1.0",
    install="pip install lamflow-shaker",
    explore=Role(Shaking, Shaker, example=_example),
)
