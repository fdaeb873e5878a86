"""Windows, picks and limits."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from lamflow.config.select import AdaptiveWindow, FixedWindow, Select
from lamflow.policy.pick import PICK_RULES, Candidates, limited, sample
from lamflow.policy.windows import WINDOW_RULES, Window, window_rule

deviation_arrays = arrays(np.float64, st.integers(0, 60), elements=st.floats(0, 2) | st.just(np.nan))


@given(deviation_arrays, st.floats(0, 1), st.floats(0, 1))
def test_every_frame_is_accurate_candidate_or_failed(deviation: np.ndarray, low: float, width: float) -> None:
    window = Window(low, low + width)
    accurate, candidates, failed = window.counts(deviation)
    assert accurate + candidates + failed == len(deviation)
    assert failed >= np.isnan(deviation).sum()
    assert len(window.candidates(deviation)) == candidates


@given(deviation_arrays, st.floats(0.1, 2), st.integers(1, 20), st.floats(0, 0.5))
def test_an_adaptive_window_holds_as_many_as_wanted(
    deviation: np.ndarray, high: float, wanted: int, fraction: float
) -> None:
    settings = AdaptiveWindow(rule="adaptive", high=high, candidates=wanted, fraction=fraction)
    window = window_rule(settings).levels(deviation)
    found = window.candidates(deviation)
    below = int((deviation < high).sum())
    assert len(found) >= min(below, max(wanted, int(np.ceil(fraction * len(deviation)))))
    outside = np.setdiff1d(np.flatnonzero(deviation < high), found)
    if len(found) and len(outside):
        assert deviation[outside].max() < deviation[found].min()


@pytest.mark.parametrize("name", PICK_RULES)
def test_the_same_seed_picks_the_same(name: str) -> None:
    rng = np.random.default_rng(0)
    deviation, points = rng.uniform(size=50), rng.normal(size=(50, 4))
    candidates = Candidates(deviation, points, points[:3], deviation, np.ones(len(points)))
    first, again = (PICK_RULES[name](candidates, 10, 5) for _ in range(2))
    assert first.tolist() == again.tolist()
    assert len(set(first.tolist())) == 10


def test_limits_in_all_and_of_each_group() -> None:
    order, group = np.arange(10), np.array([0, 0, 0, 0, 0, 0, 1, 1, 1, 2])
    assert limited(order, group, 4, None).tolist() == [0, 1, 2, 3]
    assert limited(order, group, 9, 2).tolist() == [0, 1, 6, 7, 9]


def test_a_sample_is_seeded_and_sorted() -> None:
    drawn = sample(np.arange(100), 10, seed=1)
    assert drawn.tolist() == sample(np.arange(100), 10, seed=1).tolist()
    assert (np.diff(drawn) > 0).all()
    assert sample(np.arange(5), 10, seed=1).tolist() == [0, 1, 2, 3, 4]


@given(deviation_arrays, st.integers(1, 20), st.integers(0, 9))
def test_no_job_keeps_back_a_frame_that_would_be_a_candidate(deviation: np.ndarray, pool: int, seed: int) -> None:
    """With room enough; and never more than the room of a fixed window."""
    adaptive = AdaptiveWindow(rule="adaptive", high=1.5, candidates=5, fraction=0.0)
    for settings in (FixedWindow(low=0.2, high=1.5), adaptive):
        rule = window_rule(settings)
        candidates = rule.levels(deviation).candidates(deviation)
        sent = rule.preselect(deviation, len(deviation) + 1, seed)
        assert set(candidates) <= set(sent)
        assert len(window_rule(FixedWindow(low=0.2, high=1.5)).preselect(deviation, pool, seed)) <= pool
        assert (np.diff(sent) > 0).all()


def test_every_window_and_every_pick_that_a_file_may_name_has_its_rule() -> None:
    schema = Select.model_json_schema()
    assert set(schema["properties"]["pick"]["enum"]) == set(PICK_RULES)
    assert {"fixed", "adaptive", "calibrated"} == set(WINDOW_RULES)
    assert not window_rule(FixedWindow()).adapts
    assert window_rule(AdaptiveWindow(rule="adaptive")).levels_after(0.1, 0.7) == Window(0.1, 0.5)
