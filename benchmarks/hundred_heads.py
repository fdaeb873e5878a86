"""A hundred small data sets, cleaned into the heads of one training: errors of each head, and of models of its own.

    python benchmarks/hundred_heads.py --keep FOLDER [--heads 100] [--steps 3000]

Real frames of MPtrj and Alexandria are sorted by their anion and heaviest metal, where there are enough of a kind;
metals and alloys labeled by EMT, each with an energy of its own per atom, are the others. Every set becomes a source of
one study of cleaning, whose training.yaml is trained with a tiny DPA-3. Five heads are trained alone, too, each for as
many steps as the common training has drawn from it. `--keep` is the folder of benchmarks/cleaning.py; without it there
are only metals.
"""

from __future__ import annotations

import argparse
import contextlib
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from _bench import Cell, parse_arguments, parser, publish, timed
from ase import Atoms
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import iread, write

from lamflow.config import load, parse
from lamflow.config.cleaning import CleaningStudy
from lamflow.config.schema import TrainingStudy
from lamflow.data.layout import CARDS, TRAINING_STUDY, iteration_key
from lamflow.data.results import ModelResult
from lamflow.driver.loop import run
from lamflow.driver.rundir import RunDirectory

FILES = {"mptrj": "mptrj-random-1k.xyz", "alexandria": "alexandria-random-1k.xyz"}
METALS = {"Cu": 3.6, "Al": 4.0, "Ni": 3.5, "Ag": 4.1, "Au": 4.1, "Pd": 3.9, "Pt": 3.9}
ANIONS = (9, 8, 7, 17, 16, 35, 34, 53, 52, 15, 33, 6, 5, 14, 32)
LARGEST, FRAMES, FEWEST = 24, 24, 10
SEL = 160
MODEL: dict[str, Any] = {
    "descriptor": {
        "type": "dpa3", "precision": "float32", "activation_function": "silut:3.0", "use_tebd_bias": False,
        "use_econf_tebd": False,
        "repflow": {
            "n_dim": 16, "e_dim": 8, "a_dim": 8, "nlayers": 2, "e_rcut": 4.5, "e_rcut_smth": 4.0, "e_sel": SEL,
            "a_rcut": 3.2, "a_rcut_smth": 2.8, "a_sel": 60, "axis_neuron": 4, "a_compress_rate": 1,
            "a_compress_e_rate": 2, "a_compress_use_split": True, "update_angle": True, "update_style": "res_residual",
            "update_residual": 0.1, "update_residual_init": "const", "smooth_edge_update": True,
            "use_dynamic_sel": True, "sel_reduce_factor": 4.0,
        },
    },
    "fitting_net": {"neuron": [24, 24], "resnet_dt": True, "precision": "float32"},
}  # fmt: skip


def real_sets(keep: Path) -> dict[str, list[Atoms]]:
    """Frames of each origin by anion and heaviest other element's row of the table, where there are enough."""
    sets: dict[str, list[Atoms]] = {}
    for origin, file in FILES.items():
        for atoms in iread(keep / file, index=":", format="extxyz"):
            kinds = set(map(int, atoms.numbers))
            anion = next((number for number in ANIONS if number in kinds), 0)
            if len(atoms) <= LARGEST:
                heaviest = max(kinds - {anion}, default=anion)
                sets.setdefault(f"{origin}-{anion:02d}-{heaviest // 12}", []).append(atoms)
    chosen = {name: frames[:FRAMES] for name, frames in sorted(sets.items()) if len(frames) >= FEWEST}
    return {name: frames for name, frames in chosen.items() if name.split("-")[1] != "00"}


def metal_set(number: int) -> list[Atoms]:
    """An alloy at several volumes, shaken, labeled by EMT with an energy of its own per atom."""
    pairs = [(a, b) for a in METALS for b in METALS]
    first, second = pairs[(5 * number) % len(pairs)]
    generator, frames = np.random.default_rng(number), []
    for _ in range(FRAMES):
        size = (METALS[first] + METALS[second]) / 2 * (1 + generator.uniform(-0.04, 0.04))
        atoms = bulk(first, "fcc", a=size, cubic=True)
        atoms.symbols[generator.permutation(4)[: generator.integers(1, 4)]] = second
        atoms.positions += generator.normal(scale=0.08, size=(4, 3))
        atoms.calc = EMT()
        energy = atoms.get_potential_energy() + 0.7 * (number % 13 - 6) * len(atoms)
        forces, stress = atoms.get_forces(), atoms.get_stress()
        atoms.calc = SinglePointCalculator(atoms, energy=energy, forces=forces, stress=stress)
        frames.append(atoms)
    return frames


def cleaned(settings: argparse.Namespace, root: Path) -> Path:
    """The training study on as many heads as asked for, made by cleaning."""
    sets = real_sets(settings.keep) if settings.keep is not None else {}
    sets = dict(list(sets.items())[: settings.heads // 2])
    sets |= {f"metal-{number:03d}": metal_set(number) for number in range(settings.heads - len(sets))}
    sources = []
    for name, frames in sets.items():
        write(root / f"{name}.extxyz", frames, format="extxyz")
        sources.append({"name": name, "data": [f"{name}.extxyz"], "head": name})
    train = {
        "engine": "deepmd", "models": 1, "steps": settings.steps, "checkpoint_every": settings.steps,
        "input": {"model": MODEL, "learning_rate": {"type": "exp", "start_lr": 3e-3, "stop_lr": 1e-4},
                  "training": {"disp_freq": max(1, settings.steps // 20)}},
    }  # fmt: skip
    study = {
        "workflow": "cleaning", "name": "heads", "sources": sources, "split": {"heldout": 0.25, "whole": "structure"},
        "training": {"exponent": 0.5, "study": {"train": train}},
    }  # fmt: skip
    made = parse(yaml.safe_dump(study), root=root, kind=CleaningStudy)
    run(made, root / "clean")
    return root / "clean" / iteration_key(1) / CARDS / TRAINING_STUDY


def trained(study: TrainingStudy, folder: Path) -> tuple[ModelResult, float]:
    """The one model of a training study, and the seconds that it took."""
    with timed() as clock:
        run(study, folder)
    return RunDirectory(folder).iterations()[-1].models[0], clock.seconds


def alone(file: Path, study: TrainingStudy, head: str, root: Path) -> ModelResult:
    """A model of one head, trained for the steps that the common training has drawn from it."""
    document = yaml.safe_load(file.read_text(encoding="utf-8"))
    part = next(item for item in document.pop("heads") if item["name"] == head)
    share = part["weight"] / sum(item.weight for item in study.heads)
    document |= {"name": "alone", "start": part["start"], "heldout": part["heldout"]}
    document["train"]["steps"] = max(20, round(document["train"]["steps"] * share))
    document["train"]["checkpoint_every"] = document["train"]["steps"]
    return trained(parse(yaml.safe_dump(document), root=file.parent, kind=TrainingStudy), root / f"alone-{head}")[0]


def errors_of(model: ModelResult, head: str) -> float:
    """Held-out force RMSE of a head, eV/Å."""
    found = model.heads.get(head) or model.errors
    assert found is not None, model.failed
    return found.force_rmse


def main() -> None:
    """Clean, train, compare."""
    options = parser(__doc__)
    options.add_argument("--keep", type=Path, help="folder with the real frames")
    options.add_argument("--heads", type=int, default=100)
    options.add_argument("--steps", type=int, default=3000, help="of the common training")
    options.add_argument("--alone", type=int, default=5, help="heads that are trained alone, too")
    settings = parse_arguments(options, heads=6, steps=60, alone=1)
    if settings.keep is not None:
        settings.keep = settings.keep.absolute()
    with tempfile.TemporaryDirectory() as name, contextlib.chdir(name):
        root = Path(name)
        with timed() as clock:
            file = cleaned(settings, root)
        study = load(file, TrainingStudy)
        model, seconds = trained(study, root / "together")
        heads = [head.name for head in study.heads]
        chosen = [heads[place] for place in np.linspace(0, len(heads) - 1, settings.alone).astype(int)]
        singles = {head: errors_of(alone(file, study, head, root), head) for head in chosen}
    publish(
        settings, "hundred_heads", f"{len(heads)} heads, cleaned in {clock.seconds:.0f} s, trained in {seconds:.0f} s",
        rows_of(model, heads, singles), summary={"seconds per head": seconds / len(heads)},
    )  # fmt: skip


def rows_of(model: ModelResult, heads: Sequence[str], singles: dict[str, float]) -> list[dict[str, Cell]]:
    """A row for each head: its error, the size of its forces, and the error of a model of its own."""
    rows: list[dict[str, Cell]] = []
    for head in heads:
        found = model.heads[head]
        single = singles.get(head)
        rows.append(
            {
                "head": head, "force RMSE (eV/Å)": found.force_rmse, "size of forces (eV/Å)": found.force_size,
                "alone (eV/Å)": single, "together over alone": found.force_rmse / single if single else None,
            }
        )  # fmt: skip
    return rows


if __name__ == "__main__":
    main()
