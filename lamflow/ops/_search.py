"""One structure search: propose, relax, judge, learn; each generation is kept as soon as it is done."""

from __future__ import annotations

import shutil
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from lamflow.config.engines import Relaxation, SearcherSettings
from lamflow.config.schema import Config
from lamflow.data import Frame, Labels, Relaxed, Trajectory
from lamflow.data.explored import GENERATION, FoundFrames
from lamflow.data.hulls import FoundStructure
from lamflow.data.packed import PackedFrames
from lamflow.data.results import Explored, TaskResult
from lamflow.engines import registry
from lamflow.engines.protocol import Model, SearchJob
from lamflow.ops._judge import FOUND, FRAMES, RESULT, Models, Visited, compact, good_frames, judge
from lamflow.ops.operation import Context
from lamflow.science.relaxation import RelaxationPath, mean_of, relax
from lamflow.science.tasks import PlannedTask
from lamflow.units import BAR_IN_EV_PER_A3

EXCHANGE, RELAXED = "exchange", "relaxed.npz"
MOVED = 0.05
"""Å; a frame of a relaxation in which no atom has moved farther since the one before says nothing new."""


@dataclass(frozen=True, eq=False)
class Search:
    """One search: its task and settings, the models that relax and judge, and a folder for files that nobody keeps."""

    config: Config
    task: PlannedTask
    settings: SearcherSettings
    models: Models
    work: Path

    def run(self, context: Context, out: Path, progress: Callable[[float], None]) -> None:
        """All generations, one folder each below `out`; goes on with what an earlier try left in the scratch folder."""
        task, settings = self.task, self.settings
        memory = context.scratch / f"search-{task.number:05d}"
        searcher = registry.searcher(settings)
        relaxed: list[Relaxed] = []
        for generation in range(1, settings.generations + 2):
            request = SearchJob(memory / EXCHANGE, generation, task.condition, task.seed, context.timeout)
            proposed = searcher.propose(request, relaxed)
            if not proposed:
                break
            done = memory / f"generation-{generation}"
            if not done.is_dir():
                partial = memory / "partial"
                shutil.rmtree(partial, ignore_errors=True)
                self.relax(generation, list(enumerate(proposed, 1)), partial)
                partial.rename(done)
            relaxed = read_relaxed(done / RELAXED)
            shutil.copytree(done, out / f"{task.number}-{generation}", ignore=shutil.ignore_patterns(RELAXED))
            progress(generation / settings.generations)
        shutil.copytree(memory / EXCHANGE, out / f"{EXCHANGE}-{task.number}")

    def relax(self, generation: int, proposed: Sequence[tuple[int, Frame]], folder: Path) -> None:
        """Relax structures of a generation, given with their numbers, judge their paths, write it all to `folder`."""
        started, config, task = time.monotonic(), self.config, self.task
        name = config.explored(self.settings)
        starts, committee = [frame for _, frame in proposed], self.models.committee(name)
        paths = relax_by(committee, starts, self.settings.relax, task.condition.get("pressure", 0.0))
        judged, ends, dropped = judge_paths(
            config, self.models, name, task.number, paths, self.settings.path_frames, self.work
        )
        visited = [
            replace(each, structure=generation * GENERATION + number)
            for each, (number, _) in zip(judged, proposed, strict=True)
        ]
        folder.mkdir(parents=True)
        compact(config, visited, task.number, generation, proposed[0][0]).save(folder / FRAMES)
        forces = np.concatenate([end.forces[0] for end in ends])
        FoundFrames(PackedFrames.of([path.frame for path in paths]), forces).save(folder / FOUND)
        save_relaxed(folder / RELAXED, [path.relaxed for path in paths])
        result = TaskResult(
            number=task.number, name=task.name, group=f"{task.group}", structure="", start=0, condition=task.condition,
            task=name, seed=task.seed, frames=sum(len(each.trajectory) for each in visited), dropped=dict(dropped),
            seconds=time.monotonic() - started,
        )  # fmt: skip
        found = [
            _found(task, generation, number, path, float(end.deviation[0]))
            for (number, _), path, end in zip(proposed, paths, ends, strict=True)
        ]
        Explored(tasks=[result], found=found).save(folder / RESULT)


def relax_by(
    committee: Sequence[Model], frames: list[Frame], settings: Relaxation, pressure: float
) -> list[RelaxationPath]:
    """Relax under `pressure` in bar by the model or models of the committee that the settings name."""
    chosen = committee[0].evaluate if settings.model == "first" else mean_of([each.evaluate for each in committee])
    return relax(frames, chosen, settings, pressure * BAR_IN_EV_PER_A3)


def judge_paths(  # noqa: PLR0917  what is judged, by whom, and how much of it
    config: Config, models: Models, name: str, number: int, paths: list[RelaxationPath], most: int, work: Path
) -> tuple[list[Visited], list[Visited], Counter[str]]:
    """What the models say of at most `most` good frames of each path, of each path's end, and what filters refused."""
    good = [good_frames(config, thinned(path.steps, most)) for path in paths]
    last = [path.steps.part(np.array([len(path.steps) - 1])) for path in paths]
    judged = judge(config, models, name, number, [*(trajectory for trajectory, _ in good), *last], work)
    dropped: Counter[str] = Counter()
    for _, refused in good:
        dropped.update(refused)
    return judged[: len(paths)], judged[len(paths) :], dropped


def _found(task: PlannedTask, generation: int, number: int, path: RelaxationPath, deviation: float) -> FoundStructure:
    natoms = path.frame.natoms
    return FoundStructure(
        search=task.number,
        generation=generation,
        number=number,
        energy=path.labels.energy / natoms if path.failure is None else 0.0,
        volume=abs(float(np.linalg.det(path.frame.cell))) / natoms,
        converged=path.converged,
        deviation=deviation if np.isfinite(deviation) else None,
        failed=path.failure,
    )


def thinned(steps: Trajectory, most: int) -> Trajectory:
    """Frames of a path, start and end among them, that differ from each other."""
    places = np.unique(np.linspace(0, len(steps) - 1, most).round().astype(np.int64))
    kept = [int(places[0])]
    for place in places[1:]:
        strained = steps.cells[place] - steps.cells[kept[-1]]
        moved = steps.positions[place] - steps.positions[kept[-1]]
        if max(np.linalg.norm(moved, axis=1).max(), np.linalg.norm(strained, axis=1).max()) > MOVED:
            kept.append(int(place))
    return steps.part(np.array(kept))


def save_relaxed(path: Path, relaxed: Sequence[Relaxed]) -> None:
    """Write relaxed structures for the search to learn from."""
    nothing = np.full((3, 3), np.nan)
    labels = [each.labels or Labels(np.nan, np.full((each.frame.natoms, 3), np.nan)) for each in relaxed]
    np.savez(
        path,
        energy=np.array([each.energy for each in labels]),
        forces=np.concatenate([np.zeros((0, 3)), *(each.forces for each in labels)]),
        virial=np.array([nothing if each.virial is None else each.virial for each in labels]).reshape(-1, 3, 3),
        **PackedFrames.of([each.frame for each in relaxed]).arrays(),  # type: ignore[arg-type]
    )


def read_relaxed(path: Path) -> list[Relaxed]:
    """What `save_relaxed` wrote."""
    frames = PackedFrames.load(path)
    with np.load(path, allow_pickle=False) as stored:
        energy, virial, forces = stored["energy"], stored["virial"], frames.split(stored["forces"])
    made = []
    for frame, value, pull, stretch in zip(frames, energy, forces, virial, strict=True):
        labels = Labels(float(value), pull, stretch if np.isfinite(stretch).all() else None)
        made.append(Relaxed(frame, labels if np.isfinite(value) else None))
    return made
