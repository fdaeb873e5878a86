"""A real Grid Engine of one node on this machine: sge_qmaster and sge_execd with ports and folders of their own."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.stand_ins.daemons import Daemons, free_ports

PROGRAMS = Path("/usr/lib/gridengine")
"""Where Debian has what its commands call."""
SHARED = Path("/usr/share/gridengine")
SLOTS = 4
"""That the node says it has; more than this machine may have CPUs."""
BOOTSTRAP = """\
admin_user {user}
default_domain none
ignore_fqdn true
spooling_method classic
spooling_lib libspoolc
spooling_params {common};{spool}
binary_path /usr/sbin
qmaster_spool_dir {spool}
security_mode none
listener_threads 1
worker_threads 1
scheduler_threads 1
"""
CONFIGURATION = {
    "execd_spool_dir": "{folder}/execd", "min_uid": "0", "min_gid": "0", "mailer": "none",
    "load_report_time": "00:00:01", "max_unheard": "00:00:10",
    "reporting_params": "accounting=true reporting=false flush_time=00:00:01 joblog=false sharelog=00:00:00",
}  # fmt: skip
SCHEDULER = {
    "schedule_interval": "0:0:1", "flush_submit_sec": "1", "flush_finish_sec": "1", "job_load_adjustments": "NONE",
    "load_adjustment_decay_time": "0:0:0",
}  # fmt: skip
QUEUE = {
    "hostlist": "{host}", "load_thresholds": "NONE", "slots": "{slots}", "shell": "/bin/bash", "rerun": "FALSE",
    "pe_list": "smp", "processors": "UNDEFINED",
}  # fmt: skip
COMPLEXES = """\
gpu gpu INT <= YES JOB 0 0
h_vmem h_vmem MEMORY <= YES YES 4G 0
"""
"""What the node has a number of: GPUs of a job, memory of a slot."""


def missing() -> str | None:
    """Why there can be no Grid Engine here."""
    if not (PROGRAMS / "sge_qmaster").is_file() or not (PROGRAMS / "sge_execd").is_file():
        packages = "gridengine-master gridengine-exec gridengine-client"
        return f"Grid Engine is missing: apt-get install --no-install-recommends {packages}"
    return None if os.geteuid() == 0 else "Grid Engine needs root here: its node starts jobs as their users"


class GridEngine(Daemons):
    """A Grid Engine whose daemons can be killed and started again."""

    def tidy(self) -> None:
        """End all jobs, and have the queue as it was."""
        for name in ("qmaster", "execd"):
            if name not in self.running:
                self.start(name)
        if not self.is_up():  # an execd asks seldom for a qmaster that was away
            self.kill("execd")
            self.start("execd")
            self.wait(self.is_up)
        if self.ask("qstat", "-u", "*"):
            self.ask("qdel", "-f", "-u", "*")
            self.wait(lambda: not self.ask("qstat", "-u", "*"))

    def is_up(self) -> bool:
        """The queue takes jobs."""
        rows = re.findall(r"^all\.q@\S+\s+\S+\s+\S+\s+\S+\s+lx\S+ *(\S*)$", self.ask("qstat", "-f"), re.MULTILINE)
        return rows == [""]

    def put(self, option: str, name: str, text: str) -> None:
        """Give qconf a file."""
        file = self.folder / name
        file.write_text(text, encoding="utf-8")
        said = self.ask("qconf", option, str(file))
        assert "error" not in said, said

    def change(self, key: str, value: str) -> None:
        """Change the configuration of the whole cluster."""
        self.put("-Mconf", "global", changed(self.ask("qconf", "-sconf"), {key: value}))


def changed(text: str, values: dict[str, str]) -> str:
    """Lines of a key and a value, some with other values."""
    rows = [line.split(maxsplit=1) for line in text.splitlines() if line and not line.startswith("#")]
    return "".join(f"{row[0]} {values.get(row[0], row[-1])}\n" for row in rows)


def _lay(folder: Path, host: str) -> None:
    """The files that sge_qmaster starts from."""
    import pwd

    common, spool = folder / "root" / "default" / "common", folder / "spool"
    for path in (common, spool, folder / "execd"):
        path.mkdir(parents=True)
    for name in ("bin", "lib", "util", "utilbin"):
        (folder / "root" / name).symlink_to(Path("/var/lib/gridengine") / name)
    user = pwd.getpwuid(os.geteuid()).pw_name
    (common / "bootstrap").write_text(BOOTSTRAP.format(user=user, common=common, spool=spool))
    (common / "act_qmaster").write_text(f"{host}\n")
    (common / "host_aliases").write_text(f"{host} localhost\n")
    values = {key: value.format(folder=folder) for key, value in CONFIGURATION.items()}
    (folder / "configuration").write_text(changed((SHARED / "default-configuration").read_text(), values))


def _configure(engine: GridEngine) -> None:
    """Its node, scheduler, complexes, parallel environment and queue."""
    folder, host = engine.folder, engine.host
    resources, spool = SHARED / "util" / "resources", f"{folder}/root/default/common;{folder}/spool"
    engine.ask(str(PROGRAMS / "spoolinit"), "classic", "libspoolc", spool, "init")
    for words in (
        ("configuration", str(folder / "configuration")), ("complexes", str(resources / "centry")),
        ("usersets", str(resources / "usersets")), ("managers", "root"),
    ):  # fmt: skip
        engine.ask(str(PROGRAMS / "spooldefaults"), *words)
    engine.start("qmaster")
    engine.wait(lambda: host in engine.ask("qconf", "-sh"))
    engine.ask("qconf", "-as", host)
    known = engine.ask("qconf", "-sc").splitlines()
    kept = [line for line in known if not line.startswith(("#", "h_vmem", "gpu"))]
    engine.put("-Mc", "complexes", "\n".join(kept) + f"\n{COMPLEXES}")
    engine.put("-Ae", "node", f"hostname {host}\nload_scaling NONE\ncomplex_values gpu=2,h_vmem=64G\nuser_lists NONE\n"
               "xuser_lists NONE\nprojects NONE\nxprojects NONE\nusage_scaling NONE\nreport_variables NONE\n")  # fmt: skip
    engine.put("-Msconf", "scheduler", changed(engine.ask("qconf", "-ssconf"), SCHEDULER))
    engine.put("-Ap", "environment", (resources / "pe" / "smp").read_text())
    values = {key: value.format(host=host, slots=SLOTS) for key, value in QUEUE.items()}
    engine.put("-Aq", "queue", changed(_queue_template(engine), values))
    engine.start("execd")


def _queue_template(engine: GridEngine) -> str:
    return engine.ask("env", "EDITOR=cat", "qconf", "-aq", "all.q")


@contextlib.contextmanager
def grid_engine_cluster(folder: Path) -> Iterator[GridEngine]:
    """A Grid Engine that lasts as long as the context, with two GPUs in its books."""
    ports = free_ports(2)
    environment = {
        "SGE_ROOT": f"{folder}/root", "SGE_CELL": "default", "SGE_QMASTER_PORT": f"{ports[0]}",
        "SGE_EXECD_PORT": f"{ports[1]}", "SGE_ND": "1", "SGE_SINGLE_LINE": "1",
    }  # fmt: skip
    argv = {name: [str(shutil.which(f"sge_{name}"))] for name in ("qmaster", "execd")}
    engine = GridEngine(folder, environment, argv)
    _lay(folder, engine.host)
    try:
        _configure(engine)
        engine.wait(engine.is_up)
        yield engine
    finally:
        engine.ask("qdel", "-f", "-u", "*")
        for name in list(engine.running)[::-1]:
            engine.kill(name, signal.SIGKILL)


@pytest.fixture(scope="session")
def grid_engine_daemons(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GridEngine]:
    """One Grid Engine for the whole session."""
    why = missing()
    if why is not None:
        pytest.skip(why)
    with grid_engine_cluster(tmp_path_factory.mktemp("sge")) as engine:
        yield engine


@pytest.fixture
def grid_engine(grid_engine_daemons: GridEngine, monkeypatch: pytest.MonkeyPatch) -> GridEngine:
    """A real Grid Engine, which the environment points at."""
    grid_engine_daemons.point_at(monkeypatch)
    grid_engine_daemons.tidy()
    return grid_engine_daemons
