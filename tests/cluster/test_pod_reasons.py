"""Why pods do not start, where Argo says only that they are initializing."""

from __future__ import annotations

from typing import Any

import pytest

from lamflow.cluster.retry_policy import RetryPolicy
from lamflow.cluster.status import pods
from lamflow.cluster.waiting import PendingPods
from lamflow.cluster.workflows import Workflows
from lamflow.config.pods import Cluster
from tests.stand_ins.kubernetes import Kubernetes, status

HERE = "/api/v1/namespaces/lamflow"
NODE = {
    "id": "a", "type": "Pod", "templateName": "train", "phase": "Pending", "message": "PodInitializing",
    "startedAt": "2026-01-01T00:00:00Z",
}  # fmt: skip
WORKFLOW = {"metadata": {"name": "tiny-001"}, "status": {"phase": "Running", "nodes": {"a": NODE}}}
PULL = 'Back-off pulling image "lamflow/not-there:0"'


def pod(**now: Any) -> dict[str, Any]:
    metadata = {"name": "tiny-001-train", "uid": "u", "annotations": {"workflows.argoproj.io/node-id": "a"}}
    return {"metadata": metadata, "status": {"phase": "Pending", **now}}


def container(name: str, reason: str, message: str = "") -> list[dict[str, Any]]:
    return [{"name": name, "image": "argoexec:v9", "state": {"waiting": {"reason": reason, "message": message}}}]


def event(reason: str, message: str, count: int = 1, uid: str = "u") -> dict[str, Any]:
    return {"metadata": {}, "involvedObject": {"uid": uid}, "reason": reason, "message": message, "count": count}


def explained(kubernetes: Kubernetes, now: dict[str, Any], events: list[Any], workflow: Any = WORKFLOW) -> Any:
    kubernetes.answers = {f"{HERE}/pods": (200, {"items": [pod(**now)]}), f"{HERE}/events": (200, {"items": events})}
    return Workflows.of(Cluster()).explained(workflow)


UNMOUNTED = event("FailedMount", 'MountVolume.SetUp failed for volume "s3": secret "lamflow-s3" not found')


@pytest.mark.parametrize(
    ("now", "events", "says"),
    [
        (
            {"initContainerStatuses": container("init", "ImagePullBackOff", 'Back-off pulling image "x/argoexec:v9"')},
            [],
            ["ImagePullBackOff of container init", "Argo's executor"],
        ),
        ({"containerStatuses": container("main", "ErrImagePull", PULL)}, [], [PULL, "pods.train.image"]),
        (
            {"conditions": [{"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/1 nodes"}]},
            [],
            ["Unschedulable: 0/1 nodes"],
        ),
        (
            {"initContainerStatuses": container("init", "PodInitializing")},
            [event("FailedMount", "of another pod", uid="v"), UNMOUNTED, event("FailedScheduling", "some time ago")],
            ['secret "lamflow-s3" not found', "cluster.s3.secret"],
        ),
    ],
    ids=["argoexec", "image", "node", "secret"],
)  # fmt: skip
def test_what_keeps_a_pod_from_starting_is_said(
    kubernetes: Kubernetes, now: dict[str, Any], events: list[Any], says: list[str]
) -> None:
    state = explained(kubernetes, now, events)
    waits = PendingPods(3600.0, {"train": "train"})
    [said] = waits.reasons(state, now=pods(state)[0].start)
    assert all(words in said for words in says), said


def test_a_pod_that_is_only_starting_is_not_said(kubernetes: Kubernetes) -> None:
    state = explained(kubernetes, {"initContainerStatuses": container("init", "PodInitializing")}, [])
    assert PendingPods(3600.0, {}).reasons(state) == []


def test_a_registry_that_refuses_is_counted(kubernetes: Kubernetes) -> None:
    explained(
        kubernetes,
        {"containerStatuses": container("main", "ErrImagePull", PULL)},
        [event("Failed", 'Failed to pull image "x": not found', 3), event("Failed", "Error: ErrImagePull", 3)],
    )
    assert Workflows.of(Cluster()).pod_reasons(WORKFLOW)["a"].refused == 3


def test_nothing_is_asked_where_nothing_waits(kubernetes: Kubernetes) -> None:
    running = {"metadata": {"name": "t"}, "status": {"nodes": {"a": {**NODE, "phase": "Running"}}}}
    assert Workflows.of(Cluster()).explained(running) is running
    assert not kubernetes.requests


def test_that_pods_may_not_be_read_is_said_once(kubernetes: Kubernetes) -> None:
    kubernetes.answers = {f"{HERE}/pods": (403, status(403, "pods is forbidden"))}
    said: list[str] = []
    workflows = Workflows.of(Cluster(), RetryPolicy(say=said.append))
    assert workflows.explained(WORKFLOW) == WORKFLOW
    assert workflows.explained(WORKFLOW) == WORKFLOW
    assert len(said) == 1
    assert "pods is forbidden" in said[0]


def test_a_workflow_that_argo_holds_back_is_said_and_times_out() -> None:
    held = {"metadata": {"name": "t"}, "status": {"phase": "Pending", "message": "too many workflows are running"}}
    waits = PendingPods(100.0, {})
    [said] = waits.reasons(held, now=0.0)
    assert "Argo holds Workflow t back: too many workflows are running" in said
    assert waits.timed_out(held, now=50.0) is None
    assert waits.timed_out(held, now=101.0) == said
