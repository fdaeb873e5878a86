"""Frames and labels: the values that engines take and give."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from ase import Atoms
from ase.data import chemical_symbols
from numpy.typing import NDArray
from pydantic import JsonValue

from lamflow.data import fields as table
from lamflow.data.fields import ELECTRONIC_TEMPERATURE, ENERGY, FORCE_MAG, FORCES, SPIN, VIRIAL, Fields
from lamflow.data.problems import frame_problem, label_problem, nothing_found, stress_of, virial_of

Floats = table.Floats
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

HASH_DECIMALS = 6
"""Positions that agree to 10⁻⁶ Å are the same frame."""


def _is_left_handed(cell: Floats) -> bool:
    """The determinant is below zero; by Python's numbers, which say nothing of those that are not finite."""
    (a, b, c), (d, e, f), (g, h, i) = cell.tolist()
    return bool(a * (e * i - f * h) - b * (d * i - f * g) + c * (d * h - e * g) < 0)


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """One configuration of N atoms.

    numbers    (N,)    atomic numbers
    positions  (N, 3)  Å
    cell       (3, 3)  Å, one lattice vector a row; zeros for an isolated system
    pbc                periodic in all three directions, or in none
    fields             the other inputs of models, by name: see data/fields.py

    A left-handed cell is replaced by that of the opposite vectors, which is of the same crystal: codes take the
    determinant for the volume, and DeePMD-kit would see no neighbours across its sides.
    """

    numbers: Ints
    positions: Floats
    cell: Floats
    pbc: bool = True
    fields: Fields = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.pbc and _is_left_handed(self.cell):
            object.__setattr__(self, "cell", -self.cell)
        if self.fields:
            object.__setattr__(self, "fields", table.checked(self.fields, self.natoms, "frame"))

    @property
    def natoms(self) -> int:
        """N."""
        return len(self.numbers)

    @property
    def symbols(self) -> list[str]:
        """Chemical symbols of the atoms."""
        return [chemical_symbols[number] for number in self.numbers]

    @property
    def volume(self) -> float:
        """Of the cell, Å³."""
        return abs(float(np.linalg.det(self.cell)))

    @property
    def electronic_temperature(self) -> float | None:
        """Of the electrons, K; None where they are in their ground state."""
        value = self.fields.get(ELECTRONIC_TEMPERATURE)
        return None if value is None else float(value)

    @property
    def spins(self) -> Floats | None:
        """Magnetic moments of the atoms (N, 3), μB; None where the frame has none."""
        return self.fields.get(SPIN)

    def with_fields(self, **values: Any) -> Frame:
        """The frame with these fields changed; None takes one away."""
        return replace(self, fields={**self.fields, **values})

    def reordered(self, order: Ints) -> Frame:
        """The frame with its atoms in another order."""
        return replace(
            self, numbers=self.numbers[order], positions=self.positions[order],
            fields=table.reordered(self.fields, order),
        )  # fmt: skip

    def problem(self) -> str | None:
        """Why this is no frame that can be labeled, or None."""
        return frame_problem(self.numbers, self.positions, self.cell, self.pbc, self.fields)

    def content_hash(self) -> str:
        """The same for frames with the same atoms, positions, cell (to 10⁻⁶ Å) and hashed fields, whatever the labels.

        The order of the elements does not matter, for data sets sort atoms by element; that of an element's atoms does.
        """
        order = np.argsort(self.numbers, kind="stable")
        digest = hashlib.sha256(np.ascontiguousarray(self.numbers[order], dtype="<i8").tobytes())
        for array in (self.positions[order], self.cell if self.pbc else np.zeros((3, 3))):
            rounded = np.round(np.asarray(array, dtype=np.float64), HASH_DECIMALS) + 0.0  # -0.0 becomes 0.0
            digest.update(np.ascontiguousarray(rounded, dtype="<f8").tobytes())
        values = table.reordered(self.fields, order)
        for row in table.frame_fields():
            if row.hashed and row.name in values:
                digest.update(row.digest(values[row.name]))
        return digest.hexdigest()[:32]

    def to_ase(self) -> Atoms:
        """A copy as ASE's Atoms; fields are in its info and arrays."""
        cell = self.cell if self.pbc else None
        atoms = Atoms(numbers=self.numbers, positions=self.positions, cell=cell, pbc=self.pbc)
        for name, value in self.fields.items():
            row = table.field(name)
            if row.per == "atom":
                atoms.set_array(row.ase, value.copy())
            else:
                atoms.info[row.ase] = value.copy() if row.shape else float(value)
        return atoms

    @classmethod
    def from_ase(cls, atoms: Atoms, keys: Mapping[str, str] | None = None) -> Frame:
        """A copy of ASE's Atoms; `keys` names where its fields are, for those that are called otherwise.

        Raises ValueError for a system that is periodic in some directions only, for a periodic one without a
        three-dimensional cell, and for a field of another shape, and LookupError for a field that `keys` names and
        that is not there.
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
        values = {}
        results = atoms.calc.results if atoms.calc is not None else {}
        for row in table.frame_fields():
            place = {**results, **(atoms.arrays if row.per == "atom" else atoms.info)}
            names = [keys[row.name]] if keys and row.name in keys else [row.ase, *row.extxyz]
            name = next((name for name in names if name in place), None)
            if name is not None:
                values[row.name] = place[name]
            elif keys and row.name in keys:
                raise LookupError(f"has no {keys[row.name]}, which keys.{row.name} names")
        return cls(
            np.array(atoms.numbers, dtype=np.int64), np.array(atoms.positions, dtype=np.float64), cell, pbc, values
        )


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
    others            further fields of labels by name: see data/fields.py
    """

    energy: float
    forces: Floats
    virial: Floats | None = None
    attempts: tuple[Attempt, ...] = ()
    others: Fields = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.others:
            object.__setattr__(self, "others", table.checked(self.others, len(self.forces), "labels"))

    @property
    def force_mag(self) -> Floats | None:
        """Magnetic forces -dE/ds (N, 3) on the moments of the atoms, eV/μB; None where there are none."""
        return self.others.get(FORCE_MAG)

    @property
    def fields(self) -> Fields:
        """Every label by the name of its field, energy, forces and virial among them."""
        first: dict[str, Floats] = {ENERGY: np.asarray(self.energy, dtype=np.float64), FORCES: self.forces}
        return {**first, **({} if self.virial is None else {VIRIAL: self.virial}), **self.others}

    @classmethod
    def of(cls, values: Mapping[str, Any], natoms: int) -> Labels:
        """Labels of a frame of `natoms` atoms by the names of their fields; None is none.

        Raises KeyError for a required field that is missing and ValueError for one of another shape.
        """
        missing = [row.name for row in table.label_fields() if row.required and values.get(row.name) is None]
        if missing:
            raise KeyError(missing[0])
        arrays = dict(table.checked(values, natoms, "labels"))
        return cls(float(arrays.pop(ENERGY)), arrays.pop(FORCES), arrays.pop(VIRIAL, None), others=arrays)

    @classmethod
    def from_stress(cls, energy: float, forces: Floats, stress: Floats | None, volume: float) -> Labels:
        """Labels with the virial of a stress (6,) or (3, 3) in eV/Å³, positive under tension as in ASE."""
        return cls(energy, forces, None if stress is None else virial_of(stress, volume))

    def stress(self, volume: float) -> Floats | None:
        """The stress (3, 3) in a cell of `volume` Å³, in eV/Å³, with ASE's sign; None without a virial."""
        return None if self.virial is None else stress_of(self.virial, volume)

    def reordered(self, order: Ints) -> Labels:
        """The labels of the same frame with its atoms in another order."""
        return replace(self, forces=self.forces[order], others=table.reordered(self.others, order))

    def problem(self, frame: Frame) -> str | None:
        """Why these labels cannot be used for `frame`, or None. Every label of every engine passes here."""
        return (
            label_problem(self.fields, frame.natoms, frame.pbc)
            or frame.problem()
            or nothing_found(self.fields, frame.positions, frame.cell, frame.pbc)
        )


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
    magnetic_force_max, magnetic_force_mean  (F,)  over the atoms, eV/μB; NaN without magnetic forces
    magnetic_force_max_relative              (F,)  largest of deviation ÷ (|mean magnetic force| + 0.1 eV/μB)
    """

    force_max: Floats
    force_mean: Floats
    force_min: Floats
    force_max_relative: Floats
    virial_max: Floats
    energy: Floats
    magnetic_force_max: Floats
    magnetic_force_mean: Floats
    magnetic_force_max_relative: Floats

    def subset(self, frames: Ints) -> Deviations:
        """Those of the frames with these numbers."""
        return Deviations(**{item.name: getattr(self, item.name)[frames] for item in dataclasses.fields(self)})


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
    fields                 of the frames by name, (F, …) each
    files                  that the explorer has written and that are kept with the run, PLUMED's for example
    """

    numbers: Ints
    positions: Floats
    cells: Floats
    steps: Ints
    pbc: bool = True
    failure: str | None = None
    log: str = dataclasses.field(default="", repr=False)
    velocities: Floats | None = None
    forces: Floats | None = None
    deviations: Deviations | None = None
    fields: Fields = dataclasses.field(default_factory=dict)
    files: tuple[Path, ...] = ()

    def __len__(self) -> int:
        return len(self.positions)

    def frame(self, index: int) -> Frame:
        """One configuration."""
        values = {name: value[index] for name, value in self.fields.items()}
        return Frame(self.numbers, self.positions[index], self.cells[index], self.pbc, values)

    def __iter__(self) -> Iterator[Frame]:
        return (self.frame(index) for index in range(len(self)))

    def subset(self, frames: Ints) -> Trajectory:
        """The frames with these numbers, without the failure."""
        return Trajectory(
            self.numbers, self.positions[frames], self.cells[frames], self.steps[frames], self.pbc,
            velocities=None if self.velocities is None else self.velocities[frames],
            forces=None if self.forces is None else self.forces[frames],
            deviations=None if self.deviations is None else self.deviations.subset(frames),
            fields={name: value[frames] for name, value in self.fields.items()},
        )  # fmt: skip

    @property
    def electronic_temperature(self) -> float | None:
        """Of the first frame, K; explorers keep it."""
        return self.frame(0).electronic_temperature if len(self) else None

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
            fields={name: np.stack([frame.fields[name] for frame in frames]) for name in first.fields},
        )

    @classmethod
    def nothing(cls, start: Frame, failure: str | None = None, log: str = "") -> Trajectory:
        """No frame: the run failed before it wrote one."""
        none = cls.of([start], [0]).subset(np.zeros(0, dtype=np.int64))
        return replace(none, failure=failure, log=log)
