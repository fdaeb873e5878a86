"""Energies in another unit on frames whose element no other frame has: how many cleaning finds, and how many it takes.

    python benchmarks/cleaning_rare.py --keep FOLDER [--data MPtrj] [--frames 1000] [--largest 16] [--each 6]

Nobody can tell from one frame whether its element has another pseudopotential or the frame is wrong; see
docs/cleaning.md. Each trial keeps one frame of an element and all without it, and reads that frame's energy in another
unit or with the other sign. Frames and the model are those of cleaning.py, and so is the folder. In the small mode the
frames are of EMT, and the model is EMT with an error.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from _bench import Cell, parse_arguments, parser, publish, timed
from ase import units
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.data import chemical_symbols
from cleaning import FILES, METALS, dpa4, labeled_by_emt, real_frames

from lamflow.config.cleaning import CleaningStudy
from lamflow.data import LabeledFrame, Labels
from lamflow.data.features import Features
from lamflow.data.opinions import Opinions
from lamflow.policy.cleaning import decide
from lamflow.policy.findings import Table
from lamflow.science.cleaning.describe import features
from lamflow.science.cleaning.energies import beyond_elements
from lamflow.science.cleaning.opinions import opinions

WRITTEN = {
    "as it is": 1.0, "kcal/mol": units.mol / units.kcal, "kJ/mol": units.mol / units.kJ, "Hartree": 1 / units.Hartree,
    "Ry": 1 / units.Rydberg, "meV": 1000.0, "of kcal/mol": units.kcal / units.mol, "of kJ/mol": units.kJ / units.mol,
    "of Hartree": units.Hartree, "of Ry": units.Rydberg, "of meV": 0.001, "other sign": -1.0,
}  # fmt: skip
"""What the energy in eV is multiplied by; "of" a unit: it was taken for one in that unit and made eV."""
ATOM = -4.0
"""eV; energy of an atom of the alloys of EMT, beside what EMT says."""


class Case:
    """Frames of one origin, and what a model says of them."""

    def __init__(self, name: str, items: Sequence[LabeledFrame], answers: Sequence[Labels]) -> None:
        self.name, self.features = name, features(items, np.arange(len(items)))
        self.opinions = opinions(items, dict(enumerate(answers)))
        self.study = CleaningStudy.model_validate(
            {"name": "x", "sources": [{"name": "data", "data": ["x"]}], "split": {"heldout": 0}}
        )

    def trials(self, each: int) -> Iterator[tuple[int, Features, Opinions, int]]:
        """For some frames of each element: the element, the frames of a trial, and the place of that one in them."""
        has = self.features.formulas[self.features.formula] > 0
        for number in np.flatnonzero(has.any(axis=0)):
            without = np.flatnonzero(~has[:, number])
            for frame in np.flatnonzero(has[:, number])[:each]:
                kept = np.sort(np.append(without, frame))
                place = int(np.searchsorted(kept, frame))
                yield int(number), self.features.subset(kept), self.opinions.subset(kept), place

    def is_taken(self, part: Features, said: Opinions, place: int, factor: float) -> bool:
        """Whether the frame is quarantined when its energy is `factor` times what it is."""
        energy, zeros = part.energy.copy(), np.zeros(len(part), dtype=np.int64)
        energy[place] *= factor
        table = Table(
            replace(part, energy=energy), zeros, zeros, np.arange(len(part)), ["data"], ["data"],
            turned=np.zeros(len(part), dtype=bool),
        )  # fmt: skip
        return bool(decide(self.study, table, [said]).verdicts.state[place])

    def rows(self, each: int) -> list[dict[str, Cell]]:
        """How many frames are taken by what was done to their energy, and the largest shift of a good one."""
        taken, trials, largest, of = dict.fromkeys(WRITTEN, 0), 0, 0.0, ""
        for element, part, said, place in self.trials(each):
            trials += 1
            residual, _ = beyond_elements(part, part.energy - said.energy)
            shift = abs(float(residual[place])) / float(part.fractions[part.formula[place], element])
            if shift > largest:
                largest, of = shift, chemical_symbols[element]
            for name, factor in WRITTEN.items():
                taken[name] += self.is_taken(part, said, place, factor)
        return [
            {
                "data": self.name, "frames": len(self.features), "energy": name, "trials": trials,
                "taken": taken[name], "share": taken[name] / max(1, trials),
                "largest shift (eV/atom of the element)": largest, "of": of,
            }
            for name in WRITTEN
        ]  # fmt: skip


def emt_case(frames: int) -> Case:
    """Alloys of two metals, and a model with an error of 20 meV/atom."""
    generator, items = np.random.default_rng(0), []
    for _ in range(frames):
        first, second = generator.choice(list(METALS), 2, replace=False)
        atoms = bulk(first, "fcc", a=METALS[first], cubic=True)
        atoms.symbols[generator.integers(4)] = second
        atoms.rattle(0.05, rng=generator)
        atoms.calc = EMT()
        item = labeled_by_emt(atoms)
        free = item.labels.energy + ATOM * len(atoms)  # EMT counts from the bulk metals
        items.append(replace(item, labels=replace(item.labels, energy=free)))
    answers = [
        replace(item.labels, energy=item.labels.energy + 0.02 * item.frame.natoms * generator.normal())
        for item in items
    ]
    return Case("EMT", items, answers)


def cases(settings: argparse.Namespace) -> Iterator[Case]:
    """What is tried: real frames, or those of EMT."""
    if settings.keep is None:
        yield emt_case(settings.frames)
        return
    settings.keep.mkdir(parents=True, exist_ok=True)
    model = dpa4(settings.keep)
    for name in settings.data:
        items = real_frames(settings.keep, name, settings.largest)[: settings.frames]
        yield Case(f"{name}, DPA-4", items, model([item.frame for item in items]))


def main() -> None:
    """Make elements rare, change energies, clean, count."""
    options = parser(__doc__)
    options.add_argument("--keep", type=Path, help="folder for downloads and for what the model said")
    options.add_argument("--frames", type=int, default=1000, help="frames that the model is asked about")
    options.add_argument("--largest", type=int, default=16, help="atoms of these; a hundred take a second")
    options.add_argument("--each", type=int, default=6, help="trials of an element")
    options.add_argument("--data", nargs="+", choices=FILES, default=list(FILES), help="real frames")
    settings = parse_arguments(options, frames=60, each=2)
    with timed() as clock:
        rows = [row for case in cases(settings) for row in case.rows(settings.each)]
    publish(settings, "cleaning_rare", f"Energies of rare elements in other units ({clock.seconds:.0f} s)", rows)


if __name__ == "__main__":
    main()
