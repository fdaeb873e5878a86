"""A step, and a whole run, on a real Grid Engine whose jobs and daemons fail."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from lamflow.api import Study
from lamflow.driver import batch_doctor
from lamflow.errors import ClusterError
from tests.batch.conftest import Background, Trial
from tests.batch.test_run import hashes
from tests.conftest import ROOT
from tests.stand_ins.grid_engine import GridEngine

pytestmark = pytest.mark.slow

POD: dict[str, Any] = {"memory": "2Gi", "environment": {"PYTHONPATH": str(ROOT)}}
"""Grid Engine gives jobs nothing of the environment of who submits them."""
SGE: dict[str, Any] = {"system": "sge"}


def running(trial: Trial, engine: GridEngine, jobs: int) -> str:
    """Wait until the first jobs, so many, have begun, and return the id of the newest array."""
    scratch = trial.store / "work" / "scratch"
    engine.wait(lambda: all((scratch / f"work-{job}" / "ran.txt").is_file() for job in range(jobs)))
    return trial.standing.arrays[-1].id


def test_a_run_on_grid_engine_equals_the_local_one(study: Path, grid_engine: GridEngine, tmp_path: Path) -> None:
    text = study.read_text(encoding="utf-8").replace("iterations: 2", "iterations: 1")
    study.write_text(text, encoding="utf-8")
    here = Study.load(study).run(tmp_path / "here")
    batch = {"system": "sge", "poll": 1, "queue": "all.q", "before": [f"export PYTHONPATH={ROOT}"]}
    study.write_text(f"{text}batch: {json.dumps(batch)}\n", encoding="utf-8")
    there = Study.load(study).run(tmp_path / "a:run", on="sge")
    assert hashes(here.path) == hashes(there.path) != {}
    assert there.status.state == "ended"


def test_jobs_that_fail_are_deleted_or_take_too_much_are_tried_again_by_their_kind(
    grid_engine: GridEngine, trial: Trial, in_background: Background
) -> None:
    trial.order(_0="once sleep 300", _1="once node", _2="once take 300")
    pod = POD | {"memory": "200Mi", "memory_max": "1Gi", "threads": 1}
    step = in_background(trial.carried(8, pod, **SGE, array_size=4).run)
    running(trial, grid_engine, 3)
    grid_engine.ask("qdel", trial.standing.arrays[0].id, "-t", "1")
    step.result(180)
    assert len(trial.results) == 8
    assert [trial.times(job) for job in range(8)] == [2, 2, 2, 1, 1, 1, 1, 1]
    told = "\n".join(trial.said)
    assert re.search(r"work 0 was lost .*: it is not in the queue any more: assumedly after job, exit status 137", told)
    assert "work 1 failed and is tried again: the disk is gone" in told
    assert "work 2 was killed and is tried again: work-2: it was given no more memory" in told
    assert {each.memory for each in trial.standing.arrays if each.jobs == [2]} == {"1Gi"}


def test_a_killed_driver_and_a_killed_qmaster_lose_nothing(grid_engine: GridEngine, trial: Trial) -> None:
    trial.order(**{f"_{job}": "sleep 4" for job in range(4)})
    drive = (
        "import sys; from pathlib import Path; from tests.batch import test_grid_engine as here; "
        "here.Trial(Path(sys.argv[1])).carried(4, here.POD, **here.SGE).run()"
    )
    driver = subprocess.Popen([sys.executable, "-c", drive, str(trial.store)], env=os.environ)
    running(trial, grid_engine, 1)
    driver.send_signal(signal.SIGKILL)
    driver.wait()
    array = trial.standing.arrays[0]
    array.model_copy(update={"id": ""}).save(trial.folder / "arrays" / "0.json")  # as if qsub had not answered
    grid_engine.kill("qmaster")
    again = trial.carried(4, POD, **SGE)

    def say(words: str) -> None:
        trial.said.append(words)
        grid_engine.start("qmaster")

    again.queue.say = say
    again.run()
    assert re.search(r"`qstat -j .*`: SGE does not answer: .*Connection refused[^`]*; asking again", trial.said[0])
    assert trial.standing.arrays == [array]
    assert [trial.times(job) for job in range(4)] == [1] * 4


def test_wall_time_that_grid_engine_ends_is_no_lack_of_memory(grid_engine: GridEngine, trial: Trial) -> None:
    trial.order(_0="once sleep 300")
    trial.carried(1, POD | {"memory_max": "3Gi"}, **SGE, header=["#$ -l h_rt=0:0:6"]).run()
    assert [array.memory for array in trial.standing.arrays] == ["2Gi", "2Gi"]
    assert re.search(r"work 0 was lost .*: its wall time was over, exit status 137", trial.said[0])


NAMES = "`sge: {memory: NAME, gpus: NAME}` under `batch:`"


@pytest.mark.parametrize(
    ("pod", "batch", "says"),
    [
        ({}, {"queue": "main.q"}, 'requests unknown queue "main.q".*names no queue of this cluster; it has all.q'),
        ({}, {"account": "tin"}, 'project "tin" does not exist.*`account` under `batch:` is not a project'),
        ({"threads": 2}, {"sge": {"environment": "mpi"}}, 'environment "mpi" does not exist.*`sge: {environment: NAME}`'),
        ({"gpus": 1}, {"sge": {"gpus": "ngpus"}}, f'unknown resource "ngpus".*{NAMES}'),
        ({"gpus": 3}, {}, "no suitable queues.*no queue has the slots, memory .by slot., GPUs and wall time"),
        ({"memory": "900Gi"}, {}, "no suitable queues"),
        ({"threads": 64}, {}, "no suitable queues"),
        ({}, {"modules": ["vasp/6.9"]}, "work on SGE: module vasp/6.9 cannot be loaded"),
        ({}, {"python": "/opt/none/python"}, "FAILED, exit status 1.*printed last.*/opt/none/python: No such file"),
        ({"losses": 1}, {"header": ["#$ -o /none/x"]}, "Eqw: can't open output file ./none/x.: No such file.*does not see"),
    ],
)  # fmt: skip
def test_what_can_never_run_is_named_with_its_fix(
    pod: dict[str, Any], batch: dict[str, Any], says: str, grid_engine: GridEngine, trial: Trial
) -> None:
    with pytest.raises(ClusterError) as raised:
        trial.carried(2, POD | pod, **SGE, **batch).run()
    assert re.search(says, str(raised.value), re.DOTALL)
    grid_engine.wait(lambda: not grid_engine.ask("qstat", "-u", "*"))


@pytest.mark.parametrize(
    ("batch", "state", "says"),
    [
        ({"sge": {"memory": "mem_free"}}, "good", "lamflow"),
        ({"sge": {"memory": "h_rss"}, "header": ["#$ -l gpu=3"]}, "bad", "offers only hc:gpu=2.000000"),
    ],
)
def test_doctor_asks_for_the_real_request(
    batch: dict[str, Any], state: str, says: str, study: Path, grid_engine: GridEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(study.parent)
    batch = {"system": "sge", "poll": 1, "before": [f"export PYTHONPATH={ROOT}"], **batch}
    study.write_text(study.read_text(encoding="utf-8") + f"batch: {json.dumps(batch)}\n", encoding="utf-8")
    _, *jobs = batch_doctor.doctor(Study.load(study).config)
    assert [check.state for check in jobs] == [state] * 3
    assert all(says in check.says for check in jobs)


def test_a_queue_that_is_full_is_waited_for(grid_engine: GridEngine, trial: Trial) -> None:
    grid_engine.change("max_u_jobs", "1")
    other = grid_engine.ask("qsub", "-b", "y", "-N", "other", "-o", "/dev/null", "-j", "y", "sleep", "1")
    assert "has been submitted" in other
    try:
        trial.carried(1, POD, **SGE).run()
    finally:
        grid_engine.change("max_u_jobs", "0")
    assert re.search(r"the queue is full: .*only 1 jobs are allowed per user[^`]*; asking again", trial.said[0])
    assert len(trial.results) == 1
