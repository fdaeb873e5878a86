"""Folds: which frames a model is trained on and which it is asked about."""

from __future__ import annotations

import numpy as np
from ase.data import atomic_numbers

from lamflow.config.cleaning import CleaningStudy
from lamflow.config.seeds import child_seed
from lamflow.data.frames import Ints
from lamflow.policy.findings import Mask, Table, of_energies, of_single_frames, of_trajectories

GROUPS = 3
"""Compositions or trajectories a fold, at least; with fewer of them frames are dealt out one by one."""


def folds_of(study: CleaningStudy, table: Table, count: int) -> Ints:
    """(C,) the fold of each frame: compositions stay together, trajectories where there are few compositions."""
    fold = np.zeros(len(table), dtype=np.int64)
    for number, head in enumerate(table.heads):
        mine = np.flatnonzero(table.head == number)
        groups = next(
            (own[mine] for own in (table.features.reduced, table.trajectory)
             if len(np.unique(own[mine])) >= GROUPS * count),
            mine,
        )  # fmt: skip
        _, places = np.unique(groups, return_inverse=True)
        order = np.random.default_rng(child_seed(study.seed, "folds", head)).permutation(int(places.max(initial=0)) + 1)
        fold[mine] = order[places.reshape(-1)] % count
    return fold


def suspects(study: CleaningStudy, table: Table) -> Mask:
    """(C,) frames that cheap rules speak against; no model is trained on them."""
    numbers = np.array([0, *(atomic_numbers[name] for name in study.elements)]) if study.elements else None
    seed, found = child_seed(study.seed, "folds"), np.zeros(len(table), dtype=bool)
    for finding in (
        *of_single_frames(table, study.checks, numbers), *of_energies(table, study.checks, seed),
        *of_trajectories(table, study.checks),
    ):  # fmt: skip
        found[finding.frames] = True
    return found


def training_frames(table: Table, among: Mask, head: int, most: int | None, seed: int) -> Ints:
    """Frames of a head that a model is trained on, at most so many, drawn at random."""
    mine = np.flatnonzero(among & (table.head == head))
    if most is not None and len(mine) > most:
        mine = np.sort(np.random.default_rng(seed).permutation(mine)[:most])
    return np.asarray(mine, dtype=np.int64)
