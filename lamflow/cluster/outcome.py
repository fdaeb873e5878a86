"""What has become of a Workflow: how much of it is done, which jobs have succeeded, and why it failed."""

from __future__ import annotations

from lamflow.cluster.losses import error_of
from lamflow.cluster.status import Manifest, message, phase, pods
from lamflow.data.graph import Graph
from lamflow.errors import LamflowError, NodeError, StateError
from lamflow.ops.operation import fraction_done


def steps_done(workflow: Manifest, graph: Graph) -> dict[str, float]:
    """Share of each step's pods' work that is done, for the steps that have begun; all of one that is left."""
    shares: dict[str, list[float]] = {}
    for pod in pods(workflow):
        shares.setdefault(pod.step, []).append(
            1.0 if pod.phase == "Succeeded" else min(0.99, fraction_done(pod.progress))
        )
    left = graph.may_leave(succeeded(workflow))
    done = {left.name: 1.0} if left is not None else {}
    return {step: sum(values) / len(values) for step, values in shares.items()} | done


def succeeded(workflow: Manifest) -> dict[str, list[int]]:
    """Numbers of the jobs of each step that have succeeded."""
    found: dict[str, list[int]] = {}
    for pod in pods(workflow):
        if pod.phase == "Succeeded":
            found.setdefault(pod.step, []).append(pod.number)
    return found


def explanation(failed: Manifest) -> LamflowError:
    """Why a Workflow failed: what its first failed pod said last."""
    name = failed["metadata"]["name"]
    lost = sorted((pod for pod in pods(failed) if pod.phase in ("Failed", "Error")), key=lambda pod: pod.end)
    if (failed.get("spec") or {}).get("shutdown"):
        return StateError(f"Workflow {name} was stopped; `lamflow resume` goes on")
    if not lost:
        return NodeError(f"Workflow {name} failed: {message(failed) or phase(failed)}")
    return error_of(name, lost[0])
