"""Atom-steps a second of explorers, and whether they explore the same physics.

    python benchmarks/explore.py [--cells 64] [--steps 500] [--processes 2] [--models FOLDER] [--skip-correctness]

A committee of four small DeePMD models of copper is trained on EMT dynamics from 300 to 2400 K, unless a folder with
the models 0 to 3 of a run is given. Then cells of 32 atoms are explored at 1200 K, the committee's deviation every ten
steps, by `batched`, by LAMMPS as lamflow runs it (many runs a process), by LAMMPS with a process a run (as dpgen2 and
DP-GEN run it), and by ASE. Times are those of worker processes from start to end, models loaded, everything included;
engines that go one by one are timed on fewer cells. Where there is a GPU DeePMD-kit uses it, and `--processes 1` makes
sense there.

Correctness: conserved energy, temperature, and the radial distribution function of the liquid at 2000 K, between
`batched` and LAMMPS, in units of the standard error over independent runs.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from measure import publish

from lamflow.data import Frame, Trajectory
from lamflow.data.frames import Floats

MODEL = {
    "descriptor": {
        "type": "se_e2_a", "sel": [60], "rcut": 4.8, "rcut_smth": 0.5, "neuron": [8, 16], "axis_neuron": 4,
        "precision": "float32",
    },
    "fitting_net": {"neuron": [32, 32], "resnet_dt": True, "precision": "float32"},
}  # fmt: skip
TRAINING = {
    "engine": "deepmd", "models": 4, "steps": 1000,
    "input": {
        "model": MODEL,
        "learning_rate": {"type": "exp", "start_lr": 0.005, "stop_lr": 0.0001},
        "training": {"data": {"batch_size": 1}},
    },
}  # fmt: skip
EVERY, TIMESTEP, HOT, LIQUID = 10, 0.002, 1200.0, 2000.0


def cells(count: int, seed: int, lattice: float = 3.65) -> list[Frame]:
    """Rattled fcc cells of 32 copper atoms."""
    from ase.build import bulk

    rng, made = np.random.default_rng(seed), []
    for _ in range(count):
        atoms = bulk("Cu", "fcc", a=lattice, cubic=True).repeat((2, 2, 2))
        atoms.positions += rng.normal(scale=0.05, size=atoms.positions.shape)
        made.append(Frame.from_ase(atoms))
    return made


def train(root: Path) -> None:
    """Four models on 160 frames of EMT dynamics, solid and liquid."""
    from lamflow.data import LabeledFrame
    from lamflow.data.dataset import Item, Origin, systems, write_dataset
    from lamflow.engines.deepmd.settings import DeepmdTraining
    from lamflow.engines.deepmd.trainer import DeepmdTrainer
    from lamflow.engines.emt import Emt, EmtEvaluator
    from lamflow.engines.protocol import TrainingJob

    emt, frames = EmtEvaluator(Emt()), []
    for temperature, lattice in ((300.0, 3.6), (1200.0, 3.65), (2400.0, 3.75)):
        for run in explored("batched", cells(4, int(temperature), lattice), [emt], root, 300, temperature, "langevin"):
            frames += list(run)[2::2]
    labels, origin = emt.evaluate(frames), Origin(iteration=0, source="x")
    items = [Item(LabeledFrame(frame, own), origin) for frame, own in zip(frames, labels, strict=True)]
    write_dataset(root / "data", items, ["Cu"], "deepmd/npy")
    trainer = DeepmdTrainer(DeepmdTraining.model_validate(TRAINING))
    for index in range(4):
        task = TrainingJob(
            tuple(systems(root / "data")), ("Cu",), index + 1, None, root / str(index), root / f"scratch-{index}", index
        )
        trainer.train(task, lambda _: None)


def load(folder: Path) -> list[Any]:
    """The committee."""
    from lamflow.engines.deepmd.model import DeepmdModel

    return [DeepmdModel(folder / str(i) / "model.pt", folder / str(i) / "model.pth") for i in range(4)]


def explored(  # noqa: PLR0917  what a run is
    engine: str, starts: list[Frame], committee: list[Any], work: Path, steps: int, temperature: float, ensemble: str,
    every: int = EVERY,
) -> list[Trajectory]:  # fmt: skip
    """Trajectories of an engine."""
    from lamflow.engines.ase import AseExploration, AseExplorer
    from lamflow.engines.batched import BatchedExploration, BatchedExplorer
    from lamflow.engines.lammps.explorer import LammpsExplorer
    from lamflow.engines.lammps.settings import LammpsExploration
    from lamflow.engines.protocol import Simulation

    common = {"structures": ["x"], "temperatures": [temperature], "steps": steps, "every": every, "timestep": TIMESTEP}
    condition = {"temperature": temperature}
    stamp = time.monotonic_ns()
    tasks = [Simulation(start, condition, 7 + n, work / f"{stamp}-{n}") for n, start in enumerate(starts)]
    if engine == "batched":
        made = BatchedExplorer(BatchedExploration.model_validate({"engine": "batched", "ensemble": ensemble, **common}))
        return list(made.explore_all(tasks, committee))
    if engine == "ase":
        ase = AseExplorer(AseExploration.model_validate({"engine": "ase", "method": ensemble, **common}))
        runs = [ase.explore(task, committee[0]) for task in tasks]
        for run in runs:
            for model in committee:
                model.evaluate(list(run))
        return runs
    lammps = LammpsExplorer(LammpsExploration.model_validate({"engine": "lammps", "ensemble": ensemble, **common}))
    if engine == "lammps":
        return list(lammps.explore_all(tasks, committee))
    return [run for task in tasks for run in lammps.explore_all([task], committee)]


def work(given: argparse.Namespace) -> None:
    """One worker process: explore, and leave the atom-steps that were made."""
    starts = cells(given.cells, given.seed)
    ensemble = "nvt"
    with tempfile.TemporaryDirectory() as folder:
        runs = explored(given.worker, starts, load(given.models), Path(folder), given.steps, HOT, ensemble)
    failed = [run.failure for run in runs if run.failure]
    print(json.dumps({"atom_steps": sum(int(run.steps[-1]) * len(run.numbers) for run in runs), "failed": failed}))


def speed(engine: str, count: int, steps: int, processes: int, models: Path) -> dict[str, str | float]:
    """Atom-steps a second of an engine, start to end, `count` cells dealt out to processes that run side by side."""
    started = time.perf_counter()
    argv = [sys.executable, __file__, "--worker", engine, "--cells", str(count // processes), "--steps", str(steps)]
    running = [
        subprocess.Popen(
            [*argv, "--models", str(models), "--seed", str(number)], stdout=subprocess.PIPE, text=True,
            stderr=subprocess.DEVNULL, env={**os.environ, "OMP_NUM_THREADS": "1"},
        )
        for number in range(processes)
    ]  # fmt: skip
    said = [json.loads(process.communicate()[0].splitlines()[-1]) for process in running]
    seconds = time.perf_counter() - started
    done = sum(one["atom_steps"] for one in said)
    return {"engine": engine, "cells": count, "steps": steps, "seconds": seconds, "atom-steps/s": done / seconds,
            "failed": float(sum(len(one["failed"]) for one in said))}  # fmt: skip


def distribution(run: Trajectory, edges: Floats) -> Floats:
    """The radial distribution function of a run's frames, by minimum images up to half of the shortest height."""
    counts, frames = np.zeros(len(edges) - 1), len(run)
    for positions, cell in zip(run.positions, run.cells, strict=True):
        fractions = (positions[:, None] - positions[None]) @ np.linalg.inv(cell)
        away = np.linalg.norm((fractions - np.round(fractions)) @ cell, axis=-1)
        counts += np.histogram(away[np.triu_indices(len(positions), 1)], edges)[0]
    natoms, volume = len(run.numbers), abs(float(np.linalg.det(run.cells[0])))
    shells = 4 / 3 * np.pi * (edges[1:] ** 3 - edges[:-1] ** 3)
    return np.asarray(counts / frames / (natoms * (natoms - 1) / 2) * volume / shells)


def temperatures(run: Trajectory) -> Floats:
    """Of each frame, K, without the three degrees of freedom of the whole."""
    assert run.velocities is not None
    kinetic = 0.5 / 9648.5332 * 63.546 * (run.velocities**2).sum(axis=(1, 2))
    return np.asarray(2 * kinetic / (3 * (len(run.numbers) - 1) * 8.617333262e-5))


def correctness(models: Path, work: Path, steps: int) -> list[dict[str, str | float]]:
    """`batched` against LAMMPS on the liquid, and the energy that it conserves."""
    committee, edges = load(models)[:1], np.linspace(1.8, 3.7, 20)
    starts, found = cells(8, 5, 3.75), {}
    for engine in ("lammps", "batched"):
        runs = explored(engine, starts, committee, work, steps, LIQUID, "nvt")
        late = [run.part(np.arange(len(run) // 3, len(run))) for run in runs]
        found[engine] = (
            np.array([distribution(run, edges) for run in late]), np.array([temperatures(run).mean() for run in late]),
        )  # fmt: skip
    (theirs, hot), (ours, also) = found["lammps"], found["batched"]
    error = np.sqrt((theirs.var(axis=0, ddof=1) + ours.var(axis=0, ddof=1)) / len(starts))
    seen = error > 0
    away = (ours.mean(axis=0) - theirs.mean(axis=0))[seen] / error[seen]
    spread = np.sqrt((hot.var(ddof=1) + also.var(ddof=1)) / len(starts))
    conserved = explored("batched", cells(8, 6), committee, work, 1000, 600.0, "nve", every=20)
    drifts = []
    for run in conserved:
        energies = np.array([labels.energy for labels in committee[0].evaluate(list(run))])
        total = energies + 1.5 * 31 * 8.617333262e-5 * temperatures(run)
        drifts.append(np.polyfit(run.steps * TIMESTEP, total / 32, 1)[0] * 1000)
    return [
        {"check": "temperature of the liquid, LAMMPS (K)", "value": float(hot.mean())},
        {"check": "temperature of the liquid, batched (K)", "value": float(also.mean())},
        {"check": "their difference in standard errors", "value": float(abs(hot.mean() - also.mean()) / spread)},
        {"check": "g(r): root mean square difference in standard errors", "value": float(np.sqrt((away**2).mean()))},
        {"check": "g(r): height of the first peak, LAMMPS", "value": float(theirs.mean(axis=0).max())},
        {"check": "g(r): height of the first peak, batched", "value": float(ours.mean(axis=0).max())},
        {"check": "drift of the conserved energy in nve (meV/atom/ps)", "value": float(np.mean(drifts))},
    ]


def main() -> None:
    """Measure all on the same machine in one run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cells", type=int, default=64)
    parser.add_argument("--steps", type=int, default=500)
    parser.add_argument("--processes", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--models", type=Path)
    parser.add_argument("--skip-correctness", action="store_true")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    parser.add_argument("--seed", type=int, default=0, help=argparse.SUPPRESS)
    given = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    if given.worker:
        work(given)
        return
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        models = given.models.absolute() if given.models else root
        os.chdir(root)
        if not given.models:
            train(root)
        few = max(given.processes * 3, 6)
        plan = [("batched", given.cells), ("lammps", given.cells), ("lammps-one-by-one", few), ("ase", given.processes)]
        rows = [speed(engine, count, given.steps, given.processes, models) for engine, count in plan]
        checks = [] if given.skip_correctness else correctness(models, root, 1500)
    one = next(float(row["atom-steps/s"]) for row in rows if row["engine"] == "lammps-one-by-one")
    for row in rows:
        row["times LAMMPS one by one"] = float(row["atom-steps/s"]) / one
    title = f"Exploration, cells of 32 atoms, committee of 4, {given.processes} processes"
    publish(__file__, title, rows, checks)


if __name__ == "__main__":
    main()
