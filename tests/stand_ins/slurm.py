"""A real Slurm of one node on this machine: munged, slurmctld and slurmd with ports, keys and folders of their own."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.stand_ins.daemons import Daemons, free_ports

CPUS = 4
"""That the node says it has; more than this machine may have."""
CONF = """\
ClusterName=one
SlurmctldHost={host}(127.0.0.1)
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
CredType=cred/munge
AuthInfo=socket={folder}/munge.socket
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
SlurmctldPort={ports[0]}
SlurmdPort={ports[1]}
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
SchedulerType=sched/backfill
SchedulerParameters=batch_sched_delay=0,sched_min_interval=0,sched_interval=2,bf_interval=2
ReturnToService=2
SlurmdParameters=config_overrides
KillWait=3
MinJobAge=30
OverTimeLimit=0
JobRequeue=1
GresTypes=gpu
JobAcctGatherType=jobacct_gather/none
MaxArraySize=1001
NodeName={host} NodeAddr=127.0.0.1 CPUs={cpus} RealMemory=32000 Gres=gpu:2 State=UNKNOWN
PartitionName=all Nodes={host} Default=YES MaxTime=INFINITE State=UP
PartitionName=short Nodes={host} MaxTime=1 State=UP
"""


def missing() -> str | None:
    """Why there can be no Slurm here."""
    if shutil.which("slurmctld") is None or shutil.which("munged") is None:
        return "Slurm is missing: apt-get install --no-install-recommends slurm-wlm munge"
    return None if os.geteuid() == 0 else "Slurm needs root here: its node starts jobs as their users"


class SlurmCluster(Daemons):
    """A Slurm whose daemons can be killed and started again."""

    def tidy(self) -> None:
        """End all jobs, and have the node ready again."""
        self.ask("scancel", "--user", "root")
        self.wait(lambda: not self.ask("squeue", "-h"))
        if "idle" not in self.ask("sinfo", "-h", "-p", "all", "-o", "%t"):
            self.ask("scontrol", "update", f"nodename={self.host}", "state=resume")
            self.wait(lambda: "idle" in self.ask("sinfo", "-h", "-p", "all", "-o", "%t"))

    def at_once(self, job: str) -> None:
        """Have a job that was requeued begin; Slurm lets two minutes pass."""
        self.wait(lambda: "PENDING" in self.ask("squeue", "-h", "-j", job, "-o", "%T"), 60)
        self.ask("scontrol", "update", f"jobid={job}", "starttime=now")


@contextlib.contextmanager
def slurm_cluster(
    folder: Path, more: str = "", before: Callable[[SlurmCluster], None] = lambda _: None
) -> Iterator[SlurmCluster]:
    """A Slurm that lasts as long as the context, with two GPUs that are files.

    more    lines of its configuration
    before  what is done before slurmctld starts
    """
    import pwd

    host, user = socket.gethostname().split(".")[0], pwd.getpwuid(os.geteuid()).pw_name
    for name in ("state", "spool"):
        (folder / name).mkdir(parents=True)
    (folder / "munge.key").write_bytes(os.urandom(1024))
    (folder / "munge.key").chmod(0o400)
    conf = folder / "slurm.conf"
    conf.write_text(CONF.format(host=host, user=user, folder=folder, ports=free_ports(2), cpus=CPUS) + more)
    files = [folder / f"gpu{number}" for number in range(2)]
    for file in files:
        file.touch()
    (folder / "gres.conf").write_text("".join(f"NodeName={host} Name=gpu File={file}\n" for file in files))
    munged = [
        "munged", "-F", "-f", f"--key-file={folder}/munge.key", f"--socket={folder}/munge.socket",
        f"--pid-file={folder}/munge.pid", f"--log-file={folder}/munge.log", f"--seed-file={folder}/munge.seed",
    ]  # fmt: skip
    argv = {"munged": munged} | {name: [name, "-D", "-f", str(conf)] for name in ("slurmctld", "slurmd")}
    cluster = SlurmCluster(folder, {"SLURM_CONF": str(conf)}, argv)
    try:
        cluster.start("munged")
        cluster.wait((folder / "munge.socket").exists)
        before(cluster)
        cluster.start("slurmctld")
        cluster.start("slurmd")
        cluster.wait(lambda: "idle" in cluster.ask("sinfo", "-h", "-o", "%t"))
        yield cluster
    finally:
        cluster.ask("scancel", "--user", user)
        for name in list(cluster.running)[::-1]:
            cluster.kill(name, signal.SIGTERM if name != "munged" else signal.SIGKILL)


@pytest.fixture(scope="session")
def slurm_daemons(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SlurmCluster]:
    """One Slurm for the whole session."""
    why = missing()
    if why is not None:
        pytest.skip(why)
    with slurm_cluster(tmp_path_factory.mktemp("slurm")) as cluster:
        yield cluster


@pytest.fixture
def slurm(slurm_daemons: SlurmCluster, monkeypatch: pytest.MonkeyPatch) -> SlurmCluster:
    """A real Slurm, which the environment points at."""
    slurm_daemons.point_at(monkeypatch)
    slurm_daemons.tidy()
    return slurm_daemons
