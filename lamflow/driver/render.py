"""Manifests as `lamflow render` prints them."""

from __future__ import annotations

from typing import Any

from lamflow.config.schema import DataStudy
from lamflow.driver.plan import planned_graph, planned_graphs
from lamflow.driver.run_location import RunLocation
from lamflow.errors import InputError
from lamflow.superops.capacity import ClusterCapacity


def render_run(study: DataStudy) -> dict[str, Any]:
    """The Argo Workflow of the run, whose pod is the driver."""
    from lamflow.flow.run import run_manifest

    location = RunLocation.of(study)
    return run_manifest(study, location.url, location.prefix)


def render_rounds(study: DataStudy) -> list[dict[str, Any]]:
    """The Argo Workflows of the start and of a round of every stage. Raises InputError for what cannot be rendered."""
    from lamflow.flow.workflow import manifests

    return [made for graph in planned_graphs(study, ClusterCapacity()) for made in manifests(study, graph)]


def render_round(study: DataStudy, number: int) -> list[dict[str, Any]]:
    """The Argo Workflows of round `number`, as if the first stage went on so long; 0 is the start.

    There are several where steps in between run elsewhere, or labels may be late (`select.enough`).
    Asks neither a cluster nor an object store. Raises InputError for a round that the study never comes to, and for one
    whose steps are all elsewhere.
    """
    from lamflow.flow.workflow import manifests

    graph = planned_graph(study, number, ClusterCapacity())
    made = manifests(study, graph)
    if not made:
        raise InputError(f"{graph.title}: by `site` under `pods:` none of its steps runs on Kubernetes")
    return made
