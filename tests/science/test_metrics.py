from __future__ import annotations

import numpy as np
import pytest

from lamflow.data import Labels
from lamflow.data.results import Errors, ModelResult
from lamflow.science.metrics import bad_models, errors


def labels(energy: float, force: float) -> Labels:
    return Labels(energy, np.full((4, 3), force), np.eye(3) * energy)


def test_errors_are_what_they_say() -> None:
    found = errors([labels(1.0, 0.5), labels(2.0, 0.5)], [labels(1.4, 0.3), labels(2.4, 0.3)])
    assert found.force_rmse == pytest.approx(0.2)
    assert found.force_mae == pytest.approx(0.2)
    assert found.force_size == pytest.approx(0.3)
    assert found.energy_rmse == pytest.approx(0.1)
    assert found.virial_rmse == pytest.approx(0.1 * np.sqrt(1 / 3))
    with pytest.raises(ValueError, match="no frame"):
        errors([], [])


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
