"""Transport: simulations that leave displacements and no trajectory, and what they say together."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy as np
from ase.data import atomic_masses

from lamflow.config import stored
from lamflow.config.seeds import child_seed
from lamflow.config.transport import TransportStudy
from lamflow.data import Frame, Trajectory
from lamflow.data.arrays import read_arrays
from lamflow.data.job_record import JobRecord
from lamflow.data.layout import PROPERTIES, PROPERTIES_RECORD, SIMULATED, SIMULATED_RECORD
from lamflow.data.properties import PropertyValues
from lamflow.data.provenance import Provenance
from lamflow.data.spent import making, spending, take
from lamflow.data.transport import TransportRun
from lamflow.engines import registry
from lamflow.engines.protocol import BatchExplorer, Model, Simulation
from lamflow.errors import EngineError
from lamflow.ops.operation import Context, op
from lamflow.ops.reference_files import references_of
from lamflow.ops.relaxed import crystals, relaxation_results, relaxed_structures, set_of
from lamflow.policy.gates import checked
from lamflow.policy.jobs import indices_of_job
from lamflow.policy.references import compared, unmatched
from lamflow.policy.transport import transport_results
from lamflow.science.hops import Hops, hops
from lamflow.science.kinisi import diffusion_by_kinisi, has_kinisi
from lamflow.science.properties.sample import reduced_formula
from lamflow.science.transport import Displacements, displacements, unwrapped, without_drift


class TransportRuns(JobRecord):
    """What one job has simulated; the displacements of each run lie beside it, called by its number."""

    runs: list[TransportRun]


class Simulating(NamedTuple):
    """simulated: one folder a job."""

    simulated: Path


class Measuring(NamedTuple):
    """properties: properties.json; error: largest relative error of a diffusion coefficient."""

    properties: Path
    error: float


@dataclass(frozen=True, eq=False)
class Planned:
    """One simulation. number: among all of the round; condition: temperature in K, pressure in bar, …"""

    number: int
    structure: str
    start: Frame
    condition: dict[str, float]
    seed: int


def planned(study: TransportStudy, relaxed: Path, potential: int, iteration: int) -> list[Planned]:
    """The simulations of a round by one potential: structures by conditions by repeats."""
    name, wanted = study.potentials[potential].name, study.dynamics.structures
    starts = [
        crystal
        for crystal in crystals(relaxed_structures(relaxed, name))
        if set_of(crystal.name, study.set_names) in wanted
    ]
    return [
        Planned(
            number, crystal.name, crystal.frame, condition,
            child_seed(study.seed, "transport", name, iteration, crystal.name, str(sorted(condition.items())), repeat),
        )
        for number, (crystal, condition, repeat) in enumerate(
            (crystal, condition, repeat)
            for crystal in starts
            for condition in study.dynamics.conditions()
            for repeat in range(study.repeats)
        )
    ]  # fmt: skip


@op
def simulate(context: Context, *, input: Path, relaxed: Path, potential: int, iteration: int) -> Simulating:
    """Run simulations job, job + jobs, … of one potential; only displacements are kept of them."""
    study = stored(input, TransportStudy)
    simulations = planned(study, relaxed, potential, iteration)
    mine = [simulations[index] for index in indices_of_job(len(simulations), context.jobs, context.job)]
    chosen = study.potentials[potential]
    assert chosen.evaluate is not None  # noqa: S101  the study has looked
    model = cast(Model, registry.evaluator(chosen.evaluate))
    folder = context.out / SIMULATED / str(context.job)
    folder.mkdir(parents=True)
    runs = []
    started = time.monotonic()
    for one, trajectory in _trajectories(study, mine, model, context):
        run = TransportRun(
            number=one.number, iteration=iteration, structure=one.structure, potential=chosen.name,
            condition=one.condition, seed=one.seed, frames=len(trajectory), failed=trajectory.failure,
            natoms=one.start.natoms, formula=reduced_formula(one.start), mobile=one.start.symbols.count(study.mobile),
            seconds=time.monotonic() - started,
        )  # fmt: skip
        try:
            moved = measured(study, trajectory, one.condition["temperature"])
        except ValueError as error:
            run = run.model_copy(update={"failed": run.failed or str(error)})
        else:
            kinisi = _asked_kinisi(study, moved[1], one.seed) if not run.failed else None
            run = run.model_copy(update={"kinisi": kinisi, "framework": moved[1].framework})
            _save(folder / f"{one.number}.npz", moved[0])
        runs.append(run)
        context.say(f"{one.structure} {one.condition}: {run.failed or f'{run.frames} frames'}")
        context.progress(len(runs) / len(mine))
        started = time.monotonic()
    made_by = registry.provenance(chosen.evaluate, study.simulate)
    TransportRuns(runs=runs, provenance=made_by, spent=take()).save(folder / SIMULATED_RECORD)
    return Simulating(context.out / SIMULATED)


@dataclass(frozen=True, eq=False)
class Moved:
    """Paths of the mobile ions (F, N, 3) in Å without drift, the time between two frames in ps, and the mean squared
    displacement of all other atoms in Å² in the end; None where there are none."""

    paths: np.ndarray
    interval: float
    framework: float | None = None


def measured(study: TransportStudy, trajectory: Trajectory, temperature: float) -> tuple[Displacements, Moved]:
    """The displacements of a trajectory after its equilibration. Raises ValueError for one that says nothing."""
    if len(trajectory) < 2:
        raise ValueError(trajectory.failure or "there are no frames")
    first = int(study.equilibration * len(trajectory))
    whole = np.asarray(np.isfinite(trajectory.positions).all(axis=(1, 2)))
    if not whole.all():
        raise ValueError(f"positions are no numbers from frame {int(whole.argmin())} of {len(whole)} on")
    cells, numbers = trajectory.cells[first:], trajectory.numbers
    symbols = trajectory.frame(0).symbols
    mobile = np.array([symbol == study.mobile for symbol in symbols])
    if not mobile.any():
        raise ValueError(f"the structure has no {study.mobile}")
    charges = np.array([study.charges.get(symbol, 0.0) for symbol in symbols])
    paths = unwrapped(trajectory.positions[first:], cells) if trajectory.pbc else trajectory.positions[first:]
    paths = without_drift(paths, atomic_masses[numbers], ~mobile)
    interval = float(np.diff(trajectory.steps[first:]).mean()) * study.dynamics.timestep
    volume = float(np.abs(np.linalg.det(cells)).mean())
    made = displacements(paths, mobile, charges, interval=interval, volume=volume, temperature=temperature)
    others = paths[:, ~mobile]
    moved = float(((others[-1] - others[0]) ** 2).sum(axis=1).mean()) if others.shape[1] else None
    return replace(made, hops=hops(paths[:, mobile], interval, study.jump)), Moved(paths[:, mobile], interval, moved)


def _asked_kinisi(study: TransportStudy, moved: Moved, seed: int) -> tuple[float, float] | None:
    """Diffusion coefficient and standard error in cm²/s, where kinisi is wanted and here."""
    if study.method == "least-squares" or (study.method == "auto" and not has_kinisi()):
        return None
    return diffusion_by_kinisi(moved.paths, moved.interval, seed)


def _trajectories(
    study: TransportStudy, simulations: Sequence[Planned], model: Model, context: Context
) -> Iterator[tuple[Planned, Trajectory]]:
    """Each simulation with its trajectory; together where the explorer can do that."""
    explorer = registry.explorer(study.simulate)
    tasks = [
        Simulation(one.start, one.condition, one.seed, context.work / str(one.number), context.threads, context.timeout)
        for one in simulations
    ]
    for task in tasks:
        task.work.mkdir(parents=True, exist_ok=True)
    if isinstance(explorer, BatchExplorer) and tasks:
        yield from zip(simulations, making("physics", explorer.explore_all(tasks, [model])), strict=True)
        return
    for one, task in zip(simulations, tasks, strict=True):
        try:
            with spending("physics"):
                trajectory = explorer.explore(task, model)
        except EngineError as error:
            trajectory = Trajectory.nothing(one.start, str(error).splitlines()[0], str(error))
        yield one, trajectory


def _save(file: Path, moved: Displacements) -> None:
    """The arrays of displacements; the numbers are one array."""
    seen = moved.hops
    more: dict[str, Any] = {} if seen is None else {
        "times": seen.times, "van_hove": seen.van_hove, "gaussian": seen.gaussian,
        "jumps": np.array([seen.jumps, seen.square, seen.ion_time]),
    }  # fmt: skip
    np.savez(
        file, lags=moved.lags, ions=moved.ions, blocks=moved.blocks, charge=moved.charge,
        charge_blocks=moved.charge_blocks,
        numbers=np.array([moved.frames, moved.interval, moved.volume, moved.temperature]), **more,
    )  # fmt: skip


def _load(file: Path) -> Displacements:
    arrays = read_arrays(file)
    frames, interval, volume, temperature = arrays["numbers"].tolist()
    seen = None
    if "jumps" in arrays:
        jumps, square, ion_time = arrays["jumps"].tolist()
        seen = Hops(arrays["times"], arrays["van_hove"], arrays["gaussian"], int(jumps), square, ion_time)
    return Displacements(
        int(frames), interval, arrays["lags"], arrays["ions"], arrays["blocks"], arrays["charge"],
        arrays["charge_blocks"], volume, temperature, seen,
    )  # fmt: skip


@op
def measure(context: Context, *, input: Path, relaxed: Path, simulated: Path, earlier: Path | None = None) -> Measuring:
    """Diffusion, conductivity and activation energies of all simulations of this round and of those before."""
    study = stored(input, TransportStudy)
    folder = context.out / PROPERTIES
    folder.mkdir(parents=True)
    runs = [*(_read(earlier) if earlier is not None else []), *_read(simulated)]
    for number, (run, moved) in enumerate(runs):
        if moved is not None:
            (folder / "0").mkdir(exist_ok=True)
            _save(folder / "0" / f"{number}.npz", moved)
            runs[number] = (run.model_copy(update={"number": number}), moved)
        else:
            (folder / "0").mkdir(exist_ok=True)
            runs[number] = (run.model_copy(update={"number": number}), None)
    TransportRuns(runs=[run for run, _ in runs]).save(folder / "0" / SIMULATED_RECORD)
    results = [r for name in study.potential_names for r in relaxation_results(relaxed_structures(relaxed, name), name)]
    made, error = transport_results(study, runs)
    results += made
    comparisons = compared(results, study.reference, references_of(study, {}))
    gates = checked(study.gates, comparisons, results)
    record = PropertyValues(
        results=results, comparisons=comparisons, gates=gates, provenance=Provenance.of_this_job(), spent=take(),
        unmatched=unmatched(results, study.reference),
    )  # fmt: skip
    record.save(folder / PROPERTIES_RECORD)
    return Measuring(folder, error)


def _read(folder: Path) -> list[tuple[TransportRun, Displacements | None]]:
    """Every run below a folder of jobs, or of potentials with jobs, with its displacements where it has any."""
    runs = []
    for record in sorted(folder.rglob(SIMULATED_RECORD)):
        for run in TransportRuns.read(record).runs:
            file = record.parent / f"{run.number}.npz"
            runs.append((run, _load(file) if file.is_file() and not run.failed else None))
    return runs
