"""Calibrated windows: what labels say of scores, and what is decided by it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from lamflow.config import load
from lamflow.config.select import CalibratedWindow, Select
from lamflow.data.calibration import CalibrationPoint
from lamflow.data.dataset import Origin
from lamflow.data.results import AUDIT, Iteration
from lamflow.data.selected import Chosen, Selected
from lamflow.errors import InputError
from lamflow.policy.calibration import HeldoutPredictions, calibrated, heldout_points
from lamflow.policy.convergence import ConvergenceCriteria, next_action
from lamflow.policy.selection import _audits
from lamflow.policy.windows import window_rule
from tests.conftest import STUDY
from tests.policy.test_convergence import STATE
from tests.records import iteration

WINDOW = CalibratedWindow(rule="calibrated", error=0.3)
SEEN: dict[str, Any] = {
    "frames": 9, "accurate": 3, "candidates": 4, "failed": 2, "dropped": {}, "low": 0.1, "high": 1.0, "batches": 1,
    "decision": "label", "reason": "",
}  # fmt: skip


def points(count: int, seed: int, *, noise: float = 0.3, score: float | None = None) -> list[CalibrationPoint]:
    """Frames whose errors are three times their scores, give or take a factor."""
    rng = np.random.default_rng(seed)
    scores = rng.uniform(0.01, 0.3, count)
    errors = 3 * scores * np.exp(rng.normal(0, noise, count))
    given = scores if score is None else np.full(count, score)
    return [CalibrationPoint(deviation=s, error=e) for s, e in zip(given, errors, strict=True)]


def rounds(*parts: list[CalibrationPoint]) -> list[Iteration]:
    return [iteration(0), *(iteration(n, "label", calibration=part) for n, part in enumerate(parts, 1))]


def test_a_cold_start_is_said_and_every_frame_is_a_candidate() -> None:
    cold = calibrated(WINDOW, rounds(points(18, 1)))
    scores = np.array([0.001, 0.5, np.nan, np.inf])
    state = cold.state(scores)
    assert (state.basis, state.frames, state.needed, state.above) == ("nothing", 18, 19, None)
    assert "18 explored frames have labels, and 19 are needed" in state.words
    assert window_rule(WINDOW, cold).levels(scores).counts(scores) == (0, 2, 2)
    found = next_action(replace(STATE, calibration=state, accurate_fraction=1.0), CRITERIA)
    assert found.action == "label"
    assert "not calibrated" in found.reason


CRITERIA = ConvergenceCriteria(
    accurate=0.9, heldout_force_rmse=None, plateau=None, iterations=5, labels=100, error=0.3, risk=0.05
)


def test_held_out_frames_help_at_first_and_end_no_stage() -> None:
    begun = calibrated(WINDOW, rounds(points(5, 1)), points(40, 2))
    scores = np.full(100, 0.01)
    state = begun.state(scores)
    assert state.basis == "held-out data"
    assert state.above is not None
    assert state.above < 0.05
    assert 0 < window_rule(WINDOW, begun).levels(np.array([0.01, 0.5])).low < 0.3
    assert next_action(replace(STATE, calibration=state), CRITERIA).action == "label"


def test_labels_set_the_levels_and_end_a_stage() -> None:
    told = calibrated(WINDOW, rounds(points(30, 1), points(30, 2)), points(5, 3))
    scores = np.random.default_rng(5).uniform(0.001, 0.25, 500)
    state, window = told.state(scores), window_rule(WINDOW, told).levels(scores)
    assert state.basis == "labels"
    assert 0.03 < window.low < 0.1, "0.3 eV/Å of error is a score of 0.1, less what single frames differ by"
    assert state.above == pytest.approx(0.6, abs=0.1)
    assert next_action(replace(STATE, calibration=state), CRITERIA).action == "label"
    refused = told.state(scores / 10, refused=len(scores))
    assert refused.above == pytest.approx(0.5, abs=0.05), "nobody knows their errors"
    assert not next_action(replace(STATE, calibration=refused), CRITERIA).converged
    done = next_action(replace(STATE, calibration=told.state(scores / 10)), CRITERIA)
    assert done.action == "advance"
    assert "predicted to have an error above 0.3 eV/Å" in done.reason


@pytest.mark.parametrize("useless", [points(40, 1, score=0.2), points(40, 1, noise=20.0)], ids=["constant", "noise"])
def test_a_worthless_score_is_said(useless: list[CalibrationPoint]) -> None:
    told = calibrated(WINDOW, rounds(useless))
    assert told.worthless
    assert "the score is worthless and diversity decides" in told.state(np.array([0.1])).words
    scores = np.array([0.0, 0.1, 5.0, np.nan])
    assert window_rule(WINDOW, told).levels(scores).counts(scores) == (0, 3, 1)


@pytest.mark.parametrize(("held", "basis"), [(40, "held-out data"), (12, "nothing")])
def test_labels_of_models_whose_scores_meant_something_else_end_no_stage(held: int, basis: str) -> None:
    """The committee agrees ten times better than before, and is as wrong as before: what models without virials do."""
    past, scores = rounds(points(30, 1), points(30, 2)), np.full(160, 0.01)
    assert next_action(replace(STATE, calibration=calibrated(WINDOW, past).state(scores)), CRITERIA).action == "advance"
    agreeing = [p.model_copy(update={"deviation": p.deviation / 10}) for p in points(held, 3)]
    told = calibrated(WINDOW, past, agreeing)
    state = told.state(scores)
    assert state.basis == basis
    assert window_rule(WINDOW, told).levels(scores).counts(scores)[0] == 0, "no frame is called accurate"
    done = next_action(replace(STATE, calibration=state), CRITERIA)
    assert done.action == "label"
    assert "the labels of earlier models do not hold for those of today" in done.reason
    assert calibrated(WINDOW, past, points(held, 3)).basis == "labels", "as far as chance goes"


def test_what_was_stated_is_held_against_what_is_found() -> None:
    told = calibrated(WINDOW, rounds(points(60, 1)))
    check = told.check([*points(400, 2), CalibrationPoint(deviation=np.nan, error=1.0)])
    assert check is not None
    assert check.frames == 400
    assert check.above_bound / check.frames == pytest.approx(check.stated, abs=0.05)
    assert check.stated_above == pytest.approx(check.above, rel=0.2)
    assert calibrated(WINDOW, rounds()).check(points(5, 1)) is None


def test_held_out_frames_are_scored_by_the_committee() -> None:
    rng, natoms = np.random.default_rng(0), np.array([2, 3])
    true, bias, virial = rng.normal(size=15), rng.normal(size=15), np.full((2, 2, 3, 3), np.nan)
    models = [
        HeldoutPredictions(natoms, np.zeros((2, 2)), np.stack([true + sign * bias, true], axis=1), virial)
        for sign in (1, -0.5)
    ]
    first, second = heldout_points(Select(), models)
    assert first.deviation == pytest.approx(0.75 * np.linalg.norm(bias[:6].reshape(-1, 3), axis=1).max())
    assert second.error == pytest.approx(0.25 * np.linalg.norm(bias[6:].reshape(-1, 3), axis=1).max())
    assert heldout_points(Select(), models[:1]) == []


def test_jobs_send_accurate_frames_for_audits() -> None:
    told = calibrated(WINDOW, rounds(points(30, 1), points(30, 2)))
    rule, scores = window_rule(WINDOW, told), np.random.default_rng(5).uniform(0.001, 0.25, 500)
    sent, low = rule.preselect(scores, 50, 1), rule.levels(scores).low
    assert (scores[sent] >= low).sum() == 50
    assert (scores[sent] < low).sum() == 5


def test_small_batches_add_up_to_as_many_audits_as_large_ones() -> None:
    past: list[Iteration] = []
    found = []
    for number in range(10):
        found.append(_audits(0.1, 4, past))
        rules, origin = [AUDIT] * found[-1] + ["other"] * (4 - found[-1]), Origin(iteration=number, source="x")
        chosen = [Chosen(hash="x", natoms=1, group="0", rule=rule, origin=origin) for rule in rules]
        record: dict[str, Any] = {"selected": Selected.model_validate(SEEN | {"chosen": chosen})}
        past.append(iteration(number, **record))
    assert found == [0, 0, 1, 0, 1, 0, 0, 1, 0, 1]
    past = [it.model_copy(update={"selected": None if it.selected is None else it.selected.model_copy(update={
        "chosen": [one.model_copy(update={"rule": "other"}) for one in it.selected.chosen]
    })}) for it in past]  # fmt: skip
    assert _audits(0.1, 50, past) == 5, "what nobody could audit is not made up for"
    assert _audits(0.1, 100, []) == 10


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"risk": 0}, "greater than or equal to 0.001"),
        ({"error": 0}, r"error \(0 eV/Å\) must be above 0 and below unphysical"),
        ({"error": 20}, r"error \(20 eV/Å\) must be above 0 and below unphysical \(10 eV/Å\)"),
    ],
)
def test_impossible_settings_are_refused(change: dict[str, float], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        CalibratedWindow.model_validate({"rule": "calibrated", "error": 0.3} | change)


def test_a_budget_that_can_never_show_the_risk_is_refused(tmp_path: Path) -> None:
    text = STUDY.replace("rule: fixed, low: 0.001, high: 2.0", "rule: calibrated, error: 0.2, risk: 0.01")
    file = tmp_path / "few.yaml"
    file.write_text(text.replace("iterations: 2", "labels: 40"), encoding="utf-8")
    with pytest.raises(InputError, match="40 labels can never show that the risk is as small"):
        load(file)


ALLOWED = {"force_max": 0.3, "virial_max": 0.02}


def channel_points(count: int, seed: int, *, virial: str = "known") -> list[CalibrationPoint]:
    """As `points`, and virials whose errors are half their scores: known, those of noise, or without labels."""
    rng = np.random.default_rng([seed, 1])
    made = []
    for point in points(count, seed):
        score = float(rng.uniform(0.001, 0.1))
        error = 0.5 * score * float(np.exp(rng.normal(0, 0.3)))
        if virial == "noise":
            error = 0.01 * float(np.exp(rng.normal(0, 0.3)))
        scores = {"force_max": point.deviation, "virial_max": score}
        errors = {"force_max": point.error, **({} if virial == "unknown" else {"virial_max": error})}
        made.append(point.model_copy(update={"scores": scores, "errors": errors, "deviation": 99.0}))
    return made


def test_channels_share_one_risk_on_the_scale_of_the_window() -> None:
    told = calibrated(WINDOW, rounds(channel_points(60, 1), channel_points(60, 2)), (), ALLOWED)
    assert told.scale is not None
    assert told.scale.factor == pytest.approx([3.0, 0.5], rel=0.1)
    forces, virials = np.array([0.1, 0.01, 0.01, np.nan, 0.1]), np.array([0.01, 0.04, 0.01, 0.01, np.nan])
    scores = told.scale.scores(np.stack([forces, virials], axis=1))
    expected = [0.3, 0.3, 0.075, np.nan, 0.3]
    assert scores == pytest.approx(expected, rel=0.1, nan_ok=True), (
        "as errors of forces; isolated frames have no virial"
    )
    state = told.state(scores)
    assert set(state.channels) == set(ALLOWED)
    assert "rank correlation" in state.words
    assert "virial_max 0." in state.words
    new = channel_points(400, 3)
    check = told.check(new)
    assert check is not None
    forces_above, virials_above = (np.array([p.errors[name] > ALLOWED[name] for p in new]) for name in ALLOWED)
    assert check.channels == {"force_max": forces_above.sum(), "virial_max": virials_above.sum()}
    assert check.above == (forces_above | virials_above).sum(), "any of them is too many"
    assert check.above_bound / check.frames == pytest.approx(check.stated, abs=0.05)
    assert check.stated_above == pytest.approx(check.above, rel=0.2)


def test_a_channel_whose_score_says_nothing_counts_by_its_errors_alone() -> None:
    """Its errors are of half the size that is allowed: no frame is better than that, and none stands out."""
    told = calibrated(WINDOW, rounds(channel_points(60, 1, virial="noise")), (), ALLOWED)
    assert told.scale is not None
    assert told.map is not None
    assert told.state(np.array([0.1])).silent == ["virial_max"]
    assert "of virial_max it says nothing" in told.state(np.array([0.1])).words
    low, high = told.scale.scores(np.array([[0.01, 0.0], [0.01, 50.0]]))
    assert low == high == pytest.approx(0.03, rel=0.1)
    assert told.map.expected(np.array([0.005]))[0] == pytest.approx(0.15, rel=0.25)


def test_a_channel_without_labels_is_never_calibrated_and_that_is_said() -> None:
    cold = calibrated(WINDOW, rounds(channel_points(60, 1, virial="unknown")), (), ALLOWED)
    assert cold.map is None
    words = cold.state(np.array([0.1])).words
    assert words == "not calibrated: 0 explored frames have labels of force_max, virial_max, and 19 are needed"


def test_held_out_virials_are_scored_too() -> None:
    settings = Select.model_validate(
        {"window": {"rule": "calibrated", "error": 0.3}, "channels": [{"metric": "virial_max", "error": 0.02}]}
    )
    natoms, forces = np.array([2]), np.zeros((6, 2))
    virials = np.zeros((2, 1, 2, 3, 3))
    virials[0, 0, 0, 0, 1], virials[1, 0, 0, 0, 1] = 0.4, 0.8
    models = [HeldoutPredictions(natoms, np.zeros((1, 2)), forces, virial) for virial in virials]
    [point] = heldout_points(settings, models)
    assert point.scores["virial_max"] == pytest.approx(0.1)
    assert point.errors["virial_max"] == pytest.approx(0.3)
    assert settings.allowed == {"force_max": 0.3, "virial_max": 0.02}
