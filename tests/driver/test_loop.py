"""The loop with linear pair potentials: seconds instead of minutes, everything else as in any run."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

import lamflow
from lamflow.config import load
from lamflow.config.properties import PropertiesStudy
from lamflow.data import Frame
from lamflow.data.dataset import manifests
from lamflow.data.graph import Graph
from lamflow.driver.listener import Listener
from lamflow.driver.loop import _same_labels, resume, run
from lamflow.driver.rundir import OWNER, RunDirectory
from lamflow.errors import EngineError, InputError, StateError

pytestmark = pytest.mark.slow


def frames_of(path: Path) -> list[tuple[str, str]]:
    """Hash and origin of every frame that is trained on."""
    return sorted(
        (record.hash, record.origin.model_dump_json())
        for manifest in manifests(path / "data" / "train")
        for record in manifest.frames
    )


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that nobody disturbed, beside its file."""
    from tests.conftest import STUDY

    folder = tmp_path_factory.mktemp("finished")
    (folder / "tiny.yaml").write_text(STUDY)
    run(load(folder / "tiny.yaml"), folder / "run")
    return folder / "run"


def test_a_run_trains_on_every_label_that_it_paid_for(finished: Path) -> None:
    iterations = RunDirectory(finished).iterations()
    assert [iteration.number for iteration in iterations] == [0, 1, 2]
    last = iterations[-1]
    assert last.selected is not None
    assert last.selected.decision == "stop"
    assert last.merged is None
    assert last.labels == 10 + 6
    assert {model.training_frames for model in last.models} == {last.training_frames}
    assert last.training_frames + last.heldout_frames == last.labels
    assert RunDirectory(finished).run().state == "ended"


def test_every_frame_knows_where_it_came_from(finished: Path) -> None:
    directory = RunDirectory(finished)
    for manifest in manifests(finished / "data" / "train"):
        for record in manifest.frames:
            assert record.origin.settings is not None
            if record.origin.iteration == 0:
                continue
            iteration = directory.iterations()[record.origin.iteration]
            assert record.origin.source in {task.name for task in iteration.simulations}
            assert iteration.selected is not None
            assert iteration.selected.low <= (record.origin.deviation or 0) < iteration.selected.high


def test_the_same_seed_selects_the_same(finished: Path, study: Path, tmp_path: Path) -> None:
    run(load(study), tmp_path / "again")
    assert frames_of(tmp_path / "again") == frames_of(finished)


def test_running_again_does_nothing_and_a_larger_budget_goes_on(finished: Path, study: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in finished.glob("iterations/*/result.json")}
    run(load(study), finished)
    assert {path: path.stat().st_mtime_ns for path in finished.glob("iterations/*/result.json")} == before
    study.write_text(study.read_text(encoding="utf-8").replace("iterations: 2", "iterations: 3"), encoding="utf-8")
    run(load(study), finished)
    assert len(RunDirectory(finished).iterations()) == 4
    assert all(model.reused for model in RunDirectory(finished).iterations()[3].models)


def test_other_start_data_are_refused(finished: Path, study: Path) -> None:
    study.write_text(study.read_text(encoding="utf-8").replace("seed: 3", "seed: 4"), encoding="utf-8")
    with pytest.raises(StateError, match="holds a run with other elements, seed, structures or start data, or a file"):
        run(load(study), finished)


def start(study: Path, folder: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "lamflow", "run", str(study), "--dir", str(folder)], stdout=subprocess.DEVNULL
    )


def wait_for(file: Path) -> None:
    deadline = time.monotonic() + 60
    while not file.is_file():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def family(folder: Path) -> list[psutil.Process]:
    """Every process of a run but its driver."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get(OWNER) == str(folder) and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except psutil.Error:
            continue
    return found


@pytest.mark.parametrize("victim", ["driver", "child"])
def test_killed_at_any_moment_it_ends_as_if_nobody_had(
    victim: str, finished: Path, study: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "killed"
    chance = random.Random(victim)
    kills = 0
    for _ in range(6):
        driver = start(study, folder)
        wait_for(folder / "run.json")
        time.sleep(chance.uniform(0.0, 5.0))
        if driver.poll() is not None:
            break
        targets = [driver.pid] if victim == "driver" else [process.pid for process in family(folder)] or [driver.pid]
        try:
            os.kill(chance.choice(targets), signal.SIGKILL)
            kills += 1
        except ProcessLookupError:
            pass
        if victim == "driver":
            driver.wait()
            deadline = time.monotonic() + 10
            while family(folder):
                assert time.monotonic() < deadline, "children outlive their driver"
                time.sleep(0.05)
        else:
            driver.wait(timeout=120)
    run(load(study), folder)
    assert kills > 0
    expected = {item for item in frames_of(finished) if json.loads(item[1])["iteration"] < 2}
    assert set(frames_of(folder)) == expected


def test_a_folder_of_somebody_else_is_left_alone(study: Path, tmp_path: Path) -> None:
    (tmp_path / "mine" / "data").mkdir(parents=True)
    (tmp_path / "mine" / "data" / "years-of-work.xyz").write_text("precious")
    with pytest.raises(StateError, match="holds data and no run; lamflow would write over it"):
        run(load(study), tmp_path / "mine")
    assert (tmp_path / "mine" / "data" / "years-of-work.xyz").read_text() == "precious"


class StopAfter(Listener):
    """Interrupts a run once a step of an iteration is done."""

    def __init__(self, number: int, step: str) -> None:
        self.wanted, self.step, self.number = number, step, -1

    def begins(self, graph: Graph) -> None:
        self.number = graph.round

    def progress(self, done: dict[str, float]) -> None:
        if self.number == self.wanted and done.get(self.step) == 1.0:
            raise KeyboardInterrupt


def test_an_amended_run_that_is_interrupted_goes_on(study: Path, tmp_path: Path) -> None:
    study.write_text(study.read_text(encoding="utf-8").replace("iterations: 2", "iterations: 1"), encoding="utf-8")
    run(load(study), tmp_path / "run")
    study.write_text(study.read_text(encoding="utf-8").replace("iterations: 1", "iterations: 2"), encoding="utf-8")
    with pytest.raises(KeyboardInterrupt):
        run(load(study), tmp_path / "run", StopAfter(2, "train"))
    resume(tmp_path / "run")
    assert [item.number for item in RunDirectory(tmp_path / "run").iterations()] == [0, 1, 2]


def test_an_index_of_dflow_that_a_kill_has_cut_off_is_made_anew(study: Path, tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        run(load(study), tmp_path / "run", StopAfter(1, "train"))
    (tmp_path / "run" / "work" / "tiny-001" / "children").write_text("")
    resume(tmp_path / "run")
    assert [item.number for item in RunDirectory(tmp_path / "run").iterations()] == [0, 1, 2]


def test_a_potcar_that_was_swapped_ends_the_run(tmp_path: Path) -> None:
    def label(digest: str) -> list[dict[str, object]]:
        return [{"label": {"engine": "vasp", "potcars": "pp", "potcar_names": {}, "potcar_sha256": {"Al": digest}}}]

    _same_labels(RunDirectory(tmp_path), label("a"), label("a"), paid=0)
    with pytest.raises(StateError, match="the POTCAR of Al is not the one that the run began with"):
        _same_labels(RunDirectory(tmp_path), label("b"), label("a"), paid=0)


def test_labels_of_another_kind_are_no_data_of_a_run_that_has_paid_for_some(study: Path, finished: Path) -> None:
    """What changes no label may change."""
    copy, text = finished.parent / "copy", study.read_text(encoding="utf-8")
    shutil.copytree(finished, copy)
    other = "label: {engine: ase, calculator: ase.calculators.lj.LennardJones}"
    study.write_text(text.replace("label: {engine: emt}", other), encoding="utf-8")
    with pytest.raises(
        StateError, match=r"label changed \(.*engine 'emt' -> 'ase'.* the 16 labels of this run are made"
    ):
        run(load(study), copy)
    label = {"engine": "qe", "command": ["pw.x"], "ecutwfc": 30, "label_timeout": 10}
    _same_labels(
        RunDirectory(copy),
        [{"label": {**label, "command": ["mpirun", "pw.x"], "label_timeout": 9}}],
        [{"label": label}],
        16,
    )
    with pytest.raises(StateError, match=r"label changed \(ecutwfc 30 -> 60\), and the 16 labels of this run"):
        _same_labels(RunDirectory(copy), [{"label": {**label, "ecutwfc": 60}}], [{"label": label}], 16)
    _same_labels(RunDirectory(copy), [{"label": {**label, "ecutwfc": 60}}], [{"label": label}], 0)
    heads = [{"name": "one", "label": label}, {"name": "two", "label": {**label, "ecutwfc": 60}}]
    _same_labels(RunDirectory(copy), heads[::-1], heads, 16)
    turned = [{**one, "label": other["label"]} for one, other in zip(heads, heads[::-1], strict=True)]
    with pytest.raises(StateError, match="label changed"):
        _same_labels(RunDirectory(copy), turned, heads, 16)


def test_redo_throws_away_what_the_steps_wrote(finished: Path, study: Path, tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        run(load(study), tmp_path / "run", StopAfter(1, "label"))
    run(load(study), tmp_path / "run", redo=True)
    assert set(frames_of(tmp_path / "run")) == {
        item for item in frames_of(finished) if json.loads(item[1])["iteration"] < 2
    }


def test_a_merge_that_is_done_again_gives_the_same(finished: Path, tmp_path: Path) -> None:
    """Its first try may have stored what it found before the machine failed."""
    import shutil

    from lamflow.ops.merge import merge
    from lamflow.ops.operation import Context

    labeled = tmp_path / "labeled" / "0"
    shutil.copytree(finished / "data" / "train" / "001", labeled / "data")
    from lamflow.data.dataset import read_manifest
    from lamflow.data.results import Labeled, LabelOutcome

    frames = read_manifest(labeled / "data").frames
    Labeled(outcomes=[LabelOutcome(hash=record.hash, origin=record.origin) for record in frames]).save(
        labeled / "labeled.json"
    )
    context = Context(0, 1, "merge-0", tmp_path / "work", tmp_path / "scratch", tmp_path / "out")
    found = merge(
        context, input=finished / "input", labeled=tmp_path / "labeled", start_data=None, index=finished / "data" / "index",
        iteration=1,
    )  # fmt: skip
    assert len(read_manifest(found.train).frames) == len(frames) > 0


def test_a_second_driver_is_refused_and_stop_stops(study: Path, tmp_path: Path) -> None:
    folder = tmp_path / "locked"
    driver = start(study, folder)
    wait_for(folder / "run.json")
    with pytest.raises(StateError, match=rf"is being driven by process {driver.pid}"):
        run(load(study), folder)
    subprocess.run([sys.executable, "-m", "lamflow", "stop", str(folder)], check=True)
    assert driver.wait(timeout=30) == 130
    assert RunDirectory(folder).run().state == "stopped"
    assert family(folder) == []


def test_settings_do_not_change_in_the_middle_of_an_iteration(study: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    with pytest.raises(KeyboardInterrupt):
        run(load(study), folder, StopAfter(1, "explore"))
    study.write_text(study.read_text(encoding="utf-8").replace("limit: 6", "limit: 4"), encoding="utf-8")
    with pytest.raises(StateError, match="select changed in the middle of iteration 1"):
        run(load(study), folder)
    run(load(study), folder, redo=True)
    chosen = RunDirectory(folder).iterations()[1].selected
    assert chosen is not None
    assert len(chosen.chosen) == 4


def test_labels_that_fail_are_counted_and_too_many_stop_the_iteration(study: Path, tmp_path: Path) -> None:
    good = study.read_text(encoding="utf-8")
    text = good.replace(
        "label: {engine: emt}",
        "label: {engine: qe, command: ['false'], pseudopotentials: {Cu: tiny.yaml}, ecutwfc: 10}",
    )
    study.write_text(text, encoding="utf-8")
    with pytest.raises(EngineError, match=r"10 of 10 labels failed, more than budget.failed_labels \(0.2\) allows"):
        run(load(study), tmp_path / "run")
    assert RunDirectory(tmp_path / "run").run().state == "failed"
    study.write_text(good, encoding="utf-8")
    run(load(study), tmp_path / "run", redo=True)


def test_a_model_that_went_bad_stops_before_exploration(study: Path, tmp_path: Path) -> None:
    study.write_text(
        study.read_text(encoding="utf-8").replace("functions: 8", "functions: 8, ridge: 1000000.0"), encoding="utf-8"
    )
    with pytest.raises(
        EngineError, match=r"a model went bad, so nothing was explored:\n  model 1 of 3: .*predicting no force"
    ):
        run(load(study), tmp_path / "run")


def test_an_engine_that_is_not_installed_is_named_before_anything_runs(study: Path, tmp_path: Path) -> None:
    label = "label: {engine: qe, command: [no-pw.x], pseudopotentials: {Cu: tiny.yaml}, ecutwfc: 10}"
    study.write_text(study.read_text(encoding="utf-8").replace("label: {engine: emt}", label), encoding="utf-8")
    load(study)
    with pytest.raises(InputError, match=r"no-pw\.x: no such program on PATH; install Quantum ESPRESSO"):
        run(load(study), tmp_path / "run")
    assert not (tmp_path / "run" / "run.json").exists()


def test_data_of_other_elements_are_refused(study: Path, tmp_path: Path) -> None:
    (tmp_path / "POSCAR").write_text("gold\n4.0\n1 0 0\n0 1 0\n0 0 1\nAu\n1\nDirect\n0 0 0\n")
    text = study.read_text(encoding="utf-8").replace(
        "  - {name: crystal, crystal: {formula: Cu, lattice: fcc, a: 3.6, cubic: true},",
        "  - {name: crystal, files: [POSCAR],",
    )
    study.write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match=r"structures.crystal: Au is not in elements \['Cu'\]"):
        run(load(study), tmp_path / "run")
    assert not (tmp_path / "run" / "run.json").exists()


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("budget: {iterations: 2}", "budget: {labels: 3}", "budget.labels is 3, and 10 structures are to be labeled"),
        ("copies: 3}", "copies: 3, rattle: 2.0}", "structures.crystal: structure 0: atoms too close"),
    ],
)
def test_what_cannot_work_is_said_before_anything_runs(
    old: str, new: str, expected: str, study: Path, tmp_path: Path
) -> None:
    study.write_text(study.read_text(encoding="utf-8").replace(old, new), encoding="utf-8")
    with pytest.raises(InputError, match=expected):
        lamflow.Study.load(study).check()
    with pytest.raises(InputError, match=expected):
        run(load(study), tmp_path / "run")


def test_first_labels_beyond_the_budget_are_said(study: Path) -> None:
    """The guess of ten labels of EMT is some hundredths of a second."""
    text = study.read_text(encoding="utf-8").replace("budget: {iterations: 2}", "budget: {core_hours: 1.0e-8}")
    study.write_text(text, encoding="utf-8")
    assert any(
        "budget.core_hours is 1e-08, and the labels before" in each for each in lamflow.Study.load(study).check()
    )


def test_one_file_cannot_be_split_and_must_not_be_both(study: Path, tmp_path: Path) -> None:
    lamflow.Study.load(study).run(tmp_path / "run")
    from ase.io import write

    write(study.with_name("cu.extxyz"), lamflow.Run.open(tmp_path / "run").frames("train"))
    text = study.read_text(encoding="utf-8").replace("start: {label: [rattled]}", "start: {data: [cu.extxyz]}")
    study.write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match="all start data lie in one file"):
        lamflow.Study.load(study).check()
    study.write_text(text.replace("heldout: {fraction: 0.2}", "heldout: {data: [cu.extxyz]}"), encoding="utf-8")
    with pytest.raises(InputError, match=r"start.data and heldout.data share \d+ frames"):
        lamflow.Study.load(study).check()


def test_from_python(study: Path, tmp_path: Path) -> None:
    planned = lamflow.Study.load(study)
    planned.check()
    assert planned.plan().labels == 10 + 6
    result = planned.run(tmp_path / "run")
    assert result.status.state == "ended"
    assert len(result.models) == 3
    assert len(result.frames("train")) + len(result.frames("heldout")) == 16
    [labels] = result.models[0].evaluate([Frame.from_ase(result.frames()[0])])
    assert labels.forces.shape == (8, 3)
    assert result.report() == tmp_path / "run" / "report.html"
    assert (tmp_path / "run" / "report.html").is_file()
    assert lamflow.Run.open(tmp_path / "run").records == result.records


def test_structures_are_relaxed_again_by_a_potential_that_has_changed(tmp_path: Path) -> None:
    text = """\
workflow: properties
name: copper
elements: [Cu]
structures: [{name: copper, crystal: {formula: Cu, lattice: fcc}}]
potentials: [{name: pot, evaluate: {engine: emt}}]
properties: [{property: formation}]
"""
    other = text.replace(
        "{engine: emt}", "{engine: ase, calculator: ase.calculators.emt.EMT, arguments: {asap_cutoff: true}}"
    )
    constants = []
    for folder, content in (
        ("one", text),
        ("one", other),
        ("two", other),
        ("one", text + "relax: {pressure: 10000}\n"),
    ):
        (tmp_path / "copper.yaml").write_text(content)
        run(load(tmp_path / "copper.yaml", kind=PropertiesStudy), tmp_path / folder)
        values = json.loads((tmp_path / folder / "iterations" / "001" / "properties" / "properties.json").read_text())
        [a] = [one["value"] for one in values["comparisons"] if one["name"] == "a"]
        constants.append(a)
    assert constants[1] == constants[2] != constants[0]
    assert constants[3] < constants[0]
    (tmp_path / "copper.yaml").write_text(text.replace("engine: emt", "engine: ase, calculator: no.such.Thing"))
    with pytest.raises(InputError, match=r"no\.such\.Thing"):
        run(load(tmp_path / "copper.yaml", kind=PropertiesStudy), tmp_path / "one")
