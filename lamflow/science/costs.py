"""What a label of a frame will cost, by labels that are finished."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lamflow.data.frames import Floats, Ints

EXPONENT, SPREAD = 2.0, 1.0
"""What is believed of the exponent of the number of atoms before labels of several sizes tell: between those of linear
and cubic codes."""
FEWEST = 3
SCATTER = 0.5
"""Standard deviation of the logarithm of the seconds, before labels tell."""


@dataclass(frozen=True)
class LabelCosts:
    """Seconds of a label are scale · natoms^exponent, times a factor whose logarithm has the standard deviation
    `scatter`."""

    scale: float
    exponent: float
    scatter: float
    labels: int

    @classmethod
    def fitted(cls, natoms: Ints, seconds: Floats) -> LabelCosts | None:
        """Ridge regression of logarithms for labels (C,); None for too few labels to tell."""
        counted = (seconds > 0) & (natoms > 0)
        if counted.sum() < FEWEST:
            return None
        x, y = np.log(natoms[counted]), np.log(seconds[counted])
        shift = x - x.mean()
        variance = float(np.var(y - EXPONENT * x)) or SCATTER**2
        ridge = variance / SPREAD**2
        exponent = float((shift @ y + ridge * EXPONENT) / (shift @ shift + ridge))
        intercept = float((y - exponent * x).mean())
        left = y - intercept - exponent * x
        scatter = float(np.sqrt((left @ left + SCATTER**2) / (len(x) - 1)))
        return cls(float(np.exp(intercept)), exponent, scatter, len(x))

    def seconds(self, natoms: Ints) -> Floats:
        """Expected seconds (F,) of labels of frames with so many atoms (F,)."""
        return np.asarray(self.scale * natoms.astype(np.float64) ** self.exponent * np.exp(self.scatter**2 / 2))

    def at_most(self, natoms: Ints) -> Floats:
        """Seconds (F,) that the first 1, 2, … of these labels take together; about 5 % take longer."""
        mean = self.seconds(natoms)
        variance = mean**2 * np.expm1(self.scatter**2)
        common = self.scatter / np.sqrt(self.labels) * np.cumsum(mean)
        return np.asarray(np.cumsum(mean) + 1.645 * np.sqrt(np.cumsum(variance) + common**2))
