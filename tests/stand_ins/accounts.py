"""A real Slurm with accounts and limits: slurmdbd, and MariaDB with a folder and a port of its own."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator

import pytest

from tests.stand_ins import slurm
from tests.stand_ins.daemons import free_ports
from tests.stand_ins.slurm import SlurmCluster, slurm_cluster

CONF = """\
AccountingStorageType=accounting_storage/slurmdbd
AccountingStorageHost=127.0.0.1
AccountingStoragePort={port}
AccountingStoragePass={folder}/munge.socket
AccountingStorageEnforce=associations,limits,qos
AccountingStorageTRES=gres/gpu
PriorityType=priority/multifactor
"""
DATABASE = """\
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
DbdHost={host}
DbdAddr=127.0.0.1
DbdPort={port}
SlurmUser=root
PidFile={folder}/slurmdbd.pid
LogFile={folder}/slurmdbd.log
StorageType=accounting_storage/mysql
StorageHost=127.0.0.1
StoragePort={mariadb}
StorageUser=slurm
StoragePass=tests
StorageLoc=slurm
"""
GRANT = "CREATE USER slurm@localhost IDENTIFIED BY 'tests'; GRANT ALL ON slurm.* TO slurm@localhost"
QOS = {
    "short": "MaxWall=00:05:00",
    "strict": "MaxWall=00:05:00 Flags=DenyOnLimit",
    "onegpu": "MaxTRESPerUser=gres/gpu=1 Flags=DenyOnLimit",
    "few": "MaxSubmitJobsPerUser=2",
    "secret": "",
}
ACCOUNTS = {"chemistry": "", "physics": "", "spent": "GrpTRESMins=cpu=0"}
"""Root may use `chemistry` and `spent`, and each QOS but `secret`."""


def missing() -> str | None:
    """Why there can be no accounts here."""
    if shutil.which("slurmdbd") is None or shutil.which("mariadbd") is None:
        return "accounts of Slurm are missing: apt-get install --no-install-recommends slurmdbd mariadb-server"
    return slurm.missing()


def _database(cluster: SlurmCluster, port: int) -> None:
    """Start MariaDB and slurmdbd."""
    folder, data, socket = cluster.folder, cluster.folder / "database", cluster.folder / "mariadb.socket"
    (mariadb,) = free_ports(1)
    install = ["mariadb-install-db", "--no-defaults", f"--datadir={data}", "--user=root", "--skip-test-db"]
    subprocess.run([*install, "--auth-root-authentication-method=normal"], check=True, stdout=subprocess.DEVNULL)
    conf = folder / "slurmdbd.conf"
    conf.touch(mode=0o600)
    conf.write_text(DATABASE.format(folder=folder, host=cluster.host, port=port, mariadb=mariadb))
    cluster.argv |= {
        "slurmdbd": ["slurmdbd", "-D"],
        "mariadbd": [
            "mariadbd", "--no-defaults", f"--datadir={data}", f"--socket={socket}", "--user=root", f"--port={mariadb}",
            "--bind-address=127.0.0.1", f"--pid-file={folder}/mariadb.pid",
        ],
    }  # fmt: skip
    cluster.start("mariadbd")
    cluster.wait(socket.exists)
    cluster.ask("mariadb", "--no-defaults", "-S", str(socket), "-u", "root", "-e", GRANT)
    cluster.start("slurmdbd")
    cluster.wait(lambda: "normal" in cluster.ask("sacctmgr", "-n", "show", "qos"))
    cluster.ask("sacctmgr", "-i", "add", "cluster", "one")


def _fill(cluster: SlurmCluster) -> None:
    """Make accounts and limits. slurmctld has told the database what GPUs are."""
    for kind, those in (("qos", QOS), ("account", ACCOUNTS)):
        for name, words in those.items():
            cluster.ask("sacctmgr", "-i", "add", kind, name, *words.split())
    allowed = ",".join(["normal", *(name for name in QOS if name != "secret")])
    cluster.ask("sacctmgr", "-i", "add", "user", "root", "account=chemistry,spent", f"qos={allowed}")
    said = cluster.ask("sacctmgr", "-i", "modify", "user", "root", "set", "DefaultAccount=chemistry")
    assert "Modified" in said, said


@pytest.fixture(scope="session")
def accounts_daemons(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SlurmCluster]:
    """One Slurm with accounts for the whole session."""
    why = missing()
    if why is not None:
        pytest.skip(why)
    folder, (port,) = tmp_path_factory.mktemp("accounts"), free_ports(1)
    lines = CONF.format(folder=folder, port=port)
    with slurm_cluster(folder, lines, lambda cluster: _database(cluster, port)) as cluster:
        _fill(cluster)
        yield cluster


@pytest.fixture
def accounts(accounts_daemons: SlurmCluster, monkeypatch: pytest.MonkeyPatch) -> SlurmCluster:
    """A real Slurm with accounts, which the environment points at."""
    accounts_daemons.point_at(monkeypatch)
    accounts_daemons.tidy()
    return accounts_daemons
