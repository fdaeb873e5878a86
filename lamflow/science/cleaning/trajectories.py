"""Energies, forces and stresses that belong together: along a trajectory one is the work of the others."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lamflow.data.fields import SPIN
from lamflow.data.frames import Floats, Ints, LabeledFrame

NEAR = 0.3
"""Å, strain and μB; between frames further apart than this a line says too little."""
SAME_CELL = 1e-9
"""Strain below which a cell is the one before: what rounding leaves needs no stress."""
LEAST = 1e-3
"""eV/atom; smaller changes are noise of the code."""
FLOOR = 5e-3
"""eV/atom; of smaller changes nothing is expected."""
USUAL = 5.0
"""Times the share that is left unexplained as a rule; more is a fault."""
MOST_PASSES = 20
"""Wrong frames in a row that are told one by one."""
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
        if abs(np.log10(abs(slope))) > 0.3:
            return "unit"
        return "sign" if slope < 0 else ""


def work(first: LabeledFrame, second: LabeledFrame) -> tuple[float, float, float, float] | None:
    """Change of the energy from one frame to the next, the work of forces and of stress, and its size, eV/atom.

    ΔE ≈ −½(F₁+F₂)·h̄Δs + ½(σ₁+σ₂):ε V̄ with the change Δs of the fractional coordinates and the strain ε of the cell;
    the work of magnetic forces where moments turn is taken off ΔE first. The size is the largest of |ΔE| and of the
    work of the forces of either frame alone. None for frames of other atoms, for those that are far apart, and where
    what moments or electrons do is not known.
    """
    one, two = first.frame, second.frame
    if one.pbc != two.pbc or one.natoms != two.natoms or not np.array_equal(one.numbers, two.numbers):
        return None
    turning = _turning(first, second)
    if turning is None:
        return None
    change = (second.labels.energy - first.labels.energy - turning) / one.natoms
    if not one.pbc:
        moved, strain = two.positions - one.positions, np.zeros((3, 3))
    else:
        scaled = np.linalg.solve(two.cell.T, two.positions.T).T - np.linalg.solve(one.cell.T, one.positions.T).T
        moved = (scaled - np.round(scaled)) @ ((one.cell + two.cell) / 2)
        deformation = np.linalg.solve(one.cell, two.cell)
        strain = (deformation + deformation.T) / 2 - np.eye(3)
    if np.abs(moved).max() > NEAR or np.abs(strain).max() > NEAR:
        return None
    own = [-float((item.labels.forces * moved).sum()) / one.natoms for item in (first, second)]
    by_forces, size = sum(own) / 2, max(abs(change), *map(abs, own))
    if np.abs(strain).max() < SAME_CELL:
        return change, by_forces, 0.0, size
    if first.labels.virial is None or second.labels.virial is None:
        return None
    by_stress = -float(((first.labels.virial + second.labels.virial) / 2 * strain).sum()) / one.natoms
    return change, by_forces, by_stress, size


def _turning(first: LabeledFrame, second: LabeledFrame) -> float | None:
    """What magnetic forces say of the change of the energy, eV; None where moments turn far, where nobody knows the
    forces, and where electrons have other temperatures."""
    one, two = first.frame.fields, second.frame.fields
    if one.keys() != two.keys() or any(name != SPIN and np.any(one[name] != two[name]) for name in one):
        return None
    turned = two[SPIN] - one[SPIN] if SPIN in one else np.zeros(3)
    if not turned.any():
        return 0.0
    forces = first.labels.force_mag, second.labels.force_mag
    if np.abs(turned).max() > NEAR or forces[0] is None or forces[1] is None:
        return None
    return -float(((forces[0] + forces[1]) / 2 * turned).sum())


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


def tolerances(change: Floats, explained: Floats, size: Floats, trajectory: Ints, source: Ints, least: float) -> Floats:
    """(C,) share of the energy changes that forces and stress may leave unexplained, by source: `least`, or more.

    Frames that were made by themselves lie so far apart that a straight line between two says less than along real
    dynamics. What their source leaves unexplained as a rule, the median of its pairs, is therefore no fault; a share
    of 1 is one anywhere: forces that say nothing, or the opposite.
    """
    share = np.abs(change - explained) / (size + FLOOR)
    share[1:][trajectory[1:] != trajectory[:-1]] = np.nan
    share[:1] = np.nan
    tells = np.isfinite(share) & (size > FLOOR)
    allowed = np.full(len(change), least)
    for number in np.unique(source[tells]):
        usual = float(np.median(share[tells & (source == number)]))
        allowed[source == number] = max(least, min(USUAL * usual, 1.0))
    return allowed


def unexplained(change: Floats, explained: Floats, size: Floats, trajectory: Ints, tolerance: Floats | float) -> Floats:
    """(C,) share of its energy changes that a frame's forces and stress do not explain, for those to blame; else NaN.

    change, explained, size  (C,) from the frame before, eV/atom, see `work`; NaN where there is none
    trajectory               (C,) frames of one follow each other
    tolerance                a larger share is wrong; (C,) or one for all

    A wrong frame spoils the pairs with both its neighbours. To blame is the one that spoils most, and of which every
    pair that says anything is spoilt; its pairs are then left out, and its neighbours are judged without it.
    """
    misfit = np.abs(change - explained)
    linked = np.isfinite(misfit)
    linked[1:] &= trajectory[1:] == trajectory[:-1]
    linked[:1] = False
    blamed = np.full(len(change), np.nan)
    for _ in range(MOST_PASSES):
        total, share, spoilt = _shares(np.where(linked, misfit, 0.0), np.where(linked, size, 0.0), linked, tolerance)
        eligible = spoilt & (share > tolerance)
        mine = np.where(eligible, total, -1.0)
        before = np.where(linked, np.concatenate([[-1.0], mine[:-1]]), -1.0)
        after = np.where(np.append(linked[1:], False), np.append(mine[1:], -1.0), -1.0)
        worst = eligible & (mine > before) & (mine > after)
        if not worst.any():
            break
        blamed[worst] = share[worst]
        linked &= ~worst
        linked[1:] &= ~worst[:-1]
    return blamed


def _shares(
    misfit: Floats, size: Floats, linked: NDArray[np.bool_], tolerance: Floats | float
) -> tuple[Floats, Floats, NDArray[np.bool_]]:
    """Of each frame's two pairs: misfit together, its share of their size, and whether all that matter are spoilt."""
    fits = linked & (misfit < tolerance / 3 * (size + FLOOR))
    later, later_size, later_fits = np.append(misfit[1:], 0.0), np.append(size[1:], 0.0), np.append(fits[1:], False)
    total = misfit + later
    return total, total / (size + later_size + FLOOR), ~(fits | later_fits)
