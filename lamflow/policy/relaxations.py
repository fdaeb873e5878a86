"""Relaxations by a committee: which model moves the atoms, which frames of a path are scored."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np

from lamflow.config.engines import Relaxation
from lamflow.config.select import Select
from lamflow.data import Frame, Trajectory
from lamflow.engines.protocol import Model
from lamflow.policy.committee import ScoredFrames, good_frames
from lamflow.science.relaxation import RelaxationPath, mean_of, relax
from lamflow.units import BAR_IN_EV_PER_A3

LEAST_MOVE = 0.05
"""Å; a frame of a relaxation in which no atom has moved farther since the one before says nothing new."""


def relax_with(
    committee: Sequence[Model], frames: Sequence[Frame], settings: Relaxation, pressure: float
) -> list[RelaxationPath]:
    """Relax under `pressure` in bar by the model or models of the committee that the settings name."""
    first, mean = committee[0].evaluate, mean_of([model.evaluate for model in committee])
    return relax(frames, first if settings.model == "first" else mean, settings, pressure * BAR_IN_EV_PER_A3)


def score_paths(
    settings: Select, paths: Sequence[RelaxationPath], most: int,
    score_all: Callable[[list[Trajectory]], list[ScoredFrames]],
) -> tuple[list[ScoredFrames], list[ScoredFrames], Counter[str]]:  # fmt: skip
    """Scores of at most `most` good frames of each path, of each path's end, and how many frames each filter refused.

    score_all  scores all trajectories in one go
    """
    good, dropped = [], Counter[str]()
    for path in paths:
        trajectory, refused = good_frames(settings.filters, thinned(path.steps, most))
        good.append(trajectory)
        dropped.update(refused)
    ends = [path.steps.subset(np.array([len(path.steps) - 1])) for path in paths]
    scored = score_all([*good, *ends])
    return scored[: len(paths)], scored[len(paths) :], dropped


def thinned(steps: Trajectory, most: int) -> Trajectory:
    """At most `most` frames of a path, start and end among them, that differ from each other."""
    indices = np.unique(np.linspace(0, len(steps) - 1, most).round().astype(np.int64))
    kept = [int(indices[0])]
    for index in indices[1:]:
        strained = steps.cells[index] - steps.cells[kept[-1]]
        moved = steps.positions[index] - steps.positions[kept[-1]]
        if max(np.linalg.norm(moved, axis=1).max(), np.linalg.norm(strained, axis=1).max()) > LEAST_MOVE:
            kept.append(int(index))
    return steps.subset(np.array(kept))
