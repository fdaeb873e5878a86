"""The features of labeled frames; see data/features.py."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lamflow.data.features import ELEMENTS, Features
from lamflow.data.frames import Floats, Ints, LabeledFrame
from lamflow.science.cleaning.asymmetry import forbidden_forces
from lamflow.science.cleaning.fingerprint import (
    digest,
    environments,
    histogram,
    is_connected,
    pairs_of,
    smallest_distance,
)
from lamflow.science.cleaning.trajectories import work
from lamflow.units import EV_PER_A3_IN_GPA


def features(labeled: Sequence[LabeledFrame], trajectory: Ints) -> Features:
    """Features of frames that follow each other in a file; trajectory (C,) tells which belong together."""
    counts = np.array([np.bincount(item.frame.numbers, minlength=ELEMENTS) for item in labeled], dtype=np.int32)
    formulas, formula = np.unique(counts.reshape(-1, ELEMENTS), axis=0, return_inverse=True)
    rows = [_row(item) for item in labeled]
    names = ("natoms", "energy", "force_max", "force_rms", "force_sum", "volume", "pressure", "distance")
    numbers = {name: np.array([row[0][place] for row in rows]) for place, name in enumerate(names)}
    works = np.full((len(labeled), 4), np.nan)
    for index in range(1, len(labeled)):
        if trajectory[index] == trajectory[index - 1]:
            found = work(labeled[index - 1], labeled[index])
            works[index] = np.nan if found is None else found
    return Features(
        formula=formula.reshape(-1), formulas=formulas,
        fingerprint=np.array([row[1] for row in rows]),
        environments=np.array([row[4][0] for row in rows]), slopes=np.array([row[4][1] for row in rows]),
        force_forbidden=_forbidden(labeled, np.isfinite(works[:, 0])),
        change=works[:, 0], force_work=works[:, 1], stress_work=works[:, 2], work_size=works[:, 3],
        digest=np.frombuffer(b"".join(row[2] for row in rows), dtype=np.uint64).reshape(-1, 2),
        state=np.array([row[5] for row in rows], dtype=np.uint64),
        label_digest=np.frombuffer(b"".join(row[3][:8] for row in rows), dtype=np.uint64),
        **{**numbers, "natoms": numbers["natoms"].astype(np.int64)},
    )  # fmt: skip


def _forbidden(labeled: Sequence[LabeledFrame], follows: NDArray[np.bool_]) -> Floats:
    """(C,) see `forbidden_forces`; a frame that follows one without symmetry is not asked for its own."""
    found = np.full(len(labeled), np.nan)
    for index, item in enumerate(labeled):
        if not follows[index] or np.isfinite(found[index - 1]):
            found[index] = forbidden_forces(item.frame, item.labels.forces)
    return found


def _row(item: LabeledFrame) -> tuple[tuple[float, ...], np.ndarray, bytes, bytes, Any, int]:
    frame, labels = item.frame, item.labels
    pairs = pairs_of(frame)
    volume = frame.volume if frame.pbc else np.nan
    pressure = np.nan if labels.virial is None or not frame.pbc else float(np.trace(labels.virial)) / (3 * volume)
    numbers = (
        frame.natoms, labels.energy / frame.natoms, float(np.sqrt((labels.forces**2).sum(axis=1).max())),
        float(np.sqrt((labels.forces**2).mean())), float(np.sqrt((labels.forces.sum(axis=0) ** 2).sum())),
        volume / frame.natoms, pressure * EV_PER_A3_IN_GPA, smallest_distance(frame.numbers, pairs),
    )  # fmt: skip
    fields = [np.atleast_1d(frame.fields[name]) for name in sorted(frame.fields)]
    content = digest(frame.numbers.astype(float), frame.positions, frame.cell, *fields)
    telling = content if not is_connected(frame.natoms, pairs) else digest(*fields) if fields else b""
    return (
        numbers, histogram(frame.numbers, pairs), content, digest(np.array([labels.energy]), labels.forces),
        environments(frame.numbers, pairs), int.from_bytes(telling[:8], "little"),
    )  # fmt: skip
