"""What magnets are measured by: exchange constants, magnetisation, the Curie point, the energy of spirals."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from lamflow.data import Frame, Labels
from lamflow.data.frames import Floats, Ints
from lamflow.errors import EngineError
from lamflow.science.spin_dynamics import SpinDynamics
from lamflow.units import BOLTZMANN

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


def reweighted(
    temperatures: Floats, energies: Sequence[Floats], values: Sequence[Floats], at: Floats
) -> tuple[Floats, Floats]:
    """Means (X, A) of X values at temperatures `at` (A,) in K, from samples at other ones, and how many count (A,).

    Few count, (Σw)²/Σw², where the energies of neighbouring temperatures do not overlap; means are worth nothing there.

    temperatures  (T,)              K
    energies      T × (n,)          eV, of the samples at each temperature
    values        T × (X, n)        of the same samples

    All samples count everywhere, by the weights of M. R. Shirts and J. D. Chodera, J. Chem. Phys. 129, 124105 (2008)
    (MBAR). The free energies are the minimum of a convex function, begun by thermodynamic integration.
    """
    from scipy.optimize import minimize
    from scipy.special import logsumexp, softmax

    counts = np.array([len(own) for own in energies])
    energy = np.concatenate(energies)
    energy = energy - energy.mean()
    biases = -energy / (BOLTZMANN * temperatures)[:, None] + np.log(counts)[:, None]

    def unlikelihood(free: Floats) -> tuple[float, Floats]:
        """Of the samples, and its derivative by the free energies (T,) in kT."""
        exponents, shares = biases + free[:, None], counts / len(energy)
        return float(logsumexp(exponents, axis=0).mean() - shares @ free), softmax(exponents, axis=0).mean(1) - shares

    mean = np.array([own.mean() for own in energies]) - np.concatenate(energies).mean()
    first = np.append(0, np.cumsum(np.diff(1 / (BOLTZMANN * temperatures)) * (mean[1:] + mean[:-1]) / 2))
    free = minimize(unlikelihood, first, jac=True, method="BFGS", options={"gtol": 1e-7}).x
    exponents = -energy / (BOLTZMANN * at)[:, None] - logsumexp(biases + free[:, None], axis=0)
    weights = np.exp(exponents - exponents.max(axis=1, keepdims=True))
    weights /= weights.sum(axis=1, keepdims=True)
    return np.asarray(np.concatenate(values, axis=1) @ weights.T), np.asarray(1 / (weights**2).sum(axis=1))


def crossing(temperatures: Floats, small: Floats, large: Floats) -> float:
    """Temperature (K) where Binder cumulants of a small and a large cell are the same: the Curie or Néel point.

    Below it the larger cell has the larger one, above it the smaller cell. Of several crossings it is the one that
    divides them best: the sum of the differences up to it is largest. Raises ValueError where they do not cross.
    """
    place = int(np.argmax(np.cumsum(large - small)))
    if large[place] <= small[place] or place == len(temperatures) - 1:
        raise ValueError(
            f"the cumulants do not cross between {temperatures[0]:g} and {temperatures[-1]:g} K; widen the temperatures"
        )
    before, after = (large - small)[place : place + 2]
    return float(temperatures[place] + before / (before - after) * (temperatures[place + 1] - temperatures[place]))


def sample_magnetisation(
    starts: Sequence[Frame], evaluate: Evaluate, dynamics: SpinDynamics, steps: int, equilibrate: int,
    signs: Ints | None = None,
) -> tuple[Floats, Floats]:  # fmt: skip
    """Magnetisations (B, T, 3) in μB an atom and energies (B, T) in eV of B systems whose atoms stand still while
    `dynamics` moves their moments.

    starts  B frames of the same atoms
    signs   (N,) of sublattices, for the order parameter of an antiferromagnet

    Raises EngineError when a moment grows beyond all bounds.
    """
    spins, numbers = np.stack([np.asarray(start.spins) for start in starts]), np.arange(len(starts))
    weights = np.ones(spins.shape[1]) if signs is None else signs
    magnetisations, energies = [], []
    for step in range(equilibrate + steps):
        labels = evaluate([start.with_fields(spin=own) for start, own in zip(starts, spins, strict=True)])
        if step >= equilibrate:
            magnetisations.append(np.einsum("n,bnx->bx", weights, spins) / spins.shape[1])
            energies.append([one.energy for one in labels])
        forces = np.stack([np.asarray(one.force_mag) for one in labels])
        spins = dynamics.step(spins, forces, numbers)
        if not np.abs(spins).max() < LARGEST:
            raise EngineError(
                f"a moment grows beyond {LARGEST:g} μB at step {step}; its step may be too long: "
                "lower timestep or mobility"
            )
    return np.stack(magnetisations, axis=1), np.array(energies).T


def spiral_energies(frame: Frame, evaluate: Evaluate, wave_vectors: Floats, moment: float) -> Floats:
    """Energies (Q,) in eV/atom of flat spirals with wave vectors (Q, 3) in reciprocal vectors of the cell."""
    scaled = np.linalg.solve(frame.cell.T, frame.positions.T).T
    frames = []
    for vector in wave_vectors:
        phase = 2 * np.pi * scaled @ vector
        spins = moment * np.stack([np.cos(phase), np.sin(phase), np.zeros_like(phase)], axis=1)
        frames.append(frame.with_fields(spin=spins))
    return np.array([labels.energy for labels in evaluate(frames)]) / frame.natoms
