"""Random crystals with symmetry, of any elements: space groups, Wyckoff positions and lattices are PyXtal's."""

from __future__ import annotations

import functools
import math
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from ase.data import atomic_numbers

from lamflow.data import Frame
from lamflow.data.frames import Floats, Ints
from lamflow.engines.calypso.exchange import by_element
from lamflow.engines.calypso.settings import CalypsoSearch, formula
from lamflow.errors import EngineError
from lamflow.science.similarity import bonds, periodic_images

TRIES = 200
"""Lattices that are tried for one structure."""
CHOICES = 60
"""Random choices of Wyckoff positions before a space group is given up for a composition."""
PLACEMENTS = 12
"""Places that are tried for the atoms of one Wyckoff position."""
GROWTH = 1.02
"""By how much an estimated volume grows from one try to the next."""
SPREAD = (0.9, 1.4)
"""Random factor of an estimated volume; a volume that is given is kept to a tenth."""
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
    unfit, tries = set[int](), 0
    while tries < TRIES:
        number = int(rng.integers(first, last + 1))
        if not fits(number, tuple(counts.values())):
            unfit.add(number)
            if len(unfit) > last - first:
                raise EngineError(
                    f"calypso: no space group from {first} to {last} has Wyckoff positions for "
                    f"{formula(dict(counts))}; widen space_groups, or allow other numbers of atoms"
                )
            continue
        size = volume if given else volume * GROWTH ** max(0, tries - 20)
        made = _crystal(settings, counts, number, size, rng)
        if made is not None:
            return made
        tries += 1
    limits = ", ".join(f"{a}-{b} {settings.distance(a, b):.2f} Å" for a in counts for b in counts if a <= b)
    raise EngineError(
        f"calypso: no crystal of {formula(dict(counts))} in {volume:.1f} Å³ keeps the smallest distances ({limits}) in "
        f"{TRIES} tries; give larger volumes or smaller distances"
    )


@functools.cache
def fits(number: int, counts: tuple[int, ...]) -> bool:
    """Wyckoff positions of space group `number` hold so many atoms of each element in a primitive cell."""
    rng = np.random.default_rng([number, *counts])  # of its own: what is known already must not change a search
    return _chosen_sites(number, [count * _centring(number) for count in counts], rng) is not None


@functools.cache
def _group(number: int) -> Any:
    from pyxtal.symmetry import Group

    return Group(number)


@functools.cache
def _centring(number: int) -> int:
    """Primitive cells of a conventional one."""
    return round(1 / abs(float(np.linalg.det(PRIMITIVE[_group(number).symbol[0]]))))


@dataclass(frozen=True, eq=False)
class _Wyckoff:
    """A Wyckoff position: where its M atoms are for a point x, rotations (M, 3, 3) @ x + shifts (M, 3), fractional."""

    rotations: Floats
    shifts: Floats

    @property
    def multiplicity(self) -> int:
        """M."""
        return len(self.shifts)

    @property
    def fixed(self) -> bool:
        """No coordinate is free, so one atom only can have it."""
        return not self.rotations.any()


@functools.cache
def _wyckoff(number: int) -> tuple[_Wyckoff, ...]:
    positions = (_group(number)[place] for place in range(len(_group(number))))
    return tuple(
        _Wyckoff(
            np.array([operation.rotation_matrix for operation in position.ops]),
            np.array([operation.translation_vector for operation in position.ops]),
        )
        for position in positions
    )


def _crystal(
    settings: CalypsoSearch, counts: Mapping[str, int], number: int, volume: float, rng: np.random.Generator
) -> Frame | None:
    """One try: a crystal of space group `number` whose primitive cell has `volume`, or None."""
    from pyxtal import msg
    from pyxtal.lattice import Lattice

    times, elements = _centring(number), list(counts)
    sites = _chosen_sites(number, [count * times for count in counts.values()], rng)
    if sites is None:
        return None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            cell = Lattice(_group(number).lattice_type, volume * times, random_state=rng).matrix
    except (msg.Error, RuntimeError, ValueError, np.linalg.LinAlgError):
        return None  # this volume does not fit this lattice
    allowed = np.array([[settings.distance(a, b) for b in elements] for a in elements])
    scaled, kinds = np.zeros((0, 3)), np.zeros(0, dtype=np.int64)
    for kind, site in sites:
        placed = _placed(site, kind, scaled, kinds, cell, allowed, rng)
        if placed is None:
            return None
        scaled, kinds = np.vstack([scaled, placed]), np.append(kinds, np.full(len(placed), kind))
    numbers = np.array([atomic_numbers[elements[kind]] for kind in kinds])
    frame = _primitive(numbers, scaled, cell, _group(number).symbol[0])
    if frame.natoms != sum(counts.values()) or too_close(settings, frame):
        return None
    return frame


def _chosen_sites(number: int, counts: list[int], rng: np.random.Generator) -> list[tuple[int, _Wyckoff]] | None:
    """Wyckoff positions that hold so many atoms of each kind in the conventional cell, largest first.

    None when CHOICES random ones do not.
    """
    positions = _wyckoff(number)
    for _ in range(CHOICES):
        used: set[int] = set()
        sites: list[tuple[int, _Wyckoff]] = []
        for kind, count in enumerate(counts):
            left = count
            while left:
                free = [
                    place
                    for place, position in enumerate(positions)
                    if position.multiplicity <= left and place not in used
                ]
                if not free:
                    break
                place = free[int(rng.integers(len(free)))]
                if positions[place].fixed:
                    used.add(place)
                sites.append((kind, positions[place]))
                left -= positions[place].multiplicity
            if left:
                break
        else:
            return sorted(sites, key=lambda site: -site[1].multiplicity)
    return None


def _placed(  # noqa: PLR0917  what a place depends on
    site: _Wyckoff, kind: int, scaled: Floats, kinds: Ints, cell: Floats, allowed: Floats, rng: np.random.Generator
) -> Floats | None:
    """Fractional coordinates of a Wyckoff position's atoms, far enough from each other and those that are there."""
    images = periodic_images(cell, float(allowed.max()))
    home = (images == 0).all(axis=1)
    all_kinds = np.append(kinds, np.full(site.multiplicity, kind))
    for _ in range(1 if site.fixed else PLACEMENTS):
        own = (site.rotations @ rng.random(3) + site.shifts) % 1.0
        apart = np.vstack([scaled, own]) - own[0]  # by symmetry one atom of them stands for all
        squared = (((apart - np.rint(apart))[:, None] + images) @ cell) ** 2
        distances = np.sqrt(squared.sum(axis=2))
        distances[len(scaled), home] = np.inf
        if (distances >= allowed[kind, all_kinds][:, None]).all():
            return np.asarray(own)
    return None


def _primitive(numbers: Ints, scaled: Floats, cell: Floats, centring: str) -> Frame:
    """The primitive cell of a conventional one, sorted by element in the order of first appearance."""
    vectors = PRIMITIVE[centring]
    inside = (scaled @ np.linalg.inv(vectors)) % 1.0
    kept: list[int] = []
    for place in range(len(inside)):
        apart = inside[kept] - inside[place]
        apart -= np.rint(apart)
        if not ((np.abs(apart) < 1e-4).all(axis=1) & (numbers[kept] == numbers[place])).any():
            kept.append(place)
    order = np.array(kept)[by_element(numbers[kept])]
    return Frame(numbers[order], inside[order] @ (vectors @ cell), vectors @ cell, True)


def too_close(settings: CalypsoSearch, frame: Frame) -> bool:
    """Two atoms are closer than they may be."""
    symbols = sorted(set(frame.symbols))
    place = {symbol: index for index, symbol in enumerate(symbols)}
    allowed = np.array([[settings.distance(a, b) - 1e-6 for b in symbols] for a in symbols])
    first, second, vector = bonds(frame, float(allowed.max()))
    kinds = np.array([place[symbol] for symbol in frame.symbols])
    return bool((np.linalg.norm(vector, axis=1) < allowed[kinds[first], kinds[second]]).any())
