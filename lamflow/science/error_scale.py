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
    factor       (C,)  error that a score of one stands for; 0 where scores say nothing
    typical      (C,)  error where scores say nothing, in the unit of the quantity; 0 where they count
    correlation  (C,)  rank correlation of scores and errors; NaN where either is constant or unknown
    """

    allowed: Floats
    factor: Floats
    typical: Floats
    correlation: Floats

    @classmethod
    def fitted(
        cls, allowed: Sequence[float], known: Sequence[KnownErrors], *, half_life: float, newest: int, least: float
    ) -> ErrorScale:
        """From the frames of which each quantity is known; a frame weighs half as much when `half_life` newer ones are.

        newest  frames over which the rank correlation is taken
        least   rank correlation below which scores say nothing: all frames count as those of a geometric mean
        """
        correlation = np.array([rank_correlation(each, newest) for each in known])
        factor, typical = np.zeros(len(allowed)), np.zeros(len(allowed))
        for index, each in enumerate(known):
            weight, error = np.exp2(-each.newer / half_life), np.log(np.maximum(each.error, SMALLEST))
            if not len(each):  # nobody knows: as if it were just too large
                typical[index] = allowed[index]
            elif correlation[index] >= least:
                ratio = error - np.log(np.maximum(each.score, SMALLEST))
                factor[index] = np.exp(np.average(ratio, weights=weight))
            else:
                typical[index] = np.exp(np.average(error, weights=weight))
        return cls(np.array(allowed), factor, typical, correlation)

    def scores(self, scores: Floats) -> Floats:
        """The score (F,) of frames by those of their quantities (F, C), as an error of the first quantity.

        A quantity that a frame does not have (the virial of an isolated one) does not count; without the first there is
        no number.
        """
        count = self.factor > 0
        each = np.where(count, self.factor * np.where(count, scores, 0.0), self.typical)
        return self._largest(np.where(np.isnan(scores), np.nan, each), np.isnan(scores[:, 1:]))

    def errors(self, errors: Floats, scores: Floats) -> Floats:
        """The error (F,) of frames by those of their quantities (F, C); no number where one with a score is unknown."""
        return self._largest(errors, np.isnan(scores[:, 1:]) & np.isnan(errors[:, 1:]))

    def _largest(self, values: Floats, missing: NDArray[np.bool_]) -> Floats:
        """The largest multiple of what is allowed, (F,) times that of the first quantity, without what is missing."""
        multiple = values / self.allowed
        multiple[:, 1:][missing] = 0.0
        return np.asarray(multiple.max(axis=1) * self.allowed[0])
