"""The record of a round, from what its steps have left."""

from __future__ import annotations

from pathlib import Path

from lamflow.config import parse
from lamflow.config.schema import EvaluationStudy
from lamflow.data.files import file_hash, write_whole
from lamflow.data.graph import Graph, Step
from lamflow.data.provenance import Provenance
from lamflow.data.results import JobRecord
from lamflow.driver.prepare import frozen
from lamflow.driver.rundir import RunDirectory
from lamflow.superops.gather import Timing, gather_evaluation, gather_round
from tests.conftest import STUDY


def graph(**records: str) -> Graph:
    steps = [Step(name=name, op="", writes={}, records=[record]) for name, record in records.items()]
    return Graph(kind="evaluation", round=1, name="evaluation", stage="evaluate", steps=steps)


def test_the_hash_of_a_judged_model_is_of_the_file_that_the_jobs_had(tmp_path: Path) -> None:
    model = tmp_path / "model.pt"
    model.write_text("judged")
    judged = file_hash(model)
    text = STUDY.split("\ntrain:", maxsplit=1)[0] + "\nlabel: {engine: emt}\nworkflow: evaluation\n"
    text += "evaluate: {engine: deepmd, model: {file: model.pt}}\n"
    study = parse(text, root=tmp_path, kind=EvaluationStudy)
    directory = RunDirectory(tmp_path / "run")
    write_whole(directory.path / "input" / "config.json", frozen(study, directory))
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
