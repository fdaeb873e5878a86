"""Calibration: what the selection said of frames that were labeled, and how wrong the models really were."""

from __future__ import annotations

from collections.abc import Iterable

from lamflow.data.results import CalibrationPoint, LabelOutcome


def calibration_points(outcomes: Iterable[LabelOutcome]) -> list[CalibrationPoint]:
    """One point for each label whose frame had a deviation and whose error is known."""
    return [
        CalibrationPoint(deviation=outcome.origin.deviation, error=outcome.error)
        for outcome in outcomes
        if outcome.error is not None and outcome.origin.deviation is not None
    ]
