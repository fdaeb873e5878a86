"""The same loop by lamflow and by dpgen2 0.1.0 on the same machine in one run: time, processes, files.

    python benchmarks/beside_dpgen2.py [--iterations 3] [--environment FOLDER]

A DeePMD model is the truth: it labels what a committee of students is uncertain of in LAMMPS dynamics, in iterations
that train on all labels of before. Both get the same frames to begin with, architecture, training steps, structures,
temperatures, dynamics steps and limit of labels, and as many jobs at once as there are cores. dpgen2 runs in dflow's
debug mode, in an environment that is made here: its own packages beside those of lamflow's, so that both use the same
DeePMD-kit, LAMMPS and dflow. `--environment` keeps it. lamflow alone judges its models on frames held out, and labels
nothing in the last iteration, for nothing is trained after it. dpgen2 draws its seeds, so no two runs label the same
frames. Short-lived processes escape the count, which looks twenty times a second.

The small mode makes no environment, and measures lamflow alone unless `--environment` names one that exists.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import sysconfig
import tempfile
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from _bench import MODEL, Cell, cores, parse_arguments, parser, publish, spent_by

from lamflow.data import Frame, LabeledFrame
from lamflow.data.dataset import Item, Origin, systems, write_dataset
from lamflow.engines.deepmd.model import DeepmdModel
from lamflow.engines.deepmd.settings import DeepmdTraining
from lamflow.engines.emt import Emt
from lamflow.engines.lammps.explorer import packaged
from lamflow.engines.protocol import TrainingJob
from lamflow.engines.registry import evaluator, trainer

VERSION = "0.1.0"
TEMPERATURES = (300, 600)
RATE = {"type": "exp", "start_lr": 0.005, "stop_lr": 0.0001}
STUDY = """\
name: beside
elements: [Cu]
structures: [{name: crystal, files: STARTS}]
start: {data: [labeled]}
heldout: {data: [heldout]}
train:
  engine: deepmd
  models: MODELS
  steps: TRAINING
  input: INPUT
stages:
  - name: only
    explore: [{engine: lammps, structures: [crystal], ensemble: nvt, temperatures: TEMPERATURES, starts: 4,
               steps: DYNAMICS, timestep: 0.002, every: 10}]
select: {window: {rule: fixed, low: 0.0, high: 100.0}, limit: LABELS}
label: {engine: deepmd, model: {file: TEACHER}}
converge: {accurate: 1.0}
budget: {iterations: ITERATIONS}
"""


def copper(count: int, rattle: float, seed: int) -> list[Frame]:
    """Strained and rattled copper, 32 atoms."""
    from ase.build import bulk

    rng, made = np.random.default_rng(seed), []
    for _ in range(count):
        atoms = bulk("Cu", "fcc", a=3.6, cubic=True).repeat(2)
        atoms.set_cell(atoms.cell[:] @ (np.eye(3) + rng.normal(scale=0.01, size=(3, 3))), scale_atoms=True)
        atoms.positions += rng.normal(scale=rattle, size=atoms.positions.shape)
        made.append(Frame.from_ase(atoms))
    return made


def prepare(root: Path, steps: int) -> Path:
    """The teacher, and what both begin with: labeled, heldout and starts. Returns the teacher's file."""

    def store(name: str, frames: list[Frame], model: Any) -> None:
        pairs = zip(frames, model.evaluate(frames), strict=True)
        items = [Item(LabeledFrame(frame, labels), Origin(iteration=0, source=name)) for frame, labels in pairs]
        write_dataset(root / name, items, ["Cu"], "deepmd/npy")

    store("true", copper(30, 0.08, 1), evaluator(Emt()))
    settings = DeepmdTraining.model_validate({"engine": "deepmd", "models": 1, "steps": steps, "input": given(steps)})
    job = TrainingJob(tuple(systems(root / "true")), ("Cu",), 1, None, root / "teacher", root / "teaching")
    trainer(settings).train(job, lambda _: None)
    teacher = root / "teacher" / "model.pt"
    model = DeepmdModel(teacher)
    store("labeled", copper(24, 0.05, 2), model)
    store("heldout", copper(8, 0.08, 3), model)
    (root / "starts").mkdir()
    for number, frame in enumerate(copper(4, 0.0, 4)):
        frame.to_ase().write(root / "starts" / f"{number}.vasp", format="vasp")
    return teacher


def given(steps: int) -> dict[str, Any]:
    """DeePMD-kit's input, without what each of the two fills in; both let the rate fall forty times."""
    rate = {**RATE, "decay_steps": max(1, steps // 40)}
    return {"model": MODEL, "learning_rate": rate, "training": {"data": {"batch_size": 1}}}


def lamflow_command(root: Path, teacher: Path, settings: Any) -> list[str]:
    """A run of lamflow."""
    values = {
        "MODELS": settings.models, "TRAINING": settings.steps, "INPUT": json.dumps(given(settings.steps)),
        "TEMPERATURES": list(TEMPERATURES), "DYNAMICS": settings.dynamics, "LABELS": settings.labels,
        "TEACHER": teacher, "ITERATIONS": settings.iterations,
        "STARTS": json.dumps([str(path) for path in sorted((root / "starts").iterdir())]),
    }  # fmt: skip
    text = STUDY
    for name, value in values.items():
        text = text.replace(name, str(value))
    (root / "study.yaml").write_text(text, encoding="utf-8")
    return [sys.executable, "-m", "lamflow", "run", str(root / "study.yaml"), "--dir", str(root / "lamflow")]


def dpgen2_command(python: Path, root: Path, teacher: Path, settings: Any) -> list[str]:
    """A run of dpgen2, which writes into the folder dpgen2."""
    folder = root / "dpgen2"
    folder.mkdir()
    steps = settings.steps
    script = {
        "model": {"type_map": ["Cu"], **MODEL},
        "learning_rate": {**RATE, "decay_steps": max(1, steps // 40)},
        "loss": {"type": "ener", "start_pref_e": 0.02, "limit_pref_e": 1, "start_pref_f": 1000, "limit_pref_f": 10},
        "training": {"training_data": {"systems": [], "batch_size": 1}, "numb_steps": steps, "seed": 1,
                     "disp_freq": max(1, steps // 50), "save_freq": steps},
    }  # fmt: skip
    (folder / "train.json").write_text(json.dumps(script), encoding="utf-8")
    dynamics = {
        "type": "lmp-md", "ens": "nvt", "temps": list(TEMPERATURES), "dt": 0.002, "nsteps": settings.dynamics,
        "trj_freq": 10, "tau_t": 0.1, "conf_idx": [0],
    }  # fmt: skip
    pods = [f"{when}_{step}_config" for step in ("train", "explore", "fp") for when in ("prep", "run")]
    pods += ["select_confs_config", "collect_data_config", "cl_step_config"]
    document = {
        "name": "beside",
        "dflow_config": {
            "mode": "debug", "debug_pool_workers": cores(), "debug_workdir": str(folder),
            "debug_artifact_dir": str(folder / "artifacts"),
        },
        "step_configs": {pod: {"template_config": {"image": "none"}} for pod in pods},
        "inputs": {"type_map": ["Cu"], "mass_map": [63.546], "init_data_prefix": None,
                   "init_data_sys": [str(path) for path in systems(root / "labeled")]},
        "train": {"type": "dp", "numb_models": settings.models, "template_script": str(folder / "train.json"),
                  "config": {"impl": "pytorch", "init_model_policy": "no"}},
        "explore": {
            "type": "lmp", "config": {"command": f"{packaged() or 'lmp'} -var restart 0"},
            "convergence": {"type": "fixed-levels", "level_f_lo": 0.0, "level_f_hi": 100.0, "conv_accuracy": 1.0},
            "max_numb_iter": settings.iterations, "fatal_at_max": False,
            "configurations": [{"type": "file", "files": [str(root / "starts" / "*.vasp")], "fmt": "vasp/poscar"}],
            "stages": [[dynamics]],
        },
        "fp": {"type": "deepmd", "task_max": settings.labels, "inputs_config": {},
               "run_config": {"teacher_model_path": str(teacher)}},
    }  # fmt: skip
    (folder / "input.json").write_text(json.dumps(document, indent=1), encoding="utf-8")
    return [str(python.with_name("dpgen2")), "submit", str(folder / "input.json")]


def environment(folder: Path) -> Path:
    """Python of an environment with dpgen2 beside lamflow's packages; made if it is not there."""
    python = folder / "bin" / "python"
    if not python.is_file():
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
        found = next(folder.glob("lib/python*/site-packages"))
        (found / "beside.pth").write_text(sysconfig.get_path("purelib") + "\n", encoding="utf-8")
        subprocess.run([str(python), "-m", "pip", "install", "--quiet", f"dpgen2=={VERSION}"], check=True)
    return python


def measured(who: str, argv: Sequence[str], cwd: Path, folder: Path, variables: dict[str, str]) -> dict[str, Cell]:
    """A row: what a command costs, and what it leaves in `folder`."""
    seen: set[tuple[int, float]] = set()
    done = threading.Event()

    def count(process: psutil.Process) -> None:
        while not done.wait(0.05):
            with contextlib.suppress(psutil.NoSuchProcess):
                seen.update((child.pid, child.create_time()) for child in process.children(recursive=True))

    with spent_by() as cost:
        process = subprocess.Popen(
            argv, cwd=cwd, env={**os.environ, **variables}, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        watcher = threading.Thread(target=count, args=(psutil.Process(process.pid),), daemon=True)
        watcher.start()
        said, _ = process.communicate()
        done.set()
    if process.returncode:
        raise SystemExit(f"{who} exited with {process.returncode}\n{said[-4000:]}")
    files = [path for path in folder.rglob("*") if path.is_file() and not path.is_symlink()]
    return {
        "loop": who, "wall (s)": cost.wall, "CPU (s)": cost.cpu, "load before": cost.load, "processes": len(seen) + 1,
        "files": len(files), "MB": sum(path.stat().st_size for path in files) / 1e6,
    }  # fmt: skip


def main() -> None:
    """Measure."""
    options = parser(__doc__)
    options.add_argument("--iterations", type=int, default=3)
    options.add_argument("--models", type=int, default=4)
    options.add_argument("--steps", type=int, default=400, help="of a training")
    options.add_argument("--dynamics", type=int, default=200, help="steps of a run")
    options.add_argument("--labels", type=int, default=20, help="an iteration")
    options.add_argument("--environment", type=Path, help="folder of the environment with dpgen2; made if missing")
    settings = parse_arguments(options, iterations=1, models=2, steps=10, dynamics=20, labels=4)
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        folder = settings.environment or (None if settings.small else root / "environment")
        python = environment(folder.absolute()) if folder is not None else None
        os.chdir(root)  # DeePMD-kit leaves files where it is
        teacher = prepare(root, settings.steps)
        variables = {"OMP_NUM_THREADS": "1", "LAMFLOW_CACHE": str(root / "cache")}
        rows = [measured("lamflow", lamflow_command(root, teacher, settings), root, root / "lamflow", variables)]
        if python is not None:
            plugin = DeepmdModel(teacher, teacher.with_suffix(".pth")).lammps().environment
            path = f"{python.parent}{os.pathsep}{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
            own = {**variables, **plugin, "PATH": path, "DFLOW_DEBUG": "1", "DP_INTRA_OP_PARALLELISM_THREADS": "1",
                   "DP_INTER_OP_PARALLELISM_THREADS": "1"}  # fmt: skip
            argv = dpgen2_command(python, root, teacher, settings)
            rows.append(measured(f"dpgen2 {VERSION}", argv, root / "dpgen2", root / "dpgen2", own))
        os.chdir("/")
    publish(settings, "beside_dpgen2", "A loop of distillation", rows)


if __name__ == "__main__":
    main()
