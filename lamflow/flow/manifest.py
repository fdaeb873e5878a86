"""What dflow cannot say: the parts of an Argo manifest between its graph and a cluster that is run with care."""

from __future__ import annotations

import re
from importlib.metadata import version
from typing import Any

from dflow import Workflow

from lamflow.config.engines import engine_named
from lamflow.config.pods import Pod
from lamflow.config.schema import Config

KINDS = {"train": "train", "explore": "explore", "select": "small", "label": "label", "merge": "small"}
"""Section of `pods:` for each step."""
TRY_AGAIN = "lastRetry.status == 'Error' || asInt(lastRetry.exitCode) in [1, 137, 143]"
"""Errors of the cluster (eviction, lost node), of the machine (exit status 1), killed for memory, terminated. An error
of a code exits with 2 and is not tried again."""
MARGIN = 300
"""s that Argo gives a pod beyond its own timeout, to fetch its image and to say what happened."""


class LamWorkflow(Workflow):  # type: ignore[misc]  # dflow has no types
    """A dflow Workflow that goes out complete: apiVersion and kind, labels, lifetime, retries, resources, security."""

    def __init__(self, config: Config, number: int, **kwargs: Any) -> None:
        super().__init__(namespace=config.cluster.namespace, **kwargs)
        self.lamflow, self.number = config, number

    def convert_to_argo(self, reuse_step: Any = None) -> dict[str, Any]:
        """The manifest as plain data."""
        made = super().convert_to_argo(reuse_step=reuse_step)
        raw: dict[str, Any] = self.api_instance.api_client.sanitize_for_serialization(made)
        return complete(raw, self.lamflow, self.number)


def complete(raw: dict[str, Any], config: Config, number: int) -> dict[str, Any]:
    """dflow's manifest of iteration `number` with everything that it lacks."""
    cluster = config.cluster
    labels = {
        "app.kubernetes.io/name": "lamflow",
        "app.kubernetes.io/instance": config.name,
        "app.kubernetes.io/version": version("lamflow"),
        "app.kubernetes.io/managed-by": "lamflow",
        "lamflow/run": config.name,
        "lamflow/iteration": str(number),
    }
    spec = raw["spec"]
    spec.update(
        serviceAccountName=cluster.service_account,
        archiveLogs=True,
        ttlStrategy={"secondsAfterCompletion": int(cluster.keep)},
        podGC={"strategy": "OnPodSuccess", "deleteDelayDuration": "60s"},
        podMetadata={"labels": labels},
        securityContext={
            "runAsNonRoot": True, "runAsUser": cluster.user_id, "fsGroup": cluster.user_id,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        volumes=[{"name": "tmp", "emptyDir": {}}],
    )  # fmt: skip
    if cluster.artifact_repository:
        spec["artifactRepositoryRef"] = {"key": cluster.artifact_repository}
    if cluster.image_pull_secrets:
        spec["imagePullSecrets"] = [{"name": name} for name in cluster.image_pull_secrets]
    if cluster.priority_class:
        spec["podPriorityClassName"] = cluster.priority_class
    for template in spec["templates"]:
        if "script" in template:
            _complete_pod(template, config, number)
    title = f"{config.name} · iteration {number}" if number else f"{config.name} · start"
    metadata = {
        "name": raw["metadata"]["name"],
        "namespace": cluster.namespace,
        "labels": labels,
        "annotations": {"workflows.argoproj.io/title": title},
    }
    return {"apiVersion": "argoproj.io/v1alpha1", "kind": "Workflow", "metadata": metadata, "spec": spec}


def image_of(config: Config, step: str) -> str:
    """The image of a step's pods: the user's, or the engine's."""
    pod: Pod = getattr(config.pods, KINDS[step])
    if pod.image:
        return pod.image
    names = {
        "train": engine_named(config.train.engine).image,
        "explore": engine_named(config.train.engine).image,  # the committee is evaluated where the trajectories are
        "label": engine_named(config.label.engine).image,
    }
    return f"{config.cluster.registry}/{names.get(step, 'base')}:{version('lamflow')}"


def _complete_pod(template: dict[str, Any], config: Config, number: int) -> None:
    step = re.sub(r"-.*$", "", template["name"])
    pod: Pod = getattr(config.pods, KINDS[step])
    mounts = [{"name": "tmp", "mountPath": "/tmp"}]  # noqa: S108  a volume of the pod's own
    volumes: list[dict[str, Any]] = []
    for index, volume in enumerate(pod.volumes):
        name, claim = f"volume-{index}", {"claimName": volume.claim, "readOnly": volume.read_only}
        volumes.append({"name": name, "persistentVolumeClaim": claim})
        mounts.append({"name": name, "mountPath": volume.path, "readOnly": volume.read_only})  # type: ignore[dict-item]
    if pod.shared_memory:
        volumes.append({"name": "shm", "emptyDir": {"medium": "Memory", "sizeLimit": pod.shared_memory}})
        mounts.append({"name": "shm", "mountPath": "/dev/shm"})  # noqa: S108
    script = template["script"]
    script.update(
        image=image_of(config, step),
        imagePullPolicy=config.cluster.image_pull_policy,
        resources=_resources(pod),
        volumeMounts=mounts,
        securityContext={
            "allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]},
        },
        env=[{"name": key, "value": value} for key, value in {"HOME": "/tmp", **pod.environment}.items()],  # noqa: S108
    )  # fmt: skip
    template["activeDeadlineSeconds"] = int(pod.timeout) + MARGIN
    template["retryStrategy"] = {
        "limit": str(pod.retries),
        "retryPolicy": "Always",
        "expression": TRY_AGAIN,
        "backoff": {"duration": "30s", "factor": "2", "maxDuration": "30m"},
        "affinity": {"nodeAntiAffinity": {}},
    }
    which = "" if step in ("select", "merge") else " {{inputs.parameters.pod}} of {{inputs.parameters.pods}}"
    template["metadata"] = {
        "labels": {"lamflow/step": step},
        "annotations": {"workflows.argoproj.io/display-name": f"iteration {number} · {step}{which}"},
    }
    optional = {
        "volumes": volumes, "nodeSelector": pod.node_selector, "tolerations": pod.tolerations, "affinity": pod.affinity
    }  # fmt: skip
    template.update({key: value for key, value in optional.items() if value})


def _resources(pod: Pod) -> dict[str, dict[str, str]]:
    cpu = pod.cpu or str(pod.threads)
    gpus = {pod.gpu_resource: str(pod.gpus)} if pod.gpus else {}
    return {"requests": {"cpu": cpu, "memory": pod.memory, **gpus}, "limits": {"memory": pod.memory, **gpus}}
