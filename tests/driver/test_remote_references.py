"""Kinds of workflow that do not explore, on a stand-in cluster: a training, and an evaluation that refers to it from S3."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from lamflow.config import load
from lamflow.config.schema import DataStudy, EvaluationStudy
from lamflow.driver import cluster_runs
from lamflow.driver.run_location import RunLocation
from lamflow.driver.rundir import RunDirectory
from tests.conftest import STUDY
from tests.driver.test_remote import Place, Quiet, place

__all__ = ["place"]

pytestmark = [pytest.mark.slow, pytest.mark.deepmd]

INPUT = (
    "{model: {descriptor: {type: se_e2_a, sel: [40], rcut: 4.0, rcut_smth: 0.5, neuron: [4, 8], axis_neuron: 2}, "
    "fitting_net: {neuron: [8, 8]}}}"
)
TRAINING = STUDY.split("stages:")[0].replace(
    "{engine: pair, models: 3, functions: 8}", f"{{engine: deepmd, models: 1, steps: 10, input: {INPUT}}}"
)
TRAINING = f"workflow: training\n{TRAINING}label: {{engine: emt}}\n"
EVALUATION = """\
workflow: evaluation
name: judged
elements: [Cu]
start: {data: [{run: RUN}]}
heldout: {data: [{run: RUN, data: heldout}]}
evaluate: {engine: deepmd, model: {run: RUN, model: best}}
"""


def submitted(place: Place, name: str, text: str) -> RunLocation:
    """The run of a study, submitted into a folder of its name."""
    file = place.folder / f"{name}.yaml"
    file.write_text(f"{text}cluster: {{s3: {{endpoint: '{place.s3.endpoint}', bucket: {place.bucket}}}}}\n")
    return cluster_runs.submit(load(file, DataStudy), place.folder / name)


def lamflow(folder: Path, *words: str) -> str:
    """What a command prints that is given in an empty folder."""
    folder.mkdir(exist_ok=True)
    command = [sys.executable, "-m", "lamflow", *words]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_an_evaluation_judges_the_model_of_a_run_in_the_store(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", place.s3.endpoint)
    monkeypatch.setenv("LAMFLOW_CACHE", str(tmp_path / "cache"))
    trained = submitted(place, "tiny", TRAINING)
    assert cluster_runs.follow(place.folder / "tiny", trained, Quiet(), pause=0.2).message == "the models are trained"
    judged = submitted(place, "judged", EVALUATION.replace("RUN", trained.url))
    record = cluster_runs.follow(place.folder / "judged", judged, Quiet(), pause=0.2)
    assert record.state == "ended", record.message
    assert "is judged: force RMSE" in record.message
    assert [(item.run, item.what) for item in record.references] == [
        (trained.url, "data: train"),
        (trained.url, "data: heldout"),
        (trained.url, "model 0 of iteration 1"),
    ]
    [_, training] = RunDirectory(place.folder / "tiny").iterations()
    [_, evaluation] = RunDirectory(place.folder / "judged").iterations()
    assert training.force_rmse is not None
    assert evaluation.model_dump()["judgement"]["overall"][""]["force_rmse"] == pytest.approx(
        training.force_rmse, rel=1e-6
    )
    assert isinstance(RunDirectory(place.folder / "judged").config(), EvaluationStudy)

    elsewhere = tmp_path / "elsewhere"
    assert "is judged" in lamflow(elsewhere, "status", judged.url)
    assert "the models are trained" in lamflow(elsewhere, "status", trained.url)
    assert "1 model" in lamflow(elsewhere, "fetch", trained.url, "models")
    assert "frames in deepmd/npy" in lamflow(elsewhere, "fetch", judged.url, "data")
    pods = len(place.argo.pods)
    assert "is judged" in lamflow(elsewhere, "resume", judged.url, "--drive-here")
    assert len(place.argo.pods) == pods, "a run that has ended has nothing to do"
