"""A search that is split: one job proposes a generation, many relax it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from lamflow.config import stored
from lamflow.config.engines import SearcherSettings
from lamflow.config.learning import Config
from lamflow.data import Relaxed
from lamflow.data.layout import EXCHANGE, EXPLORED, HISTORY_RECORD, PROPOSED, PROPOSED_FRAMES, RELAXED, RELAXED_FRAMES
from lamflow.data.packed import PackedFrames
from lamflow.data.results import History
from lamflow.engines import registry
from lamflow.engines.protocol import SearchJob
from lamflow.ops.committees import Committees
from lamflow.ops.operation import Context, op
from lamflow.ops.read import read_calibration
from lamflow.ops.searches import Search, read_relaxed
from lamflow.policy.jobs import indices_of_job
from lamflow.policy.simulations import PlannedSimulation, plan_simulations


class Proposals(NamedTuple):
    """proposed: a folder for each search, with its memory and the structures of the next generation."""

    proposed: Path


class Relaxations(NamedTuple):
    """explored: one folder for each search that this job had a part of; relaxed: what the searches learn from it."""

    explored: Path
    relaxed: Path


@op
def propose(
    context: Context, *, input: Path, before: Path | None, relaxed: Path | None, iteration: int, stage: int,
    generation: int,
) -> Proposals:  # fmt: skip
    """Have every split search take what its last generation relaxed to and propose the next."""
    study = stored(input)
    out = context.out / PROPOSED
    for planned, settings in _searches(study, iteration, stage):
        if generation > settings.generations + 1:
            continue
        folder = out / str(planned.number)
        if before is not None:
            shutil.copytree(before / str(planned.number), folder, ignore=shutil.ignore_patterns(PROPOSED_FRAMES))
        job = SearchJob(folder / EXCHANGE, generation, planned.condition, planned.seed, context.timeout)
        frames = registry.searcher(settings).propose(job, _learned(relaxed, planned) if relaxed is not None else [])
        folder.mkdir(parents=True, exist_ok=True)
        PackedFrames.of(frames).save(folder / PROPOSED_FRAMES)
    out.mkdir(parents=True, exist_ok=True)
    return Proposals(out)


@op
def relax(
    context: Context, *, input: Path, models: Path, proposed: Path, history: Path | None = None, iteration: int,
    stage: int, generation: int,
) -> Relaxations:  # fmt: skip
    """Relax this job's part of the generation of every split search.

    history  of the run, where channels are put on the scale of a calibrated window
    """
    study = stored(input)
    past = History.read(history / HISTORY_RECORD).iterations if history is not None else []
    committees = Committees(study, models, read_calibration(study, past, models) if study.select.allowed else None)
    explored, relaxed = context.out / EXPLORED, context.out / RELAXED
    for folder in (explored, relaxed):
        folder.mkdir(parents=True)
    work = [
        (planned, settings, list(enumerate(PackedFrames.load(proposed / str(planned.number) / PROPOSED_FRAMES), 1)))
        for planned, settings in _searches(study, iteration, stage)
        if generation <= settings.generations
    ]
    for done, (planned, settings, frames) in enumerate(work):
        assigned = [frames[index] for index in indices_of_job(len(frames), context.jobs, context.job)]
        if assigned:
            folder = explored / f"{planned.number}-{generation}-{context.job}"
            Search(study, planned, settings, committees, context.work).relax(generation, assigned, folder)
            target = relaxed / str(context.job) / f"{planned.number}.npz"
            target.parent.mkdir(exist_ok=True)
            (folder / RELAXED_FRAMES).rename(target)
        context.progress((done + 1) / len(work))
    for folder in (explored, relaxed):
        if not any(folder.iterdir()):  # some stores keep no empty folder
            (folder / f"nothing-{generation}-{context.job}").touch()
    return Relaxations(explored, relaxed)


def _searches(study: Config, iteration: int, stage: int) -> Iterator[tuple[PlannedSimulation, SearcherSettings]]:
    """Searches that are split; how many structures a set has matters to simulations only."""
    sizes = {structures.name: 1 for structures in study.structures}
    for planned in plan_simulations(study.stages[stage], sizes, iteration, study.seed):
        if planned.split and isinstance(planned.settings, SearcherSettings):
            yield planned, planned.settings


def _learned(relaxed: Path, planned: PlannedSimulation) -> list[Relaxed]:
    """The whole generation, in its order, from what all jobs have relaxed."""
    folders = sorted((path for path in relaxed.iterdir() if path.is_dir()), key=lambda path: int(path.name))
    files = [folder / f"{planned.number}.npz" for folder in folders]
    parts = [read_relaxed(file) for file in files if file.is_file()]
    ordered: dict[int, Relaxed] = {}
    for job, part in enumerate(parts):
        ordered |= dict(zip(indices_of_job(sum(map(len, parts)), len(folders), job), part, strict=True))
    return [ordered[number] for number in sorted(ordered)]
