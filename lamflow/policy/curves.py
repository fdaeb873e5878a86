"""Learning curves: how many frames each point has, which come next, and how many are enough."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from lamflow.config.cleaning import LearningCurve
from lamflow.data.cleaning import ZERO_SHOT, CurvePoint
from lamflow.data.frames import Floats, Ints

LINES = ("all", "worst", "random")
"""What models are trained on: all frames; a few at random, then those that the model before knew worst; or random
ones, as many."""


def sizes(fractions: Sequence[float], frames: int) -> list[int]:
    """Frames of each point, growing; a point that would have no more than the one before is left out."""
    return sorted({min(frames, max(1, round(fraction * frames))) for fraction in fractions})


def worst_first(errors: Floats) -> Ints:
    """Numbers of frames by error, the largest first; those of equal error in their order."""
    return np.argsort(-errors, kind="stable")


def enough(points: Sequence[CurvePoint], head: str, settings: LearningCurve) -> CurvePoint | None:
    """The point with the fewest frames whose error is at most `target` times that of all frames; None without one.

    Of points with as many frames the better one, and of equals the worst ones' before the random ones'.
    """
    mine = [point for point in points if point.head == head]
    full = next((point for point in mine if point.line == "all"), None)
    if full is None:
        return None
    limit = settings.target * getattr(full, settings.metric)
    good = [p for p in mine if p.line in ("worst", "random") and getattr(p, settings.metric) <= limit]
    order = {line: place for place, line in enumerate(LINES)}
    return min(good, key=lambda p: (p.frames, getattr(p, settings.metric), order[p.line]), default=None)


def words(points: Sequence[CurvePoint], head: str, settings: LearningCurve, chosen: CurvePoint | None) -> str:
    """What the curve of a head has come to."""
    full = next((point for point in points if (point.head, point.line) == (head, "all")), None)
    if full is None:
        return f"{head}: it has no learning curve, for nothing of it is held out or it has one frame; all frames stay"
    unit = "eV/Å" if settings.metric == "force_rmse" else "eV/atom"
    best = f"a model of all {full.frames} frames has {settings.metric} {getattr(full, settings.metric):.4g} {unit}"
    before = next((point for point in points if (point.head, point.line) == (head, ZERO_SHOT)), None)
    best += f", the pre-trained one {getattr(before, settings.metric):.4g}" if before is not None else ""
    if chosen is None:
        return f"{head}: no point of the learning curve comes within {settings.target:g} times; {best}; all frames stay"
    other = next(
        (
            p
            for p in points
            if p.head == head and p.frames == chosen.frames and p.line in LINES[1:] and p.line != chosen.line
        ),
        None,
    )
    beside = f", the {other.line} ones {getattr(other, settings.metric):.4g}" if other is not None else ""
    own = f"{chosen.frames} {chosen.line} frames are enough: {getattr(chosen, settings.metric):.4g} {unit}{beside}"
    return f"{head}: {own}; {best}"
