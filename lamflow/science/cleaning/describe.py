"""The features of labeled frames; see data/features.py."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lamflow.data.features import ELEMENTS, Features
from lamflow.data.frames import Floats, Frame, Ints, LabeledFrame
from lamflow.science.cleaning.asymmetry import forbidden_forces
from lamflow.science.cleaning.fingerprint import Pairs, connected, digest, environments, histograms, smallest_distances
from lamflow.science.cleaning.trajectories import work
from lamflow.units import EV_PER_A3_IN_GPA

BLOCK = 10_000
"""Atoms whose neighbours are looked at together."""


def features(labeled: Sequence[LabeledFrame], trajectory: Ints) -> Features:
    """Features of frames that follow each other in a file; trajectory (C,) tells which belong together."""
    counts = np.array([np.bincount(item.frame.numbers, minlength=ELEMENTS) for item in labeled], dtype=np.int32)
    formulas, formula = np.unique(counts.reshape(-1, ELEMENTS), axis=0, return_inverse=True)
    works = np.full((len(labeled), 4), np.nan)
    for index in range(1, len(labeled)):
        if trajectory[index] == trajectory[index - 1]:
            found = work(labeled[index - 1], labeled[index])
            works[index] = np.nan if found is None else found
    blocks = [_columns(labeled[rows]) for rows in _blocks(counts.sum(axis=1))]
    return Features(
        formula=formula.reshape(-1), formulas=formulas, natoms=counts.sum(axis=1).astype(np.int64),
        force_forbidden=_forbidden(labeled, np.isfinite(works[:, 0])),
        change=works[:, 0], force_work=works[:, 1], stress_work=works[:, 2], work_size=works[:, 3],
        **{name: np.concatenate([block[name] for block in blocks]) for name in blocks[0]},
    )  # fmt: skip


def _blocks(natoms: Ints) -> list[slice]:
    """Frames that follow each other, of about BLOCK atoms together."""
    number = np.cumsum(natoms) // BLOCK
    edges = [0, *(np.flatnonzero(np.diff(number)) + 1), len(natoms)]
    return [slice(int(start), int(end)) for start, end in pairwise(edges)]


def _columns(labeled: Sequence[LabeledFrame]) -> dict[str, Any]:
    """Features of frames that need no other frame, by their names."""
    frames, labels = [item.frame for item in labeled], [item.labels for item in labeled]
    pairs = Pairs.of(frames)
    natoms, starts = pairs.natoms, np.cumsum(pairs.natoms) - pairs.natoms
    forces = np.concatenate([item.forces for item in labels])
    squares = (forces**2).sum(axis=1)
    volume = np.array([frame.volume if frame.pbc else np.nan for frame in frames])
    trace = np.array([np.nan if item.virial is None else float(np.trace(item.virial)) for item in labels])
    contents, states = zip(*map(_digests, frames, connected(pairs)), strict=True)
    surroundings, slopes = environments(pairs)
    return {
        "energy": np.array([item.energy for item in labels]) / natoms,
        "force_max": np.sqrt(np.maximum.reduceat(squares, starts)),
        "force_rms": np.sqrt(np.add.reduceat(squares, starts) / (3 * natoms)),
        "force_sum": np.linalg.norm(np.add.reduceat(forces, starts), axis=1),
        "volume": volume / natoms, "pressure": trace / (3 * volume) * EV_PER_A3_IN_GPA,
        "distance": smallest_distances(pairs), "fingerprint": histograms(pairs),
        "environments": surroundings, "slopes": slopes,
        "digest": np.frombuffer(b"".join(contents), dtype=np.uint64).reshape(-1, 2),
        "state": np.array(states, dtype=np.uint64),
        "label_digest": np.array([
            int.from_bytes(digest(np.array([item.energy]), item.forces)[:8], "little") for item in labels
        ], dtype=np.uint64),
    }  # fmt: skip


def _digests(frame: Frame, whole: bool) -> tuple[bytes, int]:
    """Hash of a structure, and of what the surroundings of its atoms do not tell; whole: its atoms hang together."""
    fields = [np.atleast_1d(frame.fields[name]) for name in sorted(frame.fields)]
    content = digest(frame.numbers.astype(float), frame.positions, frame.cell, *fields)
    telling = content if not whole else digest(*fields) if fields else b""
    return content, int.from_bytes(telling[:8], "little")


def _forbidden(labeled: Sequence[LabeledFrame], follows: NDArray[np.bool_]) -> Floats:
    """(C,) see `forbidden_forces`; a frame that follows one without symmetry is not asked for its own."""
    found = np.full(len(labeled), np.nan)
    for index, item in enumerate(labeled):
        if not follows[index] or np.isfinite(found[index - 1]):
            found[index] = forbidden_forces(item.frame, item.labels.forces)
    return found
