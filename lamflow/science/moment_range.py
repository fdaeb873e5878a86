"""Whether frames have magnetic moments unlike all those that models were trained on."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from lamflow.data import Frame
from lamflow.data.frames import Floats
from lamflow.data.moments import TrainedMoments

Bools = NDArray[np.bool_]

COLLINEAR = 1e-3
"""μB across the longest moment of a frame that rounding may leave."""
LONGER = 1.5
"""Times the longest moment of the training data."""


def trained_moments(frames: Iterable[Frame]) -> TrainedMoments | None:
    """The moments of training data; None if no frame has any."""
    known = [frame.spins for frame in frames if frame.spins is not None and frame.spins.any()]
    if not known:
        return None
    longest = max(float(np.linalg.norm(spins, axis=-1).max()) for spins in known)
    return TrainedMoments(longest=longest, collinear=all(bool(are_collinear(spins[None])[0]) for spins in known))


def are_beyond(trained: TrainedMoments | None, spins: Floats | None) -> Bools:
    """Which of F frames have moments unlike those trained on, from their moments (F, N, 3) in μB; none where either is
    unknown."""
    if trained is None or spins is None:
        return np.zeros(0 if spins is None else len(spins), dtype=bool)
    longer = np.linalg.norm(spins, axis=-1).max(axis=-1, initial=0.0) > LONGER * trained.longest
    return np.asarray(longer | ~are_collinear(spins) if trained.collinear else longer)


def beyond_trained(trained: Sequence[Frame], judged: Sequence[Frame]) -> str | None:
    """Why models trained on `trained` can say nothing of the moments of `judged`; None if they can, or neither has
    moments."""
    known, asked = trained_moments(trained), [frame.spins for frame in judged if frame.spins is not None]
    if known is None or not asked:
        return None
    longest = max(float(np.linalg.norm(spins, axis=-1).max()) for spins in asked)
    if longest > LONGER * known.longest:
        return (
            f"there is a moment of {longest:.3g} μB, and the longest in the training data is {known.longest:.3g} μB; "
            "train on longer ones, or take these frames out"
        )
    if any(are_beyond(known, spins[None])[0] for spins in asked):
        return (
            "moments point in several directions, and those of every training frame lie along one line: collinear "
            "labels say nothing of the forces that turn moments; add noncollinear ones"
        )
    return None


def are_collinear(spins: Floats) -> Bools:
    """Whether the moments of each of F frames (F, N, 3) in μB lie along one line."""
    lengths = np.linalg.norm(spins, axis=-1)
    frames = np.arange(len(spins))
    longest = spins[frames, lengths.argmax(axis=1)]
    length = np.maximum(np.linalg.norm(longest, axis=-1, keepdims=True), COLLINEAR)
    across = np.linalg.norm(np.cross(spins, (longest / length)[:, None]), axis=-1)
    return np.asarray(across.max(axis=1) < COLLINEAR)
