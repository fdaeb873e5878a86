"""What a run will cost in hours of cores and GPUs, with how far that can be wrong."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lamflow.config.pods import Pod
from lamflow.config.schema import DataStudy
from lamflow.data.graph import Resources
from lamflow.data.results import Iteration
from lamflow.policy.budgets import label_costs

GUESS = 3.0
"""Times that a guess may be too large or too small."""


@dataclass(frozen=True)
class PlannedStep:
    """One step: how many units of work, how many jobs share them, and how long it may take here, in s."""

    name: str
    work: int
    jobs: int
    seconds: float
    resources: Resources = "small"
    at_once: int = 1
    """Jobs that run at the same time."""


@dataclass(frozen=True)
class PlannedCost:
    """Hours of cores and of GPUs of all steps of a kind; nine of ten runs lie between `low` and `high`, core-hours too,
    where that has been measured."""

    core_hours: float
    low: float
    high: float
    gpu_hours: float
    measured: bool

    @classmethod
    def of(cls, pod: Pod, hours: tuple[float, float, float], *, measured: bool) -> PlannedCost:
        """Of pods that work for so many hours together: expected, at least, at most."""
        mean, low, high = (float(value) * pod.threads for value in hours)
        return cls(mean, low, high, float(hours[0]) * pod.gpus, measured)


def planned_costs(
    study: DataStudy, steps: Sequence[PlannedStep], labels: int, rounds: int, done: Sequence[Iteration], natoms: int
) -> dict[str, PlannedCost]:
    """By kind of step, of `labels` labels of frames of `natoms` atoms and `rounds` iterations like those `done`."""
    costs: dict[str, PlannedCost] = {}
    for kind in ("train", "explore"):
        pod, alike = getattr(study.pods, kind), [step for step in steps if step.resources == kind]
        spent = np.array([item.costs[kind].core_hours / pod.threads for item in done if kind in item.costs])
        if len(spent):
            scatter = 1.645 * float(spent.std(ddof=1) if len(spent) > 1 else spent.mean())
            mean = float(spent.mean())
            bounds = (rounds * mean, rounds * max(0.0, mean - scatter), rounds * (mean + scatter))
            costs[kind] = PlannedCost.of(pod, bounds, measured=True)
        elif alike:
            costs[kind] = PlannedCost.of(pod, _guessed(rounds * max(map(_hours, alike))), measured=False)
    told, pod = label_costs(done), study.pods.label
    alike = [step for step in steps if step.resources == "label" and step.work]
    if told is not None and labels:
        finished = [label for item in done for label in item.label_costs]
        like = min(finished, key=lambda label: abs(label.natoms - natoms))
        sizes = [like.of_size(natoms)] * labels
        mean, high = float(told.seconds(sizes).sum()) / 3600, float(told.at_most(sizes)[-1]) / 3600
        costs["label"] = PlannedCost.of(pod, (mean, max(0.0, 2 * mean - high), high), measured=True)
    elif alike and labels:
        mean = labels * max(_hours(step) / step.work for step in alike)
        costs["label"] = PlannedCost.of(pod, _guessed(mean), measured=False)
    return costs


def _hours(step: PlannedStep) -> float:
    """That all jobs of a step work together."""
    return step.seconds * min(step.jobs, step.at_once) / 3600


def _guessed(hours: float) -> tuple[float, float, float]:
    return hours, hours / GUESS, hours * GUESS
