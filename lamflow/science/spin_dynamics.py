"""Moments of many systems at once, moved by overdamped Langevin dynamics so that they have a temperature."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from lamflow.data.frames import Floats, Ints
from lamflow.units import BOLTZMANN

MAGNETON = 5.7883817982e-5
"""eV/T, the Bohr magneton (CODATA 2022)."""


@dataclass(eq=False)
class SpinDynamics:
    """ds = μ H dt + √(2 μ kT) dW, whose stationary states are those of the Boltzmann distribution.

    The noise of two steps is averaged, which makes their error one of second order (B. Leimkuhler and C. Matthews,
    Appl. Math. Res. Express 2013, 34). With `fixed_length` every moment is scaled back to its length after each step.
    Arrays hold one value for each system that began.

    temperature  (B,)   K
    mobility     μ, μB²/(eV ps)
    timestep     ps
    external     (3,)   magnetic field, T
    """

    temperature: Floats
    mobility: float
    timestep: float
    seeds: Sequence[int]
    fixed_length: bool = False
    external: Floats = field(default_factory=lambda: np.zeros(3))
    _random: list[np.random.Generator] = field(init=False)
    _noise: dict[int, Floats] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        self._random = [np.random.default_rng(seed) for seed in self.seeds]

    def step(self, spins: Floats, forces: Floats, numbers: Ints) -> Floats:
        """Moments (B, N, 3) in μB after one step, from the magnetic forces (B, N, 3) on them in eV/μB.

        numbers  (B,) of the systems among those that began. Atoms without a moment keep none.
        """
        fresh = np.stack([self._random[number].normal(size=spins.shape[1:]) for number in numbers])
        before = np.stack([self._noise.get(int(number), own) for number, own in zip(numbers, fresh, strict=True)])
        self._noise |= {int(number): own for number, own in zip(numbers, fresh, strict=True)}
        width = np.sqrt(2 * self.mobility * BOLTZMANN * self.temperature[numbers] * self.timestep)[:, None, None]
        drift = self.mobility * self.timestep * (forces + MAGNETON * self.external)
        moved = np.asarray(spins + drift + width * (before + fresh) / 2)
        lengths = np.linalg.norm(spins, axis=-1, keepdims=True)
        if self.fixed_length:
            now = np.linalg.norm(moved, axis=-1, keepdims=True)
            moved = moved * np.divide(lengths, now, out=np.zeros_like(now), where=now > 0)
        return np.asarray(np.where(lengths > 0, moved, 0.0))
