"""Steps that are left while some of their jobs run: here as processes, which every machine has."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from lamflow.api import Study
from lamflow.data.layout import BATCH_RUN
from lamflow.data.results import Merged
from lamflow.errors import StateError
from tests.batch.conftest import Trial
from tests.conftest import ROOT

pytestmark = pytest.mark.slow


def test_a_step_goes_on_with_enough_of_its_jobs_and_finds_the_others_again(trial: Trial) -> None:
    go = trial.store / "go"
    trial.order(_1=f"wait {go}")
    step: dict[str, Any] = {"jobs": 3, "system": "shell"}
    trial.carried(**step).run(enough=0.6)
    assert sorted(trial.results) == ["0", "2"]
    go.touch()
    trial.carried(**step).run()
    assert sorted(trial.results) == ["0", "1", "2"]
    assert [trial.times(job) for job in range(3)] == [1, 1, 1], "nothing was done twice"


def test_labels_that_are_late_join_the_next_iteration(
    study: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One label of iteration 1 waits until iteration 2 has trained: its frame is in the data before iteration 3."""
    run = tmp_path / "run"
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("LAMFLOW_HELD", str(run / "iterations"))
    text = study.read_text(encoding="utf-8").replace("iterations: 2", "iterations: 3").replace("limit: 6", "limit: 3")
    text = text.replace("copies: 10", "copies: 5").replace("models: 3", "models: 2")
    text = text.replace("label: {engine: emt}", "label: {engine: ase, calculator: tests.stand_ins.held.HeldEMT}")
    text = text.replace("label: {parallel: 1}", "label: {parallel: 2, work_per_job: 1}").replace(
        "window: {", "enough: 0.6\n  window: {"
    )
    study.write_text(text + "batch: {system: shell, poll: 1}\n", encoding="utf-8")
    records = Study.load(study).run(run, on="shell").records

    chosen = [{item.hash for item in record.selected.chosen} if record.selected else set() for record in records]
    merged = Merged.read(run / "iterations" / "001" / "merged" / "merged.json")
    assert (len(chosen[1]), records[1].late, len(merged.jobs)) == (3, 1, 2)
    late = records[2].merged_late
    assert late is not None
    assert late.added == 1
    assert (records[2].late, records[2].labels) == (0, records[0].labels + len(chosen[1]) + len(chosen[2]))
    assert [record.models[0].training_frames for record in records[1:]] == [
        records[0].training_frames, records[0].training_frames + 2, records[0].training_frames + 3 + len(chosen[2]),
    ]  # fmt: skip
    index = run / "data" / "index"
    known = {
        frame["hash"] for file in index.glob("*/manifest.json") for frame in json.loads(file.read_text())["frames"]
    }
    assert chosen[1] | chosen[2] <= known, "every frame that was chosen is trained on"

    for number in (2, 3):
        shutil.rmtree(run / "iterations" / f"00{number}", ignore_errors=True)
    with pytest.raises(StateError, match=r"labels of iteration 1 are late \(1 of them\), and only the batch system"):
        Study.load(study).run(run, on="here")
    assert (run / BATCH_RUN).is_file(), "it is where it was"
