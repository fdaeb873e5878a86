"""Explore this job's part of the simulations, score frames where the trajectories are, keep what matters."""

from __future__ import annotations

import itertools
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple

from lamflow.config import stored
from lamflow.config.engines import ExplorerSettings, SearcherSettings, WalkerSettings
from lamflow.config.learning import Config
from lamflow.config.tracked import FAILED_PROPERTIES
from lamflow.data import Frame, Trajectory
from lamflow.data.fields import SPIN
from lamflow.data.layout import EXPLORED, EXPLORED_RECORD, FILES, FRAMES, HISTORY_RECORD
from lamflow.data.packed import PackedFrames
from lamflow.data.results import Explored, History, SimulationResult
from lamflow.data.spent import making, spending, take
from lamflow.engines import registry
from lamflow.engines.protocol import BatchExplorer, Explorer, Model, Simulation
from lamflow.errors import EngineError
from lamflow.ops.committees import Committees
from lamflow.ops.operation import Context, op
from lamflow.ops.read import read_calibration, read_structures
from lamflow.ops.searches import Search
from lamflow.policy.committee import ScoredFrames, good_frames, pack_candidates
from lamflow.policy.jobs import indices_of_job
from lamflow.policy.ramps import ramp_levels
from lamflow.policy.simulations import PlannedSimulation, plan_simulations
from lamflow.science.moment_range import are_beyond


class Explorations(NamedTuple):
    """explored: one folder a job, and one a generation of each search, with results and one compact file of frames."""

    explored: Path


@op
def explore(
    context: Context, *, input: Path, structures: Path, models: Path, failed: Path | None = None, history: Path | None,
    iteration: int, stage: int,
) -> Explorations:  # fmt: skip
    """Run simulations job, job + jobs, … of the iteration, except for searches that are split.

    failed   properties of the iteration before, whose frames are start structures as well
    history  of the run, where a temperature ramp or a calibrated window asks for it
    """
    study, output = stored(input), context.out / EXPLORED
    past = History.read(history / HISTORY_RECORD).iterations if history is not None else []
    starts, levels = read_structures(structures), ramp_levels(study.stages[stage], past)
    if failed is not None:
        starts[FAILED_PROPERTIES] = list(PackedFrames.load(failed / FRAMES))
    sizes = {name: len(frames) for name, frames in starts.items()}
    planned = plan_simulations(study.stages[stage], sizes, iteration, study.seed, levels)
    whole = [simulation for simulation in planned if not simulation.split]
    assigned = [whole[index] for index in indices_of_job(len(whole), context.jobs, context.job)]
    calibration = read_calibration(study, past, models)
    explorer = _Exploration(context, study, Committees(study, models, calibration), starts, iteration)
    searches = [simulation for simulation in assigned if isinstance(simulation.settings, SearcherSettings)]
    for done, simulation in enumerate(searches):
        explorer.search(simulation, output, partial(_progress, context, done, len(assigned)))
    explored: list[tuple[SimulationResult, ScoredFrames]] = []
    for pair in explorer.run([simulation for simulation in assigned if simulation not in searches]):
        explored.append(pair)
        context.say(_outcome(pair[0]))
        _progress(context, len(searches) + len(explored), len(assigned), 0.0)
    explored.sort(key=lambda pair: pair[0].number)
    folder = output / str(context.job)
    folder.mkdir(parents=True, exist_ok=True)
    scored = [frames for _, frames in explored]
    pack_candidates(study, scored, iteration, context.job, calibration=calibration).save(folder / FRAMES)
    made_by = registry.provenance(*study.stages[stage].explore, study.train)
    Explored(simulations=[result for result, _ in explored], provenance=made_by, spent=take()).save(
        folder / EXPLORED_RECORD
    )
    return Explorations(output)


def _outcome(result: SimulationResult) -> str:
    """What became of a simulation, in words."""
    failed = f"; failed: {result.failed.splitlines()[0]}" if result.failed else ""
    beyond = f", {result.beyond} with magnetic moments beyond those trained on" if result.beyond else ""
    return f"{result.name}: {result.frames} frames in {result.seconds:.1f} s{beyond}{failed}"


def _progress(context: Context, done: int, total: int, fraction: float) -> None:
    context.progress((done + fraction) / total)


@dataclass(frozen=True, eq=False)
class _Exploration:
    """What all simulations of a job have in common. starts: structures by the name of their set."""

    context: Context
    study: Config
    committees: Committees
    starts: Mapping[str, list[Frame]]
    iteration: int

    def search(self, planned: PlannedSimulation, output: Path, progress: partial[None]) -> None:
        """A whole structure search."""
        assert isinstance(planned.settings, SearcherSettings)  # noqa: S101  explore has looked
        search = Search(self.study, planned, planned.settings, self.committees, self.context.work)
        search.run(self.context, output, progress)

    def run(self, planned: Sequence[PlannedSimulation]) -> Iterator[tuple[SimulationResult, ScoredFrames]]:
        """Result and good frames of each simulation; those that run better together run together."""
        turns = {simulation.number: self._turn(simulation) for simulation in planned}

        def batch(simulation: PlannedSimulation) -> tuple[int, int]:
            return simulation.group, turns[simulation.number]

        ordered = sorted(planned, key=lambda simulation: (*batch(simulation), simulation.number))
        for (_, turn), group in itertools.groupby(ordered, key=batch):
            yield from self._run_together(list(group), turn)

    def _turn(self, planned: PlannedSimulation) -> int:
        """Which model drives a simulation: they take turns. Those that share a program share the model."""
        committee = self.study.select.score == "committee"
        shared = committee and isinstance(registry.explorer(planned.settings), BatchExplorer)
        return (self.iteration - 1 if shared else planned.number) % self.study.train.n_models

    def _run_together(
        self, planned: Sequence[PlannedSimulation], turn: int
    ) -> Iterator[tuple[SimulationResult, ScoredFrames]]:
        """Simulations of one group that the same model drives."""
        head = self.study.explored(planned[0].settings)
        models = self.committees.committee(head)
        requests = [self._request(simulation) for simulation in planned]
        clock = time.monotonic()
        trajectories = _trajectories(
            planned[0].settings, requests, [*models[turn:], *models[:turn]], self.study.select.score
        )
        for simulation, request, trajectory in zip(planned, requests, trajectories, strict=True):
            scored, result = self._score(simulation, request, trajectory, head, turn)
            self._keep_files(simulation, trajectory)
            now = time.monotonic()
            yield result.model_copy(update={"seconds": now - clock}), scored
            clock = now

    def _request(self, planned: PlannedSimulation) -> Simulation:
        """What the engine is told."""
        settings, start, end = planned.settings, self.starts[planned.structure][planned.start], None
        if isinstance(settings, WalkerSettings) and settings.final_structures is not None:
            finals = self.starts[settings.final_structures]
            end = finals[planned.start % len(finals)]
        if "electronic_temperature" in planned.condition:
            start = start.with_fields(electronic_temperature=planned.condition["electronic_temperature"])
        context, work = self.context, self.context.work / f"{planned.number:05d}"
        return Simulation(start, planned.condition, planned.seed, work, context.threads, context.timeout, end)

    def _score(
        self, planned: PlannedSimulation, request: Simulation, trajectory: Trajectory, head: str, turn: int
    ) -> tuple[ScoredFrames, SimulationResult]:
        """The good frames of a trajectory with their scores, and what is recorded of it."""
        failure, log, dropped = trajectory.failure, trajectory.log, dict[str, int]()
        try:
            good, dropped = good_frames(self.study.select.filters, trajectory)
            with spending("judging"):
                [scored] = self.committees.score(head, planned.number, [good], request.work, group=planned.settings)
        except EngineError as error:
            scored = ScoredFrames.none(planned.number, request.start)
            failure, log = str(error).splitlines()[0], str(error)
        beyond = are_beyond(self.committees.moments, scored.trajectory.fields.get(SPIN))
        return scored, SimulationResult(
            number=planned.number, name=planned.name, group=f"{planned.group}", structure=planned.structure,
            start=planned.start, condition=planned.condition, head=head, model=turn, seed=planned.seed,
            frames=len(scored), beyond=int(beyond.sum()), dropped=dropped, failed=failure, log=log,
        )  # fmt: skip

    def _keep_files(self, planned: PlannedSimulation, trajectory: Trajectory) -> None:
        """Files that an engine wants to be kept."""
        folder = self.context.out / EXPLORED / str(self.context.job) / FILES / f"{planned.number:05d}"
        for file in trajectory.files:
            folder.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, folder / file.name)


def _trajectories(
    settings: ExplorerSettings, requests: Sequence[Simulation], committee: Sequence[Model], score: str
) -> Iterator[Trajectory]:
    """The trajectory of each request in turn."""
    explorer = registry.explorer(settings)
    if isinstance(explorer, BatchExplorer):
        yield from making(
            "physics", explorer.explore_all(requests, committee if score == "committee" else committee[:1])
        )
        return
    for request in requests:
        with spending("physics"):
            trajectory = _trajectory(explorer, request, committee[0])
        yield trajectory


def _trajectory(explorer: Explorer, request: Simulation, model: Model) -> Trajectory:
    try:
        return explorer.explore(request, model)
    except EngineError as error:
        return Trajectory.nothing(request.start, str(error).splitlines()[0], str(error))
