"""Energies of elements, and what the energy of a frame should be by those of others: errors of units and signs show.

Composition, density and a histogram of distances explain the energy of a frame to a few tenths of eV/atom; the
residual of a frame is taken from a fit that has not seen its composition, so a wrong label cannot explain itself.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lamflow.data.features import ELEMENTS, Features
from lamflow.data.frames import Floats, Ints
from lamflow.data.sources.dialect import ENERGIES
from lamflow.units import EV_PER_A3_IN_GPA

FOLDS = 5
ROUNDS = 4
"""Times that Huber's weights are taken anew."""
HUBER = 1.5
"""Robust standard deviations up to which a residual counts fully (P. Huber, Ann. Math. Stat. 35, 73 (1964))."""
RIDGE = 10.0
"""Added to the squares of columns of standard deviation 1."""
FAR = 50.0
"""Robust standard deviations beyond which a difference is an error and has no say in the energies of elements."""
ELEMENT_RIDGE = 1.0
"""Added to the sums of squared fractions of each element."""
SYSTEMATIC = 3
"""Frames that tell that an element is odd, and not they."""
BLOCK = 50_000
"""Frames whose design matrix is held at a time."""
LEAST_SCATTER = 0.02
"""eV/atom; a fit that seems better than this is no reason to call a frame wrong."""
DISPLACEMENT, COMPRESSION, PART = 0.5, 0.2, 0.5
"""Å, of the volume, and of the residual: see `is_strained`."""
MEMBERS = 12
"""Frames of a group below which nothing is said of its outliers."""


@dataclass(frozen=True, eq=False)
class ElementEnergies:
    """Energies of the elements of a group, by Huber's least squares on composition fractions.

    energies  (119,) eV/atom; 0 for elements that do not occur
    residual  (C,)   of every frame of the group, eV/atom
    scatter   robust standard deviation of the residuals, eV/atom
    rank, elements  independent compositions, and elements that occur
    """

    energies: Floats
    residual: Floats
    scatter: float
    rank: int
    elements: int


def robust_sigma(values: Floats) -> float:
    """Standard deviation of a normal distribution with the same median of absolute deviations."""
    finite = values[np.isfinite(values)]
    return 1.4826 * float(np.median(np.abs(finite - np.median(finite)))) if len(finite) else 0.0


def element_energies(features: Features, energy: Floats | None = None) -> ElementEnergies:
    """Fit the `energy` (C,) in eV/atom, that of the labels if None.

    A group with fewer independent compositions than elements gets the solution of smallest length.
    """
    target = features.energy if energy is None else energy
    present = np.flatnonzero(features.formulas[np.unique(features.formula)].sum(axis=0))
    shares = features.fractions[:, present]
    used = np.unique(features.formula)
    rank = int(np.linalg.matrix_rank(shares[used])) if len(used) else 0
    weight: Floats = np.ones(len(target))
    solution: Floats = np.zeros(len(present))
    residual = target
    for _ in range(4 * ROUNDS):
        size = len(features.formulas)
        total = np.bincount(features.formula, weight, size)
        sums = np.bincount(features.formula, weight * target, size)
        solution = np.asarray(np.linalg.lstsq(shares.T @ (total[:, None] * shares), shares.T @ sums, rcond=1e-9)[0])
        residual = target - (shares @ solution)[features.formula]
        sigma = max(robust_sigma(residual), 1e-6)
        weight = np.minimum(1.0, HUBER * sigma / np.maximum(np.abs(residual), 1e-12))
    energies = np.zeros(ELEMENTS)
    energies[present] = solution
    return ElementEnergies(energies, residual, max(robust_sigma(residual), 1e-6), rank, len(present))


def beyond_elements(features: Features, difference: Floats) -> tuple[Floats, float]:
    """(C,) what of a `difference` in eV/atom energies of elements do not explain, and its robust standard deviation.

    Huber's ridge regression on composition fractions with a constant; each frame's residual is that of a fit without it
    (leave-one-out by the hat matrix), so that a rare element does not hide a wrong frame.
    """
    present = np.flatnonzero(features.formulas[np.unique(features.formula)].sum(axis=0))
    design = np.hstack([np.ones((len(difference), 1)), features.fractions[:, present][features.formula]])
    penalty = ELEMENT_RIDGE * np.eye(design.shape[1])
    penalty[0, 0] = 1e-9
    weight, residual, sigma = np.ones(len(difference)), difference, 1.0
    for _ in range(2 * ROUNDS):
        inverse = np.linalg.inv(design.T @ (weight[:, None] * design) + penalty)
        fitted = design @ (inverse @ (design.T @ (weight * difference)))
        leverage = weight * ((design @ inverse) * design).sum(axis=1)
        residual = (difference - fitted) / (1 - np.minimum(leverage, 0.95))
        sigma = robust_sigma(residual)
        weight = np.minimum(1.0, HUBER * max(sigma, 1e-6) / np.maximum(np.abs(residual), 1e-12))
        weight *= np.abs(residual) < FAR * max(sigma, 1e-6)
    return residual, sigma


def systematic_elements(features: Features, odd: NDArray[np.bool_], residual: Floats) -> list[int]:
    """Atomic numbers of elements most of whose frames are odd in one direction: the element is, and not its frames."""
    counts = features.formulas[features.formula] > 0
    number = counts.sum(axis=0)
    high, low = (counts & (odd & (sign * residual > 0))[:, None] for sign in (1, -1))
    most = np.maximum(high.sum(axis=0), low.sum(axis=0))
    return [int(z) for z in np.flatnonzero((most >= SYSTEMATIC) & (most > 0.6 * number))]


def rare_elements(features: Features) -> list[int]:
    """Atomic numbers of elements in so few frames that nobody can tell whether the element is odd, or they."""
    number = (features.formulas[features.formula] > 0).sum(axis=0)
    return [int(z) for z in np.flatnonzero((number > 0) & (number < SYSTEMATIC))]


def expected_energies(features: Features, seed: int) -> Floats:
    """(C,) eV/atom that the frames of other compositions say; NaN where there are too few of them.

    Ridge regression, weighted as Huber does, on composition, composition times the logarithm of the volume, and the
    fingerprint; compositions are dealt out to five folds.
    """
    present = np.flatnonzero(features.formulas[np.unique(features.formula)].sum(axis=0))
    size = 2 * len(present) + features.fingerprint.shape[1] + 1
    kinds = np.unique(features.formula)
    single = len(kinds) < 3 * FOLDS  # a few compositions: frames, not compositions, are dealt out
    generator = np.random.default_rng(seed)
    of_kind = np.zeros(len(features.formulas), dtype=np.int64)
    of_kind[kinds] = generator.permutation(len(kinds)) % FOLDS
    fold = generator.permutation(len(features)) % FOLDS if single else of_kind[features.formula]
    if len(features) < max(MEMBERS, 2 * size // 10):
        return np.full(len(features), np.nan)
    weight, expected = np.ones(len(features)), np.zeros(len(features))
    scale = _scale(features, present)
    for _ in range(ROUNDS):
        expected = _fitted(features, present, scale, fold, weight)
        residual = features.energy - expected
        sigma = max(robust_sigma(residual), LEAST_SCATTER)
        weight = np.minimum(1.0, HUBER * sigma / np.maximum(np.abs(residual), 1e-12)) * (np.abs(residual) < 6 * sigma)
    return expected


def _scale(features: Features, present: Ints) -> Floats:
    block = _design(features, present, slice(0, BLOCK))
    spread = block.std(axis=0)
    return np.asarray(np.where(spread > 1e-9, spread, 1.0))


def _design(features: Features, present: Ints, rows: slice) -> Floats:
    shares = features.fractions[:, present][features.formula[rows]]
    volume = features.volume[rows]
    logarithm = np.where(np.isfinite(volume), np.log(np.where(np.isfinite(volume), volume, 1.0)), 0.0)[:, None]
    ones = np.ones((len(volume), 1))
    return np.hstack([shares, shares * logarithm, features.fingerprint[rows].astype(np.float64), ones])


def _fitted(features: Features, present: Ints, scale: Floats, fold: Ints, weight: Floats) -> Floats:
    """Predictions (C,) of each fold by a fit of the others, from sums over blocks of frames."""
    size = len(scale)
    gram, right = np.zeros((FOLDS, size, size)), np.zeros((FOLDS, size))
    blocks = [slice(start, start + BLOCK) for start in range(0, len(features), BLOCK)]
    for rows in blocks:
        design = _design(features, present, rows) / scale
        for part in range(FOLDS):
            mine = fold[rows] == part
            weighted = design[mine] * weight[rows][mine, None]
            gram[part] += weighted.T @ design[mine]
            right[part] += weighted.T @ features.energy[rows][mine]
    total, sums = gram.sum(axis=0), right.sum(axis=0)
    solutions = [
        np.linalg.solve(total - gram[part] + RIDGE * np.eye(size), sums - right[part])
        for part in range(FOLDS)
    ]  # fmt: skip
    found = np.zeros(len(features))
    for rows in blocks:
        design = _design(features, present, rows) / scale
        for part in range(FOLDS):
            mine = fold[rows] == part
            found[rows][mine] = design[mine] @ solutions[part]
    return found


def explained_by_unit(energy: Floats, expected: Floats, sigma: float, z: float) -> NDArray[np.str_]:
    """(C,) how an energy (eV/atom) that is an outlier was written, if that makes it none; empty otherwise.

    An energy more than `z` standard deviations from what is expected, which another unit or sign brings within 3.
    """
    found = np.full(len(energy), "", dtype="<U32")
    best = np.abs(energy - expected)
    odd = (best > z * sigma) & (np.abs(expected) > 6 * sigma)  # of energies about zero any unit makes something
    readings = {"with the other sign": -1.0}
    readings |= {f"in {name}": factor for name, factor in ENERGIES.items() if factor != 1.0}
    readings |= {f"in eV, and taken for {name}": 1 / factor for name, factor in ENERGIES.items() if factor != 1.0}
    for words, factor in readings.items():
        distance = np.abs(energy * factor - expected)
        fits = odd & (distance < 3 * sigma) & (distance < best)
        found[fits], best[fits] = words, distance[fits]
    return found


def is_strained(features: Features, residual: Floats) -> NDArray[np.bool_]:
    """(C,) frames whose forces and pressure say why their energy is `residual` (eV/atom) above what is expected.

    What the forces give back over a relaxation of DISPLACEMENT, and the pressure over a COMPRESSION of the volume, is a
    part of the residual: such an energy is high, and not written in another unit.
    """
    pressure, volume = np.nan_to_num(features.pressure), np.nan_to_num(features.volume)
    work = DISPLACEMENT * features.force_rms + COMPRESSION * np.maximum(pressure, 0) * volume / EV_PER_A3_IN_GPA
    return np.asarray((residual > 0) & (work > PART * residual))
