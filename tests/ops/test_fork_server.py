"""Jobs that are forked from a process which has imported what they need are jobs like others."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

import lamflow
from lamflow.data.layout import SELECTED, SELECTED_RECORD, iteration_key
from lamflow.data.selected import Selected
from lamflow.ops.fork_server import STARTER, ForkServer

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="jobs are forked on Linux only")
SAYS = "import os, sys; print(os.getcwd(), os.environ['WORD'], 'lamflow.ops.train' in sys.modules, sys.argv)"
SLEEPS = "import os, time; open('pid', 'w').write(str(os.getpid())); time.sleep(100)"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ForkServer]:
    """One that has imported lamflow's operations."""
    log = tmp_path_factory.mktemp("server") / "log"
    started = ForkServer.start([], 1, log)
    assert started is not None
    yield started
    started.end()
    assert not psutil.pid_exists(started.group)


def start(server: ForkServer | None, folder: Path, script: str, *words: str) -> subprocess.Popen[str]:
    """A client as dflow starts it, with a script or with `words` instead."""
    file = folder / "script"
    file.write_text(script, encoding="utf-8")
    environment = {**os.environ, "WORD": "hello", **(server.environment if server else {})}
    argv = [*STARTER, *(words or (str(file),))]
    return subprocess.Popen(
        argv, cwd=folder, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )


def pid_of(folder: Path) -> int:
    """The process id that a job has left."""
    deadline = time.monotonic() + 60
    while not (folder / "pid").is_file() or not (folder / "pid").read_text():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return int((folder / "pid").read_text())


def gone(pid: int) -> bool:
    """Nobody has this process id within some seconds."""
    deadline = time.monotonic() + 30
    while psutil.pid_exists(pid) and time.monotonic() < deadline:
        time.sleep(0.05)
    return not psutil.pid_exists(pid)


def test_a_job_finds_everything_imported_and_its_own_folder_and_variables(server: ForkServer, tmp_path: Path) -> None:
    said, _ = start(server, tmp_path, SAYS).communicate(timeout=60)
    assert said.strip() == f"{tmp_path} hello True {[str(tmp_path / 'script')]}"


def test_a_module_is_run_with_its_arguments(server: ForkServer, tmp_path: Path) -> None:
    for waiting in (server, None):
        client = start(waiting, tmp_path, "", "-m", "json.tool", "script")
        said, _ = client.communicate(timeout=60)
        assert "Expecting value" in said
        assert client.returncode == 1


@pytest.mark.parametrize(
    ("script", "status", "says"),
    [
        ("import sys; sys.exit(2)", 2, ""),
        ("import os; os._exit(143)", 143, ""),
        ("raise ValueError('told')", 1, "ValueError: told"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", 137, ""),
    ],
    ids=["says so", "at once", "an error", "killed"],
)
def test_a_job_ends_as_it_would_alone(server: ForkServer, tmp_path: Path, script: str, status: int, says: str) -> None:
    client = start(server, tmp_path, script)
    said, _ = client.communicate(timeout=60)
    assert client.returncode == status
    assert says in said


def test_the_kill_of_a_job_loses_it_alone(server: ForkServer, tmp_path: Path) -> None:
    folders = [tmp_path / name for name in ("one", "other")]
    for folder in folders:
        folder.mkdir()
    one, other = (start(server, folder, SLEEPS) for folder in folders)
    os.kill(pid_of(folders[0]), signal.SIGKILL)
    assert one.wait(timeout=60) == 137
    assert psutil.pid_exists(pid_of(folders[1]))
    other.kill()
    assert gone(pid_of(folders[1])), "a job for which nobody waits is ended"
    other.wait()
    assert start(server, tmp_path, SAYS).wait(timeout=60) == 0, "and the server goes on"


def test_jobs_die_with_the_server_and_start_by_themselves_without(tmp_path: Path) -> None:
    server = ForkServer.start([], 1, tmp_path / "log")
    assert server is not None
    client = start(server, tmp_path, SLEEPS)
    pid = pid_of(tmp_path)
    server.end()
    assert gone(pid)
    assert client.wait(timeout=60) == 1
    said, _ = start(server, tmp_path, SAYS).communicate(timeout=60)
    assert "hello False" in said


def test_a_job_waits_for_a_server_that_imports_and_starts_by_itself_when_that_dies(tmp_path: Path) -> None:
    server = ForkServer.start([], 1, tmp_path / "log")
    assert server is not None
    os.killpg(server.group, signal.SIGSTOP)  # as if its imports took long
    client = start(server, tmp_path, SAYS)
    with pytest.raises(subprocess.TimeoutExpired):
        client.wait(timeout=1)
    server.end()
    said, _ = client.communicate(timeout=60)
    assert "hello False" in said
    assert client.returncode == 0


@pytest.mark.slow
def test_the_same_frames_are_selected(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    study = tmp_path / "tiny.yaml"
    study.write_text(TINY, encoding="utf-8")
    monkeypatch.setenv("LAMFLOW_CACHE", str(tmp_path / "cache"))
    lamflow.Study.load(study).run(tmp_path / "forked")
    assert (tmp_path / "forked" / "work" / "fork-server.log").read_text() == ""
    monkeypatch.setattr(ForkServer, "start", classmethod(lambda *_: None))
    lamflow.Study.load(study).run(tmp_path / "alone")
    chosen = [
        [frame.hash for frame in Selected.read(tmp_path / run / iteration_key(1) / SELECTED / SELECTED_RECORD).chosen]
        for run in ("forked", "alone")
    ]
    assert chosen[0]
    assert chosen[0] == chosen[1]


TINY = """\
name: tiny
seed: 3
elements: [Cu]
structures:
  - {name: rattled, crystal: {formula: Cu, lattice: fcc, a: 3.6, cubic: true}, copies: 8, strain: 0.02, rattle: 0.05}
start: {label: [rattled]}
heldout: {fraction: 0.25}
train: {engine: pair, models: 2, functions: 6}
stages:
  - name: warm
    explore: [{engine: ase, structures: [rattled], method: langevin, temperatures: [300], steps: 20, every: 4}]
select: {window: {rule: fixed, low: 0.001, high: 2.0}, limit: 4}
label: {engine: emt}
converge: {accurate: 0.999}
budget: {iterations: 2}
"""
