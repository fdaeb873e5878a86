"""Runs whose files are lost or damaged: everything is named, with the way back, and made again where that can be."""

from __future__ import annotations

import contextlib
import io
import os
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from lamflow.api import Run
from lamflow.cli.app import app
from lamflow.config import load
from lamflow.data.dataset import manifests
from lamflow.data.graph import Graph
from lamflow.driver.contents import labeled_items, models_of_iteration
from lamflow.driver.listener import Listener
from lamflow.driver.located import Located
from lamflow.driver.loop import resume, run
from lamflow.driver.rundir import RunDirectory
from lamflow.driver.survey import damages, refuse_damage
from lamflow.errors import LamflowError, StateError
from lamflow.reports.source import read_source
from tests.conftest import STUDY

pytestmark = pytest.mark.slow
SMALL = (
    STUDY.replace("copies: 10", "copies: 5").replace("models: 3", "models: 2").replace("[300, 900]", "[300]")
    .replace("{parallel: 1}, label", "{work_per_job: 2}, label")
)  # fmt: skip
WAYS = ("missing", "half", "empty")


class StopsInIteration2(Listener):
    def begins(self, graph: Graph) -> None:
        if graph.round == 2:
            raise KeyboardInterrupt


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that was stopped when its second iteration began, beside its file."""
    folder = tmp_path_factory.mktemp("original")
    (folder / "tiny.yaml").write_text(SMALL)
    with contextlib.suppress(KeyboardInterrupt):
        run(load(folder / "tiny.yaml"), folder / "run", StopsInIteration2())
    return folder / "run"


@pytest.fixture
def copy(original: Path, tmp_path: Path) -> Path:
    """A copy that may be damaged."""
    return shutil.copytree(original, tmp_path / "run")


def lamflow(*words: object) -> str:
    """What a command says when it ends with status 2; empty for one that succeeds. Nothing else may be raised."""
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        return what_is_said(lambda: app([str(word) for word in words], prog_name="lamflow", standalone_mode=False))


def what_is_said(question: Callable[[], object]) -> str:
    """The message of an error that is for the user; empty if there is none."""
    try:
        question()
    except LamflowError as error:
        return str(error)
    return ""


def damage(file: Path, how: str) -> None:
    content = file.read_bytes()
    if how == "missing":
        file.unlink()
    else:
        file.write_bytes(content[: len(content) // 2] if how == "half" else b"")


def kinds_of_files(folder: Path) -> list[str]:
    """One file of each kind, by its path."""
    found: dict[str, str] = {}
    for file in sorted(folder.rglob("*")):
        name = str(file.relative_to(folder))
        if file.is_file() and not name.startswith(("work/", "lock")):
            found.setdefault(re.sub(r"\d+", "N", re.sub(r"systems/.*/", "systems/", name)), name)
    return list(found.values())


def damaged_one_by_one(folder: Path) -> Iterator[tuple[str, str]]:
    """Each kind of file, damaged in each way, one after the other; it is put back when the next one comes."""
    for name in kinds_of_files(folder):
        before = {file: file.read_bytes() for file in folder.rglob("*") if file.is_file()}
        for how in WAYS:
            damage(folder / name, how)
            yield name, how
            for file, content in before.items():
                if not file.is_file() or file.read_bytes() != content:
                    file.parent.mkdir(parents=True, exist_ok=True)
                    file.write_bytes(content)


def test_whatever_is_lost_is_named_with_the_way_back_and_mended(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every kind of file: each command succeeds or ends with one message, and after `repair` nothing is wrong."""
    monkeypatch.setattr(os, "fsync", lambda _: None)
    directory, frame = RunDirectory(copy), manifests(copy / "data" / "train")[0].frames[0].hash[:12]
    readers: dict[str, Callable[[], object]] = {
        "status": lambda: Run.open(copy).status,
        "why": lambda: Run.open(copy).why(frame),
        "fetch": lambda: (labeled_items(Located(copy, None), "train"), labeled_items(Located(copy, None), "heldout")),
        "fetch models": lambda: (Run.open(copy).model_folders, models_of_iteration(Located(copy, None), 1)),
        "report": lambda: read_source(copy),
        "resume": lambda: refuse_damage(directory),
    }
    for name, how in damaged_one_by_one(copy):
        for command, read in readers.items():
            said = what_is_said(read)
            assert not said or (name in said and "lamflow repair" in said), f"{name} {how}, {command}: {said}"
        said = lamflow("repair", copy)
        if name.endswith("config.json"):
            assert "--file FILE" in said, f"{name} {how}: {said}"
        elif name.endswith("pair.json"):
            assert "throws everything from iteration 1 on away" in said, f"{name} {how}: {said}"
        else:
            assert not said, f"{name} {how}"
            assert damages(directory, whole=True) == [], f"{name} {how}"


def test_a_run_that_lost_much_goes_on_as_if_it_had_not(original: Path, copy: Path, tmp_path: Path) -> None:
    shutil.copytree(original, tmp_path / "undisturbed")
    for name in (
        "run.json", "input/config.json", "structures/crystal.npz", "iterations/000/graph.json",
        "iterations/001/result.json", "data/index/001/manifest.json", "data/heldout/000/manifest.json",
        "iterations/002/graph.json",
    ):  # fmt: skip
        damage(copy / name, "half")
    shutil.rmtree(copy / "data" / "train" / "000")
    assert "lamflow repair" in lamflow("resume", copy)
    assert "lamflow repair" in lamflow("run", original.with_name("tiny.yaml"), "--dir", copy)
    assert lamflow("repair", copy, "--file", original.with_name("tiny.yaml")) == ""
    assert RunDirectory(copy).run().fingerprint == RunDirectory(original).run().fingerprint
    for folder in (copy, tmp_path / "undisturbed"):
        resume(folder)
    data = [
        [[record.hash for record in manifest.frames] for manifest in manifests(folder / "data" / "train")]
        for folder in (copy, tmp_path / "undisturbed")
    ]
    assert data[0] == data[1]
    assert RunDirectory(copy).iterations()[-1].training_frames == sum(map(len, data[0]))


def test_a_lost_model_is_trained_again_by_redo(copy: Path) -> None:
    damage(copy / "iterations" / "001" / "models" / "0" / "pair.json", "half")
    with pytest.raises(StateError, match=r"pair\.json: changed since the model was trained.*`lamflow repair RUN`"):
        resume(copy)
    assert lamflow("repair", copy, "--redo") == ""
    assert len(RunDirectory(copy).iterations()) == 1
    resume(copy)
    assert len(RunDirectory(copy).iterations()) == 3


def test_the_record_of_a_run_that_has_ended_is_missed(copy: Path) -> None:
    """Without it the run would seem to be in the middle of its last iteration."""
    shutil.rmtree(copy / "iterations" / "002")
    record = RunDirectory(copy).run().model_copy(update={"state": "ended"})
    record.save(copy / "run.json")
    (copy / "iterations" / "001" / "result.json").unlink()
    assert "iterations/001/result.json: this file of the run is missing" in lamflow("status", copy)


@pytest.mark.parametrize("command", ["status", "report", "resume", "repair"])
def test_a_run_that_has_ended_misses_its_rounds(copy: Path, command: str) -> None:
    """Not only where data tell that there were some: runs of other kinds have none."""
    for part in ("iterations", "data"):
        shutil.rmtree(copy / part)
    record = RunDirectory(copy).run().model_copy(update={"state": "ended"})
    record.save(copy / "run.json")
    assert "iterations: the rounds of the run are missing" in lamflow(command, copy)


def test_settings_of_another_study_are_refused(original: Path, copy: Path, tmp_path: Path) -> None:
    damage(copy / "input" / "config.json", "missing")
    (tmp_path / "other.yaml").write_text(original.with_name("tiny.yaml").read_text().replace("seed: 3", "seed: 4"))
    assert "other elements, seed, structures or start data" in lamflow(
        "repair", copy, "--file", tmp_path / "other.yaml"
    )
    assert not (copy / "input" / "config.json").exists()


def test_data_whose_labels_are_gone_too_are_not_made_up(copy: Path) -> None:
    damage(copy / "data" / "train" / "000" / "manifest.json", "missing")
    shutil.rmtree(copy / "iterations" / "000" / "labeled")
    said = lamflow("repair", copy)
    assert "data/train/000/manifest.json: this file of the run is missing" in said
    assert "throws everything from iteration 0 on away" in said
    assert "data/index/000 cannot be made again" in said
    assert "iterations/000/labeled is gone, too" in said


def test_rounds_that_are_gone_are_named_and_done_again(original: Path, copy: Path, tmp_path: Path) -> None:
    shutil.copytree(original, tmp_path / "undisturbed")
    for number in ("001", "002"):
        shutil.rmtree(copy / "iterations" / number)
    for command in ("resume", "repair"):
        assert "iterations/001: this folder of the run is missing" in lamflow(command, copy), command
    assert "throws everything from iteration 1 on away" in lamflow("repair", copy)
    assert lamflow("repair", copy, "--redo") == ""
    for folder in (copy, tmp_path / "undisturbed"):
        resume(folder)
    one, two = (manifests(folder / "data" / "train") for folder in (copy, tmp_path / "undisturbed"))
    assert [[record.hash for record in each.frames] for each in one] == [
        [record.hash for record in each.frames] for each in two
    ]
    shutil.rmtree(copy / "iterations")
    for command in ("status", "report", "resume"):
        assert "iterations: the rounds of the run are missing" in lamflow(command, copy), command
    said = lamflow("repair", copy, "--redo")
    assert "iterations/000: this folder of the run is missing" in said
    assert "begin the run anew in another folder" in said
