"""What a run will do, before it does anything."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from lamflow.config import load
from lamflow.config.schema import EvaluationStudy
from lamflow.data import Frame, LabeledFrame
from lamflow.data.io import write_extxyz
from lamflow.driver.plan import plan, planned_graph
from lamflow.engines.emt import Emt
from lamflow.engines.registry import evaluator
from lamflow.superops.capacity import ClusterCapacity
from tests.conftest import STUDY


def test_an_evaluation_is_planned_with_the_frames_that_it_will_have(copper: list[Frame], tmp_path: Path) -> None:
    frames = [Frame(one.numbers, one.positions + np.eye(8, 3) * 1e-3 * n, one.cell) for n in range(9) for one in copper]
    labels = evaluator(Emt()).evaluate(frames)
    labeled = [LabeledFrame(frame, found) for frame, found in zip(frames, labels, strict=True)]
    write_extxyz(tmp_path / "held.extxyz", labeled)
    head = STUDY.split("start:", maxsplit=1)[0].replace("copies: 10", "copies: 120")
    rest = "start: {label: [rattled]}\nheldout: {data: [held.extxyz]}\nlabel: {engine: emt}\nevaluate: {engine: emt}\n"
    (tmp_path / "study.yaml").write_text(f"workflow: evaluation\n{head}{rest}")
    study = load(tmp_path / "study.yaml", EvaluationStudy)
    planned = plan(study)
    assert (planned.data_frames, planned.start_labels) == (108, 120)
    assert planned.cluster["evaluate"] == 2
    assert planned_graph(study, 1, ClusterCapacity()).step("evaluate").work == 228
