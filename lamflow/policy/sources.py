"""How the sources of cleaning are read, and which head their frames belong to."""

from __future__ import annotations

import re

from lamflow.config.cleaning import Source
from lamflow.data.sources.dialect import ENERGIES, LENGTHS, STRESSES, Dialect, Scale


def dialect_of(source: Source) -> Dialect:
    """What readers are told of a source."""
    units, scale = source.units, None
    if units is not None:
        energy, length = ENERGIES[units.energy], LENGTHS[units.length]
        sign = 1.0 if units.stress_sign == "tension" else -1.0
        stress = STRESSES[units.stress] if units.stress is not None else energy / length**3
        scale = Scale(
            energy=energy, length=length, forces=ENERGIES[units.force_energy or units.energy] / length,
            stress=sign * stress, per_atom=units.per_atom,
        )  # fmt: skip
    return Dialect(
        format=source.format, keys={str(name): key for name, key in source.keys.items()}, scale=scale,
        trajectory=source.trajectory or "", energy=source.energy or "", method=source.method,
    )  # fmt: skip


def head_of(source: Source, method: str) -> str:
    """The head of a source's frames of one method: its own, or one for all of this method and pseudopotentials."""
    if source.head is not None:
        return source.head
    words = re.sub(r"[^A-Za-z0-9_-]+", "-", f"{method} {source.pseudopotentials}".strip()).strip("-_")
    return words[:60].rstrip("-_") or source.name
