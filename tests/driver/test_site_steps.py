"""Runs on a cluster with steps on a real Slurm: the frames are those of one machine."""

from __future__ import annotations

import sys
import threading
from pathlib import Path

import pytest

from lamflow.batch.step_state import StepState
from lamflow.config import load, parse
from lamflow.data.layout import WORK
from lamflow.driver import cluster_runs
from lamflow.driver.argo_executor import ArgoExecutor
from lamflow.driver.loop import run as run_here
from lamflow.driver.run_location import RunLocation
from lamflow.driver.rundir import RunDirectory
from lamflow.errors import InputError
from tests.conftest import ROOT, STUDY
from tests.driver.test_remote import Place, Quiet, frames_of, place, until  # noqa: F401  a fixture
from tests.stand_ins.slurm import SlurmCluster
from tests.stand_ins.ssh import SshServer

pytestmark = pytest.mark.slow
SHORT = STUDY.replace("iterations: 2", "iterations: 1")
"""Its one iteration labels nothing."""


def ends_with(text: str, folder: Path) -> list[tuple[str, str]]:
    """The frames that a study ends with on one machine."""
    run_here(parse(text), folder / "here")
    return frames_of(folder / "here")


def steps(folder: Path) -> dict[str, StepState]:
    """How the steps stand that went to batch systems, by round and name."""
    return {
        f"{step.parent.name} {step.name}": StepState.of_step(step) for step in sorted(folder.glob("work/batch/0*/*"))
    }


def site(ssh: SshServer | None, slurm: SlurmCluster, root: Path) -> str:
    """A study's section: the Slurm as a site, over ssh or from here."""
    there = f"before: ['export PYTHONPATH={ROOT}'], python: {sys.executable}"
    if ssh is not None:
        there += f", host: '{ssh.host}', port: {ssh.port}, root: {root}"
        there += f", login: ['export SLURM_CONF={slurm.folder}/slurm.conf']"
    return f"sites: {{slurm1: {{system: slurm, poll: 1, {there}}}}}\n"


def test_labels_go_to_slurm_from_a_driver_in_a_pod(
    place: Place,  # noqa: F811  the fixture
    slurm: SlurmCluster,
    ssh: SshServer,
) -> None:
    place.argo.ssh_secret = ssh.secret(place.folder / "ssh-secret")
    root = place.folder / "scratch"

    def change(_: str) -> str:
        text = STUDY.replace("label: {parallel: 1}}", "label: {parallel: 1, site: slurm1}}")
        return text + site(ssh, slurm, root)

    file = place.study(change)
    with pytest.raises(InputError, match=r"pods\.label\.site: slurm1: .*cluster\.ssh_secret"):
        cluster_runs.submit(load(file), place.folder / "run")
    file.write_text(file.read_text().replace("cluster: {", "cluster: {ssh_secret: lamflow-ssh, "))
    cluster_runs.submit(load(file), place.folder / "run")

    def lose() -> None:
        until(lambda: bool(slurm.ask("squeue", "-h", "-t", "running")))
        place.argo.kill("driver")

    thread = threading.Thread(target=lose)
    thread.start()
    record = place.end()
    thread.join()
    assert record.state == "ended"
    assert place.frames() == ends_with(STUDY, place.folder)
    (there,) = root.glob("tiny-*")
    standing = steps(there)
    assert set(standing) == {"000 label", "001 label"}
    for its in standing.values():
        assert len(its.arrays) == 1
        assert all(len(tried) == 1 for tried in its.tries.values()), "nothing runs twice"
    assert not any("-label-" in pod for pod in place.argo.pods)


def test_labels_stay_on_kubernetes_and_the_rest_goes_to_slurm(
    place: Place,  # noqa: F811  the fixture
    slurm: SlurmCluster,
) -> None:
    def change(_: str) -> str:
        pods = "pods: {train: {parallel: 1, site: slurm1}, explore: {site: slurm1}, label: {parallel: 1}, small: {site: here}}"
        return SHORT.replace("pods: {train: {parallel: 1}, label: {parallel: 1}}", pods) + site(
            None, slurm, place.folder
        )

    study = load(place.study(change))
    cluster_runs.refuse_what_cannot_start(study, drive_here=True)
    with pytest.raises(InputError, match=r"pods\.train\.site: slurm1: .*USER@HOST"):
        cluster_runs.refuse_what_cannot_start(study)
    path = place.folder / "run"
    run_here(study, path, Quiet(), ArgoExecutor(RunDirectory(path), RunLocation.of(study)))
    assert place.frames() == ends_with(SHORT, place.folder)
    standing = steps(path / WORK / "sites")
    assert {name.split()[1] for name in standing} == {"train", "explore", "select", "merge"}
    assert all(len(tried) == 1 for its in standing.values() for tried in its.tries.values())
    assert {pod.split("-")[-2] for pod in place.argo.pods} == {"label"}
