"""Which tries are made again, and when to try no more."""

from __future__ import annotations

from typing import Any

import pytest

from lamflow.cluster.losses import Tries, end_of, has_ended
from lamflow.cluster.status import Job, pods
from lamflow.config.pods import Pod, TrainPod
from lamflow.errors import ClusterError, EngineError, NodeError


def tried(number: int, start: int, phase: str, message: str = "", code: int | None = None, job: int = 0) -> Any:
    return {
        "type": "Pod", "templateName": "train", "phase": phase, "message": message,
        "startedAt": f"2026-01-01T00:{start:02d}:00Z", "id": f"{job}-{number}",
        "inputs": {"parameters": [{"name": "job", "value": str(job)}]},
        "outputs": {} if code is None else {"exitCode": str(code)},
    }  # fmt: skip


def workflow(*nodes: Any) -> Any:
    return {
        "metadata": {"name": "tiny-001"},
        "status": {"phase": "Running", "nodes": {node["id"]: node for node in nodes}},
    }


def of(pod: Pod, kept: Any = lambda _: None) -> Tries:
    return Tries({"train": pod}, kept)


@pytest.mark.parametrize(
    ("phase", "message", "code", "end"),
    [
        ("Error", "pod deleted", None, "lost"),
        ("Failed", "The node was low on resource: memory.", None, "lost"),
        ("Failed", "main: Error (exit code 143)", 143, "lost"),
        ("Failed", "main: Error (exit code 137)", 137, "lost"),
        ("Failed", "main: OOMKilled (exit code 137)", 137, "killed"),
        ("Failed", "main: Error (exit code 1): NodeError: the disk is full", 1, "failed"),
        ("Error", "init: Error (exit code 64): failed to load artifact", None, "failed"),
        ("Failed", "Pod was active on the node longer than the specified deadline", 143, "failed"),
        ("Failed", "main: Error (exit code 2): EngineError: no", 2, "refused"),
        ("Failed", "main: Error (exit code 139)", 139, "refused"),
    ],
)
def test_how_a_try_ended(phase: str, message: str, code: int | None, end: str) -> None:
    [pod] = pods(workflow(tried(0, 0, phase, message, code)))
    assert end_of(pod) == end


def test_losses_are_counted_apart_from_failures_and_since_the_last_checkpoint() -> None:
    kept: dict[Job, int] = {("train", 0): 0}
    tries, nodes = of(TrainPod(losses=2, retries=0), lambda job: kept[job]), []
    for number in range(6):
        nodes.append(tried(number, number, "Error", "pod deleted"))
        kept["train", 0] = number  # each try has kept something newer
        assert not tries.final(workflow(*nodes))
    for number in range(6, 8):
        nodes.append(tried(number, number, "Failed", "main: Error (exit code 143)", 143))
        assert bool(tries.final(workflow(*nodes))) is (number == 7)
    [error] = tries.final(workflow(*nodes)).values()
    assert isinstance(error, ClusterError)
    assert "lost 3 times without a newer checkpoint" in str(error)


def test_a_finished_job_is_progress_of_all() -> None:
    tries = of(Pod(losses=1))
    nodes = [tried(0, 0, "Error", "pod deleted"), tried(0, 0, "Running", job=1)]
    assert not tries.final(workflow(*nodes))
    nodes += [tried(1, 1, "Error", "pod deleted"), tried(0, 0, "Succeeded", job=1)]
    assert not tries.final(workflow(*nodes))
    nodes.append(tried(2, 2, "Error", "pod deleted"))
    assert not tries.final(workflow(*nodes))
    nodes.append(tried(3, 3, "Error", "pod deleted"))
    assert tries.final(workflow(*nodes))


def test_a_failure_is_tried_again_as_often_as_it_may() -> None:
    tries, message = of(Pod(retries=1)), "main: Error (exit code 1): NodeError: the disk is full"
    nodes = [tried(0, 0, "Failed", message, 1), tried(1, 1, "Error", "pod deleted")]
    assert not tries.final(workflow(*nodes))
    nodes.append(tried(2, 2, "Failed", message, 1))
    [error] = tries.final(workflow(*nodes)).values()
    assert isinstance(error, NodeError)
    assert str(error) == "Workflow tiny-001, train 0: the disk is full"


def test_an_error_of_a_code_is_known_at_once() -> None:
    nodes = [
        tried(0, 0, "Failed", "main: Error (exit code 2): EngineError: no force", 2),
        tried(0, 0, "Running", job=1),
    ]
    tries = of(Pod())
    tries.idle = 0.0
    final = tries.final(workflow(*nodes))
    assert isinstance(final["train", 0], EngineError)
    assert not tries.is_over(workflow(*nodes), final, now=0.0), "another job works"
    nodes[1]["phase"] = "Succeeded"
    assert tries.is_over(workflow(*nodes), final, now=0.0)
    nodes[1]["inputs"]["parameters"].append({"name": "jobs", "value": "3"})
    assert not tries.is_over(workflow(*nodes), final, now=10.0), "a third one may be about to begin"
    assert tries.is_over(workflow(*nodes), final, now=20.0)
    tries.completed = {"train": [2]}
    assert tries.is_over(workflow(*nodes), final, now=10.0)
    assert tries.news(workflow(*nodes) | {"spec": {"shutdown": "Terminate"}}) == []
    assert tries.news(workflow(*nodes)) == ["train 0 cannot succeed: main: Error (exit code 2): EngineError: no force"]
    assert tries.news(workflow(*nodes)) == []


@pytest.mark.parametrize(("most", "says"), [(None, "asked for 4Gi and used all"), ("8Gi", "again with 8Gi")])
def test_memory_that_is_not_enough_twice_is_said(most: str | None, says: str) -> None:
    nodes = [tried(0, 0, "Failed", "main: OOMKilled (exit code 137)", 137)]
    tries = of(Pod(memory_max=most))
    assert not tries.final(workflow(*nodes))
    nodes.append(tried(1, 1, "Failed", "main: OOMKilled (exit code 137)", 137))
    [error] = tries.final(workflow(*nodes)).values()
    assert isinstance(error, EngineError)
    assert says in str(error)


def test_a_driver_that_cannot_go_on_has_ended_before_argo_says_so() -> None:
    assert not has_ended(workflow(tried(0, 0, "Running")))
    assert not has_ended(workflow(tried(0, 0, "Failed", "main: Error (exit code 143)", 143)))
    assert has_ended(workflow(tried(0, 0, "Error", "pod deleted"), tried(1, 1, "Failed", "exit code 2", 2)))
    assert has_ended({"status": {"phase": "Succeeded"}})
