"""Workflows through Kubernetes' API and through Argo's server, with everything that goes wrong on the way."""

from __future__ import annotations

import base64
import gzip
import json
import threading
import time
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from lamflow.cluster.api import NotFoundError
from lamflow.cluster.retry_policy import RetryPolicy
from lamflow.cluster.status import finished, nodes, phase, pods
from lamflow.cluster.waiting import PendingPods
from lamflow.cluster.workflows import Workflows
from lamflow.config.pods import Cluster
from lamflow.errors import ClusterError, OutageError
from tests.stand_ins.kubernetes import WORKFLOWS, Fault, Kubernetes
from tests.stand_ins.s3 import free_port

PATIENT = RetryPolicy(seconds=5.0, first=0.05)


def manifest(name: str = "tiny", run: str = "tiny") -> dict[str, Any]:
    return {"metadata": {"name": name, "labels": {"lamflow/run": run}}, "spec": {}}


@pytest.fixture
def workflows(kubernetes: Kubernetes) -> Workflows:
    return Workflows.of(Cluster(), PATIENT)


def ends(kubernetes: Kubernetes, how: str = "Succeeded", after: float = 0.3, name: str = "tiny") -> threading.Thread:
    """Have a Workflow run and end in a while."""

    def work() -> None:
        for now in ("Running", how):
            time.sleep(after / 2)
            kubernetes.update(name, partial(dict.update, status={"phase": now}))

    thread = threading.Thread(target=work)
    thread.start()
    return thread


def test_a_workflow_is_watched_to_its_end(kubernetes: Kubernetes, workflows: Workflows) -> None:
    workflows.create(manifest())
    thread = ends(kubernetes)
    assert [phase(state) for state in workflows.watch("tiny")] == ["", "Running", "Succeeded"]
    thread.join()
    assert sum(request.startswith("GET") for request in kubernetes.requests) == 1, "it watched and did not poll"


@pytest.mark.parametrize(
    "fault",
    [
        Fault("GET", 429, "too many requests", 1, {"Retry-After": "1"}),
        Fault("GET", 500, "etcdserver: request timed out", 3),
        Fault("GET", 503, "apiserver is shutting down", 3),
        Fault("GET", 0, times=3),
        Fault("WATCH", 0),
        Fault("WATCH", 410, "too old resource version: 1 (100)"),
        Fault("WATCH", 500, "internal error"),
        Fault("WATCH", event={"type": "ERROR", "object": {"kind": "Status", "code": 410, "message": "too old"}}),
        Fault("WATCH", event={"type": "BOOKMARK", "object": {"metadata": {"resourceVersion": "7"}}}),
        Fault("WATCH", after=1),
    ],
    ids=["429", "500", "503", "dropped", "watch-dropped", "410", "watch-500", "410-event", "bookmark", "cut-off"],
)
def test_it_is_watched_through_outages(kubernetes: Kubernetes, workflows: Workflows, fault: Fault) -> None:
    workflows.create(manifest())
    kubernetes.faults.append(fault)
    thread = ends(kubernetes, after=1.0)
    assert phase(list(workflows.watch("tiny"))[-1]) == "Succeeded"
    thread.join()
    assert fault.times == 0, "the fault was met"


def test_a_connection_that_was_kept_open_too_long_is_not_spoken_of(kubernetes: Kubernetes) -> None:
    said: list[str] = []
    workflows = Workflows.of(Cluster(), RetryPolicy(seconds=5.0, first=0.05, say=said.append))
    workflows.create(manifest())
    kubernetes.faults.append(Fault("GET", 0))
    assert workflows.get("tiny")
    assert said == []
    kubernetes.faults.append(Fault("GET", 0, times=2))
    assert workflows.get("tiny")
    assert len(said) == 1


def test_a_state_is_given_again_while_nothing_changes(kubernetes: Kubernetes, workflows: Workflows) -> None:
    workflows.create(manifest())
    states = workflows.watch("tiny", every=0.05)
    assert [phase(next(states)) for _ in range(3)] == ["", "", ""]
    kubernetes.update("tiny", lambda found: found.update(status={"phase": "Succeeded"}))
    assert phase(list(states)[-1]) == "Succeeded"
    with pytest.raises(NotFoundError):
        list(workflows.watch("other", every=0.05))


def test_workflows_of_a_run_come_in_pages(kubernetes: Kubernetes, workflows: Workflows) -> None:
    pages = iter(
        [{"items": [manifest("a")], "metadata": {"continue": "x"}}, {"items": [manifest("b")], "metadata": {}}]
    )
    kubernetes.answers = {WORKFLOWS: lambda _: (200, next(pages))}
    assert [found["metadata"]["name"] for found in workflows.of_run("tiny")] == ["a", "b"]


def test_a_deleted_workflow_is_said_to_be(kubernetes: Kubernetes, workflows: Workflows) -> None:
    workflows.create(manifest())
    threading.Timer(0.3, lambda: kubernetes.put(kubernetes.workflows["tiny"], "DELETED")).start()
    with pytest.raises(NotFoundError, match="Workflow tiny in namespace lamflow was deleted while it ran"):
        list(workflows.watch("tiny"))


def test_patience_ends(kubernetes: Kubernetes, workflows: Workflows) -> None:
    workflows.api.retry = RetryPolicy(seconds=0.5, first=0.1)
    kubernetes.faults.append(Fault("GET", 503, "not ready", times=100))
    with pytest.raises(OutageError, match="busy or failing \\(503: not ready\\)"):
        workflows.get("tiny")


def test_a_workflow_that_the_same_run_made_is_taken(kubernetes: Kubernetes, workflows: Workflows) -> None:
    workflows.create_or_get(manifest())
    assert workflows.create_or_get(manifest())["metadata"]["name"] == "tiny"
    with pytest.raises(ClusterError, match="is not of the run that lies in"):
        workflows.create_or_get(manifest(run="other"))


def test_creating_survives_an_answer_that_is_lost(kubernetes: Kubernetes, workflows: Workflows) -> None:
    kubernetes.faults.append(Fault("POST", 0))
    workflows.create_or_get(manifest())
    assert "tiny" in kubernetes.workflows


def test_a_rehearsal_makes_nothing(kubernetes: Kubernetes, workflows: Workflows) -> None:
    workflows.create(manifest(), rehearse=True)
    assert not kubernetes.workflows
    assert f"POST {WORKFLOWS}?dryRun" in kubernetes.requests


def test_stopping_deleting_describing(kubernetes: Kubernetes, workflows: Workflows) -> None:
    workflows.create(manifest())
    workflows.describe("tiny", "| a |", "artifact-files/page")
    workflows.stop("tiny")
    assert kubernetes.workflows["tiny"]["spec"]["shutdown"] == "Terminate"
    annotations = kubernetes.workflows["tiny"]["metadata"]["annotations"]
    assert annotations["workflows.argoproj.io/description"] == "| a |"
    assert annotations["lamflow/page"] == "artifact-files/page"
    assert [w["metadata"]["name"] for w in workflows.of_run("tiny")] == ["tiny"]
    workflows.delete("tiny")
    assert workflows.find("tiny") is None
    workflows.stop("tiny")
    workflows.delete("tiny")


def test_logs_name_their_pods(kubernetes: Kubernetes, workflows: Workflows) -> None:
    kubernetes.logs = {"tiny-train-1": "one\ntwo\n", "other": "no"}
    assert list(workflows.logs("tiny")) == ["tiny-train-1: one", "tiny-train-1: two"]


@pytest.mark.parametrize(
    ("status", "message", "says"),
    [
        (401, "Unauthorized", "does not accept the token or certificate"),
        (403, 'workflows.argoproj.io is forbidden: User "me" cannot create', "lamflow-user"),
        (403, "pods is forbidden: exceeded quota: gpus, requested: 4, limited: 2", "ResourceQuota"),
        (404, 'namespaces "lamflow" not found', "namespace lamflow is missing"),
        (422, "Workflow.argoproj.io is invalid: spec.entrypoint", "invalid"),
    ],
)
def test_a_refusal_says_what_to_do(
    kubernetes: Kubernetes, workflows: Workflows, status: int, message: str, says: str
) -> None:
    kubernetes.faults.append(Fault("POST", status, message))
    with pytest.raises(ClusterError) as caught:
        workflows.create(manifest())
    assert says in str(caught.value)
    assert message.split(":", maxsplit=1)[0] in str(caught.value)
    assert len(kubernetes.requests) == 1, "a refusal is not tried again"


def test_no_kubeconfig_is_one_message(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "none"))
    with pytest.raises(ClusterError, match="set KUBECONFIG"):
        Workflows.of(Cluster())


def test_a_server_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    url = f"http://127.0.0.1:{free_port()}"
    monkeypatch.setenv("ARGO_SERVER", url)
    with pytest.raises(OutageError, match=f"Argo's server {url} does not answer"):
        Workflows.of(Cluster(), RetryPolicy(seconds=0.3, first=0.1)).get("tiny")


def test_argos_server_is_spoken_to_in_its_own_way(kubernetes: Kubernetes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ARGO_SERVER", kubernetes.url)
    monkeypatch.setenv("ARGO_TOKEN", "Bearer planted-token")
    workflows = Workflows.of(Cluster(), PATIENT)
    base, name = "/api/v1/workflows/lamflow", "tiny"
    running = {"metadata": {"name": name, "resourceVersion": "5"}, "status": {"phase": "Running"}}
    done = {"metadata": {"name": name, "resourceVersion": "6"}, "status": {"phase": "Succeeded"}}
    events = [{"result": {"type": "MODIFIED", "object": each}} for each in (running, done)]
    kubernetes.answers = {
        base: (200, running),
        f"{base}/{name}": (200, running),
        f"{base}/{name}/terminate": (200, {}),
        "/api/v1/workflow-events/lamflow": (200, "".join(f"data: {json.dumps(event)}\n\n" for event in events)),
        f"{base}/{name}/log": (200, json.dumps({"result": {"podName": "tiny-train", "content": "hello"}}) + "\n"),
    }
    workflows.create(manifest())
    assert kubernetes.bodies[-1] == {"workflow": manifest()}
    workflows.create(manifest(), rehearse=True)
    assert kubernetes.bodies[-1]["serverDryRun"] is True
    assert [phase(state) for state in workflows.watch(name)] == ["Running", "Running", "Succeeded"]
    workflows.stop(name)
    assert list(workflows.logs(name)) == ["tiny-train: hello"]


NODE = {
    "id": "a", "type": "Pod", "templateName": "train", "phase": "Succeeded", "startedAt": "2026-01-01T00:00:00Z",
    "finishedAt": "2026-01-01T00:01:00Z", "inputs": {"parameters": [{"name": "job", "value": "2"}]},
    "outputs": {"exitCode": "0"}, "progress": "30/100",
}  # fmt: skip


def test_the_last_try_of_a_pod_counts() -> None:
    later = {**NODE, "id": "b", "phase": "Failed", "startedAt": "2026-01-01T00:02:00Z", "finishedAt": None,
             "outputs": {"exitCode": "137"}}  # fmt: skip
    tree = {"x": {"id": "x", "type": "Retry"}, "b": later, "a": NODE}
    [pod] = pods({"status": {"nodes": tree}})
    assert (pod.step, pod.number, pod.phase, pod.exit_code, pod.end) == ("train", 2, "Failed", 137, 0.0)


def test_packed_nodes_are_read() -> None:
    packed = base64.b64encode(gzip.compress(json.dumps({"a": NODE}).encode())).decode()
    assert nodes({"status": {"compressedNodes": packed}}) == {"a": NODE}
    assert finished({"status": {"phase": "Error"}})


@pytest.mark.parametrize(
    ("message", "seconds", "says"),
    [
        ("ImagePullBackOff: Back-off pulling image", 700, "pods.train.image"),
        ("Unschedulable: 0/3 nodes are available: 3 Insufficient nvidia.com/gpu.", 4000, "pods.train.gpus"),
        ("Unschedulable: 0/3 nodes are available: 3 Insufficient memory.", 4000, "pods.train"),
        ('pods "x" is forbidden: exceeded quota: all', 4000, "ResourceQuota"),
        ("MountVolume.SetUp failed for volume s3: secret lamflow-s3 not found", 4000, "cluster.s3.secret"),
    ],
)
def test_a_pod_that_waits_in_vain_is_found_with_its_fix(message: str, seconds: float, says: str) -> None:
    node = {**NODE, "phase": "Pending", "message": message, "outputs": None}
    workflow = {"status": {"phase": "Running", "nodes": {"a": node}}}
    start = pods(workflow)[0].start
    waits = PendingPods(3600.0, {"train": "train"})
    assert waits.timed_out(workflow, now=start + 60) is None
    said = waits.timed_out(workflow, now=start + seconds)
    assert said is not None
    assert message in said
    assert says in said
    assert waits.reasons(workflow, now=start) == [said]


def test_a_pod_that_queued_for_a_node_has_its_ten_minutes_for_the_image() -> None:
    node = {**NODE, "phase": "Pending", "message": "ErrImagePull: slow", "outputs": None}
    workflow = {"status": {"phase": "Running", "nodes": {"a": node}}}
    start, waits = pods(workflow)[0].start, PendingPods(36000.0, {})
    assert waits.timed_out(workflow, now=start + 3000) is None
    assert waits.timed_out(workflow, now=start + 3500) is None
    assert waits.timed_out(workflow, now=start + 3700) is not None


def test_pods_may_wait_for_one_another_as_long_as_they_like() -> None:
    queued = {**NODE, "phase": "Pending", "message": "Unschedulable: 0/1 nodes are available", "outputs": None}
    working = {**NODE, "id": "b", "phase": "Running", "inputs": {"parameters": [{"name": "job", "value": "3"}]}}
    workflow = {"status": {"phase": "Running", "nodes": {"a": queued, "b": working}}}
    start, waits = pods(workflow)[0].start, PendingPods(3600.0, {})
    assert waits.timed_out(workflow, now=start + 90000) is None
    starting = {**queued, "message": "PodInitializing"}
    assert waits.reasons({"status": {"phase": "Running", "nodes": {"a": starting}}}, now=start) == []


def test_a_workflow_that_no_controller_looks_at_is_said_to_be() -> None:
    waits = PendingPods(3600.0, {})
    workflow = {"metadata": {"name": "tiny"}}
    assert waits.reasons(workflow, now=0.0) == []
    assert waits.reasons(workflow, now=61.0) == [
        "no controller has looked at Workflow tiny yet; see `lamflow doctor --cluster`"
    ]
    assert waits.timed_out(workflow, now=4000.0) is not None
