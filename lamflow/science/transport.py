"""Diffusion and ionic conduction from trajectories: displacements, their squares, slopes with honest errors."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from lamflow.data.frames import Floats, Ints
from lamflow.science.hops import Hops
from lamflow.units import BOLTZMANN

BLOCKS = 5
"""Parts of a trajectory whose scatter says how far its values can be trusted."""
MOST_LAGS = 60
LONGEST_LAG = 0.5
"""Of a trajectory; beyond, too few independent pieces are left."""
LONGEST_STEP = 0.45
"""Of the cell between two frames; an atom that has moved farther may have come from any side."""
STEADY = 0.95
"""Least ratio of two slopes that are the same."""
LEAST_GROWTH = 0.4
"""Of d ln MSD / d ln t towards the end; where it is less, ions mostly rattle."""
LATE, AGREES = 0.25, 3.0
"""Of the longest lag, from where on the slope is that of long times, and by how many of its standard errors the one
from a window's start on may differ from it."""
CONDUCTIVITY = 1.602176634e-19**2 / 1.380649e-23 * 1e24
"""S/cm of q = 1, D = 1 cm²/s, V = 1 Å³ and T = 1 K: e²/k_B (exact, SI 2019)."""
CM2_PER_S = 1e-4
"""1 Å²/ps."""


def unwrapped(positions: Floats, cells: Floats) -> Floats:
    """Positions (F, N, 3) of atoms that are followed through the boundaries of their cell, Å.

    cells  (F, 3, 3) Å. Steps are taken in fractions of the cell and measured in the mean one, so that the breathing of
    a barostat's cell does not look like diffusion (S. von Bülow et al., J. Chem. Phys. 153, 021101 (2020)).

    Raises ValueError where atoms move so far between two frames that nobody can follow them.
    """
    fractions = np.linalg.solve(np.swapaxes(cells, 1, 2)[:, None], positions[..., None])[..., 0]
    steps = np.diff(fractions, axis=0)
    steps -= np.round(steps)
    largest = float(np.abs(steps).max()) if len(steps) else 0.0
    if largest > LONGEST_STEP:
        raise ValueError(
            f"an atom moves {largest:.2f} of the cell between two frames, so it cannot be followed; lower `every`"
        )
    path = np.concatenate([fractions[:1], fractions[:1] + np.cumsum(steps, axis=0)])
    return np.asarray(path @ cells.mean(axis=0))


def without_drift(paths: Floats, masses: Floats, framework: NDArray[np.bool_]) -> Floats:
    """Paths (F, N, 3) relative to the centre of mass of the framework, or of everything where there is none."""
    heavy = framework if framework.any() else np.ones(len(masses), dtype=bool)
    centre = np.einsum("fnx,n->fx", paths[:, heavy], masses[heavy]) / masses[heavy].sum()
    return np.asarray(paths - (centre - centre[0])[:, None])


def squared_displacements(paths: Floats, lags: Ints) -> Floats:
    """Mean squared displacement (N, L) of each path (F, N, 3) over all time origins, Å².

    By fast Fourier transforms, as in G. R. Kneller et al., Comput. Phys. Commun. 91, 191 (1995).
    """
    count = len(paths)
    moved = paths - paths.mean(axis=0)
    spectrum = np.fft.rfft(moved, 2 * count, axis=0)
    products = np.fft.irfft(np.abs(spectrum) ** 2, 2 * count, axis=0)[:count].sum(axis=2)
    squares = (moved**2).sum(axis=2)
    total = 2 * squares.sum(axis=0) - np.cumsum(
        np.concatenate([np.zeros((1, squares.shape[1])), (squares + squares[::-1])[:-1]]), axis=0
    )
    curve = (total - 2 * products) / (count - np.arange(count))[:, None]
    return np.asarray(np.maximum(curve[lags].T, 0.0))


def chosen_lags(count: int) -> Ints:
    """At most MOST_LAGS lags of a trajectory of `count` frames, dense at the short ones, in frames."""
    longest = max(2, int(LONGEST_LAG * count))
    return np.unique(np.round(np.geomspace(1, longest, MOST_LAGS)).astype(np.int64))


@dataclass(frozen=True, eq=False)
class Displacements:
    """What remains of a trajectory.

    frames      F after equilibration, and `interval` between them in ps
    lags        (L,) frames
    ions        (N, L) mean squared displacement of each mobile ion, Å²
    blocks      (BLOCKS, L) mean over the ions in each part of the trajectory; NaN beyond half of a part
    charge      (L,) mean square of Σ q Δr, Å² e²; charge_blocks (BLOCKS, L) in each part
    volume      mean, Å³
    temperature of the thermostat, K
    hops        how single ions move, where it was looked at
    """

    frames: int
    interval: float
    lags: Ints
    ions: Floats
    blocks: Floats
    charge: Floats
    charge_blocks: Floats
    volume: float
    temperature: float
    hops: Hops | None = None


def displacements(
    paths: Floats, mobile: NDArray[np.bool_], charges: Floats, *, interval: float, volume: float, temperature: float
) -> Displacements:
    """The displacements of paths (F, N, 3) without drift; mobile (N,) and charges (N,) in e are of the atoms.

    Raises ValueError for too short trajectories.
    """
    count = len(paths)
    if count < 10 * BLOCKS:
        raise ValueError(f"{count} frames after equilibration are too few; at least {10 * BLOCKS} are needed")
    lags = chosen_lags(count)
    current = np.einsum("fnx,n->fx", paths, charges)[:, None]
    parts = np.array_split(np.arange(count), BLOCKS)

    def in_blocks(of: Floats) -> Floats:
        short = [int((lags <= LONGEST_LAG * len(part)).sum()) for part in parts]
        table = np.full((BLOCKS, len(lags)), np.nan)
        for row, (part, known) in enumerate(zip(parts, short, strict=True)):
            table[row, :known] = squared_displacements(of[part], lags[:known]).mean(axis=0)
        return table

    return Displacements(
        count, interval, lags, squared_displacements(paths[:, mobile], lags), in_blocks(paths[:, mobile]),
        squared_displacements(current, lags)[0], in_blocks(current), volume, temperature,
    )  # fmt: skip


def walk_covariance(lags: Ints, count: int) -> Floats:
    """Covariance (L, L) of mean squared displacements of one coordinate of a random walk, in units of its step's
    variance squared.

    The squares of two Gaussian displacements have twice the square of their overlap as covariance (H. Qian et al.,
    Biophys. J. 60, 910 (1991)); all pairs of time origins in `count` frames are summed.
    """
    table = np.zeros((len(lags), len(lags)))
    for row, short in enumerate(lags):
        for column in range(row, len(lags)):
            long = lags[column]
            offset = np.arange(-short + 1, long)
            overlap = np.minimum(offset + short, long) - np.maximum(offset, 0)
            first = np.maximum(0, -offset)
            pairs = np.minimum(count - long, count - short - offset) - first
            table[row, column] = 2 * float((np.maximum(pairs, 0) * overlap.astype(np.float64) ** 2).sum())
            table[row, column] /= (count - short) * (count - long)
            table[column, row] = table[row, column]
    return table


def slope_weights(lags: Ints, count: int) -> tuple[Floats, float]:
    """See `_slope_weights`; the same window is asked for again and again."""
    return _slope_weights(tuple(lags.tolist()), count)


@cache
def _slope_weights(window: tuple[int, ...], count: int) -> tuple[Floats, float]:
    """Weights (L,) whose product with mean squared displacements is their slope, by generalised least squares with an
    offset, and the variance of that slope for one coordinate of a walk whose slope is 1."""
    lags = np.array(window, dtype=np.int64)
    covariance = walk_covariance(lags, count)
    scale = np.trace(covariance) / len(lags)
    inverse = np.linalg.inv(covariance / scale + 1e-10 * np.eye(len(lags)))
    design = np.stack([np.ones(len(lags)), lags.astype(np.float64)], axis=1)
    normal = np.linalg.inv(design.T @ inverse @ design)
    weights = (normal @ design.T @ inverse)[1]
    return weights, float(weights @ covariance @ weights)


def diffusive_start(lags: Ints, ions: Floats, count: int) -> int:
    """Index of the lag from which mean squared displacements grow linearly, whatever their offset.

    Their slope from t to 2t is that from 2t to 4t: neither does it grow any more, as while atoms fly freely, nor fall,
    as while they find the walls of their cages; and it is that of the longest lags, where ions that are bound to a
    larger place have found its walls. ions (N, L): of each ion of trajectories of `count` frames. Raises ValueError
    where there is no such lag.
    """
    curve = ions.mean(axis=0)

    def at(times: int) -> Floats:
        return np.asarray(np.interp(times * lags, lags, curve))

    usable = 4 * lags <= lags[-1]
    early, late = at(2) - at(1), 0.5 * (at(4) - at(2))
    good = np.flatnonzero(usable & (late >= STEADY * early) & (late <= early / STEADY) & (early > 0))
    growth = float(np.log2(np.interp(0.5 * lags[-1], lags, curve) / np.interp(0.25 * lags[-1], lags, curve)))
    if growth < LEAST_GROWTH or not len(good):
        raise ValueError(
            f"no diffusive regime: d ln MSD / d ln t is {growth:.2f} at long times and the slope "
            f"{'is never steady' if not len(good) else 'that of atoms in their cages'}; the ions have moved "
            f"{np.sqrt(curve[-1]):.1f} Å; run longer or hotter"
        )
    long = int(np.searchsorted(lags, LATE * lags[-1]))
    weights, variance = slope_weights(lags[long:], count)
    at_last = ions[:, long:] @ weights
    for start in good:
        slope = float(curve[start:] @ slope_weights(lags[start:], count)[0])
        walk = abs(slope) * np.sqrt(variance / (3 * len(ions)))
        scatter = at_last.std(ddof=1) / np.sqrt(len(ions)) if len(ions) > 1 else 0.0
        if abs(slope - at_last.mean()) <= AGREES * max(walk, scatter):
            return int(start)
    raise ValueError(
        f"no diffusive regime: at the longest times the mean squared displacement grows {at_last.mean() / slope:.2g} "
        "times as fast as at short ones, as where ions are bound to a wide place; run longer or hotter"
    )


@dataclass(frozen=True)
class Slope:
    """D in Å²/ps, or e² Å²/ps of a charge, with its standard error; the window's first lag in ps.

    walk, blocks, ions  standard errors by the theory of a walk, by the scatter of blocks, by the scatter of ions
    window              by how much the value changes when the window begins three times as late
    """

    value: float
    error: float
    start: float
    walk: float
    blocks: float
    ions: float
    window: float


def tracer(runs: list[Displacements]) -> Slope:
    """The tracer diffusion coefficient of independent trajectories of one system at one temperature.

    The error is the largest of four: a walk's, which is right for ions that do not feel each other, the scatter of
    blocks and trajectories, the scatter of ions, and what the choice of the window does. Raises ValueError where there
    is no diffusion.
    """
    lags, count, interval = runs[0].lags, runs[0].frames, runs[0].interval
    ions = np.concatenate([run.ions for run in runs])
    curve = ions.mean(axis=0)
    start = diffusive_start(lags, ions, count)
    weights, variance = slope_weights(lags[start:], count)
    per_ion = ions[:, start:] @ weights
    value = float(per_ion.mean())
    if value <= 0:
        raise ValueError("the mean squared displacement does not grow; run longer")
    walk = value * float(np.sqrt(variance / (3 * len(ions))))
    scatter = float(per_ion.std(ddof=1) / np.sqrt(len(ions))) if len(ions) > 1 else 0.0
    blocks = _scatter_of_blocks([run.blocks for run in runs], lags, start, count)
    later = int(np.searchsorted(lags, 3 * lags[start]))
    window = 0.0
    if later < len(lags) - 5:
        window = abs(value - float(curve[later:] @ slope_weights(lags[later:], count)[0]))
    unit = 1 / (6 * interval)
    errors = [error * unit for error in (walk, blocks, scatter, window)]
    return Slope(value * unit, max(errors), float(lags[start] * interval), *errors)


def collective(runs: list[Displacements], start: float) -> Slope:
    """A sixth of the slope of the mean square of Σ q Δr, from lag `start` in ps on, with the scatter of blocks."""
    lags, count, interval = runs[0].lags, runs[0].frames, runs[0].interval
    first = int(np.searchsorted(lags, start / interval - 1e-9))
    weights, variance = slope_weights(lags[first:], count)
    value = float(np.mean([run.charge[first:] @ weights for run in runs]))
    walk = abs(value) * float(np.sqrt(variance / (3 * len(runs))))
    blocks = _scatter_of_blocks([run.charge_blocks for run in runs], lags, first, count)
    unit, error = 1 / (6 * interval), max(walk, blocks)
    return Slope(value * unit, error * unit, start, walk * unit, blocks * unit, 0.0, 0.0)


def _scatter_of_blocks(tables: list[Floats], lags: Ints, start: int, count: int) -> float:
    """Standard error of the mean slope of all blocks; 0 where the window does not fit into a block."""
    known = min(int(np.isfinite(table).all(axis=0).sum()) for table in tables)
    if known - start < 2:
        return 0.0
    weights, _ = slope_weights(lags[start:known], count // BLOCKS)
    slopes = np.concatenate([table[:, start:known] @ weights for table in tables])
    return float(slopes.std(ddof=1) / np.sqrt(len(slopes)))


def nernst_einstein(diffusion: float, ions: int, charge: float, volume: float, temperature: float) -> float:
    """Conductivity in S/cm of `ions` of `charge` e that diffuse with `diffusion` cm²/s in `volume` Å³ at K."""
    return ions * charge**2 * diffusion / (volume * temperature) * CONDUCTIVITY


@dataclass(frozen=True, eq=False)
class Arrhenius:
    """ln y = ln y0 - E / kT. barrier: eV; covariance: (2, 2) of ln y0 and E."""

    log_prefactor: float
    barrier: float
    covariance: Floats

    def log_at(self, temperature: float) -> tuple[float, float]:
        """ln y at a temperature in K, and its standard error."""
        gradient = np.array([1.0, -1 / (BOLTZMANN * temperature)])
        value = float(gradient @ [self.log_prefactor, self.barrier])
        return value, float(np.sqrt(gradient @ self.covariance @ gradient))


def arrhenius(temperatures: Floats, values: Floats, errors: Floats) -> Arrhenius:
    """The weighted fit of ln y over 1/kT; `errors` are standard errors of y.

    Where the points scatter more than their errors say, the covariance grows with them. Raises ValueError for fewer
    than two temperatures.
    """
    if len(set(temperatures.tolist())) < 2:
        raise ValueError("an activation energy needs at least two temperatures")
    design = np.stack([np.ones(len(temperatures)), -1 / (BOLTZMANN * temperatures)], axis=1)
    sigma = np.maximum(errors / values, 1e-9)
    weighted = design / sigma[:, None]
    covariance = np.linalg.inv(weighted.T @ weighted)
    best = covariance @ weighted.T @ (np.log(values) / sigma)
    if len(temperatures) > 2:
        chi = float((((design @ best - np.log(values)) / sigma) ** 2).sum() / (len(temperatures) - 2))
        covariance = covariance * max(1.0, chi)
    return Arrhenius(float(best[0]), float(best[1]), np.asarray(covariance, dtype=np.float64))
