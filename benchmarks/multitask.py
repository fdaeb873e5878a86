"""What one more task costs: multi-task trainings of up to 100 tasks with tiny data, a few steps each.

    python benchmarks/multitask.py [--most 100]

Every task has its own head and one frame of four atoms. The few steps cost nothing beside what grows with the number of
tasks: reading data, statistics and energies of each task, building its fitting net, its share of the checkpoint.
"""

from __future__ import annotations

import contextlib
import tempfile
from pathlib import Path

import numpy as np
from _bench import Cell, parse_arguments, parser, publish, timed

from lamflow.data import Frame, LabeledFrame
from lamflow.data.dataset import Item, Origin, head_systems, write_dataset
from lamflow.engines.deepmd.settings import DeepmdTraining
from lamflow.engines.deepmd.trainer import DeepmdTrainer
from lamflow.engines.emt import Emt, EmtEvaluator
from lamflow.engines.protocol import HeadData, TrainingJob

METALS = {"Al": 4.05, "Cu": 3.61, "Ag": 4.09, "Au": 4.08, "Ni": 3.52}
MODEL = {
    "descriptor": {
        "type": "se_atten", "sel": 40, "rcut": 4.5, "rcut_smth": 0.5, "neuron": [4, 8], "axis_neuron": 4,
        "attn_layer": 0, "tebd_input_mode": "strip", "precision": "float32",
    },
    "fitting_net": {"neuron": [16, 16], "resnet_dt": True, "precision": "float32"},
}  # fmt: skip


def data_of(folder: Path, count: int) -> dict[str, list[Path]]:
    """Tasks with a frame each: metals in turn, every task with an energy of its own per atom."""
    from dataclasses import replace

    from ase.build import bulk

    rng, items = np.random.default_rng(1), []
    for number in range(count):
        symbol = list(METALS)[number % len(METALS)]
        atoms = bulk(symbol, "fcc", a=METALS[symbol], cubic=True)
        atoms.positions += rng.normal(scale=0.05, size=atoms.positions.shape)
        frame = Frame.from_ase(atoms)
        [labels] = EmtEvaluator(Emt()).evaluate([frame])
        moved = replace(labels, energy=labels.energy + 0.3 * number * frame.natoms)
        origin = Origin(iteration=0, source="made", head=f"head-{number:03d}")
        items.append(Item(LabeledFrame(frame, moved), origin))
    write_dataset(folder / "000", items, list(METALS), "deepmd/npy")
    return head_systems(folder)


def seconds(count: int, steps: int) -> float:
    """One training of `count` tasks."""
    with tempfile.TemporaryDirectory() as name, contextlib.chdir(name):  # DeePMD-kit leaves files where it is
        root = Path(name)
        by_task = data_of(root / "data", count)
        tasks = tuple(HeadData(task, tuple(systems)) for task, systems in by_task.items())
        settings = DeepmdTraining(
            engine="deepmd", models=1, steps=steps, input={"model": MODEL, "training": {"data": {"batch_size": 1}}}
        )
        systems = tuple(path for paths in by_task.values() for path in paths)
        task = TrainingJob(systems, tuple(METALS), 1, None, root / "out", root / "scratch", heads=tasks)
        with timed() as clock:
            DeepmdTrainer(settings).train(task, lambda _: None)
        return clock.seconds


def main() -> None:
    """Measure from few to many tasks, in one process."""
    options = parser(__doc__)
    options.add_argument("--most", type=int, default=100)
    settings = parse_arguments(options, most=5)
    seconds(2, 2)  # imports and compilers
    counts = [count for count in (5, 10, 25, 50, 100, 200) if count <= settings.most]
    rows: list[dict[str, Cell]] = []
    for count in counts:
        wall = seconds(count, 10)
        rows.append({"tasks": count, "seconds": wall, "seconds a task": wall / count})
    publish(settings, "multitask", "Multi-task training, 10 steps, one frame a task", rows)


if __name__ == "__main__":
    main()
