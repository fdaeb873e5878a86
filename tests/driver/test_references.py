"""Studies that begin with what other runs have made."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

import lamflow
from lamflow.cluster import packs
from lamflow.cluster.store import Store
from lamflow.config import load, parse
from lamflow.config.pods import Cluster, ObjectStore
from lamflow.config.schema import DataStudy, EvaluationStudy, TrainingStudy
from lamflow.data import Frame, LabeledFrame
from lamflow.data.dataset import Item, Origin, write_dataset
from lamflow.data.layout import RECORD
from lamflow.data.results import ModelResult
from lamflow.data.run import Run
from lamflow.driver.local_executor import LocalExecutor
from lamflow.driver.loop import begin, run
from lamflow.driver.prepare import prepare
from lamflow.driver.references import resolved
from lamflow.driver.rundir import RunDirectory
from lamflow.engines.emt import Emt
from lamflow.engines.pair import PairTraining
from lamflow.engines.registry import evaluator
from lamflow.errors import InputError
from tests import records
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
    files = [file for file in first.rglob("*") if file.is_file() and "work" not in file.relative_to(first).parts]
    packs.push(Store.of(Cluster(s3=ObjectStore(bucket=bucket)), "lamflow/first/"), first, files)
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
    with pytest.raises(InputError, match="its models are of engine 'pair', and 'deepmd' cannot read them"):
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


@pytest.fixture
def source(copper: list[Frame], tmp_path: Path) -> RunDirectory:
    """A training that says that it has ended: its data are real, its models are not."""
    directory = RunDirectory(tmp_path / "source")
    directory.path.mkdir()
    prepare(parse(TRAINING, kind=TrainingStudy), directory, 1)
    add_data(directory, copper[:8], 0)
    add_data(directory, copper[8:], 0, role="heldout")
    records.iteration(0).save(directory.round(0) / RECORD)
    errors = {"force_rmse": 0.1, "force_mae": 0.1, "force_size": 1.0, "energy_rmse": 0.1, "frames": 2}
    trained = records.model(errors=errors)
    trained.save(directory.round(1) / "models" / "0" / "model.json")
    records.iteration(1, models=[trained]).save(directory.round(1) / RECORD)
    directory.run().model_copy(update={"state": "ended"}).save(directory.record)
    return RunDirectory(pretend_deepmd(directory.path, tmp_path / "first"))


def add_data(directory: RunDirectory, frames: list[Frame], number: int, role: str = "train") -> None:
    labels = evaluator(Emt()).evaluate(frames)
    items = [
        Item(LabeledFrame(f, found), Origin(iteration=0, source="x")) for f, found in zip(frames, labels, strict=True)
    ]
    write_dataset(directory.path / "data" / role / f"{number:03d}", items, ["Cu"], "deepmd/npy")


def test_a_run_that_goes_on_keeps_the_data_that_it_took(
    source: RunDirectory, copper: list[Frame], tmp_path: Path
) -> None:
    study, directory = load_second(source.path, tmp_path), RunDirectory(tmp_path / "run")
    directory.path.mkdir()
    executor = LocalExecutor(directory)
    begin(study, directory, executor)
    taken = directory.run().references
    add_data(source, copper[:3], 1)
    begin(study, directory, executor)
    assert directory.run().references == taken
    shutil.rmtree(source.path)
    begin(study, directory, executor)
    assert len(taken) == 2


def test_a_run_that_goes_on_keeps_the_model_that_it_took(source: RunDirectory, tmp_path: Path) -> None:
    directory = RunDirectory(tmp_path / "run")
    [reference] = resolved(model_study(str(source.path)))[1]
    copy = directory.path / "input" / "files" / "abcd" / "model.pt"
    copy.parent.mkdir(parents=True)
    copy.write_text("weights of 0")
    record = source.run().model_copy(update={"references": [reference]})
    record.save(directory.record)
    (source.round(1) / "models" / "0" / "model.pt").write_text("other weights")
    found, again = resolved(model_study(str(source.path)), directory)
    assert again == [reference]
    assert isinstance(found, TrainingStudy)
    assert found.train.pretrained_model is not None
    assert found.train.pretrained_model.file == copy
    shutil.rmtree(copy.parent)
    assert resolved(model_study(str(source.path)), directory)[1] != [reference], (
        "a copy that is lost is looked up again"
    )


def test_an_evaluation_records_what_it_took_from_another_run(
    source: RunDirectory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = TRAINING.replace("start: {label: [rattled]}", f"start: {{data: [{{run: {source.path}}}]}}")
    (tmp_path / "third.yaml").write_text(
        text.replace("heldout: {fraction: 0.2}", f"heldout: {{data: [{{run: {source.path}, data: heldout}}]}}")
    )
    loaded = lamflow.Study.load(tmp_path / "third.yaml")
    monkeypatch.setattr(PairTraining, "evaluator_settings", lambda *_: Emt())
    study = loaded.as_evaluation(tmp_path / "model")
    directory = RunDirectory(tmp_path / "run")
    directory.path.mkdir()
    for _ in range(2):
        begin(study.config, directory, LocalExecutor(directory), references=study.references)
        assert [reference.what for reference in directory.run().references] == ["data: train", "data: heldout"]


def load_second(first: Path, folder: Path) -> EvaluationStudy:
    (folder / "second.yaml").write_text(SECOND.replace("RUN", str(first)))
    return load(folder / "second.yaml", EvaluationStudy)
