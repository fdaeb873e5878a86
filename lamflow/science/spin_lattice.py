"""A Landau-Heisenberg spin-lattice: atoms that attract each other, moments that align and grow, exact gradients.

    E = ½ Σ_{i≠j} f(r) [V(r) - J(r) sᵢ·sⱼ] + Σᵢ (A sᵢ² + B sᵢ⁴)
    V = D (e^{-2a(r-r₀)} - 2e^{-a(r-r₀)}),  J = J₀ e^{-(r-r₀)/λ}

f falls from 1 at `inner` to 0 at `cutoff` with two continuous derivatives. The energy is the same when all moments are
turned together or reversed. (P.-W. Ma, C. H. Woo and S. L. Dudarev, Phys. Rev. B 78, 024434 (2008), for the model;
P.-W. Ma and S. L. Dudarev, Phys. Rev. B 86, 054416 (2012), for moments of any length.)
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lamflow.data import Frame, Labels
from lamflow.data.frames import Floats
from lamflow.science.spin_bonds import SpinBonds, StillAtoms


@dataclass(frozen=True)
class SpinLattice:
    """Parameters of the model; the defaults give a ferromagnet like bcc iron: 2.2 μB, Curie point near 1000 K.

    depth    D, eV; steepness a, Å⁻¹; distance r₀, Å
    exchange J₀, eV/μB²; decay λ, Å
    landau   A, eV/μB², and B, eV/μB⁴
    inner    where bonds begin to fade, and cutoff, where they end, Å
    """

    depth: float = 0.4
    steepness: float = 1.4
    distance: float = 2.55
    exchange: float = 0.005
    decay: float = 0.9
    landau: tuple[float, float] = (-0.40, 0.045)
    inner: float = 3.6
    cutoff: float = 4.6

    def labels(self, frame: Frame) -> Labels:
        """Energy, forces, virial of a periodic frame, and magnetic forces; moments are zero if it has none."""
        [labels] = StillAtoms(self.bonds).labels(
            [frame], [np.zeros((frame.natoms, 3)) if (s := frame.spins) is None else s]
        )
        return labels

    def bonds(self, frame: Frame) -> SpinBonds:
        """All bonds of its atoms."""
        from ase.neighborlist import primitive_neighbor_list

        cell = frame.cell if frame.pbc else np.eye(3)
        first, second, distance, vector = primitive_neighbor_list(
            "ijdD", [frame.pbc] * 3, cell, frame.positions, self.cutoff
        )
        fade, faded = self._fade(distance)
        bond, slope = self._bond(distance)
        coupling = self.exchange * np.exp(-(distance - self.distance) / self.decay)
        return SpinBonds(
            first, second, vector, fade * bond, faded * bond + fade * slope, -fade * coupling,
            -coupling * (faded - fade / self.decay), np.tile(self.landau, (frame.natoms, 1)),
        )  # fmt: skip

    def _bond(self, distance: Floats) -> tuple[Floats, Floats]:
        """V and its derivative (K,)."""
        decay = np.exp(-self.steepness * (distance - self.distance))
        return self.depth * (decay**2 - 2 * decay), -2 * self.depth * self.steepness * (decay**2 - decay)

    def _fade(self, distance: Floats) -> tuple[Floats, Floats]:
        """f and its derivative (K,)."""
        width = self.cutoff - self.inner
        x = np.clip((distance - self.inner) / width, 0, 1)
        return 1 + x**3 * (-10 + 15 * x - 6 * x**2), -30 * x**2 * (1 - x) ** 2 / width
