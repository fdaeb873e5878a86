"""Machine files of DP-GEN and dispatcher executors of dpgen2 become `batch:` and `sites:`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from lamflow.config.read import parse
from lamflow.migrate.machines import _flags
from tests.migrate.test_migrate import DPGEN2, PARAM, made, place, said

__all__ = ["place"]

SLURM = {
    "batch_type": "Slurm", "context_type": "SSHContext", "local_root": "./", "remote_root": "/scratch/me",
    "remote_profile": {"hostname": "login.hpc", "username": "me", "port": 2222, "key_filename": "~/.ssh/hpc", "password": "HUSH"},
}  # fmt: skip
PBS = {"batch_type": "PBS", "context_type": "LocalContext"}
MACHINE: dict[str, Any] = {
    "api_version": "1.0",
    "train": [{"command": "dp", "machine": SLURM, "resources": {
        "number_node": 1, "cpu_per_node": 4, "gpu_per_node": 1, "queue_name": "gpu", "group_size": 1,
        "custom_flags": ["#SBATCH --time=1-12:00:00", "#SBATCH -A ab123", "#SBATCH --exclusive"],
        "module_list": ["cuda/12"], "source_list": ["~/env.sh"], "envs": {"DP_INFER_BATCH_SIZE": 4}}}],
    "model_devi": [{"command": "lmp", "machine": SLURM, "resources": {"gpu_per_node": 1, "group_size": 10, "para_deg": 4}}],
    "fp": [{"command": "mpirun vasp_std", "machine": PBS, "resources": {
        "number_node": 2, "cpu_per_node": 32, "group_size": 5, "custom_flags": "#PBS -l walltime=02:30:00"}}],
}  # fmt: skip


def test_a_machine_file_says_where_jobs_run(place: Path) -> None:
    found = made(place, PARAM, MACHINE)
    assert "HUSH" not in found.text + said(found)
    text = yaml.safe_load(found.text)
    assert text["batch"] == {
        "system": "slurm", "host": "me@login.hpc", "root": "/scratch/me", "port": 2222, "identity": "~/.ssh/hpc",
    }  # fmt: skip
    assert text["sites"] == {"label": {"system": "pbs"}}
    assert text["pods"]["train"]["batch"] == {
        "queue": "gpu", "modules": ["cuda/12"], "source": ["~/env.sh"], "wall_time": 129600.0, "account": "ab123",
        "header": ["#SBATCH --exclusive"],
    }  # fmt: skip
    assert text["pods"]["train"]["environment"] == {"DP_INFER_BATCH_SIZE": "4"}
    assert text["pods"]["train"]["cpu"] == "4"
    assert text["pods"]["explore"] == {"gpus": 1, "batch": {"together": 4}, "work_per_job": 10}
    assert text["pods"]["label"]["batch"] == {"nodes": 2, "wall_time": 9000.0}
    assert text["pods"]["label"]["site"] == "label"
    study = parse(found.text, root=place, files=False)
    assert study.batch is not None
    assert study.batch.overridden(study.pods.explore.batch).together == 4


@pytest.mark.parametrize(
    ("system", "line", "expected"),
    [
        ("slurm", "#SBATCH -t 10", [("wall_time", 600.0)]),
        ("slurm", "#SBATCH --time=2:30", [("wall_time", 150.0)]),
        ("slurm", "#SBATCH -t24 --qos=a # a day", [("wall_time", 1440.0), ("qos", "a")]),
        ("lsf", "#BSUB -W30", [("wall_time", 1800.0)]),
        ("lsf", "#BSUB -We 30", [("header", "#BSUB -We 30")]),
        ("pbs", "#PBS -lwalltime=600", [("wall_time", 600.0)]),
        ("slurm", "#SBATCH --time=1-12:30", [("wall_time", 131400.0)]),
        ("slurm", "#SBATCH --time=INFINITE", [("header", "#SBATCH --time=INFINITE")]),
        ("lsf", "#BSUB -W 24:00", [("wall_time", 86400.0)]),
        ("lsf", "#BSUB -W 30", [("wall_time", 1800.0)]),
        ("sge", "#$ -l h_rt=86400", [("wall_time", 86400.0)]),
        ("pbs", "#PBS -l walltime=86400", [("wall_time", 86400.0)]),
        ("pbs", "#PBS -l nodes=1:ppn=4,walltime=02:30:00",
         [("header", "#PBS -l nodes=1:ppn=4"), ("wall_time", 9000.0)]),
        ("slurm", "#SBATCH --account=a --qos=b", [("account", "a"), ("qos", "b")]),
        ("slurm", '#SBATCH -C "gpu|big" --mem=1G', [("constraint", "gpu|big"), ("header", "#SBATCH --mem=1G")]),
        ("slurm", "#SBATCH --nodelist=n-C 3", [("header", "#SBATCH --nodelist=n-C 3")]),
        ("slurm", "export SECRET='-t 10'", [("header", "export SECRET='-t 10'")]),
    ],
)  # fmt: skip
def test_flags_mean_what_their_system_means(system: str, line: str, expected: list[tuple[str, object]]) -> None:
    assert list(_flags(line, system)) == expected


def test_a_dispatcher_executor_is_a_place(place: Path) -> None:
    executor = {
        "type": "dispatcher", "host": "login.hpc", "username": "me", "private_key_file": "~/.ssh/hpc", "remote_root": "/scratch/me",
        "machine_dict": {"batch_type": "SlurmJobArray"}, "resources_dict": {"queue_name": "cpu", "cpu_per_node": 64},
    }  # fmt: skip
    raw = {**DPGEN2, "step_configs": {"run_fp_config": {"executor": executor}}}
    text = yaml.safe_load(made(place, raw, name="input.json").text)
    assert text["sites"] == {
        "label": {"system": "slurm", "host": "me@login.hpc", "root": "/scratch/me", "identity": "~/.ssh/hpc"}
    }
    assert text["pods"]["label"] == {"cpu": "64", "batch": {"queue": "cpu"}, "site": "label"}


def test_gpus_of_a_dispatcher_executor_are_those_of_its_jobs(place: Path) -> None:
    executor = {
        "type": "dispatcher", "host": "login.hpc", "machine_dict": {"batch_type": "Slurm"},
        "resources_dict": {"queue_name": "gpu", "number_node": 1, "cpu_per_node": 4, "gpu_per_node": 1},
    }  # fmt: skip
    raw = {**DPGEN2, "step_configs": {"run_train_config": {"executor": executor}}}
    found = made(place, raw, name="input.json")
    assert yaml.safe_load(found.text)["pods"]["train"] == {
        "gpus": 1, "cpu": "4", "batch": {"queue": "gpu"}, "site": "train",
    }  # fmt: skip
    assert not [note for note in found.notes.items if "per_node" in note.key and note.kind == "lost"]


def test_what_comes_over_is_not_said_to_be_left_out(place: Path) -> None:
    notes = made(place, PARAM, MACHINE).notes
    kept = {note.key for kind in ("translated", "changed") for note in notes.of(kind)}
    lost = " ".join(note.key for note in notes.of("lost") if note.key.startswith("machine."))
    for name in ("batch_type", "context_type", "remote_profile.hostname", "remote_root"):
        assert f"machine.train.machine.{name}" in kept
        assert f"{name.split('.')[0]}," not in lost
    assert "{" not in lost, "every key has been asked for"


def test_jobs_that_run_together_share_the_cores_of_the_node(place: Path) -> None:
    resources = {"cpu_per_node": 8, "para_deg": 3}
    machine = {**MACHINE, "model_devi": [{"command": "lmp", "machine": PBS, "resources": resources}]}
    found = made(place, PARAM, machine)
    assert yaml.safe_load(found.text)["pods"]["explore"]["cpu"] == "3"
    assert "3 jobs run together and share them" in " ".join(map(str, found.notes.of("changed")))
