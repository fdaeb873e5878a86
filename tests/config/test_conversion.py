"""A converted study is a study of its new kind by that kind's own rules."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lamflow.config import load, parse
from lamflow.config.conversion import as_evaluation, as_training
from lamflow.config.learning import Config
from lamflow.config.schema import EvaluationStudy, TrainingStudy
from lamflow.driver.structures import frames_of
from lamflow.errors import InputError
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


def filtered(study: Path) -> Config:
    """The study with a filter that its own structures do not pass."""
    study.write_text(
        study.read_text(encoding="utf-8").replace("limit: 6", "limit: 6\n  filters: {volume_per_atom: [15, 20]}"),
        encoding="utf-8",
    )
    return load(study)


def test_a_training_and_an_evaluation_keep_the_filters_of_a_study(study: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = filtered(study)
    training = as_training(config)
    assert training.frame_filters == config.select.filters
    again = TrainingStudy.model_validate_json(training.model_dump_json())
    assert again.frame_filters == config.select.filters, "and so does what a run keeps"
    with pytest.raises(InputError, match=r"structure 0: .* no frame like this passes filters"):
        frames_of(training.structures[0], training)
    monkeypatch.setattr(type(config.train), "evaluator_settings", lambda *_: config.label)
    assert as_evaluation(config, study.parent / "model").frame_filters == config.select.filters


def test_learning_has_its_filters_in_select(study: Path) -> None:
    study.write_text(study.read_text(encoding="utf-8") + "filters: {min_distance: 1.0}\n", encoding="utf-8")
    with pytest.raises(InputError, match="filters: in a study of learning this belongs into select"):
        load(study)
