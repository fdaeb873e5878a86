"""What the window looks at, for every frame that exploration has found, and what of it is sent on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lamflow.config.schema import Config
from lamflow.config.seeds import child_seed
from lamflow.config.select import FixedWindow
from lamflow.data import Frame, Labels, Trajectory
from lamflow.data.explored import ExploredFrames
from lamflow.data.frames import Floats, Ints
from lamflow.data.packed import PackedFrames
from lamflow.data.results import ModelResult
from lamflow.engines import registry
from lamflow.engines.protocol import Labeler, Model
from lamflow.errors import EngineError
from lamflow.ops._read import descriptors
from lamflow.science import filters
from lamflow.science.deviation import deviations, true_errors
from lamflow.science.metrics import bad_models
from lamflow.science.select import sample

RESULT, FRAMES, FOUND = "explored.json", "frames.npz", "found.npz"
"""Files of a pod's share: its results, the compact file of frames, and the structures that a search has found."""


class Models:
    """The committee and the teacher of each task, loaded once. Raises EngineError that names the bad models."""

    def __init__(self, config: Config, folder: Path) -> None:
        self.config, self.folder = config, folder
        results = [ModelResult.read(folder / str(index) / "model.json") for index in range(config.train.n_models)]
        bad = bad_models(results)
        if bad:
            raise EngineError("a model went bad, so nothing was explored:\n  " + "\n  ".join(bad))
        self.committees: dict[str, list[Model]] = {}
        self.teachers: dict[str, Labeler] = {}

    def committee(self, task: str) -> list[Model]:
        """Every model with the head of `task`."""
        if task not in self.committees:
            trainer = registry.trainer(self.config.train)
            places = range(self.config.train.n_models)
            self.committees[task] = [trainer.load(self.folder / str(index), task) for index in places]
        return self.committees[task]

    def teach(self, task: str, frames: list[Frame], work: Path) -> list[Labels]:
        """What is true for `task`; a frame that its teacher cannot label has labels that are no numbers."""
        if task not in self.teachers:
            self.teachers[task] = registry.labeler(self.config.labeler(task))
        answers = self.teachers[task].label(frames, work)
        return [
            answer if isinstance(answer, Labels) else Labels(np.nan, np.full((frame.natoms, 3), np.nan))
            for frame, answer in zip(frames, answers, strict=True)
        ]


@dataclass(frozen=True, eq=False)
class Visited:
    """The good frames of one task, or of one structure of a search: F of N atoms.

    number     of the task
    structure  see ExploredFrames
    forces     (F, N, 3)  what the models predict, on average or the one that explored, eV/Å
    deviation  (F,)       what the window looks at
    error      (F,)       force RMSE against the teacher, eV/Å
    """

    number: int
    trajectory: Trajectory
    forces: Floats
    deviation: Floats
    error: Floats
    structure: int = 0

    def part(self, frames: Ints) -> Visited:
        """The frames with these numbers."""
        trajectory, structure = self.trajectory.part(frames), self.structure
        forces, deviation, error = self.forces[frames], self.deviation[frames], self.error[frames]
        return Visited(self.number, trajectory, forces, deviation, error, structure)

    @classmethod
    def nothing(cls, number: int, start: Frame) -> Visited:
        """No frame."""
        return cls(number, Trajectory.nothing(start), np.zeros((0, start.natoms, 3)), np.zeros(0), np.zeros(0))


def good_frames(config: Config, trajectory: Trajectory) -> tuple[Trajectory, dict[str, int]]:
    """The frames that pass the filters, and how many each filter refused."""
    verdict = filters.refused(trajectory, filters.Limits(**config.select.filters.model_dump()))
    return trajectory.part(np.flatnonzero(verdict == 0)), filters.counts(verdict)


def judge(
    config: Config, models: Models, name: str, number: int, trajectories: Sequence[Trajectory], work: Path
) -> list[Visited]:
    """Score the frames of task `number`, which explores `name`: the committee's deviation, or the error of the model
    that explored. All trajectories are evaluated in one go, unless explorers have done it on their way."""
    if all(_is_scored(config, trajectory) for trajectory in trajectories):
        return [_scored(config, number, trajectory) for trajectory in trajectories]
    committee, frames = models.committee(name), [frame for trajectory in trajectories for frame in trajectory]
    by_teacher = config.select.score == "teacher"
    if not frames:
        answers: list[list[Labels]] = [[] for _ in range(2 if by_teacher else len(committee))]
    elif by_teacher:
        answers = [committee[number % len(committee)].evaluate(frames), models.teach(name, frames, work)]
    else:
        answers = [model.evaluate(frames) for model in committee]
    judged, end = [], 0
    for trajectory in trajectories:
        begin, end = end, end + len(trajectory)
        judged.append(_judged(config, number, trajectory, [answer[begin:end] for answer in answers]))
    return judged


def _is_scored(config: Config, trajectory: Trajectory) -> bool:
    """The explorer has evaluated the committee on every frame, and what the window looks at is among it."""
    if config.select.score == "teacher" or trajectory.deviations is None or trajectory.forces is None:
        return False
    return not bool(np.isnan(getattr(trajectory.deviations, config.select.metric)).all()) or not len(trajectory)


def _scored(config: Config, number: int, trajectory: Trajectory) -> Visited:
    assert trajectory.deviations is not None  # noqa: S101  see _is_scored
    assert trajectory.forces is not None  # noqa: S101
    deviation = getattr(trajectory.deviations, config.select.metric)
    return Visited(number, trajectory, trajectory.forces, deviation, np.full(len(trajectory), np.nan))


def _judged(config: Config, number: int, trajectory: Trajectory, answers: list[list[Labels]]) -> Visited:
    natoms = len(trajectory.numbers)
    if not len(trajectory):
        return Visited(number, trajectory, np.zeros((0, natoms, 3)), np.zeros(0), np.zeros(0))
    energies = np.array([[labels.energy for labels in answer] for answer in answers])
    forces = np.array([[labels.forces for labels in answer] for answer in answers])
    virials = None
    if all(labels.virial is not None for answer in answers for labels in answer):
        virials = np.array([[labels.virial for labels in answer] for answer in answers], dtype=np.float64)
    by_teacher = config.select.score == "teacher"
    found = (true_errors if by_teacher else deviations)(energies, forces, virials)
    error = np.full(len(trajectory), np.nan)
    if by_teacher:
        error = np.sqrt(np.mean((forces[0] - forces[1]) ** 2, axis=(1, 2)))
    predicted = forces[0] if by_teacher else forces.mean(axis=0)
    return Visited(number, trajectory, predicted, getattr(found, config.select.metric), error)


def compact(config: Config, visited: Sequence[Visited], *seed_of: int) -> ExploredFrames:
    """Deviations of all frames, coordinates of the candidates that are sent on."""
    deviation = _joined([v.deviation for v in visited])
    chosen = _sent_on(config, deviation, child_seed(config.seed, "pool", *seed_of))
    ends = np.cumsum([len(v.deviation) for v in visited])
    frames, forces, velocities = [], [np.zeros((0, 3))], [np.zeros((0, 3))]
    for index in chosen:
        place = int(np.searchsorted(ends, index, side="right"))
        within = int(index - (ends[place - 1] if place else 0))
        trajectory = visited[place].trajectory
        frames.append(trajectory.frame(within))
        forces.append(visited[place].forces[within])
        moving = trajectory.velocities
        velocities.append(np.full(forces[-1].shape, np.nan) if moving is None else moving[within])
    return ExploredFrames(
        task=_counted([np.full(len(v.deviation), v.number) for v in visited]),
        structure=_counted([np.full(len(v.deviation), v.structure) for v in visited]),
        step=_counted([v.trajectory.steps for v in visited]),
        deviation=deviation,
        error=_joined([v.error for v in visited]),
        candidate=chosen, descriptor=descriptors(frames, config), frames=PackedFrames.of(frames),
        forces=np.concatenate(forces), velocities=np.concatenate(velocities),
    )  # fmt: skip


def _joined(parts: list[Floats]) -> Floats:
    return np.concatenate([np.zeros(0), *parts])


def _counted(parts: list[Ints]) -> Ints:
    return np.concatenate([np.zeros(0, dtype=np.int64), *parts])


def _sent_on(config: Config, deviation: Floats, seed: int) -> Ints:
    """Which frames could be selected once all pods are seen, at most `pool` of them."""
    window, pool = config.select.window, config.select.pool
    below = np.flatnonzero(deviation < window.high)
    if isinstance(window, FixedWindow):
        return sample(below[deviation[below] >= window.low], pool, seed)
    return np.sort(below[np.argsort(-deviation[below], kind="stable")][: max(pool, window.candidates)])
