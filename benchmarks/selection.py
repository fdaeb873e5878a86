"""Selection: a million deviations, and a thousand trajectories, by lamflow and by dpgen2 0.1.0's own code.

dpgen2 is run in an environment of its own:

    python3.11 -m venv dpgen2-env && dpgen2-env/bin/pip install "dpgen2==0.1.0" "kubernetes<36"
    python benchmarks/selection.py --dpgen2 dpgen2-env/bin/python [--trajectories 1000] [--frames 100] [--atoms 200]

Both select 50 frames from the same exploration: LAMMPS dumps and deviations of every frame. dpgen2's select step reads
the dumps. lamflow's explore pods have read them while they were there anyway, and its select step reads what they sent
on; the pods' part of the work (reading, filters on all frames, descriptors, packing) is measured beside it, for all
trajectories on one core. It filters every frame; dpgen2 filters only the 50 that it selected.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import tempfile
from pathlib import Path

import numpy as np
from _bench import Cell, parse_arguments, parser, publish, timed
from ase.build import bulk

from lamflow.config import Config, parse
from lamflow.config.select import AdaptiveWindow
from lamflow.data import Trajectory
from lamflow.data.results import Errors, Explored, History, ModelResult, SimulationResult
from lamflow.engines.lammps.dump import read_dump
from lamflow.ops.operation import Context
from lamflow.ops.select import select
from lamflow.policy.committee import ScoredFrames, pack_candidates
from lamflow.policy.pick import sample
from lamflow.policy.windows import AdaptiveRule, Window
from lamflow.science import filters

DISTINCT = 10
"""Different dumps; the others are copies of them, for writing takes longer than all that is measured."""
STUDY = """\
name: bench
elements: [Cu]
structures: [{name: x, crystal: {formula: Cu, lattice: fcc}}]
start: {label: [x]}
heldout: {label: [x]}
train: {engine: pair, models: 4}
stages:
  - {name: md, explore: [{engine: ase, structures: [x], method: nve, temperatures: [300], steps: 1000, every: 10}]}
select: {window: {low: 0.1, high: 0.5}, limit: 50}
label: {engine: emt}
converge: {accurate: 0.9999}
budget: {iterations: 9}
"""


def write_exploration(folder: Path, trajectories: int, frames: int, natoms: int) -> None:
    """Dumps and model_devi files as LAMMPS writes them; one frame in a hundred is a candidate."""
    rng = np.random.default_rng(0)
    side = round((natoms / 4) ** (1 / 3) + 0.49)
    atoms = bulk("Cu", "fcc", a=3.6, cubic=True).repeat(side)[:natoms]
    length = 3.6 * side
    for number in range(min(DISTINCT, trajectories)):
        lines = []
        for frame in range(frames):
            positions = (atoms.positions + rng.normal(scale=0.1, size=(natoms, 3))) % length
            lines += ["ITEM: TIMESTEP", str(10 * frame), "ITEM: NUMBER OF ATOMS", str(natoms)]
            lines += ["ITEM: BOX BOUNDS pp pp pp", *[f"0.0 {length}"] * 3, "ITEM: ATOMS id type x y z"]
            lines += [f"{i + 1} 1 {x:.10g} {y:.10g} {z:.10g}" for i, (x, y, z) in enumerate(positions)]
        (folder / f"{number:04d}.dump").write_text("\n".join(lines) + "\n", encoding="utf-8")
    for number in range(trajectories):
        if number >= DISTINCT:
            shutil.copyfile(folder / f"{number % DISTINCT:04d}.dump", folder / f"{number:04d}.dump")
        deviation = rng.uniform(0.0, 0.09, frames)
        deviation[rng.integers(frames)] = rng.uniform(0.1, 0.5)
        table = np.column_stack([10 * np.arange(frames), *[deviation] * 6])
        np.savetxt(folder / f"{number:04d}.devi", table, fmt="%.8e")


def explore_pods(config: Config, folder: Path, trajectories: int, pods: int, root: Path) -> None:
    """What explore pods do with trajectories that exist: read, filter all frames, pack the candidates."""
    for pod in range(pods):
        visited, tasks = [], []
        for number in range(pod, trajectories, pods):
            dump = read_dump(folder / f"{number:04d}.dump")
            whole = Trajectory(np.full(len(dump.types), 29), dump.positions, dump.cells, dump.steps)
            good = np.flatnonzero(filters.refused(whole, filters.Limits()) == 0)
            deviation = np.loadtxt(folder / f"{number:04d}.devi")[good, 4]
            forces, error = np.zeros((len(good), len(whole.numbers), 3)), np.full(len(good), np.nan)
            visited.append(ScoredFrames(number, whole.subset(good), forces, deviation, error))
            tasks.append(
                SimulationResult(
                    number=number,
                    name=f"lammps x#{number}",
                    group="0",
                    structure="x",
                    start=0,
                    condition={},
                    seed=1,
                    frames=len(good),
                )
            )
        target = root / "explored" / str(pod)
        target.mkdir(parents=True)
        pack_candidates(config, visited, 1, pod).save(target / "frames.npz")
        Explored(simulations=tasks).save(target / "explored.json")


def select_step(config: Config, root: Path) -> int:
    """lamflow's select OP, reading and writing included; the number of frames that it chose."""
    (root / "input").mkdir()
    (root / "input" / "config.json").write_text(config.model_dump_json(), encoding="utf-8")
    (root / "index").mkdir()
    History(iterations=[]).save(root / "history" / "history.json")
    errors = Errors(force_rmse=0.1, force_mae=0.1, force_size=1.0, energy_rmse=0.0, frames=1)
    for index in range(4):
        model = ModelResult(index=index, seed=1, data_hash="", training_frames=1, steps=1, seconds=0, errors=errors)
        model.save(root / "models" / str(index) / "model.json")
    context = Context(0, 1, "select-0", root / "work", root / "scratch", root / "out")
    selected = select(
        context, input=root / "input", explored=root / "explored", queued=None, models=root / "models",
        index=root / "index", history=root / "history", iteration=1, stage=0, jobs_at_once=2,
    )  # fmt: skip
    return int(selected.labels)


def deviations(count: int) -> tuple[float, float]:
    """Seconds for a fixed and for an adaptive window over `count` deviations."""
    deviation = np.random.default_rng(0).exponential(0.1, count)
    with timed() as fixed:
        window = Window(0.1, 0.5)
        window.counts(deviation)
        sample(window.candidates(deviation), 50, seed=1)
    with timed() as adaptive:
        window = AdaptiveRule(AdaptiveWindow(rule="adaptive", high=0.5)).levels(deviation)
        sample(window.candidates(deviation), 50, seed=1)
    return fixed.seconds, adaptive.seconds


def dpgen2_seconds(python: Path | None, files: Path) -> dict[str, float]:
    """Seconds of dpgen2's own code on the same files; nothing without a Python that has it."""
    if python is None:
        return {}
    script = Path(__file__).with_name("_selection_dpgen2.py")
    answer = subprocess.run([python, script, files], capture_output=True, text=True, check=True)
    return dict(json.loads(answer.stdout.splitlines()[-1]))


def main() -> None:
    """Measure both on the same files."""
    options = parser(__doc__)
    options.add_argument("--trajectories", type=int, default=1000)
    options.add_argument("--frames", type=int, default=100)
    options.add_argument("--atoms", type=int, default=200)
    options.add_argument("--dpgen2", type=Path, help="Python of an environment with dpgen2 0.1.0")
    settings = parse_arguments(options, trajectories=20, frames=10, atoms=32)
    config = parse(STUDY)
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        files = root / "files"
        files.mkdir()
        write_exploration(files, settings.trajectories, settings.frames, settings.atoms)
        with timed() as pods:
            explore_pods(config, files, settings.trajectories, 2, root)
        with timed() as step:
            labels = select_step(config, root)
        fixed, adaptive = deviations(1_000_000)
        peer = dpgen2_seconds(settings.dpgen2, files)
    if not 0 < labels <= config.select.limit:
        raise SystemExit(
            f"selected {labels} frames where 1 to {config.select.limit} were to be; the times mean nothing"
        )
    work = f"{settings.trajectories} × {settings.frames} frames × {settings.atoms} atoms"
    rows: list[dict[str, Cell]] = []
    for what, seconds, key in (
        (f"select step, {work}", step.seconds, "select"),
        (f"explore pods' part and select step, {work}", pods.seconds + step.seconds, "select"),
        ("10⁶ deviations, fixed window", fixed, "fixed"),
        ("10⁶ deviations, adaptive window", adaptive, "adaptive"),
    ):
        other = peer.get(key)
        rows.append(
            {"work": what, "lamflow (s)": seconds, "dpgen2 (s)": other, "times faster": other and other / seconds}
        )
    publish(settings, "selection", "Selection", rows)


if __name__ == "__main__":
    main()
