"""Cells of crystals: symmetry, the conventional cell, supercells, cells whose first two vectors lie in a plane."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from lamflow.data import Frame
from lamflow.data.frames import Floats, Ints
from lamflow.data.properties import Value
from lamflow.science.neighbors import heights

SYMPREC = 1e-3
"""Å by which atoms may miss their symmetric places."""
EMPTY = 8.0
"""Å; a layer without atoms that is thicker is vacuum beside a slab, a wire or a molecule."""
REACH = 6
"""How many lattice vectors in each direction are looked at for those in a plane."""


def require_crystal(frame: Frame) -> None:
    """Raise ValueError for an isolated structure."""
    if not frame.pbc:
        raise ValueError("it is isolated, and this is a property of crystals")


def symmetry(frame: Frame) -> Any:
    """spglib's data set of a crystal. Raises ValueError where it finds none, and for an isolated structure."""
    import spglib

    require_crystal(frame)
    found = spglib.get_symmetry_dataset((frame.cell, fractional(frame), frame.numbers), symprec=SYMPREC)
    if found is None:
        raise ValueError("spglib finds no symmetry; atoms may lie on each other")
    return found


def to_standard(dataset: Any) -> Floats:
    """The rotation (3, 3) from a crystal's axes to those of its conventional cell, orthogonal to the last digit.

    dataset  its `symmetry`
    """
    left, _, right = np.linalg.svd(dataset.std_rotation_matrix)
    return np.asarray(left @ right)


def rotations(dataset: Any) -> Floats:
    """The point operations of a crystal's space group as Cartesian matrices (R, 3, 3), orthogonal to the last digit.

    dataset  its `symmetry`

    They are those of the cell as symmetry would have it: a relaxed one misses its symmetry by 1e-5 or so, and matrices
    from it would mix what symmetry keeps apart.
    """
    cell = to_standard(dataset).T @ dataset.std_lattice.T @ dataset.transformation_matrix
    return np.asarray(cell @ dataset.rotations @ np.linalg.inv(cell))


def space_group(frame: Frame) -> str:
    """International symbol and number; `isolated` for a molecule."""
    if not frame.pbc:
        return "isolated"
    try:
        found = symmetry(frame)
    except ValueError as error:
        return str(error)
    return f"{found.international} ({found.number})"


def fractional(frame: Frame) -> Floats:
    """Positions (N, 3) as fractions of the cell vectors."""
    return np.asarray(np.linalg.solve(frame.cell.T, frame.positions.T).T)


def vacuum(frame: Frame) -> float:
    """The widest layer without atoms along one of the cell's vectors of a periodic frame, Å, between their centres."""
    widest = 0.0
    for places, height in zip(fractional(frame).T % 1.0, heights(frame.cell[None])[0], strict=True):
        ordered = np.sort(places)
        widest = max(widest, float(np.diff(ordered, append=ordered[0] + 1).max() * height))
    return widest


def conventional(frame: Frame) -> Frame:
    """The conventional cell, as spglib orients it, at the volume of `frame`."""
    found = symmetry(frame)
    cell = np.array(found.std_lattice)
    return Frame(np.array(found.std_types, dtype=np.int64), np.array(found.std_positions) @ cell, cell, True)


def lattice_values(frame: Frame) -> Iterator[Value]:
    """Volume per atom, and lengths and angles of the conventional cell."""
    yield Value(name="V", value=frame.volume / frame.natoms, unit="Å³/atom")
    cell = conventional(frame).to_ase().cell.cellpar()
    units = ("Å", "Å", "Å", "°", "°", "°")
    for name, value, unit in zip(("a", "b", "c", "alpha", "beta", "gamma"), cell, units, strict=True):
        yield Value(name=name, value=float(value), unit=unit)


def primitive(frame: Frame) -> Frame:
    """The primitive cell, as spglib orients it. Raises ValueError for an isolated structure."""
    import spglib

    require_crystal(frame)
    cell, positions, numbers = spglib.standardize_cell(
        (frame.cell, fractional(frame), frame.numbers), to_primitive=True, symprec=SYMPREC
    )
    return Frame(np.array(numbers, dtype=np.int64), np.array(positions) @ cell, np.array(cell), True)


def repeats(cell: Floats, size: float) -> tuple[int, int, int]:
    """How often a cell is repeated so that opposite faces are at least `size` Å apart."""
    widths = abs(np.linalg.det(cell)) / np.linalg.norm(np.cross(cell[[1, 2, 0]], cell[[2, 0, 1]]), axis=1)
    return tuple(int(n) for n in np.maximum(1, np.ceil(size / widths - 1e-6)))  # type: ignore[return-value]


def repeated(frame: Frame, times: Sequence[int]) -> Frame:
    """A supercell; the atoms of a cell stay together."""
    return Frame.from_ase(frame.to_ase().repeat(tuple(times)))


@dataclass(frozen=True, eq=False)
class PlaneCell:
    """A crystal in a cell with x and y in a lattice plane, and z normal to it.

    frame  its third vector goes from plane to plane, and need not be normal to them
    turn   (3, 3) a vector v of the first orientation is v @ turn here
    """

    frame: Frame
    turn: Floats

    @property
    def spacing(self) -> float:
        """Height of the cell, Å."""
        return float(self.frame.cell[2, 2])

    @property
    def area(self) -> float:
        """Of the plane's cell, Å²."""
        return float(np.linalg.norm(np.cross(self.frame.cell[0], self.frame.cell[1])))


def plane_cell(frame: Frame, normal: Floats) -> PlaneCell:
    """The primitive cell `frame` anew, its first two vectors the shortest that are normal to `normal`.

    Raises ValueError when no lattice plane is normal to `normal` within reach.
    """
    vectors = np.array(list(itertools.product(range(-REACH, REACH + 1), repeat=3)))
    lattice = vectors @ frame.cell
    heights = lattice @ (normal / np.linalg.norm(normal))
    order = np.argsort(np.linalg.norm(lattice, axis=1), kind="stable")
    inside = [index for index in order if abs(heights[index]) < 1e-6 and vectors[index].any()]
    first = inside[0] if inside else None
    second = next((i for i in inside if np.linalg.norm(np.cross(lattice[first], lattice[i])) > 1e-6), None)
    above = [index for index in order if heights[index] > 1e-6]
    if first is None or second is None or not above:
        raise ValueError("no plane of the lattice lies so")
    lowest = min(heights[index] for index in above)
    third = next(index for index in above if heights[index] < lowest + 1e-6)
    change = vectors[[first, second, third]]
    if np.linalg.det(change) * np.linalg.det(frame.cell) < 0:
        change[1] *= -1
    cell = change @ frame.cell
    x = cell[0] / np.linalg.norm(cell[0])
    z = normal / np.linalg.norm(normal)
    z = z if cell[2] @ z > 0 else -z
    turn = np.array([x, np.cross(z, x), z]).T
    turned = replace(frame, cell=cell @ turn, positions=frame.positions @ turn)
    return PlaneCell(wrapped(turned), turn)


def wrapped(frame: Frame) -> Frame:
    """The same crystal with its atoms inside the cell."""
    inside = (fractional(frame) + 1e-6) % 1.0 - 1e-6
    return replace(frame, positions=inside @ frame.cell)


def shortest_translation(frame: Frame, direction: Floats) -> Floats:
    """The shortest lattice vector (3,) along `direction`, Å. Raises ValueError when there is none within reach."""
    vectors = np.array(list(itertools.product(range(-REACH, REACH + 1), repeat=3))) @ frame.cell
    lengths = np.linalg.norm(vectors, axis=1)
    along = vectors @ (direction / np.linalg.norm(direction))
    parallel = np.flatnonzero((lengths > 1e-6) & (along > lengths - 1e-6))
    if not len(parallel):
        raise ValueError("no lattice vector lies along this direction")
    return np.asarray(vectors[parallel[np.argmin(lengths[parallel])]])


def inequivalent(frame: Frame) -> Ints:
    """The first atom of each set that symmetry makes alike."""
    return np.unique(symmetry(frame).crystallographic_orbits)
