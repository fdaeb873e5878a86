"""The last line and the exit status of a command follow from its results; its documents are alone on standard output."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from ase import Atoms
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import write

from tests.conftest import STUDY

TRAINING = """\
workflow: training
name: copper
seed: 3
elements: [Cu]
start: {data: [train.extxyz]}
heldout: {data: [heldout.extxyz]}
train: {engine: pair, models: 6, functions: 8}
"""
HUGE_ENERGY, LARGE_WEIGHT = 1e305, ", energy_weight: 1.0e+6}"
"""eV; with this weight the normal equations overflow of a model whose bootstrap sample holds such an energy."""


def lamflow(*words: object, cwd: Path, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    argv = [sys.executable, "-W", "ignore", "-m", "lamflow", *map(str, words)]
    environment = {**os.environ, **(env or {})}
    return subprocess.run(argv, cwd=cwd, capture_output=True, text=True, check=False, env=environment)


def copper(seed: int, energy: float | None = None) -> Atoms:
    """Four rattled atoms of copper with labels; `energy`, in eV, instead of the true one if it is given."""
    atoms = bulk("Cu", cubic=True, a=3.6)
    atoms.rattle(0.05, seed=seed)
    atoms.calc = EMT()
    true, forces, stress = atoms.get_potential_energy(), atoms.get_forces(), atoms.get_stress()
    atoms.calc = SinglePointCalculator(atoms, energy=true if energy is None else energy, forces=forces, stress=stress)
    return atoms


def training_file(folder: Path, text: str = TRAINING, energy: float | None = None, count: int = 1) -> Path:
    """A study and its data, of which the first `count` of ten frames have an energy of their own."""
    write(folder / "train.extxyz", [copper(seed, energy if seed < count else None) for seed in range(10)])
    write(folder / "heldout.extxyz", [copper(10), copper(11)])
    (folder / "copper.yaml").write_text(text)
    return folder / "copper.yaml"


@pytest.fixture(scope="module")
def failed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, subprocess.CompletedProcess[str]]:
    """A folder with a training all of whose models fail, and what was said of it."""
    folder = tmp_path_factory.mktemp("failed")
    text = TRAINING.replace("models: 6", "models: 2").replace("8}", "8" + LARGE_WEIGHT)
    file = training_file(folder, text, HUGE_ENERGY, 10)
    return folder, lamflow("run", file, cwd=folder)


@pytest.fixture(scope="module")
def partly_failed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, subprocess.CompletedProcess[str]]:
    """A folder with a training some of whose models fail, and what was said of it."""
    folder = tmp_path_factory.mktemp("partly")
    file = training_file(folder, TRAINING.replace("8}", "8" + LARGE_WEIGHT), HUGE_ENERGY)
    return folder, lamflow("train", file, cwd=folder)


def test_a_training_whose_models_all_fail_has_failed(failed: tuple[Path, subprocess.CompletedProcess[str]]) -> None:
    folder, done = failed
    assert done.returncode == 2
    assert "no model is trained" in done.stderr
    for number in (1, 2):
        assert f"model {number} of 2: the least-squares fit gave coefficients that are not finite" in done.stderr
    assert "the models are trained" not in done.stdout
    run = json.loads(lamflow("status", "runs/copper", "--json", cwd=folder).stdout)["run"]
    assert run["state"] == "failed"
    assert len(run["failures"]) == 2
    again = lamflow("resume", "runs/copper", cwd=folder)
    assert (again.returncode, "no model is trained" in again.stderr) == (2, True)


@pytest.mark.parametrize(
    "words", [["models"], ["best"], ["models", "--iteration", "1"], ["models", "--iteration", "7"]]
)
def test_fetch_refuses_where_no_model_can_be_used(
    failed: tuple[Path, subprocess.CompletedProcess[str]], words: list[str]
) -> None:
    folder, _ = failed
    done = lamflow("fetch", "runs/copper", *words, "--to", "copies", cwd=folder)
    assert done.returncode == 2
    assert "there are no models" in done.stderr
    assert done.stdout == ""
    assert not (folder / "copies").exists()


def test_a_training_some_of_whose_models_fail(
    partly_failed: tuple[Path, subprocess.CompletedProcess[str]],
) -> None:
    folder, done = partly_failed
    assert done.returncode == 2
    run = json.loads(lamflow("status", "runs/copper-train", "--json", cwd=folder).stdout)["run"]
    failures = run["failures"]
    assert 0 < len(failures) < 6
    assert run["message"] == f"the training of {len(failures)} of 6 models failed"
    assert run["message"] in done.stdout
    assert all(failure in done.stderr for failure in failures)
    copies = lamflow("fetch", "runs/copper-train", "--to", "copies", cwd=folder)
    assert copies.stdout == f"copies: {6 - len(failures)} models\n"
    assert len(list((folder / "copies").glob("*/pair.json"))) == 6 - len(failures)


@pytest.mark.parametrize("words", [["fetch", "RUN"], ["fetch", "RUN", "data"], ["fetch", "RUN", "heldout"]])
def test_nothing_is_fetched_from_a_run_at_its_start(words: list[str], tmp_path: Path) -> None:
    (tmp_path / "tiny.yaml").write_text(STUDY)
    from lamflow.config import load
    from lamflow.driver.prepare import prepare
    from lamflow.driver.rundir import RunDirectory

    (tmp_path / "run").mkdir()
    prepare(load(tmp_path / "tiny.yaml"), RunDirectory(tmp_path / "run"), 1)
    done = lamflow(*(word.replace("RUN", "run") for word in words), "--to", "copies", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert "there are no" in done.stderr
    story = lamflow("why", "00", "--run", "run", cwd=tmp_path)
    assert (story.returncode, "there are no data yet" in story.stderr) == (2, True)
    assert not (tmp_path / "copies").exists()


def test_evaluate_as_a_document(tmp_path: Path) -> None:
    text = TRAINING.replace("workflow: training", "workflow: evaluation")
    text = text.replace("train: {engine: pair, models: 6, functions: 8}", "evaluate: {engine: emt}")
    done = lamflow("evaluate", training_file(tmp_path, text), "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert document["judgement"]["unjudged"] == 0
    assert document["judgement"]["overall"][""]["force_rmse"] == pytest.approx(0, abs=1e-6)
    assert (tmp_path / document["report"]).is_file()


def test_evaluate_without_labeled_data_fails(tmp_path: Path) -> None:
    text = TRAINING.replace("workflow: training", "workflow: evaluation")
    text = text.replace("train: {engine: pair, models: 6, functions: 8}", "evaluate: {engine: emt}")
    done = lamflow("evaluate", training_file(tmp_path, text.replace("train.extxyz", "none.extxyz")), cwd=tmp_path)
    assert done.returncode == 2
    assert "none.extxyz" in done.stderr


def test_plan_and_doctor_as_documents(study: Path) -> None:
    plan = json.loads(lamflow("plan", study, "--json", cwd=study.parent).stdout)
    assert (plan["name"], plan["labels"], plan["start_labels"]) == ("tiny", 16, 10)
    assert [step["name"] for step in plan["stages"][0]["steps"]] == ["train", "explore", "select", "label", "merge"]
    doctor = json.loads(lamflow("doctor", "--json", cwd=study.parent).stdout)
    engines = {engine["name"]: engine for engine in doctor["engines"]}
    assert engines["emt"]["problem"] is None
    assert "label" in engines["emt"]["roles"]
    assert doctor["free_bytes"] > 0


def test_an_error_leaves_standard_output_empty(tmp_path: Path) -> None:
    done = lamflow("status", tmp_path, "--json", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")


def test_relax_fails_where_every_structure_does(tmp_path: Path) -> None:
    file = training_file(tmp_path)
    file.write_text(STUDY.replace("iterations: 2", "iterations: 1"))
    assert lamflow("run", file, "--dir", "run", cwd=tmp_path).returncode == 0
    (tmp_path / "one").mkdir()
    exploding = Atoms("Cu2", [[0, 0, 0], [0.4, 0, 0]], cell=[3, 3, 3], pbc=True)
    write(tmp_path / "one" / "POSCAR_1", exploding, format="vasp")
    done = lamflow("relax", "run", "--folder", "one", "--no-queue", cwd=tmp_path)
    assert done.returncode == 2
    assert "no structure was relaxed:" in done.stderr
    assert (tmp_path / "one" / "lamflow.json").is_file()


def test_folders_of_runs_are_completed(tmp_path: Path) -> None:
    for name in ("copper", "copper-train", "silver"):
        (tmp_path / "runs" / name).mkdir(parents=True)
        (tmp_path / "runs" / name / "run.json").touch()
    (tmp_path / "runs" / "copper-nothing").mkdir()
    env = {"_LAMFLOW_COMPLETE": "complete_bash", "COMP_WORDS": "lamflow status runs/cop", "COMP_CWORD": "2"}
    assert lamflow(cwd=tmp_path, env=env).stdout.split() == ["runs/copper", "runs/copper-train"]


def test_help_has_panels(tmp_path: Path) -> None:
    text = lamflow("--help", cwd=tmp_path).stdout
    for panel in ("Study", "Run", "Results", "Cluster", "Models"):
        assert f"─ {panel} ─" in text
    assert "--install-completion" in text


def test_a_command_in_a_pod_leaves_its_reason_where_argo_shows_it(tmp_path: Path) -> None:
    word = tmp_path / "termination-log"
    word.touch()
    environment = {**os.environ, "KUBERNETES_SERVICE_HOST": "10.0.0.1", "LAMFLOW_TERMINATION_LOG": str(word)}
    argv = [sys.executable, "-m", "lamflow", "check", "not-there.yaml"]
    assert subprocess.run(argv, cwd=tmp_path, env=environment, capture_output=True, check=False).returncode == 2
    assert word.read_text().startswith("InputError: ")
    assert "not-there.yaml" in word.read_text()


def test_heads_go_into_a_file_of_their_own(tmp_path: Path) -> None:
    (tmp_path / "two.pt").touch()
    for words, said in (
        (("--head", "a"), "two.pt is there already; give --output another name"),
        (("--head", "a", "--output", "x.pth"), "x.pth: what is written is a checkpoint, whose name ends in .pt"),
        (("--head", "a/b", "--output", "x.pt"), "--head a/b: is no name"),
        (("--head", "a", "--head", "a", "--output", "x.pt"), "--head a: is given twice"),
    ):
        done = lamflow("models", "heads", "any.pt", "--output", "two.pt", *words, cwd=tmp_path)
        assert (done.returncode, said in done.stderr) == (2, True)
