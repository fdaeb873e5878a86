"""Scores of explored frames: what the window looks at, and what of them is sent on.

A new way to score is a row of SCORE_RULES.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Protocol

import numpy as np

from lamflow.config.learning import Config
from lamflow.config.seeds import child_seed
from lamflow.config.select import Filters, FixedWindow, Select, Window
from lamflow.data import Deviations, Frame, Labels, Trajectory
from lamflow.data.explored import ExploredFrames
from lamflow.data.frames import Floats, Ints
from lamflow.data.packed import PackedFrames
from lamflow.engines.protocol import Model
from lamflow.policy.calibration import Calibration
from lamflow.policy.windows import rescaled, window_rule
from lamflow.science import filters
from lamflow.science.deviation import deviations, stacked, true_errors
from lamflow.science.diversity import descriptors

Teacher = Callable[[Sequence[Frame]], list[Labels]]
"""Gives the true labels of frames; a frame that it cannot label has labels that are no numbers."""
LooksAt = Callable[[Deviations], Floats]
"""What a window looks at, of all deviations."""


@dataclass(frozen=True, eq=False)
class ScoredFrames:
    """The good frames of one simulation, or of one structure of a search: F of N atoms.

    number     of the simulation
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

    def __len__(self) -> int:
        return len(self.deviation)

    def subset(self, frames: Ints) -> ScoredFrames:
        """The frames with these indices."""
        return ScoredFrames(
            self.number, self.trajectory.subset(frames), self.forces[frames], self.deviation[frames],
            self.error[frames], self.structure,
        )  # fmt: skip

    @classmethod
    def none(cls, number: int, start: Frame) -> ScoredFrames:
        """No frame."""
        return cls(number, Trajectory.nothing(start), np.zeros((0, start.natoms, 3)), np.zeros(0), np.zeros(0))


class ScoreRule(Protocol):
    """How the frames that a simulation has visited are scored."""

    def predictions(
        self, frames: Sequence[Frame], committee: Sequence[Model], teacher: Teacher, number: int
    ) -> list[list[Labels]]:
        """Labels of the frames, once for each opinion; `number` is that of the simulation."""
        ...

    def scores(
        self, energies: Floats, forces: Floats, virials: Floats | None, magnetic: Floats | None
    ) -> tuple[Deviations, Floats, Floats]:
        """Deviations of F frames, forces (F, N, 3) to send on in eV/Å, and errors (F,) in eV/Å.

        energies (M, F) in eV, forces (M, F, N, 3) in eV/Å, virials (M, F, 3, 3) in eV and magnetic forces (M, F, N, 3)
        in eV/μB of M opinions
        """
        ...

    def takes(self, trajectory: Trajectory, metrics: Sequence[str]) -> bool:
        """The explorer has computed on its way what would be computed here."""
        ...


class CommitteeRule:
    """How far the models disagree."""

    def predictions(
        self, frames: Sequence[Frame], committee: Sequence[Model], teacher: Teacher, number: int
    ) -> list[list[Labels]]:
        """Of every model. See ScoreRule."""
        del teacher, number
        return [model.evaluate(frames) for model in committee]

    def scores(
        self, energies: Floats, forces: Floats, virials: Floats | None, magnetic: Floats | None
    ) -> tuple[Deviations, Floats, Floats]:
        """See ScoreRule. Errors are not known."""
        return deviations(energies, forces, virials, magnetic), forces.mean(axis=0), np.full(forces.shape[1], np.nan)

    def takes(self, trajectory: Trajectory, metrics: Sequence[str]) -> bool:
        """See ScoreRule."""
        if trajectory.deviations is None or trajectory.forces is None:
            return False
        known = (not bool(np.isnan(getattr(trajectory.deviations, metric)).all()) for metric in metrics)
        return not len(trajectory) or all(known)


class TeacherRule:
    """The true error of the model that explored."""

    def predictions(
        self, frames: Sequence[Frame], committee: Sequence[Model], teacher: Teacher, number: int
    ) -> list[list[Labels]]:
        """Of the model that explored, then of the teacher. See ScoreRule."""
        return [committee[number % len(committee)].evaluate(frames), teacher(frames)]

    def scores(
        self, energies: Floats, forces: Floats, virials: Floats | None, magnetic: Floats | None
    ) -> tuple[Deviations, Floats, Floats]:
        """See ScoreRule."""
        error = np.sqrt(np.mean((forces[0] - forces[1]) ** 2, axis=(1, 2)))
        return true_errors(energies, forces, virials, magnetic), forces[0], error

    def takes(self, trajectory: Trajectory, metrics: Sequence[str]) -> bool:
        """Never: explorers know no teacher. See ScoreRule."""
        del trajectory, metrics
        return False


class EmbeddingRule(TeacherRule):
    """A bound of the error of the model that explored: the teacher says what could be true at worst."""

    def predictions(
        self, frames: Sequence[Frame], committee: Sequence[Model], teacher: Teacher, number: int
    ) -> list[list[Labels]]:
        """See ScoreRule. Bounds are of forces alone."""
        predicted, possible = super().predictions(frames, committee, teacher, number)
        return [[replace(labels, virial=None) for labels in predicted], possible]

    def scores(
        self, energies: Floats, forces: Floats, virials: Floats | None, magnetic: Floats | None
    ) -> tuple[Deviations, Floats, Floats]:
        """See ScoreRule. Errors are not known."""
        return true_errors(energies, forces, virials, magnetic), forces[0], np.full(forces.shape[1], np.nan)


SCORE_RULES: Mapping[str, ScoreRule] = {
    "committee": CommitteeRule(), "teacher": TeacherRule(), "embedding": EmbeddingRule(),
}  # fmt: skip
"""By `select.score`."""


def good_frames(settings: Filters, trajectory: Trajectory) -> tuple[Trajectory, dict[str, int]]:
    """The frames that pass the filters, and how many each filter refused."""
    verdict = filters.refused(trajectory, filters.Limits(**settings.model_dump()))
    return trajectory.subset(np.flatnonzero(verdict == 0)), filters.counts(verdict)


def score(
    settings: Select, number: int, trajectories: Sequence[Trajectory], committee: Sequence[Model], teacher: Teacher,
    scale: Window | None = None, *, calibration: Calibration | None = None,
) -> list[ScoredFrames]:  # fmt: skip
    """Score what simulation `number` has visited.

    All trajectories are evaluated in one go, unless explorers have done it on their way.

    scale        the window on whose scale deviations are put; that of the settings if absent
    calibration  that puts channels on the scale of a calibrated window
    """
    rule, scale = SCORE_RULES[settings.score], scale or settings.window
    looks_at = partial(largest, settings, scale=scale, calibration=calibration)
    if all(rule.takes(trajectory, settings.metrics) for trajectory in trajectories):
        return [_scored_on_the_way(looks_at, number, trajectory) for trajectory in trajectories]
    frames = [frame for trajectory in trajectories for frame in trajectory]
    predictions = rule.predictions(frames, committee, teacher, number) if frames else []
    scored, end = [], 0
    for trajectory in trajectories:
        begin, end = end, end + len(trajectory)
        visited = [labels[begin:end] for labels in predictions]
        scored.append(_scored(looks_at, rule, number, trajectory, visited))
    return scored


def largest(settings: Select, values: Deviations, scale: Window, calibration: Calibration | None = None) -> Floats:
    """What the window looks at (F,): the deviation of its metric, or that of a channel which is larger on its scale.

    scale, calibration  see score
    """
    deviation: Floats = getattr(values, settings.metric)
    if calibration is not None and calibration.scale is not None:
        return calibration.scale.scores(np.stack([getattr(values, metric) for metric in settings.allowed], axis=1))
    if not isinstance(scale, FixedWindow):
        return deviation
    for metric, levels in settings.levels.items():
        own = rescaled(getattr(values, metric), levels, (scale.low, scale.high))
        if metric == settings.metric:
            deviation = own if settings.window != scale else deviation
        elif not np.isnan(own).all():  # isolated frames have no virial, for example
            deviation = np.maximum(deviation, own)
    return deviation


def _scored_on_the_way(looks_at: LooksAt, number: int, trajectory: Trajectory) -> ScoredFrames:
    assert trajectory.forces is not None  # noqa: S101  see ScoreRule.takes
    assert trajectory.deviations is not None  # noqa: S101
    deviation = looks_at(trajectory.deviations)
    return ScoredFrames(number, trajectory, trajectory.forces, deviation, np.full(len(trajectory), np.nan))


def _scored(
    looks_at: LooksAt, rule: ScoreRule, number: int, trajectory: Trajectory, predictions: list[list[Labels]]
) -> ScoredFrames:
    if not len(trajectory):
        forces = np.zeros((0, len(trajectory.numbers), 3))
        return ScoredFrames(number, trajectory, forces, np.zeros(0), np.zeros(0))
    deviation, sent, error = rule.scores(*stacked(predictions))
    return ScoredFrames(number, trajectory, sent, looks_at(deviation), error)


def pack_candidates(
    study: Config, scored: Sequence[ScoredFrames], *seed_names: int, calibration: Calibration | None = None
) -> ExploredFrames:
    """Deviations of all frames, coordinates of those that could be candidates once all jobs are seen.

    seed_names   tell apart whoever packs, for the random choice of `select.pool`
    calibration  where it is known already, for a calibrated window
    """
    deviation = np.concatenate([np.zeros(0), *(part.deviation for part in scored)])
    seed = child_seed(study.seed, "pool", *seed_names)
    chosen = window_rule(study.select.window, calibration).preselect(deviation, study.select.pool, seed)
    ends = np.cumsum([len(part) for part in scored])
    frames, forces, velocities = [], [np.zeros((0, 3))], [np.zeros((0, 3))]
    for index in chosen:
        part = int(np.searchsorted(ends, index, side="right"))
        frame = int(index - (ends[part - 1] if part else 0))
        trajectory = scored[part].trajectory
        frames.append(trajectory.frame(frame))
        forces.append(scored[part].forces[frame])
        unknown = np.full(forces[-1].shape, np.nan)
        velocities.append(unknown if trajectory.velocities is None else trajectory.velocities[frame])
    return ExploredFrames(
        simulation=_integers([np.full(len(part), part.number) for part in scored]),
        structure=_integers([np.full(len(part), part.structure) for part in scored]),
        step=_integers([part.trajectory.steps for part in scored]),
        deviation=deviation,
        error=np.concatenate([np.zeros(0), *(part.error for part in scored)]),
        candidate=chosen, descriptor=descriptors(frames, study.elements), frames=PackedFrames.of(frames),
        forces=np.concatenate(forces), velocities=np.concatenate(velocities),
    )  # fmt: skip


def _integers(parts: list[Ints]) -> Ints:
    return np.concatenate([np.zeros(0, dtype=np.int64), *parts])
