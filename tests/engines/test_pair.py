from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from lamflow.data import Frame, LabeledFrame
from lamflow.data.dataset import Item, Origin, systems, write_dataset
from lamflow.engines.emt import Emt
from lamflow.engines.pair import PairTraining
from lamflow.engines.protocol import TrainingJob
from lamflow.engines.registry import evaluator, trainer
from lamflow.science.metrics import errors


@pytest.fixture
def task(copper: list[Frame], tmp_path: Path) -> TrainingJob:
    labels = evaluator(Emt()).evaluate(copper)
    items = [
        Item(LabeledFrame(frame, label), Origin(iteration=0, source=str(n)))
        for n, (frame, label) in enumerate(zip(copper, labels, strict=True))
    ]
    write_dataset(tmp_path / "data", items, ["Cu"], "deepmd/npy")
    return TrainingJob(
        systems=tuple(systems(tmp_path / "data")), elements=("Cu",), seed=1, previous=None,
        output=tmp_path / "model", scratch=tmp_path / "scratch",
    )  # fmt: skip


def test_it_learns(task: TrainingJob, copper: list[Frame]) -> None:
    made = trainer(PairTraining(engine="pair"))
    made.train(task, lambda fraction: None)
    truth = evaluator(Emt()).evaluate(copper)
    found = errors(made.load(task.output).evaluate(copper), truth)
    assert found.force_rmse < 0.25 * found.force_size
    assert np.isfinite(found.energy_rmse)
