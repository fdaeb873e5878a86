"""What static properties cost: batched against one process a task, as most programs do it, and against ASE one by one.

    python benchmarks/properties_cost.py [--model FILE] [--tasks 12] [--training-steps 2000]

Seven fcc metals by a small DeePMD model that EMT has taught them, by one of a file, or by EMT itself (`--model emt`):
relaxation, equation of state, elastic constants, vacancy, surfaces and phonons. A task is one frame with its
relaxation. Tasks in processes of their own are measured on some that are spread evenly, and scaled to all; both cores
are kept busy by them, as by a run of lamflow.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import contextlib
import itertools
import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from _bench import Cell, cores, parse_arguments, parser, publish, spent_by, timed

from lamflow.api import Study
from lamflow.config import parse
from lamflow.config.properties import PropertiesStudy, Relaxing, named_properties
from lamflow.config.quick import evaluator_spec
from lamflow.data import Frame, Labels, layout
from lamflow.data.packed import PackedFrames
from lamflow.driver.plan import cluster_jobs
from lamflow.driver.structures import frames_of
from lamflow.engines import registry
from lamflow.engines.ase import EvaluatorCalculator
from lamflow.engines.emt import Emt, EmtEvaluator
from lamflow.ops.properties import Answers
from lamflow.science.properties.sample import Answer, Crystal, Phase, Sample, composition
from lamflow.science.properties.table import PROPERTIES, answered
from lamflow.science.relaxation import relax

METALS = ("Cu", "Al", "Ni", "Au", "Ag", "Pt", "Pd")
SUITE: list[dict[str, Any]] = [
    {"property": "eos", "strain": 0.06, "points": 13},
    {"property": "elastic"},
    {"property": "vacancy", "sizes": [10]},
    {"property": "surface", "max_miller": 1, "thickness": 12},
    {"property": "phonon", "size": 10},
]
FMAX, STEPS = 1e-3, 500
TAUGHT = "taught"
"""The model that is trained here."""
TRAINING: dict[str, Any] = {
    "engine": "deepmd",
    "input": {
        "model": {
            "descriptor": {
                "type": "se_atten", "sel": 60, "rcut": 4.8, "rcut_smth": 0.5, "neuron": [8, 16], "axis_neuron": 4,
                "attn_layer": 0, "tebd_input_mode": "strip", "precision": "float64",
            },
            "fitting_net": {"neuron": [32, 32], "precision": "float64"},
        },
        "learning_rate": {"type": "exp", "start_lr": 0.005, "stop_lr": 0.0001},
        "training": {"data": {"batch_size": 1}},
    },
}  # fmt: skip
SCALES = (0.97, 1.0, 1.03)
"""Of EMT's lattice constants, where the model is taught; with so many rattled cells of each metal at each of them."""
CELLS = 4
MANY = 100
"""Structures of the study whose jobs on a cluster are counted."""


def spec_of(metals: Sequence[str], model: str, suite: Sequence[dict[str, Any]], copies: int = 1) -> dict[str, Any]:
    """The study as its file says it."""
    return {
        "workflow": "properties", "name": "cost", "elements": list(metals),
        "structures": [{"name": metal.lower(), "crystal": {"formula": metal, "lattice": "fcc"}, "copies": copies}
                       for metal in metals],
        "potentials": [{"name": "model", "evaluate": evaluator_spec(model)}],
        "relax": {"fmax": FMAX, "steps": STEPS}, "properties": list(suite),
    }  # fmt: skip


def taught(root: Path, metals: Sequence[str], steps: int) -> Path:
    """A small DeePMD model of the metals, trained on rattled cells that EMT labels."""
    from ase.build import bulk

    from lamflow.data import LabeledFrame
    from lamflow.data.dataset import Item, Origin, systems, write_dataset
    from lamflow.engines.deepmd.settings import DeepmdTraining
    from lamflow.engines.deepmd.trainer import DeepmdTrainer
    from lamflow.engines.protocol import TrainingJob

    frames, rng = [], np.random.default_rng(1)
    for metal, scale in itertools.product(metals, SCALES):
        for _ in range(CELLS):
            atoms = bulk(metal, "fcc", cubic=True).repeat((2, 2, 2))
            atoms.set_cell(atoms.cell * scale, scale_atoms=True)
            atoms.positions += rng.normal(scale=0.08, size=atoms.positions.shape)
            frames.append(Frame.from_ase(atoms))
    labels, origin = EmtEvaluator(Emt(engine="emt")).evaluate(frames), Origin(iteration=0, source="emt")
    items = [Item(LabeledFrame(frame, own), origin) for frame, own in zip(frames, labels, strict=True)]
    write_dataset(root / "data", items, list(metals), "deepmd/npy")
    trainer = DeepmdTrainer(DeepmdTraining.model_validate({**TRAINING, "models": 1, "steps": steps}))
    data = tuple(systems(root / "data"))
    with contextlib.chdir(root):  # DeePMD-kit leaves files where it is
        trainer.train(TrainingJob(data, tuple(metals), 1, None, root / "model", root / "scratch", 0), lambda _: None)
    return root / "model" / "model.pt"


class Counted:
    """A potential that counts what it is asked."""

    def __init__(self, study: PropertiesStudy) -> None:
        engine = study.potentials[0].evaluate
        assert engine is not None
        self.evaluate_all, self.calls, self.frames = registry.evaluator(engine).evaluate, 0, 0

    def evaluate(self, frames: Sequence[Frame]) -> list[Labels]:
        """See Evaluator."""
        self.calls, self.frames = self.calls + 1, self.frames + len(frames)
        return self.evaluate_all(frames)


def samples_of(study: PropertiesStudy, crystals: Sequence[Crystal]) -> list[Sample]:
    """Every task of the suite."""
    return [
        sample
        for crystal in crystals
        for _, settings in named_properties(study.properties)
        for sample in PROPERTIES[settings.property].frames(crystal, **settings.model_dump(exclude={"property"}))
    ]


def relaxed(study: PropertiesStudy, potential: Counted) -> list[Crystal]:
    """The crystals, relaxed together."""
    frames = [frame for settings in study.structures for frame in frames_of(settings, study)]
    paths = relax(frames, potential.evaluate, study.relax)
    names = [settings.name for settings in study.structures]
    phases = [Phase(n, composition(p.frame), p.labels.energy) for n, p in zip(names, paths, strict=True)]
    return [Crystal(p.name, path.frame, p.energy, phases) for p, path in zip(phases, paths, strict=True)]


def by_ase(sample: Sample, potential: Counted) -> float:
    """Energy of a sample that ASE relaxes on its own, eV."""
    from ase.constraints import FixedLine
    from ase.filters import FrechetCellFilter
    from ase.optimize import LBFGS

    atoms = sample.frame.to_ase()
    atoms.calc = EvaluatorCalculator(potential)
    if sample.relax == "normal":
        atoms.set_constraint([FixedLine(index, (0, 0, 1)) for index in range(len(atoms))])
    if sample.relax != "none":
        LBFGS(FrechetCellFilter(atoms) if sample.relax == "cell" else atoms, logfile=None).run(fmax=FMAX, steps=STEPS)
    atoms.get_forces()
    return float(atoms.get_potential_energy())


def one_task(folder: Path, number: int) -> None:
    """What a process of its own does: read its task, load the potential, relax, write."""
    study = parse((folder / "study.yaml").read_text(encoding="utf-8"), kind=PropertiesStudy)
    about = json.loads((folder / "tasks.json").read_text(encoding="utf-8"))[number]
    frame = list(PackedFrames.load(folder / "tasks.npz"))[number]
    (folder / f"{number}.json").write_text(str(by_ase(Sample(frame, about), Counted(study))), encoding="utf-8")


def in_processes(folder: Path, numbers: Sequence[int]) -> float:
    """Seconds of tasks in a process each, as many at a time as there are cores."""
    with timed() as clock, concurrent.futures.ThreadPoolExecutor(cores()) as pool:
        commands = [[sys.executable, __file__, "--task", str(folder), str(number)] for number in numbers]
        list(pool.map(lambda command: subprocess.run(command, check=True), commands))
    return clock.seconds


def measured(study: PropertiesStudy, spec: dict[str, Any], tasks: int) -> list[dict[str, Cell]]:
    """A row a way."""
    rows: list[dict[str, Cell]] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with spent_by() as run:
            Study(study).run(folder / "run")
        spent = [Answers.read(file).spent for file in (folder / "run").rglob(layout.ANSWERS_RECORD)]
        jobs = [one.physics for one in spent if one is not None]
        batched, single = Counted(study), Counted(study)
        crystals = relaxed(study, batched)
        samples = samples_of(study, crystals)
        with timed() as clock:
            together: list[Answer] = answered(samples, batched.evaluate, Relaxing(fmax=FMAX, steps=STEPS), len)
        rows.append({"way": "lamflow, the whole run with its jobs", "seconds": run.wall, "of CPU": run.cpu,
                     "tasks": len(samples), "calls": batched.calls, "frames": batched.frames})  # fmt: skip
        rows.append({"way": f"of these, its {len(jobs)} jobs that label, side by side", "seconds": max(jobs),
                     "of CPU": None, "tasks": len(samples), "calls": None, "frames": None})  # fmt: skip
        rows.append({"way": "the same batches in one process", "seconds": clock.seconds, "of CPU": None,
                     "tasks": len(samples), "calls": batched.calls, "frames": batched.frames})  # fmt: skip
        with timed() as clock:
            alone = [by_ase(sample, single) for sample in samples]
        rows.append({"way": "ASE, one by one in one process", "seconds": clock.seconds, "of CPU": None,
                     "tasks": len(samples), "calls": single.calls, "frames": single.frames})  # fmt: skip
        (folder / "study.yaml").write_text(yaml.safe_dump(spec), encoding="utf-8")
        (folder / "tasks.json").write_text(json.dumps([sample.relax for sample in samples]), encoding="utf-8")
        PackedFrames.of([sample.frame for sample in samples]).save(folder / "tasks.npz")
        chosen = [round(number * (len(samples) - 1) / max(1, tasks - 1)) for number in range(tasks)]
        seconds = in_processes(folder, chosen) * len(samples) / len(chosen)
        rows.append({"way": f"one process a task, scaled from {len(chosen)}", "seconds": seconds, "of CPU": None,
                     "tasks": len(samples), "calls": None, "frames": None})  # fmt: skip
    apart = max(abs(a.energy - e) / a.frame.natoms for a, e in zip(together, alone, strict=True) if not a.failure)
    print(f"largest difference of two ways to the same energy: {1000 * apart:.2g} meV/atom")
    return [{**row, "times lamflow": float(row["seconds"] or 0) / run.wall} for row in rows]


def jobs_of_many(model: str) -> list[dict[str, Cell]]:
    """Jobs on a cluster of a study of MANY structures and all properties of the suite."""
    spec = spec_of(METALS[:1], model, SUITE, copies=MANY)
    study = parse(yaml.safe_dump(spec), kind=PropertiesStudy)
    structures = {settings.name: frames_of(settings, study) for settings in study.structures}
    steps = max(cluster_jobs(study, structures, 0), key=lambda one: sum(one.values()))
    return [{"structures": MANY, "jobs": sum(steps.values()), "by step": str(steps)}]


def main() -> None:
    """Measure every way, one after the other, on the same tasks."""
    options = parser(__doc__)
    options.add_argument("--model", default=TAUGHT, help="a DeePMD model file, or the name of an engine")
    options.add_argument("--training-steps", type=int, default=2000, help="of the model that is taught here")
    options.add_argument("--metals", default=",".join(METALS))
    options.add_argument("--tasks", type=int, default=12, help="tasks that get a process of their own")
    options.add_argument("--task", nargs=2, help=argparse.SUPPRESS)
    settings = parse_arguments(options, metals="Cu", tasks=2, model="emt")
    if settings.task is not None:
        one_task(Path(settings.task[0]), int(settings.task[1]))
        return
    suite, metals = SUITE[:1] if settings.small else SUITE, settings.metals.split(",")
    with tempfile.TemporaryDirectory() as name:
        model = settings.model
        if model == TAUGHT:
            model = str(taught(Path(name), metals, settings.training_steps))
        spec = spec_of(metals, model, suite)
        rows = measured(parse(yaml.safe_dump(spec), kind=PropertiesStudy), spec, settings.tasks)
        publish(settings, "properties_cost", "Static properties of fcc metals", rows, cluster=jobs_of_many(model))


if __name__ == "__main__":
    main()
