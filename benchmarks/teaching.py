"""Labels by a teacher: frames a second of a label pod, of raw batched evaluation, and of dpgen2 with a process a frame.

    python benchmarks/teaching.py [--frames 6000] [--dpgen2 /path/to/python]

The teacher is a small DPA-1 that is trained first. The pod is a process of its own: it starts, loads the teacher,
labels and writes what a pod of a run writes. dpgen2 labels one frame a process; its Python needs DeePMD-kit as well.
The raw evaluation is DeePMD-kit's own `DeepPot.eval` of the same frames, packed by hand, in a process that is warm.
"""

from __future__ import annotations

import contextlib
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from _bench import Cell, parse_arguments, parser, publish, timed

from lamflow.config import parse
from lamflow.config.schema import TrainingStudy
from lamflow.data import Frame
from lamflow.data.batch import Batch
from lamflow.data.dataset import Origin
from lamflow.engines import registry
from lamflow.engines.deepmd.settings import DeepmdTraining
from lamflow.engines.deepmd.trainer import DeepmdTrainer
from lamflow.engines.emt import Emt, EmtEvaluator
from lamflow.engines.protocol import TrainingJob

POD = """\
import sys
from pathlib import Path
from lamflow.ops.operation import Context
from lamflow.ops.label import label
root = Path(sys.argv[1])
context = Context(0, 1, "label-0", root / "work", root / "scratch", root / "out")
label(context, input=root / "input", batch=root / "batch")
"""
STUDY = """\
workflow: training
name: teaching
elements: [Al, Cu]
start: {label: [cu]}
structures: [{name: cu, crystal: {formula: Cu, lattice: fcc, a: 3.6}}]
heldout: {fraction: 0.1}
train: {engine: pair, models: 2}
label: {engine: deepmd, model: {file: FILE}}
"""
MODEL = {
    "descriptor": {
        "type": "se_atten", "sel": 60, "rcut": 4.8, "rcut_smth": 0.5, "neuron": [8, 16], "axis_neuron": 4,
        "attn_layer": 0, "tebd_input_mode": "strip", "precision": "float32",
    },
    "fitting_net": {"neuron": [32, 32], "resnet_dt": True, "precision": "float32"},
}  # fmt: skip


def frames_of(count: int, seed: int) -> list[Frame]:
    """Frames of 16, 32 and 48 atoms in turn: aluminium-copper alloys, every one with its own composition."""
    from ase.build import bulk

    rng, made = np.random.default_rng(seed), []
    for number in range(count):
        atoms = bulk("Cu", "fcc", a=3.8, cubic=True).repeat((2, 2, 1 + number % 3))
        atoms.set_atomic_numbers(rng.choice([13, 29], size=len(atoms)))
        atoms.positions += rng.normal(scale=0.06, size=atoms.positions.shape)
        made.append(Frame.from_ase(atoms))
    return made


def train_teacher(root: Path) -> Path:
    """A teacher of a few thousand parameters; how good it is does not matter here."""
    from lamflow.data import LabeledFrame
    from lamflow.data.dataset import Item, systems, write_dataset

    frames = frames_of(6, 1)
    labels = EmtEvaluator(Emt()).evaluate(frames)
    items = [Item(LabeledFrame(f, own), Origin(iteration=0, source="x")) for f, own in zip(frames, labels, strict=True)]
    write_dataset(root / "data", items, ["Al", "Cu"], "deepmd/npy")
    settings = DeepmdTraining(
        engine="deepmd", models=1, steps=20, input={"model": MODEL, "training": {"data": {"batch_size": 1}}}
    )
    task = TrainingJob(tuple(systems(root / "data")), ("Al", "Cu"), 1, None, root / "teacher", root / "scratch-teacher")
    DeepmdTrainer(settings).train(task, lambda _: None)
    return root / "teacher" / "model.pth"


def raw_seconds(model: Path, frames: list[Frame]) -> float:
    """DeePMD-kit's own evaluation of all frames in one call for each size, once it is warm."""
    from deepmd.infer import DeepPot

    potential = DeepPot(str(model))
    order, packed = {13: 0, 29: 1}, []
    for natoms in sorted({frame.natoms for frame in frames}):
        own = [frame for frame in frames if frame.natoms == natoms]
        types = np.array([[order[int(number)] for number in frame.numbers] for frame in own])
        packed.append((np.stack([f.positions for f in own]), np.stack([f.cell for f in own]), types))
    for positions, cells, types in packed:
        potential.eval(positions[:64], cells[:64], types[:64], mixed_type=True)
    with timed() as clock:
        for positions, cells, types in packed:
            potential.eval(positions, cells, types, mixed_type=True)
    return clock.seconds


def warm_seconds(config: TrainingStudy, frames: list[Frame], work: Path) -> float:
    """lamflow's labeler, once it is warm."""
    labeler = registry.labeler(config.labeler())
    labeler.label(frames[:192], work)
    with timed() as clock:
        labeler.label(frames, work)
    return clock.seconds


def pod_seconds(config: TrainingStudy, frames: list[Frame], root: Path) -> float:
    """A whole label pod."""
    (root / "input").mkdir()
    (root / "input" / "config.json").write_text(config.model_dump_json(), encoding="utf-8")
    origins = [Origin(iteration=1, source=f"task {number}") for number in range(len(frames))]
    Batch(frames, origins).save(root / "batch")
    with timed() as clock:
        subprocess.run([sys.executable, "-c", POD, root], check=True, capture_output=True)
    return clock.seconds


def dpgen2_seconds(python: Path, model: Path, root: Path, count: int) -> float:
    """dpgen2's own class, a process a frame, for each of `count` frames."""
    script = Path(__file__).with_name("_teaching_dpgen2.py")
    with timed() as clock:
        for number in range(count):
            folder = root / f"dpgen2-{number}"
            folder.mkdir()
            subprocess.run([python, script, model, folder], check=True, cwd=folder, capture_output=True)
    return clock.seconds / count


def main() -> None:
    """Measure all on the same machine in one run."""
    options = parser(__doc__)
    options.add_argument("--frames", type=int, default=6000)
    options.add_argument("--dpgen2", type=Path, help="Python of an environment with dpgen2 0.1.0 and DeePMD-kit")
    settings = parse_arguments(options, frames=30)
    frames = frames_of(settings.frames, 2)
    with tempfile.TemporaryDirectory() as name, contextlib.chdir(name):  # DeePMD-kit leaves files where it is
        root = Path(name)
        model = train_teacher(root)
        config = parse(STUDY.replace("FILE", str(model)), root=root, kind=TrainingStudy)
        raw, warm = raw_seconds(model, frames), warm_seconds(config, frames, root)
        pod = pod_seconds(config, frames, root)
        single = dpgen2_seconds(settings.dpgen2, model, root, 3) if settings.dpgen2 else None
    count = len(frames)
    rates = {
        "raw DeepPot.eval, one call a size": count / raw,
        "lamflow's labeler, warm": count / warm,
        f"lamflow's label pod, {count} frames, start to end": count / pod,
    }
    if single is not None:
        rates["dpgen2, a process a frame"] = 1 / single
    rows: list[dict[str, Cell]] = [
        {"what": what, "frames/s": rate, "of raw": rate * raw / count, "times dpgen2": single and rate * single}
        for what, rate in rates.items()
    ]
    publish(settings, "teaching", "Labels by a teacher, frames of 16, 32 and 48 atoms", rows)


if __name__ == "__main__":
    main()
