"""A real Slurm of one node on this machine: munged, slurmctld and slurmd with ports, keys and folders of their own."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

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
AccountingStorageType=accounting_storage/none
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


@dataclass
class SlurmCluster:
    """A Slurm whose daemons can be killed and started again. environment: where its commands find it"""

    folder: Path
    daemons: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    @property
    def host(self) -> str:
        """Name of its node."""
        return socket.gethostname().split(".")[0]

    @property
    def environment(self) -> dict[str, str]:
        """Variables for its commands."""
        return {"SLURM_CONF": str(self.folder / "slurm.conf")}

    def start(self, name: str) -> None:
        """Start one of munged, slurmctld and slurmd."""
        socket_file, conf = self.folder / "munge.socket", str(self.folder / "slurm.conf")
        argv = {
            "munged": [
                "munged", "-F", "-f", f"--key-file={self.folder}/munge.key", f"--socket={socket_file}",
                f"--pid-file={self.folder}/munge.pid", f"--log-file={self.folder}/munge.log",
                f"--seed-file={self.folder}/munge.seed",
            ],
            "slurmctld": ["slurmctld", "-D", "-f", conf],
            "slurmd": ["slurmd", "-D", "-f", conf],
        }[name]  # fmt: skip
        with (self.folder / f"{name}.out").open("ab") as log:
            self.daemons[name] = subprocess.Popen(
                argv, stdout=log, stderr=log, stdin=subprocess.DEVNULL, env=os.environ | self.environment
            )

    def kill(self, name: str, number: int = signal.SIGKILL) -> None:
        """End one of them."""
        self.daemons[name].send_signal(number)
        self.daemons.pop(name).wait()

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

    def ask(self, *argv: str) -> str:
        """The output of one of its commands."""
        done = subprocess.run(argv, capture_output=True, text=True, env=os.environ | self.environment, check=False)
        return done.stdout

    def wait(self, is_so: Callable[[], bool], seconds: float = 30.0) -> None:
        """Wait until something is so."""
        deadline = time.monotonic() + seconds
        while not is_so():
            assert time.monotonic() < deadline, f"not within {seconds} s; logs are in {self.folder}"
            time.sleep(0.1)


@contextlib.contextmanager
def slurm_cluster(folder: Path) -> Iterator[SlurmCluster]:
    """A Slurm that lasts as long as the context, with two GPUs that are files."""
    import pwd

    host, user = socket.gethostname().split(".")[0], pwd.getpwuid(os.geteuid()).pw_name
    for name in ("state", "spool"):
        (folder / name).mkdir(parents=True)
    (folder / "munge.key").write_bytes(os.urandom(1024))
    (folder / "munge.key").chmod(0o400)
    with socket.socket() as first, socket.socket() as second:
        first.bind(("127.0.0.1", 0))
        second.bind(("127.0.0.1", 0))
        ports = first.getsockname()[1], second.getsockname()[1]
    (folder / "slurm.conf").write_text(CONF.format(host=host, user=user, folder=folder, ports=ports, cpus=CPUS))
    files = [folder / f"gpu{number}" for number in range(2)]
    for file in files:
        file.touch()
    (folder / "gres.conf").write_text("".join(f"NodeName={host} Name=gpu File={file}\n" for file in files))
    cluster = SlurmCluster(folder)
    try:
        cluster.start("munged")
        cluster.wait((folder / "munge.socket").exists)
        cluster.start("slurmctld")
        cluster.start("slurmd")
        cluster.wait(lambda: "idle" in cluster.ask("sinfo", "-h", "-o", "%t"))
        yield cluster
    finally:
        cluster.ask("scancel", "--user", user)
        for name in list(cluster.daemons)[::-1]:
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
    for name, value in slurm_daemons.environment.items():
        monkeypatch.setenv(name, value)
    slurm_daemons.tidy()
    return slurm_daemons
