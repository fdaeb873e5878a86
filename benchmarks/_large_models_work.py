"""What large models are measured on, and their trainings: systems, labels, fine-tuning, small models from scratch."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from ase.build import bulk, molecule

from lamflow.data import Frame, LabeledFrame, Labels
from lamflow.data.dataset import Item, Origin, systems, write_dataset
from lamflow.engines.ase import AseLabels
from lamflow.engines.deepmd.model import DeepmdModel
from lamflow.engines.deepmd.settings import DeepmdTraining
from lamflow.engines.deepmd.trainer import DeepmdTrainer
from lamflow.engines.emt import Emt
from lamflow.engines.protocol import TrainingJob
from lamflow.engines.registry import evaluator
from lamflow.science.metrics import errors

RATE = {"type": "exp", "start_lr": 2e-4, "stop_lr": 1e-5}
SCRATCH_RATE = {"type": "exp", "start_lr": 5e-3, "stop_lr": 1e-4}
FITTING = {"neuron": [32, 32], "resnet_dt": True, "precision": "float32"}
ATTENTION: dict[str, Any] = {
    "type": "se_atten", "sel": 70, "rcut": 4.8, "rcut_smth": 0.5, "neuron": [8, 16], "axis_neuron": 4, "attn_layer": 0,
    "tebd_input_mode": "strip", "precision": "float32",
}  # fmt: skip


@dataclass(frozen=True)
class System:
    """What is learned; `start` makes a structure from a random generator, rattled by 1 for a rattle of `size` in Å."""

    name: str
    elements: tuple[str, ...]
    start: Callable[[np.random.Generator], Atoms]
    labels: Callable[[Sequence[Frame]], list[Labels]]
    strain: float
    size: float = 1.0

    def frames(self, count: int, seed: int, rattle: tuple[float, float] = (0.02, 0.12)) -> list[Frame]:
        """Rattled and strained frames, the rattle growing from the first to the last."""
        rng, made = np.random.default_rng(seed), []
        for size in np.linspace(*rattle, count):
            atoms = self.start(rng)
            if self.strain:
                change = np.eye(3) + rng.uniform(-self.strain, self.strain, (3, 3))
                atoms.set_cell(atoms.cell.array @ change, scale_atoms=True)
            atoms.positions += rng.normal(scale=size * self.size, size=atoms.positions.shape)
            made.append(Frame.from_ase(atoms))
        return made


def _alloy(rng: np.random.Generator) -> Atoms:
    """4 atoms of each metal in random places."""
    atoms = bulk("Cu", "fcc", a=3.83, cubic=True).repeat((2, 1, 1))
    atoms.set_atomic_numbers(rng.permutation([13] * 4 + [29] * 4))
    return atoms


def _trimer(rng: np.random.Generator) -> Atoms:
    """Three molecules of water, turned at random, the oxygens 2.8 Å apart."""
    cluster = Atoms()
    for corner in ((0.0, 0.0, 0.0), (2.8, 0.0, 0.0), (1.4, 2.42, 0.0)):
        one = molecule("H2O")
        one.rotate(rng.uniform(0, 360), rng.normal(size=3))
        one.translate(np.array(corner) - one.positions[0])
        cluster += one
    return cluster


def _emt(frames: Sequence[Frame]) -> list[Labels]:
    return evaluator(Emt()).evaluate(frames)


def _xtb(frames: Sequence[Frame]) -> list[Labels]:
    arguments: dict[str, Any] = {"method": "GFN2-xTB", "verbosity": 0}
    made = AseLabels.model_validate({"engine": "ase", "calculator": "tblite.ase.TBLite", "arguments": arguments})
    return evaluator(made).evaluate(frames)


SYSTEMS = {
    "alloy": System("AlCu alloy, EMT", ("Al", "Cu"), _alloy, _emt, 0.03),
    "water": System("water trimer, GFN2-xTB", ("H", "O"), _trimer, _xtb, 0.0, 0.5),
}


@dataclass(frozen=True)
class Setting:
    """A system, and the folder for all that is made of it."""

    system: System
    folder: Path


LabeledFrames = tuple[Sequence[Frame], Sequence[Labels]]


def trained(
    setting: Setting, name: str, data: LabeledFrames, seed: int, *, for_lammps: bool = False, **given: object
) -> DeepmdModel:
    """A model that is trained on labeled frames; `given` is of `train`."""
    folder = setting.folder / name
    items = [
        Item(LabeledFrame(frame, label), Origin(iteration=0, source=f"made#{number}"))
        for number, (frame, label) in enumerate(zip(*data, strict=True))
    ]
    write_dataset(folder / "data", items, setting.system.elements, "deepmd/npy")
    settings = DeepmdTraining.model_validate({"engine": "deepmd", "models": 1, **given})
    job = TrainingJob(
        systems=tuple(systems(folder / "data")), elements=setting.system.elements, seed=seed, previous=None,
        output=folder / "model", scratch=folder / "scratch", for_lammps=for_lammps,
    )  # fmt: skip
    trainer = DeepmdTrainer(settings)
    trainer.train(job, lambda _: None)
    return trainer.load(job.output)


def fine_tuned(
    setting: Setting, model: Path, count: int, steps: int, seed: int, *, for_lammps: bool = False
) -> DeepmdModel:
    """The real model after so many steps on so many frames; compiled where LAMMPS is to evaluate it (minutes)."""
    frames = setting.system.frames(count, 100 + seed)
    return trained(
        setting, f"tuned-{count}-{seed}", (frames, setting.system.labels(frames)), seed, for_lammps=for_lammps,
        steps=steps, pretrained={"file": model}, phases=[{"start_from": "finetune"}],
        input={"learning_rate": RATE, "training": {"data": {"batch_size": 1}}},
    )  # fmt: skip


def small_model(
    setting: Setting, name: str, data: LabeledFrames, steps: int, seed: int, descriptor: Mapping[str, object],
    *, loss: Mapping[str, float] | None = None, compress: bool = False,
) -> DeepmdModel:  # fmt: skip
    """A small model from random weights, 32 atoms a step."""
    spec: dict[str, Any] = {
        **({} if loss is None else {"loss": {"type": "ener", **loss}}),
        "model": {"descriptor": descriptor, "fitting_net": FITTING}, "learning_rate": SCRATCH_RATE,
        "training": {"data": {"batch_size": "auto"}},
    }  # fmt: skip
    return trained(setting, name, data, seed, steps=steps, input=spec, compress=compress)


def rmse(model: DeepmdModel, frames: Sequence[Frame], true: Sequence[Labels]) -> float:
    """Of the forces, eV/Å."""
    return errors(model.evaluate(frames), true).force_rmse
