"""Structures that first-principles codes relax by themselves, again and again until labels have no forces."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lamflow.data import Frame, Labels, Trajectory
from lamflow.engines.own_relaxation import OwnRelaxation, RelaxesItself
from lamflow.engines.protocol import LabelFailure
from lamflow.errors import EngineError
from lamflow.science.relaxation import (
    Evaluate,
    Freedom,
    RelaxationPath,
    RelaxationSettings,
    largest_force,
    relax,
)
from lamflow.units import BAR_IN_EV_PER_A3

ROUNDS = 8
"""Times that a code begins anew at most. Plane waves of the cell where it began are too few for the one it comes to."""
SOFTER = 0.5
"""Limits that a code is given, as a fraction of the user's; labels from another start differ a little."""


@dataclass(eq=False)
class NativeRelaxer:
    """Relaxes by a code's own optimiser what that can do, and everything else by asking for labels. work: a folder"""

    code: RelaxesItself
    evaluate: Evaluate
    cells: frozenset[str]
    work: Path

    def __call__(
        self, starts: Sequence[Frame], *, settings: RelaxationSettings, free: Sequence[Freedom], pressure: float = 0.0
    ) -> list[RelaxationPath]:
        """See `relax`."""
        return [
            self._native(start, settings, own, pressure)
            if self._can(start, own)
            else relax([start], self.evaluate, settings, pressure, [own])[0]
            for start, own in zip(starts, free, strict=True)
        ]

    def _can(self, start: Frame, free: Freedom) -> bool:
        cell = free.cell if start.pbc else "none"
        return free.positions is None and free.moments == "none" and free.group is None and cell in self.cells

    def _native(self, start: Frame, settings: RelaxationSettings, free: Freedom, pressure: float) -> RelaxationPath:
        """The code's own relaxations one after the other, until a label says that no force is left."""
        cell = free.cell if start.pbc else "none"
        frames, labels, converged, failure = [start], None, False, None
        for _ in range(ROUNDS):
            frame = frames[-1]
            limit = SOFTER * settings.fmax
            stress = limit * frame.natoms / frame.volume / BAR_IN_EV_PER_A3 if cell != "none" else 1.0
            how = OwnRelaxation(cell, settings.steps, limit, stress, pressure / BAR_IN_EV_PER_A3)
            found = self.code.relax(frame, self.work, how)
            if isinstance(found, LabelFailure):
                failure = f"its own relaxation: {found.reason}"
                break
            try:
                [labels] = self.evaluate([found])
            except EngineError as error:
                failure = str(error).splitlines()[0]
                break
            frames.append(found)
            converged = largest_force(found, labels, free, pressure) <= settings.fmax
            if converged:
                break
        known = labels or Labels(np.nan, np.full((start.natoms, 3), np.nan))
        return RelaxationPath(Trajectory.of(frames, list(range(len(frames))), failure), known, converged, failure)
