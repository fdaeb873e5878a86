"""What more labels would bring, by the learning curve so far.

Errors fall as a power of the number of labels (C. Cortes et al., NIPS 6, 327 (1993)): a line through logarithms, with
the uncertainty of least squares.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from lamflow.data.frames import Floats

FEWEST = 3
"""Points that a line with an uncertainty needs."""
NEWEST = 8
"""Points that count: early ones may be of another regime."""
SCATTER = 0.02
"""Relative scatter of an error from one training to the next, at least."""


class Gain(NamedTuple):
    """By how much an error will fall, and the standard error of that, in the error's unit."""

    expected: float
    uncertainty: float


def expected_gain(frames: Floats, error: Floats, more: int) -> Gain | None:
    """What so many `more` frames bring, by errors (C,) of trainings on numbers of frames (C,), the newest last.

    None where too few different numbers of frames were trained on, or an error is not a positive number.
    """
    x, y = np.asarray(frames[-NEWEST:], dtype=np.float64), np.asarray(error[-NEWEST:], dtype=np.float64)
    good = np.isfinite(y) & (y > 0) & (x > 0)
    x, y = x[good], y[good]
    if len(np.unique(x)) < FEWEST or more <= 0:
        return None
    position, level = np.log(x), np.log(y)
    center = position.mean()
    spread = float(((position - center) ** 2).sum())
    slope = float((position - center) @ (level - level.mean()) / spread)
    left = level - level.mean() - slope * (position - center)
    scatter = max(SCATTER, float(np.sqrt(left @ left / (len(x) - 2))))
    now = float(np.exp(level.mean() + slope * (position[-1] - center)))
    step = float(np.log1p(more / x[-1]))
    return Gain(now * -float(np.expm1(slope * step)), now * float(np.exp(slope * step)) * step * scatter / spread**0.5)
