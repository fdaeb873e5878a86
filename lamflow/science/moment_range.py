"""Whether frames have magnetic moments unlike all those that models were trained on."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from lamflow.data import Frame

COLLINEAR = 1e-3
"""μB across the longest moment of a frame that rounding may leave."""
LONGER = 1.5
"""Times the longest moment of the training data."""


def beyond_trained(trained: Sequence[Frame], judged: Sequence[Frame]) -> str | None:
    """Why models trained on `trained` can say nothing of the moments of `judged`; None if they can, or neither has
    moments."""
    known = [frame for frame in trained if frame.spins is not None and frame.spins.any()]
    asked = [frame for frame in judged if frame.spins is not None]
    if not known or not asked:
        return None
    most, longest = (max(_longest(frame) for frame in frames) for frames in (known, asked))
    if longest > LONGER * most:
        return (
            f"there is a moment of {longest:.3g} μB, and the longest in the training data is {most:.3g} μB; train on "
            "longer ones, or take these frames out"
        )
    if all(_is_collinear(frame) for frame in known) and not all(_is_collinear(frame) for frame in asked):
        return (
            "moments point in several directions, and those of every training frame lie along one line: collinear "
            "labels say nothing of the forces that turn moments; add noncollinear ones"
        )
    return None


def _longest(frame: Frame) -> float:
    return float(np.linalg.norm(np.asarray(frame.spins), axis=1).max())


def _is_collinear(frame: Frame) -> bool:
    spins = np.asarray(frame.spins)
    longest = spins[np.linalg.norm(spins, axis=1).argmax()]
    length = np.linalg.norm(longest)
    return length == 0 or bool(np.linalg.norm(np.cross(spins, longest / length), axis=1).max() < COLLINEAR)
