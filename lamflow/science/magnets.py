"""What magnets are measured by: exchange constants, magnetisation, the Curie point, the energy of spirals."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from lamflow.data import Frame, Labels
from lamflow.data.frames import Floats, Ints
from lamflow.errors import EngineError
from lamflow.science.spin_dynamics import SpinDynamics

LARGEST = 50.0
"""μB; moments beyond have left what any model knows."""
Evaluate = Callable[[Sequence[Frame]], list[Labels]]


@dataclass(frozen=True, eq=False)
class Exchange:
    """Exchange constants of shells of neighbours, E = E₀ - ½ Σ_{i≠j} J(rᵢⱼ) sᵢ·sⱼ with s in μB.

    distances  (S,)  Å
    constants  (S,)  eV/μB²
    neighbors  (S,)  of a magnetic atom in each shell, in the mean
    residual         root mean square of what the fit leaves, eV/atom
    """

    distances: Floats
    constants: Floats
    neighbors: Floats
    residual: float


def fit_exchange(frames: Sequence[Frame], energies: Floats, cutoff: float, tolerance: float = 0.1) -> Exchange:
    """Exchange constants of the shells within `cutoff` in Å by least squares on energies (F,) in eV.

    The frames have the same atoms in the same places and moments of the same length that point elsewhere; atoms without
    a moment do not count. Distances that differ by less than `tolerance` in Å are one shell. Raises ValueError for
    frames that cannot tell them apart.
    """
    from ase.neighborlist import primitive_neighbor_list

    first, frame = frames[0].spins, frames[0]
    if first is None:
        raise ValueError("the frames have no magnetic moments")
    i, j, distance = primitive_neighbor_list("ijd", [frame.pbc] * 3, frame.cell, frame.positions, cutoff)
    magnetic = np.asarray(first.any(axis=1))
    between = magnetic[i] & magnetic[j]
    i, j, distance = i[between], j[between], distance[between]
    if not len(distance):
        raise ValueError(f"no two moments are within the cutoff of {cutoff:g} Å")
    edges = np.unique(np.round(distance / tolerance)) * tolerance
    shells = np.array([edge for n, edge in enumerate(edges) if n == 0 or edge - edges[n - 1] > 1.5 * tolerance])
    shell = np.abs(distance[:, None] - shells).argmin(axis=1)
    rows = []
    for one in frames:
        spins = np.asarray(one.spins)
        dots = np.einsum("kx,kx->k", spins[i], spins[j])
        rows.append(np.append(-0.5 * np.bincount(shell, dots, minlength=len(shells)), 1.0))
    matrix = np.array(rows)
    if np.linalg.matrix_rank(matrix, tol=1e-8 * np.abs(matrix).max()) < matrix.shape[1]:
        raise ValueError(
            f"{len(frames)} frames cannot tell {len(shells)} shells of neighbours apart; give more moments at "
            "random, or a larger cell"
        )
    solution, *_ = np.linalg.lstsq(matrix, energies, rcond=None)
    left = (matrix @ solution - energies) / frame.natoms
    means = np.array([distance[shell == n].mean() for n in range(len(shells))])
    neighbors = np.bincount(shell, minlength=len(shells)) / magnetic.sum()
    return Exchange(means, np.asarray(solution[:-1]), neighbors, float(np.sqrt(np.mean(left**2))))


def binder_cumulant(magnetisation: Floats) -> float:
    """U = 1 - ⟨m⁴⟩ / 3⟨m²⟩² of magnetisations (T, 3): 2/3 in order, 4/9 without it.

    K. Binder, Z. Phys. B 43, 119 (1981).
    """
    squares = (magnetisation**2).sum(axis=1)
    return float(1 - np.mean(squares**2) / (3 * np.mean(squares) ** 2))


def crossing(temperatures: Floats, small: Floats, large: Floats) -> float:
    """Temperature (K) where Binder cumulants of a small and a large cell are the same: the Curie or Néel point.

    Below it the larger cell has the larger one, above it the smaller cell. Noise is smoothed: the difference is that of
    the parabola through it. Raises ValueError where they do not cross.
    """
    difference = np.polyval(
        np.polyfit(temperatures - temperatures[0], large - small, 2), temperatures - temperatures[0]
    )
    signs = np.flatnonzero((difference[:-1] > 0) & (difference[1:] <= 0))
    if not len(signs):
        raise ValueError(
            f"the cumulants do not cross between {temperatures[0]:g} and {temperatures[-1]:g} K; widen the temperatures"
        )
    n = int(signs[-1])
    fraction = difference[n] / (difference[n] - difference[n + 1])
    return float(temperatures[n] + fraction * (temperatures[n + 1] - temperatures[n]))


def sample_magnetisation(
    starts: Sequence[Frame], evaluate: Evaluate, dynamics: SpinDynamics, steps: int, equilibrate: int,
    signs: Ints | None = None,
) -> Floats:  # fmt: skip
    """Magnetisations (B, T, 3) in μB an atom of B systems whose atoms stand still while `dynamics` moves their moments.

    starts  B frames of the same atoms
    signs   (N,) of sublattices, for the order parameter of an antiferromagnet

    Raises EngineError when a moment grows beyond all bounds.
    """
    spins, numbers = np.stack([np.asarray(start.spins) for start in starts]), np.arange(len(starts))
    weights = np.ones(spins.shape[1]) if signs is None else signs
    found = []
    for step in range(equilibrate + steps):
        frames = [start.with_fields(spin=own) for start, own in zip(starts, spins, strict=True)]
        forces = np.stack([np.asarray(labels.force_mag) for labels in evaluate(frames)])
        spins = dynamics.step(spins, forces, numbers)
        if not np.abs(spins).max() < LARGEST:
            raise EngineError(
                f"a moment grows beyond {LARGEST:g} μB at step {step}; its step may be too long: "
                "lower timestep or mobility"
            )
        if step >= equilibrate:
            found.append(np.einsum("n,bnx->bx", weights, spins) / spins.shape[1])
    return np.stack(found, axis=1)


def spiral_energies(frame: Frame, evaluate: Evaluate, wave_vectors: Floats, moment: float) -> Floats:
    """Energies (Q,) in eV/atom of flat spirals with wave vectors (Q, 3) in reciprocal vectors of the cell."""
    scaled = np.linalg.solve(frame.cell.T, frame.positions.T).T
    frames = []
    for vector in wave_vectors:
        phase = 2 * np.pi * scaled @ vector
        spins = moment * np.stack([np.cos(phase), np.sin(phase), np.zeros_like(phase)], axis=1)
        frames.append(frame.with_fields(spin=spins))
    return np.array([labels.energy for labels in evaluate(frames)]) / frame.natoms
