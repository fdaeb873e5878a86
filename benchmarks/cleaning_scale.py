"""What cleaning costs for a million frames: processor seconds and memory of reading, describing and judging.

    python benchmarks/cleaning_scale.py [--frames 1000000] [--sample 5000] [--run 20000]

Reading and describing frames is the same work for each and shared by jobs, so it is measured on `--sample` frames of
20 atoms in a parquet file. Judging is done by one job for all frames: it is measured on `--frames` of them, whose
descriptions are those of the sample with small changes, and so are the ways of compressing them to a half. `--run`
cleans so many frames for real, from parquet files to data sets, and counts the processor seconds and the memory of its
jobs together: elsewhere the machine may be busy, too.
"""

from __future__ import annotations

import contextlib
import dataclasses
import resource
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import psutil
import yaml
from _bench import Cell, parse_arguments, parser, publish, spent_by, timed

from lamflow.config import parse
from lamflow.config.cleaning import CleaningStudy
from lamflow.data import Frame, LabeledFrame, Labels
from lamflow.data.cleaning import Cleaning
from lamflow.data.dataset import Item, Origin
from lamflow.data.features import Features
from lamflow.data.sources import Dialect, source_frames
from lamflow.data.writers import write_parquet
from lamflow.driver.loop import run
from lamflow.driver.rundir import RunDirectory
from lamflow.policy.cleaning import decide
from lamflow.policy.findings import Table, of_energies, of_trajectories
from lamflow.science.cleaning.compression import by_clusters, by_distance, by_entropy
from lamflow.science.cleaning.describe import features
from lamflow.science.cleaning.duplicates import clusters

ATOMS, PROTOTYPES, STEPS, FILE = 20, 400, 10, 50_000
"""Atoms of a frame, compositions, frames of a trajectory, and of a file."""


def made(count: int, seed: int = 1) -> list[LabeledFrame]:
    """Trajectories of random crystals of three elements of forty."""
    generator, frames = np.random.default_rng(seed), []
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


def real_run(frames: int) -> list[dict[str, Cell]]:
    """Seconds of the steps of a run on parquet files of at most FILE frames, and the most memory that it had."""
    study = {
        "workflow": "cleaning", "name": "scale",
        "sources": [{"name": "made", "data": ["*.parquet"], "method": "none"}],
    }  # fmt: skip
    with tempfile.TemporaryDirectory() as name, contextlib.chdir(name):
        root = Path(name)
        for number, start in enumerate(range(0, frames, FILE)):
            count = min(FILE, frames - start)
            items = [Item(item, Origin(iteration=0, source="made")) for item in made(count, number)]
            write_parquet(root / f"{number:03d}.parquet", items)
        del items
        before = time.process_time()
        with timed() as clock, spent_by() as seen, Watch() as watch:
            run(parse(yaml.safe_dump(study), root=root, kind=CleaningStudy), root / "run")
        cpu = seen.cpu + time.process_time() - before
        rounds = [item for item in RunDirectory(root / "run").iterations() if isinstance(item, Cleaning)]
        read = max(record.seconds for record in rounds[0].reads)
        checked = rounds[-1].checked
        assert checked is not None
        assert checked.frames_read == frames
    rest = clock.seconds - read - checked.seconds
    parts = {"read and describe": read, "judge": checked.seconds, "write and the rest": rest, "all": clock.seconds}
    nothing: dict[str, Cell] = {"CPU (s)": None, "memory (GB)": None, "load before": None}
    whole: dict[str, Cell] = {"CPU (s)": cpu, "memory (GB)": watch.most / 1e9, "load before": seen.load}
    return [
        {"work": part, "frames": frames, "wall (s)": seconds, **(whole if part == "all" else nothing)}
        for part, seconds in parts.items()
    ]


class Watch:
    """The most memory of all children of this process together, bytes, while the block runs, without shared pages."""

    def __init__(self) -> None:
        self.most, self.done = 0, threading.Event()
        self.thread = threading.Thread(target=self._look, daemon=True)

    def __enter__(self) -> Watch:
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.done.set()
        self.thread.join()

    def _look(self) -> None:
        me = psutil.Process()
        while not self.done.wait(0.5):
            total = 0
            for process in me.children(recursive=True):
                with contextlib.suppress(psutil.Error):
                    total += process.memory_info().rss - process.memory_info().shared
            self.most = max(self.most, total)


def main() -> None:
    """Measure."""
    options = parser(__doc__)
    options.add_argument("--frames", type=int, default=1_000_000)
    options.add_argument("--sample", type=int, default=5000)
    options.add_argument("--run", type=int, default=20_000, help="frames of a whole run")
    settings = parse_arguments(options, frames=4000, sample=300, run=300)
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
    points = big.fingerprint + np.random.default_rng(4).normal(scale=0.02, size=big.fingerprint.shape)
    parts |= {
        "compress, entropy": lambda: by_entropy(points, count // 2, 1),
        "compress, farthest": lambda: by_distance(points, count // 2),
        "compress, direct": lambda: by_clusters(points, count // 2),
    }
    rows += [measured(name, count, work)[0] for name, work in parts.items()]
    publish(settings, "cleaning_scale", "What cleaning costs", rows, run=real_run(settings.run))


if __name__ == "__main__":
    main()
