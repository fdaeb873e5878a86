"""The table of fields: what a frame and its labels may carry beside atoms, positions and cell.

A field is a row. Packing, splitting, hashing, grouping and the conversions to and from deepmd, ASE, extended XYZ and
dpdata go over the table, so a new field is a new row and nothing else.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Fields = Mapping[str, Any]
"""Values by name of the field: numbers or arrays, (*shape) of a frame, (N, *shape) of its atoms."""


@dataclass(frozen=True, slots=True)
class Field:
    """One named array.

    owner       what it belongs to: the frame (an input of models) or its labels (what they predict)
    per         one value for the frame, or one for each of its N atoms
    shape       of one value
    unit        of one value
    deepmd      its file in a set of deepmd/npy, without .npy
    dpdata      its key in the data of dpdata's systems
    ase         its name in ASE: in calc.results, info (frames) or arrays (atoms)
    extxyz      other names under which files have it; read, never written
    hashed      frames that differ in it are different frames
    hash_name   what the content hash says before the value
    required    labels without it are none
    default     the value that no value means
    collinear   vectors that may be given as their components along z, one number each
    with_suffix, without_suffix  what a data set adds to the name of a system whose frames have it, or lack it
    """

    name: str
    owner: Literal["frame", "labels"]
    per: Literal["frame", "atom"]
    shape: tuple[int, ...]
    unit: str
    deepmd: str
    dpdata: str
    ase: str
    extxyz: tuple[str, ...] = ()
    hashed: bool = False
    hash_name: str = ""
    required: bool = False
    default: float | None = None
    collinear: bool = False
    with_suffix: str = ""
    without_suffix: str = ""

    def size(self, natoms: int) -> int:
        """Numbers that a frame of `natoms` atoms has of it."""
        return math.prod((natoms if self.per == "atom" else 1, *self.shape))

    def full_shape(self, natoms: int) -> tuple[int, ...]:
        """Shape of its values for one frame."""
        return (natoms, *self.shape) if self.per == "atom" else self.shape

    def array(self, value: Any, natoms: int) -> Floats:
        """`value` as an array of `full_shape`. Raises ValueError for one of another shape or no real numbers."""
        given = np.asarray(value)
        if given.dtype.kind not in "fiu":
            raise ValueError(f"{self.name} has values of type {given.dtype}; real numbers are needed ({self.unit})")
        if self.collinear and given.shape == (natoms,):
            given = np.multiply.outer(given, (0, 0, 1))
        if given.size != self.size(natoms):
            raise ValueError(f"{self.name} has shape {given.shape} where {self.full_shape(natoms)} is needed")
        return given.astype(np.float64).reshape(self.full_shape(natoms))

    def digest(self, value: Floats) -> bytes:
        """What the content hash takes of a value, to six decimals."""
        rounded = np.round(value, 6) + 0.0  # -0.0 becomes 0.0
        if not self.shape and self.per == "frame":
            return f"{self.hash_name}{float(rounded):.6f} {self.unit}".encode()
        return self.hash_name.encode() + np.ascontiguousarray(rounded, dtype="<f8").tobytes()


ENERGY, FORCES, VIRIAL, ELECTRONIC_TEMPERATURE = "energy", "forces", "virial", "electronic_temperature"
SPIN, FORCE_MAG = "spin", "force_mag"

TABLE: tuple[Field, ...] = (
    Field(
        ELECTRONIC_TEMPERATURE, "frame", "frame", (), "K", deepmd="fparam", dpdata="fparam",
        ase="electronic_temperature", hashed=True, with_suffix="-hot",
    ),
    Field(SPIN, "frame", "atom", (3,), "μB", deepmd="spin", dpdata="spins", ase="spin", extxyz=("spins",), hashed=True,
          hash_name="spin", collinear=True, with_suffix="-spin"),
    Field(ENERGY, "labels", "frame", (), "eV", deepmd="energy", dpdata="energies", ase="energy", required=True),
    Field(FORCES, "labels", "atom", (3,), "eV/Å", deepmd="force", dpdata="forces", ase="forces",
          extxyz=("force",), required=True),
    Field(VIRIAL, "labels", "frame", (3, 3), "eV", deepmd="virial", dpdata="virials", ase="virial",
          extxyz=("virials",), without_suffix="-novirial"),
    Field(FORCE_MAG, "labels", "atom", (3,), "eV/μB", deepmd="force_mag", dpdata="force_mags", ase="force_mag",
          extxyz=("force_mags",), collinear=True, with_suffix="-magnetic"),
)  # fmt: skip


def frame_fields() -> Iterator[Field]:
    """Rows of frames, in the order of the table."""
    return (row for row in TABLE if row.owner == "frame")


def label_fields() -> Iterator[Field]:
    """Rows of labels, in the order of the table."""
    return (row for row in TABLE if row.owner == "labels")


def field(name: str) -> Field:
    """The row called `name`. Raises ValueError when there is none."""
    for row in TABLE:
        if row.name == name:
            return row
    raise ValueError(f"there is no field {name!r}; known are {', '.join(row.name for row in TABLE)}")


def checked(values: Mapping[str, Any], natoms: int, owner: Literal["frame", "labels"]) -> Fields:
    """`values` as arrays of the right shapes; None and defaults are left out.

    Raises ValueError for a field that is unknown, of the other owner, or of another shape.
    """
    arrays = {}
    for name, value in values.items():
        row = field(name)
        if row.owner != owner:
            raise ValueError(f"{name} is a field of {row.owner}, not of {owner}")
        if value is None:
            continue
        array = row.array(value, natoms)
        if row.default is None or not (array == row.default).all():
            arrays[name] = array
    return arrays


def reordered(values: Fields, order: NDArray[np.int64]) -> Fields:
    """The values of the same frame with its atoms in another order."""
    return {name: value[order] if field(name).per == "atom" else value for name, value in values.items()}


def turned(values: Fields, rotation: Floats) -> Fields:
    """The values of the same frame turned by `rotation` (3, 3), after which a position r is r @ rotation.

    Fields of shape (3,) turn as vectors, of shape (3, 3) as tensors; others stay as they are. Spins are axial vectors;
    turned as polar ones by a reflection they differ by time reversal, which changes no energy.
    """
    made = {}
    for name, value in values.items():
        match field(name).shape:
            case (3,):
                made[name] = value @ rotation
            case (3, 3):
                made[name] = rotation.T @ value @ rotation
            case _:
                made[name] = value
    return made


def repeated(values: Fields, times: int) -> dict[str, Any]:
    """The values of one frame as those of a trajectory of `times` frames, (F, …) each."""
    return {name: np.repeat(value[None], times, axis=0) for name, value in values.items()}
