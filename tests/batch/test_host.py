"""A batch system that is reached over ssh: a real server, with another folder for what its nodes see."""

from __future__ import annotations

import shutil
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from lamflow.api import Study
from lamflow.batch.host import Ssh
from lamflow.config.batch import BatchSystem
from lamflow.errors import ClusterError, InputError, OutageError
from tests.batch.conftest import Background, Trial
from tests.batch.test_run import hashes
from tests.conftest import ROOT
from tests.stand_ins.slurm import SlurmCluster
from tests.stand_ins.ssh import SshServer, ssh_server


def settings(ssh: SshServer, root: Path, **more: Any) -> BatchSystem:
    return BatchSystem.model_validate(
        {"host": ssh.host, "port": ssh.port, "identity": ssh.identity, "root": str(root), "poll": 1, **more}
    )


def test_files_go_there_once_and_come_back(ssh: SshServer, tmp_path: Path) -> None:
    store, root = tmp_path / "run", tmp_path / "there"
    (store / "data").mkdir(parents=True)
    (store / "data" / "a b").write_text("1")
    machine = Ssh(store, settings(ssh, root), lambda: "run")
    machine.send(["data", "none"])
    assert (root / "run" / "data" / "a b").read_text() == "1"
    (root / "run" / "data" / "a b").write_text("as it was left")
    machine.send(["data"])
    assert (root / "run" / "data" / "a b").read_text() == "as it was left"
    (root / "run" / "results").mkdir()
    (root / "run" / "results" / "x").write_text("2")
    machine.bring(["results", "nothing"])
    assert (store / "results" / "x").read_text() == "2"
    (root / "run" / "results" / "link").symlink_to("/etc/passwd")
    with pytest.raises(ClusterError, match="results/link, which no job of lamflow leaves"):
        machine.bring(["results"])
    assert machine.shell("echo $((1 + 1)); exit 3") == (3, "2\n", "")
    assert machine.shell("exit 255")[0] == 254


def test_a_host_that_is_not_the_known_one_is_refused(ssh: SshServer, tmp_path: Path) -> None:
    machine = Ssh(tmp_path, settings(ssh, tmp_path / "there"), lambda: "run")
    ssh.know(ssh.folder / "other")
    with pytest.raises(
        ClusterError, match=r"127\.0\.0\.1: ssh refuses: the key of \[127\.0\.0\.1\]:\d+ is not the one"
    ):
        machine.shell("true")


def test_a_key_that_is_not_let_in_and_a_host_that_does_not_answer(ssh: SshServer, tmp_path: Path) -> None:
    stranger = settings(ssh, tmp_path / "there", identity=str(ssh.folder / "other"))
    with pytest.raises(ClusterError, match=r"ssh is not let in: .*Permission denied.*`identity` under `batch:`"):
        Ssh(tmp_path, stranger, lambda: "run").shell("true")
    with pytest.raises(OutageError, match=r"no connection: .*Connection refused"):
        Ssh(tmp_path, settings(ssh, tmp_path / "there", port=9), lambda: "run").shell("true")


def test_jump_hosts_take_the_same_key_and_each_must_be_known(
    ssh: SshServer, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Nothing of this machine's own ssh settings helps: with `ssh -J` a jump host would get neither key nor options."""
    with ssh_server(tmp_path_factory.mktemp("gate")) as gate, ssh_server(tmp_path_factory.mktemp("inner")) as inner:
        for jump in (gate, inner):
            shutil.copy(ssh.folder / "authorized", jump.folder / "authorized")
        known = [(server.folder / "known").read_text() for server in (gate, inner, ssh)]
        (ssh.folder / "known").write_text("".join(known))
        through = settings(ssh, tmp_path / "there", jump=[f"{each.host}:{each.port}" for each in (gate, inner)])
        machine = Ssh(tmp_path, through, lambda: "run")
        assert machine.shell("echo there") == (0, "there\n", "")
        (tmp_path / "input").write_text("1")
        machine.send(["input"])
        assert (tmp_path / "there" / "run" / "input").read_text() == "1"
        inner.stop()
        with pytest.raises(OutageError, match=r"127\.0\.0\.1: no connection: "):
            Ssh(tmp_path, through, lambda: "run").shell("true")
        inner.start()
        (ssh.folder / "known").write_text("".join(known[1:]))
        ssh.stop()  # and with it connections that are kept open
        ssh.start()
        with pytest.raises(ClusterError, match=rf"the key of \[127\.0\.0\.1\]:{gate.port} is not the one"):
            Ssh(tmp_path, through, lambda: "run").shell("true")


def test_a_connection_that_is_lost_is_made_again_and_jobs_go_on_meanwhile(
    trial: Trial, ssh: SshServer, in_background: Background
) -> None:
    root = trial.store.parent / "there"
    trial.order(_0="sleep 6", _1="sleep 6")
    reached: dict[str, Any] = {"host": ssh.host, "port": ssh.port, "identity": ssh.identity, "root": str(root)}
    prepared = [f"export PYTHONPATH={ROOT}"]
    carried = trial.carried(2, system="shell", python=sys.executable, before=prepared, **reached)
    done = in_background(carried.run)
    while len(list(root.glob("run/work/batch/001/work/status/*.json"))) < 2:
        assert not done.done(), done.result()
        time.sleep(0.1)
    ssh.stop()
    while not any("asking again" in words for words in trial.said):
        assert not done.done(), done.result()
        time.sleep(0.1)
    ssh.start()
    done.result()
    assert set(trial.results) == {"0", "1"}
    assert all(len(tried) == 1 for tried in trial.standing.tries.values())


@pytest.mark.slow
def test_a_run_over_ssh_equals_the_local_one(
    ssh: SshServer, slurm: SlurmCluster, study: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = study.read_text(encoding="utf-8").replace("iterations: 2", "iterations: 1")
    study.write_text(text, encoding="utf-8")
    here = Study.load(study).run(tmp_path / "here")
    root = tmp_path / "scratch"
    batch = (
        f"batch: {{system: slurm, poll: 1, host: '{ssh.host}', port: {ssh.port}, identity: {ssh.identity}, root: {root}, "
        f"before: ['export PYTHONPATH={ROOT}'], login: ['export SLURM_CONF={slurm.folder}/slurm.conf']}}\n"
    )
    study.write_text(text + batch, encoding="utf-8")
    monkeypatch.delenv("SLURM_CONF")
    there = Study.load(study).run(tmp_path / "there", on="slurm")
    assert hashes(there.path) == hashes(here.path) != {}
    with pytest.raises(InputError, match="has a space in its name"):
        Study.load(study).run(tmp_path / "a run", on="slurm")
    with pytest.raises(InputError, match="the driver stays on this machine"):
        Study.load(study).submit(tmp_path / "queue")
