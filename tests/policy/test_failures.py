"""How much may fail, and where a ramp goes back to instead of giving up; calibration."""

from __future__ import annotations

import numpy as np
import pytest

from lamflow.config import parse
from lamflow.config.learning import Config
from lamflow.config.select import Select
from lamflow.data import Frame, Trajectory
from lamflow.data.dataset import Origin
from lamflow.data.explored import ExploredFrames
from lamflow.data.results import LabelOutcome, SimulationResult
from lamflow.errors import EngineError
from lamflow.policy.calibration import calibration_points
from lamflow.policy.committee import ScoredFrames, pack_candidates
from lamflow.policy.failures import exploration_failed, failed_labels, refuse_nothing
from lamflow.policy.ramps import step_back
from tests.conftest import STUDY


def result(number: int, frames: int, failed: str | None = None) -> SimulationResult:
    return SimulationResult(
        number=number, name=f"task {number}", group="0", structure="x", start=0, condition={}, seed=1, frames=frames,
        failed=failed, log="the end of a log" if failed else "",
    )  # fmt: skip


def outcome(deviation: float | None, error: float | None, failed: str | None = None) -> LabelOutcome:
    origin = Origin(iteration=1, source="md", step=5, deviation=deviation)
    return LabelOutcome(hash="x", origin=origin, error=error, failed=failed, log="its log" if failed else "")


@pytest.fixture
def study() -> Config:
    return parse(STUDY)


def explored(study: Config, copper: list[Frame], frames: int) -> list[ExploredFrames]:
    steps = Trajectory.of(copper[:1] * max(1, frames), list(range(max(1, frames)))).subset(np.arange(frames))
    scored = ScoredFrames(0, steps, np.zeros((frames, 8, 3)), np.full(frames, 0.5), np.full(frames, np.nan))
    return [pack_candidates(study, [scored], 1)]


def test_some_simulations_may_fail_and_more_may_not(study: Config, copper: list[Frame]) -> None:
    frames = explored(study, copper, 3)
    results = {0: result(0, 3), 1: result(1, 0, "it broke"), 2: result(2, 0, "it broke")}
    assert exploration_failed(Select(max_failed=0.7), results, frames) is None
    problem = exploration_failed(Select(max_failed=0.5), results, frames)
    assert problem is not None
    assert problem.startswith("2 of 3 simulations failed (select.max_failed is 0.5)")
    assert "task 1: the end of a log" in problem


def test_no_frame_at_all_is_a_failure(study: Config, copper: list[Frame]) -> None:
    problem = exploration_failed(Select(max_failed=1.0), {0: result(0, 0)}, explored(study, copper, 0))
    assert problem is not None
    assert problem.startswith("no frame passed the filters")


def test_a_ramp_goes_back_and_the_first_level_has_nowhere_to_go() -> None:
    text = STUDY.replace("temperatures: [300, 900]", "temperatures: [300, 600, 900], ramp: {}")
    [stage] = parse(text).stages
    results = {0: result(0, 0, "it broke")}
    assert step_back(stage, [0], results) is None
    decision = step_back(stage, [2], results)
    assert decision is not None
    assert decision.decision == "ramp"
    assert "a temperature ramp at 900 K goes back to 600 K" in decision.reason
    assert decision.groups[0].temperature == 900


def test_labels_that_failed_are_counted_until_they_are_too_many(study: Config) -> None:
    good = [outcome(0.1, 0.2)] * 4
    assert len(failed_labels(study, [*good, outcome(0.1, None, "no convergence")])) == 1
    with pytest.raises(EngineError, match=r"(?s)2 of 6 labels failed, more than budget.failed_labels \(0.2\).*its log"):
        failed_labels(study, [*good, *[outcome(0.1, None, "no convergence")] * 2])


def test_calibration_needs_a_deviation_and_an_error() -> None:
    points = calibration_points(
        [outcome(0.1, 0.3), outcome(None, 0.3), outcome(0.1, None, "failed"), outcome(0.2, 0.1)]
    )
    assert [(point.deviation, point.error) for point in points] == [(0.1, 0.3), (0.2, 0.1)]


def test_a_start_whose_labels_all_failed_says_so() -> None:
    failed = [outcome(0.1, None, "no convergence")] * 2
    refuse_nothing(failed, 1)
    refuse_nothing([], 0)
    with pytest.raises(EngineError, match=r"(?s)nothing to train on: all 2 labels failed.*no convergence"):
        refuse_nothing(failed, 0)
