"""Several quantities of a frame on one scale, so that one number says whether the frame is known well enough.

An error counts as a multiple of the one that its quantity may have; the largest of them is that of the frame. So one
risk holds for all quantities together. A score counts as the error that it stands for on average: one factor for each
quantity, which leaves the order of its scores as it is, and too little freedom to learn single frames by heart.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lamflow.data.frames import Floats
from lamflow.science.error_map import SMALLEST, KnownErrors, rank_correlation


@dataclass(frozen=True, eq=False)
class ErrorScale:
    """How C quantities are put on the scale of the first.

    allowed      (C,)  error that each may have, in its unit
    factor       (C,)  error that a score of one stands for
    correlation  (C,)  rank correlation of scores and errors; NaN where either is constant or unknown
    counts       (C,)  the scores of this quantity say something of its error
    """

    allowed: Floats
    factor: Floats
    correlation: Floats
    counts: NDArray[np.bool_]

    @classmethod
    def fitted(
        cls, allowed: Sequence[float], known: Sequence[KnownErrors], *, half_life: float, newest: int, least: float
    ) -> ErrorScale:
        """From the frames of which each quantity is known; a frame weighs half as much when `half_life` newer ones are.

        newest  frames over which the rank correlation is taken
        least   rank correlation below which scores say nothing
        """
        correlation = np.array([rank_correlation(each, newest) for each in known])
        factor = np.ones(len(allowed))
        for index, each in enumerate(known):
            if len(each):
                ratio = np.log(np.maximum(each.error, SMALLEST) / np.maximum(each.score, SMALLEST))
                factor[index] = np.exp(np.average(ratio, weights=np.exp2(-each.newer / half_life)))
        return cls(np.array(allowed), factor, correlation, correlation >= least)

    def scores(self, scores: Floats) -> Floats:
        """The score (F,) of frames by those of their quantities (F, C), as an error of the first quantity.

        Quantities whose scores say nothing do not count, nor do those that a frame does not have (the virial of an
        isolated one); where none is left, the first one does. Without the first there is no number.
        """
        each = scores * self.factor / self.allowed * self.allowed[0]
        counts = self.counts & ~np.isnan(scores)
        largest = np.where(counts, each, -np.inf).max(axis=1)
        first = each[:, 0]
        return np.asarray(np.where(counts.any(axis=1) & ~np.isnan(first), largest, first))

    def errors(self, errors: Floats, scores: Floats) -> Floats:
        """The error (F,) of frames by those of their quantities (F, C); no number where one with a score is unknown."""
        missing = np.isnan(scores) & np.isnan(errors)
        missing[:, 0] = False
        return np.asarray(np.where(missing, 0.0, errors / self.allowed * self.allowed[0]).max(axis=1))
