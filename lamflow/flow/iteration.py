"""The graph of one iteration of concurrent learning."""

from __future__ import annotations

from dflow import Steps, Workflow

from lamflow.config.schema import Config
from lamflow.data.results import Shape
from lamflow.superops.learn import add_iteration, add_start
from lamflow.superops.step import Place


def iteration(config: Config, shape: Shape, place: Place) -> Workflow:
    """The Workflow of iteration `shape.number`; its size does not depend on that number.

    Its name says which iteration it is, and building it twice gives the same graph.
    """
    name = f"{config.name}-{shape.number:03d}"
    steps = Steps(name=name)
    (add_start if shape.number == 0 else add_iteration)(steps, config, shape, place)
    return Workflow(name=name, id=name, steps=steps)
