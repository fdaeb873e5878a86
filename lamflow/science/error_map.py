"""From the score of a frame to the error that it stands for, by frames whose score and error are both known.

The error that a score stands for is a geometric mean that grows with the score: isotonic regression of the errors'
logarithms (R. E. Barlow et al., Statistical Inference under Order Restrictions, Wiley, 1972) over bins of like scores.
How far single frames lie from it is told by frames that the regression has not seen: split conformal prediction, the
newer a frame the more it weighs (R. F. Barber et al., Ann. Stat. 51, 816 (2023)), so that what is said stays true
while models and explored frames change.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lamflow.data.frames import Floats, Ints

SMALLEST = 1e-6
"""eV/Å; smaller errors count as this one."""
BIN = 5
"""Frames that one value of the map stands on, at least."""
BINS = 20
FOLDS = 5
"""Parts of the frames of the first rounds, each judged by a map of the others."""


@dataclass(frozen=True, eq=False)
class KnownErrors:
    """C frames, the oldest first.

    score  (C,)  in any unit
    error  (C,)  largest error of the force on an atom, eV/Å
    round  (C,)  when they were labeled; grows
    """

    score: Floats
    error: Floats
    round: Ints

    def __len__(self) -> int:
        return len(self.score)

    def subset(self, frames: Ints) -> KnownErrors:
        """The frames with these indices."""
        return KnownErrors(self.score[frames], self.error[frames], self.round[frames])

    @property
    def newer(self) -> Ints:
        """(C,) how many frames are of later rounds."""
        return np.asarray(len(self) - np.searchsorted(self.round, self.round, side="right"))


@dataclass(frozen=True, eq=False)
class ErrorMap:
    """How large an error a score stands for.

    score     (K,)  grows; K = 1 for scores that say nothing
    value     (K,)  logarithm of the error in eV/Å that they stand for; never falls
    residual  (C,)  logarithms of true errors minus what the map says, ascending
    weight    (C,)  of the residuals; a frame of today has 1
    """

    score: Floats
    value: Floats
    residual: Floats
    weight: Floats

    @classmethod
    def fitted(cls, known: KnownErrors, half_life: float, *, flat: bool = False) -> ErrorMap:
        """From 10 frames at least; a frame weighs half as much when `half_life` newer ones are known.

        flat  the scores say nothing: they all stand for one error
        """
        weight = np.exp2(-known.newer / half_life)
        residual = _unseen(known, weight, flat)
        order = np.argsort(residual, kind="stable")
        return cls(*_regression(known.score, known.error, weight, flat), residual[order], weight[order])

    def expected(self, score: Floats) -> Floats:
        """Errors (F,) in eV/Å that scores (F,) stand for; beyond the largest known score they grow with it."""
        return np.asarray(np.exp(self._value(score)))

    def bound(self, score: Floats, risk: float) -> Floats:
        """Errors (F,) in eV/Å that frames stay below, each but for the probability `risk`.

        Infinite where too few frames are known for such a promise.
        """
        return np.asarray(np.exp(self._value(score) + self.quantile(risk)))

    def quantile(self, risk: float) -> float:
        """The residual that a new frame's exceeds with probability `risk` at most."""
        reached = np.cumsum(self.weight) >= (1 - risk) * (self.weight.sum() + 1) - 1e-9
        return float(self.residual[np.argmax(reached)]) if reached.any() else np.inf

    def exceeds(self, score: Floats, error: float) -> Floats:
        """Probabilities (F,), rounded up, that frames with these scores have larger errors; 1 for no number."""
        below = np.concatenate([[0.0], np.cumsum(self.weight)])
        beyond = np.log(error) - self._value(score)
        count = np.searchsorted(self.residual, np.where(np.isnan(beyond), -np.inf, beyond), side="right")
        return np.asarray(1 - below[count] / (below[-1] + 1))

    def level(self, error: float, risk: float) -> float:
        """The score below which frames stay below an error, each but for the probability `risk`."""
        return self._inverse(np.log(error) - self.quantile(risk))

    def expected_level(self, error: float) -> float:
        """The score that stands for this error."""
        return self._inverse(np.log(error))

    def _value(self, score: Floats) -> Floats:
        value = np.interp(score, self.score, self.value)
        if len(self.score) == 1:
            return np.where(np.isnan(score), np.nan, value)
        with np.errstate(divide="ignore", invalid="ignore"):
            beyond = np.log(np.maximum(score / self.score[-1], 1.0))
        return np.asarray(value + beyond)

    def _inverse(self, value: float) -> float:
        """The largest score that stands for at most this logarithm of an error: 0 for none, infinite for all."""
        if len(self.score) == 1:
            return float(np.inf if value >= self.value[0] else 0.0)
        if value >= self.value[-1]:
            return float(self.score[-1] * np.exp(value - self.value[-1]))
        upper = int(np.searchsorted(self.value, value, side="right"))
        if upper == 0:
            return 0.0
        low, high = self.value[upper - 1 : upper + 1]
        return float(np.interp((value - low) / (high - low), [0.0, 1.0], self.score[upper - 1 : upper + 1]))


def needed(risk: float) -> int:
    """Frames of today that a promise with this risk needs at least: ⌈1/risk⌉ - 1, and enough for a map."""
    return max(2 * FOLDS, int(np.ceil(1 / risk - 1e-9)) - 1)


def rank_correlation(known: KnownErrors, newest: int) -> float:
    """Spearman's, of scores and errors of the `newest` frames and others of their rounds; NaN for constant ones."""
    from scipy.stats import spearmanr

    recent = known.subset(np.flatnonzero(known.newer < newest))
    if len(recent) < 3 or not np.ptp(recent.score) or not np.ptp(recent.error):
        return float("nan")
    return float(spearmanr(recent.score, recent.error).statistic)


def _regression(score: Floats, error: Floats, weight: Floats, flat: bool) -> tuple[Floats, Floats]:
    """Mean scores (K,) of bins, and logarithms of errors (K,) that never fall from one to the next."""
    from scipy.optimize import isotonic_regression

    logarithm = np.log(np.maximum(error, SMALLEST))
    bins = 1 if flat else int(np.clip(len(score) // BIN, 1, BINS))
    parts = np.array_split(np.argsort(score, kind="stable"), bins)
    scores = np.array([np.average(score[part], weights=weight[part]) for part in parts])
    values = np.array([np.average(logarithm[part], weights=weight[part]) for part in parts])
    weights = np.array([weight[part].sum() for part in parts])
    scores, first = np.unique(scores, return_inverse=True)
    sums = np.bincount(first, weights)
    values = np.bincount(first, weights * values) / sums
    return scores, np.asarray(isotonic_regression(values, weights=sums).x)


def _unseen(known: KnownErrors, weight: Floats, flat: bool) -> Floats:
    """Residuals (C,) of frames against maps of earlier rounds; where these have too few frames, of the other folds."""
    first = known.round <= known.round[min(len(known), FOLDS * BIN) - 1]
    fold = np.zeros(len(known), dtype=np.int64)
    fold[np.argsort(known.score, kind="stable")] = np.arange(len(known)) % FOLDS
    residual = np.empty(len(known))
    logarithm = np.log(np.maximum(known.error, SMALLEST))
    parts = [(first & (fold == number), first & (fold != number)) for number in range(FOLDS)]
    parts += [(known.round == number, known.round < number) for number in np.unique(known.round[~first])]
    for unseen, seen in parts:
        fit = _regression(known.score[seen], known.error[seen], weight[seen], flat)
        residual[unseen] = logarithm[unseen] - ErrorMap(*fit, residual, weight)._value(known.score[unseen])
    return residual
