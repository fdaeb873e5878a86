"""Makes the labeled data that tiny.yaml cleans: EMT trajectories of metals, some labels broken as real ones are.

`broken.json` says which frames were broken, and how.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from ase import Atoms, units
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import write
from ase.md.langevin import Langevin
from ase.md.velocitydistribution import MaxwellBoltzmannDistribution

HERE = Path(__file__).parent
METALS = {"Cu": 3.6, "Al": 4.0, "Ni": 3.5, "Ag": 4.1, "Au": 4.1, "Pd": 3.9, "Pt": 3.9}
ALLOYS = [
    ("Cu", "Au"),
    ("Ni", "Al"),
    ("Ag", "Pd"),
    ("Cu", "Ni"),
    ("Pt", "Pd"),
    ("Ag", "Au"),
    ("Al", "Cu"),
    ("Ni", "Pt"),
]
FRAMES = 14


def trajectory(name: str, atoms: Atoms, seed: int) -> list[Atoms]:
    """Molecular dynamics at 600 K in a cell that breathes, labeled by EMT."""
    generator = np.random.default_rng(seed)
    atoms.calc = EMT()
    MaxwellBoltzmannDistribution(atoms, temperature_K=600, rng=generator)
    dynamics = Langevin(atoms, 2 * units.fs, temperature_K=600, friction=0.05 / units.fs, rng=generator, fixcm=True)
    frames = []
    for step in range(FRAMES):
        dynamics.run(5)
        atoms.set_cell(atoms.cell.array * (1 + 0.004 * np.cos(step)), scale_atoms=True)
        results = {key: atoms.calc.get_property(key, atoms) for key in ("energy", "forces", "stress")}
        frame = Atoms(atoms.symbols, atoms.positions, cell=atoms.cell, pbc=True, info={"trajectory": name})
        frame.calc = SinglePointCalculator(frame, **results)
        frames.append(frame)
    return frames


def broken(frame: Atoms, how: str, generator: np.random.Generator) -> None:
    """Break the labels of a frame."""
    results = frame.calc.results
    match how:
        case "kcal/mol":
            results["energy"] *= 23.06
            results["forces"] = results["forces"] * 23.06
        case "energy sign":
            results["energy"] *= -1
        case "force sign":
            results["forces"] = -results["forces"]
        case "shift":
            results["energy"] += 0.5 * len(frame)
        case "permuted":
            results["forces"] = results["forces"][generator.permutation(len(frame))]
        case _:
            results["stress"] = -results["stress"]


def main() -> None:
    """Write good.extxyz, broken.extxyz and broken.json."""
    frames: list[Atoms] = []
    for number, (first, second) in enumerate([*ALLOYS, *((metal, metal) for metal in METALS)]):
        atoms = bulk(first, "fcc", a=(METALS[first] + METALS[second]) / 2, cubic=True).repeat((2, 1, 1))
        atoms.symbols[::2] = second
        frames += trajectory(f"{first}{second}", atoms, number)
    generator = np.random.default_rng(5)
    kinds = ["kcal/mol", "energy sign", "force sign", "shift", "permuted"]
    places = sorted(map(int, generator.choice(len(frames), 10, replace=False)))
    told = {}
    for index, place in enumerate(places):
        told[place] = kinds[index % len(kinds)]
        broken(frames[place], told[place], generator)
    half = len(frames) // 2
    for frame in frames[half:]:
        broken(frame, "stress sign", generator)
    copies = [frames[place].copy() for place in (3, 60)]
    for copy, place in zip(copies, (3, 60), strict=True):
        copy.calc = frames[place].calc
        copy.rotate(30, "z", rotate_cell=True)
        copy.calc = SinglePointCalculator(copy, energy=frames[place].calc.results["energy"],
                                          forces=frames[place].calc.results["forces"] @ _turn(30))  # fmt: skip
        copy.info["trajectory"] = "copies"
    write(HERE / "first.extxyz", [*frames[:half], *copies], format="extxyz")
    write(HERE / "second.extxyz", frames[half:], format="extxyz")
    (HERE / "broken.json").write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")


def _turn(degrees: float) -> np.ndarray:
    angle = np.deg2rad(degrees)
    return np.array([[np.cos(angle), np.sin(angle), 0], [-np.sin(angle), np.cos(angle), 0], [0, 0, 1]])


if __name__ == "__main__":
    main()
