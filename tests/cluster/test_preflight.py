"""What would keep a run from starting is said before anything is stored."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from lamflow.cli import drive
from lamflow.cluster.api import connect
from lamflow.cluster.preflight import preflight, refuse_unfit
from lamflow.cluster.store import Store
from lamflow.config import load
from lamflow.config.pods import Cluster, ObjectStore, Pods
from lamflow.driver.cluster_runs import submit
from lamflow.errors import ClusterError
from tests.conftest import STUDY
from tests.stand_ins.kubernetes import CHART, Kubernetes, status
from tests.stand_ins.s3 import ACCESS, READER, READER_SECRET, S3Server

HERE = "/api/v1/namespaces/lamflow"
Answers = dict[str, Any]


def quota(**spec: Any) -> Answers:
    return {f"{HERE}/resourcequotas": (200, {"items": [{"metadata": {"name": "lab"}, "spec": spec}]})}


def nodes(*labels: dict[str, str]) -> Answers:
    return {"/api/v1/nodes": (200, {"items": [{"metadata": {"labels": found}} for found in labels]})}


PODS = Pods.model_validate({"train": {"gpus": 2, "memory": "32Gi", "node_selector": {"gpu": "a100"}}})
WRONG = [
    (dict.fromkeys(CHART, (404, status(404, "no"))), "account lamflow, lamflow-driver", "helm install"),
    (
        {f"{HERE}/serviceaccounts/lamflow-executor": (404, status(404, "no"))},
        "account lamflow-executor",
        "helm upgrade",
    ),
    (quota(hard={"pods": "0"}), "lab allows 0 pods", "have lab raised"),
    (quota(hard={"requests.nvidia.com/gpu": "1"}), "a pod of pods.train is 2", "pods.train"),
    (quota(hard={"limits.memory": "16Gi"}), "lab allows 16Gi limits.memory", "pods.train"),
    ({f"{HERE}/secrets/lamflow-s3": (404, status(404, "no"))}, "Secret lamflow-s3: missing", "cluster.s3.secret"),
    ({f"{HERE}/secrets/lamflow-s3-labels": (404, status(404, "no"))}, "lamflow-s3-labels: missing", "label_secret"),
    (nodes({"gpu": "h100"}, {}), "none of 2 has gpu=a100", "they have gpu: h100"),
]


@pytest.mark.parametrize(("answers", "says", "fix"), WRONG)
def test_what_would_wait_in_vain_is_refused(kubernetes: Kubernetes, answers: Answers, says: str, fix: str) -> None:
    kubernetes.answers.update(answers)
    with pytest.raises(ClusterError, match=says) as error:
        refuse_unfit(connect(Cluster())[0], Cluster(), PODS)
    assert fix in str(error.value)


def test_a_secret_of_a_registry_must_be_there(kubernetes: Kubernetes) -> None:
    cluster = Cluster(image_pull_secrets=["harbor"])
    with pytest.raises(ClusterError, match="Secret harbor: missing in lamflow; make it"):
        refuse_unfit(connect(cluster)[0], cluster, PODS)
    kubernetes.answers[f"{HERE}/secrets/harbor"] = (403, status(403, "secrets is forbidden"))
    refuse_unfit(connect(cluster)[0], cluster, PODS)


@pytest.mark.parametrize(
    "answers",
    [
        quota(hard={"pods": "1", "requests.nvidia.com/gpu": "2", "limits.memory": "32Gi", "secrets": "0"}),
        quota(hard={"pods": "0"}, scopes=["BestEffort"]),
        nodes({"gpu": "a100", "zone": "a"}),
        {"/api/v1/nodes": (403, status(403, "nodes is forbidden"))},
    ],
)
def test_what_fits_or_is_not_to_be_seen_is_taken(kubernetes: Kubernetes, answers: Answers) -> None:
    kubernetes.answers.update(answers)
    refuse_unfit(connect(Cluster())[0], Cluster(), PODS)


def test_nodes_that_are_made_on_demand_need_not_be_there(kubernetes: Kubernetes) -> None:
    kubernetes.answers.update(nodes({}))
    grows = Cluster(autoscaling=True)
    assert {check.state for check in preflight(connect(grows)[0], grows, PODS)} <= {"good", "unknown"}


@pytest.mark.parametrize(
    ("answers", "cluster", "says"),
    [
        *((answers, "", says) for answers, says, _ in (WRONG[0], WRONG[2], WRONG[5])),
        ({}, ", context: mars", "has no context mars; it has test"),
        ({}, ", namespace: elsewhere", "namespace elsewhere: missing there: account lamflow"),
    ],
)
def test_submit_refuses_before_anything_is_stored(  # noqa: PLR0917  fixtures
    kubernetes: Kubernetes, s3: S3Server, bucket: str, tmp_path: Path, answers: Answers, cluster: str, says: str
) -> None:
    kubernetes.answers.update(answers)
    file = tmp_path / "tiny.yaml"
    file.write_text(
        STUDY.replace("train: {parallel: 1}", "train: {parallel: 1, node_selector: {gpu: a100}}")
        + f"cluster: {{s3: {{endpoint: '{s3.endpoint}', bucket: {bucket}}}{cluster}}}\n"
    )
    with pytest.raises(ClusterError, match=says):
        submit(load(file), tmp_path / "run")
    with pytest.raises(ClusterError, match=says):
        drive.submit(file, tmp_path / "run", redo=False, drive_here=True)
    assert not (tmp_path / "run").exists()
    assert not kubernetes.workflows
    assert not list(s3.client.list_objects(bucket, recursive=True))
    assert not [line for line in kubernetes.requests if line.startswith("POST")]


@pytest.mark.parametrize(
    "keys", [(ACCESS, "wrong"), (READER, READER_SECRET)], ids=["wrong keys", "somebody else's bucket"]
)
def test_a_store_that_refuses_is_said_before_anything_is_stored(
    kubernetes: Kubernetes, s3: S3Server, bucket: str, tmp_path: Path, keys: tuple[str, str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    for name, value in zip(("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"), keys, strict=True):
        monkeypatch.setenv(name, value)
    file = tmp_path / "tiny.yaml"
    file.write_text(STUDY + f"cluster: {{s3: {{endpoint: '{s3.endpoint}', bucket: {bucket}}}}}\n")
    with pytest.raises(ClusterError, match=f"refuses .* bucket {bucket} is yours to read and write"):
        submit(load(file), tmp_path / "run")
    assert not (tmp_path / "run").exists()
    assert not kubernetes.workflows


def test_whether_a_store_can_be_written_leaves_nothing_there(s3: S3Server, bucket: str) -> None:
    Store(ObjectStore(endpoint=s3.endpoint, bucket=bucket), "lamflow/").check_writable()
    assert not list(s3.client.list_objects(bucket, recursive=True))
