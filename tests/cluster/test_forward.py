"""The object store inside a cluster is reached through Kubernetes' API alone."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from lamflow.cluster.forward import forwarded
from lamflow.cluster.store import Store, is_inside
from lamflow.config.pods import Cluster, ObjectStore
from lamflow.errors import ClusterError
from tests.stand_ins.kubernetes import Kubernetes
from tests.stand_ins.s3 import S3Server

HERE = "/api/v1/namespaces/lamflow"


@pytest.fixture(autouse=True)
def fresh() -> None:
    forwarded.cache_clear()


def answers(kubernetes: Kubernetes, s3: S3Server, ready: str = "True") -> None:
    kubernetes.answers = {
        f"{HERE}/services/lamflow-s3": (
            200, {"spec": {"selector": {"app": "s3"}, "ports": [{"port": 8333, "targetPort": "s3"}]}},
        ),
        f"{HERE}/pods": (200, {"items": [{
            "metadata": {"name": "lamflow-s3-0"}, "status": {"conditions": [{"type": "Ready", "status": ready}]},
            "spec": {"containers": [{"ports": [{"name": "s3", "containerPort": 8333}]}]},
        }]}),
    }  # fmt: skip
    kubernetes.forwards = {"lamflow-s3-0": int(s3.endpoint.rsplit(":", 1)[1])}


def test_a_store_inside_the_cluster_is_used_from_outside(
    kubernetes: Kubernetes, s3: S3Server, bucket: str, tmp_path: Path
) -> None:
    answers(kubernetes, s3)
    store = Store.of(Cluster(s3=ObjectStore(bucket=bucket)), "run/")
    assert store.endpoint.startswith("http://127.0.0.1:")
    assert store.endpoint != s3.endpoint
    files = [tmp_path / f"{number}.bin" for number in range(6)]
    for file in files:
        file.write_bytes(os.urandom(300_000))
    store.check()
    assert len(store.push(tmp_path, files)) == 6
    assert len(store.pull(tmp_path / "back", lambda _: True)) == 6
    assert all((tmp_path / "back" / file.name).read_bytes() == file.read_bytes() for file in files)


def test_a_connection_that_the_store_closes_is_seen_to_be_closed(kubernetes: Kubernetes, s3: S3Server) -> None:
    answers(kubernetes, s3)
    server = socket.create_server(("127.0.0.1", 0))
    kubernetes.forwards = {"lamflow-s3-0": server.getsockname()[1]}
    url = forwarded("http://lamflow-s3:8333", "lamflow", None, True)
    here = socket.create_connection(("127.0.0.1", int(url.rsplit(":", 1)[1])), timeout=20)
    there, _ = server.accept()
    there.sendall(b"once")
    assert here.recv(10) == b"once"
    there.close()
    assert here.recv(10) == b"", "the end of one side is the end of the other"
    server.close()
    here.close()


def test_another_pod_is_found_when_one_is_gone(
    kubernetes: Kubernetes, s3: S3Server, bucket: str, tmp_path: Path
) -> None:
    answers(kubernetes, s3)
    store = Store.of(Cluster(s3=ObjectStore(bucket=bucket)), "run/")
    store.check()
    kubernetes.forwards = {"lamflow-s3-1": kubernetes.forwards["lamflow-s3-0"]}
    [item] = kubernetes.answers[f"{HERE}/pods"][1]["items"]
    item["metadata"]["name"] = "lamflow-s3-1"
    store.pool.clear()
    store.check()
    assert any("lamflow-s3-1" in request for request in kubernetes.requests)


def test_what_is_missing_is_said(kubernetes: Kubernetes, s3: S3Server, bucket: str) -> None:
    with pytest.raises(ClusterError, match="no Service lamflow-s3 in namespace lamflow"):
        Store.of(Cluster(), "run/")
    answers(kubernetes, s3, ready="False")
    with pytest.raises(ClusterError, match="no pod is ready behind Service lamflow-s3"):
        Store.of(Cluster(), "run/")


@pytest.mark.parametrize(
    ("url", "inside"),
    [
        ("http://lamflow-s3:8333", True),
        ("http://lamflow-s3.lamflow.svc:8333", True),
        ("http://lamflow-s3.lamflow.svc.cluster.local:8333", True),
        ("https://s3.example.org", False),
        ("http://127.0.0.1:8333", False),
        ("http://localhost:8333", False),
    ],
)
def test_which_addresses_lie_inside(url: str, inside: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    assert is_inside(url) is inside
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.0.0.1")
    assert is_inside(url) is False
