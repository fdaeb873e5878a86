"""Why pods do not start, as Kubernetes knows it: their containers, their conditions, their events.

Argo says of a pod only that it is initializing while its first container, Argo's own, waits for an image or a volume.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from lamflow.cluster.api import Api
from lamflow.cluster.status import Manifest, nodes

STARTING = ("PodInitializing", "ContainerCreating")
"""What is said of a container before it has a reason to wait."""
NODE = "workflows.argoproj.io/node-id"
"""Annotation of a pod with Argo's name of its node."""
TOLD = ("FailedScheduling", "BackOff")
"""Events that tell nothing that a condition or a container does not tell as long as it is true."""


@dataclass(frozen=True)
class Reason:
    """Why a pod does not start, and how often a registry has refused its image."""

    text: str
    refused: int = 0


def pod_reasons(api: Api, namespace: str, workflow: Manifest) -> dict[str, Reason]:
    """The reasons of a Workflow's pods that wait, by Argo's names of their tries. Nothing is asked where none waits."""
    waiting = [node for node in nodes(workflow).values() if node.get("type") == "Pod" and node["phase"] == "Pending"]
    if not waiting:
        return {}
    core, name = f"/api/v1/namespaces/{namespace}", workflow["metadata"]["name"]
    found = api.request("GET", f"{core}/pods", query={"labelSelector": f"workflows.argoproj.io/workflow={name}"})
    pods = [pod for pod in found.get("items") or [] if (pod.get("status") or {}).get("phase") == "Pending"]
    query = {"fieldSelector": "involvedObject.kind=Pod,type=Warning"}
    events = api.request("GET", f"{core}/events", query=query).get("items") or [] if pods else []
    reasons = {}
    for pod in pods:
        mine = [event for event in events if (event.get("involvedObject") or {}).get("uid") == pod["metadata"]["uid"]]
        reason = Reason(_why(pod, mine), sum(int(event.get("count") or 1) for event in mine if _is_refusal(event)))
        if reason.text:
            reasons[(pod["metadata"].get("annotations") or {}).get(NODE, "")] = reason
    return reasons


def explained(workflow: Manifest, reasons: Mapping[str, Reason]) -> Manifest:
    """The Workflow with Kubernetes' words in the place of Argo's."""
    if not reasons:
        return workflow
    changed = {
        key: {**node, "message": reasons[key].text} if key in reasons and node["phase"] == "Pending" else node
        for key, node in nodes(workflow).items()
    }
    status = {key: value for key, value in workflow["status"].items() if key != "compressedNodes"}
    return {**workflow, "status": {**status, "nodes": changed}}


def _why(pod: Manifest, events: list[Manifest]) -> str:
    """What keeps a pod from starting; empty if nothing is said yet."""
    status = pod["status"]
    for container in [*(status.get("initContainerStatuses") or []), *(status.get("containerStatuses") or [])]:
        waits = (container.get("state") or {}).get("waiting") or {}
        if waits.get("reason") and waits["reason"] not in STARTING:
            message = waits.get("message") or f"image {container.get('image')}"
            return f"{waits['reason']} of container {container['name']}: {message}"
    for condition in status.get("conditions") or []:
        if condition["type"] == "PodScheduled" and condition["status"] == "False":
            return f"{condition.get('reason', 'Unschedulable')}: {condition.get('message', '')}"
    told = [event for event in events if event.get("reason") not in TOLD]
    last = max(told, key=_when, default=None)
    return f"{last['reason']}: {last['message']}" if last is not None else ""


def _is_refusal(event: Manifest) -> bool:
    return event.get("reason") == "Failed" and "pull image" in str(event.get("message"))


def _when(event: Manifest) -> Any:
    return event.get("lastTimestamp") or event.get("eventTime") or event["metadata"].get("creationTimestamp") or ""
