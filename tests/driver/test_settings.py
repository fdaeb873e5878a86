"""Settings that change between two starts of a driver. No round is carried out here."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from lamflow.config import load
from lamflow.config.conversion import as_evaluation
from lamflow.data.graph import Graph
from lamflow.data.layout import RECORD
from lamflow.driver.local_executor import LocalExecutor
from lamflow.driver.loop import _next_graph, begin, run_state
from lamflow.driver.rundir import RunDirectory
from lamflow.engines.ase import AseLabels
from lamflow.engines.pair import PairTraining
from lamflow.errors import StateError
from lamflow.flow.kinds import kind_of
from tests.records import iteration


@pytest.fixture
def directory(study: Path, tmp_path: Path) -> RunDirectory:
    """A run that has been prepared, and its start carried out."""
    directory = RunDirectory(tmp_path / "run")
    directory.path.mkdir()
    begin(load(study), directory, LocalExecutor(directory))
    iteration(0).save(directory.round(0) / RECORD)
    return directory


def coming(study: Path, directory: RunDirectory, *, redo: bool = False) -> Graph | None:
    """What a driver that is started now would do next."""
    config, executor = load(study), LocalExecutor(directory)
    begin(config, directory, executor, redo=redo)
    return _next_graph(kind_of(config), config, directory, executor, directory.iterations())


def test_the_graph_of_a_round_that_has_not_started_is_made_anew(study: Path, directory: RunDirectory) -> None:
    graph = coming(study, directory)
    assert graph is not None
    assert graph.step("train").work == 3
    study.write_text(study.read_text(encoding="utf-8").replace("models: 3", "models: 4"), encoding="utf-8")
    graph = coming(study, directory)
    assert graph is not None
    assert graph.step("train").work == 4


def test_a_redone_round_of_a_run_that_had_ended_leaves_nothing_that_makes_it_go_on(
    study: Path, directory: RunDirectory
) -> None:
    one = study.read_text(encoding="utf-8").replace("iterations: 2", "iterations: 1")
    study.write_text(one, encoding="utf-8")
    begin(load(study), directory, LocalExecutor(directory))
    iteration(1, "stop").save(directory.round(1) / RECORD)
    assert coming(study, directory) is None
    study.write_text(one.replace("iterations: 1", "iterations: 2"), encoding="utf-8")
    graph = coming(study, directory)
    assert graph is not None
    (directory.workflow(graph.workflow("tiny"))).mkdir(parents=True)
    assert coming(study, directory, redo=True) == graph, "with the same settings it is begun again"
    (directory.workflow(graph.workflow("tiny"))).mkdir(parents=True)
    study.write_text(one, encoding="utf-8")
    assert coming(study, directory, redo=True) is None
    assert not directory.round(2).exists()


def test_frames_that_wait_in_a_round_do_not_make_an_ended_run_go_on(directory: RunDirectory) -> None:
    (directory.round(1) / "queued").mkdir(parents=True)
    state = run_state(directory, LocalExecutor(directory), directory.iterations())
    assert (state.queued, state.extended) == (True, False)


def test_an_evaluation_that_was_interrupted_is_begun_again_with_another_model(
    study: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        PairTraining, "evaluator_settings", lambda self, model: AseLabels(engine="ase", calculator=model.file.name)
    )
    monkeypatch.setattr("lamflow.driver.local_executor.require_engines", lambda _: None)
    directory = RunDirectory(tmp_path / "judged")
    directory.path.mkdir()
    executor = LocalExecutor(directory)

    def judged_by(model: str) -> Graph | None:
        config = as_evaluation(load(study), tmp_path / model)
        begin(config, directory, executor)
        return _next_graph(kind_of(config), config, directory, executor, directory.iterations())

    judged_by("ase.calculators.emt.EMT")
    iteration(0).save(directory.round(0) / RECORD)
    graph = judged_by("ase.calculators.emt.EMT")
    assert graph is not None
    directory.workflow(graph.workflow("tiny")).mkdir(parents=True)
    (directory.path / graph.written[0]).mkdir(parents=True)
    assert judged_by("ase.calculators.lj.LennardJones") == graph
    assert not (directory.path / graph.written[0]).exists()


def test_queued_frames_survive_a_driver_that_is_killed_before_they_are_stored(
    study: Path, directory: RunDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    waiting = directory.path / "queue" / "1"
    waiting.mkdir(parents=True)
    (waiting / "frames.npz").write_text("frames")

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(LocalExecutor, "persist", killed)
        with pytest.raises(KeyboardInterrupt):
            coming(study, directory)
    shutil.rmtree(directory.round(1), ignore_errors=True)  # a cluster's driver begins with what the store holds
    graph = coming(study, directory)
    assert graph is not None
    assert "queued" in graph.step("select").reads
    assert (directory.round(1) / "queued" / "1" / "frames.npz").read_text() == "frames"
    assert not list((directory.path / "queue").iterdir())


def test_settings_of_a_run_that_are_older_or_lost_are_met(study: Path, directory: RunDirectory) -> None:
    file = directory.path / "input" / "config.json"
    older = json.loads(file.read_text())
    del older["heads"], older["filters"]
    file.write_text(json.dumps(older))
    assert coming(study, directory) is not None
    file.write_text("{}")
    with pytest.raises(StateError, match=r"config\.json: not the settings of a run of this version of lamflow: name"):
        coming(study, directory)
    file.unlink()
    with pytest.raises(StateError, match=r"config\.json: this file of the run cannot be read"):
        coming(study, directory)
