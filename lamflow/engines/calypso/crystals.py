"""Random crystals with symmetry, by PyXtal: space group, Wyckoff positions, smallest distances, any element."""

from __future__ import annotations

import functools
import math
import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
from ase.data import atomic_numbers

from lamflow.data import Frame
from lamflow.data.frames import Floats
from lamflow.engines.calypso.settings import CalypsoSearch, formula
from lamflow.errors import EngineError
from lamflow.science.similarity import bonds

TRIES = 200
"""Space groups that are tried for one structure."""
PLACEMENTS = 4
"""Times that atoms are placed in one lattice."""
GROWTH = 1.02
"""By how much an estimated volume grows from one try to the next."""
SPREAD = (0.9, 1.4)
"""Random factor of an estimated volume; a volume that is given is kept to a tenth."""
STAND_INS = ("C", "N", "O", "F", "Si", "P", "S", "Cl", "Ge", "As", "Se", "Br")
"""PyXtal gets these names in place of the elements: it has no radii for some, and needs none for distances given."""
PRIMITIVE: dict[str, Floats] = {
    "P": np.eye(3),
    "A": np.array([[1, 0, 0], [0, 0.5, -0.5], [0, 0.5, 0.5]]),
    "B": np.array([[0.5, 0, -0.5], [0, 1, 0], [0.5, 0, 0.5]]),
    "C": np.array([[0.5, 0.5, 0], [-0.5, 0.5, 0], [0, 0, 1]]),
    "I": np.array([[-0.5, 0.5, 0.5], [0.5, -0.5, 0.5], [0.5, 0.5, -0.5]]),
    "F": np.array([[0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]]),
    "R": np.array([[2, 1, 1], [-1, 1, 1], [-1, -2, 1]]) / 3,
}
"""Primitive cell vectors in terms of the conventional ones, by the letter of the centring."""


def random_counts(settings: CalypsoSearch, rng: np.random.Generator) -> dict[str, int]:
    """Atoms of each element of a cell: first a ratio of the elements, all alike likely, then a size."""
    by_ratio: dict[tuple[int, ...], list[dict[str, int]]] = {}
    for counts in settings.compositions():
        divisor = math.gcd(*counts.values())
        ratio = tuple(counts.get(element, 0) // divisor for element in settings.elements)
        by_ratio.setdefault(ratio, []).append(counts)
    sizes = by_ratio[sorted(by_ratio)[int(rng.integers(len(by_ratio)))]]
    return sizes[int(rng.integers(len(sizes)))]


def random_crystal(settings: CalypsoSearch, counts: Mapping[str, int], rng: np.random.Generator) -> Frame:
    """A random crystal of a random space group that holds the smallest distances.

    Raises EngineError that names what cannot be met.
    """
    given = all(element in settings.volumes for element in counts)
    volume = sum(settings.volume(element) * count for element, count in counts.items())
    volume *= rng.uniform(0.95, 1.05) if given else rng.uniform(*SPREAD)
    first, last = settings.space_groups
    groups = fitting_groups(first, last, tuple(counts.values()))
    if not groups:
        raise EngineError(
            f"calypso: no space group from {first} to {last} has Wyckoff positions for {formula(dict(counts))}; widen "
            "space_groups, or allow other numbers of atoms"
        )
    for attempt in range(TRIES):
        size = volume if given else volume * GROWTH ** max(0, attempt - 20)
        made = _crystal(settings, counts, groups[int(rng.integers(len(groups)))], size, rng)
        if made is not None:
            return made
    limits = ", ".join(f"{a}-{b} {settings.distance(a, b):.2f} Å" for a in counts for b in counts if a <= b)
    raise EngineError(
        f"calypso: no crystal of {formula(dict(counts))} in {volume:.1f} Å³ keeps the smallest distances ({limits}) in "
        f"{TRIES} space groups; give larger volumes or smaller distances"
    )


@functools.cache
def fitting_groups(first: int, last: int, counts: tuple[int, ...]) -> tuple[int, ...]:
    """Space groups whose Wyckoff positions can hold so many atoms in a primitive cell."""
    return tuple(
        number
        for number in range(first, last + 1)
        if _group(number).check_compatible([count * _centring(number) for count in counts])[0]
    )


@functools.cache
def _group(number: int) -> Any:
    from pyxtal.symmetry import Group

    return Group(number)


@functools.cache
def _centring(number: int) -> int:
    """Primitive cells of a conventional one."""
    return round(1 / abs(float(np.linalg.det(PRIMITIVE[_group(number).symbol[0]]))))


def _crystal(
    settings: CalypsoSearch, counts: Mapping[str, int], number: int, volume: float, rng: np.random.Generator
) -> Frame | None:
    """One try: a crystal of space group `number` whose primitive cell has `volume`, or None."""
    from pyxtal import msg
    from pyxtal.lattice import Lattice

    times = _centring(number)
    distances = tuple(tuple(settings.distance(a, b) for b in counts) for a in counts)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            lattice = Lattice(_group(number).lattice_type, volume * times, random_state=rng)
            made = _few_tries()(
                group=_group(number), species=list(STAND_INS[: len(counts)]), lattice=lattice, random_state=rng,
                numIons=[count * times for count in counts.values()], tm=_tolerances(distances),
            )  # fmt: skip
    except (msg.Error, RuntimeError, ValueError, np.linalg.LinAlgError):
        return None  # this composition or volume does not fit this space group
    if not made.valid:
        return None
    sites = {stand_in: atomic_numbers[element] for stand_in, element in zip(STAND_INS, counts, strict=False)}
    numbers = np.array([sites[site.specie] for site in made.atom_sites for _ in site.coords])
    scaled = np.concatenate([site.coords for site in made.atom_sites])
    frame = _primitive(numbers, scaled, made.lattice.matrix, _group(number).symbol[0])
    if frame.natoms != sum(counts.values()) or too_close(settings, frame):
        return None
    return frame


@functools.cache
def _few_tries() -> Any:
    """PyXtal's random crystal, which tries a lattice four hundred times before it gives it up, with a few tries."""
    from pyxtal import operations
    from pyxtal.crystal import random_crystal

    operations.Tol_matrix = functools.cache(operations.Tol_matrix)  # PyXtal makes one for every pair of images, 9 ms

    class FewTries(random_crystal):  # type: ignore[misc]  # PyXtal has no types
        def set_crystal(self) -> None:
            self.numattempts = 0
            self.set_volume()
            self.set_lattice(self.lattice0)
            for _ in range(PLACEMENTS):
                sites = self._set_coords()
                if sites:
                    self.atom_sites = sites
                    return

    return FewTries


@functools.lru_cache(maxsize=64)
def _tolerances(distances: tuple[tuple[float, ...], ...]) -> Any:
    from pyxtal.tolerance import Tol_matrix

    pairs = [(a, b) for a in range(len(distances)) for b in range(a, len(distances))]
    return Tol_matrix(*((STAND_INS[a], STAND_INS[b], distances[a][b]) for a, b in pairs))


def _primitive(numbers: Floats, scaled: Floats, cell: Floats, centring: str) -> Frame:
    """The primitive cell of a conventional one, sorted by element in the order of first appearance."""
    vectors = PRIMITIVE[centring]
    inside = (scaled @ np.linalg.inv(vectors)) % 1.0
    kept: list[int] = []
    for place in range(len(inside)):
        apart = inside[kept] - inside[place]
        apart -= np.rint(apart)
        if not ((np.abs(apart) < 1e-4).all(axis=1) & (numbers[kept] == numbers[place])).any():
            kept.append(place)
    order = sorted(kept, key=lambda place: (list(numbers).index(numbers[place]), place))
    return Frame(np.asarray(numbers[order], dtype=np.int64), inside[order] @ (vectors @ cell), vectors @ cell, True)


def too_close(settings: CalypsoSearch, frame: Frame) -> bool:
    """Two atoms are closer than they may be."""
    symbols = sorted(set(frame.symbols))
    place = {symbol: index for index, symbol in enumerate(symbols)}
    allowed = np.array([[settings.distance(a, b) - 1e-6 for b in symbols] for a in symbols])
    first, second, vector = bonds(frame, float(allowed.max()))
    kinds = np.array([place[symbol] for symbol in frame.symbols])
    return bool((np.linalg.norm(vector, axis=1) < allowed[kinds[first], kinds[second]]).any())
