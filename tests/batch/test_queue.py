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
     "asks for more than this account or qos allows"),
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
     ClusterError, "this cluster has no parallel environment `smp`; give its own under `header`"),
    ("sge", "error: commlib error: got select error (Connection refused)\nerror: unable to contact qmaster using port "
     "6444", OutageError, "does not answer"),
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
