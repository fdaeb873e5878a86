"""What nobody was asked, said once: heads that are too small, and frames that a model does not know."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from ase.data import chemical_symbols

from lamflow.data.opinions import Opinions
from lamflow.policy.findings import Table
from lamflow.science.cleaning.energies import MEMBERS, SYSTEMATIC, rare_elements


def silences(table: Table, opinions: Sequence[Opinions]) -> list[str]:
    """Heads whose outliers nobody can tell, and frames of which a model said nothing.

    opinions  of each model that was asked, those trained on folds among them
    """
    sizes = np.bincount(table.head, minlength=len(table.heads))
    notes = [
        f"{name}: it has {size} frames; of fewer than {MEMBERS} nothing is said of their energies"
        for name, size in zip(table.heads, sizes.tolist(), strict=True) if size < MEMBERS
    ]  # fmt: skip
    if opinions:
        notes += _rare(table)
    for number, opinion in enumerate(opinions):
        asked = np.isfinite(opinion.energy)
        if asked.all():
            continue
        has = table.features.formulas[table.features.formula] > 0
        foreign = [chemical_symbols[z] for z in np.flatnonzero(has[~asked].any(axis=0) & ~has[asked].any(axis=0))]
        lacking = f", none of those with {', '.join(foreign)}" if foreign else ""
        notes.append(f"model {number} was asked about {asked.sum()} of {len(asked)} frames{lacking}")
    return notes


def _rare(table: Table) -> list[str]:
    """Elements whose frames' energies are not held against a model, by head."""
    notes = []
    for number, name in enumerate(table.heads):
        mine = table.head == number
        rare = [chemical_symbols[z] for z in rare_elements(table.features.subset(mine))]
        if rare and mine.sum() >= MEMBERS:
            notes.append(
                f"{name}: {', '.join(rare)} in fewer than {SYSTEMATIC} frames: whether the element is odd or the frame "
                "nobody can tell, so no energy of theirs is held against a model, unless another unit explains it or "
                "no pseudopotential moves it so far"
            )
    return notes
