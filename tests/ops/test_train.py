"""What is said of a trained model."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from lamflow.config import parse
from lamflow.data import Frame, LabeledFrame, Labels
from lamflow.data.dataset import Item, Origin
from lamflow.data.results import ModelResult
from lamflow.ops.train import _judged
from tests import records
from tests.conftest import STUDY


@pytest.mark.parametrize("broken", ["energy", "forces", "virial"])
def test_predictions_that_are_not_finite_make_a_model_bad(broken: str, copper: list[Frame], tmp_path: Path) -> None:
    frame = copper[0]
    good: dict[str, Any] = {"energy": 1.0, "forces": np.ones((frame.natoms, 3)), "virial": np.eye(3)}
    predicted = Labels(**{**good, broken: good[broken] + np.inf})
    fake = SimpleNamespace(evaluate=lambda frames: [predicted for _ in frames])
    trainer, job = SimpleNamespace(load=lambda *_: fake), SimpleNamespace(output=tmp_path)
    items = {"": [Item(LabeledFrame(frame, Labels(**good)), Origin(iteration=0, source="x"))]}
    with np.errstate(invalid="ignore"):
        found = _judged(parse(STUDY), cast(Any, trainer), cast(Any, job), items, records.model())
    assert found.failed == "its predictions on the held-out data are not finite"
    found.save(tmp_path / "model.json")
    assert ModelResult.read(tmp_path / "model.json") == found
