"""Pick rules: which of the candidates are labeled, the first picked first. A new rule is a row of PICK_RULES."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from lamflow.data.frames import Floats, Ints
from lamflow.science.diversity import farthest_points, uncertain_and_far


@dataclass(frozen=True, eq=False)
class Candidates:
    """What pick rules look at.

    deviation   (C,)    in the unit of the window
    descriptor  (C, D)  of the candidates
    known       (K, D)  descriptors of the training set
    error       (C,)    that the deviation stands for where that is known, eV/Å; the deviation elsewhere
    seconds     (C,)    that the label of each is expected to take; 1 where nothing is known
    """

    deviation: Floats
    descriptor: Floats
    known: Floats
    error: Floats
    seconds: Floats


def most_diverse(candidates: Candidates, limit: int, seed: int) -> Ints:
    """The candidates farthest from the training set and from each other."""
    del seed
    return farthest_points(candidates.descriptor, candidates.known, limit)


def most_uncertain(candidates: Candidates, limit: int, seed: int) -> Ints:
    """The candidates with the largest deviations."""
    del seed
    return np.argsort(-candidates.deviation, kind="stable")[:limit]


def most_informative(candidates: Candidates, limit: int, seed: int) -> Ints:
    """The candidates whose error is large and that are far from the training set and from each other."""
    del seed
    return uncertain_and_far(candidates.descriptor, candidates.known, candidates.error, limit)


def most_economical(candidates: Candidates, limit: int, seed: int) -> Ints:
    """As the most informative ones, by what a second of labeling brings."""
    del seed
    worth = candidates.error / candidates.seconds
    return uncertain_and_far(candidates.descriptor, candidates.known, worth, limit)


def at_random(candidates: Candidates, limit: int, seed: int) -> Ints:
    """Candidates in a random order."""
    return np.random.default_rng(seed).permutation(len(candidates.deviation))[:limit]


PICK_RULES: Mapping[str, Callable[[Candidates, int, int], Ints]] = {
    "diverse": most_diverse,
    "uncertain": most_uncertain,
    "informative": most_informative,
    "economical": most_economical,
    "random": at_random,
}
"""By `select.pick`: indices of at most `limit` of the candidates; random numbers descend from a seed."""


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
