"""Rounds of training: what is labeled first, then every model once."""

from __future__ import annotations

from lamflow.config.schema import TrainingStudy
from lamflow.data.graph import Graph
from lamflow.superops.state import RunState
from lamflow.superops.steps import start_graph, start_then_one, train_step


def next_graph(study: TrainingStudy, state: RunState) -> Graph | None:
    """The graph of the round that comes next: the start, then the training; None when the run has ended."""
    return start_then_one(study, state, round_graph)


def round_graph(study: TrainingStudy, state: RunState, number: int) -> Graph:
    """The graph of round 0 or 1."""
    if not number:
        return start_graph(study, state)
    return Graph(kind=study.workflow, round=1, name="training", stage="train", steps=[train_step(study, 1, state)])
