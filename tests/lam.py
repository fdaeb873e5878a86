"""Small large atomic models for the tests: real ones, trained by the tests themselves in seconds."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from ase.build import bulk

from lamflow.data import Frame, LabeledFrame
from lamflow.data.dataset import Item, Origin, write_dataset
from lamflow.engines.emt import Emt, EmtEvaluator
from lamflow.engines.protocol import HeadData, TrainingJob

ELEMENTS = ("Al", "Cu", "Ag")
LATTICE = {"Al": 4.05, "Cu": 3.61, "Ag": 4.09}
FITTING = {"neuron": [16, 16], "resnet_dt": True}
DPA1: dict[str, Any] = {
    "type": "se_atten", "sel": 70, "rcut": 4.8, "rcut_smth": 0.5, "neuron": [8, 16], "axis_neuron": 4, "attn_layer": 0,
    "tebd_input_mode": "strip",
}  # fmt: skip
DPA2: dict[str, Any] = {
    "type": "dpa2", "precision": "float32",
    "repinit": {"rcut": 4.8, "rcut_smth": 0.5, "nsel": 70, "neuron": [4, 8], "axis_neuron": 4, "tebd_dim": 4},
    "repformer": {
        "rcut": 3.5, "rcut_smth": 3.0, "nsel": 24, "nlayers": 1, "g1_dim": 8, "g2_dim": 4, "attn2_hidden": 4,
        "attn2_nhead": 1, "attn1_hidden": 4, "attn1_nhead": 1, "axis_neuron": 4,
    },
}  # fmt: skip
DPA3: dict[str, Any] = {
    "type": "dpa3", "precision": "float32",
    "repflow": {
        "n_dim": 8, "e_dim": 4, "a_dim": 4, "nlayers": 2, "e_rcut": 4.5, "e_rcut_smth": 4.0, "e_sel": 60, "a_rcut": 3.5,
        "a_rcut_smth": 3.0, "a_sel": 24, "axis_neuron": 4,
    },
}  # fmt: skip


def metal(symbol: str, count: int, seed: int, rattle: float = 0.08) -> list[Frame]:
    """Rattled and strained frames of 8 atoms of a metal."""
    rng, made = np.random.default_rng(seed), []
    for _ in range(count):
        atoms = bulk(symbol, "fcc", a=LATTICE[symbol], cubic=True).repeat((2, 1, 1))
        atoms.set_cell(atoms.cell.array @ (np.eye(3) + rng.uniform(-0.03, 0.03, (3, 3))), scale_atoms=True)
        atoms.positions += rng.normal(scale=rattle, size=atoms.positions.shape)
        made.append(Frame.from_ase(atoms))
    return made


def labeled(frames: list[Frame], offset: float = 0.0, head: str = "", iteration: int = 0) -> list[Item]:
    """EMT's labels, with an energy per atom that another level of theory would have added."""
    labels = EmtEvaluator(Emt()).evaluate(frames)
    return [
        Item(
            LabeledFrame(frame, replace(own, energy=own.energy + offset * frame.natoms)),
            Origin(iteration=iteration, source=f"made by a test#{number}", head=head),
        )
        for number, (frame, own) in enumerate(zip(frames, labels, strict=True))
    ]


def model_input(descriptor: dict[str, Any], batch: object = 1) -> dict[str, Any]:
    """DeePMD-kit's input with one of the descriptors."""
    return {
        "model": {"descriptor": descriptor, "fitting_net": FITTING},
        "learning_rate": {"type": "exp", "start_lr": 0.005, "stop_lr": 0.0005},
        "training": {"data": {"batch_size": batch}},
    }


def data(folder: Path, items: list[Item], elements: tuple[str, ...] = ELEMENTS) -> tuple[Path, ...]:
    """The items as a data set, and its systems."""
    from lamflow.data.dataset import systems

    if not folder.is_dir():
        write_dataset(folder, items, elements, "deepmd/npy")
    return tuple(systems(folder))


def training(folder: Path, name: str, systems: tuple[Path, ...], **more: Any) -> TrainingJob:
    """A training in `folder`."""
    given = {"elements": ELEMENTS, "seed": 1, "previous": None, **more}
    return TrainingJob(systems=systems, output=folder / name, scratch=folder / f"{name}-scratch", **given)


def train_lam(folder: Path, descriptor: dict[str, Any], steps: int) -> Path:
    """A model with the heads `copper` and `aluminium`, the latter 5 eV/atom higher; returns its checkpoint."""
    from lamflow.engines.deepmd.settings import DeepmdTraining
    from lamflow.engines.deepmd.trainer import DeepmdTrainer

    copper = data(folder / "copper", labeled(metal("Cu", 16, 1)))
    aluminium = data(folder / "aluminium", labeled(metal("Al", 16, 2), offset=5.0))
    settings = DeepmdTraining(engine="deepmd", models=1, steps=steps, input=model_input(descriptor))
    task = training(
        folder, "lam", copper + aluminium, heads=(HeadData("copper", copper), HeadData("aluminium", aluminium))
    )
    DeepmdTrainer(settings).train(task, lambda fraction: None)
    return folder / "lam" / "model.pt"
