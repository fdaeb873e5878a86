"""Neighbours in the data beside those that a model looks at, by DeePMD-kit's own statistics."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from lamflow.data import Frame
from lamflow.data.frames import Ints

DENSEST = 20
"""Frames that are looked at: those with the most atoms in their volume have the most neighbours."""
MIXED = ("dpa1", "se_atten", "se_atten_v2", "dpa2", "dpa3")
"""Descriptors whose `sel` is for all elements together."""
AUTO = ("sel", "nsel", "three_body_sel", "e_sel", "a_sel")


def asks_for_statistics(value: Any) -> bool:
    """Whether an input leaves a number of neighbours to DeePMD-kit: `sel: auto`, or `auto:1.2`."""
    if isinstance(value, Mapping):
        return any(
            (key in AUTO and isinstance(item, str) and item.startswith("auto")) or asks_for_statistics(item)
            for key, item in value.items()
        )
    return isinstance(value, list) and any(asks_for_statistics(item) for item in value)


class Counts:
    """The most neighbours that an atom of some frames has; each cutoff is counted once.

    doubled  every neighbour has a virtual one beside it, for which DeePMD-kit makes room itself where `sel` is a list
    """

    def __init__(self, elements: Sequence[str], frames: Sequence[Frame], *, doubled: bool = False) -> None:
        self.elements, self.doubled = list(elements), doubled
        self.frames = densest([frame for frame in frames if set(frame.symbols) <= set(elements)])
        self.counted: dict[tuple[float, bool], Ints] = {}

    def most(self, cutoff: float, *, mixed: bool) -> Ints:
        """Of each element (E,), or of all (1,) if `mixed`, within `cutoff` in Å."""
        if (cutoff, mixed) not in self.counted:
            found = [neighbours(frame, self.elements, cutoff, mixed=mixed) for frame in self.frames]
            self.counted[cutoff, mixed] = np.max(found, axis=0)
        return self.counted[cutoff, mixed]

    def too_few(self, descriptor: Mapping[str, Any]) -> list[str]:
        """A warning for every number of neighbours in a descriptor that the frames have more of."""
        warnings = []
        for key, cutoff, sel in _limits(descriptor) if self.frames else []:
            if isinstance(sel, str):
                continue
            by_element = isinstance(sel, list) and len(sel) == len(self.elements) > 1 and key == "sel"
            limits = sel if by_element else [sum(sel) if isinstance(sel, list) else sel]
            names = self.elements if by_element else ["all elements"]
            twins = self.doubled and descriptor.get("type") in MIXED
            for name, limit, atoms in zip(names, limits, self.most(cutoff, mixed=not by_element), strict=True):
                count = 2 * atoms + 1 if twins else atoms
                if count > limit:
                    warnings.append(
                        f"train.input: model.descriptor.{key} is {limit} for {name}, and an atom of the data has up to "
                        f"{count} such neighbours{' with their virtual twins' if twins else ''} within {cutoff:g} Å; "
                        f"those beyond are not seen, so give at least "
                        f"{count}, or auto"
                    )
        return warnings


def densest(frames: Sequence[Frame]) -> list[Frame]:
    """The frames with the most atoms in their volume, isolated ones by their number of atoms."""
    periodic = sorted((f for f in frames if f.pbc), key=lambda f: -f.natoms / f.volume)[:DENSEST]
    isolated = sorted((f for f in frames if not f.pbc), key=lambda f: -f.natoms)[:DENSEST]
    return periodic + isolated


def neighbours(frame: Frame, elements: Sequence[str], cutoff: float, *, mixed: bool) -> Ints:
    """The most neighbours of each element (E,), or of all (1,) if `mixed`, that an atom has within `cutoff` in Å."""
    from deepmd.dpmodel.utils.neighbor_stat import NeighborStatOP

    types = np.array([[elements.index(symbol) for symbol in frame.symbols]])
    cell = frame.cell.reshape(1, 9) if frame.pbc else None
    _, counts = NeighborStatOP(len(elements), cutoff, mixed).call(frame.positions.reshape(1, -1), types, cell)
    of_atoms: Ints = np.asarray(counts, dtype=np.int64).reshape(-1, 1 if mixed else len(elements))
    return np.asarray(of_atoms.max(axis=0))


def _limits(descriptor: Mapping[str, Any]) -> Iterator[tuple[str, float, Any]]:
    """Key, cutoff in Å and number of neighbours of each part of a descriptor."""
    for part in descriptor.get("list", []):
        yield from _limits(part)
    for section, key, cutoff in (("", "sel", "rcut"), ("repinit", "nsel", "rcut"), ("repflow", "e_sel", "e_rcut")):
        given = descriptor.get(section, {}) if section else descriptor
        if key in given and cutoff in given:
            yield f"{section}.{key}" if section else key, float(given[cutoff]), given[key]
