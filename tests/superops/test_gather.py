"""The record of a round, from what its steps have left."""

from __future__ import annotations

from pathlib import Path

import pytest

from lamflow.config import parse
from lamflow.config.conversion import as_training
from lamflow.config.schema import EvaluationStudy
from lamflow.data.files import file_hash, write_whole
from lamflow.data.graph import Graph, Step
from lamflow.data.job_record import JobRecord
from lamflow.data.provenance import Provenance
from lamflow.driver.loop import _require_results
from lamflow.driver.prepare import snapshot
from lamflow.driver.rundir import RunDirectory
from lamflow.errors import EngineError
from lamflow.reports.tables import iteration_row
from lamflow.superops.gather import Timing, gather, gather_evaluation, gather_round
from tests import records
from tests.conftest import STUDY


def graph(**kept: str) -> Graph:
    steps = [Step(name=name, op="", writes={}, records=[record]) for name, record in kept.items()]
    return Graph(kind="evaluation", round=1, name="evaluation", stage="evaluate", steps=steps)


def test_the_hash_of_a_judged_model_is_of_the_file_that_the_jobs_had(tmp_path: Path) -> None:
    model = tmp_path / "model.pt"
    model.write_text("judged")
    judged = file_hash(model)
    text = STUDY.split("\ntrain:", maxsplit=1)[0] + "\nlabel: {engine: emt}\nworkflow: evaluation\n"
    text += "evaluate: {engine: deepmd, model: {file: model.pt}}\n"
    study = parse(text, root=tmp_path, kind=EvaluationStudy)
    directory = RunDirectory(tmp_path / "run")
    write_whole(directory.path / "input" / "config.json", snapshot(study, directory))
    model.write_text("trained further while its earlier state was judged")
    record = gather_evaluation(study, graph(), directory.path, [], Timing({}, 1.0))
    assert record.sha256 == judged


class Judged(JobRecord):
    """A record of a step that lamflow does not know."""

    errors: float


def test_every_step_of_a_graph_says_what_made_its_records(tmp_path: Path) -> None:
    one, other = Provenance(lamflow="1"), Provenance(lamflow="2", engines={"emt": "3"})
    for job, made_by in enumerate((one, other, one)):
        Judged(errors=0.1, provenance=made_by).save(tmp_path / f"iterations/001/shaken/{job}/shaken.json")
    Judged(errors=0.1, provenance=other).save(tmp_path / "iterations/001/judged.json")
    write_whole(tmp_path / "iterations/001/plain.json", '{"other": 1}')
    shaken = "iterations/001/shaken/*/shaken.json"
    steps = graph(
        shake=shaken,
        shake2=shaken,
        judge="iterations/001/judged.json",
        count="iterations/001/plain.json",
        gone="gone.json",
    )
    assert gather_round(steps, tmp_path, [], Timing({}, 1.0)).provenance == {"shake": [one, other], "judge": [other]}


ABSURD = {"force_rmse": 7e152, "force_mae": 7e152, "force_size": 1.0, "energy_rmse": 1e150, "frames": 2}
"""eV/Å and eV/atom; what a training that has diverged leaves."""


def test_a_training_whose_models_are_all_bad_has_failed(tmp_path: Path) -> None:
    training = as_training(parse(STUDY))
    good = {**ABSURD, "force_rmse": 0.1}
    for index, errors in enumerate((ABSURD, good)):
        records.model(index, errors=errors).save(tmp_path / f"iterations/001/models/{index}/model.json")
    some = gather(training, graph(), tmp_path, [], Timing({}, 1.0))
    assert [line[:36] for line in some.failed_models] == ["model 1 of 2: its held-out force RMSE"[:36]]
    assert some.force_rmse == good["force_rmse"]
    assert iteration_row(some)[-1] == "1 of 2 failed"
    records.model(1, errors=ABSURD).save(tmp_path / "iterations/001/models/1/model.json")
    all_bad = gather(training, graph(), tmp_path, [], Timing({}, 1.0))
    assert iteration_row(all_bad)[-1] == "failed"
    with pytest.raises(
        EngineError, match=r"no model is trained:\n  model 1 of 2: its held-out force RMSE is 7e\+152 eV"
    ):
        _require_results(all_bad)
    records.model(1, errors={**good, "force_rmse": 1.1}).save(tmp_path / "iterations/001/models/1/model.json")
    poor = gather(training, graph(), tmp_path, [], Timing({}, 1.0))
    assert poor.ended is not None
    assert poor.ended.endswith("; on held-out data 1 of 2 are worse than predicting no force at all")
