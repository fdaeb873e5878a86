"""What a run needs of a cluster, one check each, and what to do about what is missing."""

from __future__ import annotations

import re
import time
import uuid
from collections.abc import Callable, Iterator
from email.utils import parsedate_to_datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal
from urllib.parse import urlparse

import yaml

from lamflow.cluster.api import Api, NotFoundError
from lamflow.cluster.check import Check
from lamflow.cluster.preflight import preflight
from lamflow.cluster.store import Store
from lamflow.cluster.workflows import ARGO
from lamflow.config.pods import Cluster, Pods
from lamflow.errors import ClusterError, LamflowError, OutageError

TESTED = ("3.7", "4.0", "4.1")
"""Versions of Argo Workflows whose schemas every manifest is checked against."""
OLDEST = (3, 6)
"""The oldest whose schemas take every manifest."""
SKEW = 60.0
"""s; more breaks the signatures of requests to an object store at five to fifteen minutes."""
VERBS = {
    ("argoproj.io", "workflows"): ("create", "get", "list", "watch", "patch", "delete"),
    ("", "pods"): ("get", "list"),
    ("", "events"): ("list",),
    ("", "pods/log"): ("get",),
}
"""What `submit`, `watch`, `stop`, `resume` and `logs` do."""


def examine(api: Api, argo: bool, cluster: Cluster, store: Callable[[], Store], pods: Pods) -> Iterator[Check]:
    """Every check, as soon as it is done. The first that finds no server, or no chart in the namespace, is the last.

    argo   `api` is Argo's server and not Kubernetes' own
    store  opens the object store
    """
    try:
        yield _reachable(api, argo)
    except LamflowError as error:
        yield Check("API", "bad", str(error), "see KUBECONFIG, cluster.context and cluster.argo_server")
        return
    checks = [_clock(api, argo)]
    if not argo:
        for found in preflight(api, cluster, pods):
            yield found
            if found.name.startswith("namespace") and found.state == "bad":
                return
        checks += [
            _definitions(api, cluster), _controller(api, cluster), _rights(api, cluster), _repository(api, cluster),
            _gpus(api, pods),
        ]  # fmt: skip
    for check in [*checks, _object_store(store)]:
        try:
            yield from check
        except LamflowError as error:
            yield Check("a check", "unknown", str(error), "the others go on")


def _reachable(api: Api, argo: bool) -> Check:
    found = api.request("GET", "/api/v1/version" if argo else "/version")
    return Check("API", "good", f"{api.name}, version {found.get('version') or found.get('gitVersion')}")


def _clock(api: Api, argo: bool) -> Iterator[Check]:
    before = time.time()
    said = api.header("/api/v1/version" if argo else "/version", "Date")
    if not said:
        return
    skew = abs(parsedate_to_datetime(said).timestamp() - (before + time.time()) / 2)
    state: Literal["good", "bad"] = "good" if skew < SKEW else "bad"
    yield Check("clock", state, f"{skew:.0f} s between here and the cluster", "set this machine's clock by NTP")


def _definitions(api: Api, cluster: Cluster) -> Iterator[Check]:
    fix = (
        f"install Argo Workflows: helm upgrade lamflow helm/lamflow --namespace {cluster.namespace} "
        "--reset-then-reuse-values --set argo-workflows.enabled=true"
    )
    try:
        there = {item["name"] for item in api.request("GET", ARGO)["resources"]}
    except NotFoundError:
        there = set()
    missing = {"workflows", "workflowtemplates", "workflowtaskresults"} - there
    says = f"missing: {', '.join(sorted(missing))}" if missing else "defined"
    yield Check("Argo's objects", "bad" if missing else "good", says, fix)


def _controller(api: Api, cluster: Cluster) -> Iterator[Check]:
    """The controller's version, by its image."""
    for namespace in dict.fromkeys([cluster.namespace, "argo", "argo-workflows"]):
        path = f"/apis/apps/v1/namespaces/{namespace}/deployments"
        try:
            found = api.request("GET", path).get("items") or []
        except ClusterError:
            continue
        for item in found:
            for container in item["spec"]["template"]["spec"]["containers"]:
                if "workflow-controller" in container["image"]:
                    yield _judged(container["image"], item, namespace)
                    return
    yield Check("Argo's controller", "unknown", f"not seen in {cluster.namespace} or argo",
                "it may live elsewhere; a run that stays without a status has no controller")  # fmt: skip


def _judged(image: str, deployment: dict[str, Any], namespace: str) -> Check:
    version = image.rsplit(":", 1)[-1].split("@", maxsplit=1)[0]
    ready = (deployment.get("status") or {}).get("readyReplicas", 0)
    says = f"{version} in namespace {namespace}, {ready} ready"
    if not ready:
        return Check(
            "Argo's controller", "bad", says, f"kubectl --namespace {namespace} logs deployment/workflow-controller"
        )
    numbers = re.match(r"v?(\d+)\.(\d+)", version)
    if numbers and (int(numbers[1]), int(numbers[2])) < OLDEST:
        return Check("Argo's controller", "bad", says, f"too old: upgrade it to one of {', '.join(TESTED)}")
    if not version.lstrip("v").startswith(TESTED):
        return Check("Argo's controller", "unknown", says, f"tested with {', '.join(TESTED)}")
    return Check("Argo's controller", "good", says)


def _rights(api: Api, cluster: Cluster) -> Iterator[Check]:
    refused = []
    for (group, resource), verbs in VERBS.items():
        name, _, sub = resource.partition("/")
        for verb in verbs:
            asked = {"namespace": cluster.namespace, "group": group, "resource": name, "subresource": sub, "verb": verb}
            answer = api.request("POST", "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", {
                "apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectAccessReview",
                "spec": {"resourceAttributes": asked},
            })  # fmt: skip
            if not answer.get("status", {}).get("allowed"):
                refused.append(f"{verb} {resource}")
    says = f"missing in {cluster.namespace}: {', '.join(refused)}" if refused else "enough to submit, watch and stop"
    fix = "have the chart's Role lamflow-user bound to you (its value `users`)"
    yield Check("your rights", "bad" if refused else "good", says, fix)


def _repository(api: Api, cluster: Cluster) -> Iterator[Check]:
    """Argo must write where the driver reads."""
    name, fix = (
        "artifact repository",
        "let the chart make it (artifactRepository.create), or set cluster.artifact_repository",
    )
    try:
        found = api.request("GET", f"/api/v1/namespaces/{cluster.namespace}/configmaps/artifact-repositories")
    except NotFoundError:
        yield Check(name, "bad", f"no ConfigMap artifact-repositories in {cluster.namespace}", fix)
        return
    except ClusterError:
        yield Check(name, "unknown", "you may not look", fix)
        return
    annotations = found["metadata"].get("annotations") or {}
    key = cluster.artifact_repository or annotations.get("workflows.argoproj.io/default-artifact-repository")
    if key not in found.get("data", {}):
        yield Check(name, "bad", f"it has no key {key!r}" if key else "it names no default", fix)
        return
    s3 = (yaml.safe_load(found["data"][key]) or {}).get("s3") or {}
    endpoint, bucket = str(s3.get("endpoint")), s3.get("bucket")
    says, here = f"bucket {bucket} at {endpoint}", urlparse(cluster.s3.endpoint).netloc
    if bucket == cluster.s3.bucket and _service(endpoint) == _service(here):
        yield Check(name, "good", says)
    else:
        fix = "make cluster.s3 and the artifact repository the same"
        yield Check(name, "bad", f"{says}, but cluster.s3 says bucket {cluster.s3.bucket} at {here}", fix)


def _service(netloc: str) -> str:
    """A host; names of Services inside the cluster may be longer or shorter."""
    host = netloc.split(":", maxsplit=1)[0]
    return host.split(".")[0] if host.endswith((".svc", ".svc.cluster.local")) or "." not in host else host


def _gpus(api: Api, pods: Pods) -> Iterator[Check]:
    """GPUs of the nodes, and how many no pod has asked for."""
    kinds = {pod.gpu_resource for pod in (pods.train, pods.explore, pods.label, pods.small)}
    every = (pods.train, pods.explore, pods.label, pods.small)
    wanted = {kind: max(pod.gpus for pod in every if pod.gpu_resource == kind) for kind in kinds}
    try:
        nodes = api.request("GET", "/api/v1/nodes").get("items") or []
        running = api.request("GET", "/api/v1/pods", query={"fieldSelector": "status.phase=Running"}).get("items") or []
    except ClusterError:
        yield Check("GPUs", "unknown", "you may not look at nodes", "ask who may")
        return
    for kind in sorted(kinds):
        have = {node["metadata"]["name"]: _amount(node["status"].get("allocatable"), kind) for node in nodes}
        used = sum(
            _amount((container.get("resources") or {}).get("requests"), kind)
            for pod in running
            for container in pod["spec"]["containers"]
        )
        total, most = sum(have.values()), max(have.values(), default=0)
        lacking = wanted.get(kind, 0) > most
        says = (
            f"{kind}: {total} on {sum(count > 0 for count in have.values())} of {len(nodes)} nodes, {total - used} free"
        )
        yield Check("GPUs", "bad" if lacking else "good", says,
                    f"no node has the {wanted.get(kind, 0)} that a pod asks for" if lacking else "")  # fmt: skip


def _amount(quantities: dict[str, str] | None, kind: str) -> int:
    return int((quantities or {}).get(kind, 0))


def _object_store(open_store: Callable[[], Store]) -> Iterator[Check]:
    """Put, get and delete a small object."""
    key, text = f"doctor-{uuid.uuid4().hex[:8]}", "lamflow doctor"
    try:
        store = open_store()
        store.check()
        with TemporaryDirectory() as folder:
            file = Path(folder) / "a"
            file.write_text(text, encoding="utf-8")
            store.put(key, file)
            try:
                store.get(key, Path(folder) / "b")
            finally:
                store.delete(key)
            good = (Path(folder) / "b").read_text(encoding="utf-8") == text
    except OutageError as error:
        yield Check("object store", "bad", str(error), "set AWS_ENDPOINT_URL to a way that leads there")
        return
    except LamflowError as error:
        yield Check("object store", "bad", str(error), "see the chart's notes for its credentials")
        return
    yield Check(
        "object store", "good" if good else "bad", f"put, got and deleted {store.url}/{key} at {store.endpoint}"
    )
