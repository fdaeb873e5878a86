"""Convex hulls of structure searches: what they are made of, their shift, and what labels say of ground states."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from ase.data import atomic_numbers

from lamflow.config.engines import SearcherSettings
from lamflow.data import Frame
from lamflow.data.frames import Floats
from lamflow.data.hulls import FoundStructure, Generation, Hull, HullEntry
from lamflow.data.results import Iteration
from lamflow.science.hull import above_hull
from lamflow.science.similarity import bond_matrix, same, space_group
from lamflow.units import BAR_IN_EV_PER_A3

MOST_ENTRIES = 60
"""Structures that are kept of each hull."""
HIGHEST_ENTRY = 0.2
"""eV/atom above the hull; what lies higher is not among the best of anything."""


@dataclass(frozen=True, eq=False)
class RelaxedCandidate:
    """A structure that a search has relaxed, and the forces (N, 3) that the models predict for it, eV/Å."""

    record: FoundStructure
    frame: Frame
    forces: Floats


@dataclass(frozen=True, eq=False)
class HullStructures:
    """A hull with its structures.

    frames  of the entries, in their order
    forces  that the models predict for them, eV/Å
    """

    hull: Hull
    frames: list[Frame]
    forces: list[Floats]
    settings: SearcherSettings


def make_hull(
    head: str, condition: dict[str, float], candidates: Sequence[RelaxedCandidate], settings: SearcherSettings
) -> HullStructures:
    """The convex hull of everything that the searches of one head under one condition have relaxed."""
    candidates = sorted(candidates, key=lambda one: (one.record.search, one.record.generation, one.record.number))
    elements, pressure = settings.elements, condition.get("pressure", 0.0) * BAR_IN_EV_PER_A3
    numbers = [atomic_numbers[element] for element in elements]
    good = [candidate for candidate in candidates if candidate.record.failed is None]
    enthalpies = np.array([candidate.record.energy + pressure * candidate.record.volume for candidate in good])
    fractions = np.array([[(candidate.frame.numbers == number).mean() for number in numbers] for candidate in good])
    heights = above_hull(fractions.reshape(-1, len(numbers)), enthalpies)
    kept, duplicates = _best(good, heights, numbers, settings.similarity)
    hull = Hull(
        head=head, condition=condition, elements=elements,
        entries=[_entry(good[index], float(enthalpies[index]), float(heights[index]), elements) for index in kept],
        generations=_generations(candidates, good, heights), structures=len(candidates),
        failed=len(candidates) - len(good),
        unfinished=sum(not candidate.record.converged for candidate in good), duplicates=duplicates,
    )  # fmt: skip
    return HullStructures(hull, [good[index].frame for index in kept], [good[index].forces for index in kept], settings)


def _best(
    good: Sequence[RelaxedCandidate], heights: Floats, numbers: Sequence[int], similarity: float
) -> tuple[list[int], int]:
    """Indices of the structures nearest to the hull, each once, and how many were the same as one of them."""
    kept: list[tuple[int, Floats]] = []
    duplicates = 0
    for index in np.argsort(heights, kind="stable"):
        if not heights[index] <= HIGHEST_ENTRY:
            break
        frame = good[index].frame
        matrix = bond_matrix(frame, numbers)
        if any(same((frame, matrix), (good[other].frame, known), similarity) for other, known in kept):
            duplicates += 1
        elif len(kept) < MOST_ENTRIES:
            kept.append((int(index), matrix))
    return [index for index, _ in kept], duplicates


def _entry(candidate: RelaxedCandidate, enthalpy: float, height: float, elements: Sequence[str]) -> HullEntry:
    record, frame = candidate.record, candidate.frame
    counts = {element: frame.symbols.count(element) for element in elements if element in frame.symbols}
    return HullEntry(
        search=record.search, generation=record.generation, number=record.number,
        formula="".join(f"{element}{count if count > 1 else ''}" for element, count in counts.items()), counts=counts,
        energy=record.energy, enthalpy=enthalpy, volume=record.volume, above_hull=max(0.0, height),
        space_group=space_group(frame), deviation=record.deviation, hash=frame.content_hash(),
    )  # fmt: skip


def _generations(
    candidates: Sequence[RelaxedCandidate], good: Sequence[RelaxedCandidate], heights: Floats
) -> list[Generation]:
    generation_of = np.array([candidate.record.generation for candidate in good], dtype=np.int64)
    generations = []
    for number in sorted({candidate.record.generation for candidate in candidates}):
        values = heights[generation_of == number]
        generations.append(
            Generation(
                number=number,
                structures=sum(candidate.record.generation == number for candidate in candidates),
                lowest=max(0.0, float(values.min())) if len(values) else None,
                mean=float(np.mean(values)) if len(values) else None,
            )
        )
    return generations


def hull_shift(before: Sequence[Hull], after: Sequence[Hull]) -> float | None:
    """Largest change of any hull between two iterations, eV/atom; None where they cannot be compared.

    Compared at the compositions of both hulls' corners. What is linear in the composition moves no phase boundary and
    is taken out, except where there is one composition only.
    """
    earlier = {hull.key: hull for hull in before}
    if not after or any(hull.key not in earlier for hull in after):
        return None
    shifts = [_shift(earlier[hull.key], hull) for hull in after]
    known = [shift for shift in shifts if shift is not None]
    return max(known) if len(known) == len(shifts) else None


def _shift(before: Hull, after: Hull) -> float | None:
    elements = after.elements
    corners = np.concatenate([_fractions(hull.corners, elements) for hull in (before, after)])
    corners = np.unique(np.round(corners, 9), axis=0)
    levels = []
    for hull in (before, after):
        reference = _fractions(hull.entries, elements), np.array([entry.enthalpy for entry in hull.entries])
        levels.append(-above_hull(corners, np.zeros(len(corners)), reference))
    shift = levels[1] - levels[0]
    if not np.isfinite(shift).all():
        return None  # one of the two searches has not reached a composition of the other
    if len(corners) > 1:
        shift = shift - corners @ np.linalg.lstsq(corners, shift, rcond=None)[0]
    return float(np.abs(shift).max())


def ground_state_error(past: Sequence[Iteration]) -> float | None:
    """How far, by the labels, the last labeled ground states of the models lie above the labels' own hull, eV/atom.

    None when no ground state has been labeled.
    """
    last = next((item for item in reversed(past) if item.hull_labels and item.selected is not None), None)
    if last is None or last.selected is None:
        return None
    errors = [error for hull in last.selected.hulls for error in _label_heights(hull, past)]
    return max(errors) if errors else None


def _label_heights(hull: Hull, past: Sequence[Iteration]) -> list[float]:
    """Heights of the hull's ground states above the hull of all labels under its condition, eV/atom."""
    labeled = [
        pair
        for item in past
        if item.selected is not None
        for other in item.selected.hulls
        if other.key == hull.key
        for pair in other.labeled(item.hull_labels)
    ]
    if not labeled:
        return []
    fractions = _fractions([entry for entry, _ in labeled], hull.elements)
    heights = above_hull(fractions, np.array([enthalpy for _, enthalpy in labeled]))
    ground_states = {entry.hash for entry in hull.corners}
    return [float(height) for (entry, _), height in zip(labeled, heights, strict=True) if entry.hash in ground_states]


def last_hulls(past: Sequence[Iteration]) -> list[Hull]:
    """The hulls of the newest iteration that has any."""
    return next((item.selected.hulls for item in reversed(past) if item.selected and item.selected.hulls), [])


def _fractions(entries: Sequence[HullEntry], elements: Sequence[str]) -> Floats:
    rows = [[entry.fractions.get(element, 0.0) for element in elements] for entry in entries]
    return np.array(rows, dtype=np.float64).reshape(-1, len(elements))
