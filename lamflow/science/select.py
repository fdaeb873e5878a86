"""Which frames are worth a label: window, then pick, then limits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from lamflow.data.frames import Floats, Ints
from lamflow.science.diversity import farthest_points


@dataclass(frozen=True)
class Window:
    """Candidates are the frames with low ≤ deviation < high; below is accurate, above (or not a number) has failed."""

    low: float
    high: float

    def candidates(self, deviation: Floats) -> Ints:
        """Indices of the candidates among deviations (F,)."""
        return np.flatnonzero((deviation >= self.low) & (deviation < self.high))

    def counts(self, deviation: Floats) -> tuple[int, int, int]:
        """How many frames are accurate, candidates, and failed."""
        accurate = int(np.count_nonzero(deviation < self.low))
        candidates = int(np.count_nonzero(deviation < self.high)) - accurate
        return accurate, candidates, len(deviation) - accurate - candidates


def adaptive_window(deviation: Floats, high: float, candidates: int, fraction: float) -> Window:
    """The window whose candidates are the most uncertain frames below `high`.

    At least `candidates` of them, and at least `fraction` of all frames, as far as there are so many below `high`;
    `low` is the smallest deviation among them. Frames whose deviation is not a number count, and are never candidates.
    """
    below = deviation[deviation < high]
    wanted = min(len(below), max(candidates, int(np.ceil(fraction * len(deviation)))))
    if wanted == 0:
        return Window(high, high)
    return Window(float(np.partition(below, len(below) - wanted)[len(below) - wanted]), high)


def pick(
    deviation: Floats,
    descriptor: Floats,
    known: Floats,
    how: Literal["diverse", "uncertain", "random"],
    limit: int,
    seed: int,
) -> Ints:
    """Indices of at most `limit` candidates, the first picked first.

    deviation   (C,)    eV/Å or as the window's
    descriptor  (C, D)  of the candidates
    known       (K, D)  of the training set
    """
    if how == "uncertain":
        return np.argsort(-deviation, kind="stable")[:limit]
    if how == "random":
        return np.random.default_rng(seed).permutation(len(deviation))[:limit]
    return farthest_points(descriptor, known, limit)


def limited(order: Ints, group: Ints, limit: int, per_group: int | None) -> Ints:
    """The first of `order` until `limit` are taken in all and `per_group` of each value of `group` (C,)."""
    taken: dict[int, int] = {}
    kept: list[int] = []
    for index in order:
        if len(kept) == limit:
            break
        name = int(group[index])
        if per_group is None or taken.get(name, 0) < per_group:
            taken[name] = taken.get(name, 0) + 1
            kept.append(int(index))
    return np.array(kept, dtype=np.int64)


def sample(indices: Ints, limit: int, seed: int) -> Ints:
    """At most `limit` of `indices`, drawn at random without repetition, in their order."""
    if len(indices) <= limit:
        return indices
    drawn = np.random.default_rng(seed).choice(len(indices), size=limit, replace=False)
    return indices[np.sort(drawn)]
