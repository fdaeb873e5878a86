"""A linear many-body model that is fitted in milliseconds, so that thousands of trainings can be compared.

The energy of an atom is linear in the densities ρ of its neighbours, one for each element and radial function, and in
all their products ρₖρₗ; the coefficients are those of the atom's element. Everything that a frame contributes to a fit
is computed once: training is one ridge regression, evaluation one product of matrices.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from ase.neighborlist import primitive_neighbor_list

from lamflow.data import Frame
from lamflow.data.frames import Floats, Ints

ENERGY_WEIGHT = 10.0
"""Of an energy per atom in eV, relative to a force component in eV/Å."""
RIDGE = 1e-9
MEMBERS = 4


@dataclass(frozen=True)
class Basis:
    """P functions for the elements with these atomic numbers."""

    elements: tuple[int, ...]
    cutoff: float
    functions: int = 6
    nearest: float = 0.8
    """Å, where the first function is largest."""

    @property
    def densities(self) -> int:
        """Of an atom."""
        return len(self.elements) * self.functions

    @property
    def size(self) -> int:
        """P: a constant, the densities and their products for each element."""
        count = self.densities
        return len(self.elements) * (1 + count + count * (count + 1) // 2)

    def rows(self, frame: Frame) -> Floats:
        """What multiplies the coefficients in the energy (eV) and in all force components (eV/Å): (1 + 3N, P)."""
        cell = frame.cell if frame.pbc else np.eye(3)
        first, second, distance, vector = primitive_neighbor_list(
            "ijdD", [frame.pbc] * 3, cell, frame.positions, self.cutoff
        )
        kinds = np.array([self.elements.index(number) for number in frame.numbers])
        value, slope = self._radial(distance)
        count, natoms = self.densities, frame.natoms
        columns = kinds[second][:, None] * self.functions + np.arange(self.functions)
        density = np.zeros((natoms, count))
        np.add.at(density, (first[:, None], columns), value)
        gradient = np.zeros((len(first), count))  # of the density of the first atom by the length of the bond
        np.put_along_axis(gradient, columns, slope, axis=1)
        k, m = np.triu_indices(count)
        features = np.concatenate([np.ones((natoms, 1)), density, density[:, k] * density[:, m]], axis=1)
        owner = density[first]
        slopes = np.concatenate(
            [np.zeros((len(first), 1)), gradient, gradient[:, k] * owner[:, m] + owner[:, k] * gradient[:, m]], axis=1
        )
        return self._assembled(kinds, features, first, second, vector / distance[:, None], slopes)

    def _assembled(
        self, kinds: Ints, features: Floats, first: Ints, second: Ints, direction: Floats, slopes: Floats
    ) -> Floats:
        """The rows of atoms' features and of bonds' slopes: a longer bond pulls its ends towards each other."""
        natoms, width = features.shape
        energy = np.zeros((len(self.elements), width))
        np.add.at(energy, kinds, features)
        forces = np.zeros((natoms, len(self.elements), 3, width))
        pull = direction[:, :, None] * slopes[:, None, :]
        np.add.at(forces, (first, kinds[first]), pull)
        np.add.at(forces, (second, kinds[first]), -pull)
        forces = np.moveaxis(forces, 1, 2)
        return np.concatenate([energy.reshape(1, -1), forces.reshape(3 * natoms, -1)])

    def _radial(self, distance: Floats) -> tuple[Floats, Floats]:
        """Values and slopes (K, functions) at distances (K,)."""
        centers = np.linspace(self.nearest, self.cutoff, self.functions)
        width = centers[1] - centers[0]
        shift = (distance[:, None] - centers) / width
        bell, angle = np.exp(-0.5 * shift**2), np.pi * distance[:, None] / self.cutoff
        fade = 0.5 * (np.cos(angle) + 1)
        return bell * fade, -bell * (0.5 * np.pi / self.cutoff * np.sin(angle) + shift / width * fade)


@dataclass(frozen=True, eq=False)
class Prepared:
    """F frames of N atoms each with everything that fits and errors need.

    rows     (F, 1 + 3N, P)
    targets  (F, 1 + 3N)  energies in eV, then force components in eV/Å
    """

    frames: list[Frame]
    rows: Floats
    targets: Floats
    descriptor: Floats

    def __len__(self) -> int:
        return len(self.frames)

    @property
    def natoms(self) -> int:
        """N"""
        return self.frames[0].natoms

    @property
    def forces(self) -> Floats:
        """True forces (F, N, 3), eV/Å."""
        return self.targets[:, 1:].reshape(len(self), -1, 3)


def fitted(data: Prepared, chosen: Ints, seed: int) -> Floats:
    """Coefficients (P, M) of a committee, each member fitted to a bootstrap sample of the chosen frames."""
    rng, columns = np.random.default_rng(seed), []
    rows, targets = data.rows[chosen].copy(), data.targets[chosen].copy()
    rows[:, 0] *= ENERGY_WEIGHT / data.natoms
    targets[:, 0] *= ENERGY_WEIGHT / data.natoms
    size = rows.shape[-1]
    for _ in range(MEMBERS):
        weight = np.sqrt(np.bincount(rng.integers(len(chosen), size=len(chosen)), minlength=len(chosen)))[:, None]
        matrix, right = (weight[..., None] * rows).reshape(-1, size), (weight * targets).ravel()
        normal = matrix.T @ matrix
        scale = np.sqrt(np.diag(normal)) + 1e-12
        normal = normal / scale / scale[:, None] + RIDGE * np.eye(size)
        columns.append(np.linalg.solve(normal, matrix.T @ right / scale) / scale)
    return np.stack(columns, axis=1)


def predicted(data: Prepared, chosen: Ints, coefficients: Floats) -> tuple[Floats, Floats]:
    """Energies (M, F) in eV and forces (M, F, N, 3) in eV/Å by each member of a committee."""
    values: Any = np.moveaxis(data.rows[chosen] @ coefficients, -1, 0)
    return values[:, :, 0], values[:, :, 1:].reshape(*values.shape[:2], -1, 3)
