"""A converted study is a study of its new kind by that kind's own rules."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lamflow.config import parse
from lamflow.config.conversion import as_evaluation, as_training
from lamflow.config.schema import EvaluationStudy, TrainingStudy
from tests.conftest import STUDY

COSTLY = STUDY.replace("label: {engine: emt}", "label: {engine: custom, command: ['true']}").replace(
    "start: {label: [rattled]}", "start: {label: [rattled], data: [given]}"
)


@pytest.mark.parametrize(
    "text", [STUDY, COSTLY.replace("{fraction: 0.2}", "{label: [crystal]}")], ids=["cheap", "costly"]
)
def test_a_converted_study_is_read_as_it_was_written(tmp_path: Path, text: str) -> None:
    text = text.replace(
        "train: {engine: pair, models: 3, functions: 8}", "train: {engine: deepmd, models: 3, steps: 9}"
    )
    study = parse(text, "study.yaml", tmp_path, files=False)
    training = as_training(study)
    written = training.model_dump_json()
    assert TrainingStudy.model_validate(json.loads(written)).model_dump_json() == written
    evaluation = as_evaluation(study, tmp_path / "model.pt")
    written = evaluation.model_dump_json()
    assert EvaluationStudy.model_validate(json.loads(written)).model_dump_json() == written
