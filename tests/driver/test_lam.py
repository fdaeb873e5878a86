"""Large atomic models in the loop: fine-tuning, several tasks, distillation, with real small models that are trained here."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml

from lamflow import Run
from lamflow.config import Config
from lamflow.config.conversion import as_evaluation
from lamflow.data.dataset import manifests
from lamflow.data.evaluation import Evaluation, Judgement
from lamflow.driver.loop import run
from lamflow.driver.rundir import RunDirectory
from tests.lam import DPA1, model_input, train_lam

pytestmark = [pytest.mark.deepmd, pytest.mark.slow]


@pytest.fixture(scope="module")
def lam(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model with the heads copper and aluminium."""
    folder = tmp_path_factory.mktemp("lam")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        return train_lam(folder, DPA1, 200)


def crystal(symbol: str, a: float, name: str, copies: int, rattle: float = 0.06) -> dict[str, object]:
    return {
        "name": name, "crystal": {"formula": symbol, "lattice": "fcc", "a": a, "cubic": True}, "supercell": [2, 1, 1],
        "copies": copies, "strain": 0.02, "rattle": rattle,
    }  # fmt: skip


def study(name: str, train: dict[str, object], **more: object) -> Config:
    """A loop of seconds: silver by EMT, two iterations."""
    raw = {
        "name": name, "seed": 3, "elements": ["Ag", "Cu"],
        "structures": [crystal("Ag", 4.09, "rattled", 8), crystal("Ag", 4.09, "unseen", 4), crystal("Ag", 4.09, "start", 2, 0)],
        "train": {"engine": "deepmd", "models": 2, "steps": 40, "input": {
            key: value for key, value in model_input(DPA1).items() if key != "model"}, **train},
        "stages": [{"name": "warm", "explore": [{"engine": "ase", "structures": ["start"], "method": "langevin",
                    "temperatures": [600], "starts": 2, "steps": 40, "timestep": 0.002, "every": 5}]}],
        "select": {"window": {"low": 0.001, "high": 20.0}, "limit": 4},
        "converge": {"accurate": 0.999}, "budget": {"iterations": 2}, **more,
    }  # fmt: skip
    if "heads" not in raw:
        raw = {"start": {"label": ["rattled"]}, "heldout": {"label": ["unseen"]}, "label": {"engine": "emt"}, **raw}
    return Config.model_validate(raw)


def test_fine_tuning_begins_with_a_zero_shot_baseline(lam: Path, tmp_path: Path) -> None:
    train = {
        "pretrained": {"file": lam, "head": "copper"}, "bootstrap": True, "steps": 1000,
        "phases": [{"start_from": "finetune", "epochs": 8}, {"from_iteration": 2, "start_from": "init", "steps": 20}],
    }  # fmt: skip
    run(study("tuned", train), tmp_path / "run")
    _, first, second = RunDirectory(tmp_path / "run").iterations()
    assert first.models[0].steps == 8 * 8
    assert second.models[0].steps == 20
    assert first.baseline[""].force_rmse > (first.force_rmse or 9)
    assert second.baseline == {}
    assert len(first.calibration) == 4
    assert all(point.error > 0 for point in first.calibration)
    kept = json.loads((tmp_path / "run" / "input" / "config.json").read_text())["train"]["pretrained"]["file"]
    assert kept.startswith("files/"), "the model travels with the run"
    inputs = [json.loads((folder / "input.json").read_text()) for folder in Run.open(tmp_path / "run").model_folders]
    assert inputs[0]["training"]["seed"] != inputs[1]["training"]["seed"]
    assert inputs[0]["training"]["training_data"]["systems"] != inputs[1]["training"]["training_data"]["systems"]
    page = Run.open(tmp_path / "run").report().read_text()
    assert "zero-shot, before fine-tuning" in page
    assert "Does the window mean anything?" in page or len(first.calibration) < 5


def test_five_tasks_from_scratch_and_new_labels_go_to_the_explored_one(tmp_path: Path) -> None:
    metals = {"Al": 4.05, "Cu": 3.61, "Ag": 4.09, "Au": 4.08}
    lj = {"engine": "ase", "calculator": "ase.calculators.lj.LennardJones",
          "arguments": {"sigma": 2.3, "epsilon": 0.1, "rc": 5.0, "smooth": True}}  # fmt: skip
    heads: list[dict[str, object]] = [
        {
            "name": symbol,
            "start": {"label": [symbol.lower()]},
            "heldout": {"fraction": 0.25},
            "label": {"engine": "emt"},
        }
        for symbol in metals
    ]
    heads.append({"name": "Cu_LJ", "start": {"label": ["cu"]}, "heldout": {"fraction": 0.25}, "label": lj})
    structures = [crystal(symbol, a, symbol.lower(), 8) for symbol, a in metals.items()]
    config = study(
        "many", {"input": model_input(DPA1), "steps": 300, "models": 2}, elements=list(metals), heads=heads,
        structures=[*structures, crystal("Cu", 3.61, "start", 2, 0)],
    )  # fmt: skip
    group = config.stages[0].explore[0].model_copy(update={"head": "Cu"})
    stage = config.stages[0].model_copy(update={"explore": [group]})
    run(config.model_copy(update={"stages": [stage]}), tmp_path / "run")
    start, first, second = RunDirectory(tmp_path / "run").iterations()
    assert start.labels == 40
    assert set(second.models[0].heads) == {*metals, "Cu_LJ"}
    for name, found in second.models[0].heads.items():  # energies differ by eV between the tasks and fit in each
        assert found.energy_rmse < 0.5, name
    assert second.models[0].errors == second.models[0].heads["Cu"], "the explored task is the one that counts"
    records = [record for manifest in manifests(tmp_path / "run" / "data" / "train") for record in manifest.frames]
    new = [record for record in records if record.origin.iteration == 1]
    assert len(new) == 4
    assert {record.origin.head for record in new} == {"Cu"}
    same = [record.hash for record in records if record.origin.head in ("Cu", "Cu_LJ") and record.origin.iteration == 0]
    assert len(same) > len(set(same)), "two tasks may label the same frame"
    assert (Run.open(tmp_path / "run").model_folders[0] / "model.Cu.pth").is_file()
    assert first.simulations[0].head == "Cu"


def test_a_replayed_head_is_watched_and_forgetting_stops_the_run(lam: Path, tmp_path: Path) -> None:
    heads = [
        {"name": "silver", "pretrained_head": "copper", "start": {"label": ["rattled"]}, "heldout": {"label": ["unseen"]},
         "label": {"engine": "emt"}},
        {"name": "copper", "weight": 0.001, "start": {"label": ["cu"]}, "heldout": {"fraction": 0.5}, "label": {"engine": "emt"}},
    ]  # fmt: skip
    structures = [
        crystal("Ag", 4.09, "rattled", 8), crystal("Ag", 4.09, "unseen", 4), crystal("Ag", 4.09, "start", 2, 0),
        crystal("Cu", 3.61, "cu", 8),
    ]  # fmt: skip
    phases = [{"start_from": "finetune", "steps": 150}, {"from_iteration": 2, "start_from": "init", "steps": 20}]
    config = study("replay", {"pretrained": {"file": lam}, "phases": phases}, heads=heads, structures=structures)
    config = config.model_copy(update={"budget": config.budget.model_copy(update={"forgetting": 1.0})})
    record = run(config, tmp_path / "run")
    first = RunDirectory(tmp_path / "run").iterations()[1]
    assert set(first.baseline) == {"silver", "copper"}
    assert first.models[0].heads["copper"].force_rmse > first.baseline["copper"].force_rmse
    assert record.state == "ended"
    assert "the models forget copper: its held-out force RMSE was" in record.message
    assert "more than 1 times (budget.forgetting)" in record.message
    before = judged(config, tmp_path / "before")
    after = judged(config, tmp_path / "after", tmp_path / "run/iterations/001/models/0/model.pt")
    assert before.overall["silver"].force_rmse == pytest.approx(first.baseline["silver"].force_rmse, rel=1e-4)
    assert after.overall["silver"].force_rmse == pytest.approx(first.models[0].heads["silver"].force_rmse, rel=1e-4)


def judged(config: Config, folder: Path, model: Path | None = None) -> Judgement:
    """What an evaluation of a study's model, or of a file, comes to."""
    run(as_evaluation(config, model), folder)
    last = RunDirectory(folder).iterations()[-1]
    assert isinstance(last, Evaluation)
    assert last.judgement is not None
    return last.judgement


def test_distillation_needs_no_committee(lam: Path, tmp_path: Path) -> None:
    def variant(name: str, neuron: list[int]) -> dict[str, object]:
        descriptor = {
            "type": "se_e2_a",
            "sel": [60],
            "rcut": 4.5,
            "rcut_smth": 0.5,
            "neuron": neuron,
            "axis_neuron": 4,
        }
        return {"name": name, "input": {"model": {"descriptor": descriptor, "fitting_net": {"neuron": [8, 8]}}}}

    train = {
        "models": 1, "steps": 60, "variants": [variant("small", [4, 8]), variant("large", [8, 16])], "speed_tolerance": 100.0,
        "phases": [{"from_iteration": 2, "start_from": "init", "steps": 30}],
    }  # fmt: skip
    config = study(
        "distilled", train, elements=["Cu"], label={"engine": "deepmd", "model": {"file": lam, "head": "copper"}},
        select={"score": "teacher", "window": {"low": 0.001, "high": 20.0}, "limit": 6},
        converge={"accurate": 0.0, "trajectory_force_rmse": 1e-6},
        structures=[crystal("Cu", 3.61, name, copies, *rattle)
                    for name, copies, *rattle in (("rattled", 8), ("unseen", 4), ("start", 2, 0))],
    )  # fmt: skip
    record = run(config, tmp_path / "run")
    _, first, second = RunDirectory(tmp_path / "run").iterations()
    assert {task.model for task in first.simulations} == {0, 1}, "the students take turns"
    assert first.selected is not None
    assert first.selected.trajectory_force_rmse is not None
    assert first.selected.decision == "label"
    for chosen, error in zip(sorted(c.origin.deviation or 0 for c in first.selected.chosen),
                                sorted(s.error for s in first.calibration), strict=True):  # fmt: skip
        assert error == pytest.approx(chosen, abs=1e-3), "the window sees true errors"
    speeds = {model.variant: model.speed or 0 for model in second.models}
    assert second.variant == max(speeds, key=lambda name: speeds[name])
    assert "on their own trajectories" in record.message
    assert [folder.name for folder in Run.open(tmp_path / "run").best_folders] == [
        str(model.index) for model in second.models if model.variant == second.variant
    ]


def test_one_model_bounds_its_own_errors(lam: Path, tmp_path: Path) -> None:
    train = {
        "models": 1, "pretrained": {"file": lam, "head": "copper"},
        "phases": [{"start_from": "finetune", "steps": 300}, {"from_iteration": 2, "start_from": "init", "steps": 20}],
    }  # fmt: skip
    select = {"score": "embedding", "window": {"low": 0.001, "high": 50.0}, "limit": 6, "pick": "uncertain"}
    run(study("bounded", train, select=select), tmp_path / "run")
    _, first, _ = RunDirectory(tmp_path / "run").iterations()
    assert len(first.calibration) == 6
    below = [point.error < point.deviation for point in first.calibration]
    assert sum(below) >= 4, "a frame's largest bound is above its force RMSE, as a rule"
    assert (tmp_path / "run/iterations/001/models/0/bounds.npz").is_file()


def lamflow(*words: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "lamflow", *map(str, words)], cwd=cwd, text=True, capture_output=True, check=False
    )


def test_train_and_evaluate_from_the_command_line(lam: Path, tmp_path: Path) -> None:
    shutil.copyfile(lam, tmp_path / "lam.pt")
    train: dict[str, object] = {"pretrained": {"file": lam, "head": "copper"}, "phases": [{"start_from": "as_is"}]}
    raw = json.loads(study("once", train).model_dump_json(exclude_unset=True))
    raw["train"]["pretrained"]["file"] = "lam.pt"
    (tmp_path / "once.yaml").write_text(yaml.safe_dump(raw))
    done = lamflow("train", "once.yaml", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "the models are trained" in done.stdout
    [_, trained] = RunDirectory(tmp_path / "runs" / "once-train").iterations()
    assert trained.selected is None
    assert trained.models[0].speed
    judged = lamflow("evaluate", "once.yaml", cwd=tmp_path)
    assert judged.returncode == 0, judged.stderr
    found = json.loads((tmp_path / "runs" / "once-evaluate" / "evaluation.json").read_text())
    assert {(system["name"], system["role"]) for system in found["systems"]} == {
        ("rattled Ag8", "start"),
        ("unseen Ag8", "heldout"),
    }
    assert found["overall"][""]["force_rmse"] == pytest.approx(trained.force_rmse, rel=1e-3), "as_is is zero-shot"
    assert found["overall"][""]["energy_rmse"] == pytest.approx(trained.models[0].errors.energy_rmse, abs=2e-3)  # type: ignore[union-attr]
    wrong = lamflow("evaluate", "once.yaml", "--head", "gold", cwd=tmp_path)
    assert (wrong.returncode, "there is no head 'gold'; the model has" in wrong.stderr) == (2, True)
    assert "Traceback" not in wrong.stderr
    shown = lamflow("models", "show", "lam.pt", cwd=tmp_path)
    assert "copper" in shown.stdout
    assert "aluminium" in shown.stdout
    assert np.isclose(lam.stat().st_size, (tmp_path / "lam.pt").stat().st_size)
