"""What structure searches have found: the convex hull under each condition, its changes, and what labels say of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from ase.data import atomic_numbers

from lamflow.config.engines import SearcherSettings
from lamflow.config.schema import Config
from lamflow.data import Frame
from lamflow.data.explored import FoundFrames
from lamflow.data.frames import Floats
from lamflow.data.hulls import FoundStructure, Generation, Hull, HullEntry
from lamflow.data.results import Explored, Iteration, TaskResult
from lamflow.ops._judge import FOUND, RESULT
from lamflow.science.hull import above_hull
from lamflow.science.similarity import bond_matrix, same, space_group
from lamflow.units import BAR_IN_EV_PER_A3

MOST = 60
"""Structures that are kept of each hull."""
HIGHEST = 0.2
"""eV/atom above the hull; what lies higher is not among the best of anything."""


@dataclass(frozen=True, eq=False)
class Found:
    """A hull with its structures.

    frames  of the entries, in their order
    forces  that the models predict for them, eV/Å
    """

    hull: Hull
    frames: list[Frame]
    forces: list[Floats]
    settings: SearcherSettings


@dataclass(frozen=True, eq=False)
class _Candidate:
    record: FoundStructure
    frame: Frame
    forces: Floats


def hulls(config: Config, shards: Sequence[Path], tasks: Mapping[int, TaskResult], stage: int) -> list[Found]:
    """The hull of every task of the run and condition that this iteration has searched."""
    together: dict[tuple[str, tuple[tuple[str, float], ...]], list[_Candidate]] = {}
    for shard in shards:
        records = Explored.read(shard / RESULT).found
        if not records:
            continue
        stored = FoundFrames.load(shard / FOUND)
        for record, frame, forces in zip(records, stored.frames, stored.frames.split(stored.forces), strict=True):
            task = tasks[record.search]
            key = task.task, tuple(sorted(task.condition.items()))
            together.setdefault(key, []).append(_Candidate(record, frame, forces))
    made = []
    for key in sorted(together):
        found = sorted(together[key], key=lambda each: (each.record.search, each.record.generation, each.record.number))
        group = config.stages[stage].explore[int(tasks[found[0].record.search].group)]
        assert isinstance(group, SearcherSettings)  # noqa: S101  others find no structures
        made.append(_hull(key[0], dict(key[1]), found, group))
    return made


def _hull(task: str, condition: dict[str, float], found: list[_Candidate], settings: SearcherSettings) -> Found:
    elements, pressure = settings.elements, condition.get("pressure", 0.0) * BAR_IN_EV_PER_A3
    numbers = [atomic_numbers[element] for element in elements]
    good = [each for each in found if each.record.failed is None]
    enthalpies = np.array([each.record.energy + pressure * each.record.volume for each in good])
    fractions = np.array([[(each.frame.numbers == number).mean() for number in numbers] for each in good])
    heights = above_hull(fractions.reshape(-1, len(numbers)), enthalpies)
    kept: list[tuple[int, Floats]] = []
    duplicates = 0
    for place in np.argsort(heights, kind="stable"):
        if not heights[place] <= HIGHEST:
            break
        matrix = bond_matrix(good[place].frame, numbers)
        if any(same((good[place].frame, matrix), (good[i].frame, other), settings.similarity) for i, other in kept):
            duplicates += 1
        elif len(kept) < MOST:
            kept.append((int(place), matrix))
    entries = [_entry(good[place], float(enthalpies[place]), float(heights[place]), elements) for place, _ in kept]
    hull = Hull(
        task=task, condition=condition, elements=elements, entries=entries,
        generations=_generations(found, good, heights), structures=len(found), failed=len(found) - len(good),
        unfinished=sum(not each.record.converged for each in good), duplicates=duplicates,
    )  # fmt: skip
    return Found(hull, [good[i].frame for i, _ in kept], [good[i].forces for i, _ in kept], settings)


def _entry(found: _Candidate, enthalpy: float, height: float, elements: Sequence[str]) -> HullEntry:
    record, frame = found.record, found.frame
    counts = {element: frame.symbols.count(element) for element in elements if element in frame.symbols}
    return HullEntry(
        search=record.search, generation=record.generation, number=record.number,
        formula="".join(f"{element}{count if count > 1 else ''}" for element, count in counts.items()), counts=counts,
        energy=record.energy, enthalpy=enthalpy, volume=record.volume, above_hull=max(0.0, height),
        space_group=space_group(frame), deviation=record.deviation, hash=frame.content_hash(),
    )  # fmt: skip


def _generations(found: list[_Candidate], good: list[_Candidate], heights: Floats) -> list[Generation]:
    made = []
    for number in sorted({each.record.generation for each in found}):
        mine = [height for each, height in zip(good, heights, strict=True) if each.record.generation == number]
        made.append(
            Generation(
                number=number,
                structures=sum(each.record.generation == number for each in found),
                lowest=max(0.0, float(min(mine))) if mine else None,
                mean=float(np.mean(mine)) if mine else None,
            )
        )
    return made


def change(before: Sequence[Hull], now: Sequence[Hull]) -> float | None:
    """Largest change of any hull between two iterations, eV/atom; None where they cannot be compared.

    Compared at the compositions of both hulls' corners. What is linear in the composition moves no phase boundary and
    is taken out, except where there is one composition only.
    """
    old = {hull.key: hull for hull in before}
    if not now or any(hull.key not in old for hull in now):
        return None
    changes = [_change(old[hull.key], hull) for hull in now]
    known = [value for value in changes if value is not None]
    return max(known) if len(known) == len(changes) else None


def _change(before: Hull, now: Hull) -> float | None:
    elements = now.elements
    corners = np.unique(
        np.round(np.concatenate([_fractions(hull.corners, elements) for hull in (before, now)]), 9), axis=0
    )
    levels = []
    for hull in (before, now):
        reference = _fractions(hull.entries, elements), np.array([entry.enthalpy for entry in hull.entries])
        levels.append(-above_hull(corners, np.zeros(len(corners)), reference))
    moved = levels[1] - levels[0]
    inside = np.isfinite(moved)
    if not inside.all():
        return None  # one of the two searches has not reached a composition of the other
    if len(corners) > 1:
        moved = moved - corners @ np.linalg.lstsq(corners, moved, rcond=None)[0]
    return float(np.abs(moved).max())


def ground_state_error(past: Sequence[Iteration]) -> float | None:
    """How far, by the labels, the last labeled ground states of the models lie above the labels' own hull, eV/atom.

    None when no ground state has been labeled.
    """
    worst: float | None = None
    last = next((item for item in reversed(past) if item.hull_labels and item.selected is not None), None)
    if last is None or last.selected is None:
        return None
    for hull in last.selected.hulls:
        known = [
            (entry, energy)
            for item in past
            if item.selected is not None
            for other in item.selected.hulls
            if other.key == hull.key
            for entry, energy in other.labeled(item.hull_labels)
        ]
        mine = {entry.hash for entry in hull.corners}
        if not known:
            continue
        heights = above_hull(_fractions([entry for entry, _ in known], hull.elements), np.array([e for _, e in known]))
        found = [float(height) for (entry, _), height in zip(known, heights, strict=True) if entry.hash in mine]
        if found:
            worst = max(found) if worst is None else max(worst, *found)
    return worst


def _fractions(entries: Sequence[HullEntry], elements: Sequence[str]) -> Floats:
    rows = [[entry.fractions.get(element, 0.0) for element in elements] for entry in entries]
    return np.array(rows, dtype=np.float64).reshape(-1, len(elements))
