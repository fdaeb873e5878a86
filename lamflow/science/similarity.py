"""How alike two crystals are: the bond characterisation matrix of CALYPSO, and space groups."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from ase.data import covalent_radii

from lamflow.data import Frame
from lamflow.data.frames import Floats, Ints
from lamflow.science.neighbors import heights

ORDERS = (0, 2, 4, 6, 8, 10)
"""Degrees l of the spherical harmonics; the odd ones say nothing about bonds, which have no direction."""
DECAY = 2.0
"""1/Å; how fast a bond's weight falls with its length."""
REACH = 2.2
"""Neighbours are counted as bonds up to this many times the sum of the covalent radii."""


def periodic_images(cell: Floats, reach: float) -> Ints:
    """Lattice translations (K, 3), in cell vectors, by which atoms of a cell can come nearer than `reach` in Å."""
    around = [np.arange(-n, n + 1) for n in np.ceil(reach / heights(cell[None])[0]).astype(int)]
    return np.stack(np.meshgrid(*around, indexing="ij"), axis=-1).reshape(-1, 3)


def bonds(frame: Frame, reach: float) -> tuple[Ints, Ints, Floats]:
    """Every pair of atoms of a periodic frame closer than `reach` in Å, with images: first, second, vector (n, 3)."""
    scaled = np.linalg.solve(frame.cell.T, frame.positions.T).T % 1.0
    images = periodic_images(frame.cell, reach) @ frame.cell
    positions = scaled @ frame.cell
    vectors = (positions[None, :] - positions[:, None])[:, :, None] + images
    squared = (vectors**2).sum(axis=-1)
    first, second, image = np.nonzero((squared < reach**2) & (squared > 1e-8))
    return first, second, np.asarray(vectors[first, second, image])


def bond_matrix(frame: Frame, elements: Sequence[int]) -> Floats:
    """The bond characterisation matrix of a periodic frame, (P·L,) for P pairs of `elements` and L = len(ORDERS).

    Q_lm is the mean of exp(-α(r - b)) Y_lm over the bonds of a pair of elements, b the sum of their covalent radii, and
    Q_l = (4π/(2l+1) Σ_m |Q_lm|²)^½: it does not change when the crystal is rotated, repeated or given another cell
    (Y. Wang et al., Comput. Phys. Commun. 183, 2063 (2012)).
    """
    from scipy.special import sph_harm_y_all

    numbers = sorted(elements)
    reach = REACH * 2 * max(float(covalent_radii[number]) for number in numbers)
    first, second, vector = bonds(frame, reach)
    length = np.linalg.norm(vector, axis=1)
    kinds = frame.numbers[first], frame.numbers[second]
    sums = covalent_radii[kinds[0]] + covalent_radii[kinds[1]]
    near = length < REACH * sums
    low, high = np.minimum(*kinds), np.maximum(*kinds)
    weight = np.where(near, np.exp(-DECAY * (length - sums)), 0.0)
    polar = np.arccos(np.clip(vector[:, 2] / length, -1, 1))
    # (l, m, bonds), m from 0 to l and then from -l to -1, zeros where |m| > l
    harmonics = sph_harm_y_all(max(ORDERS), max(ORDERS), polar, np.arctan2(vector[:, 1], vector[:, 0]))[list(ORDERS)]
    invariants = []
    for index, one in enumerate(numbers):
        for other in numbers[index:]:
            pair = near & (low == one) & (high == other)
            moments = (harmonics[:, :, pair] * weight[pair]).sum(axis=2) / max(1, int(pair.sum()))
            invariants.append(np.sqrt(4 * np.pi / (2 * np.array(ORDERS) + 1) * (np.abs(moments) ** 2).sum(axis=1)))
    return np.concatenate(invariants)


def distance(first: Floats, second: Floats) -> float:
    """Euclidean distance of two bond matrices, without unit; below about 0.02 two crystals are the same."""
    return float(np.linalg.norm(first - second))


def same(first: tuple[Frame, Floats], second: tuple[Frame, Floats], tolerance: float) -> bool:
    """Two crystals with their bond matrices have one composition and are alike."""
    if _fractions(first[0]) != _fractions(second[0]):
        return False
    return distance(first[1], second[1]) < tolerance


def _fractions(frame: Frame) -> dict[int, float]:
    numbers, counts = np.unique(frame.numbers, return_counts=True)
    return {int(number): round(int(count) / frame.natoms, 9) for number, count in zip(numbers, counts, strict=True)}


def space_group(frame: Frame, tolerance: float = 0.05) -> int:
    """Number of the space group within `tolerance` in Å; 0 where none can be told."""
    import spglib

    cell = frame.cell, np.linalg.solve(frame.cell.T, frame.positions.T).T, frame.numbers
    try:
        dataset = spglib.get_symmetry_dataset(cell, symprec=tolerance)
    except Exception:  # noqa: BLE001  spglib's errors are those of a C library
        return 0
    return int(dataset.number) if dataset is not None else 0
