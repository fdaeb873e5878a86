"""The one file that an explore job sends on: deviations of all frames, coordinates of the candidates only."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np

from lamflow.data.arrays import read_arrays
from lamflow.data.frames import Floats, Ints
from lamflow.data.packed import PackedFrames


@dataclass(frozen=True, eq=False)
class ExploredFrames:
    """F frames that passed the filters, of which C are candidates.

    simulation  (F,)    number of the simulation within its iteration
    structure   (F,)    of a search: 100 000 times the generation plus the structure's number; 0 otherwise
    step        (F,)    step of the simulation or relaxation
    deviation   (F,)    what the window looks at
    error       (F,)    force RMSE of the model that explored against the teacher, eV/Å; NaN without a teacher
    candidate   (C,)    numbers of the candidates among the F frames
    descriptor  (C, D)  what diversity is measured with
    frames      C       the candidates themselves
    forces      (ΣN, 3) what the models predict for the candidates, one after the other, eV/Å
    velocities  (ΣN, 3) of the candidates' atoms, Å/ps; NaN where there are none
    """

    simulation: Ints
    structure: Ints
    step: Ints
    deviation: Floats
    error: Floats
    candidate: Ints
    descriptor: Floats
    frames: PackedFrames
    forces: Floats
    velocities: Floats

    def save(self, path: Path) -> None:
        """Write as an uncompressed .npz file without pickles."""
        arrays = {item.name: getattr(self, item.name) for item in fields(self) if item.name != "frames"}
        np.savez(path, **arrays, **self.frames.arrays())  # type: ignore[arg-type]

    @classmethod
    def load(cls, path: Path) -> ExploredFrames:
        """Read what `save` wrote."""
        stored = read_arrays(path)
        arrays = {item.name: stored[item.name] for item in fields(cls) if item.name != "frames"}
        return cls(**arrays, frames=PackedFrames.among(stored))


GENERATION = 100_000
"""Structures of a generation that ExploredFrames can tell apart."""


@dataclass(frozen=True, eq=False)
class FoundFrames:
    """The structures that a search has found, as they relaxed.

    frames  C
    forces  (ΣN, 3) what the models predict on average, one after the other, eV/Å
    """

    frames: PackedFrames
    forces: Floats

    def save(self, path: Path) -> None:
        """Write as an uncompressed .npz file without pickles."""
        np.savez(path, forces=self.forces, **self.frames.arrays())  # type: ignore[arg-type]

    @classmethod
    def load(cls, path: Path) -> FoundFrames:
        """Read what `save` wrote."""
        stored = read_arrays(path)
        return cls(PackedFrames.among(stored), stored["forces"])
