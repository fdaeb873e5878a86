"""The space group of a crystal as something that forces and stresses keep."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lamflow.data import Frame
from lamflow.data.frames import Floats, Ints
from lamflow.science.properties.cells import fractional, rotations, symmetry


@dataclass(frozen=True, eq=False)
class SpaceGroup:
    """Operations of a crystal.

    rotations  (R, 3, 3)  Cartesian; a vector v of a column becomes rotation @ v
    partners   (R, N)     the atom that each atom comes to lie on
    """

    rotations: Floats
    partners: Ints

    @classmethod
    def of(cls, frame: Frame, most: int | None = None) -> SpaceGroup:
        """That of a crystal as spglib finds it, or so many of its operations, spread evenly.

        Raises ValueError for isolated structures, and where it finds none.
        """
        found, scaled = symmetry(frame), fractional(frame)
        count, partners = len(found.rotations), []
        chosen = np.arange(count) if most is None else np.unique(np.linspace(0, count - 1, most).astype(int))
        for rotation, translation in zip(found.rotations[chosen], found.translations[chosen], strict=True):
            difference = (scaled @ rotation.T + translation)[:, None] - scaled[None]
            distance = np.linalg.norm((difference - np.round(difference)) @ frame.cell, axis=2)
            partners.append(distance.argmin(axis=1))
        return cls(rotations(found)[chosen], np.array(partners))

    def vectors(self, vectors: Floats) -> Floats:
        """The part of atoms' vectors (N, 3) that every operation keeps: their mean over all operations."""
        total = np.zeros_like(vectors)
        for rotation, partner in zip(self.rotations, self.partners, strict=True):
            total[partner] += vectors @ rotation.T
        return total / len(self.rotations)

    def tensor(self, tensor: Floats) -> Floats:
        """The part of a tensor (3, 3) that every operation keeps."""
        return np.asarray(np.mean(self.rotations @ tensor @ self.rotations.transpose(0, 2, 1), axis=0))
