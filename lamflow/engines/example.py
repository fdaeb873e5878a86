"""Small cases that an engine's roles are tried with: settings that run in seconds, and frames that the code knows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from lamflow.data import Frame, LabeledFrame
from lamflow.data.dataset import Item, Origin, systems, write_dataset
from lamflow.engines.protocol import Trainer, TrainingJob


def copper_frames() -> list[Frame]:
    """Rattled and strained copper, of two sizes."""
    from ase.build import bulk

    rng = np.random.default_rng(3)
    frames = []
    for repeat in ((2, 2, 2), (2, 2, 1), (2, 2, 2)):
        atoms = bulk("Cu", "fcc", a=3.6, cubic=True).repeat(repeat)
        atoms.positions += rng.normal(scale=0.08, size=atoms.positions.shape)
        atoms.set_cell(atoms.cell.array @ (np.eye(3) + rng.uniform(-0.03, 0.03, (3, 3))), scale_atoms=True)
        frames.append(Frame.from_ase(atoms))
    return frames


def silicon_frames() -> list[Frame]:
    """Two rattled primitive cells of silicon."""
    from ase.build import bulk

    frames = []
    for seed in (1, 2):
        atoms = bulk("Si", "diamond", a=5.43)
        atoms.positions += np.random.default_rng(seed).normal(scale=0.05, size=(2, 3))
        frames.append(Frame.from_ase(atoms))
    return frames


def hydrogen_frames() -> list[Frame]:
    """A molecule of hydrogen in a small box, and without one."""
    positions = np.array([[1.0, 1, 1], [1.1, 1.2, 1.75]])
    box = Frame(np.array([1, 1]), positions, np.diag([3.0, 3.2, 3.4]))
    return [box, Frame(np.array([1, 1]), positions, np.zeros((3, 3)), pbc=False)]


@dataclass(frozen=True, eq=False)
class Example:
    """What an engine is tried with in one role.

    settings      as in a configuration, without `engine`
    frames        that the code knows with these settings; for training and exploring of metals that EMT knows
    ends_early    further settings with which an exploration is sure to end early, after it has written frames; without
                  them the model fails, which a code that runs in another process does not notice
    unavailable   why the example cannot be run here although the engine can; None if it can
    force_tolerance   of the engine's arithmetic, eV/Å
    virial_tolerance  eV
    """

    settings: Mapping[str, Any] = field(default_factory=dict)
    frames: Sequence[Frame] = field(default_factory=copper_frames)
    ends_early: Mapping[str, Any] = field(default_factory=dict)
    unavailable: str | None = None
    force_tolerance: float = 1e-3
    virial_tolerance: float = 1e-2


def emt_items(frames: Sequence[Frame]) -> list[Item]:
    """The frames with EMT's energies in eV, forces in eV/Å and virials in eV."""
    from ase.calculators.emt import EMT

    from lamflow.data.io import labels_from_ase

    items = []
    for index, frame in enumerate(frames):
        atoms = frame.to_ase()
        atoms.calc = EMT()
        atoms.get_forces(), atoms.get_stress()
        items.append(Item(LabeledFrame(frame, labels_from_ase(atoms)), Origin(iteration=0, source=f"example#{index}")))
    return items


def training_job(items: Sequence[Item], folder: Path, name: str = "model", seed: int = 1) -> TrainingJob:
    """A training on `items` whose data and results lie in `folder`."""
    elements = tuple(sorted({symbol for item in items for symbol in item.labeled.frame.symbols}))
    if not (folder / "frames").is_dir():
        write_dataset(folder / "frames", list(items), list(elements), "deepmd/npy")
    return TrainingJob(
        systems=tuple(systems(folder / "frames")),
        elements=elements,
        seed=seed,
        previous=None,
        output=folder / name,
        scratch=folder / f"{name}-scratch",
    )


def trained(trainer: Trainer, frames: Sequence[Frame], folder: Path) -> Path:
    """A folder with a model that `trainer` has made of `frames` and EMT's labels."""
    job = training_job(emt_items(frames), folder)
    trainer.train(job, lambda _: None)
    return job.output
