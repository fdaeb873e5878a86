"""What makes a frame or its labels unusable: the tests of one frame that every door has, on plain arrays."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lamflow.data import fields as table
from lamflow.data.fields import ELECTRONIC_TEMPERATURE, ENERGY, FORCES, SPIN, VIRIAL, Fields, Floats

MIN_DISTANCE = 0.1
"""Å; atoms that are closer lie on top of each other."""
APART = 3.0
"""Å; atoms that are farther from each other may feel nothing."""
MAX_ASYMMETRY = 0.02
"""Of a virial's off-diagonal components, relative to its largest one."""
ASYMMETRY_PER_ATOM = 0.01
"""eV/atom; a virial in single precision is not symmetric to better than this."""
VOIGT = np.array([[0, 5, 4], [5, 1, 3], [4, 3, 2]])
"""Place of each component of a (3, 3) tensor in the six numbers xx, yy, zz, yz, xz, xy."""
MIN_VOLUME = 0.1
"""Å³ an atom; nothing on earth is denser."""
MAX_MOMENT = 20.0
"""μB; no atom has more."""
FEW = 40
"""Atoms of which all pairs are looked at."""


def virial_of(stress: Any, volume: float) -> Floats:
    """The virial (3, 3) in eV, positive under compression, of a stress (6,) or (3, 3) in eV/Å³ with ASE's sign."""
    given = np.asarray(stress, dtype=np.float64)
    full = given[VOIGT] if given.shape == (6,) else given.reshape(3, 3)
    return np.asarray(-full * volume)


def stress_of(virial: Floats, volume: float) -> Floats:
    """The stress (3, 3) in eV/Å³, positive under tension, of a virial (3, 3) in eV, positive under compression."""
    return np.asarray(-virial / volume)


def voigt(tensor: Floats) -> Floats:
    """The six numbers xx, yy, zz, yz, xz, xy of a symmetric tensor (3, 3)."""
    return np.asarray(tensor.reshape(9)[[0, 4, 8, 5, 2, 1]])


def frame_problem(numbers: NDArray[np.int64], positions: Floats, cell: Floats, pbc: bool, values: Fields) -> str | None:
    """Why N atoms in a cell are no frame that can be labeled, or None."""
    if not len(numbers):
        return "it has no atoms"
    return _not_finite(numbers, positions, cell, pbc, values) or _too_close(positions, cell, pbc)


def _not_finite(numbers: NDArray[np.int64], positions: Floats, cell: Floats, pbc: bool, values: Fields) -> str | None:
    if (numbers < 1).any() or (numbers > 118).any():
        return f"{int(numbers[(numbers < 1) | (numbers > 118)][0])} is not the atomic number of an element"
    if not np.isfinite(positions).all():
        return f"{int((~np.isfinite(positions)).any(axis=1).sum())} atoms have a position that is not finite"
    if not np.isfinite(cell).all():
        return "its cell is not finite"
    volume = abs(float(np.linalg.det(cell)))
    if pbc and volume < MIN_VOLUME * len(numbers):
        return f"it is periodic, and its cell has {volume:.3g} Å³ for {len(numbers)} atoms; lengths are in Å"
    for name, value in values.items():
        if not np.isfinite(value).all():
            return f"its {name} is not finite"
    if values.get(ELECTRONIC_TEMPERATURE, 0.0) < 0:
        return f"its electronic temperature is {float(values[ELECTRONIC_TEMPERATURE]):g} K"
    moment = float(np.linalg.norm(values.get(SPIN, np.zeros((1, 3))), axis=1).max())
    if moment > MAX_MOMENT:
        return f"an atom has a magnetic moment of {moment:.3g} μB; moments are in μB"
    return None


def _too_close(positions: Floats, cell: Floats, pbc: bool) -> str | None:
    pair = closest_pair(positions, cell, pbc)
    if pair is None:
        return None
    distance, first, second = pair
    return f"atoms {first} and {second} are {distance:.3f} Å apart, which is on top of each other"


def closest_pair(
    positions: Floats, cell: Floats, pbc: bool, below: float = MIN_DISTANCE
) -> tuple[float, int, int] | None:
    """The smallest distance in Å and its two atoms if it is less than `below`, which is small beside the cell."""
    natoms = len(positions)
    if natoms < 2:
        return None
    scaled: Floats = np.asarray(np.linalg.solve(cell.T, positions.T).T if pbc else positions, dtype=np.float64)
    if natoms <= FEW:
        first, second = _all_pairs(natoms)
    else:
        first, second = _near(
            scaled, below * float(np.linalg.norm(np.linalg.inv(cell), axis=0).max()) if pbc else below, pbc
        )
    if not len(first):
        return None
    vectors = scaled[first] - scaled[second]
    if pbc:
        vectors = (vectors - np.round(vectors)) @ cell
    squares = (vectors**2).sum(axis=1)
    smallest = int(squares.argmin())
    distance = float(np.sqrt(squares[smallest]))
    return (distance, int(first[smallest]), int(second[smallest])) if distance < below else None


@lru_cache(maxsize=FEW + 1)
def _all_pairs(natoms: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Numbers of both atoms of every pair."""
    return np.triu_indices(natoms, 1)


def _near(scaled: Floats, radius: float, pbc: bool) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Pairs of atoms closer than `radius` in fractions of the cell, or in Å of an isolated system."""
    from scipy.spatial import cKDTree

    wrapped = (scaled % 1.0) % 1.0 if pbc else scaled  # a tiny negative fraction becomes 1 at first
    pairs = cKDTree(wrapped, boxsize=1.0 if pbc else None).query_pairs(radius, output_type="ndarray")
    return pairs[:, 0], pairs[:, 1]


def nothing_found(values: Fields, positions: Floats, cell: Floats, pbc: bool) -> str | None:
    """Why labels that are all zero cannot be those of atoms that feel each other, or None."""
    if len(positions) < 2 or values[ENERGY] or values[FORCES].any() or np.any(values.get(VIRIAL, 0)):
        return None
    if closest_pair(positions, cell, pbc, APART) is None:
        return None
    return "the energy, all forces and the virial are zero: whoever read them has found nothing"


def label_problem(values: Fields, natoms: int, pbc: bool) -> str | None:
    """Why labels by name cannot be those of a frame of N atoms, or None."""
    forces, energy, virial = values[FORCES], float(values[ENERGY]), values.get(VIRIAL)
    if forces.shape != (natoms, 3):
        return f"the forces have shape {forces.shape} for {natoms} atoms"
    if not np.isfinite(energy):
        return f"the energy is {energy} eV"
    if not np.isfinite(forces).all():
        return f"{int((~np.isfinite(forces)).any(axis=1).sum())} atoms have a force that is not finite"
    if virial is not None and (virial.shape != (3, 3) or not np.isfinite(virial).all()):
        return "the virial is not a finite 3 by 3 matrix"
    for name, value in values.items():
        if value.shape != table.field(name).full_shape(natoms) or not np.isfinite(value).all():
            return f"the {name} has shape {value.shape}, or is not finite"
    if virial is not None and pbc:
        asymmetry = float(np.abs(virial - virial.T).max())
        if asymmetry > MAX_ASYMMETRY * float(np.abs(virial).max()) + ASYMMETRY_PER_ATOM * natoms:
            return f"the virial, or the stress, is not symmetric: two components differ by {asymmetry:.3g} eV"
    return None
