"""What a budget still pays."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from lamflow.config import load
from lamflow.config.learning import Budget, Config
from lamflow.config.pods import Pod
from lamflow.data.dataset import Origin
from lamflow.data.label_work import LabelCost
from lamflow.data.results import Cost, LabelOutcome, SimulationResult
from lamflow.policy.budgets import Purse, costs, label_costs
from lamflow.policy.calibration import below_noise
from lamflow.policy.convergence import next_action
from tests.policy.test_calibration import WINDOW
from tests.policy.test_convergence import CRITERIA, STATE
from tests.records import iteration, model


@pytest.fixture
def bounded(study: Path) -> Config:
    config = load(study)
    assert isinstance(config, Config)
    return config.model_copy(update={"budget": Budget(core_hours=10, wall=3)})


def simulation(seconds: float) -> SimulationResult:
    return SimulationResult(
        number=0, name="", group="0", structure="", start=0, condition={}, seed=1, frames=1, seconds=seconds
    )


def test_what_was_spent_counts_cores_and_no_cached_label(bounded: Config) -> None:
    pods = bounded.pods.model_copy(update={"explore": Pod(threads=4, gpus=2), "label": Pod(threads=8)})
    origin = Origin(iteration=1, source="a", step=0)
    labels = [LabelOutcome(hash="x", origin=origin, seconds=900.0, cached=cached) for cached in (False, True)]
    models = [model(seconds=3600.0), model(1, seconds=3600.0, reused=True)]
    assert costs(bounded.model_copy(update={"pods": pods}), models, [simulation(1800.0)], labels) == {
        "train": Cost(core_hours=1.0, gpu_hours=0.0), "explore": Cost(core_hours=2.0, gpu_hours=1.0),
        "label": Cost(core_hours=2.0, gpu_hours=0.0),
    }  # fmt: skip


def test_labels_are_bought_as_far_as_the_next_iteration_can_be_paid_too(bounded: Config) -> None:
    past = [iteration(0, costs={"label": Cost(core_hours=4.0, gpu_hours=0.0)}, seconds=1800.0)]
    purse = Purse.of(bounded, past, {"train": Cost(core_hours=1.0, gpu_hours=0.0)}, hours=0.5)
    assert purse.spent == {"core-hours": 5.0, "GPU-hours": 0.0, "hours": 1.0}
    hour = np.arange(3600.0, 36001.0, 3600.0)
    assert purse.labels(Pod(threads=1), hour, 10) == (3, ""), (
        "10 core-hours less 5 spent and 1.2 to learn from the labels"
    )
    assert purse.labels(Pod(threads=2), hour, 10) == (1, "")
    assert purse.labels(Pod(threads=1), hour, 1) == (1, ""), "3 hours less one, less 0.6 to learn from them"
    poor = replace(purse, spent={**purse.spent, "core-hours": 9.0})
    count, why = poor.labels(Pod(threads=1), hour, 10)
    assert count == 0
    assert why == (
        "the budget of 10 core-hours pays no further label: 9 are spent, learning from new labels would take about 1.2, "
        "and one label takes up to 1"
    )
    end = next_action(replace(STATE, no_labels=why, candidates=0), CRITERIA)
    assert (end.action, end.converged) == ("stop", False)
    assert "core-hours pays no further label" in end.reason


def test_the_budget_that_ends_a_run_is_the_one_that_is_named(bounded: Config) -> None:
    """One label of an hour on 8 cores fits into the wall time that is left, and not into the core-hours."""
    purse = Purse.of(bounded, [], {"train": Cost(core_hours=2.0, gpu_hours=0.0)}, hours=1.0)
    hour = np.array([3600.0])
    assert purse.labels(Pod(threads=8), hour, 1)[1].startswith("the budget of 10 core-hours pays no further label")
    late = replace(purse, spent={**purse.spent, "hours": 2.9})
    assert late.labels(Pod(threads=1), hour, 1)[1].startswith("the budget of 3 hours pays no further label")


def test_costs_are_learnt_from_all_iterations() -> None:
    past = [
        iteration(0, label_costs=[LabelCost(natoms=4, seconds=1.0), LabelCost(natoms=8, seconds=4.0)]),
        iteration(1, "label", label_costs=[LabelCost(natoms=16, seconds=16.0)]),
    ]
    costs = label_costs(past)
    assert costs is not None
    assert costs.exponent == pytest.approx(2.0, abs=0.15)
    assert label_costs(past[:1]) is None


def test_an_error_below_the_noise_of_the_labels_is_said() -> None:
    assert below_noise(WINDOW, [iteration(0, label_noise=0.01)]) == ""
    assert "(0.3 eV/Å) lies below the noise of the labels, 0.5 eV/Å" in below_noise(
        WINDOW, [iteration(0, label_noise=0.5)]
    )


def test_a_label_lasts_as_long_as_it_lasts_whatever_the_slots() -> None:
    purse = Purse({"hours": 48.0}, {"hours": 44.0}, {"hours": 2.5})
    assert purse.labels(Pod(), np.cumsum([36000.0] * 3), 12)[0] == 0, "10 hours do not fit in 1.5"
    assert purse.labels(Pod(), np.cumsum([3600.0] * 30), 12)[0] == 18, "1.5 hours of 12 labels at once"
