"""A picture of a structure that no shift, rotation, order of atoms or choice of cell changes."""

from __future__ import annotations

import hashlib
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
FEW = 64
"""Atoms up to which a matrix is faster than a list of pairs."""
KINDS, QUANTILES = 4, 8
"""Sums over neighbours that every atom has, and quantiles of each over the atoms."""

AnyFloats = NDArray[np.floating[Any]]
Pairs = tuple[Ints, Ints, Floats]
"""First and second atom, and their distance in Å, of every pair below the cutoff, each once."""


def pairs_of(frame: Frame) -> Pairs:
    """Pairs of atoms closer than the cutoff, periodic images among them."""
    import vesin

    finder = vesin.NeighborList(cutoff=CUTOFF, full_list=False)
    box = frame.cell if frame.pbc else np.zeros((3, 3))
    first, second, distances = finder.compute(
        points=np.ascontiguousarray(frame.positions), box=box, periodic=frame.pbc, quantities="ijd"
    )
    return first.astype(np.int64), second.astype(np.int64), np.asarray(distances, dtype=np.float64)


def is_connected(natoms: int, pairs: Pairs) -> bool:
    """All atoms hang together by pairs closer than LINK."""
    first, second, distances = pairs
    near = distances < LINK
    if natoms > FEW:
        ones = np.ones(int(near.sum()), dtype=bool)
        graph = csr_array((ones, (first[near], second[near])), shape=(natoms, natoms))
        return int(connected_components(graph, directed=False)[0]) == 1
    linked = np.eye(natoms, dtype=np.float32)
    linked[first[near], second[near]] = linked[second[near], first[near]] = 1
    reached = 1
    while reached < natoms - 1:
        linked, reached = np.minimum(linked @ linked, 1), 2 * reached
    return bool(linked[0].all())


def histogram(numbers: Ints, pairs: Pairs) -> NDArray[np.float32]:
    """(SIZE,) distances per atom, dealt out to bins, with weights that vanish at the cutoff.

    In the first channel every pair counts alike, in the second by a number that depends on both elements.
    """
    first, second, distances = pairs
    place = distances / WIDTH
    low = np.clip(place.astype(np.int64), 0, BINS - 1)
    high = np.minimum(low + 1, BINS - 1)
    upper = place - low
    smooth = 0.5 * (np.cos(np.pi * distances / CUTOFF) + 1)
    weights = (smooth, smooth * element_weights(numbers[first]) * element_weights(numbers[second]))
    channels = [
        np.bincount(low, weight * (1 - upper), BINS) + np.bincount(high, weight * upper, BINS) for weight in weights
    ]
    return np.asarray(np.concatenate(channels) / len(numbers), dtype=np.float32)


def environments(numbers: Ints, pairs: Pairs) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Quantiles (KINDS · QUANTILES,) over the atoms of sums over neighbours, and how these follow a shift (KINDS,).

    The second says by how much a sum changes when an atom moves by 1 Å, in the mean, so that a difference of the
    first is a length: see `apart`. Snapshots of a crystal that vibrates have one histogram, and different quantiles.
    """
    first, second, distances = pairs
    natoms, step = len(numbers), 1e-3
    weights = element_weights(numbers)
    places = (np.arange(QUANTILES) + 0.5) / QUANTILES
    quantiles, slopes = [], []
    ones = np.ones(natoms)
    for (value, later), by_element in zip(_functions(distances), (False, False, True, True), strict=True):
        own = weights if by_element else ones
        ahead, behind = own[second], own[first]
        sums = np.bincount(first, value * ahead, natoms) + np.bincount(second, value * behind, natoms)
        slope = ((later - value) / step) ** 2
        squares = np.bincount(first, slope * ahead, natoms) + np.bincount(second, slope * behind, natoms)
        at = (np.arange(natoms) + 0.5) / natoms
        quantiles.append(np.interp(places, at, np.sort(sums * own)))
        slopes.append(np.sqrt(squares.mean()))
    return np.concatenate(quantiles).astype(np.float32), np.array(slopes, dtype=np.float32)


def _functions(distances: Floats) -> list[tuple[Floats, Floats]]:
    """Functions of the distance that vanish at the cutoff, and their values a step of 10⁻³ Å later."""

    def values(r: Floats) -> list[Floats]:
        smooth = 0.5 * (np.cos(np.pi * np.minimum(r, CUTOFF) / CUTOFF) + 1)
        return [smooth * (2 / r) ** 2, smooth * (2 / r) ** 6, smooth * (2 / r) ** 3, smooth * np.exp(-((r - 3.5) ** 2))]

    safe = np.maximum(distances, 0.1)
    return list(zip(values(safe), values(safe + 1e-3), strict=True))


def element_weights(numbers: Ints) -> Floats:
    """A number between 0.5 and 1.5 for each element, far apart for those that are neighbours in the table."""
    return np.asarray(0.5 + (numbers * 0.6180339887498949) % 1.0)


def apart(first: AnyFloats, second: AnyFloats, slopes: AnyFloats) -> Floats:
    """By how much the atoms of two structures have moved, about, in Å: the largest mean over quantiles of a kind.

    first, second (…, KINDS · QUANTILES) and slopes (…, KINDS): see `environments`
    """
    difference = np.abs(first - second).reshape(*np.broadcast_shapes(first.shape, second.shape)[:-1], KINDS, QUANTILES)
    return np.asarray((difference.mean(axis=-1) / np.maximum(slopes, 1e-6)).max(axis=-1))


def smallest_distance(numbers: Ints, pairs: Pairs) -> float:
    """The smallest distance over the sum of two covalent radii; NaN where all lie beyond the cutoff."""
    first, second, distances = pairs
    if not len(distances):
        return float("nan")
    return float((distances / (covalent_radii[numbers[first]] + covalent_radii[numbers[second]])).min())


def digest(*arrays: Floats) -> bytes:
    """16 bytes that are the same for the same numbers to 10⁻⁶."""
    found = hashlib.blake2b(digest_size=16)
    for array in arrays:
        found.update(np.ascontiguousarray(np.round(array, 6) + 0.0, dtype="<f8").tobytes())
    return found.digest()
