"""Counts of frames by rule, action and source, and the list of what is quarantined."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from ase.formula import Formula

from lamflow.data.cleaning import Count, Quarantined, ReadRecord
from lamflow.data.frames import Ints
from lamflow.data.unread import counted
from lamflow.policy.cleaning import ids_of
from lamflow.policy.findings import Table
from lamflow.policy.verdicts import QUARANTINE, Verdicts


def unreadable_counts(records: Sequence[Path]) -> list[Count]:
    """What readers could not use, by source and reason."""
    found: Counter[tuple[str, str]] = Counter()
    for path in records:
        for file in ReadRecord.read(path).files:
            for item in file.unreadable:
                found[file.source, f"{item.rule}: {item.reason}" if item.reason else item.rule] += item.frames
    return [
        Count(source=source, rule=rule, action="quarantine", frames=frames)
        for (source, rule), frames in sorted(found.items())
    ]


def unread_lines(records: Sequence[Path]) -> list[str]:
    """What frames had that was not kept, by source."""
    found: dict[str, Counter[str]] = {}
    frames = Counter[str]()
    for path in records:
        for file in ReadRecord.read(path).files:
            found.setdefault(file.source, Counter()).update(file.unread)
            frames[file.source] += file.frames
    return [f"{source}: {line}" for source, lines in sorted(found.items()) for line in counted(lines, frames[source])]


def counts(table: Table, verdicts: Verdicts) -> list[Count]:
    """Frames that each rule has found, by source; one may have been found by several."""
    rows = []
    for rule, action, frames in verdicts.reasons:
        numbers = np.bincount(table.source[frames], minlength=len(table.sources))
        rows += [
            Count(source=table.sources[place], rule=rule, action=action, frames=int(number))
            for place, number in enumerate(numbers) if number
        ]  # fmt: skip
    return rows


def quarantined(
    table: Table, verdicts: Verdicts, files: Sequence[str], names: Sequence[str], numbers: Sequence[Ints]
) -> list[Quarantined]:
    """Every frame that is quarantined. files, names: of each shard; numbers: in their files, of its frames"""
    starts = np.cumsum([0, *(len(part) for part in numbers)])
    frames = np.flatnonzero(verdicts.state == QUARANTINE)
    shards = np.searchsorted(starts, frames, side="right") - 1
    features = table.features
    found = []
    for frame, shard, identity in zip(frames.tolist(), shards.tolist(), ids_of(table, frames.tolist()), strict=True):
        index = frame - int(starts[shard])
        found.append(
            Quarantined(
                id=identity, source=table.sources[table.source[frame]], file=files[shard],
                number=int(numbers[shard][index]), head=table.heads[table.head[frame]],
                formula=formula_of(features.formulas[features.formula[frame]]), natoms=int(features.natoms[frame]),
                evidence=verdicts.evidence.get(frame, []), shard=names[shard], index=index,
                kept_out=verdicts.kept_out.get(frame, ""),
            )
        )  # fmt: skip
    return found


def formula_of(counts_of_elements: Ints) -> str:
    """The formula of atoms of each atomic number."""
    from ase.data import chemical_symbols

    atoms = {chemical_symbols[z]: int(counts_of_elements[z]) for z in np.flatnonzero(counts_of_elements)}
    return str(Formula.from_dict(atoms).format("hill"))
