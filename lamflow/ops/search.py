"""A search that is split: one pod proposes a generation, many relax it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from lamflow.config import stored
from lamflow.config.engines import SearcherSettings
from lamflow.config.schema import Config
from lamflow.data import Relaxed
from lamflow.data.packed import PackedFrames
from lamflow.engines import registry
from lamflow.engines.protocol import SearchJob
from lamflow.ops._judge import Models
from lamflow.ops._search import EXCHANGE, RELAXED, Search, read_relaxed
from lamflow.ops.operation import Context, op
from lamflow.science.tasks import PlannedTask, deal, plan_tasks

PROPOSED = "proposed.npz"


class Proposals(NamedTuple):
    """proposed: a folder for each search, with its memory and the structures of the next generation."""

    proposed: Path


class Relaxations(NamedTuple):
    """explored: one folder for each search that this pod had a share of; relaxed: what the searches learn from it."""

    explored: Path
    relaxed: Path


@op
def propose(
    context: Context, *, input: Path, before: Path | None, relaxed: Path | None, iteration: int, stage: int,
    generation: int,
) -> Proposals:  # fmt: skip
    """Have every split search take what its last generation relaxed to and propose the next."""
    config = stored(input)
    out = context.out / "proposed"
    for task, settings in _searches(config, iteration, stage):
        if generation > settings.generations + 1:
            continue
        folder = out / str(task.number)
        if before is not None:
            shutil.copytree(before / str(task.number), folder, ignore=shutil.ignore_patterns(PROPOSED))
        request = SearchJob(folder / EXCHANGE, generation, task.condition, task.seed, context.timeout)
        frames = registry.searcher(settings).propose(request, _learned(relaxed, task) if relaxed is not None else [])
        folder.mkdir(parents=True, exist_ok=True)
        PackedFrames.of(frames).save(folder / PROPOSED)
    out.mkdir(parents=True, exist_ok=True)
    return Proposals(out)


@op
def relax(
    context: Context, *, input: Path, models: Path, proposed: Path, iteration: int, stage: int, generation: int
) -> Relaxations:
    """Relax this pod's share of the generation of every split search."""
    config = stored(input)
    committees = Models(config, models)
    explored, relaxed = context.out / "explored", context.out / "relaxed"
    for folder in (explored, relaxed):
        folder.mkdir(parents=True)
    work = [
        (task, settings, list(enumerate(PackedFrames.load(proposed / str(task.number) / PROPOSED), 1)))
        for task, settings in _searches(config, iteration, stage)
        if generation <= settings.generations
    ]
    for done, (task, settings, frames) in enumerate(work):
        mine = [frames[place] for place in deal(len(frames), context.pods, context.pod)]
        if mine:
            folder = explored / f"{task.number}-{generation}-{context.pod}"
            Search(config, task, settings, committees, context.work).relax(generation, mine, folder)
            kept = relaxed / str(context.pod) / f"{task.number}.npz"
            kept.parent.mkdir(exist_ok=True)
            (folder / RELAXED).rename(kept)
        context.progress((done + 1) / len(work))
    for folder in (explored, relaxed):
        if not any(folder.iterdir()):  # some stores keep no empty folder
            (folder / f"nothing-{generation}-{context.pod}").touch()
    return Relaxations(explored, relaxed)


def _searches(config: Config, iteration: int, stage: int) -> Iterator[tuple[PlannedTask, SearcherSettings]]:
    sizes = {structures.name: 1 for structures in config.structures}  # only the numbers of other tasks depend on these
    for task in plan_tasks(config.stages[stage], sizes, iteration, config.seed):
        if task.split and isinstance(task.settings, SearcherSettings):
            yield task, task.settings


def _learned(relaxed: Path, task: PlannedTask) -> list[Relaxed]:
    """The whole generation, in its order, from what all pods have relaxed."""
    pods = sorted((path for path in relaxed.iterdir() if path.is_dir()), key=lambda path: int(path.name))
    parts = [read_relaxed(pod / f"{task.number}.npz") for pod in pods if (pod / f"{task.number}.npz").is_file()]
    placed: dict[int, Relaxed] = {}
    for pod, part in enumerate(parts):
        placed |= dict(zip(deal(sum(map(len, parts)), len(pods), pod), part, strict=True))
    return [placed[number] for number in sorted(placed)]
