"""Studies that begin with what other runs have made."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lamflow.config import load, parse
from lamflow.config.schema import DataStudy, EvaluationStudy, TrainingStudy
from lamflow.data.results import ModelResult
from lamflow.data.run import Run
from lamflow.driver.loop import run
from lamflow.driver.references import resolved
from lamflow.driver.rundir import RunDirectory
from lamflow.errors import InputError
from tests.conftest import STUDY
from tests.stand_ins.s3 import S3Server

TRAINING = STUDY.split("stages:")[0] + "label: {engine: emt}\nworkflow: training\n"
SECOND = """\
workflow: evaluation
name: second
elements: [Cu]
start: {data: [{run: RUN}]}
heldout: {data: [{run: RUN, data: heldout}]}
evaluate: {engine: emt}
"""


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A training that has ended."""
    folder = tmp_path_factory.mktemp("first") / "run"
    run(parse(TRAINING, kind=TrainingStudy), folder)
    return folder


def test_data_of_a_run_are_taken_hashed_and_recorded(first: Path, tmp_path: Path) -> None:
    (tmp_path / "second.yaml").write_text(SECOND.replace("RUN", str(first)))
    run(load(tmp_path / "second.yaml", EvaluationStudy), tmp_path / "run")
    directory = RunDirectory(tmp_path / "run")
    references = directory.run().references
    assert [(reference.run, reference.what) for reference in references] == [
        (str(first), "data: train"),
        (str(first), "data: heldout"),
    ]
    assert len({reference.sha256 for reference in references}) == 2
    [start, _] = directory.iterations()
    [_, trained] = RunDirectory(first).iterations()
    assert (start.training_frames, start.heldout_frames) == (trained.training_frames, trained.heldout_frames) == (8, 2)
    assert "0.0000 eV/Å" in (directory.run().message), "EMT agrees with the labels that it gave"


def test_a_run_in_an_object_store_serves_as_well(
    first: Path, s3: S3Server, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3.endpoint)
    for file in first.rglob("*"):
        if file.is_file() and "work" not in file.relative_to(first).parts:
            s3.client.fput_object(bucket, f"lamflow/first/{file.relative_to(first)}", str(file))
    study = parse(SECOND.replace("RUN", f"s3://{bucket}/lamflow/first"), kind=DataStudy)
    local = resolved(parse(SECOND.replace("RUN", str(first)), kind=DataStudy))[1]
    remote = resolved(study)[1]
    assert [reference.sha256 for reference in remote] == [reference.sha256 for reference in local]


def model_study(run: str, more: str = "") -> DataStudy:
    text = TRAINING.replace(
        "{engine: pair, models: 3, functions: 8}",
        f"{{engine: deepmd, models: 1, pretrained: {{run: {run}{more}}}, phases: [{{start_from: init}}]}}",
    )
    return parse(text, kind=DataStudy)


def test_the_best_model_of_a_run_is_taken(first: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="its models are of engine 'pair', and nothing can start from them"):
        resolved(model_study(str(first)))
    folder = pretend_deepmd(first, tmp_path / "run")
    best = min(
        (ModelResult.read(file) for file in folder.glob("iterations/001/models/*/model.json")),
        key=lambda model: model.errors.force_rmse if model.errors else 0.0,
    )
    study, [reference] = resolved(model_study(str(folder)))
    assert isinstance(study, TrainingStudy)
    source = study.train.pretrained_model
    assert source is not None
    assert source.file == folder / f"iterations/001/models/{best.index}/model.pt"
    assert source.sha256 == reference.sha256
    assert reference.what == f"model {best.index} of iteration 1"
    other = resolved(model_study(str(folder), ", model: 1"))[0]
    assert isinstance(other, TrainingStudy)
    assert other.train.pretrained_model is not None
    assert other.train.pretrained_model.file == folder / "iterations/001/models/1/model.pt"
    with pytest.raises(InputError, match=r"there is no usable model 7; there are \[0, 1, 2\]"):
        resolved(model_study(str(folder), ", model: 7"))
    (folder / "iterations/001/models/1/model.pt").unlink()
    with pytest.raises(InputError, match=r"model 1 of iteration 1 has no model.pt: it is lost or incomplete"):
        resolved(model_study(str(folder), ", model: 1"))


def pretend_deepmd(first: Path, folder: Path) -> Path:
    """A copy of the run whose settings say that DeePMD-kit trained; the files are no models, and are not opened."""
    for file in first.rglob("*"):
        if file.is_file() and "work" not in file.relative_to(first).parts:
            target = folder / file.relative_to(first)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(file.read_bytes())
    settings = folder / "input" / "config.json"
    raw = json.loads(settings.read_text())
    raw["train"] = {"engine": "deepmd", "models": 3}
    settings.write_text(json.dumps(raw))
    for model in folder.glob("iterations/001/models/*"):
        (model / "model.pt").write_text(f"weights of {model.name}")
    return folder


def test_runs_that_are_missing_or_unfinished_or_of_another_kind_are_refused(first: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="there is no run here"):
        resolved(parse(SECOND.replace("RUN", str(tmp_path / "none")), kind=DataStudy))
    folder = pretend_deepmd(first, tmp_path / "run")
    record = Run.read(folder / "run.json")
    record.model_copy(update={"state": "stopped"}).save(folder / "run.json")
    with pytest.raises(InputError, match=r"this run is stopped, .*finish it with `lamflow resume`"):
        resolved(parse(SECOND.replace("RUN", str(folder)), kind=DataStudy))
    run(load_second(first, tmp_path), tmp_path / "judged")
    with pytest.raises(InputError, match="a run of workflow evaluation has no models"):
        resolved(model_study(str(tmp_path / "judged")))


def load_second(first: Path, folder: Path) -> EvaluationStudy:
    (folder / "second.yaml").write_text(SECOND.replace("RUN", str(first)))
    return load(folder / "second.yaml", EvaluationStudy)
