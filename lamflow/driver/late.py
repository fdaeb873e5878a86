"""Steps that a round left while jobs of theirs ran, and the round that takes in what came late."""

from __future__ import annotations

from collections.abc import Iterator

from lamflow.data.graph import Graph, Step
from lamflow.data.layout import LATE
from lamflow.driver.rundir import RunDirectory


def left_before(directory: RunDirectory, graph: Graph, step: Step) -> Iterator[tuple[Graph, Step]]:
    """Steps of the round before, with its graph, that a step of a graph reads and that may have been left."""
    if step.name != LATE:
        return
    before, read = directory.graph(graph.round - 1), {key.key for key in step.reads.values()}
    for each in before.settled(directory.path):
        if each.enough < 1 and read & set(each.writes.values()):
            yield before, each
