"""Energies of one group in two units: neither is an outlier where both are many."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lamflow.data.features import Features
from lamflow.data.frames import Floats
from lamflow.data.sources.dialect import ENERGIES
from lamflow.science.cleaning.energies import element_energies

BETTER = 3.0
"""Times by which the scatter must fall when part of the energies is taken for those of another unit; of sets of one
unit, MPtrj and Alexandria among them, it rises."""
TELLING = 0.5
"""Scatter over size from which on energies lie so near zero that any unit fits."""
MOST = 0.9
"""Share of the residuals whose largest is the scatter: what is in another unit may be a tenth of all, or half."""
ROUNDS = 5


@dataclass(frozen=True, eq=False)
class Mixture:
    """Energies of which some are in another unit than most.

    other    (C,) the fewer ones
    factor   by which they are multiplied to fit the others; unit: one that explains it
    before, after  scatter beyond the energies of the elements over the size of all, without the factor and with it
    """

    other: NDArray[np.bool_]
    factor: float
    unit: str
    before: float
    after: float


def mixture(features: Features) -> Mixture | None:
    """The energies that are in another unit than most of the group's, if one unit's factor tells all apart.

    The factor of each unit is tried: energies are dealt out to the two by their size, energies of elements are fitted
    to both together, and each energy goes to the reading that fits better, until nothing changes.
    """
    before = _scatter(features, features.energy)
    found: Mixture | None = None
    for unit, size in ENERGIES.items():
        factor = max(size, 1 / size)
        if factor == 1.0:
            continue
        large, after = _dealt(features, factor)
        if large.any() and not large.all() and after < (found.after if found else min(TELLING, before / BETTER)):
            few = large if large.sum() <= len(large) / 2 else ~large
            found = Mixture(few, 1 / factor if few is large else factor, unit, before, after)
    return found


def _dealt(features: Features, factor: float) -> tuple[NDArray[np.bool_], float]:
    """Which energies are `factor` times too large, and the scatter over the size when these are divided by it."""
    size = np.log(np.maximum(np.abs(features.energy), 1e-9))
    large = size > (size.min() + size.max()) / 2
    for _ in range(ROUNDS):
        fitted = element_energies(features, np.where(large, features.energy / factor, features.energy))
        expected = (features.fractions @ fitted.energies)[features.formula]
        again = np.abs(features.energy / factor - expected) < np.abs(features.energy - expected)
        if np.array_equal(again, large):
            break
        large = again
    return large, _scatter(features, np.where(large, features.energy / factor, features.energy))


def _scatter(features: Features, energy: Floats) -> float:
    residual = element_energies(features, energy).residual
    return float(np.quantile(np.abs(residual), MOST)) / max(float(np.median(np.abs(energy))), 1e-9)
