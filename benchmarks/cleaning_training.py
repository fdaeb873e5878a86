"""Models of broken labels, of the same after cleaning, and of labels that were never broken, at equal steps.

    python benchmarks/cleaning_training.py [--data FOLDER] [--share 0.05] [--steps 2000] [--seeds 3]

One frame in twenty is broken: another unit, the other sign of energy or forces, forces in another order, another
reference of the energy. The broken set is cleaned by a run of the kind `cleaning`, whose only judges are models trained
on the other folds of these very labels, and a model of DeePMD-kit is trained on each of the three sets. All are judged
on frames that nothing was done to. They are alloys labeled by EMT, or those of `--data`, a folder of deepmd/npy systems
or any file that a source of cleaning may be.
"""

from __future__ import annotations

import argparse
import contextlib
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import yaml
from _bench import Cell, parse_arguments, parser, publish, timed
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import write
from cleaning import BREAKS, emt_case

from lamflow.config import parse
from lamflow.config.cleaning import CleaningStudy
from lamflow.config.schema import TrainingStudy
from lamflow.data import LabeledFrame
from lamflow.data.dataset import read_dataset
from lamflow.data.layout import TRAIN
from lamflow.data.sources import Dialect, source_frames
from lamflow.driver.loop import run
from lamflow.driver.rundir import RunDirectory

SMALL_MODEL = {
    "descriptor": {
        "type": "se_atten", "sel": 120, "rcut": 4.8, "rcut_smth": 0.5, "neuron": [8, 16], "axis_neuron": 4,
        "attn_layer": 0, "precision": "float32",
    },
    "fitting_net": {"neuron": [32, 32], "resnet_dt": True, "precision": "float32"},
}  # fmt: skip
"""One network for all elements."""
KINDS = ("kcal/mol", "energy sign", "force sign", "permuted forces", "+1 eV/atom")


def given(settings: argparse.Namespace) -> tuple[list[LabeledFrame], list[int]]:
    """The frames, and which trajectory each belongs to."""
    if settings.data is None:
        case = emt_case(settings.trajectories, 20)
        return case.items, case.trajectory.tolist()
    read = [item for item in source_frames(settings.data, Dialect()) if item.labeled is not None]
    names = {item.trajectory: place for place, item in enumerate(read)}
    return [item.labeled for item in read if item.labeled], [names[item.trajectory] for item in read]


def broken(frames: Sequence[LabeledFrame], share: float, seed: int) -> tuple[list[LabeledFrame], set[int]]:
    """The frames with a share of them broken, in equal parts by each kind, and which these are."""
    generator, items = np.random.default_rng(seed), list(frames)
    places = generator.permutation(len(items))[: max(len(KINDS), round(share * len(items)))]
    for count, place in enumerate(places):
        items[place] = BREAKS[KINDS[count % len(KINDS)]](items[place], generator)
    return items, set(places.tolist())


def written(frames: Sequence[LabeledFrame], trajectory: Sequence[int], file: Path) -> Path:
    """An extended XYZ file."""
    images = []
    for number, (item, name) in enumerate(zip(frames, trajectory, strict=True)):
        atoms = item.frame.to_ase()
        atoms.calc = SinglePointCalculator(atoms, energy=item.labels.energy, forces=item.labels.forces)
        atoms.info |= {"traj_id": f"t{name}", "number": number}
        images.append(atoms)
    write(file, images, format="extxyz")
    return file


def cleaned(file: Path, folds: int, root: Path) -> list[LabeledFrame]:
    """What a run of cleaning leaves of a file."""
    study = {
        "workflow": "cleaning", "name": "clean", "split": {"heldout": 0},
        "sources": [{"name": "data", "data": [str(file)], "trajectory": "traj_id", "method": "one"}],
        "folds": {"train": {"engine": "pair", "functions": 12}, "n": folds},
    }  # fmt: skip
    folder = root / file.stem
    run(parse(yaml.safe_dump(study), root=root, kind=CleaningStudy), folder)
    return [item.labeled for part in sorted((folder / TRAIN).iterdir()) for item in read_dataset(part)]


def errors(settings: argparse.Namespace, file: Path, heldout: Path, seed: int, root: Path) -> tuple[float, float]:
    """Held-out RMSE of a model, of forces in eV/Å and of energies in eV/atom."""
    first = next(item.labeled for item in source_frames(heldout, Dialect()))
    assert first is not None
    study = {
        "workflow": "training", "name": "one", "seed": seed, "elements": sorted(settings.elements),
        "start": {"data": [str(file)]}, "heldout": {"data": [str(heldout)]},
        "train": {
            "engine": "deepmd", "models": 1, "steps": settings.steps, "checkpoint_every": settings.steps,
            "input": {"model": SMALL_MODEL, "training": {"disp_freq": max(1, settings.steps // 10)}},
        },
    }  # fmt: skip
    folder = root / f"{file.stem}-{seed}"
    run(parse(yaml.safe_dump(study), root=root, kind=TrainingStudy), folder)
    model = RunDirectory(folder).iterations()[-1].models[0]
    assert model.errors is not None, model.failed
    return model.errors.force_rmse, model.errors.energy_rmse


def same(one: LabeledFrame, other: LabeledFrame) -> bool:
    """The labels are the same numbers."""
    close = abs(one.labels.energy - other.labels.energy) < 1e-4
    return close and one.labels.forces.shape == other.labels.forces.shape and bool(
        np.allclose(one.labels.forces, other.labels.forces, atol=1e-4)
    )  # fmt: skip


def main() -> None:
    """Break, clean, train thrice."""
    options = parser(__doc__)
    options.add_argument("--data", type=Path, help="labeled frames; alloys labeled by EMT without it")
    options.add_argument("--trajectories", type=int, default=40, help="of alloys")
    options.add_argument("--share", type=float, default=0.05, help="of the frames to train on that are broken")
    options.add_argument("--steps", type=int, default=2000)
    options.add_argument("--seeds", type=int, default=3, help="of models")
    options.add_argument("--folds", type=int, default=5)
    settings = parse_arguments(options, trajectories=8, steps=20, seeds=1, folds=3)
    settings.data = settings.data.absolute() if settings.data is not None else None
    frames, trajectory = given(settings)
    held = set(np.unique(trajectory)[::5].tolist()) if len(set(trajectory)) > 4 else set()
    apart = [trajectory[n] in held if held else n % 5 == 0 for n in range(len(frames))]
    pool = [n for n in range(len(frames)) if not apart[n]]
    settings.elements = {symbol for item in frames for symbol in item.frame.symbols}
    good = [frames[n] for n in pool]
    spoilt, bad = broken(good, settings.share, 0)
    rows: list[dict[str, Cell]] = []
    with tempfile.TemporaryDirectory() as name, contextlib.chdir(name), timed() as clock:
        root, own = Path(name), [trajectory[n] for n in pool]
        heldout = written([frames[n] for n in range(len(frames)) if apart[n]],
                          [trajectory[n] for n in range(len(frames)) if apart[n]], root / "heldout.extxyz")  # fmt: skip
        sets = {"never broken": good, "broken": spoilt}
        sets["cleaned"] = cleaned(written(spoilt, own, root / "spoilt.extxyz"), settings.folds, root)
        wrong = [spoilt[n] for n in bad]
        for words, items in sets.items():
            file = written(items, [0] * len(items), root / f"{words.replace(' ', '-')}.extxyz")
            with timed() as training:
                found = [errors(settings, file, heldout, seed, root) for seed in range(settings.seeds)]
            still = sum(any(same(item, one) for one in wrong) for item in items)
            rows.append(
                {
                    "trained on": words, "frames": len(items), "broken among them": still,
                    "force RMSE (eV/Å)": float(np.mean([force for force, _ in found])),
                    "energy RMSE (eV/atom)": float(np.mean([energy for _, energy in found])),
                    "spread of force RMSE": float(np.ptp([force for force, _ in found])),
                    "seconds": training.seconds,
                }
            )  # fmt: skip
    settings.elements = " ".join(sorted(settings.elements))
    publish(settings, "cleaning_training", f"Held-out errors by what was trained on ({clock.seconds:.0f} s)", rows)


if __name__ == "__main__":
    main()
