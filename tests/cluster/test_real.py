"""Runs on a real Kubernetes with a real Argo: kind, k3s or any other. See `pytest --help` for the options.

    pytest -m cluster --kubeconfig ~/.kube/config --install-argo -s

It makes a namespace, installs the chart there, and takes images that lie on the nodes.
"""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from kubernetes import client
from kubernetes.config import new_client_from_config

from tests.conftest import ROOT, STUDY

pytestmark = [pytest.mark.cluster, pytest.mark.slow]
HELM = """
import json, sys
import helm_python as helm
ask = json.load(sys.stdin)
with helm.Config(kubeconfig_path=ask["kubeconfig"], namespace=ask["namespace"]) as config:
    config.install(ask["chart"], "lamflow", ask["values"], namespace=ask["namespace"], create_namespace=True, timeout=600)
"""
"""In a process of its own: Helm's library does not survive a fork."""


@dataclass(frozen=True)
class Real:
    """A namespace with the chart in it."""

    api: client.ApiClient
    namespace: str
    section: dict[str, Any]
    environment: dict[str, str]

    def lamflow(self, folder: Path, *words: str | Path, good: bool = True) -> str:
        """Run a command and print what it says."""
        argv = [sys.executable, "-m", "lamflow", *map(str, words)]
        print("\n$", "lamflow", *words, flush=True)
        done = subprocess.run(argv, cwd=folder, env=self.environment, capture_output=True, text=True, check=False)
        print(done.stdout, done.stderr, flush=True)
        assert not good or done.returncode == 0, done.stderr
        return done.stdout

    def study(self, folder: Path, text: str) -> Path:
        """A file with the cluster's section in it."""
        plain = {**yaml.safe_load(text), "cluster": self.section}
        file = folder / f"{plain['name']}.yaml"
        file.write_text(yaml.safe_dump(plain))
        return file

    def driver_pods(self, run: str) -> list[client.V1Pod]:
        core = client.CoreV1Api(self.api)
        selector = f"workflows.argoproj.io/workflow={run}"
        found: list[client.V1Pod] = core.list_namespaced_pod(self.namespace, label_selector=selector).items
        return found


@pytest.fixture(scope="module")
def real(request: pytest.FixtureRequest) -> Iterator[Real]:
    option = request.config.getoption
    kubeconfig, namespace = str(Path(option("--kubeconfig")).expanduser()), option("--namespace")
    host = option("--host-network")
    values: dict[str, dict[str, Any]] = {
        "seaweedfs": {"persistent": False, "hostNetwork": host},
        "argo-workflows": {"enabled": option("--install-argo"), "authMode": "server"},
        "workflowTemplate": {"image": f"{option('--registry')}/base:0.1.0"},
    }
    if option("--argo-version"):
        values["argo-workflows"]["version"] = option("--argo-version")
    ask = {"kubeconfig": kubeconfig, "namespace": namespace, "chart": str(ROOT / "helm" / "lamflow"), "values": values}
    done = subprocess.run(
        [sys.executable, "-c", HELM], input=json.dumps(ask), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    api = new_client_from_config(config_file=kubeconfig)
    core = client.CoreV1Api(api)
    try:
        wait_until_ready(core, namespace)
        secret = core.read_namespaced_secret("lamflow-s3", namespace).data
        environment = {
            **{key: value for key, value in os.environ.items() if not key.startswith(("AWS_", "ARGO_"))},
            "KUBECONFIG": kubeconfig,
            "AWS_ACCESS_KEY_ID": base64.b64decode(secret["access_key"]).decode(),
            "AWS_SECRET_ACCESS_KEY": base64.b64decode(secret["secret_key"]).decode(),
        }
        section = {"namespace": namespace, "registry": option("--registry"), "host_network": host, "pending": 900.0}
        yield Real(api, namespace, section, environment)
    finally:
        if not option("--keep"):
            core.delete_namespace(namespace)


def wait_until_ready(core: client.CoreV1Api, namespace: str) -> None:
    """Every pod of the chart is ready. Fails after ten minutes with what they say."""
    deadline = time.monotonic() + 600
    while True:
        pods = core.list_namespaced_pod(namespace).items
        states = {pod.metadata.name: conditions(pod).get("Ready") for pod in pods}
        if states and all(state == "True" for state in states.values()):
            print("ready:", ", ".join(states))
            return
        assert time.monotonic() < deadline, states
        time.sleep(2)


def conditions(pod: client.V1Pod) -> dict[str, str]:
    return {item.type: item.status for item in pod.status.conditions or []}


SMALL_PODS = """
pods:
  train: {memory: 2Gi, cpu: 500m}
  explore: {memory: 2Gi, cpu: 500m, parallel: 3}
  label: {memory: 1Gi, cpu: 200m, parallel: 3}
  small: {memory: 1Gi, cpu: 200m}
"""


def test_a_small_run_whose_driver_is_deleted(real: Real, tmp_path: Path) -> None:
    file = real.study(tmp_path, STUDY.split("pods:")[0] + SMALL_PODS)
    real.lamflow(tmp_path, "doctor", "--cluster", file)
    real.lamflow(tmp_path, "submit", file)
    core = client.CoreV1Api(real.api)

    def lose() -> None:
        deadline = time.monotonic() + 600
        while time.monotonic() < deadline:
            for pod in real.driver_pods("tiny"):
                if pod.status.phase == "Running":
                    time.sleep(20)
                    print("deleting", pod.metadata.name, flush=True)
                    core.delete_namespaced_pod(pod.metadata.name, real.namespace, grace_period_seconds=0)
                    return
            time.sleep(1)

    thread = threading.Thread(target=lose)
    thread.start()
    said = real.lamflow(tmp_path, "watch", "runs/tiny")
    thread.join()
    assert "the budget of 2 iterations is used up" in said
    assert "ended" in real.lamflow(tmp_path, "status", "runs/tiny")
    assert "3 models" in real.lamflow(tmp_path, "fetch", "runs/tiny", "models")
    assert "frames in deepmd/npy" in real.lamflow(tmp_path, "fetch", "runs/tiny", "data")
    assert "iteration 2" in real.lamflow(tmp_path, "logs", "runs/tiny")


def deletes(real: Real, run: str, step: str, times: int) -> threading.Thread:
    """Delete a running pod of a step so many times, one after the other, a while after it has begun."""
    core, selector = client.CoreV1Api(real.api), f"lamflow/run={run},lamflow/step={step}"

    def work() -> None:
        deadline, deleted = time.monotonic() + 1200, set[str]()
        while time.monotonic() < deadline and len(deleted) < times:
            for pod in core.list_namespaced_pod(real.namespace, label_selector=selector).items:
                if pod.status.phase == "Running" and pod.metadata.name not in deleted and len(deleted) < times:
                    print("deleting", pod.metadata.name, flush=True)
                    deleted.add(pod.metadata.name)
                    core.delete_namespaced_pod(pod.metadata.name, real.namespace)
            time.sleep(0.5)
        assert len(deleted) == times

    thread = threading.Thread(target=work)
    thread.start()
    return thread


def test_pods_that_are_deleted_again_and_again_cost_nothing(real: Real, tmp_path: Path) -> None:
    text = STUDY.split("pods:")[0].replace("name: tiny", "name: spot").replace("iterations: 2", "iterations: 1")
    pods = SMALL_PODS.replace("train: {memory: 2Gi", "train: {retries: 0, memory: 2Gi")
    real.lamflow(tmp_path, "submit", real.study(tmp_path, text + pods))
    thread = deletes(real, "spot", "train", 3)
    said = real.lamflow(tmp_path, "watch", "runs/spot")
    thread.join()
    assert said.count("was lost and is tried again") >= 3
    assert "the budget of 1 iterations is used up" in said


def test_what_an_iteration_does_is_seen_while_it_does_it(real: Real, tmp_path: Path) -> None:
    text = STUDY.split("pods:")[0].replace("name: tiny", "name: seen").replace("iterations: 2", "iterations: 1")
    real.lamflow(tmp_path, "submit", real.study(tmp_path, text + SMALL_PODS))
    said = real.lamflow(tmp_path, "watch", "runs/seen")
    lines = [line for line in said.splitlines() if "iteration 1 · " in line]
    steps = [line.split()[0] for line in lines if line.endswith(("begins", "done"))]
    assert len(set(steps)) > 2, "not all at the end"
    assert "trying again" not in said, "connections that were kept open are not spoken of"
    log = real.lamflow(tmp_path, "logs", "runs/seen", "--iteration", "1")
    assert "job 1 of 1 begins; inputs: input" in log
    assert "held-out force RMSE" in log
    assert "frames in" in log


def test_a_run_that_cannot_start_says_why(real: Real, tmp_path: Path) -> None:
    text = STUDY.split("pods:")[0].replace("name: tiny", "name: unstarted")
    file = real.study(tmp_path, text + "\npods: {driver: {image: 'lamflow/not-there:0'}}\n")
    plain = yaml.safe_load(file.read_text())
    plain["cluster"]["pending"] = 30.0
    file.write_text(yaml.safe_dump(plain))
    real.lamflow(tmp_path, "submit", file)
    argv = [sys.executable, "-m", "lamflow", "watch", "runs/unstarted"]
    done = subprocess.run(argv, cwd=tmp_path, env=real.environment, capture_output=True, text=True, check=False)
    print(done.stdout, done.stderr)
    assert done.returncode == 2
    assert "lamflow/not-there:0" in done.stdout
    assert "the run does not begin" in done.stderr
    real.lamflow(tmp_path, "stop", "runs/unstarted")


def test_memory_that_is_not_enough_is_said_or_grown(real: Real, tmp_path: Path) -> None:
    small = STUDY.split("pods:")[0].replace("name: tiny", "name: greedy").replace("iterations: 2", "iterations: 1")
    pods = SMALL_PODS.replace("explore: {memory: 2Gi", "explore: {memory: 60Mi")
    real.lamflow(tmp_path, "submit", real.study(tmp_path, small + pods))
    argv = [sys.executable, "-m", "lamflow", "watch", "runs/greedy"]
    done = subprocess.run(argv, cwd=tmp_path, env=real.environment, capture_output=True, text=True, check=False)
    print(done.stdout, done.stderr)
    assert "killed for memory twice: it asked for 60Mi and used all of it" in done.stderr
    grown = pods.replace("explore: {memory: 60Mi", "explore: {memory: 60Mi, memory_max: 2Gi")
    real.lamflow(tmp_path, "submit", real.study(tmp_path, small + grown))
    assert "the budget of 1 iterations is used up" in real.lamflow(tmp_path, "watch", "runs/greedy")


def test_an_image_that_is_not_there_is_said(real: Real, tmp_path: Path) -> None:
    text = STUDY.split("pods:")[0].replace("name: tiny", "name: lost")
    file = real.study(tmp_path, text + "\npods: {label: {image: 'lamflow/not-there:0'}}\n")
    said = real.lamflow(tmp_path, "doctor", "--cluster", file, good=False)
    assert "label pod" in said
    assert "pods.label.image" in said.replace("\n", "")


def test_the_quickstart(real: Real, tmp_path: Path) -> None:
    text = (ROOT / "workflows" / "dpgen" / "quickstart.yaml").read_text()
    plain = yaml.safe_load(text)
    plain["heldout"]["data"] = [str(ROOT / "workflows" / "dpgen" / name) for name in plain["heldout"]["data"]]
    plain["pods"] = yaml.safe_load(SMALL_PODS)["pods"]
    file = real.study(tmp_path, yaml.safe_dump(plain))
    real.lamflow(tmp_path, "submit", file)
    said = real.lamflow(tmp_path, "watch", "runs/quickstart")
    assert "converged" in said
    report = json.loads((tmp_path / "runs" / "quickstart" / "report.json").read_text())
    errors = [item["force_rmse"] for item in report["iterations"] if item["force_rmse"]]
    print("held-out force RMSE, eV/Å:", errors)
    assert errors[-1] < 0.06
