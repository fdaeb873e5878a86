"""Scripts of every batch system against golden files, and answers that were recorded."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from lamflow.batch.needs import amount, request
from lamflow.batch.script import script
from lamflow.batch.system import Seen
from lamflow.batch.systems import SYSTEMS
from lamflow.config.batch import BatchSystem, SystemName
from lamflow.config.pods import Pod

GOLDEN = Path(__file__).parent / "golden"
POD: dict[str, Any] = {
    "threads": 4, "cpu": "8", "memory": "16Gi", "gpus": 1, "environment": {"MODE": "a b"},
    "batch": {"wall_time": 7200, "together": 2, "mps": True, "before": ["ulimit -s unlimited"], "after": ["date"]},
}  # fmt: skip
BATCH: dict[str, Any] = {
    "queue": "gpu", "account": "ab123", "qos": "high", "gpu_type": "a100", "constraint": "ib&new",
    "modules": ["vasp/6.4"], "source": ["/opt/intel/setvars.sh"], "python": "/opt/lamflow/bin/python",
}  # fmt: skip


def written(system: SystemName, elements: int = 10, **more: Any) -> str:
    settings = BatchSystem.model_validate({"system": system, **BATCH, **more})
    asked = request(
        settings, Pod.model_validate(POD), "train.3fa9c1.tin", (elements, 1, 3), "16Gi",
        output="/home/me/runs/tin/work/batch/001/train/output/0-INDEX.txt",
    )  # fmt: skip
    folder, store = "/home/me/runs/tin/work/batch/001/train", "/home/me/runs/tin"
    words = ["/opt/lamflow/bin/python", "-m", "lamflow.batch.element", folder, "0"]
    return script(SYSTEMS[system], asked, folder, 0, store, words)


@pytest.mark.parametrize("system", list(SYSTEMS))
def test_scripts_are_those_of_the_golden_files(system: SystemName, tmp_path: Path) -> None:
    text, golden = written(system), GOLDEN / f"{system}.sh"
    if "LAMFLOW_GOLDEN" in os.environ:
        golden.write_text(text, encoding="utf-8")
    assert text == golden.read_text(encoding="utf-8")
    file = tmp_path / "script.sh"
    file.write_text(text, encoding="utf-8")
    subprocess.run(["bash", "-n", file], check=True)


def test_a_container_sees_the_run_and_the_gpus() -> None:
    text = written("slurm", container="/images/lamflow.sif", container_options=["--cleanenv"])
    assert "container=$(command -v apptainer || command -v singularity) || refuse" in text
    assert (
        '"$container" exec --nv --bind /home/me/runs/tin --cleanenv /images/lamflow.sif /opt/lamflow/bin/python' in text
    )


def test_an_array_of_pbs_with_one_element_is_none() -> None:
    assert "#PBS -J" not in written("pbs", elements=1)


def test_grid_engine_is_asked_by_the_names_of_the_cluster() -> None:
    text = written("sge", sge={"environment": "mpi-8", "memory": None, "gpus": "ngpus"})
    assert {"#$ -pe mpi-8 16", "#$ -l ngpus=1"} < set(text.splitlines())
    assert "vmem" not in text
    assert "#$ -w e" in text
    free = written("sge", sge={"memory": "mem_free"})
    assert {"#$ -w n", "#$ -l mem_free=2048M"} < set(free.splitlines())


@pytest.mark.parametrize(
    ("system", "name"), [("slurm", "3"), ("pbs", "3"), ("lsf", "4"), ("sge", "4"), ("shell", "all")]
)
def test_what_an_element_printed_is_found(system: SystemName, name: str) -> None:
    assert SYSTEMS[system].called(3) == name


def test_quantities_are_those_of_kubernetes() -> None:
    assert [amount(text) for text in ("500m", "4", "1.5Gi", "2G")] == [0.5, 4, 1.5 * 2**30, 2e9]


SLURM = "8|0|RUNNING|None\n8|1|PENDING|Priority\n8|2|FAILED|NonZeroExitCode\n8|3|REQUEUE_HOLD|x\n9|N/A|RUNNING|None\n"
PBS = """\
Job id            Name             User              Time Use S Queue
----------------  ---------------- ----------------  -------- - -----
1234[].pbs        train.3fa9c1     me                       0 B workq
1234[0].pbs       train.3fa9c1     me                00:01:02 R workq
1234[1].pbs       train.3fa9c1     me                00:00:31 X workq
1234[2].pbs       train.3fa9c1     me                       0 Q workq
1300.pbs          driver.aa        me                00:00:31 F workq
"""
LSF = "501|1|RUN|-\n501|2|PEND|-\n501|3|EXIT|TERM_RUNLIMIT: job killed after reaching LSF run time limit\n77|0|DONE|-\n"
SGE = """\
job-ID  prior   name       user         state submit/start at     queue                          slots ja-task-ID
-----------------------------------------------------------------------------------------------------------------
     41 0.55500 train.3fa9 me           r     11/29/2026 10:00:00 all.q@node1                        4 1
     41 0.55500 train.3fa9 me           qw    11/29/2026 10:00:00                                    4 2-4:1
     41 0.00000 train.3fa9 me           Eqw   11/29/2026 10:00:00                                    4 5,6
     42 0.55500 other      me           r     11/29/2026 10:00:00 all.q@node1                        4 1
"""


@pytest.mark.parametrize(
    ("system", "answer", "arrays", "states"),
    [
        ("slurm", SLURM, ["8"], {0: "running", 1: "waiting", 2: "over", 3: "held"}),
        ("pbs", PBS, ["1234[].pbs.domain"], {0: "running", 1: "over", 2: "waiting"}),
        ("pbs", PBS, ["1300.pbs.domain"], {0: "over"}),
        ("lsf", LSF, ["501"], {0: "running", 1: "waiting", 2: "over"}),
        ("sge", SGE, ["41"], {0: "running", 1: "waiting", 2: "waiting", 3: "waiting", 4: "held", 5: "held"}),
    ],
)  # fmt: skip
def test_answers_are_read(system: SystemName, answer: str, arrays: list[str], states: dict[int, str]) -> None:
    seen = SYSTEMS[system].seen(answer, arrays)
    assert {index: its.state for (_, index), its in seen.items()} == states
    assert {array for array, _ in seen} == set(arrays)
    assert all(isinstance(its, Seen) and its.reason for its in seen.values())


EVERY: dict[SystemName, dict[str, str]] = {
    # squeue(1), JOB STATE CODES
    "slurm": {
        "waiting": "PENDING CONFIGURING REQUEUED REQUEUE_FED POWER_UP_NODE",
        "running": "RUNNING COMPLETING SUSPENDED STOPPED SIGNALING STAGE_OUT RESIZING EXPEDITING UPDATE_DB A_NEW_WORD",
        "held": "REQUEUE_HOLD SPECIAL_EXIT RESV_DEL_HOLD",
        "over": "BOOT_FAIL CANCELLED COMPLETED DEADLINE FAILED LAUNCH_FAILED NODE_FAIL OUT_OF_MEMORY PREEMPTED "
        "RECONFIG_FAIL REVOKED TIMEOUT",
    },
    # PBS Professional Reference Guide, job states
    "pbs": {"waiting": "Q H W T M", "running": "R E S U B", "over": "F X"},
    # bjobs(1), STAT
    "lsf": {"waiting": "PEND PSUSP WAIT", "running": "RUN USUSP SSUSP PROV UNKWN ZOMBI", "over": "DONE EXIT"},
    # sge_status(5)
    "sge": {
        "waiting": "qw hqw Rq hRwq",
        "running": "r hr t Rr Rt s ts S tS T tT Rs Rts RS RtS RT RtT dr dt dRr dRt ds dS dT dRs dRS dRT",
        "held": "Eqw Ehqw EhRqw",
    },
}  # fmt: skip
LINES: dict[SystemName, str] = {
    "slurm": "8|0|{}|None\n", "lsf": "8|1|{}|-\n", "pbs": "8[0].pbs  train  me  00:01:02 {} workq\n",
    "sge": "  8 0.55500 train me {}  11/29/2026 10:00:00 4 1\n",
}  # fmt: skip


@pytest.mark.parametrize("system", list(EVERY))
def test_every_state_of_every_manual_is_known(system: SystemName) -> None:
    for state, words in EVERY[system].items():
        for word in words.split():
            (seen,) = SYSTEMS[system].seen(LINES[system].format(word), ["8"]).values()
            assert seen.state == state, word


def test_an_element_that_is_held_can_be_ended_alone() -> None:
    assert SYSTEMS["slurm"].cancel(["8_2"]) == "scancel 8_2"
    assert SYSTEMS["sge"].cancel(["41_2", "42"]) == "qdel 41 -t 3; qdel 42"


@pytest.mark.parametrize(
    ("system", "answer", "identity"),
    [
        ("slurm", "812", "812"), ("slurm", "sbatch: lua: be nice\n812;cluster2", "812"), ("slurm", "", ""),
        ("pbs", "1234[].pbs.domain", "1234[].pbs.domain"), ("pbs", "1234.pbs", "1234.pbs"),
        ("lsf", "Job <501> is submitted to queue <normal>.", "501"),
        ("sge", 'Your job-array 41.1-10:1 ("train.3fa9c1") has been submitted', "41"),
        ("sge", 'Your job 42 ("driver") has been submitted', "42"),
    ],
)  # fmt: skip
def test_ids_are_read(system: SystemName, answer: str, identity: str) -> None:
    assert SYSTEMS[system].submitted(answer) == identity


@pytest.mark.parametrize(
    ("system", "answer", "found"),
    [
        ("slurm", "8\n8\n9\n", ["8", "9"]), ("pbs", "1234[].pbs\n", ["1234[].pbs"]), ("lsf", "501\n501\n", ["501"]),
        ("sge", "job_number:                 41\nexec_file:  job_scripts/41\n", ["41"]),
    ],
)  # fmt: skip
def test_names_are_looked_up(system: SystemName, answer: str, found: list[str]) -> None:
    assert SYSTEMS[system].named(answer) == found
