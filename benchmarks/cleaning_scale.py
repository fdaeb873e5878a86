"""What cleaning costs for a million frames: processor seconds and memory of reading, describing and judging.

    python benchmarks/cleaning_scale.py [--frames 1000000] [--sample 5000]

Reading and describing frames is the same work for each and shared by jobs, so it is measured on `--sample` frames of
20 atoms in a parquet file. Judging is done by one job for all frames: it is measured on `--frames` of them, whose
descriptions are those of the sample with small changes.
"""

from __future__ import annotations

import dataclasses
import resource
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from _bench import Cell, parse_arguments, parser, publish

from lamflow.config.cleaning import CleaningStudy
from lamflow.data import Frame, LabeledFrame, Labels
from lamflow.data.dataset import Item, Origin
from lamflow.data.features import Features
from lamflow.data.sources import Dialect, source_frames
from lamflow.data.writers import write_parquet
from lamflow.policy.cleaning import decide
from lamflow.policy.findings import Table, of_energies, of_trajectories
from lamflow.science.cleaning.describe import features
from lamflow.science.cleaning.duplicates import clusters

ATOMS, PROTOTYPES, STEPS = 20, 400, 10
"""Atoms of a frame, and frames of a trajectory."""


def made(count: int) -> list[LabeledFrame]:
    """Trajectories of random crystals of three elements of forty."""
    generator, frames = np.random.default_rng(1), []
    for number in range(count):
        if number % STEPS == 0:
            kinds = 20 + (generator.permutation(40)[:3] if number // STEPS < PROTOTYPES else np.array([1, 5, 9]))
            numbers = np.sort(generator.choice(kinds, ATOMS)).astype(np.int64)
            cell = np.diag(generator.uniform(6.0, 8.0, 3)) + generator.normal(scale=0.4, size=(3, 3))
            places = np.stack(np.unravel_index(np.arange(27), (3, 3, 3)), axis=1)[:ATOMS] / 3
        positions = (places + generator.normal(scale=0.01, size=(ATOMS, 3))) @ cell
        forces = generator.normal(scale=0.3, size=(ATOMS, 3))
        energy = float(-0.1 * numbers.sum() + generator.normal(scale=0.5))
        frames.append(LabeledFrame(Frame(numbers, positions, cell), Labels(energy, forces - forces.mean(axis=0))))
    return frames


def enlarged(sample: Features, count: int) -> Features:
    """`count` frames like those of the sample, and one in a hundred that repeats another."""
    generator = np.random.default_rng(2)
    places = np.arange(count) % len(sample)
    big = sample.subset(places)
    fresh = np.arange(count) >= len(sample)
    fresh &= generator.random(count) > 0.01
    noise = generator.normal(scale=0.3, size=big.environments.shape).astype(np.float32)
    noise *= np.repeat(big.slopes, noise.shape[1] // big.slopes.shape[1], axis=1)
    digest = big.digest.copy()
    digest[fresh, 0] = generator.integers(2**62, size=int(fresh.sum()))
    return dataclasses.replace(
        big, digest=digest, environments=big.environments + noise * fresh[:, None],
        energy=big.energy + np.where(fresh, generator.normal(scale=0.05, size=count), 0.0),
    )  # fmt: skip


def measured(name: str, frames: int, work: Callable[[], object]) -> tuple[dict[str, Cell], object]:
    """Processor seconds of some work, and the most memory that the process has had, in GB."""
    before = time.process_time()
    result = work()
    spent = time.process_time() - before
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    row: dict[str, Cell] = {
        "work": name, "frames": frames, "CPU (s)": spent, "CPU for 10⁶ frames (min)": spent / frames * 1e6 / 60,
        "memory so far (GB)": memory,
    }  # fmt: skip
    return row, result


def main() -> None:
    """Measure."""
    options = parser(__doc__)
    options.add_argument("--frames", type=int, default=1_000_000)
    options.add_argument("--sample", type=int, default=5000)
    settings = parse_arguments(options, frames=4000, sample=300)
    given, rows = made(settings.sample), list[dict[str, Cell]]()
    trajectory = np.arange(settings.sample) // STEPS
    with tempfile.TemporaryDirectory() as name:
        items = [Item(item, Origin(iteration=0, source="made")) for item in given]
        file = write_parquet(Path(name) / "frames.parquet", items)
        row, _ = measured("read parquet", settings.sample, lambda: list(source_frames(file, Dialect())))
        rows.append(row)
    features(given[:20], trajectory[:20])
    row, sample = measured("describe", settings.sample, lambda: features(given, trajectory))
    assert isinstance(sample, Features)
    rows.append(row)
    count = settings.frames
    big, zeros = enlarged(sample, count), np.zeros(count, dtype=np.int64)
    table = Table(big, zeros, zeros, np.arange(count) // STEPS, ["a"], ["a"], turned=np.zeros(count, dtype=bool))
    study = CleaningStudy.model_validate({"name": "x", "sources": [{"name": "a", "data": ["x"]}]})
    parts: dict[str, Callable[[], object]] = {
        "energies, out of fold": lambda: list(of_energies(table, study.checks, 1)),
        "trajectories": lambda: list(of_trajectories(table, study.checks)),
        "repeats": lambda: clusters(big, study.duplicates.tolerance),
        "everything": lambda: decide(study, table, []),
    }
    rows += [measured(name, count, work)[0] for name, work in parts.items()]
    publish(settings, "cleaning_scale", "What cleaning costs", rows)


if __name__ == "__main__":
    main()
