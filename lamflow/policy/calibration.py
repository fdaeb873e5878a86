"""Calibration: what the score of a frame says of the models' error, by frames that were labeled after it was given."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from lamflow.config.select import CalibratedWindow, Select, Window
from lamflow.data.calibration import CalibrationPoint, CalibrationState, RiskCheck
from lamflow.data.frames import Floats, Ints
from lamflow.data.results import Iteration, LabelOutcome
from lamflow.science.deviation import deviations
from lamflow.science.error_map import ErrorMap, KnownErrors, needed, rank_correlation

HALF_LIFE = 4.0
"""Times the frames that a risk needs: after so many newer ones a frame counts half."""
NEWEST = 2.0
"""Times the frames that a risk needs: over so many the rank correlation is taken."""


def calibration_points(
    outcomes: Iterable[LabelOutcome], audits: frozenset[str] = frozenset()
) -> list[CalibrationPoint]:
    """One point for each label whose frame had a deviation and whose error is known.

    audits  hashes of frames that were labeled although their scores said that they are accurate
    """
    return [
        CalibrationPoint(deviation=outcome.origin.deviation, error=outcome.error, audit=outcome.hash in audits)
        for outcome in outcomes
        if outcome.error is not None and outcome.origin.deviation is not None
    ]


@dataclass(frozen=True, eq=False)
class HeldoutPredictions:
    """What one model says of F held-out frames, and what is true.

    natoms  (F,)    atoms of each
    energy  (F, 2)  predicted and true, eV/atom
    force   (K, 2)  predicted and true components of all atoms, one frame after the other, eV/Å
    """

    natoms: Ints
    energy: Floats
    force: Floats


def heldout_points(settings: Select, models: Sequence[HeldoutPredictions]) -> list[CalibrationPoint]:
    """One point for each held-out frame, by the models of a committee; none for scores that need more than these."""
    if settings.score != "committee" or len(models) < 2:
        return []
    first = models[0]
    forces, points = np.stack([model.force[:, 0] for model in models]), []
    for number, end in enumerate(np.cumsum(3 * first.natoms)):
        part = slice(end - 3 * first.natoms[number], end)
        own, true = forces[:, part].reshape(len(models), 1, -1, 3), first.force[part, 1].reshape(-1, 3)
        energy = np.array([[model.energy[number, 0] * first.natoms[number]] for model in models])
        score = float(getattr(deviations(energy, own, None), settings.metric)[0])
        error = float(np.linalg.norm(own.mean(axis=0)[0] - true, axis=1).max())
        points.append(CalibrationPoint(deviation=score, error=error))
    return points


@dataclass(frozen=True, eq=False)
class Calibration:
    """What scores stand for, as far as it is known.

    map          None while there is no basis
    correlation  see CalibrationState
    """

    settings: CalibratedWindow
    basis: Literal["labels", "held-out data", "nothing"]
    frames: int
    correlation: float
    map: ErrorMap | None

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
        )  # fmt: skip

    def check(self, points: Sequence[CalibrationPoint]) -> RiskCheck | None:
        """What was stated of frames whose errors are known now; None where nothing was."""
        known = _known([points])
        if self.map is None or not len(known):
            return None
        error, risk = self.settings.error, self.settings.risk
        return RiskCheck(
            frames=len(known), stated=risk, above_bound=int((known.error > self.map.bound(known.score, risk)).sum()),
            stated_above=float(self.map.exceeds(known.score, error).sum()), above=int((known.error > error).sum()),
        )  # fmt: skip


def calibrated(
    settings: CalibratedWindow, past: Sequence[Iteration], heldout: Sequence[CalibrationPoint] = ()
) -> Calibration:
    """What scores stand for by the labels of earlier iterations; by held-out frames while these are too few."""
    wanted = needed(settings.risk)
    labels, held = _known([iteration.calibration for iteration in past]), _known([heldout])
    known, basis = (labels, "labels") if len(labels) >= wanted else (held, "held-out data")
    if len(known) < wanted:
        return Calibration(settings, "nothing", len(labels), float("nan"), None)
    correlation = rank_correlation(known, int(NEWEST * wanted))
    flat = not correlation >= settings.correlation
    fitted = ErrorMap.fitted(known, HALF_LIFE * wanted, flat=flat)
    return Calibration(settings, basis, len(known), correlation, fitted)  # type: ignore[arg-type]


def below_noise(window: Window, past: Sequence[Iteration]) -> str:
    """Why the errors that a calibrated window asks for cannot be told from noise of the labels; empty if they can."""
    noise = max((item.label_noise for item in past if item.label_noise is not None), default=0.0)
    if not isinstance(window, CalibratedWindow) or window.error >= noise:
        return ""
    return (
        f"select.window.error ({window.error:g} eV/Å) lies below the noise of the labels, {noise:.2g} eV/Å, for their "
        "forces do not add up to zero; give a larger error or tighter settings of the label engine"
    )


def _known(rounds: Sequence[Sequence[CalibrationPoint]]) -> KnownErrors:
    """What has a score and an error that are numbers."""
    rows = [(p.deviation, p.error, number) for number, points in enumerate(rounds) for p in points]
    table = np.array(rows, dtype=np.float64).reshape(-1, 3)
    table = table[np.isfinite(table).all(axis=1)]
    return KnownErrors(table[:, 0], table[:, 1], table[:, 2].astype(np.int64))
