"""How different frames are, and how to pick the ones that differ most."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from ase.data import atomic_numbers

from lamflow.data import Frame
from lamflow.data.fields import SPIN
from lamflow.data.frames import Floats, Ints
from lamflow.science.neighbors import pair_distances

CUTOFF = 5.0
"""Å"""
BINS = 24
WIDTH = 0.25
"""Å, of the Gaussian that smears a distance over the bins."""
MOST, COUNTS = 128, 4_000_000
"""Frames, and numbers of their distributions, that are made at once at most."""
MOMENT = 2.0
"""μB; moments in these units weigh in descriptors as neighbours do."""


def descriptor_length(elements: int) -> int:
    """D for a type map of so many elements."""
    return elements * (elements + 1) // 2 * BINS + 1


def descriptor(frame: Frame, elements: Sequence[int]) -> Floats:
    """A fixed-length picture of a frame: smeared radial distributions of each pair of elements, and the density.

    elements  atomic numbers of the type map
    returns   (D,), D = P·BINS + 1 for the P unordered pairs of elements; each distribution counts neighbours
              per atom and bin, weighted by a cosine that vanishes at CUTOFF: it changes little when the frame does.
              Of a frame with moments (D + BINS + 2,): the products sᵢ·sⱼ of neighbours in the same bins, mean and
              spread of the moments' squares; they stay the same when all moments turn together
    """
    return np.asarray(_of_alike([frame], elements)[0])


def descriptors(frames: Sequence[Frame], elements: Sequence[str]) -> Floats:
    """Descriptors (C, D) of frames of the elements of a type map, which are chemical symbols."""
    numbers = [atomic_numbers[element] for element in elements]
    if not frames:
        return np.zeros((0, descriptor_length(len(numbers))))
    if any(frame.spins is not None for frame in frames):
        frames = [f if f.spins is not None else f.with_fields(spin=np.zeros((f.natoms, 3))) for f in frames]
    alike: dict[tuple[int, bool], list[int]] = {}
    for index, frame in enumerate(frames):
        alike.setdefault((frame.natoms, frame.pbc), []).append(index)
    block = max(1, min(MOST, COUNTS // (len(numbers) ** 2 * BINS)))
    parts = [members[start : start + block] for members in alike.values() for start in range(0, len(members), block)]
    made = np.concatenate([_of_alike([frames[index] for index in part], numbers) for part in parts])
    found = np.empty_like(made)
    found[np.concatenate(parts)] = made
    return found


def _of_alike(frames: Sequence[Frame], elements: Sequence[int]) -> Floats:
    """Descriptors (F, D) of frames that have as many atoms and the same boundaries, all with moments or none."""
    centers, size, natoms = np.linspace(1.0, CUTOFF, BINS), len(elements), frames[0].natoms
    types = _places(np.stack([frame.numbers for frame in frames]), elements)
    cells, spins = np.stack([frame.cell for frame in frames]), None
    if frames[0].spins is not None:
        spins = np.stack([frame.fields[SPIN] for frame in frames]) / MOMENT
    counts, products = np.zeros((len(frames) * size**2, BINS)), np.zeros((len(frames), BINS))
    positions = np.stack([frame.positions for frame in frames])
    for part, distances in pair_distances(positions, cells, frames[0].pbc, CUTOFF):
        frame, first, second, image = np.nonzero(distances < CUTOFF)
        distance = distances[frame, first, second, image]
        frame += part.start
        weight = 0.5 * (np.cos(np.pi * distance / CUTOFF) + 1)
        smeared = weight[:, None] * np.exp(-0.5 * ((distance[:, None] - centers) / WIDTH) ** 2)
        counts += _summed(smeared, (frame * size + types[frame, first]) * size + types[frame, second], len(counts))
        if spins is not None:
            dots = np.einsum("kx,kx->k", spins[frame, first], spins[frame, second])
            products += _summed(dots[:, None] * smeared, frame, len(frames))
    by_pair = counts.reshape(len(frames), size, size, BINS)
    one, other = np.triu_indices(size)
    pairs = by_pair[:, one, other] + np.where((one != other)[:, None], by_pair[:, other, one], 0.0)
    volumes = np.abs(np.linalg.det(cells)) / natoms if frames[0].pbc else np.zeros(len(frames))
    columns = [pairs.reshape(len(frames), -1) / natoms, volumes[:, None] / 10.0]
    if spins is not None:
        squares = (spins**2).sum(axis=2)
        columns += [products / natoms, np.stack([squares.mean(axis=1), squares.std(axis=1)], axis=1)]
    return np.concatenate(columns, axis=1)


def _places(numbers: Ints, elements: Sequence[int]) -> Ints:
    """Places (F, N) of atomic numbers (F, N) in the type map."""
    there, inverse = np.unique(numbers, return_inverse=True)
    place = {number: index for index, number in enumerate(elements)}
    found: Ints = np.array([place[int(number)] for number in there])[inverse].reshape(numbers.shape)
    return found


def _summed(values: Floats, groups: Ints, count: int) -> Floats:
    """Sums (G, BINS) of values (K, BINS) that belong to the same of `count` groups (K,)."""
    return np.stack([np.bincount(groups, column, count) for column in values.T], axis=1)


def farthest_points(candidates: Floats, known: Floats, limit: int) -> Ints:
    """Indices of at most `limit` candidates, each the farthest from all known and all picked before it.

    candidates (C, D), known (K, D). Without anything known the first pick is the one farthest from the mean.
    Ties go to the lower index, so the order of the candidates decides nothing else. Stops early when every candidate
    left coincides with one that is known or picked. (T. F. Gonzalez, Theor. Comput. Sci. 38, 293 (1985).)
    """
    picked: list[int] = []
    if not len(candidates):
        return np.array(picked, dtype=np.int64)
    nearest = _squared_to_nearest(candidates, known)
    coincide = 1e-14 * max(float((candidates**2).sum(axis=1).max()), 1e-300)
    for _ in range(min(limit, len(candidates))):
        best = int(np.argmax(nearest))
        if (picked or len(known)) and nearest[best] <= coincide:
            break
        squared = ((candidates - candidates[best]) ** 2).sum(axis=1)
        nearest = np.minimum(nearest, squared) if picked or len(known) else squared
        nearest[best] = -np.inf
        picked.append(best)
    return np.array(picked, dtype=np.int64)


def uncertain_and_far(candidates: Floats, known: Floats, error: Floats, limit: int) -> Ints:
    """Indices of at most `limit` candidates, each the one with the largest product of error and distance to all known
    and all picked before it.

    candidates (C, D), known (K, D), error (C,) in any unit. A picked frame takes away what its neighbours would have
    told: their distances shrink, so their products do. Ties go to the lower index; stops early when every candidate
    left coincides with one that is known or picked, or has no error.
    """
    if not len(candidates):
        return np.zeros(0, dtype=np.int64)
    nearest = np.sqrt(_squared_to_nearest(candidates, known))
    coincide = 1e-7 * max(float(np.sqrt((candidates**2).sum(axis=1).max())), 1e-150)
    picked: list[int] = []
    for _ in range(min(limit, len(candidates))):
        best = int(np.argmax(np.where(nearest > coincide, error * nearest, -np.inf)))
        if nearest[best] <= coincide or not error[best] > 0:
            break
        nearest = np.minimum(nearest, np.sqrt(((candidates - candidates[best]) ** 2).sum(axis=1)))
        nearest[best] = 0.0
        picked.append(best)
    return np.array(picked, dtype=np.int64)


def _squared_to_nearest(candidates: Floats, known: Floats) -> Floats:
    """Squared distance (C,) of each candidate to the nearest known point, or to the mean if none is known."""
    if not len(known):
        return np.asarray(((candidates - candidates.mean(axis=0)) ** 2).sum(axis=1))
    nearest = np.full(len(candidates), np.inf)
    lengths = (candidates**2).sum(axis=1)
    for start in range(0, len(known), 1000):
        block = known[start : start + 1000]
        squared = lengths[:, None] + (block**2).sum(axis=1)[None] - 2 * candidates @ block.T
        nearest = np.minimum(nearest, squared.min(axis=1))
    return np.asarray(np.maximum(nearest, 0.0))
