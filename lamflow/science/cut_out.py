"""The surroundings of one atom of a large frame, as a frame that first-principles codes can pay.

The neighbourhood idea of MLIP-3 (E. Podryabinkin et al., J. Chem. Phys. 159, 084112 (2023)): of a periodic frame a
smaller periodic box, of an isolated one a cluster. Nothing is relaxed and nothing is saturated: atoms keep their
positions, and those that stand too close to the other side of the new box are left out.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Self

import numpy as np
from ase.data import covalent_radii
from ase.geometry import find_mic
from ase.neighborlist import primitive_neighbor_list
from numpy.typing import NDArray
from scipy.sparse import coo_array, csr_array
from scipy.sparse.csgraph import breadth_first_order, connected_components

from lamflow.data import Frame
from lamflow.data.frames import Floats, Ints
from lamflow.science.neighbors import heights

Bools = NDArray[np.bool_]
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
    vectors, each as long as it was or shortened to about twice the radius: as far as these do not meet across a side,
    and to where the density fits best, in a crystal a multiple of its period. Molecules stay whole. Where others would
    stand too close across a side of the box the one farther from the center is left out.
    """
    groups, bonds = _molecules(frame)
    if not frame.pbc:
        near = np.linalg.norm(frame.positions - frame.positions[center], axis=1) <= radius
        kept = np.flatnonzero(np.isin(groups, groups[near]))
        return frame.reordered(kept), kept
    around = _Surroundings.of(frame, center, radius, groups, bonds)
    sides = needed = around.needed()
    for axis in np.flatnonzero(needed < 1).tolist():
        longest = needed[axis] * (1 + LONGER / (2 * radius + GAP))
        lengths = np.linspace(needed[axis], min(1.0, longest), TRIED)
        tried = [_with(sides, axis, length) for length in lengths]
        price = PRICE * (lengths / needed[axis] - 1)
        sides = tried[int(np.argmin([around.misfit(each) for each in tried] + price))]
    kept = around.kept(sides)
    return replace(around.box(sides, kept), positions=(around.scaled[kept] + sides / 2) @ frame.cell), kept


@dataclass(frozen=True, eq=False)
class _Surroundings:
    """A periodic frame around an atom; sides (3,) of a smaller box are fractions of the cell's.

    scaled  (N, 3)  fractional coordinates from the center, each molecule whole
    groups  (N,)    number of each atom's molecule
    near    (N,)    atoms at most `radius` Å from the center
    whole   (3,)    sides that no box can shorten, because a molecule that must be kept goes around them
    """

    frame: Frame
    radius: float
    scaled: Floats
    groups: Ints
    near: Bools
    whole: Bools

    @classmethod
    def of(cls, frame: Frame, center: int, radius: float, groups: Ints, bonds: tuple[Ints, Ints, Ints]) -> Self:
        """Molecules with an atom in the sphere lie where it is nearest, others with their middle in the cell around."""
        inverse, vectors = np.linalg.inv(frame.cell), frame.positions - frame.positions[center]
        shortest, distance = find_mic(vectors, frame.cell)
        nearest, near = shortest @ inverse, np.asarray(distance <= radius)
        first, second, image = bonds
        cells = _unwrapped(frame.natoms, groups, bonds)
        scaled = vectors @ inverse + cells
        held = np.isin(groups, groups[near])
        order = np.lexsort((distance, groups))
        _, start, member = np.unique(groups[order], return_index=True, return_inverse=True)
        lead = np.empty(frame.natoms, dtype=np.int64)
        lead[order] = order[start][member]
        scaled += np.rint(np.where(held[:, None], (nearest - scaled)[lead], -_middles(scaled, groups)))
        around = (cells[second] - cells[first] != image)[held[first]].any(axis=0)
        return cls(frame, radius, scaled, groups, near, around | (np.rint(scaled - nearest)[near] != 0).any(axis=0))

    @property
    def held(self) -> Bools:
        """Atoms (N,) that every box has: those of the sphere, with their molecules."""
        return np.isin(self.groups, self.groups[self.near])

    @property
    def molecular(self) -> Bools:
        """Atoms (N,) of molecules."""
        return np.asarray(np.bincount(self.groups)[self.groups] > 1)

    def needed(self) -> Floats:
        """The shortest sides across which the atoms that are held do not meet."""
        held, high = np.flatnonzero(self.held), heights(self.frame.cell[None])[0]
        factor = CLOSE_MOLECULES if self.molecular[held].any() else CLOSE
        gap = max(GAP, 2 * factor * float(covalent_radii[self.frame.numbers[held]].max()))
        reach = self.radius / high
        above, below = self.scaled[held].max(axis=0), self.scaled[held].min(axis=0)
        shortest = np.minimum((2 * self.radius + GAP) / high, 1.0)
        apart = np.minimum(np.maximum(above, reach) - np.minimum(below, -reach) + gap / high, 1.0)  # by planes
        shortest[self.whole] = apart[self.whole] = 1.0
        sides: Floats = apart
        for axis in np.flatnonzero(shortest < apart).tolist():
            tried = (_with(sides, axis, length) for length in np.linspace(shortest[axis], apart[axis], TRIED))
            sides = next((each for each in tried if self.fits(each)), sides)
        return sides

    def box(self, sides: Floats, atoms: Ints) -> Frame:
        """Some atoms in a box, the center at the origin."""
        cell = sides[:, None] * self.frame.cell
        return replace(self.frame.reordered(atoms), positions=self.scaled[atoms] @ self.frame.cell, cell=cell)

    def intruders(self, sides: Floats, atoms: Ints) -> Bools:
        """Which of the atoms (K,) have come into the sphere through a side of a box."""
        box = self.box(sides, atoms)
        return np.asarray((find_mic(box.positions, box.cell)[1] <= self.radius) & ~self.near[atoms])

    def meetings(self, sides: Floats, atoms: Ints) -> tuple[Ints, Ints]:
        """Pairs (P,) and (P,) of the atoms that stand too close across a side of a box."""
        first, second, image, ratio = _pairs(self.box(sides, atoms), CLOSE_MOLECULES)
        molecular = self.molecular[atoms]
        close = np.where(molecular[first] | molecular[second], CLOSE_MOLECULES, CLOSE)
        new = (image[:, sides < 1] != 0).any(axis=1) & (ratio < close)
        return atoms[first[new]], atoms[second[new]]

    def fits(self, sides: Floats) -> bool:
        """The atoms that are held do not meet in a box, nor come into the sphere from another side."""
        held = np.flatnonzero(self.held)
        return not self.intruders(sides, held).any() and not len(self.meetings(sides, held)[0])

    def kept(self, sides: Floats) -> Ints:
        """Indices of the atoms in a box, without those that are too close and not held."""
        middles, held, groups = _middles(self.scaled, self.groups), self.held, self.groups
        inside = np.flatnonzero(held | (np.abs(middles) <= sides / 2).all(axis=1))
        removed = {int(group) for group in groups[inside[self.intruders(sides, inside) & ~held[inside]]]}
        far = np.where(held, -1.0, np.linalg.norm(middles @ self.frame.cell, axis=1))
        for one, other in zip(*self.meetings(sides, inside), strict=True):
            if not {int(groups[one]), int(groups[other])} & removed and not (held[one] and held[other]):
                removed.add(int(groups[max(one, other, key=lambda atom: far[atom])]))
        return np.asarray(inside[~np.isin(groups[inside], list(removed))])

    def misfit(self, sides: Floats) -> float:
        """How far the density of a box is from the frame's, as a fraction of it; infinite where what is held meets."""
        if not self.fits(sides):
            return np.inf
        wanted = self.frame.natoms * float(np.prod(sides))
        return abs(len(self.kept(sides)) - wanted) / wanted


def _with(sides: Floats, axis: int, length: float) -> Floats:
    return np.asarray(np.where(np.arange(3) == axis, length, sides))


def _molecules(frame: Frame) -> tuple[Ints, tuple[Ints, Ints, Ints]]:
    """Number (N,) of the molecule of each atom, an atom of a larger network alone; and the bonds in molecules: atoms
    (B,) and (B,), the image (B, 3) of the second."""
    first, second, image, _ = _pairs(frame, BOND)
    bonds = coo_array((np.ones(len(first)), (first, second)), shape=(frame.natoms, frame.natoms))
    count, molecule = connected_components(bonds, directed=False)
    large = np.bincount(molecule)[molecule] > MOLECULE
    groups = np.asarray(np.where(large, count + np.arange(frame.natoms), molecule), dtype=np.int64)
    inner = ~large[first]
    return groups, (first[inner], second[inner], image[inner])


def _unwrapped(natoms: int, groups: Ints, bonds: tuple[Ints, Ints, Ints]) -> Ints:
    """Cells (N, 3) by which atoms are moved so that each molecule is whole, bond by bond from its first atom."""
    first, second, image = bonds
    starts = np.unique(groups, return_index=True)[1]
    rows, columns = np.concatenate([first, np.full(len(starts), natoms)]), np.concatenate([second, starts])
    tree = csr_array((np.ones(len(rows)), (rows, columns)), shape=(natoms + 1, natoms + 1))
    order, before = breadth_first_order(tree, natoms)
    cell_of = dict(zip(zip(first.tolist(), second.tolist(), strict=True), image, strict=True))
    cells = np.zeros((natoms + 1, 3), dtype=np.int64)
    for atom in order[1:].tolist():
        source = int(before[atom])
        cells[atom] = cells[source] + cell_of.get((source, atom), 0)
    return cells[:natoms]


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


def _middles(scaled: Floats, groups: Ints) -> Floats:
    """Middle (N, 3) of the molecule of each atom."""
    _, member, size = np.unique(groups, return_inverse=True, return_counts=True)
    sums = np.stack([np.bincount(member, scaled[:, axis]) for axis in range(3)], axis=1)
    return np.asarray((sums / size[:, None])[member])
