"""Distances under periodic boundary conditions for many frames of the same atoms at once."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import numpy as np

from lamflow.data.frames import Floats

CHUNK = 4_000_000
"""Distances held in memory at a time."""


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
    offsets = _offsets(cells, cutoff) if pbc else np.zeros((1, 3))
    home = int(np.flatnonzero((offsets == 0).all(axis=1))[0])
    step = max(1, CHUNK // max(1, natoms * natoms * len(offsets)))
    for start in range(0, len(positions), step):
        frames = slice(start, min(start + step, len(positions)))
        chunk = positions[frames]
        difference = chunk[:, None, :, :] - chunk[:, :, None, :]
        if pbc:
            fractional = difference @ np.linalg.inv(cells[frames])[:, None]
            fractional -= np.round(fractional)
            images = fractional[:, :, :, None, :] + offsets
            vectors = images @ cells[frames][:, None, None]
        else:
            vectors = difference[:, :, :, None, :]
        distances = np.sqrt((vectors**2).sum(axis=-1))
        distances[:, np.arange(natoms), np.arange(natoms), home] = np.inf
        yield frames, distances


def _offsets(cells: Floats, cutoff: float) -> Floats:
    """Lattice translations that a wrapped difference may need to reach every image within `cutoff`."""
    smallest = heights(cells).min(axis=0)
    reach = [0 if 2 * cutoff < height else int(np.ceil(cutoff / height + 0.5 - 1e-9)) for height in smallest]
    return np.array(list(itertools.product(*(range(-n, n + 1) for n in reach))), dtype=np.float64)
