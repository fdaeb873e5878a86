"""Samples that are moved by molecular dynamics, many at once; what is kept of them are series of numbers."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from lamflow.data import Frame, Labels
from lamflow.data.frames import Floats, Ints
from lamflow.errors import EngineError
from lamflow.science.dynamics import Dynamics, Systems
from lamflow.science.dynamics import Evaluate as EvaluateArrays
from lamflow.science.neighbors import pair_distances
from lamflow.science.properties.sample import Answer, Sample
from lamflow.science.relaxation import Evaluate
from lamflow.units import BAR_IN_EV_PER_A3

SERIES = 200
"""Points of a series."""
SNAPSHOTS = 50
"""Frames of a run whose distances are counted, in RDF_BLOCKS blocks."""
RDF_BLOCKS, RDF_BINS, RDF_RANGE = 5, 120, 6.0
"""Å, the last one."""
EXPLODED, RATIO = 100.0, 4.0
"""eV/Å; an atom that feels more, or a volume that is so many times larger or smaller, is no physics any more."""
OpenSession = Callable[[Sequence[Frame]], EvaluateArrays]
"""Takes the starts of systems with the same number of atoms; gives what evaluates them again and again on their way.
Virials are no numbers where the potential has none."""


@dataclass(eq=False)
class Kept:
    """What remains of a run. failure: why it ended early"""

    series: dict[str, list[float]] = field(default_factory=dict)
    positions: list[Floats] = field(default_factory=list)
    cells: list[Floats] = field(default_factory=list)
    failure: str | None = None

    def add(self, **values: float) -> None:
        """Another point of every series that is named."""
        for name, value in values.items():
            self.series.setdefault(name, []).append(float(value))


def by_frames(evaluate: Evaluate) -> OpenSession:
    """Systems on their way as frames that a potential sees for the first time at every step."""
    return lambda starts: _Batch(starts, evaluate)


def simulated(samples: Sequence[Sample], open_session: OpenSession, seed: Callable[[str], int]) -> list[Answer]:
    """Every sample moved as `about` says; those that are alike but for temperature, pressure and repeat together.

    A run that explodes has its series until then, and a failure that says when and why; so does one whose potential has
    no stress and that needs it. Where `about` has a `peak`, the temperature rises to it in even steps and falls again.
    seed: of a run, by its name
    """
    return in_groups(
        samples, ("ensemble", "timestep", "steps", "equilibration"),
        lambda group: run_together(group, open_session, [seed(run_name(sample)) for sample in group]),
    )  # fmt: skip


def in_groups(
    samples: Sequence[Sample], keys: Sequence[str], move: Callable[[Sequence[Sample]], list[Answer]]
) -> list[Answer]:
    """Answers of samples that move together where `keys` of what they are and the number of atoms are the same."""
    alike: dict[str, list[int]] = {}
    for number, sample in enumerate(samples):
        shared = {key: sample.about.get(key) for key in keys}
        alike.setdefault(f"{sample.frame.natoms} {sample.frame.pbc} {json.dumps(shared)}", []).append(number)
    found: dict[int, Answer] = {}
    for numbers in alike.values():
        group = [samples[number] for number in numbers]
        try:
            answers = move(group)
        except EngineError as error:
            answers = [Answer(one, one.frame, None, False, str(error).splitlines()[0]) for one in group]
        found |= zip(numbers, answers, strict=True)
    return [found[number] for number in range(len(samples))]


def run_name(sample: Sample) -> str:
    """What a run is, whatever job does it."""
    return f"{json.dumps(dict(sample.about), sort_keys=True)} {sample.frame.content_hash()}"


def run_together(samples: Sequence[Sample], open_session: OpenSession, seeds: Sequence[int]) -> list[Answer]:
    """The runs of samples with the same ensemble, time step, number of steps and number of atoms.

    Raises EngineError where the ensemble needs a stress and the potential has none.
    """
    about, frames = samples[0].about, [sample.frame for sample in samples]
    temperatures = np.array([float(sample.about["temperature"]) for sample in samples])
    peaks = np.array([float(sample.about.get("peak", sample.about["temperature"])) for sample in samples])
    pressures = np.array([float(sample.about["pressure"]) * BAR_IN_EV_PER_A3 for sample in samples])
    timestep, steps = float(about["timestep"]), int(about["steps"])
    heat = 2 if about["ensemble"] == "nve" else 1  # half of it becomes potential energy
    dynamics = Dynamics(about["ensemble"], timestep, heat * temperatures, seeds, pressures)
    systems, evaluate = begun(dynamics, frames, open_session)
    if about["ensemble"] == "npt" and not np.isfinite(systems.virials).any():
        raise EngineError("the engine gives no stress (virial), which ensemble npt needs")
    kept = [Kept() for _ in samples]
    start, every = np.abs(np.linalg.det(systems.cells)), max(1, steps // SERIES)
    snapshot = max(1, steps * (1 - float(about["equilibration"])) // SNAPSHOTS)
    drop_exploded(systems, kept, 0, timestep, start)
    for step in range(1, steps + 1):
        if not len(systems.number):
            break
        risen = 1 - abs(1 - 2 * step / steps)
        dynamics.temperature = temperatures + (peaks - temperatures) * risen
        dynamics.step(systems, evaluate)
        drop_exploded(systems, kept, step, timestep, start)
        if step % every == 0:
            _record(systems, dynamics, samples, kept, step * timestep)
        if (steps - step) % snapshot == 0 and step > float(about["equilibration"]) * steps:
            for row, number in enumerate(systems.number):
                kept[number].positions.append(systems.positions[row].copy())
                kept[number].cells.append(systems.cells[row].copy())
    return [_answer(sample, own) for sample, own in zip(samples, kept, strict=True)]


def begun(dynamics: Dynamics, starts: Sequence[Frame], open_session: OpenSession) -> tuple[Systems, EvaluateArrays]:
    """Systems at their starts with random velocities and evaluated, and what evaluates them further."""
    systems, evaluate = dynamics.begin(starts), open_session(starts)
    systems.energies, systems.forces, systems.virials = evaluate(systems.positions, systems.cells, systems.number)
    return systems, evaluate


@dataclass(eq=False)
class _Batch:
    """A potential as the dynamics asks it; what it cannot evaluate is no number."""

    starts: Sequence[Frame]
    evaluate: Evaluate

    def __call__(self, positions: Floats, cells: Floats, numbers: Ints) -> tuple[Floats, Floats, Floats]:
        frames = [
            replace(self.starts[number], positions=own, cell=cell)
            for number, own, cell in zip(numbers, positions, cells, strict=True)
        ]
        labels, nothing = self._labels(frames), np.full((3, 3), np.nan)
        return (
            np.array([one.energy for one in labels]), np.array([one.forces for one in labels]),
            np.array([nothing if one.virial is None else one.virial for one in labels]),
        )  # fmt: skip

    def _labels(self, frames: Sequence[Frame]) -> list[Labels]:
        try:
            return self.evaluate(frames)
        except EngineError:
            if len(frames) == 1:
                return [Labels(np.nan, np.full((frames[0].natoms, 3), np.nan))]
            return [label for frame in frames for label in self._labels([frame])]


def drop_exploded(systems: Systems, kept: Sequence[Kept], step: int, timestep: float, volumes: Floats) -> None:
    """End the systems that have exploded or collapsed; volumes (B,) of all at the start, Å³."""
    largest = np.linalg.norm(systems.forces, axis=-1).max(axis=1)
    before = np.maximum(volumes[systems.number], 1e-30)
    ratio = np.where(volumes[systems.number] > 0, systems.volumes / before, 1.0)
    calm = (largest < EXPLODED) & np.isfinite(systems.energies)
    good = calm & (ratio < RATIO) & (ratio > 1 / RATIO)
    for row in np.flatnonzero(~good):
        why = (
            f"an atom feels {largest[row]:.3g} eV/Å"
            if not calm[row]
            else f"its volume is {ratio[row]:.2g} times that of the start"
        )
        kept[systems.number[row]].failure = f"the run exploded after {step * timestep:.3g} ps (step {step}): {why}"
    if not good.all():
        systems.keep(np.flatnonzero(good))


def _record(systems: Systems, dynamics: Dynamics, samples: Sequence[Sample], kept: Sequence[Kept], time: float) -> None:
    """A point of every series: ps, eV/atom, K, Å³/atom and Å²."""
    natoms = systems.positions.shape[1]
    temperatures, kinetic, volumes = dynamics.temperatures(systems), systems.kinetic, systems.volumes
    for row, number in enumerate(systems.number):
        moved = systems.positions[row] - samples[number].frame.positions
        kept[number].add(
            time=time, energy=systems.energies[row] / natoms, total=(systems.energies[row] + kinetic[row]) / natoms,
            temperature=temperatures[row], target=dynamics.temperature[number], volume=volumes[row] / natoms,
            msd=np.mean(np.sum((moved - moved.mean(axis=0)) ** 2, axis=1)),
        )  # fmt: skip


def _answer(sample: Sample, kept: Kept) -> Answer:
    frame, series = sample.frame, dict[str, Any](kept.series)
    if kept.positions:
        frame = replace(frame, positions=kept.positions[-1], cell=kept.cells[-1])
    if kept.positions and frame.pbc and kept.failure is None:
        series |= radial_distribution(np.array(kept.positions), np.array(kept.cells))
    return Answer(sample, frame, None, kept.failure is None, kept.failure, series=series)


def radial_distribution(positions: Floats, cells: Floats) -> dict[str, list[float]]:
    """rdf_r (R,) in Å and rdf (RDF_BLOCKS · R,) of the frames (F, N, 3) in cells (F, 3, 3), block after block."""
    edges = np.linspace(0, RDF_RANGE, RDF_BINS + 1)
    counts, natoms = np.zeros((len(positions), RDF_BINS)), positions.shape[1]
    for frames, distances in pair_distances(positions, cells, True, RDF_RANGE):
        for frame, own in zip(range(len(positions))[frames], distances, strict=True):
            counts[frame] = np.histogram(own[own < RDF_RANGE], edges)[0]
    density = natoms / np.abs(np.linalg.det(cells))
    shells = 4 / 3 * np.pi * np.diff(edges**3)
    function = counts / (natoms * density[:, None] * shells)
    blocks = [part.mean(axis=0) for part in np.array_split(function, min(RDF_BLOCKS, len(function)))]
    return {"rdf_r": (0.5 * (edges[1:] + edges[:-1])).tolist(), "rdf": np.concatenate(blocks).tolist()}
