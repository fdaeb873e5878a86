"""`lamflow doctor --cluster` against a stand-in for Kubernetes and a real object store."""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from lamflow.cluster.check import Check
from lamflow.config import load
from lamflow.driver.doctor import doctor
from tests.conftest import STUDY
from tests.stand_ins.argo import Argo
from tests.stand_ins.kubernetes import CHART, Kubernetes, status
from tests.stand_ins.s3 import S3Server

HERE = "/api/v1/namespaces/lamflow"
REVIEWS = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
REPOSITORY = f"{HERE}/configmaps/artifact-repositories"
DEPLOYMENTS = "/apis/apps/v1/namespaces/lamflow/deployments"


def healthy(endpoint: str, bucket: str) -> dict[str, Any]:
    """What a cluster answers that has everything."""
    s3 = {"endpoint": endpoint.removeprefix("http://"), "bucket": bucket}
    controller = {
        "spec": {"template": {"spec": {"containers": [{"image": "quay.io/argoproj/workflow-controller:v4.1.2"}]}}},
        "status": {"readyReplicas": 1},
    }
    node = {"metadata": {"name": "gpu-1"}, "status": {"allocatable": {"nvidia.com/gpu": "8"}}}
    pod = {"spec": {"containers": [{"resources": {"requests": {"nvidia.com/gpu": "3"}}}, {}]}}
    annotations = {"workflows.argoproj.io/default-artifact-repository": "lamflow"}
    return {
        "/version": (200, {"gitVersion": "v1.30.2"}),
        "/apis/argoproj.io/v1alpha1": (
            200, {"resources": [{"name": n} for n in ("workflows", "workflowtemplates", "workflowtaskresults")]},
        ),
        DEPLOYMENTS: (200, {"items": [controller]}),
        REVIEWS: (201, {"status": {"allowed": True}}),
        **CHART,
        f"{HERE}/resourcequotas": (200, {"items": []}),
        f"{HERE}/secrets/lamflow-s3": (403, status(403, "secrets is forbidden")),
        REPOSITORY: (200, {"metadata": {"annotations": annotations}, "data": {"lamflow": yaml.safe_dump({"s3": s3})}}),
        "/api/v1/nodes": (200, {"items": [node]}),
        "/api/v1/pods": (200, {"items": [pod]}),
    }  # fmt: skip


@pytest.fixture
def file(s3: S3Server, bucket: str, tmp_path: Path) -> Path:
    path = tmp_path / "tiny.yaml"
    path.write_text(STUDY + f"cluster: {{s3: {{endpoint: '{s3.endpoint}', bucket: {bucket}}}}}\n")
    return path


def found(file: Path, seconds: float = 60.0) -> dict[str, Check]:
    return {check.name: check for check in doctor(load(file), seconds)}


def test_a_healthy_cluster(kubernetes: Kubernetes, s3: S3Server, bucket: str, file: Path, tmp_path: Path) -> None:
    kubernetes.answers = healthy(s3.endpoint, bucket)
    (tmp_path / "pods").mkdir()
    Argo(kubernetes, s3, bucket, tmp_path / "pods", Path(os.environ["KUBECONFIG"]))
    checks = found(file)
    states = {name: check.state for name, check in checks.items()}
    assert states.pop("Secret lamflow-s3") == "unknown"
    assert set(states.values()) == {"good"}, checks
    assert "8 on 1 of 1 nodes, 5 free" in checks["GPUs"].says
    assert "v1.30.2" in checks["API"].says
    assert {"train pod", "explore pod", "label pod", "select pod"} <= set(states)
    assert not kubernetes.workflows, "it leaves nothing behind"
    assert not list(s3.client.list_objects(bucket, recursive=True))


def broken(path: str, answer: tuple[int, Any]) -> Callable[[dict[str, Any]], dict[str, Any]]:
    return lambda answers: {**answers, path: answer}


@pytest.mark.parametrize(
    ("change", "name", "says"),
    [
        (broken("/version", (401, status(401, "Unauthorized"))), "API", "log in again"),
        (broken("/apis/argoproj.io/v1alpha1", (404, status(404, "not found"))), "Argo's objects", "missing: workflows"),
        (broken(REVIEWS, (201, {"status": {"allowed": False}})), "your rights", "create workflows"),
        (
            broken(f"{HERE}/serviceaccounts/lamflow-driver", (404, status(404, "no"))),
            "namespace lamflow",
            "account lamflow-driver",
        ),
        (
            broken(
                f"{HERE}/resourcequotas",
                (200, {"items": [{"metadata": {"name": "lab"}, "spec": {"hard": {"pods": "0"}}}]}),
            ),
            "quotas",
            "lab allows 0 pods",
        ),
        (broken(f"{HERE}/secrets/lamflow-s3", (404, status(404, "no"))), "Secret lamflow-s3", "missing"),
        (broken(f"{HERE}/secrets/lamflow-s3-labels", (404, status(404, "no"))), "Secret lamflow-s3-labels", "missing"),
        (broken(REPOSITORY, (404, status(404, "no"))), "artifact repository", "no ConfigMap"),
        (broken(REPOSITORY, (200, {"metadata": {}, "data": {}})), "artifact repository", "names no default"),
        (broken("/api/v1/nodes", (200, {"items": []})), "GPUs", "0 on 0 of 0 nodes"),
    ],
)
def test_what_is_missing_is_named(  # noqa: PLR0917  fixtures
    kubernetes: Kubernetes, s3: S3Server, bucket: str, file: Path, change: Callable[..., Any], name: str, says: str
) -> None:
    file.write_text(
        file.read_text(encoding="utf-8").replace("train: {parallel: 1}", "train: {parallel: 1, gpus: 2}"),
        encoding="utf-8",
    )
    kubernetes.answers = change(healthy(s3.endpoint, bucket))
    check = found(file, 0.0)[name]
    assert check.state == "bad"
    assert says in check.says
    assert check.fix
    assert not kubernetes.workflows


def test_a_namespace_without_the_chart_is_the_last_that_is_said(kubernetes: Kubernetes, file: Path) -> None:
    kubernetes.answers = {"/version": (200, {"gitVersion": "v1.30.2"})}
    checks = found(file, 0.0)
    assert list(checks) == ["API", "namespace lamflow"]
    assert "helm install lamflow helm/lamflow --namespace lamflow" in checks["namespace lamflow"].fix


def test_a_store_that_no_service_leads_to_hides_nothing_else(
    kubernetes: Kubernetes, s3: S3Server, bucket: str, file: Path
) -> None:
    kubernetes.answers = healthy(s3.endpoint, bucket)
    file.write_text(file.read_text(encoding="utf-8").replace(s3.endpoint, "http://lamflow-s3:8333"), encoding="utf-8")
    checks = found(file, 0.0)
    assert checks["Argo's objects"].state == "good"
    assert "there is no Service lamflow-s3" in checks["object store"].says


@pytest.mark.parametrize(("version", "state"), [("v3.4.1", "bad"), ("v3.6.19", "unknown"), ("v4.1.2", "good")])
def test_an_argo_that_is_too_old(
    kubernetes: Kubernetes, s3: S3Server, bucket: str, file: Path, version: str, state: str
) -> None:
    answers = healthy(s3.endpoint, bucket)
    kubernetes.answers = json.loads(
        json.dumps(answers).replace("workflow-controller:v4.1.2", f"workflow-controller:{version}")
    )
    assert found(file, 0.0)["Argo's controller"].state == state


def test_argo_must_write_where_the_driver_reads(kubernetes: Kubernetes, s3: S3Server, bucket: str, file: Path) -> None:
    kubernetes.answers = healthy("http://minio.elsewhere:9000", bucket)
    assert "but cluster.s3 says bucket" in found(file, 0.0)["artifact repository"].says


def test_no_controller_is_seen_by_pods_that_do_not_begin(
    kubernetes: Kubernetes, s3: S3Server, bucket: str, file: Path
) -> None:
    kubernetes.answers = healthy(s3.endpoint, bucket)
    checks = found(file, 0.1)
    assert checks["train pod"].state == "bad"
    assert "no Argo controller" in checks["train pod"].fix
    assert not kubernetes.workflows


def test_a_store_that_is_missing(kubernetes: Kubernetes, s3: S3Server, bucket: str, file: Path) -> None:
    kubernetes.answers = healthy(s3.endpoint, bucket)
    file.write_text(file.read_text(encoding="utf-8").replace(bucket, "not-there"), encoding="utf-8")
    check = found(file, 0.0)["object store"]
    assert check.state == "bad"
    assert "no bucket not-there" in check.says


def test_a_refused_image_is_said_after_three_refusals_and_not_at_the_end(
    kubernetes: Kubernetes, s3: S3Server, bucket: str, file: Path
) -> None:
    refused = {
        "metadata": {"uid": "u", "annotations": {"workflows.argoproj.io/node-id": "label"}},
        "status": {"phase": "Pending", "containerStatuses": [
            {"name": "main", "state": {"waiting": {"reason": "ErrImagePull", "message": "not found"}}},
        ]},
    }  # fmt: skip
    event = {"involvedObject": {"uid": "u"}, "reason": "Failed", "message": "Failed to pull image: no", "count": 3}
    kubernetes.answers = {
        **healthy(s3.endpoint, bucket),
        f"{HERE}/pods": (200, {"items": [refused]}),
        f"{HERE}/events": (200, {"items": [event]}),
    }

    def carry_out() -> None:
        while not kubernetes.workflows:
            time.sleep(0.05)
        [(name, workflow)] = kubernetes.workflows.items()
        steps = [template["name"] for template in workflow["spec"]["templates"] if "script" in template]
        nodes = {
            step: {"type": "Pod", "templateName": step, "phase": "Pending" if step == "label" else "Succeeded"}
            for step in steps
        }
        kubernetes.update(name, lambda found: found.update(status={"phase": "Running", "nodes": nodes}))

    threading.Thread(target=carry_out, daemon=True).start()
    checks = found(file, 3600.0)
    assert checks["train pod"].state == "good"
    assert checks["label pod"].state == "bad"
    assert "ErrImagePull of container main: not found; no such image" in checks["label pod"].says
