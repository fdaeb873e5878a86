"""What in a namespace would keep every run from starting, found before anything is stored."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import Any

from kubernetes.utils.quantity import parse_quantity

from lamflow.cluster.api import Api, NotFoundError
from lamflow.cluster.check import Check
from lamflow.config.pods import Cluster, Pod, Pods
from lamflow.errors import ClusterError


def preflight(api: Api, cluster: Cluster, pods: Pods) -> Iterator[Check]:
    """The namespace has what the chart makes, its quotas have room for each kind of pod, and there are nodes for each.

    A namespace without the chart is the last that is looked at. Secrets are looked for by name alone.
    """
    for name, look in ((f"namespace {cluster.namespace}", _namespace), ("quotas", _quotas), ("nodes", _nodes)):
        try:
            found = look(api, cluster, pods)
        except ClusterError:
            found = Check(name, "unknown", "you may not look", "ask who may")
        yield found
        if look is _namespace and found.state == "bad":
            return
    for secret, fix in _secrets(cluster).items():
        yield _exists(api, cluster.namespace, secret, fix)


def refuse_unfit(api: Api, cluster: Cluster, pods: Pods) -> None:
    """Raise ClusterError with the first thing that a run would wait for in vain."""
    for check in preflight(api, cluster, pods):
        if check.state == "bad":
            raise ClusterError(f"{check.name}: {check.says}; {check.fix}")


def _namespace(api: Api, cluster: Cluster, pods: Pods) -> Check:
    del pods
    wanted = [cluster.service_account, cluster.driver_service_account, cluster.executor_service_account]
    missing = [name for name in wanted if name and not _has_account(api, cluster.namespace, name)]
    name = f"namespace {cluster.namespace}"
    if not missing:
        return Check(name, "good", "it has the accounts that the chart makes")
    says = f"missing there: account {', '.join(missing)}"
    if missing == [cluster.executor_service_account]:
        fix = f"helm upgrade lamflow helm/lamflow --namespace {cluster.namespace} --reset-then-reuse-values makes it"
    else:
        fix = (
            f"install the chart there: helm install lamflow helm/lamflow --namespace {cluster.namespace} "
            "--create-namespace, or name the namespace that has it in cluster.namespace"
        )
    return Check(name, "bad", says, fix)


def _has_account(api: Api, namespace: str, name: str) -> bool:
    try:
        api.request("GET", f"/api/v1/namespaces/{namespace}/serviceaccounts/{name}")
    except NotFoundError:
        return False
    return True


def _secrets(cluster: Cluster) -> dict[str, str]:
    """The Secrets that pods of a run need, and what to do where one is missing."""
    wanted = {
        cluster.s3.secret: "the chart makes it, or name yours in cluster.s3.secret",
        cluster.s3.label_secret: "helm upgrade makes it unless the chart has s3.existingSecret; else name yours, or "
        f"{cluster.s3.secret} again, in cluster.s3.label_secret",
    }  # fmt: skip
    if cluster.executor_service_account:
        token = f"{cluster.executor_service_account}.service-account-token"
        wanted[token] = "the chart makes it, or set cluster.executor_service_account to null"
    if cluster.ssh_secret:
        wanted[cluster.ssh_secret] = (
            f"kubectl create secret generic {cluster.ssh_secret} --from-file=identity=KEY --from-file=known_hosts=FILE "
            "makes it"
        )
    pull = "make it (kubectl create secret docker-registry), or take it out of cluster.image_pull_secrets"
    return {**wanted, **dict.fromkeys(cluster.image_pull_secrets, pull)}


def _exists(api: Api, namespace: str, secret: str, fix: str) -> Check:
    name = f"Secret {secret}"
    try:
        api.request("GET", f"/api/v1/namespaces/{namespace}/secrets/{secret}")
    except NotFoundError:
        return Check(name, "bad", f"missing in {namespace}", fix)
    except ClusterError:
        return Check(name, "unknown", "you may not look", fix)
    return Check(name, "good", "there")


def _quotas(api: Api, cluster: Cluster, pods: Pods) -> Check:
    """No quota is smaller than what one pod of a kind asks for; those for pods of some scope only are left out."""
    found = api.request("GET", f"/api/v1/namespaces/{cluster.namespace}/resourcequotas").get("items") or []
    for quota in (item for item in found if not {"scopes", "scopeSelector"} & set(item["spec"])):
        hard: Mapping[str, str] = quota["spec"].get("hard") or {}
        for section, pod in _sections(pods):
            for resource, need in _needs(pod).items():
                if resource in hard and need > parse_quantity(hard[resource]):
                    name = quota["metadata"]["name"]
                    says = f"ResourceQuota {name} allows {hard[resource]} {resource} in all"
                    says += f", and a pod of pods.{section} is {need:f}"
                    return Check("quotas", "bad", says, f"ask for less under pods.{section}, or have {name} raised")
    return Check("quotas", "good", "room for a pod of each kind" if found else "none")


def _needs(pod: Pod) -> dict[str, Decimal]:
    """What a pod counts for, under the names that quotas have."""
    cpu, memory = parse_quantity(pod.cpu or str(pod.threads)), parse_quantity(pod.memory)
    return {
        "pods": Decimal(1), "count/pods": Decimal(1), "count/workflows.argoproj.io": Decimal(1),
        "cpu": cpu, "requests.cpu": cpu, "memory": memory, "requests.memory": memory, "limits.memory": memory,
        "requests.ephemeral-storage": parse_quantity(pod.disk or "0"),
        f"requests.{pod.gpu_resource}": Decimal(pod.gpus),
    }  # fmt: skip


def _nodes(api: Api, cluster: Cluster, pods: Pods) -> Check:
    """For each selector there is a node that has its labels."""
    if cluster.autoscaling:
        return Check("nodes", "good", "made when pods ask for them (cluster.autoscaling)")
    nodes = [item["metadata"].get("labels") or {} for item in api.request("GET", "/api/v1/nodes").get("items") or []]
    for section, pod in _sections(pods):
        wanted = pod.node_selector.items()
        if wanted and not any(wanted <= labels.items() for labels in nodes):
            says = f"none of {len(nodes)} has {_pairs(pod.node_selector)}, which pods.{section}.node_selector asks for"
            fix = (
                f"they have {_there(nodes, pod.node_selector)}; where nodes are made on demand set cluster.autoscaling"
            )
            return Check("nodes", "bad", says, fix)
    return Check("nodes", "good", f"{len(nodes)}, with the labels that pods ask for")


def _there(nodes: list[dict[str, Any]], wanted: Mapping[str, str]) -> str:
    """What the nodes have under the keys of a selector."""
    values = {key: sorted({labels[key] for labels in nodes if key in labels}) for key in wanted}
    return "; ".join(f"{key}: {', '.join(found) or 'nothing'}" for key, found in values.items())


def _pairs(labels: Mapping[str, str]) -> str:
    return ", ".join(f"{key}={value}" for key, value in labels.items())


def _sections(pods: Pods) -> list[tuple[str, Pod]]:
    """Kinds of steps that are pods: those without a site."""
    found = [(name, getattr(pods, name)) for name in type(pods).model_fields]
    return [(name, pod) for name, pod in found if pod.site is None]
