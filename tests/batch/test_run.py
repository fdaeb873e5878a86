"""Whole runs on a real Slurm: what comes of them is what comes of them here."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from lamflow.api import Study
from lamflow.batch.step_state import StepState
from lamflow.data.layout import BATCH_RUN, BATCH_STEPS, WORK
from lamflow.driver import batch_runs
from lamflow.driver.batch_executor import BatchRun
from lamflow.driver.rundir import RunDirectory
from lamflow.errors import StateError
from tests.conftest import ROOT
from tests.stand_ins.slurm import SlurmCluster

pytestmark = pytest.mark.slow

BATCH = "batch: {system: slurm, poll: 1}\n"


def hashes(run: Path) -> dict[str, list[str]]:
    """Content hashes of all labeled frames of a run, by data set."""
    found = {}
    for file in sorted((run / "data").rglob("*manifest.json")):
        document = json.loads(file.read_text())
        found[file.relative_to(run).as_posix()] = [frame["hash"] for frame in document.get("frames", [])]
    return found


def steps(run: Path) -> dict[str, StepState]:
    """How every step of a run stands, by round and name."""
    folders = sorted((run / WORK / BATCH_STEPS).glob("[0-9]*/*"))
    return {f"{folder.parent.name} {folder.name}": StepState.of_step(folder) for folder in folders}


def test_a_run_on_slurm_equals_the_local_one_frame_by_frame(study: Path, slurm: SlurmCluster, tmp_path: Path) -> None:
    here = Study.load(study).run(tmp_path / "here")
    study.write_text(study.read_text(encoding="utf-8") + BATCH, encoding="utf-8")
    there = Study.load(study).run(tmp_path / "there", on="slurm")

    assert hashes(here.path) == hashes(there.path) != {}
    ours, theirs = ([record.model_dump() for record in run.records] for run in (here, there))
    for first, second in zip(ours, theirs, strict=True):
        assert {**(first["selected"] or {}), "spent": None} == {**(second["selected"] or {}), "spent": None}
        assert [model["errors"] for model in first["models"]] == [model["errors"] for model in second["models"]]
    assert there.status.state == "ended"
    standing = steps(there.path)
    assert {name.split()[1] for name in standing} == {"label", "merge", "train", "explore", "select"}
    for its in standing.values():
        assert len(its.arrays) == 1
        assert all(len(tried) == 1 for tried in its.tries.values())
        assert (its.arrays[0].site == "here") is (len(its.tries) == 1 and its.arrays[0].name[:2] in ("se", "me"))


@pytest.mark.parametrize(
    ("batch", "pods", "says"),
    [
        ("queue: gpus", "", "names no partition of this cluster; it has all, short"),
        ("queue: all", ", gpus: 3", "no node of the partition has the GPUs"),
        ("container: /images/none.sif", "", "no apptainer or singularity on this node"),
    ],
)  # fmt: skip
def test_what_a_batch_system_refuses_is_one_message_and_can_be_mended(
    batch: str, pods: str, says: str, study: Path, slurm: SlurmCluster, tmp_path: Path
) -> None:
    text = study.read_text(encoding="utf-8").replace("label: {parallel: 1}", f"label: {{parallel: 1{pods}}}")
    study.write_text(f"{text}batch: {{system: slurm, poll: 1, {batch}}}\n", encoding="utf-8")
    argv = [sys.executable, "-m", "lamflow", "run", str(study), "--dir", str(tmp_path / "run")]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run([*argv, "--on", "slurm"], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert says in " ".join(done.stderr.split())
    assert "Traceback" not in done.stderr
    assert not slurm.ask("squeue", "-h", "-t", "pending,running").strip(), "nothing is left in the queue"


def test_a_submitted_run_hands_itself_over_and_can_be_stopped_and_brought_here(
    study: Path, slurm: SlurmCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    slow = (
        study.read_text(encoding="utf-8").replace("steps: 40", "steps: 4000").replace("iterations: 2", "iterations: 1")
    )
    study.write_text(f"{slow}batch: {{system: slurm, poll: 1, driver: {{wall_time: 60}}}}\n", encoding="utf-8")
    run = Study.load(study).submit(tmp_path / "run")
    first = BatchRun.read(run.path / BATCH_RUN)
    assert run.status.state == "running"
    with pytest.raises(StateError, match=f"job {first.driver} is driving this run"):
        Study.load(study).submit(tmp_path / "run")
    slurm.wait(lambda: BatchRun.read(run.path / BATCH_RUN).name != first.name, 120)
    slurm.wait(lambda: bool(BatchRun.read(run.path / BATCH_RUN).driver), 30)
    run.stop()
    assert run.status.state == "stopped"
    slurm.wait(lambda: not slurm.ask("squeue", "-h", "-t", "pending,running"))
    assert any("wall time ends" in line for line in batch_runs.logs(RunDirectory(run.path), None))
    study.write_text(slow.replace("steps: 4000", "steps: 40"), encoding="utf-8")
    good = study.read_text(encoding="utf-8")
    study.write_text(good.replace("seed: ", "seed: 1"), encoding="utf-8")
    with pytest.raises(StateError, match="holds a run with other elements, seed"):
        Study.load(study).run(run.path, on="here")
    assert (run.path / BATCH_RUN).is_file(), "a run that cannot go on here stays where it is"
    study.write_text(good, encoding="utf-8")
    ended = Study.load(study).run(run.path, on="here", redo=True)
    assert ended.status.state == "ended"
    assert not (run.path / BATCH_RUN).exists()
    succeeded = [its for state in steps(run.path).values() for its in state.tries.values()]
    assert all(sum(each.kind == "succeeded" for each in tried.values()) <= 1 for tried in succeeded)
