"""Structures that potentials have relaxed: what jobs leave of them, and what the values of the crystals are."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Any

from lamflow.config.tracked import AskedProperties
from lamflow.data import Frame
from lamflow.data.document import Entry
from lamflow.data.job_record import JobRecord
from lamflow.data.layout import FRAMES, SAMPLES_RECORD
from lamflow.data.packed import PackedFrames
from lamflow.data.properties import RELAXATION, PropertyResult, Value
from lamflow.science.properties.cells import EMPTY, lattice_values, vacuum
from lamflow.science.properties.sample import Crystal, Phase, composition


class RelaxedEntry(Entry):
    """One structure that a potential has relaxed. energy: eV; before, after: space groups; pressure: left, GPa"""

    structure: str
    energy: float | None
    converged: bool
    steps: int
    before: str
    after: str
    pressure: float | None = None
    failed: str | None = None


class RelaxedStructures(JobRecord):
    """What one job has relaxed; the frames lie beside it in the same order."""

    potential: str
    structures: list[RelaxedEntry]


def named_structures(asked: AskedProperties, folder: Path) -> list[tuple[str, Frame]]:
    """Every structure that is asked about with its name: that of its set, numbered where the set has several."""
    named = []
    for name in asked.set_names:
        frames = list(PackedFrames.load(folder / f"{name}.npz"))
        for index, frame in enumerate(frames):
            named.append((f"{name}-{index + 1}" if len(frames) > 1 else name, frame))
    return named


def set_of(structure: str, sets: Collection[str]) -> str | None:
    """The set that a structure of this name belongs to, as `named_structures` has it; None for none of them."""
    name = structure if structure in sets else re.sub(r"-\d+$", "", structure)
    return name if name in sets else None


def relaxed_structures(folder: Path, potential: str) -> list[tuple[RelaxedEntry, Frame]]:
    """What a potential has relaxed, in the order of the names."""
    found = []
    for job in sorted((folder / potential).iterdir()):
        record = RelaxedStructures.read(job / SAMPLES_RECORD)
        found += list(zip(record.structures, PackedFrames.load(job / FRAMES), strict=True))
    return sorted(found, key=lambda item: item[0].structure)


def crystals(relaxed: Sequence[tuple[RelaxedEntry, Frame]]) -> list[Crystal]:
    """The structures that a potential could relax, each among all of them."""
    good = [(entry, frame) for entry, frame in relaxed if entry.energy is not None]
    phases = [Phase(entry.structure, composition(frame), entry.energy or 0.0) for entry, frame in good]
    return [Crystal(entry.structure, frame, entry.energy or 0.0, phases) for entry, frame in good]


def relaxation_results(relaxed: Sequence[tuple[RelaxedEntry, Frame]], potential: str) -> Iterator[PropertyResult]:
    """The relaxed structures themselves: energy, volume and lattice constants of the conventional cell."""
    for entry, frame in relaxed:
        about: dict[str, Any] = {
            "structure": entry.structure,
            "potential": potential,
            "property": RELAXATION,
            "frames": 1,
        }
        if entry.energy is None:
            yield PropertyResult(**about, values=[], failed=entry.failed)
            continue
        values = [Value(name="E", value=entry.energy / frame.natoms, unit="eV/atom")]
        notes = [f"space group {entry.after}"]
        if entry.before != entry.after:
            notes.append(f"the space group was {entry.before} before: the structure has changed")
        if frame.pbc:
            values += lattice_values(frame)
            if (empty := vacuum(frame)) > EMPTY:
                notes.append(f"{empty:.1f} Å of the cell are vacuum: its volume and moduli are not those of a crystal")
        yield PropertyResult(**about, values=values, notes=notes)
