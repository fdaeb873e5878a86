from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lamflow.data.calibration import PredictedGain
from lamflow.policy.convergence import ConvergenceCriteria, LoopState, next_action
from lamflow.policy.selection import _constant

CRITERIA = ConvergenceCriteria(accurate=0.9, heldout_force_rmse=0.05, plateau=None, iterations=5, labels=100)
STATE = LoopState(
    iteration=2, stage=0, stages=2, stage_iteration=1, stage_limit=None, accurate_fraction=0.5, candidates=10,
    force_rmse=[0.2, 0.1], labels=40,
)  # fmt: skip


@pytest.mark.parametrize(
    ("change", "action", "converged", "reason"),
    [
        ({}, "label", False, "50.0% accurate"),
        ({"accurate_fraction": 0.95}, "advance", False, "the stage has converged"),
        ({"accurate_fraction": 0.95, "stage": 1}, "label", False, "held-out force RMSE 0.1000 eV/Å (wanted 0.05 eV/Å)"),
        ({"accurate_fraction": 0.95, "stage": 1, "force_rmse": [0.2, 0.04]}, "stop", True, "converged"),
        ({"iteration": 5}, "stop", False, "budget of 5 iterations"),
        ({"labels": 100}, "stop", False, "budget of 100 labels"),
        ({"candidates": 0}, "advance", False, "nothing new"),
        ({"candidates": 0, "stage": 1}, "stop", False, "nothing new"),
        ({"stage": 1, "stage_limit": 1}, "stop", False, "the last stage has had its 1 iterations"),
        ({"iteration": 5, "accurate_fraction": 0.95, "stage": 1, "force_rmse": [0.04]}, "stop", True, "converged"),
    ],
)
def test_decisions(change: dict[str, object], action: str, converged: bool, reason: str) -> None:
    found = next_action(replace(STATE, **change), CRITERIA)  # type: ignore[arg-type]
    assert (found.action, found.converged) == (action, converged)
    assert reason in found.reason


def test_a_plateau_ends_a_stage() -> None:
    rules = replace(CRITERIA, plateau=2)
    assert next_action(replace(STATE, stage=1, force_rmse=[0.2, 0.1, 0.1, 0.099]), rules).action == "stop"
    assert next_action(replace(STATE, stage=1, force_rmse=[0.2, 0.1, 0.1, 0.05]), rules).action == "label"


def test_an_adaptive_window_is_done_when_its_level_has_settled() -> None:
    now = replace(STATE, accurate_fraction=0.99)
    assert next_action(replace(now, levels=[0.3]), CRITERIA).action == "label"
    assert next_action(replace(now, levels=[0.3, 0.2, 0.199]), CRITERIA).action == "label"
    assert next_action(replace(now, levels=[0.3, 0.2, 0.199, 0.198]), CRITERIA).action == "advance"


@given(
    st.builds(
        LoopState,
        iteration=st.integers(1, 9),
        stage=st.integers(0, 1),
        stages=st.just(2),
        stage_iteration=st.integers(1, 5),
        stage_limit=st.none() | st.integers(1, 4),
        accurate_fraction=st.floats(0, 1),
        candidates=st.integers(0, 5),
        force_rmse=st.lists(st.floats(0.01, 1), min_size=1, max_size=6),
        labels=st.integers(0, 120),
    )
)
def test_no_label_is_paid_for_beyond_the_budget(now: LoopState) -> None:
    found = next_action(now, CRITERIA)
    if now.iteration >= CRITERIA.iterations or now.labels >= (CRITERIA.labels or 0):
        assert found.action == "stop"
    if found.action == "label":
        assert now.candidates > 0
    assert found == next_action(now, CRITERIA)


def test_forgetting_ends_a_run_whatever_else_holds() -> None:
    now = replace(
        STATE, accurate_fraction=0.99, stage=1, force_rmse=[0.01], forgotten="the models forget Domains_Alloy: …"
    )
    found = next_action(now, CRITERIA)
    assert (found.action, found.converged) == ("stop", False)
    assert "forget Domains_Alloy" in found.reason


def test_students_are_done_when_their_own_trajectories_are_good() -> None:
    rules = replace(CRITERIA, trajectory_force_rmse=0.1, heldout_force_rmse=None)
    now = replace(STATE, accurate_fraction=0.99, stage=1, trajectory_rmse=0.2)
    assert next_action(now, rules).action == "label"
    found = next_action(replace(now, trajectory_rmse=0.05), rules)
    assert found.converged
    assert "on their own trajectories 0.0500 eV/Å (wanted 0.1 eV/Å)" in found.reason


def test_a_run_does_not_converge_before_its_gates_hold() -> None:
    good = replace(STATE, stage=1, accurate_fraction=0.95, force_rmse=[0.04], gates=2)
    assert next_action(good, CRITERIA).converged
    broken = replace(good, broken_gates=["copper eos B0: it is 9 % away"])
    found = next_action(broken, CRITERIA)
    assert (found.action, found.converged) == ("label", False)
    assert "1 of 2 gates hold, not copper eos B0: it is 9 % away" in found.reason
    stalled = replace(broken, force_rmse=[0.2, 0.1, 0.1, 0.099])
    assert next_action(stalled, replace(CRITERIA, plateau=2)).action == "label"
    settled = replace(broken, accurate_fraction=0.1, gain=PredictedGain(labels=30, expected=0.001, uncertainty=0.0))
    found = next_action(settled, replace(CRITERIA, gain=0.004))
    assert (found.action, found.converged) == ("label", False)
    assert "less than 0.004 eV/Å, 1 of 2 gates hold" in found.reason
    assert next_action(replace(settled, broken_gates=[]), replace(CRITERIA, gain=0.004)).converged
    assert next_action(replace(broken, stage=0), CRITERIA).action == "advance"


def test_frames_of_failed_properties_are_explored_before_a_run_gives_up() -> None:
    broken = replace(STATE, stage=1, candidates=0, gates=1, broken_gates=["one"])
    assert next_action(broken, CRITERIA).action == "stop"
    found = next_action(replace(broken, failed_starts=7), CRITERIA)
    assert (found.action, found.converged) == ("explore", False)
    assert "next, 7 frames of failed properties are explored" in found.reason


def test_what_filters_refuse_is_said_and_keeps_an_adaptive_window_from_settling() -> None:
    now = replace(STATE, levels=[0.1, 0.1, 0.1], explored=60, refused=56)
    found = next_action(now, CRITERIA)
    assert found.action == "label"
    assert "56 of 60 frames refused by select.filters" in found.reason
    assert next_action(replace(now, refused=20), CRITERIA).action == "advance"
    assert next_action(replace(now, refused=20, failed=40), CRITERIA).action == "label"


def test_a_score_that_tells_no_frames_apart_converges_nothing() -> None:
    same = replace(STATE, stage=1, accurate_fraction=1.0, force_rmse=[0.04], candidates=0, constant=0.0)
    for now in (same, replace(same, levels=[0.0, 0.0, 0.0])):
        found = next_action(now, CRITERIA)
        assert (found.action, found.converged) == ("stop", False)
        assert "the score is 0 for every frame, so it says nothing" in found.reason
    assert _constant(np.zeros(2)) == 0
    assert _constant(np.full(9, 0.1) + 1e-12) == pytest.approx(0.1)
    assert _constant(np.array([0.0, 0.1])) is None
    assert _constant(np.array([0.1])) is None


def test_a_gain_that_is_surely_small_ends_a_stage() -> None:
    rules, now = replace(CRITERIA, gain=0.004), replace(STATE, accurate_fraction=0.1)
    small = PredictedGain(labels=30, expected=0.002, uncertainty=0.0005)
    end = next_action(replace(now, gain=small), rules)
    assert end.action == "advance"
    assert "30 labels more would bring 0.002 ± 0.0005 eV/Å, less than 0.004 eV/Å" in end.reason
    assert next_action(replace(now, gain=small), CRITERIA).action == "label"
    for gain in (None, small.model_copy(update={"uncertainty": 0.002})):
        assert next_action(replace(now, gain=gain), rules).action == "label"
