"""Frames and labels: the values that engines take and give."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Literal

import numpy as np
from ase import Atoms
from ase.data import chemical_symbols
from numpy.typing import NDArray
from pydantic import JsonValue

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

FailureKind = Literal["unconverged", "stopped", "incomplete", "late", "refused", "invalid"]
"""Why a frame got no label.

unconverged  the self-consistent cycle did not reach its threshold
stopped      the code says that something went wrong
incomplete   the output ends before everything is there, whatever the exit status
late         the code did not finish in its time
refused      the code, as it is set up, cannot treat such a frame
invalid      what it wrote are no finite numbers, or is of another structure
"""

HEAT = "electronic_temperature"
"""What ASE's Atoms call it in their info, K."""
HASH_DECIMALS = 6
"""Positions that agree to 10⁻⁶ Å are the same frame."""


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """One configuration of N atoms.

    numbers    (N,)    atomic numbers
    positions  (N, 3)  Å
    cell       (3, 3)  Å, one lattice vector a row; zeros for an isolated system
    pbc                periodic in all three directions, or in none
    electronic_temperature  of the electrons, K; None where they are in their ground state
    """

    numbers: Ints
    positions: Floats
    cell: Floats
    pbc: bool = True
    electronic_temperature: float | None = None

    @property
    def natoms(self) -> int:
        """N."""
        return len(self.numbers)

    @property
    def symbols(self) -> list[str]:
        """Chemical symbols of the atoms."""
        return [chemical_symbols[number] for number in self.numbers]

    def content_hash(self) -> str:
        """The same for frames with the same atoms, positions and cell to 10⁻⁶ Å, whatever their labels.

        The order of the elements does not matter, for data sets sort atoms by element; that of an element's atoms does.
        """
        order = np.argsort(self.numbers, kind="stable")
        digest = hashlib.sha256(np.ascontiguousarray(self.numbers[order], dtype="<i8").tobytes())
        for array in (self.positions[order], self.cell if self.pbc else np.zeros((3, 3))):
            rounded = np.round(np.asarray(array, dtype=np.float64), HASH_DECIMALS) + 0.0  # -0.0 becomes 0.0
            digest.update(np.ascontiguousarray(rounded, dtype="<f8").tobytes())
        if self.electronic_temperature is not None:
            digest.update(f"{self.electronic_temperature:.6f} K".encode())
        return digest.hexdigest()[:32]

    def to_ase(self) -> Atoms:
        """A copy as ASE's Atoms."""
        cell = self.cell if self.pbc else None
        atoms = Atoms(numbers=self.numbers, positions=self.positions, cell=cell, pbc=self.pbc)
        if self.electronic_temperature is not None:
            atoms.info[HEAT] = self.electronic_temperature
        return atoms

    @classmethod
    def from_ase(cls, atoms: Atoms) -> Frame:
        """A copy of ASE's Atoms.

        Raises ValueError for a system that is periodic in some directions only, and for a periodic one without a
        three-dimensional cell.
        """
        pbc = bool(atoms.pbc.any())
        if pbc and not atoms.pbc.all():
            raise ValueError(
                "it is periodic in some directions only; models know systems that are periodic in all or in none: "
                "give a slab a cell with vacuum and pbc in all directions"
            )
        cell = np.array(atoms.cell.array, dtype=np.float64) if pbc else np.zeros((3, 3))
        if pbc and abs(np.linalg.det(cell)) < 1e-8:
            raise ValueError("a periodic system needs three cell vectors that span a volume")
        heat = atoms.info.get(HEAT)
        return cls(
            np.array(atoms.numbers, dtype=np.int64), np.array(atoms.positions, dtype=np.float64), cell, pbc,
            None if heat is None else float(heat),
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Attempt:
    """One try to label a frame.

    changes  what was set differently than the run's settings say: the remedies taken so far, none in the first try
    kind     of the failure, with its reason; None for a try that gave labels
    """

    changes: dict[str, JsonValue]
    seconds: float
    kind: FailureKind | None = None
    reason: str | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Labels:
    """What an engine says about one Frame of N atoms.

    energy    ()      eV
    forces    (N, 3)  eV/Å
    virial    (3, 3)  eV, positive under compression; None if the engine has none
    attempts  tries that it took, the last one these labels; empty for engines that try once
    """

    energy: float
    forces: Floats
    virial: Floats | None = None
    attempts: tuple[Attempt, ...] = ()

    def problem(self, frame: Frame) -> str | None:
        """Why these labels cannot be used for `frame`, or None. Every label of every engine passes here."""
        if self.forces.shape != frame.positions.shape:
            return f"the forces have shape {self.forces.shape} for {frame.natoms} atoms"
        if not np.isfinite(self.energy):
            return f"the energy is {self.energy} eV"
        if not np.isfinite(self.forces).all():
            return f"{int((~np.isfinite(self.forces)).any(axis=1).sum())} atoms have a force that is not finite"
        if self.virial is not None and (self.virial.shape != (3, 3) or not np.isfinite(self.virial).all()):
            return "the virial is not a finite 3 by 3 matrix"
        return None


@dataclass(frozen=True, slots=True, eq=False)
class LabeledFrame:
    """A frame with its labels."""

    frame: Frame
    labels: Labels


@dataclass(frozen=True, slots=True, eq=False)
class Relaxed:
    """A structure as its relaxation left it.

    labels  of this structure by the model; None where the relaxation failed
    """

    frame: Frame
    labels: Labels | None


@dataclass(frozen=True, eq=False)
class Deviations:
    """Deviations of M models on F frames of N atoms; NaN where a model gave no finite number or nobody asked.

    force_max, force_mean, force_min  (F,)  over the atoms, eV/Å
    force_max_relative                (F,)  largest over the atoms of deviation ÷ (|mean force| + 1 eV/Å)
    virial_max                        (F,)  largest over the components, eV/atom; NaN without virials
    energy                            (F,)  eV/atom
    """

    force_max: Floats
    force_mean: Floats
    force_min: Floats
    force_max_relative: Floats
    virial_max: Floats
    energy: Floats

    def part(self, frames: Ints) -> Deviations:
        """Those of the frames with these numbers."""
        return Deviations(**{item.name: getattr(self, item.name)[frames] for item in fields(self)})


@dataclass(frozen=True, slots=True, eq=False)
class Trajectory:
    """F configurations of the same N atoms.

    numbers     (N,)       atomic numbers
    positions   (F, N, 3)  Å
    cells       (F, 3, 3)  Å
    steps       (F,)       step of the simulation at which each was taken
    failure                why the run ended early, or None; what it wrote before is kept
    velocities  (F, N, 3)  Å/ps; None where there are none
    forces      (F, N, 3)  eV/Å, by the model that explored, and `deviations` of the committee: from explorers that
                           evaluate it on their way; None for the others
    electronic_temperature  of all frames, K
    files                   that the explorer has written and that are kept with the run, PLUMED's for example
    """

    numbers: Ints
    positions: Floats
    cells: Floats
    steps: Ints
    pbc: bool = True
    failure: str | None = None
    log: str = field(default="", repr=False)
    velocities: Floats | None = None
    forces: Floats | None = None
    deviations: Deviations | None = None
    electronic_temperature: float | None = None
    files: tuple[Path, ...] = ()

    def __len__(self) -> int:
        return len(self.positions)

    def frame(self, index: int) -> Frame:
        """One configuration."""
        return Frame(self.numbers, self.positions[index], self.cells[index], self.pbc, self.electronic_temperature)

    def __iter__(self) -> Iterator[Frame]:
        return (self.frame(index) for index in range(len(self)))

    def part(self, frames: Ints) -> Trajectory:
        """The frames with these numbers, without the failure."""
        return Trajectory(
            self.numbers, self.positions[frames], self.cells[frames], self.steps[frames], self.pbc,
            velocities=None if self.velocities is None else self.velocities[frames],
            forces=None if self.forces is None else self.forces[frames],
            deviations=None if self.deviations is None else self.deviations.part(frames),
            electronic_temperature=self.electronic_temperature,
        )  # fmt: skip

    @classmethod
    def of(cls, frames: list[Frame], steps: list[int], failure: str | None = None) -> Trajectory:
        """Frames of the same atoms as one trajectory."""
        first = frames[0]
        return cls(
            first.numbers,
            np.stack([frame.positions for frame in frames]),
            np.stack([frame.cell for frame in frames]),
            np.array(steps, dtype=np.int64),
            first.pbc,
            failure,
            electronic_temperature=first.electronic_temperature,
        )

    @classmethod
    def nothing(cls, start: Frame, failure: str | None = None, log: str = "") -> Trajectory:
        """No frame: the run failed before it wrote one."""
        none = cls.of([start], [0]).part(np.zeros(0, dtype=np.int64))
        return replace(none, failure=failure, log=log)
