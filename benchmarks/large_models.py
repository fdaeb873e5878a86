"""What a real pre-trained DPA-4 is worth: labels for fine-tuning against from scratch, bounds of errors, distillation.

    python benchmarks/large_models.py [--seeds 3] [--systems Cu Al]

The model is `dpa4-0704` of `lamflow models list` (1.1 million parameters, 84 elements), which is fetched from a package
index once. Labels are EMT's, of rattled and strained fcc cells with 8 atoms.

* labels: held-out force RMSE of the model as it is, fine-tuned on a few frames, and of a small DPA-1 from random
  weights on more and more frames.
* bounds: frames of growing rattle; rank correlation of the true force error of a fine-tuned model with its embedding
  bound, and with the deviation of the committee of all seeds.
* students: small models that learn from labels of the real model; their force RMSE against it, and atoms × steps a
  second of each and of the teacher, through DeePMD-kit's evaluation of a cell with 256 atoms.
"""

from __future__ import annotations

import argparse
import contextlib
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from _bench import Cell, parse_arguments, parser, publish, timed
from ase.build import bulk
from scipy.stats import spearmanr

from lamflow.data import Frame, LabeledFrame, Labels
from lamflow.data.dataset import Item, Origin, systems, write_dataset
from lamflow.data.frames import Floats
from lamflow.driver.pretrained import named_model, obtain
from lamflow.engines.deepmd.model import DeepmdModel
from lamflow.engines.deepmd.settings import DeepmdTraining
from lamflow.engines.deepmd.trainer import DeepmdTrainer
from lamflow.engines.emt import Emt, EmtEvaluator
from lamflow.engines.protocol import TrainingJob
from lamflow.policy.structures import enlarged
from lamflow.science.deviation import force_deviation
from lamflow.science.embedding import ErrorBounds
from lamflow.science.metrics import errors

LATTICE = {"Al": 4.05, "Cu": 3.61, "Ag": 4.09, "Au": 4.08, "Ni": 3.52}
NAME = "dpa4-0704"
SPEED_ATOMS = 256
RATE = {"type": "exp", "start_lr": 2e-4, "stop_lr": 1e-5}
SCRATCH_RATE = {"type": "exp", "start_lr": 5e-3, "stop_lr": 1e-4}
FITTING = {"neuron": [32, 32], "resnet_dt": True, "precision": "float32"}
ATTENTION = {
    "type": "se_atten", "sel": 70, "rcut": 4.8, "rcut_smth": 0.5, "neuron": [8, 16], "axis_neuron": 4, "attn_layer": 0,
    "tebd_input_mode": "strip", "precision": "float32",
}  # fmt: skip
PAIRED = {
    "type": "se_e2_a", "sel": [70], "rcut": 4.8, "rcut_smth": 0.5, "neuron": [8, 16], "axis_neuron": 4,
    "precision": "float32",
}  # fmt: skip
LabeledFrames = tuple[Sequence[Frame], Sequence[Labels]]
STUDENTS = {"se_e2_a": PAIRED, "se_atten": ATTENTION}


@dataclass(frozen=True)
class Setting:
    """One metal: what is trained on, and the folder for it all."""

    symbol: str
    folder: Path


def frames_of(symbol: str, count: int, seed: int, rattle: tuple[float, float] = (0.02, 0.12)) -> list[Frame]:
    """Rattled and strained frames of 8 atoms, the rattle in Å growing from the first to the last."""
    rng, made = np.random.default_rng(seed), []
    for size in np.linspace(*rattle, count):
        atoms = bulk(symbol, "fcc", a=LATTICE[symbol], cubic=True).repeat((2, 1, 1))
        atoms.set_cell(atoms.cell.array @ (np.eye(3) + rng.uniform(-0.03, 0.03, (3, 3))), scale_atoms=True)
        atoms.positions += rng.normal(scale=size, size=atoms.positions.shape)
        made.append(Frame.from_ase(atoms))
    return made


def trained(
    setting: Setting, name: str, frames: Sequence[Frame], labels: Sequence[Labels], seed: int, **given: object
) -> DeepmdModel:
    """A model that is trained on labeled frames."""
    folder = setting.folder / name
    items = [
        Item(LabeledFrame(frame, label), Origin(iteration=0, source=f"made#{number}"))
        for number, (frame, label) in enumerate(zip(frames, labels, strict=True))
    ]
    write_dataset(folder / "data", items, [setting.symbol], "deepmd/npy")
    settings = DeepmdTraining.model_validate({"engine": "deepmd", "models": 1, **given})
    job = TrainingJob(
        systems=tuple(systems(folder / "data")), elements=(setting.symbol,), seed=seed, previous=None,
        output=folder / "model", scratch=folder / "scratch",
    )  # fmt: skip
    DeepmdTrainer(settings).train(job, lambda _: None)
    return DeepmdModel(job.output / "model.pt")


def fine_tuned(setting: Setting, model: Path, count: int, steps: int, seed: int) -> DeepmdModel:
    """The real model after so many steps on so many frames of EMT."""
    frames = frames_of(setting.symbol, count, 100 + seed)
    return trained(
        setting, f"tuned-{count}-{seed}", frames, emt(frames), seed, steps=steps, pretrained={"file": model},
        phases=[{"start_from": "finetune"}], input={"learning_rate": RATE, "training": {"data": {"batch_size": 1}}},
    )  # fmt: skip


def small_model(
    setting: Setting, name: str, data: LabeledFrames, steps: int, seed: int, descriptor: Mapping[str, object]
) -> DeepmdModel:
    """A small model from random weights."""
    spec = {
        "model": {"descriptor": descriptor, "fitting_net": FITTING}, "learning_rate": SCRATCH_RATE,
        "training": {"data": {"batch_size": 1}},
    }  # fmt: skip
    return trained(setting, name, *data, seed, steps=steps, input=spec)


def emt(frames: Sequence[Frame]) -> list[Labels]:
    """EMT's labels."""
    return EmtEvaluator(Emt()).evaluate(frames)


def rmse(model: DeepmdModel, frames: Sequence[Frame], true: Sequence[Labels]) -> float:
    """Of the forces, eV/Å."""
    return errors(model.evaluate(frames), true).force_rmse


def row(system: str, model: str, frames: int, values: Sequence[float], seconds: float, **more: Cell) -> dict[str, Cell]:
    """One row of the table: force RMSE over seeds, seconds of one training."""
    return {
        "system": system, "model": model, "frames": frames, "seeds": len(values),
        "force RMSE (eV/Å)": round(float(np.mean(values)), 4), "spread": round(float(np.std(values)), 4),
        "seconds": round(seconds, 1), **more,
    }  # fmt: skip


def bounds_rows(setting: Setting, committee: Sequence[DeepmdModel], count: int) -> list[dict[str, Cell]]:
    """How well a single model's bounds and a committee's deviations rank the true errors of the same frames."""
    known, held = frames_of(setting.symbol, count, 100), frames_of(setting.symbol, count, 55)
    seen = frames_of(setting.symbol, 2 * count, 66, (0.02, 0.4))
    first, true = committee[0], emt(seen)

    def per_atom(model: DeepmdModel, frames: Sequence[Frame], labels: Sequence[Labels]) -> list[Floats]:
        found = model.evaluate(frames)
        return [np.linalg.norm(a.forces - b.forces, axis=1) for a, b in zip(found, labels, strict=True)]

    error = np.array([each.max() for each in per_atom(first, seen, true)])
    rows: list[dict[str, Cell]] = []
    for features in ("descriptor", "last_layer"):
        numbers = np.concatenate([frame.numbers for frame in known])
        fitted = ErrorBounds.fitted(numbers, np.concatenate(first.embed(known, features)))
        distances = fitted.distances(numbers, np.concatenate(first.embed(held, features)))
        fitted = fitted.calibrated(distances, np.concatenate(per_atom(first, held, emt(held))), 0.9)
        bound = np.array([fitted.bounds(f.numbers, x) for f, x in zip(seen, first.embed(seen, features), strict=True)])
        covered = float(np.mean(np.concatenate(per_atom(first, seen, true)) <= bound.ravel()))
        rows.append({
            "system": setting.symbol, "model": f"bound, {features}", "frames": len(seen), "seeds": 1,
            "rank correlation": round(float(spearmanr(bound.max(axis=1), error).statistic), 3),
            "covered (of 0.9)": round(covered, 3),
        })  # fmt: skip
    forces = np.array([[labels.forces for labels in model.evaluate(seen)] for model in committee])
    deviation = force_deviation(forces).max(axis=1)
    rows.append({
        "system": setting.symbol, "model": "committee", "frames": len(seen), "seeds": len(committee),
        "rank correlation": round(float(spearmanr(deviation, error).statistic), 3),
    })  # fmt: skip
    return rows


def speed(model: DeepmdModel, symbol: str, seconds: float) -> float:
    """Atoms × evaluations a second of one large cell."""
    frame = enlarged(frames_of(symbol, 1, 1)[0], SPEED_ATOMS)
    model.evaluate([frame])
    model.evaluate([frame])
    count, spent = 0, 0.0
    while spent < seconds or count < 1:
        with timed() as clock:
            model.evaluate([frame])
        count, spent = count + 1, spent + clock.seconds
    return count * frame.natoms / spent


def student_rows(
    setting: Setting, teacher: DeepmdModel, count: int, steps: int, seconds: float
) -> list[dict[str, Cell]]:
    """Students of the real model: accuracy against it, and speed beside its own."""
    frames, unseen = frames_of(setting.symbol, count, 7), frames_of(setting.symbol, 16, 8)
    labels, true = teacher.evaluate(frames), teacher.evaluate(unseen)
    own = speed(teacher, setting.symbol, seconds)
    made: list[dict[str, Cell]] = [
        {"system": setting.symbol, "model": "teacher", "atom-steps/s": round(own), "times faster": 1.0}
    ]
    for name, descriptor in STUDENTS.items():
        with timed() as clock:
            student = small_model(setting, f"student-{name}", (frames, labels), steps, 1, descriptor)
        fast = speed(student, setting.symbol, seconds)
        made.append(row(
            setting.symbol, f"student {name}", count, [rmse(student, unseen, true)], clock.seconds,
            **{"atom-steps/s": round(fast), "times faster": round(fast / own, 1)},
        ))  # fmt: skip
    return made


def label_rows(
    setting: Setting, model: Path, settings: argparse.Namespace
) -> tuple[list[dict[str, Cell]], list[DeepmdModel]]:
    """What labels are worth with the real model and without; and the models that were fine-tuned last."""
    symbol, seeds = setting.symbol, range(settings.seeds)
    unseen = frames_of(symbol, settings.unseen, 9)
    true, committee = emt(unseen), list[DeepmdModel]()
    rows = [row(symbol, "DPA-4 as it is", 0, [rmse(DeepmdModel(model), unseen, true)], 0.0)]
    for count in settings.tuned:
        with timed() as clock:
            committee = [fine_tuned(setting, model, count, settings.steps, seed) for seed in seeds]
        found = [rmse(tuned, unseen, true) for tuned in committee]
        rows.append(row(symbol, "DPA-4 fine-tuned", count, found, clock.seconds / settings.seeds))
    for count in settings.scratch:
        found = []
        with timed() as clock:
            for seed in seeds:
                frames, name = frames_of(symbol, count, 100 + seed), f"scratch-{count}-{seed}"
                made = small_model(setting, name, (frames, emt(frames)), settings.scratch_steps, seed, ATTENTION)
                found.append(rmse(made, unseen, true))
        rows.append(row(symbol, "DPA-1 from scratch", count, found, clock.seconds / settings.seeds))
    return rows, committee


def main() -> None:
    """Measure, print, write."""
    options = parser(__doc__)
    options.add_argument("--seeds", type=int, default=3)
    options.add_argument("--systems", nargs="+", default=["Cu", "Al"], choices=list(LATTICE))
    options.add_argument("--tuned", type=int, nargs="+", default=[8], help="Frames of fine-tuning.")
    options.add_argument("--scratch", type=int, nargs="+", default=[8, 32, 128], help="Frames from scratch.")
    options.add_argument("--steps", type=int, default=40, help="Of fine-tuning.")
    options.add_argument("--scratch-steps", type=int, default=600)
    options.add_argument("--unseen", type=int, default=16, help="Frames that all models are judged on.")
    options.add_argument("--taught", type=int, default=64, help="Frames that students learn from.")
    settings = parse_arguments(
        options, seeds=2, systems=["Cu"], tuned=[2], scratch=[4], steps=1, scratch_steps=10, unseen=2, taught=4
    )
    model = obtain(*named_model(NAME))
    rows: list[dict[str, Cell]] = []
    with tempfile.TemporaryDirectory() as name, contextlib.chdir(name):  # DeePMD-kit leaves files where it is
        for symbol in settings.systems:
            setting = Setting(symbol, Path(name) / symbol)
            found, committee = label_rows(setting, model, settings)
            rows += found
            print(*found, sep="\n", file=sys.stderr, flush=True)
            rows += bounds_rows(setting, committee, max(settings.tuned))
            seconds = 0.1 if settings.small else 5.0
            rows += student_rows(setting, DeepmdModel(model), settings.taught, settings.scratch_steps, seconds)
            print(*rows, sep="\n", file=sys.stderr, flush=True)
    columns = list(dict.fromkeys(key for each in rows for key in each))
    table = [{key: each.get(key) for key in columns} for each in rows]
    publish(settings, "large_models", "What a real pre-trained DPA-4 is worth", table)


if __name__ == "__main__":
    main()
