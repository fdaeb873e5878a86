"""Rounds of an evaluation: what is labeled first, then one engine on all labeled data."""

from __future__ import annotations

from lamflow.config.schema import EvaluationStudy
from lamflow.data import layout
from lamflow.data.graph import EngineUse, Graph, Key
from lamflow.data.layout import HELDOUT, INPUT, TRAIN, iteration_key
from lamflow.ops.evaluate import evaluate, score
from lamflow.superops.state import RunState
from lamflow.superops.steps import add, start_graph, start_then_one

FRAMES_PER_JOB = 200
"""A job that evaluates fewer frames is not worth its start."""


def next_graph(study: EvaluationStudy, state: RunState) -> Graph | None:
    """The graph of the round that comes next: the start, then the evaluation; None when the run has ended."""
    return start_then_one(study, state, round_graph)


def round_graph(study: EvaluationStudy, state: RunState, number: int) -> Graph:
    """The graph of round 0 or 1."""
    if not number:
        return start_graph(study, state)
    folder, data = iteration_key(1), {"train": Key(key=TRAIN), "heldout": Key(key=HELDOUT)}
    jobs = max(1, min(state.capacity.slots("explore", study.pods.explore), -(-state.frames // FRAMES_PER_JOB)))
    predictions = f"{folder}/{layout.PREDICTIONS}"
    steps = [
        add(
            "evaluate", evaluate, writes={"predictions": predictions}, resources="explore", jobs=jobs, most_jobs=jobs,
            records=[f"{predictions}/*/{layout.PREDICTIONS_RECORD}"], work=max(1, state.frames),
            engines=[EngineUse(role="evaluate", name=study.evaluate.engine)], input=Key(key=INPUT), **data,
        ),
        add(
            "score", score, writes={"evaluation": f"{folder}/{layout.EVALUATION}"},
            records=[f"{folder}/{layout.EVALUATION}/{layout.JUDGEMENT}"],
            details=[f"{folder}/{layout.EVALUATION}/{layout.PARITY}"],
            input=Key(key=INPUT), predictions=Key(key=predictions), **data,
        ),
    ]  # fmt: skip
    return Graph(kind=study.workflow, round=1, name="evaluation", stage="evaluate", steps=steps)
