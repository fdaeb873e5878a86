"""What a run has spent, and how many more labels its budget pays."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from lamflow.config.learning import Config
from lamflow.config.pods import Pod
from lamflow.config.schema import DataStudy
from lamflow.data.frames import Floats
from lamflow.data.label_work import LabelWork
from lamflow.data.results import Cost, Iteration, LabelOutcome, ModelResult, SimulationResult
from lamflow.policy.candidates import ChosenFrame
from lamflow.science.costs import LabelCosts

Kind = Literal["train", "explore", "label"]
RESERVE = 1.2
"""Times what the training and exploration of an iteration took: what those of the next one are expected to take."""


def costs(
    study: DataStudy, models: Iterable[ModelResult], simulations: Iterable[SimulationResult],
    outcomes: Iterable[LabelOutcome] = (),
) -> dict[Kind, Cost]:  # fmt: skip
    """What each kind of step has taken; what was reused or came from a cache cost nothing."""
    seconds: dict[Kind, float] = {
        "train": sum(model.seconds for model in models if not model.reused),
        "explore": sum(result.seconds for result in simulations),
        "label": sum(outcome.seconds for outcome in outcomes if not outcome.cached),
    }
    return {kind: _cost(getattr(study.pods, kind), value) for kind, value in seconds.items() if value}


def _cost(pod: Pod, seconds: float) -> Cost:
    return Cost(core_hours=seconds * pod.threads / 3600, gpu_hours=seconds * pod.gpus / 3600)


def label_costs(past: Sequence[Iteration]) -> LabelCosts | None:
    """What labels cost, by those that the run has paid for; None while these are too few."""
    return LabelCosts.fitted([cost for item in past for cost in item.label_costs])


@dataclass(frozen=True, eq=False)
class Purse:
    """What a run may still spend when it is about to label.

    spent    in units of each budget that is set: core-hours, GPU-hours, hours
    reserve  what the training and exploration that learn from the labels will take
    """

    limits: Mapping[str, float]
    spent: Mapping[str, float]
    reserve: Mapping[str, float]

    @classmethod
    def of(cls, study: Config, past: Sequence[Iteration], now: Mapping[Kind, Cost], hours: float) -> Purse:
        """Of a run after these iterations, and one that has trained and explored for `hours` and taken `now`."""
        budget = study.budget
        limits = {"core-hours": budget.core_hours, "GPU-hours": budget.gpu_hours, "hours": budget.wall}
        every = [*(item.costs for item in past), now]
        paid = {
            "core-hours": sum(one.core_hours for taken in every for one in taken.values()),
            "GPU-hours": sum(one.gpu_hours for taken in every for one in taken.values()),
            "hours": sum(item.seconds for item in past) / 3600 + hours,
        }
        again = {
            "core-hours": sum(one.core_hours for one in now.values()),
            "GPU-hours": sum(one.gpu_hours for one in now.values()), "hours": hours,
        }  # fmt: skip
        given = {name: limit for name, limit in limits.items() if limit is not None}
        return cls(given, paid, {name: RESERVE * value for name, value in again.items()})

    def labels(self, pod: Pod, seconds: Floats, slots: int) -> tuple[int, str]:
        """How many of the first of some labels can be paid, and why none if it is none.

        seconds  (F,) that the first 1, 2, … take together
        slots    labels that are computed at the same time in such pods
        """
        longest = np.maximum.accumulate(np.diff(seconds, prepend=0.0))  # no number of slots makes a label shorter
        taken = {
            "core-hours": seconds * pod.threads, "GPU-hours": seconds * pod.gpus,
            "hours": np.maximum(seconds / slots, longest),
        }  # fmt: skip
        count, why = len(seconds), ""
        for name, limit in self.limits.items():
            left, costs = limit - self.spent[name] - self.reserve[name], taken[name] / 3600
            paid = int(np.searchsorted(costs, left, side="right")) if left > 0 else 0
            if count and not paid:
                why = (
                    f"the budget of {limit:.4g} {name} pays no further label: {self.spent[name]:.3g} are spent, "
                    f"learning from new labels would take about {self.reserve[name]:.3g}, and one label takes up to "
                    f"{costs[0]:.3g}"
                )
            count = min(count, paid)
        return count, why


def payable(
    study: Config, past: Sequence[Iteration], purse: Purse, frames: Sequence[ChosenFrame], slots: int
) -> tuple[int, str]:
    """How many of the first of these frames the purse pays, by the costs of finished labels or the engine's guess; and
    why none."""
    if not purse.limits or not frames:
        return len(frames), ""
    costs = label_costs(past)
    if costs is not None:
        bounds = costs.at_most([LabelWork.of(item.frame) for item in frames])
        return purse.labels(study.pods.label, bounds, slots)
    guesses = [study.labeler(item.why.origin.head).seconds(item.frame.natoms) for item in frames]
    return purse.labels(study.pods.label, np.cumsum(guesses), slots)
