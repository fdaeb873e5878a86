"""One measurement of scale.py in a process of its own: _scale_work.py select|merge COUNT FOLDER. Prints JSON."""

from __future__ import annotations

import json
import resource
import sys
import time
from pathlib import Path

import numpy as np
from selection import STUDY, select_step

from lamflow.config import Config, parse
from lamflow.data import Frame, LabeledFrame, Labels, Trajectory
from lamflow.data.dataset import Item, Origin, write_dataset
from lamflow.data.results import Explored, Labeled, LabelOutcome, SimulationResult
from lamflow.ops.merge import merge
from lamflow.ops.operation import Context
from lamflow.policy.committee import ScoredFrames, pack_candidates

ATOMS, JOBS, RUN = 8, 10, 100
"""Atoms of a frame, jobs that have explored or labeled, frames of a simulation."""
NUMBERS = np.full(ATOMS, 29)


def explored(config: Config, count: int, root: Path) -> None:
    """What explore jobs leave of `count` frames, one in a hundred a candidate."""
    rng = np.random.default_rng(1)
    runs = range(count // RUN)
    for job in range(JOBS):
        scored, results = [], []
        for number in runs[job::JOBS]:
            cells = np.broadcast_to(5.0 * np.eye(3), (RUN, 3, 3))
            path = Trajectory(NUMBERS, rng.uniform(0, 5, (RUN, ATOMS, 3)), cells, 10 * np.arange(RUN))
            deviation = np.where(rng.random(RUN) < 0.01, rng.uniform(0.1, 0.5, RUN), rng.uniform(0, 0.09, RUN))
            scored.append(ScoredFrames(number, path, np.zeros((RUN, ATOMS, 3)), deviation, np.full(RUN, np.nan)))
            about = {"name": f"ase x#{number}", "group": "0", "structure": "x", "start": 0, "condition": {}, "seed": 1}
            results.append(SimulationResult(number=number, frames=RUN, **about))
        target = root / "explored" / str(job)
        target.mkdir(parents=True)
        pack_candidates(config, scored, 1, job).save(target / "frames.npz")
        Explored(simulations=results).save(target / "explored.json")


def labeled(count: int, root: Path) -> None:
    """What label jobs leave of `count` frames."""
    rng = np.random.default_rng(1)
    for job in range(JOBS):
        items, outcomes = [], []
        for _ in range(count // JOBS):
            frame = Frame(NUMBERS, rng.uniform(0, 5, (ATOMS, 3)), 5.0 * np.eye(3))
            labels = Labels(float(rng.normal()), rng.normal(size=(ATOMS, 3)), np.zeros((3, 3)))
            origin = Origin(iteration=1, source="x")
            items.append(Item(LabeledFrame(frame, labels), origin))
            outcomes.append(LabelOutcome(hash=frame.content_hash(), origin=origin, energy=labels.energy))
        folder = root / "labeled" / str(job)
        write_dataset(folder / "data", items, ["Cu"], "deepmd/npy")
        Labeled(outcomes=outcomes).save(folder / "labeled.json")


def merge_step(config: Config, root: Path) -> int:
    """lamflow's merge OP, reading and writing included; the number of labels that it found."""
    (root / "input").mkdir()
    (root / "input" / "config.json").write_text(config.model_dump_json(), encoding="utf-8")
    (root / "index").mkdir()
    context = Context(0, 1, "merge-0", root / "work", root / "scratch", root / "out")
    made = merge(
        context, input=root / "input", labeled=root / "labeled", start_data=None, index=root / "index", iteration=1
    )
    return int(made.labels)


def main(work: str, count: int, root: Path) -> None:
    """Make what the step reads, in a process that is forked for it, then carry the step out and measure that."""
    import multiprocessing

    config = parse(STUDY)
    make, given = (explored, (config, count, root)) if work == "select" else (labeled, (count, root))
    made = multiprocessing.get_context("fork").Process(target=make, args=given)
    made.start()
    made.join()
    if made.exitcode:
        raise SystemExit(f"making {count} frames for {work} failed")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    started, wall = time.process_time(), time.perf_counter()
    found = select_step(config, root) if work == "select" else merge_step(config, root)
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(json.dumps({
        "found": found, "CPU (s)": time.process_time() - started, "wall (s)": time.perf_counter() - wall,
        "memory (MB)": after / 1e3, "of these before (MB)": before / 1e3,
    }))  # fmt: skip


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), Path(sys.argv[3]))
