"""The surroundings of one atom of a large frame, as a frame that first-principles codes can pay.

The neighbourhood idea of MLIP-3 (E. Podryabinkin et al., J. Chem. Phys. 159, 084112 (2023)): of a periodic frame a
smaller periodic box, of an isolated one a cluster. Nothing is relaxed and nothing is saturated: atoms keep their
positions, and those that stand too close to the other side of the new box are left out.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from ase.data import covalent_radii
from ase.neighborlist import primitive_neighbor_list
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from lamflow.data import Frame
from lamflow.data.frames import Floats, Ints
from lamflow.science.neighbors import heights

GAP = 2.0
"""Å, at least, between the sphere that is kept and its image in the smaller box."""
LONGER = 5.0
"""Å that a side of the box may be longer than it must, where the cut fits better there: a period of most crystals."""
TRIED = 34
"""Lengths of a side that are tried."""
PRICE = 0.1
"""Of a box that is longer by all of its smallest length, as a misfit of the density."""
BOND = 1.2
"""Times the sum of the covalent radii, at most, a bond is long."""
CLOSE, CLOSE_MOLECULES = 0.8, 1.4
"""Times that sum, at least, atoms across a side of the box are apart, and those of molecules; others are left out."""
MOLECULE = 50
"""Atoms, at most, of what is kept or left out as a whole because it is bonded."""


def cut_out(frame: Frame, center: int, radius: float) -> tuple[Frame, Ints]:
    """The atoms around atom `center`, and their indices (K,) in the frame; those at most `radius` Å from it are there.

    Of an isolated frame these, with the molecules that they belong to. Of a periodic frame a box along the same lattice
    vectors, each as long as it was or shortened to about twice the radius: to where the density fits best, in a crystal
    a multiple of its period. Molecules stay whole. Where atoms would stand too close across a side of the
    box the one farther from the center is left out.
    """
    groups = _molecules(frame)
    if not frame.pbc:
        near = np.linalg.norm(frame.positions - frame.positions[center], axis=1) <= radius
        kept = np.flatnonzero(np.isin(groups, groups[near]))
        return frame.reordered(kept), kept
    scaled = _around(frame, center, groups)
    needed = np.minimum((2 * radius + GAP) / heights(frame.cell[None])[0], 1.0)
    sides = needed.copy()
    for axis in np.flatnonzero(needed < 1):
        longest = needed[axis] * (1 + LONGER / (2 * radius + GAP))
        lengths = np.linspace(needed[axis], min(1.0, longest), TRIED)
        tried = [np.where(np.arange(3) == axis, length, sides) for length in lengths]
        price = PRICE * (lengths / needed[axis] - 1)
        sides = tried[int(np.argmin([_misfit(frame, scaled, groups, each) for each in tried] + price))]
    kept = _kept(frame, scaled, groups, sides)
    cell = sides[:, None] * frame.cell
    return replace(frame.reordered(kept), positions=(scaled[kept] + sides / 2) @ frame.cell, cell=cell), kept


def _molecules(frame: Frame) -> Ints:
    """Number (N,) of the molecule of each atom; an atom of a larger network is alone."""
    first, second, *_ = _pairs(frame, BOND)
    bonds = coo_array((np.ones(len(first)), (first, second)), shape=(frame.natoms, frame.natoms))
    count, molecule = connected_components(bonds, directed=False)
    large = np.bincount(molecule)[molecule] > MOLECULE
    return np.asarray(np.where(large, count + np.arange(frame.natoms), molecule), dtype=np.int64)


def _pairs(frame: Frame, factor: float) -> tuple[Ints, Ints, Ints, Floats]:
    """Atoms (P,) and (P,) nearer than a factor times the sum of their radii, the image (P, 3) of the second, and the
    factor (P,) of each pair."""
    radii = covalent_radii[frame.numbers]
    first, second, distance, image = primitive_neighbor_list(
        "ijdS", [frame.pbc] * 3, frame.cell if frame.pbc else np.eye(3), frame.positions, 2 * factor * radii.max()
    )
    ratio = distance / (radii[first] + radii[second])
    near = ratio < factor
    return first[near], second[near], image[near], ratio[near]


def _around(frame: Frame, center: int, groups: Ints) -> Floats:
    """Fractional coordinates (N, 3) from the center, each molecule whole and its middle in the cell around it."""
    scaled = (frame.positions - frame.positions[center]) @ np.linalg.inv(frame.cell)
    _, first, member = np.unique(groups, return_index=True, return_inverse=True)
    anchor = scaled[first[member]]
    scaled = anchor + (scaled - anchor) - np.rint(scaled - anchor)
    return np.asarray(scaled - np.rint(_middles(scaled, groups)))


def _middles(scaled: Floats, groups: Ints) -> Floats:
    """Middle (N, 3) of the molecule of each atom."""
    _, member, size = np.unique(groups, return_inverse=True, return_counts=True)
    sums = np.stack([np.bincount(member, scaled[:, axis]) for axis in range(3)], axis=1)
    return np.asarray((sums / size[:, None])[member])


def _kept(frame: Frame, scaled: Floats, groups: Ints, sides: Floats) -> Ints:
    """Indices of the atoms in a box with these fractions of the cell's sides, without those that are too close."""
    inside = np.flatnonzero((np.abs(_middles(scaled, groups)) <= sides / 2).all(axis=1))
    box = replace(frame.reordered(inside), positions=scaled[inside] @ frame.cell, cell=sides[:, None] * frame.cell)
    molecular = np.bincount(groups)[groups[inside]] > 1
    first, second, image, ratio = _pairs(box, CLOSE_MOLECULES)
    near = np.where(molecular[first] | molecular[second], CLOSE_MOLECULES, CLOSE)
    new = (image[:, sides < 1] != 0).any(axis=1) & (ratio < near)
    far = np.linalg.norm(_middles(scaled, groups)[inside] @ frame.cell, axis=1)
    removed: set[int] = set()
    for one, other in zip(first[new], second[new], strict=True):
        pair = {int(groups[inside[one]]), int(groups[inside[other]])}
        if not pair & removed:
            removed.add(int(groups[inside[max(one, other, key=lambda atom: far[atom])]]))
    return np.asarray(inside[~np.isin(groups[inside], list(removed))])


def _misfit(frame: Frame, scaled: Floats, groups: Ints, sides: Floats) -> float:
    """How far the density of a box is from the frame's, as a fraction of it, without the atoms that are left out."""
    wanted = frame.natoms * float(np.prod(sides))
    return abs(len(_kept(frame, scaled, groups, sides)) - wanted) / wanted
