"""Bonds between atoms and their moments: once the atoms stand still, any moments on them cost two matrix products."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import groupby
from typing import Any

import numpy as np

from lamflow.data import Frame, Labels
from lamflow.data.fields import FORCE_MAG
from lamflow.data.frames import Floats, Ints


@dataclass(frozen=True, eq=False)
class SpinBonds:
    """E = ½ Σₖ (aₖ + bₖ sᵢ·sⱼ) + Σᵢ Σₚ cᵢₚ sᵢ²ᵖ over the K directed bonds k from i to j of N atoms.

    first, second           (K,)    i and j
    vector                  (K, 3)  from i to j, Å
    plain, plain_slope      (K,)    a in eV and its derivative by distance
    coupling, coupling_slope  (K,)  b in eV/μB² and its derivative by distance
    single                  (N, P)  c in eV/μB²ᵖ, p from 1
    """

    first: Ints
    second: Ints
    vector: Floats
    plain: Floats
    plain_slope: Floats
    coupling: Floats
    coupling_slope: Floats
    single: Floats

    @cached_property
    def _matrices(self) -> tuple[Any, Any, Floats, Floats]:
        """Sums over the bonds of an atom (N, K), couplings (N, N), directions (K, 3), directions by vectors (K, 9)."""
        from scipy.sparse import csr_array

        natoms, bonds = len(self.single), len(self.first)
        sums = csr_array((np.ones(bonds), (self.first, np.arange(bonds))), shape=(natoms, bonds))
        couplings = csr_array((self.coupling, (self.first, self.second)), shape=(natoms, natoms))
        unit = self.vector / np.linalg.norm(self.vector, axis=1, keepdims=True)
        return sums, couplings, unit, (unit[:, :, None] * self.vector[:, None]).reshape(-1, 9)

    def derivatives(self, spins: Floats) -> tuple[Floats, Floats, Floats, Floats]:
        """Energies (B,) in eV, forces (B, N, 3) in eV/Å, virials (B, 3, 3) in eV, magnetic forces (B, N, 3) in eV/μB
        of moments (B, N, 3) in μB."""
        sums, couplings, unit, directions = self._matrices
        batch, natoms, _ = spins.shape
        dots = np.einsum("bkx,bkx->bk", spins[:, self.first], spins[:, self.second])
        squared = (spins**2).sum(axis=2)
        powers = np.stack([squared**p for p in range(self.single.shape[1] + 1)])
        energies = 0.5 * (self.plain.sum() + dots @ self.coupling) + np.einsum("pbn,np->b", powers[1:], self.single)
        pull = self.plain_slope + dots * self.coupling_slope
        forces = (sums @ (pull.T[:, :, None] * unit[:, None]).reshape(-1, batch * 3)).reshape(natoms, batch, 3)
        fields = (couplings @ spins.transpose(1, 0, 2).reshape(natoms, batch * 3)).reshape(natoms, batch, 3)
        orders = 2.0 * np.arange(1, self.single.shape[1] + 1)
        stiffness = np.einsum("pbn,np->bn", powers[:-1], self.single * orders)
        magnetic = -fields.transpose(1, 0, 2) - stiffness[:, :, None] * spins
        return energies, forces.transpose(1, 0, 2), -0.5 * (pull @ directions).reshape(-1, 3, 3), magnetic


@dataclass(eq=False)
class StillAtoms:
    """Labels of frames whose bonds are found once for all that differ in their moments only, from call to call too."""

    bonds_of: Callable[[Frame], SpinBonds]
    _last: tuple[tuple[bytes, ...], SpinBonds] | None = field(init=False, default=None)

    def labels(self, frames: Sequence[Frame], spins: Sequence[Floats | None]) -> list[Labels]:
        """Labels of each frame with its moments (N, 3); frames without have no magnetic forces."""
        found: list[Labels] = []
        pairs = zip(frames, spins, strict=True)
        for key, group in groupby(pairs, key=lambda pair: (_atoms(pair[0]), pair[1] is None)):
            members = list(group)
            found += self._alike([frame for frame, _ in members], [own for _, own in members], key[0])
        return found

    def _alike(self, frames: list[Frame], spins: list[Floats | None], atoms: tuple[bytes, ...]) -> list[Labels]:
        if self._last is None or self._last[0] != atoms:
            self._last = atoms, self.bonds_of(frames[0])
        nothing = np.zeros((frames[0].natoms, 3))
        moments = np.stack([nothing if own is None else own for own in spins])
        answers = zip(*self._last[1].derivatives(moments), strict=True)
        return [
            Labels(
                float(energy), forces, virial if frame.pbc else None,
                others={} if own is None else {FORCE_MAG: magnetic},
            )
            for frame, own, (energy, forces, virial, magnetic) in zip(frames, spins, answers, strict=True)
        ]  # fmt: skip


def _atoms(frame: Frame) -> tuple[bytes, ...]:
    """What bonds depend on."""
    return frame.numbers.tobytes(), frame.positions.tobytes(), frame.cell.tobytes() if frame.pbc else b""
