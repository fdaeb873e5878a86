"""Atom-steps a second of explorers, and whether they explore the same physics.

    python benchmarks/explore.py [--cells 64] [--steps 500] [--processes 2] [--committee 4] [--training-steps 1000]
                                 [--models FOLDER] [--skip-correctness]

A committee of four small DeePMD models of copper is trained on EMT dynamics from 300 to 2400 K, unless a folder with
the models 0, 1, … of a run is given. Then cells of 32 atoms are explored at 1200 K, the committee's deviation every ten
steps, by `batched`, by LAMMPS as lamflow runs it (many runs a process), by LAMMPS with a process a run (as dpgen2 and
DP-GEN run it), and by ASE. Times are those of worker processes from start to end, models loaded, everything included;
engines that go one by one are timed on fewer cells. Where there is a GPU DeePMD-kit uses it, and `--processes 1` makes
sense there.

Correctness: conserved energy, temperature, and the radial distribution function of the liquid at 2000 K, between
`batched` and LAMMPS, in units of the standard error over independent runs.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from _bench import MODEL, Cell, cores, parse_arguments, parser, publish

from lamflow.data import Frame, Trajectory
from lamflow.data.frames import Floats

TRAINING = {
    "engine": "deepmd",
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


def train(root: Path, committee: int, steps: int, dynamics: int = 300) -> None:
    """Models on EMT dynamics of so many steps, solid and liquid; 160 frames of 300 steps."""
    from lamflow.data import LabeledFrame
    from lamflow.data.dataset import Item, Origin, systems, write_dataset
    from lamflow.engines.deepmd.settings import DeepmdTraining
    from lamflow.engines.deepmd.trainer import DeepmdTrainer
    from lamflow.engines.emt import Emt, EmtEvaluator
    from lamflow.engines.protocol import TrainingJob

    emt, frames = EmtEvaluator(Emt()), []
    for temperature, lattice in ((300.0, 3.6), (1200.0, 3.65), (2400.0, 3.75)):
        for run in explored(
            "batched", cells(4, int(temperature), lattice), [emt], root, dynamics, temperature, "langevin"
        ):
            frames += list(run)[2::2]
    labels, origin = emt.evaluate(frames), Origin(iteration=0, source="x")
    items = [Item(LabeledFrame(frame, own), origin) for frame, own in zip(frames, labels, strict=True)]
    write_dataset(root / "data", items, ["Cu"], "deepmd/npy")
    trainer = DeepmdTrainer(DeepmdTraining.model_validate({**TRAINING, "models": committee, "steps": steps}))
    for index in range(committee):
        task = TrainingJob(
            tuple(systems(root / "data")), ("Cu",), index + 1, None, root / str(index), root / f"scratch-{index}", index
        )
        trainer.train(task, lambda _: None)


def load(folder: Path, committee: int) -> list[Any]:
    """The committee."""
    from lamflow.engines.deepmd.model import DeepmdModel

    return [DeepmdModel(folder / str(i) / "model.pt", folder / str(i) / "model.pth") for i in range(committee)]


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


def work(settings: argparse.Namespace) -> None:
    """One worker process: explore, and leave the atom-steps that were made."""
    starts = cells(settings.cells, settings.seed)
    ensemble = "nvt"
    with tempfile.TemporaryDirectory() as folder:
        runs = explored(
            settings.worker,
            starts,
            load(settings.models, settings.committee),
            Path(folder),
            settings.steps,
            HOT,
            ensemble,
        )
    failed = [run.failure for run in runs if run.failure]
    print(json.dumps({"atom_steps": sum(int(run.steps[-1]) * len(run.numbers) for run in runs), "failed": failed}))


def speed(engine: str, count: int, settings: argparse.Namespace, models: Path) -> dict[str, Cell]:
    """Atom-steps a second of an engine, start to end, `count` cells dealt out to processes that run side by side."""
    processes, steps, start = settings.processes, settings.steps, time.perf_counter()
    argv = [
        sys.executable, __file__, "--worker", engine, "--cells", str(count // processes), "--steps", str(steps),
        "--models", str(models), "--committee", str(settings.committee),
    ]  # fmt: skip
    with tempfile.TemporaryFile("w+", encoding="utf-8") as log:
        workers = [
            subprocess.Popen([*argv, "--seed", str(seed)], stdout=subprocess.PIPE, stderr=log, text=True)
            for seed in range(processes)
        ]
        printed = [worker.communicate()[0] for worker in workers]
        seconds = time.perf_counter() - start
        if any(worker.returncode for worker in workers):
            log.seek(0)
            raise SystemExit(f"{engine}: a worker ended with an error; the end of the log:\n{log.read()[-2000:]}")
    answers = [json.loads(text.splitlines()[-1]) for text in printed]
    rate = sum(answer["atom_steps"] for answer in answers) / seconds
    failed = sum(len(answer["failed"]) for answer in answers)
    return {
        "engine": engine,
        "cells": count,
        "steps": steps,
        "seconds": seconds,
        "atom-steps/s": rate,
        "failed": failed,
    }


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


def correctness(models: Path, work: Path, steps: int) -> list[dict[str, Cell]]:
    """`batched` against LAMMPS on the liquid, and the energy that it conserves."""
    committee, edges = load(models, 1), np.linspace(1.8, 3.7, 20)
    starts, results = cells(8, 5, 3.75), {}
    for engine in ("lammps", "batched"):
        runs = explored(engine, starts, committee, work, steps, LIQUID, "nvt")
        late = [run.subset(np.arange(len(run) // 3, len(run))) for run in runs]
        results[engine] = (
            np.array([distribution(run, edges) for run in late]), np.array([temperatures(run).mean() for run in late]),
        )  # fmt: skip
    (theirs, hot), (ours, also) = results["lammps"], results["batched"]
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
    options = parser(__doc__)
    options.add_argument("--cells", type=int, default=64)
    options.add_argument("--steps", type=int, default=500)
    options.add_argument("--processes", type=int, default=cores())
    options.add_argument("--committee", type=int, default=4, help="number of models")
    options.add_argument("--training-steps", type=int, default=1000, help="of the models, unless --models names them")
    options.add_argument("--models", type=Path)
    options.add_argument("--skip-correctness", action="store_true")
    options.add_argument("--worker", help=argparse.SUPPRESS)
    options.add_argument("--seed", type=int, default=0, help=argparse.SUPPRESS)
    small = {"cells": 2, "steps": 20, "processes": 1, "committee": 2, "training_steps": 10, "skip_correctness": True}
    settings = parse_arguments(options, **small)
    if settings.worker:
        work(settings)
        return
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        models = settings.models.absolute() if settings.models else root
        with contextlib.chdir(root):  # DeePMD-kit leaves files where it is
            if not settings.models:
                train(root, settings.committee, settings.training_steps, 40 if settings.small else 300)
            rows = speeds(settings, models)
            checks = [] if settings.skip_correctness else correctness(models, root, 1500)
    title = f"Exploration, cells of 32 atoms, committee of {settings.committee}, {settings.processes} processes"
    publish(settings, "explore", title, rows, checks=checks)


def speeds(settings: argparse.Namespace, models: Path) -> list[dict[str, Cell]]:
    """A row an engine; those that go one by one explore fewer cells."""
    few = settings.processes if settings.small else max(settings.processes * 3, 6)
    counts = {"batched": settings.cells, "lammps": settings.cells, "lammps-one-by-one": few, "ase": settings.processes}
    rows = {name: speed(name, count, settings, models) for name, count in counts.items()}
    peer = float(rows["lammps-one-by-one"]["atom-steps/s"] or np.nan)
    return [{**row, "times LAMMPS one by one": float(row["atom-steps/s"] or 0) / peer} for row in rows.values()]


if __name__ == "__main__":
    main()
