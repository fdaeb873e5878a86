"""Calibration: what the score of a frame says of the models' error, by frames that were labeled after it was given."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any, Literal

import numpy as np

from lamflow.config.select import CalibratedWindow, Select, Window
from lamflow.data import Deviations, Labels
from lamflow.data.calibration import CalibrationPoint, CalibrationState, RiskCheck
from lamflow.data.frames import Floats, Ints
from lamflow.data.results import Iteration, LabelOutcome
from lamflow.science.deviation import deviations, stacked, true_errors
from lamflow.science.error_map import ErrorMap, KnownErrors, needed, rank_correlation
from lamflow.science.error_scale import ErrorScale
from lamflow.science.relaxation import mean_labels

HALF_LIFE = 4.0
"""Times the frames that a risk needs: after so many newer ones a frame counts half."""
CHANCE = 0.01
"""Probability below which more errors of held-out frames than labels let expect are no chance."""
NEWEST = 2.0
"""Times the frames that a risk needs: over so many the rank correlation is taken."""


def calibration_points(
    outcomes: Iterable[LabelOutcome], audits: frozenset[str] = frozenset()
) -> list[CalibrationPoint]:
    """One point for each label whose frame had a deviation and whose error is known.

    audits  hashes of frames that were labeled although their scores said that they are accurate
    """
    return [
        CalibrationPoint(
            deviation=outcome.origin.deviation,
            error=outcome.error,
            audit=outcome.hash in audits,
            scores=outcome.origin.scores,
            errors=outcome.errors,
        )
        for outcome in outcomes
        if outcome.error is not None and outcome.origin.deviation is not None
    ]


@dataclass(frozen=True, eq=False)
class HeldoutPredictions:
    """What one model says of F held-out frames, and what is true.

    natoms  (F,)    atoms of each
    energy  (F, 2)  predicted and true, eV/atom
    force   (K, 2)  predicted and true components of all atoms, one frame after the other, eV/Å
    virial  (F, 2, 3, 3)  predicted and true, eV; NaN where either is missing
    """

    natoms: Ints
    energy: Floats
    force: Floats
    virial: Floats

    def labels(self, which: int) -> list[Labels]:
        """What is predicted (0) or true (1) of each frame."""
        forces = np.split(self.force[:, which].reshape(-1, 3), np.cumsum(self.natoms)[:-1])
        whole = zip(self.energy[:, which] * self.natoms, forces, self.virial[:, which], strict=True)
        return [
            Labels(float(energy), force, virial if np.isfinite(virial).all() else None)
            for energy, force, virial in whole
        ]


def heldout_points(settings: Select, models: Sequence[HeldoutPredictions]) -> list[CalibrationPoint]:
    """One point for each held-out frame, by the models of a committee; none for scores that need more than these."""
    if settings.score != "committee" or len(models) < 2:
        return []
    points, opinions = [], [model.labels(0) for model in models]
    for *predicted, true in zip(*opinions, models[0].labels(1), strict=True):
        found, mean = deviations(*stacked([[labels] for labels in predicted])), mean_labels(predicted)
        error = float(np.linalg.norm(mean.forces - true.forces, axis=1).max())
        points.append(
            CalibrationPoint(
                deviation=float(getattr(found, settings.metric)[0]), error=error,
                scores=known_values(found, settings.allowed), errors=channel_errors(mean, true, settings.allowed),
            )
        )  # fmt: skip
    return points


def channel_errors(predicted: Labels, true: Labels, metrics: Iterable[str]) -> dict[str, float]:
    """The error of a prediction in each of some metrics, as far as it is known."""
    return known_values(true_errors(*stacked([[predicted], [true]])), metrics)


def known_values(deviation: Deviations, metrics: Iterable[str]) -> dict[str, float]:
    """The values of one frame in each of some metrics that are numbers."""
    values = {metric: float(getattr(deviation, metric)[0]) for metric in metrics}
    return {metric: value for metric, value in values.items() if np.isfinite(value)}


@dataclass(frozen=True, eq=False)
class _Points:
    """C labeled frames, the oldest first: scores and errors (C, Q) of all quantities, and their rounds (C,)."""

    scores: Floats
    errors: Floats
    round: Ints

    @classmethod
    def of(cls, rounds: Sequence[Sequence[CalibrationPoint]], allowed: Mapping[str, float]) -> _Points:
        """Those of which all is a number; a quantity that has neither a score nor an error does not count."""
        names = list(allowed)

        def row(point: CalibrationPoint) -> tuple[list[float], list[float]]:
            if not names:
                return [point.deviation], [point.error]
            errors = {**point.errors, names[0]: point.error}
            return [point.scores.get(name, np.nan) for name in names], [errors.get(name, np.nan) for name in names]

        rows = [(*row(point), number) for number, points in enumerate(rounds) for point in points]
        scores, errors = (np.array([each[i] for each in rows], dtype=np.float64) for i in (0, 1))
        scores, errors = (values.reshape(len(rows), max(1, len(names))) for values in (scores, errors))
        told = np.isfinite(scores)
        whole = (told == np.isfinite(errors)).all(axis=1) & told[:, :1].any(axis=1)
        return cls(scores[whole], errors[whole], np.array([each[2] for each in rows], dtype=np.int64)[whole])

    def __len__(self) -> int:
        return len(self.round)

    def known(self, scale: ErrorScale | None) -> KnownErrors:
        """On one scale; the first quantity as it is without."""
        if scale is None:
            return KnownErrors(self.scores[:, :1].ravel(), self.errors[:, :1].ravel(), self.round)
        return KnownErrors(scale.scores(self.scores), scale.errors(self.errors, self.scores), self.round)

    def each(self) -> list[KnownErrors]:
        """By quantity: the frames that have it."""
        told = np.isfinite(self.scores)
        return [
            KnownErrors(self.scores[has, index], self.errors[has, index], self.round[has])
            for index, has in enumerate(told.T)
        ]


@dataclass(frozen=True, eq=False)
class Calibration:
    """What scores stand for, as far as it is known.

    map          None while there is no basis
    correlation  see CalibrationState
    allowed      see Select.allowed, and `scale` that puts these quantities on one; None without a basis or channels
    refutation   what held-out data of the models of today say against a map by labels, which does not count then
    """

    settings: CalibratedWindow
    basis: Literal["labels", "held-out data", "nothing"]
    frames: int
    correlation: float
    map: ErrorMap | None
    allowed: Mapping[str, float] = field(default_factory=dict)
    scale: ErrorScale | None = None
    refutation: RiskCheck | None = None

    @property
    def worthless(self) -> bool:
        """The score says too little of the error to count."""
        return self.map is not None and not self.correlation >= self.settings.correlation

    def state(self, score: Floats, refused: int = 0) -> CalibrationState:
        """The record, for the scores (F,) of all explored frames, and so many that filters refused: no one knows their
        errors, and they count as too large."""
        above = None
        if self.map is not None:
            exceeding = float(self.map.exceeds(score, self.settings.error).sum())
            above = (exceeding + refused) / (len(score) + refused) if len(score) + refused else float("nan")
        return CalibrationState(
            basis=self.basis, frames=self.frames, needed=needed(self.settings.risk), worthless=self.worthless,
            correlation=self.correlation if np.isfinite(self.correlation) else None, above=above,
            refuted="" if self.refutation is None else _refuted(self.refutation), **self._by_channel(),
        )  # fmt: skip

    def _by_channel(self) -> dict[str, Any]:
        if self.scale is None:
            return {"channels": dict.fromkeys(self.allowed)}
        each = dict(zip(self.allowed, self.scale.correlation.tolist(), strict=True))
        silent = [name for name, counts in zip(self.allowed, self.scale.counts, strict=True) if not counts]
        return {"channels": {name: v if np.isfinite(v) else None for name, v in each.items()}, "silent": silent}

    def check(self, points: Sequence[CalibrationPoint]) -> RiskCheck | None:
        """What was stated of frames whose errors are known now; None where nothing was."""
        rows = _Points.of([points], self.allowed)
        if self.map is None or not len(rows):
            return None
        known = rows.known(self.scale)
        above = (rows.errors > list(self.allowed.values())).sum(axis=0) if self.allowed else []
        error, risk = self.settings.error, self.settings.risk
        return RiskCheck(
            frames=len(known), stated=risk, above_bound=int((known.error > self.map.bound(known.score, risk)).sum()),
            stated_above=float(self.map.exceeds(known.score, error).sum()), above=int((known.error > error).sum()),
            channels=dict(zip(self.allowed, map(int, above), strict=True)),
        )  # fmt: skip


def calibrated(
    settings: CalibratedWindow, past: Sequence[Iteration], heldout: Sequence[CalibrationPoint] = (),
    allowed: Mapping[str, float] = MappingProxyType({}),
) -> Calibration:  # fmt: skip
    """What scores stand for by the labels of earlier iterations; by held-out frames while these are too few, and where
    the models of today are wrong in more of these than the labels, which others were judged by, let expect.

    allowed  see Select.allowed
    """
    wanted = needed(settings.risk)
    labels, held = (_Points.of(each, allowed) for each in ([iteration.calibration for iteration in past], [heldout]))
    refutation = None
    if len(labels) >= wanted:
        told = _by(settings, "labels", labels, allowed)
        check = told.check(heldout)
        if check is None or not _is_refuted(check):
            return told
        refutation = check
    if len(held) >= wanted:
        return replace(_by(settings, "held-out data", held, allowed), refutation=refutation)
    return Calibration(settings, "nothing", len(labels), float("nan"), None, allowed, refutation=refutation)


def _is_refuted(check: RiskCheck) -> bool:
    """More frames have too large an error than was stated, beyond chance."""
    from scipy.stats import binom

    return float(binom.sf(check.above - 1, check.frames, min(1.0, check.stated_above / check.frames))) < CHANCE


def _refuted(check: RiskCheck) -> str:
    return (
        f"the labels of earlier models do not hold for those of today: of {check.frames} held-out frames they say that "
        f"{check.stated_above:.1f} have too large an error, and {check.above} have"
    )


def _by(
    settings: CalibratedWindow, basis: Literal["labels", "held-out data"], points: _Points, allowed: Mapping[str, float]
) -> Calibration:
    """What scores stand for by these points, which are enough."""
    wanted = needed(settings.risk)
    newest, half_life, scale = int(NEWEST * wanted), HALF_LIFE * wanted, None
    if allowed:
        levels, least = list(allowed.values()), settings.correlation
        scale = ErrorScale.fitted(levels, points.each(), half_life=half_life, newest=newest, least=least)
    known = points.known(scale)
    correlation = rank_correlation(known, newest)
    fitted = ErrorMap.fitted(known, half_life, flat=not correlation >= settings.correlation)
    return Calibration(settings, basis, len(known), correlation, fitted, allowed, scale)


def below_noise(window: Window, past: Sequence[Iteration]) -> str:
    """Why the errors that a calibrated window asks for cannot be told from noise of the labels; empty if they can."""
    noise = max((item.label_noise for item in past if item.label_noise is not None), default=0.0)
    if not isinstance(window, CalibratedWindow) or window.error >= noise:
        return ""
    return (
        f"select.window.error ({window.error:g} eV/Å) lies below the noise of the labels, {noise:.2g} eV/Å, for their "
        "forces do not add up to zero; give a larger error or tighter settings of the label engine"
    )
