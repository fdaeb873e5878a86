"""What batch systems say when they refuse, as their users have reported it, and what is made of it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from lamflow.batch.host import LocalHost
from lamflow.batch.needs import request
from lamflow.batch.queue import FullError, Queue
from lamflow.batch.systems import SYSTEMS
from lamflow.config.batch import BatchSystem, SystemName
from lamflow.config.pods import Pod
from lamflow.errors import ClusterError, LamflowError, OutageError


@dataclass
class Recorded(LocalHost):
    """A machine whose commands say what they said elsewhere."""

    said: str

    def shell(self, command: str, stdin: bytes = b"") -> tuple[int, str, str]:
        """See Host."""
        asked = command.split(maxsplit=1)[0]
        return (0, "cpu\ngpu\n", "") if asked in ("sinfo", "qstat", "qconf", "bqueues") else (1, "", self.said)


POLICY = (
    "sbatch: error: Batch job submission failed: Job violates accounting/QOS policy (job submit limit, user's size "
)
POLICY += "and/or time limits)"
SAID: list[tuple[SystemName, str, type[LamflowError], str]] = [
    ("slurm", "sbatch: error: invalid partition specified: gpus\nsbatch: error: Batch job submission failed: Invalid "
     "partition name specified", ClusterError, "`queue` under `batch:` names no partition of this cluster; it has cpu, gpu"),
    ("slurm", "sbatch: error: Batch job submission failed: Invalid account or account/partition combination specified",
     ClusterError, "`account` under `batch:` is not one that you may use"),
    ("slurm", "sbatch: error: Batch job submission failed: Invalid qos specification", ClusterError, "`qos` under"),
    ("slurm", POLICY, FullError, "the queue is full"),
    ("slurm", f"sbatch: error: QOSMaxSubmitJobPerUserLimit\n{POLICY}", FullError, "the queue is full"),
    ("slurm", f"sbatch: error: QOSMaxWallDurationPerJobLimit\n{POLICY}", ClusterError, "`wall_time` under `batch:`"),
    ("slurm", f"sbatch: error: --> error: requested timelimit exceeds max of 24 hours\n{POLICY}", ClusterError,
     "`wall_time` under `batch:`"),
    ("slurm", f"sbatch: error: QOSMaxGRESPerUser\nsbatch: error: QOSMaxCpuPerJobLimit\n{POLICY}", ClusterError,
     "this account or qos has a limit for that"),
    ("slurm", f"sbatch: error: QOSMaxGRESPerUser\n{POLICY}", ClusterError, "this account or qos has a limit for that"),
    ("slurm", f"sbatch: error: QOSGrpCPUMinutesLimit\n{POLICY}", ClusterError, "hours of this account or qos are used up"),
    ("slurm", f"sbatch: error: AssocGrpSubmitJobsLimit\n{POLICY}", FullError, "the queue is full"),
    ("slurm", "sbatch: error: Batch job submission failed: Requested time limit is invalid (missing or exceeds some "
     "limit)", ClusterError, "`wall_time` under `batch:`"),
    ("slurm", "sbatch: error: Batch job submission failed: Invalid generic resource (gres) specification", ClusterError,
     "no node of the partition has the GPUs"),
    ("slurm", "sbatch: error: Batch job submission failed: Unable to contact slurm controller (connect failure)",
     OutageError, "does not answer"),
    ("pbs", "qsub: Unknown queue", ClusterError, "names no queue of this cluster; it has cpu, gpu"),
    ("pbs", "qsub: submit error (Unknown queue MSG=requested queue not found)", ClusterError, "names no queue"),
    ("pbs", "qsub: Job rejected by all possible destinations", ClusterError, "beyond the limits of the queue"),
    ("pbs", "qsub: submit error (Job exceeds queue resource limits MSG=cannot satisfy queue max walltime requirement)",
     ClusterError, "beyond the limits of the queue"),
    ("pbs", "qsub: would exceed complex's per-user limit of jobs in 'Q' state", FullError, "the queue is full"),
    ("pbs", "Connection refused\nqsub: cannot connect to server pbs (errno=15010)", OutageError, "does not answer"),
    ("lsf", "gpus: No such queue. Job not submitted.", ClusterError, "names no queue of this cluster; it has cpu, gpu"),
    ("lsf", "RUNLIMIT: Cannot exceed queue's hard limit(s). Job not submitted.", ClusterError, "`wall_time` under"),
    ("lsf", "User <me>: Pending job threshold reached. Retrying in 60 seconds...", FullError, "the queue is full"),
    ("lsf", "LSF is down. Please wait ...", OutageError, "does not answer"),
    ("sge", 'Unable to run job: Job was rejected because job requests unknown queue "main.q".\nExiting.', ClusterError,
     "names no queue of this cluster; it has cpu, gpu"),
    ("sge", 'Unable to run job: job rejected: the requested parallel environment "smp" does not exist.\nExiting.',
     ClusterError, "`sge: {environment: NAME}` under `batch:` names one"),
    ("sge", 'Unable to run job: unknown resource "gpu"\nExiting.', ClusterError, "`sge: {memory: NAME, gpus: NAME}`"),
    ("sge", "Unable to run job: error: no suitable queues\nExiting.", ClusterError, "no queue has the slots, memory"),
    ("sge", 'Unable to run job: job rejected: the requested project "tin" does not exist\nExiting.', ClusterError,
     "`account` under `batch:` is not a project that you may use"),
    ("sge", "Unable to run job: job rejected: no project was supplied and only certain projects are allowed to submit "
     "jobs\nExiting.", ClusterError, "`account` under `batch:`"),
    ("sge", "Unable to run job: job rejected: you tried to submit a job with more than 75000 tasks\nExiting.",
     ClusterError, "`array_size` under `batch:` is larger than the cluster allows"),
    ("sge", "Unable to run job: job rejected: only 3 jobs are allowed per user (current job count: 3)\nExiting.",
     FullError, "the queue is full"),
    ("sge", "Unable to run job: job rejected: only 1 jobs are allowed per cluster\nExiting.", FullError, "is full"),
    ("sge", "Unable to run job: job rejected: me@node1 is not allowed to submit jobs\nExiting.", ClusterError, "refuses"),
    ("sge", "error: commlib error: got select error (Connection refused)\nUnable to run job: unable to send message to "
     'qmaster using port 6444 on host "node1": got send error\nExiting.', OutageError, "does not answer"),
]  # fmt: skip


@pytest.mark.parametrize(("system", "said", "kind", "advice"), SAID)
def test_a_refusal_is_named_with_its_fix_and_what_passes_is_waited_for(
    system: SystemName, said: str, kind: type[LamflowError], advice: str, tmp_path: Path
) -> None:
    settings = BatchSystem(system=system, outage=1.0)
    queue = Queue(settings, SYSTEMS[system], Recorded(said))
    asked = request(settings, Pod(), "train.3fa9c1.tin", (2, 1, None), "1Gi", output="/run/INDEX.txt")
    with pytest.raises(kind) as raised:
        queue.submit(str(tmp_path / "script.sh"), asked)
    assert type(raised.value) is kind
    assert advice in str(raised.value)
    assert said in str(raised.value)


SGE_REASONS = """\
job_number:                 17
error reason          2:      11/30/2026 16:21:08 [0:15980]: error: can't open output file "/none/x": No such file or directory
scheduling info:            queue instance "all.q@node1" dropped because it is full
                            Job is in error state
==============================================================
qname        all.q
taskid       1
failed       37  : qmaster enforced h_rt, h_cpu, or h_vmem limit
exit_status  137                  (Killed)
ru_wallclock 2s
maxvmem      5.215MB
category     -l h_rt=600,h_vmem=200M
==============================================================
qname        all.q
taskid       3
failed       0
exit_status  1
==============================================================
qname        all.q
taskid       4
failed       0
exit_status  0
==============================================================
qname        all.q
taskid       5
failed       100 : assumedly after job
exit_status  137                  (Killed)
==============================================================
qname        all.q
taskid       6
failed       37  : qmaster enforced h_rt, h_cpu, or h_vmem limit
exit_status  137                  (Killed)
ru_wallclock 601s
category     -l h_rt=600,h_vmem=200M
"""


def test_why_elements_ended_is_asked_where_the_list_of_the_queue_does_not_say_it() -> None:
    class Told(LocalHost):
        def shell(self, command: str, stdin: bytes = b"") -> tuple[int, str, str]:
            assert command == "qstat -j 17; timeout 60 qacct -j 17"
            return 1, SGE_REASONS, ""

    queue = Queue(BatchSystem(system="sge"), SYSTEMS["sge"], Told(Path("/run")))
    ended = dict.fromkeys((0, 2, 3, 4, 5), "gone") | {1: "Eqw"}
    assert queue.explained("17", ended) == {
        0: "gone: qmaster enforced h_rt, h_cpu, or h_vmem limit, exit status 137",
        1: 'Eqw: can\'t open output file "/none/x": No such file or directory',
        2: "gone: FAILED, exit status 1",
        3: "gone",
        4: "gone: assumedly after job, exit status 137",
        5: "gone: its wall time was over, exit status 137",
    }
    assert Queue(BatchSystem(), SYSTEMS["slurm"], Told(Path("/run"))).explained("8", {0: "FAILED"}) == {0: "FAILED"}


@pytest.mark.parametrize(
    "said",
    [
        'denied: job "17" does not exist', 'job "17" task "2" does not exist', "job 3 is already in deletion",
        "Following jobs do not exist: \nwork.3fa9c1.tin",
    ],
)  # fmt: skip
def test_ids_that_grid_engine_does_not_know_any_more_are_no_error(said: str) -> None:
    Queue(BatchSystem(system="sge"), SYSTEMS["sge"], Recorded(said)).cancel(["17"])
