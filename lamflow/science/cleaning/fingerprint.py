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
KINDS, QUANTILES = 4, 8
"""Sums over neighbours that every atom has, and quantiles of each over the atoms."""

AnyFloats = NDArray[np.floating[Any]]


@dataclass(frozen=True, eq=False)
class Pairs:
    """Pairs of atoms of C structures that are closer than the cutoff, periodic images among them, each once.

    natoms     (C,)  of each structure; their atoms, N together, stand one after the other
    numbers    (N,)  atomic numbers
    first, second, distances  (P,)  places of both atoms among all N, and their distance, Å
    """

    natoms: Ints
    numbers: Ints
    first: Ints
    second: Ints
    distances: Floats

    @classmethod
    def of(cls, frames: Sequence[Frame]) -> Pairs:
        """Those of `frames`."""
        import vesin

        finder, isolated = vesin.NeighborList(cutoff=CUTOFF, full_list=False), np.zeros((3, 3))
        natoms = np.array([frame.natoms for frame in frames], dtype=np.int64)
        firsts, seconds, distances = [], [], []
        for frame, start in zip(frames, np.cumsum(natoms) - natoms, strict=True):
            first, second, distance = finder.compute(
                points=np.ascontiguousarray(frame.positions), box=frame.cell if frame.pbc else isolated,
                periodic=frame.pbc, quantities="ijd",
            )  # fmt: skip
            firsts.append(first.astype(np.int64) + start)
            seconds.append(second.astype(np.int64) + start)
            distances.append(distance)
        numbers = np.concatenate([frame.numbers for frame in frames])
        return cls(natoms, numbers, np.concatenate(firsts), np.concatenate(seconds), np.concatenate(distances))

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
    """
    structure, count, step = pairs.structure, len(pairs.natoms), 1e-3
    weights, ones = element_weights(pairs.numbers), np.ones(len(pairs.numbers))
    now, later = _functions(pairs.distances), _functions(pairs.distances, step)
    quantiles, slopes = [], []
    for value, moved, own in zip(now, later, (ones, ones, weights, weights), strict=True):
        quantiles.append(_quantiles(pairs, structure, own * _sums(pairs, value, own)))
        squares = _sums(pairs, ((moved - value) / step) ** 2, own)
        slopes.append(np.sqrt(np.bincount(structure, squares, count) / pairs.natoms))
    return np.concatenate(quantiles, axis=1).astype(np.float32), np.stack(slopes, axis=1).astype(np.float32)


def _sums(pairs: Pairs, values: Floats, weights: Floats) -> Floats:
    """(N,) sum over an atom's neighbours of a value (P,) of the pair times the neighbour's weight (N,)."""
    size = len(pairs.numbers)
    return np.asarray(
        np.bincount(pairs.first, values * weights[pairs.second], size)
        + np.bincount(pairs.second, values * weights[pairs.first], size)
    )


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


def apart(first: AnyFloats, second: AnyFloats, slopes: AnyFloats) -> Floats:
    """By how much the atoms of two structures have moved, about, in Å: the largest mean over quantiles of a kind.

    first, second (…, KINDS · QUANTILES) and slopes (…, KINDS): see `environments`
    """
    difference = np.abs(first - second).reshape(*np.broadcast_shapes(first.shape, second.shape)[:-1], KINDS, QUANTILES)
    return np.asarray((difference.mean(axis=-1) / np.maximum(slopes, 1e-6)).max(axis=-1))


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
