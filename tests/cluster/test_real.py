"""Runs on a real Kubernetes with a real Argo: kind, k3s or any other. See `pytest --help` for the options.

    pytest -m "cluster and not full" --kubeconfig ~/.kube/config --install-argo -s     # some minutes; without "and not full", an hour

It makes a namespace, installs the chart there, and takes images that lie on the nodes.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import random
import re
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml
from kubernetes import client
from kubernetes.config import new_client_from_config

from lamflow.batch.step_state import StepState
from tests.conftest import ROOT, STUDY
from tests.stand_ins.slurm import SlurmCluster
from tests.stand_ins.ssh import ssh_server

pytestmark = [pytest.mark.cluster, pytest.mark.slow]
HELM = """
import json, sys
import helm_python as helm
ask = json.load(sys.stdin)
with helm.Config(kubeconfig_path=ask["kubeconfig"], namespace=ask["namespace"]) as config:
    if ask["remove"]:
        config.uninstall("lamflow", timeout=600)
    elif any(release["name"] == "lamflow" for release in config.list()):
        config.upgrade(ask["chart"], "lamflow", ask["values"], namespace=ask["namespace"], timeout=600)
    else:
        config.install(ask["chart"], "lamflow", ask["values"], namespace=ask["namespace"], create_namespace=True, timeout=600)
"""
"""In a process of its own: Helm's library does not survive a fork. A release that is there is upgraded."""


@dataclass(frozen=True)
class Real:
    """A namespace with the chart in it."""

    api: client.ApiClient
    namespace: str
    section: dict[str, Any]
    environment: dict[str, str]
    values: dict[str, Any]
    gpus: int = 0

    def helm(self, *, remove: bool = False, **changes: dict[str, Any]) -> None:
        """Install or upgrade the chart, or remove it; `changes` of values by section, with _ for -."""
        values = dict(self.values)
        for key, change in changes.items():
            values[key.replace("_", "-")] = {**values[key.replace("_", "-")], **change}
        ask = {
            "kubeconfig": self.environment["KUBECONFIG"], "namespace": self.namespace, "remove": remove,
            "chart": str(ROOT / "helm" / "lamflow"), "values": values,
        }  # fmt: skip
        words = [sys.executable, "-c", HELM]
        done = subprocess.run(words, input=json.dumps(ask), capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr

    def lamflow(self, folder: Path, *words: str | Path, good: bool = True) -> str:
        """Run a command and print what it says."""
        argv = [sys.executable, "-m", "lamflow", *map(str, words)]
        print("\n$", "lamflow", *words, flush=True)
        done = subprocess.run(argv, cwd=folder, env=self.environment, capture_output=True, text=True, check=False)
        print(done.stdout, done.stderr, flush=True)
        assert not good or done.returncode == 0, done.stderr
        assert "the report was not published" not in done.stdout
        return done.stdout

    def study(self, folder: Path, text: str) -> Path:
        """A file with the cluster's section in it."""
        plain = {**yaml.safe_load(text), "cluster": self.section}
        for pod in (plain.get("pods", {}).get(name) for name in ("train", "explore")):
            if pod is not None and self.gpus:
                pod["gpus"] = self.gpus
        file = folder / f"{plain['name']}.yaml"
        file.write_text(yaml.safe_dump(plain))
        return file

    def driver_pods(self, run: str) -> list[client.V1Pod]:
        core = client.CoreV1Api(self.api)
        selector = f"workflows.argoproj.io/workflow={run}"
        found: list[client.V1Pod] = core.list_namespaced_pod(self.namespace, label_selector=selector).items
        return found


ADA = "ada"
"""An account with the chart's Role for people and no other right."""


@pytest.fixture(scope="module")
def real(request: pytest.FixtureRequest) -> Iterator[Real]:
    option = request.config.getoption
    kubeconfig, namespace = str(Path(option("--kubeconfig")).expanduser()), option("--namespace")
    host = option("--host-network")
    values: dict[str, Any] = {
        "seaweedfs": {"persistent": bool(option("--storage-class")), "hostNetwork": host},
        "argo-workflows": {"enabled": option("--install-argo"), "authMode": "server"},
        "workflowTemplate": {"image": f"{option('--registry')}/base:0.1.0"},
    }
    if option("--storage-class"):
        values["seaweedfs"] |= {"storageClass": option("--storage-class"), "size": "2Gi"}
    if option("--s3-endpoint"):
        keys = {"accessKey": os.environ["AWS_ACCESS_KEY_ID"], "secretKey": os.environ["AWS_SECRET_ACCESS_KEY"]}
        values |= {"s3": {"endpoint": option("--s3-endpoint"), **keys}, "seaweedfs": {"enabled": False}}
    if option("--argo-version"):
        values["argo-workflows"]["version"] = option("--argo-version")
    api = new_client_from_config(config_file=kubeconfig)
    core = client.CoreV1Api(api)
    section = {"namespace": namespace, "registry": option("--registry"), "host_network": host, "pending": 900.0}
    values["users"] = [{"kind": "User", "name": f"system:serviceaccount:{namespace}:{ADA}"}]
    strict = {} if host else {"pod-security.kubernetes.io/enforce": "restricted"}
    core.create_namespace({"metadata": {"name": namespace, "labels": strict}})
    made = Real(api, namespace, section, {"KUBECONFIG": kubeconfig}, values)
    made.helm()
    try:
        wait_until_ready(core, namespace)
        if option("--s3-endpoint"):
            section["s3"] = {"endpoint": option("--s3-endpoint")}
        gpus = option("--gpus")
        yield Real(api, namespace, section, credentials(core, namespace, kubeconfig), values, gpus)
    finally:
        if not option("--keep"):
            core.delete_namespace(namespace)


def credentials(core: client.CoreV1Api, namespace: str, kubeconfig: str) -> dict[str, str]:
    """The environment of commands, with the keys that the namespace's Secret has now."""
    secret = core.read_namespaced_secret("lamflow-s3", namespace).data
    return {
        **{key: value for key, value in os.environ.items() if not key.startswith(("AWS_", "ARGO_"))},
        "KUBECONFIG": kubeconfig,
        "AWS_ACCESS_KEY_ID": base64.b64decode(secret["access_key"]).decode(),
        "AWS_SECRET_ACCESS_KEY": base64.b64decode(secret["secret_key"]).decode(),
    }


def wait_until_ready(core: client.CoreV1Api, namespace: str) -> None:
    """Every pod of the chart is ready. Fails after ten minutes with what they say."""
    deadline = time.monotonic() + 600
    while True:
        pods = core.list_namespaced_pod(namespace, label_selector="!workflows.argoproj.io/workflow").items
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


LABEL = """
from ase.calculators.emt import EMT
from ase.io import read, write
atoms = read("POSCAR")
atoms.calc = EMT()
atoms.get_stress()
write("labeled.extxyz", atoms)
"""


def test_labels_of_one_run_are_there_for_another(real: Real, tmp_path: Path) -> None:
    """Pods that label have keys of the label cache alone."""
    plain = yaml.safe_load(STUDY.split("pods:")[0] + SMALL_PODS)
    plain |= {"label": {"engine": "custom", "command": ["python", "-c", LABEL]}, "budget": {"iterations": 1}}
    cached = []
    for name in ("paid", "again"):
        real.lamflow(tmp_path, "submit", real.study(tmp_path, yaml.safe_dump({**plain, "name": name})))
        real.lamflow(tmp_path, "watch", f"runs/{name}")
        start = json.loads((tmp_path / "runs" / name / "iterations" / "000" / "result.json").read_text())
        cached.append(start["merged"]["cached"])
    assert cached == [0, 10]


def deletes(real: Real, run: str, step: str, times: int) -> threading.Thread:
    """Delete a running pod of a step so many times, one after the other."""
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


@pytest.mark.full
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


@pytest.mark.full
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


@pytest.mark.full
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


@pytest.mark.full
def test_a_deepmd_training_that_is_deleted_goes_on_from_its_checkpoint(real: Real, tmp_path: Path) -> None:
    plain = yaml.safe_load((ROOT / "workflows" / "dpgen" / "quickstart.yaml").read_text())
    plain |= {"name": "kept-training", "budget": {"iterations": 1}, "pods": yaml.safe_load(SMALL_PODS)["pods"]}
    plain["heldout"]["data"] = [str(ROOT / "workflows" / "dpgen" / name) for name in plain["heldout"]["data"]]
    plain["train"] |= {"models": 2, "steps": 30000, "checkpoint_every": 100}
    real.lamflow(tmp_path, "submit", real.study(tmp_path, yaml.safe_dump(plain)))
    core, told = client.CoreV1Api(real.api), dict[str, list[int]]()
    deadline, deleted = time.monotonic() + 1200, ""
    while time.monotonic() < deadline and not any(
        len(steps) > 1 for pod, steps in told.items() if deleted not in {"", pod}
    ):
        selector = "lamflow/run=kept-training,lamflow/step=train"
        for pod in core.list_namespaced_pod(real.namespace, label_selector=selector).items:
            name = pod.metadata.name
            with contextlib.suppress(client.ApiException):  # it has not begun
                log = core.read_namespaced_pod_log(name, real.namespace, container="main")
                told[name] = [int(step) for step in re.findall(r"train-0  model 0: step (\d+)", log)]
            if not deleted and told.get(name, [0])[-1:] > [400]:
                print("deleting", name, told[name], flush=True)
                core.delete_namespaced_pod(name, real.namespace)
                deleted = name
        time.sleep(3)
    print(told)
    assert min(step for pod, steps in told.items() if pod != deleted for step in steps) >= 300
    real.lamflow(tmp_path, "stop", "runs/kept-training")


def outcome(real: Real | None, folder: Path, name: str) -> tuple[list[tuple[str, str]], list[float]]:
    """Hash and origin of every frame that a run has labeled, and its errors, iteration by iteration."""
    words = ["fetch", f"runs/{name}", "data", "--to", str(folder / f"data-{name}")]
    if real is not None:
        real.lamflow(folder, *words)
    else:
        subprocess.run([sys.executable, "-m", "lamflow", *words], cwd=folder, check=True)
    manifest = json.loads((folder / f"data-{name}" / "manifest.json").read_text())
    report = json.loads((folder / "runs" / name / "report.json").read_text())
    return (
        sorted((frame["hash"], json.dumps(frame["origin"], sort_keys=True)) for frame in manifest["frames"]),
        [item["force_rmse"] for item in report["iterations"]],
    )


def disturb(real: Real, runs: list[str], times: int, ended: threading.Event) -> list[str]:
    """Delete so many running pods of the controller, of drivers and of steps, one after the other; what was deleted."""
    core, rng, deleted = client.CoreV1Api(real.api), random.Random(7), list[str]()
    while len(deleted) < times and not ended.wait(rng.uniform(3.0, 12.0)):
        pods = core.list_namespaced_pod(real.namespace, field_selector="status.phase=Running").items
        mine = [pod for pod in pods if (pod.metadata.labels or {}).get("lamflow/run") in runs]
        controllers = [pod for pod in pods if (pod.metadata.labels or {}).get("app") == "workflow-controller"]
        among = controllers if controllers and len(deleted) % 7 == 6 else mine
        if among:
            name, grace = rng.choice(among).metadata.name, rng.choice([0, 30])
            print("deleting", name, f"with {grace} s to end", flush=True)
            with contextlib.suppress(client.ApiException):  # it has ended meanwhile
                core.delete_namespaced_pod(name, real.namespace, grace_period_seconds=grace)
                deleted.append(name)
    return deleted


@pytest.mark.full
def test_two_runs_that_lose_twenty_pods_end_as_they_do_on_a_laptop(real: Real, tmp_path: Path) -> None:
    names, ended, deleted = ["one", "two"], threading.Event(), list[str]()
    here = tmp_path / "here"
    here.mkdir()
    for seed, name in enumerate(names):
        text = STUDY.split("pods:")[0].replace("name: tiny", f"name: {name}").replace("seed: 3", f"seed: {seed}")
        (here / f"{name}.yaml").write_text(text)
        subprocess.run([sys.executable, "-m", "lamflow", "run", f"{name}.yaml"], cwd=here, check=True)
        real.lamflow(tmp_path, "submit", real.study(tmp_path, text + SMALL_PODS))
    thread = threading.Thread(target=lambda: deleted.extend(disturb(real, names, 20, ended)))
    thread.start()
    try:
        for name in names:
            assert "the budget of 2 iterations is used up" in real.lamflow(tmp_path, "watch", f"runs/{name}")
    finally:
        ended.set()
        thread.join()
    print(len(deleted), "pods were deleted")
    for name in names:
        assert outcome(real, tmp_path, name) == outcome(None, here, name)
    assert len(deleted) == 20


def test_a_person_with_the_role_of_the_chart_can_do_what_people_do(real: Real, tmp_path: Path) -> None:
    core = client.CoreV1Api(real.api)
    core.create_namespaced_service_account(real.namespace, {"metadata": {"name": ADA}})
    asked = {"spec": {"expirationSeconds": 3600, "audiences": None}}
    token = core.create_namespaced_service_account_token(ADA, real.namespace, asked).status.token
    theirs = yaml.safe_load(Path(real.environment["KUBECONFIG"]).read_text(encoding="utf-8"))
    theirs["users"] = [{"name": user["name"], "user": {"token": token}} for user in theirs["users"]]
    (tmp_path / "kubeconfig").write_text(yaml.safe_dump(theirs))
    person = replace(real, environment={**real.environment, "KUBECONFIG": str(tmp_path / "kubeconfig")})
    text = STUDY.split("pods:")[0].replace("name: tiny", "name: adas").replace("iterations: 2", "iterations: 1")
    file = person.study(tmp_path, text + SMALL_PODS)
    person.lamflow(tmp_path, "doctor", "--cluster", file)
    person.lamflow(tmp_path, "submit", file)
    time.sleep(20)
    person.lamflow(tmp_path, "stop", "runs/adas")
    person.lamflow(tmp_path, "resume", "runs/adas")
    assert "the budget of 1 iterations is used up" in person.lamflow(tmp_path, "watch", "runs/adas")
    assert "held-out force RMSE" in person.lamflow(tmp_path, "logs", "runs/adas", "--iteration", "1")
    assert "3 models" in person.lamflow(tmp_path, "fetch", "runs/adas", "models")
    with pytest.raises(client.ApiException, match="Forbidden"):
        core_of(tmp_path / "kubeconfig").list_namespaced_secret(real.namespace)


def alike(value: Any) -> Any:
    """A value with numbers to six digits: other jobs relax other structures together, and rounding differs."""
    if isinstance(value, dict):
        return {key: alike(item) for key, item in value.items()}
    if isinstance(value, list):
        return [alike(item) for item in value]
    return pytest.approx(value, rel=1e-6, abs=1e-6) if isinstance(value, float) else value


def core_of(kubeconfig: Path) -> client.CoreV1Api:
    return client.CoreV1Api(new_client_from_config(config_file=str(kubeconfig)))


ALIKE = {
    "properties": ("properties.json", ["results"]),
    "cleaning": ("card.json", ["counts", "audits", "train", "heldout"]),
}
"""What a kind of study leaves, and what of it is the same everywhere."""


@pytest.mark.full
@pytest.mark.parametrize("kind", ALIKE)
def test_studies_of_other_kinds_end_as_they_do_on_a_laptop(real: Real, tmp_path: Path, kind: str) -> None:
    for place in ("here", "there"):
        shutil.copytree(ROOT / "workflows" / kind, tmp_path / place)
    plain = yaml.safe_load((tmp_path / "here" / "tiny.yaml").read_text())
    words = [sys.executable, "-m", "lamflow", "run", "tiny.yaml"]
    subprocess.run(words, cwd=tmp_path / "here", check=True)
    file = real.study(tmp_path / "there", yaml.safe_dump(plain))
    real.lamflow(tmp_path / "there", "submit", file)
    real.lamflow(tmp_path / "there", "watch", f"runs/{plain['name']}")
    run = f"runs/{plain['name']}"
    document, keys = ALIKE[kind]
    here, there = (json.loads((tmp_path / place / run / document).read_text()) for place in ("here", "there"))
    for key in keys:
        assert there[key] == alike(here[key])


def test_a_run_from_argos_ui(real: Real) -> None:
    """The UI submits the template with a text; here Kubernetes' API does."""
    workflows = client.CustomObjectsApi(real.api)
    place = {"group": "argoproj.io", "version": "v1alpha1", "namespace": real.namespace}
    template = workflows.get_namespaced_custom_object(**place, plural="workflowtemplates", name="lamflow")
    given = yaml.safe_load(template["spec"]["arguments"]["parameters"][0]["value"])
    text = STUDY.split("pods:")[0].replace("name: tiny", "name: ui").replace("iterations: 2", "iterations: 1")
    plain = {**yaml.safe_load(text + SMALL_PODS), "cluster": given["cluster"]}
    made = workflows.create_namespaced_custom_object(
        **place, plural="workflows",
        body={
            "apiVersion": "argoproj.io/v1alpha1", "kind": "Workflow", "metadata": {"generateName": "lamflow-"},
            "spec": {
                "workflowTemplateRef": {"name": "lamflow"},
                "arguments": {"parameters": [{"name": "study", "value": yaml.safe_dump(plain)}]},
            },
        },
    )  # fmt: skip
    deadline, phases = time.monotonic() + 900, dict[str, str]()
    while not all(phases.get(name) in ("Succeeded", "Failed", "Error") for name in ("ui", made["metadata"]["name"])):
        assert time.monotonic() < deadline, phases
        items = workflows.list_namespaced_custom_object(**place, plural="workflows")["items"]
        phases = {item["metadata"]["name"]: item.get("status", {}).get("phase", "") for item in items}
        assert phases.get(made["metadata"]["name"]) not in ("Failed", "Error"), phases
        time.sleep(2)
    assert phases["ui"] == "Succeeded"
    driver = workflows.get_namespaced_custom_object(**place, plural="workflows", name="ui")
    said = [node["outputs"]["parameters"] for node in driver["status"]["nodes"].values() if node["type"] == "Pod"][-1]
    assert {item["name"]: item["value"] for item in said}["state"] == "ended"


def is_of(process: psutil.Process, uid: str) -> bool:
    """A process of this machine belongs to the pod with this uid."""
    with contextlib.suppress(OSError):
        groups = Path(f"/proc/{process.pid}/cgroup").read_text(encoding="utf-8")
        return uid in groups or uid.replace("-", "_") in groups
    return False


SLOW_LABEL = f"import time; time.sleep(15){LABEL}"


def test_an_iteration_goes_on_while_a_label_is_late(real: Real, tmp_path: Path) -> None:
    """A pod that labels for iteration 1 stands still until iteration 2 trains; then the driver loses its pod, too."""
    core, workflows = client.CoreV1Api(real.api), client.CustomObjectsApi(real.api)
    text = STUDY.replace("limit: 6", "limit: 3\n  enough: 0.6").replace("copies: 10", "copies: 4")
    plain = yaml.safe_load(text.split("pods:")[0] + SMALL_PODS)
    plain |= {"name": "late", "label": {"engine": "custom", "command": ["python", "-c", SLOW_LABEL]}}
    plain["budget"], plain["pods"]["label"]["work_per_job"] = {"iterations": 3}, 1
    real.lamflow(tmp_path, "submit", real.study(tmp_path, yaml.safe_dump(plain)))
    held: list[psutil.Process] = []

    def running(iteration: int, step: str) -> list[client.V1Pod]:
        selector, deadline = (
            f"lamflow/run=late,lamflow/iteration={iteration},lamflow/step={step}",
            time.monotonic() + 900,
        )
        while time.monotonic() < deadline:
            pods = core.list_namespaced_pod(real.namespace, label_selector=selector).items
            found = [pod for pod in pods if pod.status.phase == "Running"]
            if found:
                return found
            time.sleep(0.5)
        raise AssertionError(selector)

    def hold() -> None:
        uid, deadline = running(1, "label")[0].metadata.uid, time.monotonic() + 15
        while not held and time.monotonic() < deadline:
            held.extend(each for each in psutil.process_iter() if "python" in each.name() and is_of(each, uid))
        for process in held:
            process.suspend()
        if held:
            running(2, "train")
            for pod in real.driver_pods("late"):
                core.delete_namespaced_pod(pod.metadata.name, real.namespace, grace_period_seconds=0)
        for process in held:
            process.resume()

    thread = threading.Thread(target=hold)
    thread.start()
    said = real.lamflow(tmp_path, "watch", "runs/late")
    thread.join()
    if not held:
        pytest.skip("the pods' processes are not on this machine, or not ours to stop")
    assert "the budget of 3 iterations is used up" in said
    records = [
        json.loads((tmp_path / "runs" / "late" / "iterations" / f"{number:03d}" / "result.json").read_text())
        for number in range(4)
    ]
    assert (len(records[1]["selected"]["chosen"]), records[1]["late"], records[2]["merged_late"]["added"]) == (3, 1, 1)
    assert records[3]["training_frames"] == records[0]["training_frames"] + sum(
        len(item["selected"]["chosen"]) for item in records[1:3]
    )
    labeled = workflows.get_namespaced_custom_object(
        "argoproj.io", "v1alpha1", real.namespace, "workflows", "late-001-2"
    )
    tries = [node for node in labeled["status"]["nodes"].values() if node["type"] == "Pod"]
    assert [node["phase"] for node in tries] == ["Succeeded"] * 3, "nothing runs twice"
    assert "label" in real.lamflow(tmp_path, "logs", "runs/late", "--iteration", "1"), "of all its Workflows"


@pytest.mark.full
def test_an_object_store_that_hangs_costs_time_and_nothing_else(real: Real, tmp_path: Path) -> None:
    core = client.CoreV1Api(real.api)
    uid = core.read_namespaced_pod("lamflow-s3-0", real.namespace).metadata.uid
    servers = [process for process in psutil.process_iter(["name"]) if process.name() == "weed" and is_of(process, uid)]
    if not servers:
        pytest.skip("the pods' processes are not on this machine, or not ours to stop")
    text = STUDY.split("pods:")[0].replace("name: tiny", "name: hung")
    real.lamflow(tmp_path, "submit", real.study(tmp_path, text + SMALL_PODS))

    def hang() -> None:
        time.sleep(60)
        for process in servers:
            print("stopping", process.pid, flush=True)
            process.suspend()
        time.sleep(180)
        for process in servers:
            with contextlib.suppress(psutil.NoSuchProcess):  # Kubernetes has restarted it
                process.resume()
        print("going on", flush=True)

    thread = threading.Thread(target=hang)
    thread.start()
    said = real.lamflow(tmp_path, "watch", "runs/hung")
    thread.join()
    assert "the budget of 2 iterations is used up" in said
    here = tmp_path / "here"
    here.mkdir()
    (here / "hung.yaml").write_text(text)
    subprocess.run([sys.executable, "-m", "lamflow", "run", "hung.yaml"], cwd=here, check=True)
    assert outcome(real, tmp_path, "hung") == outcome(None, here, "hung"), (
        "who asks for objects then waits, and that is all"
    )


@pytest.mark.full
def test_an_upgrade_leaves_a_run_alone_and_removing_the_chart_leaves_workflows(real: Real, tmp_path: Path) -> None:
    core, workflows = client.CoreV1Api(real.api), client.CustomObjectsApi(real.api)
    text = STUDY.split("pods:")[0].replace("name: tiny", "name: kept").replace("iterations: 2", "iterations: 1")
    real.lamflow(tmp_path, "submit", real.study(tmp_path, text + SMALL_PODS))
    keys = core.read_namespaced_secret("lamflow-s3", real.namespace).data
    real.helm(argo_workflows={"requeueTime": "3s"})  # the controller is another afterwards
    assert core.read_namespaced_secret("lamflow-s3", real.namespace).data == keys
    assert "the budget of 1 iterations is used up" in real.lamflow(tmp_path, "watch", "runs/kept")
    real.helm(remove=True)
    kept = workflows.list_namespaced_custom_object("argoproj.io", "v1alpha1", real.namespace, "workflows")["items"]
    assert {"kept", "kept-000", "kept-001"} <= {item["metadata"]["name"] for item in kept}
    real.helm()
    wait_until_ready(core, real.namespace)
    real.environment.update(credentials(core, real.namespace, real.environment["KUBECONFIG"]))  # they are new
    if real.values["seaweedfs"].get("persistent"):
        assert "ended" in real.lamflow(tmp_path, "status", "runs/kept")
        assert "frames" in real.lamflow(tmp_path, "fetch", "runs/kept", "data", "--to", str(tmp_path / "again"))


def test_labels_go_to_a_slurm_that_the_drivers_pod_reaches_over_ssh(
    real: Real, slurm: SlurmCluster, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Train, explore, select and merge are pods, labels are jobs of a Slurm; the driver loses its pod meanwhile."""
    address = next(
        (item.address for node in client.CoreV1Api(real.api).list_node().items for item in node.status.addresses
         if item.type == "InternalIP" and item.address in addresses_here()), None
    )  # fmt: skip
    if address is None or not Path("/usr/sbin/sshd").is_file():
        pytest.skip("no node of the cluster is this machine, or it has no sshd")
    core = client.CoreV1Api(real.api)
    with ssh_server(tmp_path_factory.mktemp("login"), address) as login:
        secret = login.secret(tmp_path / "secret")
        core.create_namespaced_secret(
            real.namespace,
            {
                "metadata": {"name": "lamflow-ssh"},
                "stringData": {file.name: file.read_text() for file in secret.iterdir()},
            },
        )
        plain = yaml.safe_load(STUDY.split("pods:")[0] + SMALL_PODS)
        plain["name"], plain["pods"]["label"] = "hybrid", {"memory": "1Gi", "parallel": 3, "site": "hpc"}
        plain["sites"] = {
            "hpc": {
                "system": "slurm", "host": login.host, "port": login.port, "root": str(tmp_path / "scratch"), "poll": 2,
                "python": sys.executable, "before": [f"export PYTHONPATH={ROOT}"],
                "login": [f"export SLURM_CONF={slurm.folder}/slurm.conf"],
            }
        }  # fmt: skip
        file = real.study(tmp_path, yaml.safe_dump(plain))
        plain = yaml.safe_load(file.read_text())
        plain["cluster"]["ssh_secret"] = "lamflow-ssh"  # noqa: S105  a name
        file.write_text(yaml.safe_dump(plain))
        real.lamflow(tmp_path, "submit", file)

        def lose() -> None:
            slurm.wait(lambda: bool(slurm.ask("squeue", "-h", "-t", "running")), 900)
            for pod in real.driver_pods("hybrid"):
                print("deleting", pod.metadata.name, flush=True)
                core.delete_namespaced_pod(pod.metadata.name, real.namespace, grace_period_seconds=0)

        thread = threading.Thread(target=lose)
        thread.start()
        said = real.lamflow(tmp_path, "watch", "runs/hybrid")
        thread.join()
    assert "the budget of 2 iterations is used up" in said
    folders = sorted((tmp_path / "scratch").glob("hybrid-*/work/batch/*/label"))
    standing = [StepState.of_step(folder) for folder in folders]
    assert len(standing) == 2
    assert all(len(tried) == 1 for its in standing for tried in its.tries.values()), "nothing runs twice"
    here = tmp_path / "here"
    here.mkdir()
    (here / "hybrid.yaml").write_text(STUDY.replace("name: tiny", "name: hybrid"))
    subprocess.run([sys.executable, "-m", "lamflow", "run", "hybrid.yaml"], cwd=here, check=True)
    assert outcome(real, tmp_path, "hybrid") == outcome(None, here, "hybrid")


def addresses_here() -> set[str]:
    """Addresses of this machine."""
    return {item.address for found in psutil.net_if_addrs().values() for item in found}
