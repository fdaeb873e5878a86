"""The graph of one iteration of concurrent learning."""

from __future__ import annotations

from typing import Any

from dflow import Steps, Workflow

from lamflow.config.schema import Config
from lamflow.data.results import Shape
from lamflow.flow.manifest import LamWorkflow, offline
from lamflow.superops.learn import add_iteration, add_start
from lamflow.superops.step import Place


def iteration(config: Config, shape: Shape, place: Place) -> Workflow:
    """The Workflow of iteration `shape.number`; its size does not depend on that number.

    Its name says which iteration it is, and building it twice gives the same graph.
    """
    name = shape.workflow(config.name)
    steps = Steps(name=name)
    (add_start if shape.number == 0 else add_iteration)(steps, config, shape, place)
    return LamWorkflow(config, shape.number, name=name, id=name, steps=steps)


def manifest(settings: Config, shape: Shape) -> dict[str, Any]:
    """The Argo manifest of an iteration. No cluster and no object store is asked, and no credential is in it."""
    offline()
    prefix = f"{settings.cluster.prefix}{settings.name}/"
    made: dict[str, Any] = iteration(settings, shape, Place(prefix=prefix)).to_dict()
    return made
