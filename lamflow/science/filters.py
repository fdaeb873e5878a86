"""Frames that no first-principles code should see, each refused with one reason."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from ase.data import covalent_radii
from ase.neighborlist import primitive_neighbor_list
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from lamflow.data import Trajectory
from lamflow.data.frames import Floats, Ints
from lamflow.science.neighbors import pair_distances

REASONS = (
    "kept",
    "not a finite number",
    "cell too skewed",
    "cell vectors too different in length",
    "volume per atom out of range",
    "atoms too close",
)


MANY_ATOMS = 500
"""Beyond, the number of pairs does not fit into memory, or into a minute."""


@dataclass(frozen=True)
class Limits:
    """What a frame must hold.

    min_distance      fraction of the sum of the two covalent radii (Cordero et al., Dalton Trans. 2832 (2008))
    max_length_ratio  of the longest to the shortest cell vector
    min_angle         between two cell vectors, °
    volume_per_atom   range, Å³
    """

    min_distance: float = 0.55
    max_length_ratio: float = 5.0
    min_angle: float = 25.0
    volume_per_atom: tuple[float, float] = (2.0, 200.0)


def refused(trajectory: Trajectory, limits: Limits) -> Ints:
    """For each frame the index into REASONS of the first test that it fails, 0 for a good frame.

    The cheap tests come first; distances are computed only for frames that passed them.
    """
    positions, cells = trajectory.positions, trajectory.cells
    verdict = np.zeros(len(trajectory), dtype=np.int64)
    finite = np.asarray(np.isfinite(positions).all(axis=(1, 2)) & np.isfinite(cells).all(axis=(1, 2)))
    _refuse(verdict, ~finite, "not a finite number")
    if trajectory.pbc and len(trajectory):
        safe = np.where(finite[:, None, None], cells, np.eye(3))
        lengths = np.linalg.norm(safe, axis=2)
        _refuse(verdict, _smallest_angle(safe, lengths) < limits.min_angle, "cell too skewed")
        ratio = lengths.max(axis=1) / np.maximum(lengths.min(axis=1), 1e-12)
        _refuse(verdict, ratio > limits.max_length_ratio, "cell vectors too different in length")
        volume = np.abs(np.linalg.det(safe)) / len(trajectory.numbers)
        low, high = limits.volume_per_atom
        _refuse(verdict, (volume < low) | (volume > high), "volume per atom out of range")
    good = np.flatnonzero(verdict == 0)
    if len(good):
        radii = limits.min_distance * covalent_radii[trajectory.numbers]
        too_close = _too_close if len(radii) <= MANY_ATOMS else _too_close_of_many
        close = too_close(positions[good], cells[good], trajectory.pbc, radii)
        verdict[good[close]] = REASONS.index("atoms too close")
    return verdict


def counts(verdict: Ints) -> dict[str, int]:
    """How many frames each reason refused."""
    number = np.bincount(verdict, minlength=len(REASONS))
    return {reason: int(n) for reason, n in zip(REASONS[1:], number[1:], strict=True) if n}


def _refuse(verdict: Ints, bad: NDArray[np.bool_], reason: str) -> None:
    verdict[(verdict == 0) & bad] = REASONS.index(reason)


def _smallest_angle(cells: Floats, lengths: Floats) -> Floats:
    """Smallest angle in ° between two vectors of each cell; obtuse angles count as their supplement."""
    products = (cells[:, [1, 2, 0]] * cells[:, [2, 0, 1]]).sum(axis=2)
    cosines = np.abs(products) / np.maximum(lengths[:, [1, 2, 0]] * lengths[:, [2, 0, 1]], 1e-12)
    return np.asarray(np.degrees(np.arccos(np.clip(cosines, 0, 1))).min(axis=1))


def _too_close(positions: Floats, cells: Floats, pbc: bool, radii: Floats) -> NDArray[np.bool_]:
    """Frames (F,) in which a pair is closer than the sum of its `radii` (N,) in Å: all pairs of many frames at once."""
    bad = np.zeros(len(positions), dtype=bool)
    allowed = radii[:, None] + radii[None, :]
    for frames, distances in pair_distances(positions, cells, pbc, float(allowed.max())):
        bad[frames] = (distances < allowed[None, :, :, None]).any(axis=(1, 2, 3))
    return bad


def _too_close_of_many(positions: Floats, cells: Floats, pbc: bool, radii: Floats) -> NDArray[np.bool_]:
    """The same frame by frame for many atoms, of which only near pairs are looked at."""
    bad = np.zeros(len(positions), dtype=bool)
    for number, (where, cell) in enumerate(zip(positions, cells, strict=True)):
        first, second, distances = _near_pairs(where, cell, pbc, 2 * float(radii.max()))
        bad[number] = (distances < radii[first] + radii[second]).any()
    return bad


def _near_pairs(positions: Floats, cell: Floats, pbc: bool, cutoff: float) -> tuple[Ints, Ints, Floats]:
    """Two atoms and the distance in Å of every pair that is closer than `cutoff`, and of some others."""
    inverse = np.linalg.inv(cell) if pbc else np.eye(3)
    radius = cutoff * float(np.linalg.norm(inverse, axis=0).max())  # in fractions of the cell
    if pbc and radius >= 0.5:  # atoms may be near to several images of another one
        first, second, distances = primitive_neighbor_list("ijd", [True] * 3, cell, positions, cutoff)
        return first, second, distances
    scaled = (positions @ inverse) % 1.0 % 1.0 if pbc else positions  # a tiny negative fraction becomes 1 at first
    pairs = cKDTree(scaled, boxsize=1.0 if pbc else None).query_pairs(radius, output_type="ndarray")
    vectors = scaled[pairs[:, 0]] - scaled[pairs[:, 1]]
    vectors = (vectors - np.rint(vectors)) @ cell if pbc else vectors
    return pairs[:, 0], pairs[:, 1], np.linalg.norm(vectors, axis=1)
