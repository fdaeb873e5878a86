"""A picture of a structure that no shift, rotation, order of atoms or choice of cell changes."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from ase.data import covalent_radii
from numpy.typing import NDArray
from scipy.sparse import csr_array
from scipy.sparse.csgraph import connected_components

from lamflow.data.frames import Floats, Frame, Ints

CUTOFF = 5.0
"""Å"""
WIDTH = 0.25
"""Å between two bins; a distance is dealt out to the two nearest in proportion."""
LINK = 4.0
"""Å; molecules and layers that are farther from each other have nearly the same surroundings wherever they are."""
BINS = 20
CHANNELS = 2
SIZE = BINS * CHANNELS
KINDS, QUANTILES = 6, 8
"""Sums over neighbours that every atom has, and quantiles of each over the atoms."""

AnyFloats = NDArray[np.floating[Any]]


@dataclass(frozen=True, eq=False)
class Pairs:
    """Pairs of atoms of C structures that are closer than the cutoff, periodic images among them, each once.

    natoms     (C,)  of each structure; their atoms, N together, stand one after the other
    numbers    (N,)  atomic numbers
    first, second, distances  (P,)  places of both atoms among all N, and their distance, Å
    directions (P, 3) from the first to the second, of length 1
    """

    natoms: Ints
    numbers: Ints
    first: Ints
    second: Ints
    distances: Floats
    directions: Floats

    @classmethod
    def of(cls, frames: Sequence[Frame]) -> Pairs:
        """Those of `frames`."""
        import vesin

        finder, isolated = vesin.NeighborList(cutoff=CUTOFF, full_list=False), np.zeros((3, 3))
        natoms = np.array([frame.natoms for frame in frames], dtype=np.int64)
        firsts, seconds, distances, directions = [], [], [], []
        for frame, start in zip(frames, np.cumsum(natoms) - natoms, strict=True):
            first, second, distance, vector = finder.compute(
                points=np.ascontiguousarray(frame.positions), box=frame.cell if frame.pbc else isolated,
                periodic=frame.pbc, quantities="ijdD",
            )  # fmt: skip
            firsts.append(first.astype(np.int64) + start)
            seconds.append(second.astype(np.int64) + start)
            distances.append(distance)
            directions.append(vector / np.maximum(distance, 1e-9)[:, None])
        numbers = np.concatenate([frame.numbers for frame in frames])
        return cls(natoms, numbers, *map(np.concatenate, (firsts, seconds, distances, directions)))

    @property
    def structure(self) -> Ints:
        """(N,) structure of each atom."""
        return np.repeat(np.arange(len(self.natoms)), self.natoms)


def connected(pairs: Pairs) -> NDArray[np.bool_]:
    """(C,) whether all atoms of a structure hang together by pairs closer than LINK."""
    near, size = pairs.distances < LINK, len(pairs.numbers)
    ones = np.ones(int(near.sum()), dtype=bool)
    graph = csr_array((ones, (pairs.first[near], pairs.second[near])), shape=(size, size))
    first_atoms = np.unique(connected_components(graph, directed=False)[1], return_index=True)[1]
    return np.asarray(np.bincount(pairs.structure[first_atoms], minlength=len(pairs.natoms)) == 1)


def histograms(pairs: Pairs) -> NDArray[np.float32]:
    """(C, SIZE) distances per atom, dealt out to bins, with weights that vanish at the cutoff.

    In the first channel every pair counts alike, in the second by a number that depends on both elements.
    """
    distances, count = pairs.distances, len(pairs.natoms)
    place = distances / WIDTH
    low = np.clip(place.astype(np.int64), 0, BINS - 1)
    upper, start = place - low, BINS * pairs.structure[pairs.first]
    low, high = start + low, start + np.minimum(low + 1, BINS - 1)
    smooth, elements = 0.5 * (np.cos(np.pi * distances / CUTOFF) + 1), element_weights(pairs.numbers)
    weights = (smooth, smooth * elements[pairs.first] * elements[pairs.second])
    channels = [
        np.bincount(low, weight * (1 - upper), BINS * count) + np.bincount(high, weight * upper, BINS * count)
        for weight in weights
    ]
    per_structure = np.concatenate([channel.reshape(count, BINS) for channel in channels], axis=1)
    return np.asarray(per_structure / pairs.natoms[:, None], dtype=np.float32)


def environments(pairs: Pairs) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Quantiles (C, KINDS · QUANTILES) over the atoms of sums over neighbours, and how these follow a shift (C, KINDS).

    The second says by how much a sum changes when an atom moves by 1 Å, in the mean, so that a difference of the
    first is a length: see `apart`. Snapshots of a crystal that vibrates have one histogram, and different quantiles.
    Where atoms are in places of high symmetry sums over distances hardly see small shifts and strains; the lengths of
    a sum of directions and of a sum of their traceless products do, the former shifts and the latter shears.
    """
    structure, count, step = pairs.structure, len(pairs.natoms), 1e-3
    weights, ones = element_weights(pairs.numbers), np.ones(len(pairs.numbers))
    now, later = _functions(pairs.distances), _functions(pairs.distances, step)
    quantiles, slopes = [], []
    for value, moved, own in zip(now, later, (ones, ones, weights, weights), strict=True):
        quantiles.append(_quantiles(pairs, structure, own * _sums(pairs, value, own)))
        squares = _sums(pairs, ((moved - value) / step) ** 2, own)
        slopes.append(np.sqrt(np.bincount(structure, squares, count) / pairs.natoms))
    for place, lengths, along, across in (
        (1, _lengths_of_directions, 1 / 3, 2 / 3),
        (2, _lengths_of_products, 2 / 9, 4 / 3),
    ):
        quantiles.append(_quantiles(pairs, structure, lengths(pairs, now[place], weights)))
        change, turn = (later[place] - now[place]) / step, now[place] / np.maximum(pairs.distances, 0.1)
        squares = _sums(pairs, along * change**2 + across * turn**2, weights**2)
        slopes.append(np.sqrt(np.bincount(structure, squares, count) / pairs.natoms))
    return np.concatenate(quantiles, axis=1).astype(np.float32), np.stack(slopes, axis=1).astype(np.float32)


def _sums(pairs: Pairs, values: Floats, weights: Floats) -> Floats:
    """(N,) sum over an atom's neighbours of a value (P,) of the pair times the neighbour's weight (N,)."""
    size = len(pairs.numbers)
    return np.asarray(
        np.bincount(pairs.first, values * weights[pairs.second], size)
        + np.bincount(pairs.second, values * weights[pairs.first], size)
    )


def _lengths_of_directions(pairs: Pairs, values: Floats, weights: Floats) -> Floats:
    """(N,) length of the sum of the directions of an atom's neighbours, times a value (P,) and their weight (N,)."""
    size, found = len(pairs.numbers), np.zeros(len(pairs.numbers))
    for axis in range(3):
        part = values * pairs.directions[:, axis]
        total = np.bincount(pairs.first, part * weights[pairs.second], size)
        found += (total - np.bincount(pairs.second, part * weights[pairs.first], size)) ** 2
    return np.asarray(np.sqrt(found))


def _lengths_of_products(pairs: Pairs, values: Floats, weights: Floats) -> Floats:
    """(N,) as `_lengths_of_directions`, of their products with themselves less a third of the unit matrix."""
    found = np.zeros(len(pairs.numbers))
    for one in range(3):
        for other in range(one, 3):
            product = pairs.directions[:, one] * pairs.directions[:, other] - (one == other) / 3
            found += (1 if one == other else 2) * _sums(pairs, values * product, weights) ** 2
    return np.asarray(np.sqrt(found))


def _quantiles(pairs: Pairs, structure: Ints, values: Floats) -> Floats:
    """(C, QUANTILES) of the values (N,) of the atoms of each structure, in linear interpolation."""
    ordered, start = values[np.lexsort((values, structure))], (np.cumsum(pairs.natoms) - pairs.natoms)[:, None]
    last = pairs.natoms[:, None] - 1
    at = np.clip((np.arange(QUANTILES) + 0.5) / QUANTILES * (last + 1) - 0.5, 0, last)
    low = at.astype(np.int64)
    lower, upper = ordered[start + low], ordered[start + np.minimum(low + 1, last)]
    return np.asarray(lower + (upper - lower) * (at - low))


def _functions(distances: Floats, later: float = 0.0) -> list[Floats]:
    """Functions of the distance that vanish at the cutoff, `later` Å further out."""
    r = np.maximum(distances, 0.1) + later
    smooth = 0.5 * (np.cos(np.pi * np.minimum(r, CUTOFF) / CUTOFF) + 1)
    square = (2 / r) ** 2
    cube = square * (2 / r)
    return [smooth * square, smooth * cube * cube, smooth * cube, smooth * np.exp(-((r - 3.5) ** 2))]


def element_weights(numbers: Ints) -> Floats:
    """A number between 0.5 and 1.5 for each element, far apart for those that are neighbours in the table."""
    return np.asarray(0.5 + (numbers * 0.6180339887498949) % 1.0)


def apart(first: AnyFloats, second: AnyFloats, slopes: AnyFloats, natoms: AnyFloats | Ints | int) -> Floats:
    """By how much the atoms of two structures have moved, about, in Å: the largest mean over quantiles of a kind.

    first, second (…, KINDS · QUANTILES) and slopes (…, KINDS): see `environments`; natoms (…) of the smaller structure

    The quantiles of independent snapshots with many atoms differ as little as the root of their number makes a mean
    certain, so a difference counts as many times.
    """
    difference = np.abs(first - second).reshape(*np.broadcast_shapes(first.shape, second.shape)[:-1], KINDS, QUANTILES)
    moved = (difference.mean(axis=-1) / np.maximum(slopes, 1e-6)).max(axis=-1)
    return np.asarray(np.sqrt(natoms) * moved)


def smallest_distances(pairs: Pairs) -> Floats:
    """(C,) the smallest distance over the sum of two covalent radii; NaN where all lie beyond the cutoff."""
    radii, found = covalent_radii[pairs.numbers], np.full(len(pairs.natoms), np.inf)
    np.minimum.at(found, pairs.structure[pairs.first], pairs.distances / (radii[pairs.first] + radii[pairs.second]))
    return np.where(np.isfinite(found), found, np.nan)


def digest(*arrays: Floats) -> bytes:
    """16 bytes that are the same for the same numbers to 10⁻⁶."""
    found = hashlib.blake2b(digest_size=16)
    for array in arrays:
        found.update(np.ascontiguousarray(np.round(array, 6) + 0.0, dtype="<f8").tobytes())
    return found.digest()
