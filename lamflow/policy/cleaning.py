"""Decide what becomes of every frame that was read."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from ase.data import atomic_numbers, chemical_symbols

from lamflow.config.cleaning import CleaningStudy
from lamflow.config.seeds import child_seed
from lamflow.data.frames import Ints
from lamflow.data.opinions import Opinions
from lamflow.errors import InputError
from lamflow.policy.audits import stress_turned
from lamflow.policy.findings import Table, of_energies, of_single_frames, of_trajectories
from lamflow.policy.model_findings import of_models
from lamflow.policy.silences import silences
from lamflow.policy.thinning import thin
from lamflow.policy.verdicts import Verdicts, hold_out, judged, keep_out, leaks, released_frames, repeats
from lamflow.science.cleaning.duplicates import clusters


@dataclass(frozen=True, eq=False)
class Decided:
    """Verdicts, and how they came about. signs: by source, what its stress's sign was decided by; released: frames"""

    verdicts: Verdicts
    signs: dict[str, str]
    leaks: int
    released: Ints
    notes: list[str]

    def eaten(self) -> str:
        """Which rules took how many frames."""
        rows = [f"{rule} took {len(frames)}" for rule, action, frames in self.verdicts.reasons if action != "flag"]
        return ", ".join(row for row in rows if not row.endswith(" 0"))


def elements_of(study: CleaningStudy, table: Table) -> list[str]:
    """The type map: the study's, or all elements that occur, by atomic number."""
    if study.elements:
        return list(study.elements)
    used = table.features.formulas[np.unique(table.features.formula)].sum(axis=0)
    return [chemical_symbols[number] for number in np.flatnonzero(used)]


def ids_of(table: Table, frames: Sequence[int] | None = None) -> list[str]:
    """The id of each frame: hash of its structure, then of its labels."""
    chosen = range(len(table)) if frames is None else frames
    digest, labels = table.features.digest, table.features.label_digest
    return [digest[n].tobytes().hex()[:16] + labels[n].tobytes().hex()[:8] for n in chosen]


def decide(study: CleaningStudy, table: Table, opinions: Sequence[Opinions]) -> Decided:
    """Verdicts on all frames. Turns `table.turned` for sources whose stress has the other sign."""
    signs = stress_turned(table, opinions)
    for number, name in enumerate(table.sources):
        if signs.get(name, "").startswith("turned"):
            table.turned[table.source == number] = True
    numbers = np.array([0, *(atomic_numbers[name] for name in study.elements)]) if study.elements else None
    released = _released(study, table)
    seed = child_seed(study.seed, "folds")
    findings = [
        *of_single_frames(table, study.checks, numbers), *of_energies(table, study.checks, seed),
        *of_trajectories(table, study.checks), *of_models(table, study.checks, opinions),
    ]  # fmt: skip
    verdicts = judged(table, study.checks, findings, released)
    cluster = clusters(table.features, study.duplicates.tolerance)
    held = _held_sources(study, table)
    repeats(table, study, verdicts, cluster, held, released)
    leaking = leaks(verdicts, cluster, held) if held.any() else 0
    verdicts.heldout[(held > 0) & (verdicts.state == 0)] = 1
    split = [] if held.any() else hold_out(table, study, verdicts, cluster, child_seed(study.seed, "heldout"))
    keep_out(table, study, verdicts, cluster)
    notes = [*split, *(thin(study, table, verdicts) if study.compress is not None else [])]
    notes += [f"{name}: {words}" for name, words in signs.items() if words.startswith("turned")]
    notes += silences(table, opinions)
    decided = Decided(verdicts, signs, leaking, released, notes)
    if not ((verdicts.state == 0) & (verdicts.heldout == 0)).any():
        notes.append(f"no frame is left to train on: {decided.eaten() or 'all are held out'}")
    return decided


def _released(study: CleaningStudy, table: Table) -> Ints:
    if not study.release:
        return np.zeros(0, dtype=np.int64)
    ids = ids_of(table)
    for wanted in study.release:
        meant = sorted({found for found in ids if found.startswith(wanted)})
        if not meant:
            raise InputError(f"release: no frame that was read has an id that begins with {wanted!r}")
        if len(meant) > 1:
            raise InputError(
                f"release: {len(meant)} different frames that were read have an id that begins with {wanted!r}; give "
                f"more digits: {', '.join(meant[:4])}"
            )
    return released_frames(study.release, ids)


def _held_sources(study: CleaningStudy, table: Table) -> Ints:
    """(C,) 1 for frames of sources that are held out whole."""
    held = [number for number, source in enumerate(study.sources) if source.role == "heldout"]
    return np.isin(table.source, held).astype(np.int64)


def subset(table: Table, frames: Ints) -> Table:
    """The frames with these numbers."""
    return dataclasses.replace(
        table, features=table.features.subset(frames), source=table.source[frames], head=table.head[frames],
        trajectory=table.trajectory[frames], turned=table.turned[frames],
    )  # fmt: skip
