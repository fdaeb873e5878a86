"""Structures of another code, relaxed with the newest models of a run; what these do not know waits to be labeled."""

from __future__ import annotations

import shutil
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from lamflow.config import stored
from lamflow.config.engines import Relaxation
from lamflow.config.installed import engines
from lamflow.config.learning import Config
from lamflow.data import Frame
from lamflow.data.document import Result
from lamflow.data.layout import EXPLORED_RECORD, FRAMES, INPUT, MODEL, MODELS, QUEUE, iteration_key
from lamflow.data.results import Explored, SimulationResult
from lamflow.driver.rundir import RunDirectory
from lamflow.engines import registry
from lamflow.errors import InputError, StateError
from lamflow.ops.committees import Committees
from lamflow.ops.read import read_calibration
from lamflow.policy.committee import ScoredFrames, pack_candidates
from lamflow.policy.relaxations import relax_with, score_paths
from lamflow.policy.windows import window_rule
from lamflow.science.relaxation import RelaxationPath
from lamflow.units import BAR_IN_EV_PER_A3

RECORD = "lamflow.json"
PATH_FRAMES = 6
"""Frames of a relaxation that are judged."""


class RelaxedStructure(Result):
    """One structure that was relaxed.

    enthalpy   eV; deviation what the run's window looks at, of the last frame
    uncertain  frames of its path that wait to be labeled
    """

    name: str
    natoms: int
    steps: int
    converged: bool
    enthalpy: float | None
    deviation: float | None
    uncertain: int
    failed: str | None


class RelaxedFolder(Result):
    """What lay in a folder, and which models of which run relaxed it."""

    run: str
    iteration: int
    pressure: float
    fmax: float
    structures: list[RelaxedStructure]


@dataclass(frozen=True)
class Request:
    """How to relax; what is None is what the folder asks for, or the default."""

    settings: Relaxation
    pressure: float | None = None
    fmax: float | None = None
    head: str = ""
    queue: bool = True


def folder_engine(name: str | None) -> str:
    """The engine whose folders can be relaxed; the only one if none is named. Raises InputError."""
    known = [engine.name for engine in engines().values() if "relax" in engine.roles]
    if name is None and len(known) == 1:
        return known[0]
    if name is None or name not in known:
        raise InputError(f"--engine {name}: structures to relax are left by {', '.join(sorted(known)) or 'no engine'}")
    return name


def relax_folder(run: Path, folder: Path, engine: str, request: Request) -> RelaxedFolder:
    """Relax everything in `folder` with the newest models of `run` and leave the results as `engine` expects them.

    A structure that explodes is left as a failure. Frames that the models do not know wait in the run's folder, and
    its next iteration labels them. Raises InputError for structures that cannot be read or that the run does not know,
    StateError for a run without models.
    """
    directory = RunDirectory(run.resolve())
    directory.run()
    config = stored(directory.path / INPUT)
    there = registry.relax_folder(engine, folder)
    structures = there.structures()
    for name, frame in structures:
        foreign = sorted(set(frame.symbols) - set(config.elements))
        if foreign:
            raise InputError(
                f"{folder}: structure {name}: the models of {run} know {config.elements}, not {foreign[0]}"
            )
    number = _newest(directory, config)
    folder_of_models = directory.round(number) / MODELS
    calibration = read_calibration(config, directory.iterations(), folder_of_models) if config.select.allowed else None
    models = Committees(config, folder_of_models, calibration)
    head = request.head or next(iter(config.explored_heads), config.all_heads[0].name)
    pressure = request.pressure if request.pressure is not None else there.pressure or 0.0
    fmax = request.fmax or there.fmax or request.settings.fmax
    settings = request.settings.model_copy(update={"fmax": fmax})
    paths = relax_with(models.committee(head), [frame for _, frame in structures], settings, pressure)
    for (name, _), path in zip(structures, paths, strict=True):
        there.leave(name, path.relaxed, pressure)
    last = next((item.selected for item in reversed(directory.iterations()) if item.selected), None)
    found = _judged(config, models, head, structures, paths, pressure, (last.low, last.high) if last else (0.0, 0.0))
    if request.queue:
        _queue(directory, config, head, folder, [visited for _, visited in found])
    record = RelaxedFolder(
        run=str(run), iteration=number, pressure=pressure, fmax=fmax, structures=[one for one, _ in found]
    )
    record.save(folder / RECORD)
    return record


def _newest(directory: RunDirectory, config: Config) -> int:
    """The newest iteration whose models are all there."""
    last = len(directory.iterations())
    for number in range(last, 0, -1):
        found = list((directory.path / iteration_key(number) / MODELS).glob(f"*/{MODEL}"))
        if len(found) == config.train.n_models:
            return number
    raise StateError(f"{directory.path}: the run has no trained models yet; wait for its first iteration")


def _judged(  # noqa: PLR0917  all that a judgement needs
    config: Config, models: Committees, head: str, structures: list[tuple[str, Frame]], paths: list[RelaxationPath],
    pressure: float, settled: tuple[float, float],
) -> list[tuple[RelaxedStructure, ScoredFrames]]:  # fmt: skip
    """What is said of each structure, and the frames of its path that the models do not know.

    settled  levels of the last iteration's window, for windows that adapt
    """
    window = window_rule(config.select.window).levels_after(*settled)
    score_all = partial(models.score, head, 0, work=Path(), group=None)
    scored, ends, _ = score_paths(config.select, paths, PATH_FRAMES, score_all)
    made = []
    for (name, _), path, visited, end in zip(structures, paths, scored, ends, strict=True):
        kept = window.candidates(visited.deviation)
        volume = abs(float(np.linalg.det(path.frame.cell)))
        deviation = float(end.deviation[0])
        one = RelaxedStructure(
            name=name.removeprefix("_"), natoms=path.frame.natoms, steps=len(path.steps) - 1, converged=path.converged,
            enthalpy=None if path.failure else path.labels.energy + pressure * BAR_IN_EV_PER_A3 * volume,
            deviation=deviation if np.isfinite(deviation) else None, uncertain=len(kept), failed=path.failure,
        )  # fmt: skip
        made.append((one, visited.subset(kept)))
    return made


def _queue(directory: RunDirectory, config: Config, head: str, folder: Path, visited: list[ScoredFrames]) -> None:
    """Leave the frames in the run's folder, whole or not at all."""
    frames = sum(len(each.trajectory) for each in visited)
    if not frames:
        return
    name = f"{time.time_ns()}"
    partial, target = directory.path / QUEUE / f".{name}", directory.path / QUEUE / name
    partial.mkdir(parents=True)
    try:
        pack_candidates(config, visited, 0).save(partial / FRAMES)
        result = SimulationResult(
            number=0, name=f"relax {folder.resolve().name}", group="", structure="", start=0, condition={}, head=head,
            seed=0, frames=frames,
        )  # fmt: skip
        Explored(simulations=[result]).save(partial / EXPLORED_RECORD)
        partial.rename(target)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
