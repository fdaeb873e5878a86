"""What dflow cannot say: the parts of an Argo manifest between its graph and a cluster that is run with care."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from importlib.metadata import version
from typing import Any

import dflow
from dflow import Workflow

from lamflow.config.installed import engine_named
from lamflow.config.pods import S3_MOUNT, SSH_MOUNT, Cluster, Pod
from lamflow.config.schema import DataStudy
from lamflow.data.graph import Graph, Step
from lamflow.data.provenance import IMAGE
from lamflow.errors import InputError

TRY_AGAIN = "lastRetry.status == 'Error' || asInt(lastRetry.exitCode) in [-1, 1, 64, 137, 143]"
"""Errors of the cluster (lost node; eviction, which leaves no exit status or -1), of Argo's executor (64), of the
machine (1), killed for memory, terminated. An error of a code exits with 2 and is not tried again."""
LOST_ONLY = TRY_AGAIN.replace(" 1, 64,", "")
"""The same without failures of the machine and of the executor."""
TRIES, PAUSE = "10000", "30s"
"""Losses are no failures, so the driver counts what Argo tries again; see cluster/losses.py. Argo takes no account of
the backoff where there is no limit."""
MEBIBYTES_100 = 100 * 2**20
START_SECONDS = 3600
"""s that Argo gives a pod beyond its own timeout. Argo counts from when the pod has a node, a job from when its work
begins; between them an image of many GB and the inputs are fetched, and after them outputs are stored."""
HELD = {"deepmd-cuda": {"tools"}}
"""Images that hold what others hold beside `base`."""
EMPTY_GROUPS = ("none", "emptyDir", "nodeAntiAffinity")
"""Keys whose empty group says something."""
DRIVER = Step(name="driver", op="", writes={}, resources="driver")
"""The step of a run's Workflow."""
RUN, ITERATION, STEP, STORE = "lamflow/run", "lamflow/iteration", "lamflow/step", "lamflow/store"
"""Labels and annotation that tie a Workflow to its run; `cluster/workflows.py` looks for them."""
STAGE = "lamflow/stage"
"""Label with the stage of a round, as far as a label may say it."""
Labels = dict[str, str]


def offline() -> None:
    """Have dflow build for a cluster, without asking one and without any credential that it may know.

    Pods have theirs from Argo's artifact repository.
    """
    dflow.config.update(mode="default", token=None)
    dflow.s3_config.update(access_key="", secret_key="", prefix="")


class LamWorkflow(Workflow):  # type: ignore[misc]  # dflow has no types
    """A dflow Workflow that goes out complete: apiVersion and kind, labels, lifetime, retries, resources, security.

    graph  of the round; None for the Workflow of the run, whose pod is the driver
    """

    def __init__(self, study: DataStudy, graph: Graph | None, **kwargs: Any) -> None:
        super().__init__(namespace=study.cluster.namespace, **kwargs)
        self.study, self.graph = study, graph

    def convert_to_argo(self, reuse_step: Any = None) -> dict[str, Any]:
        """The manifest as plain data."""
        made = super().convert_to_argo(reuse_step=reuse_step)
        raw: dict[str, Any] = self.api_instance.api_client.sanitize_for_serialization(made)
        return complete(raw, self.study, self.graph)


def complete(raw: dict[str, Any], config: DataStudy, graph: Graph | None) -> dict[str, Any]:
    """dflow's manifest of a round, or of the driver, with everything that it lacks."""
    cluster, labels = config.cluster, labels_of(config, graph)
    spec = raw["spec"]
    spec.update(
        serviceAccountName=cluster.service_account if graph is not None else cluster.driver_service_account,
        archiveLogs=True,
        ttlStrategy={"secondsAfterCompletion": int(cluster.keep)},
        podGC={"strategy": "OnPodSuccess", "deleteDelayDuration": "60s"},
        podMetadata={"labels": labels, **({"annotations": cluster.annotations} if cluster.annotations else {})},
        securityContext={
            "runAsNonRoot": True, "runAsUser": cluster.user_id, "fsGroup": cluster.user_id,
            "fsGroupChangePolicy": "OnRootMismatch", "seccompProfile": {"type": "RuntimeDefault"},
        },
        volumes=[{"name": "tmp", "emptyDir": {}}],
        metrics={"prometheus": _metrics(config, "run" if graph is None else "iteration")},
    )  # fmt: skip
    if graph is not None and cluster.executor_service_account:
        spec.update(
            automountServiceAccountToken=False, executor={"serviceAccountName": cluster.executor_service_account}
        )
    optional = {
        "artifactRepositoryRef": {"key": cluster.artifact_repository} if cluster.artifact_repository else None,
        "imagePullSecrets": [{"name": name} for name in cluster.image_pull_secrets],
        "podPriorityClassName": cluster.priority_class,
        "hostAliases": [{"ip": address, "hostnames": names} for address, names in cluster.host_aliases.items()],
        "hostNetwork": cluster.host_network,
        "activeDeadlineSeconds": int(cluster.deadline) if cluster.deadline and graph is not None else None,
        "dnsPolicy": "ClusterFirstWithHostNet" if cluster.host_network else None,
    }
    spec.update({key: value for key, value in optional.items() if value})
    steps = {step.name: step for step in graph.steps} if graph is not None else {DRIVER.name: DRIVER}
    for template in spec["templates"]:
        if "script" in template:
            _complete_pod(template, config, graph, steps[template["name"]])
    spec["templates"] = _without_empty(spec["templates"])
    title = config.name if graph is None else f"{config.name} · {graph.title}"
    metadata = {
        "name": raw["metadata"]["name"],
        "namespace": cluster.namespace,
        "labels": labels,
        "annotations": {
            **cluster.annotations,
            "workflows.argoproj.io/title": title,
            "workflows.argoproj.io/description": _description(config, graph),
            STORE: f"s3://{cluster.s3.bucket}/{cluster.prefix}{config.name}",
        },
    }
    return {"apiVersion": "argoproj.io/v1alpha1", "kind": "Workflow", "metadata": metadata, "spec": spec}


def _description(config: DataStudy, graph: Graph | None) -> str:
    """What a Workflow is for, in one sentence; that of a run is told anew after each round."""
    if graph is None:
        return f"Drives the run {config.name}; nothing has finished yet."
    return f"Carries out {graph.title} ({graph.stage}) of the run {config.name}."


def labels_of(config: DataStudy, graph: Graph | None) -> Labels:
    """Labels of a Workflow and of its pods."""
    labels = {
        **config.cluster.labels,
        "app.kubernetes.io/name": "lamflow",
        "app.kubernetes.io/instance": config.name,
        "app.kubernetes.io/version": version("lamflow"),
        "app.kubernetes.io/managed-by": "lamflow",
        RUN: config.name,
    }
    if graph is None:
        return labels
    stage = re.sub(r"[^A-Za-z0-9_.-]+", "-", graph.stage)[:63].strip("-_.")
    return {**labels, ITERATION: str(graph.round), **({STAGE: stage} if stage else {})}


def image_of(config: DataStudy, step: Step) -> str:
    """The image of a step's pods: the user's, or the one that has what the step needs and the engines that it runs.

    Raises InputError when they need different ones.
    """
    pod: Pod = getattr(config.pods, step.resources)
    if pod.image:
        return pod.image
    needed = {step.image, *(engine_named(use.name).image_of(use.role) for use in step.engines)}
    held = {"base"}.union(*(HELD.get(image, ()) for image in needed))
    images = sorted(needed - held) or ["base"]
    if len(images) > 1:
        names = ", ".join(dict.fromkeys(use.name for use in step.engines))
        raise InputError(
            f"pods.{step.resources}.image: the engines of step {step.name} ({names}) lie in different images "
            f"({', '.join(images)}), and its pods have one; name an image that holds all of them"
        )
    return f"{config.cluster.registry}/{images[0]}:{version('lamflow')}"


def _complete_pod(template: dict[str, Any], config: DataStudy, graph: Graph | None, step: Step) -> None:
    pod: Pod = getattr(config.pods, step.resources)
    image = image_of(config, step)
    environment = _environment(config, pod, image, driver=graph is None)
    volumes, mounts = _volumes(pod, _secrets(config.cluster, step))
    template["script"].update(
        image=image,
        imagePullPolicy=config.cluster.image_pull_policy,
        resources=_resources(pod, step.disk),
        volumeMounts=mounts,
        securityContext={
            "allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]},
        },
        env=[{"name": key, "value": value} for key, value in environment.items()],
    )  # fmt: skip
    if graph is not None:
        template["activeDeadlineSeconds"] = int(pod.timeout) + START_SECONDS
    template["retryStrategy"] = {
        "limit": TRIES,
        "retryPolicy": "Always",
        "expression": TRY_AGAIN if pod.retries or graph is None else LOST_ONLY,
        "backoff": {"duration": PAUSE},  # a maxDuration would count the time that the pod has worked
        **({"affinity": {"nodeAntiAffinity": {}}} if pod.elsewhere else {}),
    }
    template["metadata"] = {"labels": {**pod.labels, STEP: step.name}, "annotations": pod.annotations}
    if config.cluster.display_names:
        template["annotations"] = {"workflows.argoproj.io/display-name": _display_name(graph, step)}
    if step.name == "select":
        template["metrics"] = {"prometheus": [_figure(config, name) for name in ("force_rmse", "accurate_fraction")]}
    patch = _patch(config, pod, step)
    optional = {
        "volumes": volumes, "nodeSelector": pod.node_selector, "tolerations": pod.tolerations, "affinity": pod.affinity,
        "priorityClassName": pod.priority_class, "schedulerName": pod.scheduler,
        "podSpecPatch": json.dumps(patch, sort_keys=True) if patch else None,
    }  # fmt: skip
    template.update({key: value for key, value in optional.items() if value})


def _patch(config: DataStudy, pod: Pod, step: Step) -> dict[str, Any]:
    """What Argo's templates have no field for, as a patch of the pod's specification."""
    patch: dict[str, Any] = {}
    if pod.runtime_class:
        patch["runtimeClassName"] = pod.runtime_class
    if pod.spread:
        patch["topologySpreadConstraints"] = [{
            "topologyKey": pod.spread.over, "maxSkew": pod.spread.skew,
            "whenUnsatisfiable": "DoNotSchedule" if pod.spread.strict else "ScheduleAnyway",
            "labelSelector": {"matchLabels": {RUN: config.name, STEP: step.name}},
        }]  # fmt: skip
    if pod.memory_max:
        memory = f"{{{{=lastRetry.message contains 'OOMKilled' ? '{pod.memory_max}' : '{pod.memory}'}}}}"
        amounts = {"requests": {"memory": memory}, "limits": {"memory": memory}}
        patch["containers"] = [{"name": "main", "resources": amounts}]
    return {**patch, **pod.pod_spec_patch}


def _display_name(graph: Graph | None, step: Step) -> str:
    """What Argo's UI calls a pod: `iteration-3-train-2-of-4`. Argo refuses other characters in some versions."""
    if graph is None:
        return step.name
    which = "-{{=asInt(inputs.parameters.job) + 1}}-of-{{inputs.parameters.jobs}}"
    return f"{graph.name}-{step.name}" + (which if step.resources != "small" else "")


def _environment(config: DataStudy, pod: Pod, image: str, *, driver: bool) -> dict[str, str]:
    """Variables of a container. The address of the object store is no secret; its credentials come from a file."""
    store = config.cluster.s3
    address = {"AWS_ENDPOINT_URL": store.endpoint, "AWS_REGION": store.region} if driver else {}
    if driver and not store.verify_tls:
        address["LAMFLOW_S3_VERIFY_TLS"] = "false"
    plain = {"HOME": "/tmp", "USER": "lamflow", IMAGE: image}  # noqa: S108  a volume of the pod's own; torch asks for a name
    hidden = {} if pod.gpus else {"NVIDIA_VISIBLE_DEVICES": "void"}  # where an image asks for all, as those of CUDA do
    return {**plain, **hidden, **address, **pod.environment}


def _secrets(cluster: Cluster, step: Step) -> dict[str, tuple[str, str]]:
    """By the names of their volumes the Secrets that a pod sees, and where; none where it leaves the store to Argo."""
    store = cluster.s3
    if step is DRIVER and cluster.ssh_secret is not None:
        return {"s3": (store.secret, S3_MOUNT), "ssh": (cluster.ssh_secret, SSH_MOUNT)}
    if step is DRIVER or step.checkpoints is not None:
        return {"s3": (store.secret, S3_MOUNT)}
    return {"s3": (store.label_secret, S3_MOUNT)} if step.label_cache is not None else {}


def _volumes(pod: Pod, secrets: Mapping[str, tuple[str, str]]) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The volumes of a pod beside `tmp`, and where it sees them all."""
    volumes: list[dict[str, Any]] = []
    mounts: list[dict[str, Any]] = [{"name": "tmp", "mountPath": "/tmp"}]  # noqa: S108  a volume of the pod's own
    for name, (secret, path) in secrets.items():
        volumes.append({"name": name, "secret": {"secretName": secret, "defaultMode": 0o440}})
        mounts.append({"name": name, "mountPath": path, "readOnly": True})
    for index, volume in enumerate(pod.volumes):
        name, claim = f"volume-{index}", {"claimName": volume.claim, "readOnly": volume.read_only}
        volumes.append({"name": name, "persistentVolumeClaim": claim})
        mounts.append({"name": name, "mountPath": volume.path, "readOnly": volume.read_only})
    if pod.shared_memory:
        volumes.append({"name": "shm", "emptyDir": {"medium": "Memory", "sizeLimit": pod.shared_memory}})
        mounts.append({"name": "shm", "mountPath": "/dev/shm"})  # noqa: S108  the kernel's name of shared memory
    return volumes, mounts


def _resources(pod: Pod, written: int | None) -> dict[str, dict[str, str]]:
    """What a pod asks for; `written` are bytes that it needs on its node by estimate, where the study says none."""
    cpu = pod.cpu or str(pod.threads)
    gpus = {pod.gpu_resource: str(pod.gpus)} if pod.gpus else {}
    asked = pod.disk or (f"{-(-written // MEBIBYTES_100) * 100}Mi" if written else None)
    disk = {"ephemeral-storage": asked} if asked else {}
    return {"requests": {"cpu": cpu, "memory": pod.memory, **disk, **gpus}, "limits": {"memory": pod.memory, **gpus}}


def _without_empty(node: Any) -> Any:
    """Without the empty lists and groups that dflow writes for what is not used."""
    if isinstance(node, list):
        return [_without_empty(item) for item in node]
    if not isinstance(node, dict):
        return node
    smaller = {key: _without_empty(value) for key, value in node.items()}
    return {key: value for key, value in smaller.items() if value not in ([], {}) or key in EMPTY_GROUPS}


def _metrics(config: DataStudy, what: str) -> list[dict[str, Any]]:
    """Prometheus metrics of a whole Workflow."""
    labels = [{"key": "run", "value": config.name}]
    return [
        {
            "name": f"lamflow_{what}_duration_seconds", "help": f"Wall time of the {what}", "labels": labels,
            "gauge": {"value": "{{workflow.duration}}", "realtime": False},
        },
        {
            "name": f"lamflow_{what}s_total", "help": f"{what.capitalize()}s that have ended, by how",
            "labels": [*labels, {"key": "status", "value": "{{workflow.status}}"}], "counter": {"value": "1"},
        },
    ]  # fmt: skip


def _figure(config: DataStudy, name: str) -> Mapping[str, Any]:
    """A Prometheus gauge of an output parameter of the select step."""
    helps = {
        "force_rmse": "Held-out force RMSE of the committee, eV/A",
        "accurate_fraction": "Accurate explored frames",
    }
    return {
        "name": f"lamflow_{name}", "help": helps[name], "labels": [{"key": "run", "value": config.name}],
        "when": "{{status}} == Succeeded", "gauge": {"value": f"{{{{outputs.parameters.{name}}}}}", "realtime": False},
    }  # fmt: skip
