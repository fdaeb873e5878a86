"""Energies, forces and stresses that belong together: along a trajectory one is the work of the others."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lamflow.data.frames import Floats, Ints, LabeledFrame

NEAR = 0.3
"""Å and strain; between frames further apart than this a line says too little."""
LEAST = 1e-3
"""eV/atom; smaller changes are noise of the code."""
FLOOR = 5e-3
"""eV/atom; of smaller changes nothing is expected."""
PAIRS = 6
"""Pairs of frames that a statement about a group needs."""


@dataclass(frozen=True)
class Slopes:
    """How the energy of a group's trajectories follows its forces and its stress: 1 where all is right.

    pairs    neighbouring frames that were looked at
    forces, stress          factor by which the labels' work must be multiplied; None where nothing moves
    forces_error, stress_error  standard errors
    """

    pairs: int
    forces: float | None = None
    forces_error: float = 0.0
    stress: float | None = None
    stress_error: float = 0.0

    def problem(self, name: str) -> str:
        """What is wrong with the sign or the unit of forces or stress; empty where nothing is, or nobody can tell."""
        slope, error = getattr(self, name), getattr(self, f"{name}_error")
        if slope is None or error > 0.2 * abs(slope) or abs(slope) < 4 * error:
            return ""
        if slope < 0 and abs(slope + 1) < 0.3:
            return "sign"
        return "unit" if abs(np.log10(abs(slope))) > 0.3 else ""


def work(first: LabeledFrame, second: LabeledFrame) -> tuple[float, float, float] | None:
    """Change of the energy from one frame to the next, and the work of forces and of stress, eV/atom.

    ΔE ≈ −½(F₁+F₂)·h̄Δs + ½(σ₁+σ₂):ε V̄ with the change Δs of the fractional coordinates and the strain ε of the cell.
    None for frames of other atoms, and for those that are far apart.
    """
    one, two = first.frame, second.frame
    if one.pbc != two.pbc or one.natoms != two.natoms or not np.array_equal(one.numbers, two.numbers):
        return None
    change = (second.labels.energy - first.labels.energy) / one.natoms
    if not one.pbc:
        moved, strain = two.positions - one.positions, np.zeros((3, 3))
    else:
        scaled = np.linalg.solve(two.cell.T, two.positions.T).T - np.linalg.solve(one.cell.T, one.positions.T).T
        moved = (scaled - np.round(scaled)) @ ((one.cell + two.cell) / 2)
        deformation = np.linalg.solve(one.cell, two.cell)
        strain = (deformation + deformation.T) / 2 - np.eye(3)
    if np.abs(moved).max() > NEAR or np.abs(strain).max() > NEAR:
        return None
    by_forces = -float(((first.labels.forces + second.labels.forces) / 2 * moved).sum()) / one.natoms
    if not strain.any():
        return change, by_forces, 0.0
    if first.labels.virial is None or second.labels.virial is None:
        return None
    by_stress = -float(((first.labels.virial + second.labels.virial) / 2 * strain).sum()) / one.natoms
    return change, by_forces, by_stress


def slopes(change: Floats, force_work: Floats, stress_work: Floats) -> Slopes:
    """Robust regression of energy changes (P,) on the work of forces and stress; see `work`."""
    known = np.isfinite(change) & (np.maximum(np.abs(force_work), np.abs(stress_work)) > LEAST)
    if known.sum() < PAIRS:
        return Slopes(int(known.sum()))
    target = change[known]
    columns = {"forces": force_work[known], "stress": stress_work[known]}
    moving = {name: column for name, column in columns.items() if (np.abs(column) > LEAST).sum() >= PAIRS}
    if not moving:
        return Slopes(int(known.sum()))
    design = np.stack(list(moving.values()), axis=1)
    weight = np.ones(len(target))
    for _ in range(20):  # Huber's weights by iteration (P. Huber, Ann. Math. Stat. 35, 73 (1964))
        gram = design.T @ (weight[:, None] * design)
        solution = np.linalg.lstsq(gram, design.T @ (weight * target), rcond=1e-10)[0]
        residual = target - design @ solution
        sigma = max(1.4826 * float(np.median(np.abs(residual))), 1e-9)
        weight = np.minimum(1.0, 1.5 * sigma / np.maximum(np.abs(residual), 1e-12))
    errors = np.sqrt(np.diag(np.linalg.pinv(gram))) * sigma
    found = {name: (float(solution[i]), float(errors[i])) for i, name in enumerate(moving)}
    forces, stress = found.get("forces", (None, 0.0)), found.get("stress", (None, 0.0))
    return Slopes(int(known.sum()), forces[0], forces[1], stress[0], stress[1])


def unexplained(change: Floats, explained: Floats, trajectory: Ints) -> Floats:
    """(C,) share of the energy change along a trajectory that the work of forces and stress does not explain.

    change, explained  (C,) from the frame before, eV/atom; NaN where there is none
    trajectory         (C,) frames of one follow each other

    A frame is judged by its two neighbours, so a wrong one has two large shares and each of its neighbours one; an end
    is judged by its only neighbour, unless that is the one to blame. NaN for frames without a neighbour.
    """
    share = np.abs(change - explained) / (np.maximum(np.abs(change), np.abs(explained)) + FLOOR)
    after = np.full(len(share), np.nan)
    after[:-1] = np.where(trajectory[1:] == trajectory[:-1], share[1:], np.nan)
    smaller = np.fmin(share, after)
    alone = np.isfinite(share) != np.isfinite(after)
    other = np.full(len(share), np.nan)
    ends, begins = np.isfinite(share) & alone, np.isfinite(after) & alone
    other[ends] = smaller[np.flatnonzero(ends) - 1]
    other[begins] = smaller[np.flatnonzero(begins) + 1]
    excused = alone & (other > smaller / 2)
    return np.asarray(np.where(excused, np.nan, smaller))
