"""Molecular dynamics of many systems at once: B systems of N atoms in arrays, one evaluation a step for all of them.

Every system has its own temperature, pressure and random numbers, so what happens to one does not depend on the others.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from ase.data import atomic_masses

from lamflow.data import Frame
from lamflow.data.frames import Floats, Ints
from lamflow.units import BOLTZMANN

ACCELERATION = 9648.5332
"""Å/ps² of 1 eV/Å on 1 u (CODATA 2018)."""
CHAIN = 3
"""Thermostats of a Nosé-Hoover chain."""

Ensemble = Literal["nve", "nvt", "langevin", "npt"]
Evaluate = Callable[[Floats, Floats, Ints], tuple[Floats, Floats, Floats]]
"""Takes positions (B, N, 3) and cells (B, 3, 3) in Å and the numbers (B,) of the systems among those that began; gives
energies (B,) in eV, forces (B, N, 3) in eV/Å and virials (B, 3, 3) in eV."""


@dataclass(eq=False)
class Systems:
    """B systems of N atoms on their way.

    number      (B,)       of each among those that began
    positions   (B, N, 3)  Å
    velocities  (B, N, 3)  Å/ps
    cells       (B, 3, 3)  Å; zeros for isolated systems
    masses      (B, N)     u
    energies    (B,)       eV, forces (B, N, 3) in eV/Å and virials (B, 3, 3) in eV at these positions
    """

    number: Ints
    positions: Floats
    velocities: Floats
    cells: Floats
    masses: Floats
    energies: Floats
    forces: Floats
    virials: Floats

    @property
    def kinetic(self) -> Floats:
        """Kinetic energies (B,), eV."""
        return np.asarray(0.5 / ACCELERATION * np.einsum("bn,bnx->b", self.masses, self.velocities**2))

    @property
    def volumes(self) -> Floats:
        """(B,), Å³; zero for isolated systems."""
        return np.asarray(np.abs(np.linalg.det(self.cells)))

    @property
    def pressures(self) -> Floats:
        """(B,), eV/Å³, kinetic part included."""
        inner = np.trace(self.virials, axis1=1, axis2=2)
        return np.asarray((2 * self.kinetic + inner) / (3 * self.volumes))

    def keep(self, rows: Ints) -> None:
        """Go on with some of the systems only."""
        for name in ("number", "positions", "velocities", "cells", "masses", "energies", "forces", "virials"):
            setattr(self, name, getattr(self, name)[rows])


@dataclass(eq=False)
class Dynamics:
    """How systems move; arrays hold one value for each system that began.

    ensemble         nve: velocity Verlet; nvt: Nosé-Hoover chains (G. J. Martyna et al., Mol. Phys. 87, 1117 (1996));
                     langevin: BAOAB (B. Leimkuhler and C. Matthews, J. Chem. Phys. 138, 174102 (2013)); npt: the same
                     with stochastic cell rescaling, isotropic (M. Bernetti and G. Bussi, J. Chem. Phys. 153, 114107
                     (2020))
    timestep         ps
    temperature      (B,)  K
    pressure         (B,)  eV/Å³
    thermostat_time  ps, and barostat_time
    compressibility  Å³/eV; the volume's relaxation time is barostat_time times the real one over this
    """

    ensemble: Ensemble
    timestep: float
    temperature: Floats
    seeds: Sequence[int]
    pressure: Floats | None = None
    thermostat_time: float = 0.1
    barostat_time: float = 1.0
    compressibility: float = 16.0
    _chain: Floats = field(init=False)
    _chain_velocity: Floats = field(init=False)
    _random: list[np.random.Generator] = field(init=False)

    def __post_init__(self) -> None:
        count = len(self.temperature)
        self._chain, self._chain_velocity = np.zeros((count, CHAIN)), np.zeros((count, CHAIN))
        self._random = [np.random.default_rng(seed) for seed in self.seeds]

    def freedom(self, natoms: int) -> int:
        """Degrees of freedom that carry heat: the whole stands still unless noise moves it."""
        return 3 * natoms if self.ensemble in ("langevin", "npt") else 3 * natoms - 3

    def temperatures(self, systems: Systems) -> Floats:
        """(B,), K."""
        return np.asarray(2 * systems.kinetic / (self.freedom(systems.positions.shape[1]) * BOLTZMANN))

    def begin(self, starts: Sequence[Frame]) -> Systems:
        """Systems of the same number of atoms as they start, with velocities and not evaluated yet."""
        masses = np.stack([atomic_masses[start.numbers] for start in starts])
        count, natoms = masses.shape
        return Systems(
            number=np.arange(count), positions=np.stack([start.positions for start in starts]),
            velocities=self.velocities(masses), cells=np.stack([start.cell for start in starts]), masses=masses,
            energies=np.zeros(count), forces=np.zeros((count, natoms, 3)), virials=np.zeros((count, 3, 3)),
        )  # fmt: skip

    def velocities(self, masses: Floats) -> Floats:
        """Random velocities (B, N, 3) in Å/ps of each system's temperature, without motion of the whole."""
        noise = np.stack([rng.normal(size=(masses.shape[1], 3)) for rng in self._random])
        velocities = noise * np.sqrt(BOLTZMANN * self.temperature[:, None, None] * ACCELERATION / masses[:, :, None])
        velocities -= np.einsum("bn,bnx->bx", masses, velocities)[:, None] / masses.sum(axis=1)[:, None, None]
        kinetic = 0.5 / ACCELERATION * np.einsum("bn,bnx->b", masses, velocities**2)
        wanted = 0.5 * self.freedom(masses.shape[1]) * BOLTZMANN * self.temperature
        scale = np.sqrt(np.divide(wanted, kinetic, out=np.zeros_like(wanted), where=kinetic > 0))
        return np.asarray(velocities * scale[:, None, None])

    def step(self, systems: Systems, evaluate: Evaluate) -> None:
        """One step of all systems, in position."""
        half, masses = 0.5 * self.timestep, systems.masses[:, :, None]
        if self.ensemble == "nvt":
            self._thermostat(systems)
        systems.velocities = systems.velocities + half * ACCELERATION * systems.forces / masses
        if self.ensemble == "npt":
            self._rescale(systems)
        if self.ensemble in ("langevin", "npt"):
            systems.positions = systems.positions + half * systems.velocities
            self._friction(systems)
            systems.positions = systems.positions + half * systems.velocities
        else:
            systems.positions = systems.positions + self.timestep * systems.velocities
        systems.energies, systems.forces, systems.virials = evaluate(systems.positions, systems.cells, systems.number)
        systems.velocities = systems.velocities + half * ACCELERATION * systems.forces / masses
        if self.ensemble == "nvt":
            self._thermostat(systems)

    def _noise(self, systems: Systems, size: tuple[int, ...]) -> Floats:
        return np.stack([self._random[number].normal(size=size) for number in systems.number])

    def _friction(self, systems: Systems) -> None:
        """The exact solution of an Ornstein-Uhlenbeck process over one step."""
        damp = np.exp(-self.timestep / self.thermostat_time)
        heat = BOLTZMANN * self.temperature[systems.number][:, None, None] * ACCELERATION / systems.masses[:, :, None]
        noise = self._noise(systems, systems.positions.shape[1:])
        systems.velocities = damp * systems.velocities + np.sqrt((1 - damp**2) * heat) * noise

    def _rescale(self, systems: Systems) -> None:
        """Stochastic cell rescaling of volume, positions and velocities over one step.

        It is the logarithm of the volume that grows, whose equation has no term kT/V: that of the volume has one.
        """
        assert self.pressure is not None  # noqa: S101  npt has one
        volume, heat = systems.volumes, BOLTZMANN * self.temperature[systems.number]
        rate = self.compressibility * self.timestep / self.barostat_time
        drift = -rate * (self.pressure[systems.number] - systems.pressures)
        grown = drift + np.sqrt(2 * heat * rate / volume) * self._noise(systems, ())
        scale = np.exp(grown / 3)[:, None, None]
        systems.positions, systems.cells = systems.positions * scale, systems.cells * scale
        systems.velocities = systems.velocities / scale

    def _thermostat(self, systems: Systems) -> None:
        """Half a step of the Nosé-Hoover chains, which scales the velocities."""
        rows, half = systems.number, 0.5 * self.timestep
        heat = BOLTZMANN * self.temperature[rows]
        freedom = self.freedom(systems.positions.shape[1])
        mass = np.repeat((heat * self.thermostat_time**2)[:, None], CHAIN, axis=1)
        mass[:, 0] *= freedom
        mass = np.maximum(mass, 1e-300)
        position, speed = self._chain[rows], self._chain_velocity[rows]
        kinetic = 2 * systems.kinetic

        def force(link: int) -> Floats:
            if link == 0:
                return np.asarray((kinetic - freedom * heat) / mass[:, 0])
            return np.asarray((mass[:, link - 1] * speed[:, link - 1] ** 2 - heat) / mass[:, link])

        last = CHAIN - 1
        speed[:, last] += 0.5 * half * force(last)
        for link in range(last - 1, -1, -1):
            damp = np.exp(-0.25 * half * speed[:, link + 1])
            speed[:, link] = damp * (damp * speed[:, link] + 0.5 * half * force(link))
        scale = np.exp(-half * speed[:, 0])
        systems.velocities = systems.velocities * scale[:, None, None]
        kinetic = kinetic * scale**2
        position += half * speed
        for link in range(last):
            damp = np.exp(-0.25 * half * speed[:, link + 1])
            speed[:, link] = damp * (damp * speed[:, link] + 0.5 * half * force(link))
        speed[:, last] += 0.5 * half * force(last)
        self._chain[rows], self._chain_velocity[rows] = position, speed

    def conserved(self, systems: Systems) -> Floats:
        """What nve and nvt conserve (B,), eV."""
        rows = systems.number
        total = systems.energies + systems.kinetic
        if self.ensemble != "nvt":
            return np.asarray(total)
        heat = BOLTZMANN * self.temperature[rows]
        freedom = self.freedom(systems.positions.shape[1])
        mass = np.repeat((heat * self.thermostat_time**2)[:, None], CHAIN, axis=1)
        mass[:, 0] *= freedom
        stored = 0.5 * (mass * self._chain_velocity[rows] ** 2).sum(axis=1)
        work = freedom * heat * self._chain[rows, 0] + heat * self._chain[rows, 1:].sum(axis=1)
        return np.asarray(total + stored + work)
