"""What dflow cannot say: the parts of an Argo manifest between its graph and a cluster that is run with care."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from importlib.metadata import version
from typing import Any

import dflow
from dflow import Workflow

from lamflow.config.engines import engine_named
from lamflow.config.pods import CLUSTER_PODS, Pod
from lamflow.config.schema import Config
from lamflow.errors import InputError
from lamflow.ops._op import KEEPING

KINDS = {
    "train": "train", "explore": "explore", "propose": "small", "relax": "explore", "select": "small", "label": "label",
    "merge": "small", "driver": "small",
}  # fmt: skip
"""Section of `pods:` for each step; steps of a split search have the number of the generation behind their names."""
TRY_AGAIN = "lastRetry.status == 'Error' || asInt(lastRetry.exitCode) in [-1, 1, 64, 137, 143]"
"""Errors of the cluster (lost node; eviction, which leaves no exit status or -1), of Argo's executor (64), of the
machine (1), killed for memory, terminated. An error of a code exits with 2 and is not tried again."""
FOR_EVER = "100000"
"""Tries of a driver. Argo takes no account of the backoff where there is no limit."""
MARGIN = 300
"""s that Argo gives a pod beyond its own timeout, to fetch its image and to say what happened."""
SECRET = "/etc/lamflow/s3"  # noqa: S105  where the Secret is mounted, not what is in it
TALKS_TO_S3 = ("train", "driver")
MEANT = ("none", "emptyDir")
"""Keys whose empty group says something."""
RUN, ITERATION, STORE = "lamflow/run", "lamflow/iteration", "lamflow/store"
"""Labels and annotation that tie a Workflow to its run; `cluster/workflows.py` looks for them."""
Labels = dict[str, str]


def offline() -> None:
    """Have dflow build for a cluster, without asking one and without any credential that it may know.

    Pods have theirs from Argo's artifact repository.
    """
    dflow.config.update(mode="default", token=None)
    dflow.s3_config.update(access_key="", secret_key="", prefix="")


class LamWorkflow(Workflow):  # type: ignore[misc]  # dflow has no types
    """A dflow Workflow that goes out complete: apiVersion and kind, labels, lifetime, retries, resources, security.

    number  of the iteration; None for the Workflow of the run, whose pod is the driver
    """

    def __init__(self, config: Config, number: int | None, **kwargs: Any) -> None:
        super().__init__(namespace=config.cluster.namespace, **kwargs)
        self.lamflow, self.number = config, number

    def convert_to_argo(self, reuse_step: Any = None) -> dict[str, Any]:
        """The manifest as plain data."""
        made = super().convert_to_argo(reuse_step=reuse_step)
        raw: dict[str, Any] = self.api_instance.api_client.sanitize_for_serialization(made)
        return complete(raw, self.lamflow, self.number)


def complete(raw: dict[str, Any], config: Config, number: int | None) -> dict[str, Any]:
    """dflow's manifest of iteration `number`, or of the driver, with everything that it lacks."""
    cluster, labels = config.cluster, labels_of(config, number)
    spec = raw["spec"]
    spec.update(
        serviceAccountName=cluster.service_account if number is not None else cluster.driver_service_account,
        archiveLogs=True,
        ttlStrategy={"secondsAfterCompletion": int(cluster.keep)},
        podGC={"strategy": "OnPodSuccess", "deleteDelayDuration": "60s"},
        podMetadata={"labels": labels},
        securityContext={
            "runAsNonRoot": True, "runAsUser": cluster.user_id, "fsGroup": cluster.user_id,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        volumes=[
            {"name": "tmp", "emptyDir": {}},
            {"name": "s3", "secret": {"secretName": cluster.s3.secret, "defaultMode": 0o440}},
        ],
        metrics={"prometheus": _metrics(config, "run" if number is None else "iteration")},
    )  # fmt: skip
    optional = {
        "artifactRepositoryRef": {"key": cluster.artifact_repository} if cluster.artifact_repository else None,
        "imagePullSecrets": [{"name": name} for name in cluster.image_pull_secrets],
        "podPriorityClassName": cluster.priority_class,
        "hostNetwork": cluster.host_network,
        "activeDeadlineSeconds": int(cluster.deadline) if cluster.deadline and number is not None else None,
        "dnsPolicy": "ClusterFirstWithHostNet" if cluster.host_network else None,
    }
    spec.update({key: value for key, value in optional.items() if value})
    for template in spec["templates"]:
        if "script" in template:
            _complete_pod(template, config, number)
    spec["templates"] += _throttled(spec["templates"], config)
    spec["templates"] = _without_empty(spec["templates"])
    if number is not None:
        spec["templates"] = _named(spec["templates"], f"iteration-{number}" if number else "start")
    title = {None: config.name, 0: f"{config.name} · start"}.get(number, f"{config.name} · iteration {number}")
    metadata = {
        "name": raw["metadata"]["name"],
        "namespace": cluster.namespace,
        "labels": labels,
        "annotations": {
            "workflows.argoproj.io/title": title,
            STORE: f"s3://{cluster.s3.bucket}/{cluster.prefix}{config.name}",
        },
    }
    return {"apiVersion": "argoproj.io/v1alpha1", "kind": "Workflow", "metadata": metadata, "spec": spec}


def labels_of(config: Config, number: int | None) -> Labels:
    """Labels of a Workflow and of its pods."""
    labels = {
        "app.kubernetes.io/name": "lamflow",
        "app.kubernetes.io/instance": config.name,
        "app.kubernetes.io/version": version("lamflow"),
        "app.kubernetes.io/managed-by": "lamflow",
        RUN: config.name,
    }
    return labels if number is None else {**labels, ITERATION: str(number)}


def kind_of(step: str) -> str:
    """Section of `pods:` that a step's pods go by."""
    return KINDS[step.rstrip("0123456789")]


def image_of(config: Config, step: str) -> str:
    """The image of a step's pods: the user's, or the engine's."""
    pod: Pod = getattr(config.pods, kind_of(step))
    if pod.image:
        return pod.image
    image = "base"
    if kind_of(step) in ("train", "explore"):  # the committee is evaluated where the trajectories are
        image = engine_named(config.train.engine).image
        if kind_of(step) == "explore" and config.select.score == "teacher" and image == "base":
            image = _label_image(config)  # so is the teacher
    elif step == "label":
        image = _label_image(config)
    return f"{config.cluster.registry}/{image}:{version('lamflow')}"


def _label_image(config: Config) -> str:
    """The image of the label engines. Raises InputError when they need different ones."""
    images = sorted({engine_named(part.label.engine).image for part in config.parts if part.label is not None})
    if len(images) > 1:
        raise InputError(
            f"pods.label.image: the tasks are labeled by engines of different images ({', '.join(images)}), and label "
            "pods have one; name an image that holds all of them"
        )
    return images[0] if images else "base"


def _complete_pod(template: dict[str, Any], config: Config, number: int | None) -> None:
    step = re.sub(r"-.*$", "", template["name"])
    pod: Pod = getattr(config.pods, kind_of(step))
    source = template["script"].get("source", "")
    volumes, mounts = _volumes(pod, talks=step in TALKS_TO_S3 or KEEPING in source)
    template["script"].update(
        image=image_of(config, step),
        imagePullPolicy=config.cluster.image_pull_policy,
        resources=_resources(pod),
        volumeMounts=mounts,
        securityContext={
            "allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]},
        },
        env=[{"name": key, "value": value} for key, value in _environment(config, pod, step).items()],
    )  # fmt: skip
    if number is not None:
        template["activeDeadlineSeconds"] = int(pod.timeout) + MARGIN
        template["retryStrategy"] = {
            "limit": str(pod.retries),
            "retryPolicy": "Always",
            "expression": TRY_AGAIN,
            "backoff": {"duration": "60s"},  # a maxDuration would count the time that the pod has worked
        }
    else:
        template["retryStrategy"] = {  # a driver comes back whatever happens to its node
            "limit": FOR_EVER,
            "retryPolicy": "Always",
            "expression": TRY_AGAIN,
            "backoff": {"duration": "30s"},
        }
    template["metadata"] = {"labels": {"lamflow/step": step}}
    if config.cluster.display_names:
        template["annotations"] = {"workflows.argoproj.io/display-name": _display_name(step, number)}
    if step == "select":
        template["metrics"] = {"prometheus": [_figure(config, name) for name in ("force_rmse", "accurate_share")]}
    optional = {
        "volumes": volumes, "nodeSelector": pod.node_selector, "tolerations": pod.tolerations, "affinity": pod.affinity
    }  # fmt: skip
    template.update({key: value for key, value in optional.items() if value})


def _display_name(step: str, number: int | None) -> str:
    """What Argo's UI calls a pod: `iteration-3-train-2-of-4`. Argo refuses other characters in some versions."""
    if number is None:
        return "driver"
    which = "-{{=asInt(inputs.parameters.pod) + 1}}-of-{{inputs.parameters.pods}}"
    where = f"iteration-{number}" if number else "start"
    return f"{where}-{step}" + ("" if step in ("select", "merge") else which)


def _named(templates: list[dict[str, Any]], where: str) -> list[dict[str, Any]]:
    """The templates with step names that a person reads in Argo's UI: `iteration-3-train`."""
    text = json.dumps(templates)
    for step in KINDS:
        text = text.replace(f"steps['{step}']", f"steps['{where}-{step}']").replace(
            f"steps.{step}.", f"steps.{where}-{step}."
        )
    named: list[dict[str, Any]] = json.loads(text)
    for each in steps_of(named):
        each["name"] = f"{where}-{each['name']}"
    return named


def _environment(config: Config, pod: Pod, step: str) -> dict[str, str]:
    """Variables of a container. The address of the object store is no secret; its credentials come from a file."""
    store = config.cluster.s3
    address = {"AWS_ENDPOINT_URL": store.endpoint, "AWS_REGION": store.region} if step == "driver" else {}
    if step == "driver" and not store.verify_tls:
        address["LAMFLOW_S3_VERIFY_TLS"] = "false"
    plain = {"HOME": "/tmp", "USER": "lamflow"}  # noqa: S108  a volume of the pod's own; torch asks for a name
    return {**plain, **address, **pod.environment}


def _volumes(pod: Pod, talks: bool) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The volumes of a pod, and where it sees them."""
    volumes: list[dict[str, Any]] = []
    mounts: list[dict[str, Any]] = [{"name": "tmp", "mountPath": "/tmp"}]  # noqa: S108  a volume of the pod's own
    if talks:
        mounts.append({"name": "s3", "mountPath": SECRET, "readOnly": True})
    for index, volume in enumerate(pod.volumes):
        name, claim = f"volume-{index}", {"claimName": volume.claim, "readOnly": volume.read_only}
        volumes.append({"name": name, "persistentVolumeClaim": claim})
        mounts.append({"name": name, "mountPath": volume.path, "readOnly": volume.read_only})
    if pod.shared_memory:
        volumes.append({"name": "shm", "emptyDir": {"medium": "Memory", "sizeLimit": pod.shared_memory}})
        mounts.append({"name": "shm", "mountPath": "/dev/shm"})  # noqa: S108  the kernel's name of shared memory
    return volumes, mounts


def _resources(pod: Pod) -> dict[str, dict[str, str]]:
    cpu = pod.cpu or str(pod.threads)
    gpus = {pod.gpu_resource: str(pod.gpus)} if pod.gpus else {}
    return {"requests": {"cpu": cpu, "memory": pod.memory, **gpus}, "limits": {"memory": pod.memory, **gpus}}


def _throttled(templates: list[dict[str, Any]], config: Config) -> list[dict[str, Any]]:
    """Steps with more pods than may run at once move into templates of their own, which Argo throttles.

    Changes `templates` and returns the new ones.
    """
    made = []
    for step in steps_of(templates):
        pod: Pod = getattr(config.pods, kind_of(step["name"]))
        if not (isinstance(pod.tasks_per_pod, int) and "withParam" in step):
            continue
        inner, outputs = dict(step), "steps['select'].outputs.parameters['batches']"
        inner.pop("when", None)
        inner = json.loads(json.dumps(inner).replace(outputs, "inputs.parameters.batches"))
        template = {
            "name": f"{step['name']}-pods",
            "parallelism": pod.parallel or CLUSTER_PODS[kind_of(step["name"])],
            "steps": [[inner]],
        }
        arguments: dict[str, Any] = {}
        if outputs in json.dumps(step):
            template["inputs"] = {"parameters": [{"name": "batches"}]}
            arguments = {"parameters": [{"name": "batches", "value": f"{{{{={outputs}}}}}"}]}
        step.pop("withParam")
        step.update(template=template["name"], arguments=arguments)
        made.append(template)
    return made


def _without_empty(node: Any) -> Any:
    """Without the empty lists and groups that dflow writes for what is not used."""
    if isinstance(node, list):
        return [_without_empty(item) for item in node]
    if not isinstance(node, dict):
        return node
    smaller = {key: _without_empty(value) for key, value in node.items()}
    return {key: value for key, value in smaller.items() if value not in ([], {}) or key in MEANT}


def steps_of(templates: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Every step of every template."""
    return [step for template in templates for together in template.get("steps", []) for step in together]


def _metrics(config: Config, what: str) -> list[dict[str, Any]]:
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


def _figure(config: Config, name: str) -> Mapping[str, Any]:
    """A Prometheus gauge of an output parameter of the select step."""
    helps = {"force_rmse": "Held-out force RMSE of the committee, eV/A", "accurate_share": "Accurate explored frames"}
    return {
        "name": f"lamflow_{name}", "help": helps[name], "labels": [{"key": "run", "value": config.name}],
        "when": "{{status}} == Succeeded", "gauge": {"value": f"{{{{outputs.parameters.{name}}}}}", "realtime": False},
    }  # fmt: skip
