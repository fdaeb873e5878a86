"""A step on a real Slurm whose jobs, nodes and daemons fail."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time

import pytest

from lamflow.errors import ClusterError, EngineError
from tests.batch.conftest import Background, Trial
from tests.stand_ins.slurm import SlurmCluster

pytestmark = pytest.mark.slow


def test_jobs_share_few_elements_and_each_runs_once(slurm: SlurmCluster, trial: Trial) -> None:
    trial.carried(40, array_size=3).run()
    now = trial.standing
    assert (
        trial.results == {f"{job}": f"{job} of 40" for job in sorted(map(str, range(40)))} or len(trial.results) == 40
    )
    assert [len(array.elements) for array in now.arrays] == [3]
    assert all(trial.times(job) == 1 for job in range(40))
    assert trial.shown[-1] == 1.0


def test_failures_are_tried_again_by_their_kind(slurm: SlurmCluster, trial: Trial) -> None:
    trial.order(_0="once node", _1="once kill")
    trial.carried(3, {"memory_max": "200Mi"}).run()
    assert len(trial.results) == 3
    assert [trial.times(job) for job in range(3)] == [2, 2, 1]
    assert any("work 0 failed and is tried again: the disk is gone" in words for words in trial.said)
    assert {array.memory for array in trial.standing.arrays if array.jobs == [1]} == {"200Mi"}

    trial.order(_3="once fail")
    with pytest.raises(EngineError, match=r"work 3 \(\d+_0 on .*\): SCF did not converge"):
        trial.carried(4).run()
    assert trial.times(3) == 1
    trial.carried(4).run()
    assert trial.times(3) == 2
    assert "runs for the 1. time" in (trial.folder / "jobs/3/log.txt").read_text()


def running(trial: Trial, slurm: SlurmCluster, jobs: int) -> str:
    """Wait until so many jobs have begun, and return the id of the newest array."""
    slurm.wait(lambda: len(list((trial.store / "work" / "scratch").glob("*/ran.txt"))) >= jobs, 90)
    return trial.standing.arrays[-1].id


def test_what_is_cancelled_requeued_or_loses_its_node_goes_on(
    slurm: SlurmCluster, trial: Trial, in_background: Background
) -> None:
    trial.order(_0="once sleep 300", _1="once sleep 300", _2="once sleep 300")
    step = in_background(trial.carried(4, array_size=3).run)
    array = running(trial, slurm, 3)
    slurm.ask("scancel", f"{array}_0")
    slurm.wait(lambda: any("work 0 was lost" in words and "CANCELLED" in words for words in trial.said), 90)
    slurm.ask("scontrol", "requeue", f"{array}_1")
    slurm.at_once(f"{array}_1")
    slurm.wait(lambda: list(trial.results) == ["0", "1", "3"], 90)
    assert trial.times(1) == 2
    slurm.ask("scontrol", "update", f"nodename={slurm.host}", "state=down", "reason=test")
    slurm.wait(lambda: not slurm.ask("pgrep", "-f", f"element {trial.folder}"))
    time.sleep(2)
    slurm.ask("scontrol", "update", f"nodename={slurm.host}", "state=resume")
    slurm.at_once(f"{array}_2")
    step.result(120)
    assert len(trial.results) == 4
    assert [trial.times(job) for job in (0, 2)] == [2, 2]
    assert trial.times(3) == 1


def test_daemons_may_die_while_jobs_run(slurm: SlurmCluster, trial: Trial, in_background: Background) -> None:
    trial.order(_0="sleep 6", _1="sleep 6")
    step = in_background(trial.carried(2).run)
    running(trial, slurm, 2)
    slurm.kill("slurmctld", signal.SIGTERM)
    slurm.kill("munged")
    slurm.wait(lambda: any("does not answer" in words for words in trial.said), 60)
    slurm.start("munged")
    slurm.start("slurmctld")
    step.result(120)
    assert [trial.times(job) for job in range(2)] == [1, 1]


DRIVE = """\
import sys
import time
from pathlib import Path
from tests.batch.conftest import Background, Trial
Trial(Path(sys.argv[1])).carried(4).run()
"""


def test_a_driver_that_was_killed_finds_its_jobs_again(slurm: SlurmCluster, trial: Trial) -> None:
    trial.order(**{f"_{job}": "sleep 3" for job in range(4)})
    driver = subprocess.Popen([sys.executable, "-c", DRIVE, str(trial.store)], env=os.environ)
    running(trial, slurm, 1)
    driver.send_signal(signal.SIGKILL)
    driver.wait()
    file = trial.folder / "arrays" / "0.json"
    array = trial.standing.arrays[0]
    array.model_copy(update={"id": ""}).save(file)  # as if it had died before sbatch answered
    trial.carried(4).run()
    assert trial.standing.arrays == [array]
    assert [trial.times(job) for job in range(4)] == [1] * 4


def test_wall_time_that_ends_is_gone_on_with_from_a_checkpoint(slurm: SlurmCluster, trial: Trial) -> None:
    ask = {"batch": {"wall_time": 26}}
    trial.order(_0="once keep sleep 300")
    trial.carried(1, ask).run()
    assert trial.times(0) == 2
    assert trial.said == ["work 0 used up its wall time and is tried again: no reason given"]

    trial.order(_1="sleep 300")
    with pytest.raises(EngineError, match=r"work 1 .*s of wall time were not enough, and it keeps no checkpoint"):
        trial.carried(2, ask).run()
    (trial.store / "orders" / "1").unlink()
    trial.carried(2, ask).run()
    assert len(trial.results) == 2


@pytest.mark.parametrize(
    ("pod", "batch", "says"),
    [
        ({}, {"queue": "gpus"}, r"[Ii]nvalid partition.*\n.*names no partition of this cluster; it has all, short"),
        ({"gpus": 3}, {}, r"Requested node configuration is not available\n.*no node of the partition has the GPUs"),
        ({}, {"modules": ["vasp/6.9"]}, r"work on Slurm: module vasp/6.9 cannot be loaded"),
        ({}, {"source": ["/opt/none/setvars.sh"]}, r"source: no /opt/none/setvars.sh on this node"),
        ({}, {"queue": "short", "wall_time": 600}, r"would wait for ever.*PartitionTimeLimit\)?\n.*longer than partition, account or qos allow"),
        ({}, {"python": "/opt/none/python"}, r"ended without a trace.*\n.*/opt/none/python: No such file"),
    ],
)  # fmt: skip
def test_what_can_never_run_is_named_with_its_fix(
    pod: dict[str, object], batch: dict[str, object], says: str, slurm: SlurmCluster, trial: Trial
) -> None:
    with pytest.raises(ClusterError) as raised:
        trial.carried(2, pod, **batch).run()
    assert re.search(says, str(raised.value))
    slurm.wait(lambda: not slurm.ask("squeue", "-h", "-t", "pending,running").strip())
