"""Models that may go on, and the architecture that is chosen."""

from __future__ import annotations

import pytest

from lamflow.data.results import Errors, ModelResult, mean_force_rmse
from lamflow.policy.models import bad_models, chosen_variant, without_absurd


def model(index: int, rmse: float | None, failed: str | None = None) -> ModelResult:
    found = None if rmse is None else Errors(force_rmse=rmse, force_mae=0, force_size=1.0, energy_rmse=0, frames=1)
    return ModelResult(
        index=index, seed=1, data_hash="", training_frames=1, steps=1, seconds=1, errors=found, failed=failed
    )


def test_a_bad_model_is_named_with_its_reason() -> None:
    assert bad_models([model(n, 0.1) for n in range(4)]) == []
    good = [model(0, 0.1), model(1, 0.11), model(2, 0.12)]
    found = bad_models([*good, model(3, 1.5), model(4, None, "loss is nan"), model(5, 0.9)])
    assert [line[:14] for line in found] == ["model 4 of 6: ", "model 5 of 6: ", "model 6 of 6: "]
    assert "more than the 1 eV/Å of predicting no force" in found[0]
    assert "loss is nan" in found[1]
    assert "7.5 times the committee's median" in found[2]


@pytest.mark.parametrize("rmse", [7e152, float("nan"), float("inf"), 10.5])
def test_absurd_models_have_failed_and_nothing_is_chosen_by_them(rmse: float) -> None:
    marked = without_absurd([model(0, 0.1), model(1, rmse), model(2, None, "loss is nan")])
    assert without_absurd([model(0, 1.5)]) == [model(0, 1.5)], "poor is not absurd"
    assert [result.errors is not None for result in marked] == [True, False, False]
    assert marked[0].failed is None
    assert marked[1].failed
    assert marked[2].failed == "loss is nan"
    assert mean_force_rmse(marked) == pytest.approx(0.1)


def test_models_of_one_architecture_are_compared_with_each_other() -> None:
    small, large = [model(n, 0.6) for n in range(2)], [model(n, 0.05) for n in range(2, 6)]
    named = [result.model_copy(update={"variant": "small"}) for result in small]
    assert bad_models([*named, *large]) == []
    assert len(bad_models([*small, *large])) == 2


@pytest.mark.parametrize(("tolerance", "expected"), [(1.0, "exact"), (1.5, "middle"), (10.0, "fast")])
def test_the_fastest_that_is_good_enough_is_chosen(tolerance: float, expected: str) -> None:
    tried = [("exact", 0.1, 10.0), ("middle", 0.14, 50.0), ("fast", 0.3, 100.0), ("slow", 0.12, 5.0)]
    results = [
        model(n, rmse).model_copy(update={"variant": name, "speed": speed})
        for n, (name, rmse, speed) in enumerate(tried)
    ]
    assert chosen_variant(results, tolerance) == expected
    assert chosen_variant([model(0, 0.1)], tolerance) == ""
