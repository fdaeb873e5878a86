"""What is learned: five systems, each with a truth that takes milliseconds, and trajectories of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from _label_efficiency_model import Basis, Prepared
from ase import Atoms, units
from ase.build import bulk, molecule
from ase.calculators.calculator import Calculator, all_changes
from ase.md.langevin import Langevin
from ase.md.velocitydistribution import MaxwellBoltzmannDistribution

from lamflow.data import Frame
from lamflow.data.frames import Floats
from lamflow.engines.emt import Emt, EmtEvaluator
from lamflow.engines.lammps_potential import LammpsPotentialEvaluator, LammpsPotentialSettings
from lamflow.engines.protocol import Evaluator
from lamflow.science.diversity import descriptors

EVERY = 10
"""Steps of a trajectory between two frames."""


@dataclass(frozen=True)
class System:
    """What is learned. Temperatures in K, time step in fs; `start` makes a structure from a random generator."""

    name: str
    start: Callable[[np.random.Generator], Atoms]
    truth: Callable[[], Any]
    temperatures: tuple[float, ...]
    basis: Basis
    timestep: float = 2.0

    @property
    def elements(self) -> list[str]:
        """Chemical symbols."""
        return list(Atoms(list(self.basis.elements)).get_chemical_symbols())


class Truth(Calculator):  # type: ignore[misc]
    """What an evaluator of lamflow says, for dynamics of ASE."""

    implemented_properties = ("energy", "forces")

    def __init__(self, evaluator: Evaluator) -> None:
        super().__init__()
        self.evaluator = evaluator

    def calculate(self, atoms: Any = None, properties: Any = ("energy",), system_changes: Any = all_changes) -> None:
        """See Calculator."""
        super().calculate(atoms, properties, system_changes)
        [labels] = self.evaluator.evaluate([Frame.from_ase(atoms)])
        self.results = {"energy": labels.energy, "forces": labels.forces}


def _lammps(style: str, *coefficients: str) -> Any:
    settings = LammpsPotentialSettings(engine="lammps-potential", pair_style=style, pair_coeff=list(coefficients))
    return Truth(LammpsPotentialEvaluator(settings))


def _xtb() -> Any:
    from tblite.ase import TBLite

    return TBLite(method="GFN2-xTB", verbosity=0)


def _alloy(rng: np.random.Generator) -> Atoms:
    atoms = bulk("Cu", "fcc", a=3.9, cubic=True).repeat((2, 2, 1))
    atoms.set_atomic_numbers(rng.choice([13, 29], size=len(atoms)))
    return _strained(atoms, rng, 0.04)


def _defects(rng: np.random.Generator) -> Atoms:
    """A vacancy, an interstitial atom, or both, in turn by chance."""
    atoms = bulk("Al", "fcc", a=4.05, cubic=True).repeat((2, 2, 2))
    kind = rng.integers(3)
    if kind != 0:
        atoms += Atoms("Al", positions=[[2.025, 0.0, 0.0]])
    if kind != 1:
        del atoms[int(rng.integers(8, 32))]
    return _strained(atoms, rng, 0.02)


def _water(rng: np.random.Generator) -> Atoms:
    cluster = Atoms()
    for corner in ((0.0, 0.0, 0.0), (2.8, 0.3, 0.0), (1.3, 2.6, 0.4)):
        one = molecule("H2O")
        one.rotate(rng.uniform(0, 360), rng.normal(size=3))
        one.translate(np.array(corner) - one.positions[0] + rng.normal(scale=0.1, size=3))
        cluster += one
    return cluster


def _liquid(rng: np.random.Generator) -> Atoms:
    atoms = bulk("Ar", "fcc", a=5.6, cubic=True).repeat((2, 2, 2))
    atoms.set_atomic_numbers(rng.choice([18, 36], size=len(atoms)))
    return _strained(atoms, rng, 0.03)


def _silicon(rng: np.random.Generator) -> Atoms:
    return _strained(bulk("Si", "diamond", a=5.43, cubic=True).repeat((2, 1, 1)), rng, 0.03)


def _strained(atoms: Atoms, rng: np.random.Generator, size: float) -> Atoms:
    atoms.set_cell(atoms.cell.array @ (np.eye(3) + rng.normal(scale=size, size=(3, 3))), scale_atoms=True)
    atoms.positions += rng.normal(scale=0.03, size=(len(atoms), 3))
    return atoms


SYSTEMS = {
    system.name: system
    for system in (
        System("AlCu alloy, EMT", _alloy, lambda: Truth(EmtEvaluator(Emt())), (300, 600, 1000, 1500),
               Basis((13, 29), 5.5, 6, 2.0), 3.0),
        System("Al defects, EAM", _defects, lambda: _lammps("eam/alloy", "* * lammps:AlCu.eam.alloy {elements}"),
               (300, 600, 900, 1300), Basis((13,), 6.0, 10, 2.0), 3.0),
        System("water trimer, GFN2-xTB", _water, _xtb, (150, 300, 450, 600), Basis((1, 8), 5.0, 8, 0.7), 0.5),
        System("ArKr liquid, LJ", _liquid,
               lambda: _lammps("lj/cut 8.0", "{Ar} {Ar} 0.0103 3.40", "{Kr} {Kr} 0.0140 3.65"), (40, 80, 120, 160),
               Basis((18, 36), 7.5, 6, 2.8), 8.0),
        System("silicon, Tersoff", _silicon, lambda: _lammps("tersoff", "* * lammps:Si.tersoff {elements}"),
               (300, 900, 1500, 2400), Basis((14,), 5.0, 12, 1.8), 2.0),
    )
}  # fmt: skip


def prepared(system: System, frames_each: int, starts: int, seed: int) -> Prepared:
    """Frames of trajectories at each temperature, so many from each start, with everything that fits need.

    All have as many atoms, so a start with another number is drawn again.
    """
    rng, frames, targets = np.random.default_rng(seed), list[Frame](), []
    for temperature in np.repeat(system.temperatures, starts):
        atoms = system.start(rng)
        while frames and len(atoms) != frames[0].natoms:
            atoms = system.start(rng)
        atoms.calc = system.truth()
        MaxwellBoltzmannDistribution(atoms, temperature_K=temperature, rng=rng)
        motion = Langevin(
            atoms, system.timestep * units.fs, temperature_K=temperature, friction=0.01 / units.fs, rng=rng, fixcm=False
        )
        for _ in range(frames_each):
            motion.run(EVERY)
            frames.append(Frame.from_ase(atoms))
            targets.append(np.concatenate([[atoms.get_potential_energy()], atoms.get_forces().ravel()]))
    rows = np.array([system.basis.rows(frame) for frame in frames])
    return Prepared(frames, rows, np.array(targets), descriptors(frames, system.elements))


class Learned(Calculator):  # type: ignore[misc]
    """The mean of a committee."""

    implemented_properties = ("energy", "forces")

    def __init__(self, basis: Basis, coefficients: Floats) -> None:
        super().__init__()
        self.basis, self.coefficients = basis, coefficients.mean(axis=1)

    def calculate(self, atoms: Any = None, properties: Any = ("energy",), system_changes: Any = all_changes) -> None:
        """See Calculator."""
        super().calculate(atoms, properties, system_changes)
        values = self.basis.rows(Frame.from_ase(atoms)) @ self.coefficients
        self.results = {"energy": float(values[0]), "forces": values[1:].reshape(-1, 3)}


def is_stable(system: System, frame: Frame, coefficients: Floats, steps: int, seed: int) -> bool:
    """A trajectory of the learned model at the highest temperature keeps its atoms apart and its forces finite."""
    atoms, rng = frame.to_ase(), np.random.default_rng(seed)
    atoms.calc = Learned(system.basis, coefficients)
    MaxwellBoltzmannDistribution(atoms, temperature_K=system.temperatures[-1], rng=rng)
    motion = Langevin(
        atoms, system.timestep * units.fs, temperature_K=system.temperatures[-1], friction=0.01 / units.fs, rng=rng,
        fixcm=False,
    )  # fmt: skip
    closest = 0.6 * _closest(frame.to_ase())
    for _ in range(steps // EVERY):
        motion.run(EVERY)
        if not np.isfinite(atoms.positions).all() or _closest(atoms) < closest:
            return False
    return True


def _closest(atoms: Atoms) -> float:
    """The smallest distance of two atoms, Å."""
    distances = atoms.get_all_distances(mic=bool(atoms.pbc.any()))
    return float(distances[~np.eye(len(atoms), dtype=bool)].min())
