"""Distances under periodic boundary conditions for many frames of the same atoms at once."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import numpy as np

from lamflow.data.frames import Floats

CHUNK = 4_000_000
"""Distances held in memory at a time, as far as whole frames allow."""


def heights(cells: Floats) -> Floats:
    """Distances between opposite faces of each cell, (F, 3) in Å, from cells (F, 3, 3) in Å."""
    with np.errstate(divide="ignore", invalid="ignore"):
        volumes = np.abs(np.linalg.det(cells))
        areas = np.linalg.norm(np.cross(cells[:, [1, 2, 0]], cells[:, [2, 0, 1]]), axis=-1)
        return np.asarray(volumes[:, None] / areas)


def pair_distances(positions: Floats, cells: Floats, pbc: bool, cutoff: float) -> Iterator[tuple[slice, Floats]]:
    """Distances of all pairs, chunk by chunk of frames: (frames, distances (f, N, N, K) in Å) for K periodic images.

    positions (F, N, 3) and cells (F, 3, 3) in Å. Every distance below `cutoff` is among them, an atom's distance to
    itself only as infinity. A fractional difference wrapped to ±½ is the nearest image of any pair closer than half
    the smallest height of the cell; larger cutoffs take further images in.
    """
    natoms = positions.shape[1]
    metric = cells @ cells.transpose(0, 2, 1) if pbc else np.broadcast_to(np.eye(3), (len(positions), 3, 3))
    scaled = positions @ np.linalg.inv(cells) if pbc else positions
    offsets = _offsets(cells, cutoff) if pbc else np.zeros((1, 3))
    home = int(np.flatnonzero((offsets == 0).all(axis=1))[0])
    atoms = np.arange(natoms)
    step = max(1, CHUNK // max(1, natoms * natoms * len(offsets)))
    for start in range(0, len(positions), step):
        frames = slice(start, min(start + step, len(positions)))
        differences = [scaled[frames, None, :, axis] - scaled[frames, :, None, axis] for axis in range(3)]
        if pbc:
            differences = [difference - np.rint(difference) for difference in differences]
        images = [_squared(differences, offset, metric[frames]) for offset in offsets]
        distances = np.sqrt(np.maximum(np.stack(images, axis=-1), 0.0))
        distances[:, atoms, atoms, home] = np.inf
        yield frames, distances


def _squared(differences: list[Floats], offset: Floats, metric: Floats) -> Floats:
    """Squared lengths of fractional differences (f, N, N), shifted by `offset`, under metric tensors (f, 3, 3)."""
    shifted = [
        difference + shift if shift else difference for difference, shift in zip(differences, offset, strict=True)
    ]
    total = np.zeros_like(differences[0])
    for first in range(3):
        for second in range(first, 3):
            element = metric[:, first, second] * (1 if first == second else 2)
            if element.any():
                total += element[:, None, None] * shifted[first] * shifted[second]
    return total


def _offsets(cells: Floats, cutoff: float) -> Floats:
    """Lattice translations that a wrapped difference may need to reach every image within `cutoff`.

    An image n cells away is at least (n - ½) heights away, for wrapping leaves ±½.
    """
    smallest = heights(cells).min(axis=0)
    reach = [int(np.ceil(cutoff / height + 0.5 + 1e-9)) - 1 for height in smallest]
    return np.array(list(itertools.product(*(range(-n, n + 1) for n in reach))), dtype=np.float64)
