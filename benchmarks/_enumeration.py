"""Every ordering of two elements on a parent lattice, up to a number of atoms: the ground truth of small searches.

Superlattices by their Hermite normal forms, all of them, not only those that symmetry tells apart
(G. L. W. Hart and R. W. Forcade, Phys. Rev. B 77, 224115 (2008)); crystals that are alike are kept once.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence

import numpy as np
from ase.data import atomic_numbers

from lamflow.data import Frame
from lamflow.data.frames import Floats
from lamflow.science.similarity import bond_matrix, same

SAME = 1e-4
"""Bond matrices on one undistorted lattice that are closer are those of one ordering."""
PARENTS: dict[str, tuple[Floats, Floats]] = {
    "fcc": (3.9 * np.array([[0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]]), np.zeros((1, 3))),
    "bcc": (3.1 * np.array([[-0.5, 0.5, 0.5], [0.5, -0.5, 0.5], [0.5, 0.5, -0.5]]), np.zeros((1, 3))),
    "hcp": (
        2.76 * np.array([[1, 0, 0], [-0.5, np.sqrt(3) / 2, 0], [0, 0, np.sqrt(8 / 3)]]),
        np.array([[0, 0, 0], [1 / 3, 2 / 3, 0.5]]),
    ),
}
"""Cell in Å and sites in fractions of it."""


def hermite_normal_forms(size: int) -> Iterator[Floats]:
    """Every superlattice of `size` cells: lower triangular matrices of that determinant."""
    for a in (n for n in range(1, size + 1) if size % n == 0):
        for c in (n for n in range(1, size // a + 1) if (size // a) % n == 0):
            f = size // a // c
            for b, d, e in itertools.product(range(a), range(a), range(c)):
                yield np.array([[a, 0, 0], [b, c, 0], [d, e, f]], dtype=float)


def orderings(elements: Sequence[str], most: int) -> dict[str, list[Frame]]:
    """Crystals of two elements with at most `most` atoms on each parent lattice, by its name."""
    numbers = [atomic_numbers[element] for element in elements]
    found: dict[str, list[Frame]] = {}
    for name, (cell, sites) in PARENTS.items():
        kept: list[tuple[Frame, Floats]] = []
        for size in range(1, most // len(sites) + 1):
            for form in hermite_normal_forms(size):
                places = _places(form, sites, size)
                for occupation in itertools.product(numbers, repeat=len(places)):
                    frame = Frame(np.array(occupation), places @ form @ cell, form @ cell, True)
                    pair = frame, bond_matrix(frame, numbers)
                    if not any(same(pair, other, SAME) for other in kept):
                        kept.append(pair)
        found[name] = [frame for frame, _ in kept]
    return found


def _places(form: Floats, sites: Floats, size: int) -> Floats:
    """Fractional coordinates of all sites in the superlattice's cell."""
    inverse, places = np.linalg.inv(form), list[Floats]()
    for shift in itertools.product(range(size + 1), repeat=3):
        for site in sites:
            place = ((np.array(shift) + site) @ inverse) % 1.0
            if not any(np.abs((place - other) - np.rint(place - other)).max() < 1e-6 for other in places):
                places.append(place)
    assert len(places) == size * len(sites)
    return np.array(places)
