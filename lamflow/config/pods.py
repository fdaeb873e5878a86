"""`pods:` how work is cut into tasks, and what pods need. The same keys on a laptop and on a cluster.

A laptop heeds `parallel`, `tasks_per_pod`, `gpus`, `threads`, `timeout` and `retries`; the others are for Kubernetes.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, JsonValue, StringConstraints

from lamflow.config.section import Section
from lamflow.units import Second

Quantity = Annotated[str, StringConstraints(pattern=r"^[0-9]+(\.[0-9]+)?(m|k|Ki|M|Mi|G|Gi|T|Ti)?$")]
"""An amount as Kubernetes writes it: `4`, `500m`, `16Gi`."""


class Volume(Section):
    """A persistent volume claim that exists, for example a cache of models."""

    claim: str
    """Name of the PersistentVolumeClaim."""
    path: Annotated[str, StringConstraints(pattern=r"^/")]
    """Where the pod sees it."""
    read_only: bool = True


class Pod(Section):
    """What one kind of step needs."""

    parallel: int | None = Field(None, ge=1)
    """How many run at once. The default on a laptop is the number of cores, or of GPUs for a step that asks for one; on
    a cluster 4 to train, 20 to explore and 12 to label."""
    tasks_per_pod: int | None = Field(None, ge=1)
    """How many tasks share one pod, one after the other. The default spreads the tasks evenly over `parallel` pods."""
    gpus: int = Field(0, ge=0)
    """GPUs of each pod. On a laptop the pods take turns on the devices that there are."""
    threads: int = Field(1, ge=1)
    """Threads of each program that a pod starts."""
    timeout: Second = 24 * 3600.0
    """A pod that takes longer is stopped and counts as failed."""
    retries: int = Field(1, ge=0, le=20)
    """How often a pod is tried again after the machine failed. An error of a code is never tried again."""
    image: str | None = None
    """Container image; the engine's own from `cluster.registry` if absent."""
    cpu: Quantity | None = None
    """CPUs that are asked for; as many as `threads` if absent."""
    memory: Quantity = "4Gi"
    """Memory that is asked for, and the limit."""
    gpu_resource: str = "nvidia.com/gpu"
    """Kubernetes' name of the GPUs."""
    shared_memory: Quantity | None = None
    """Size of /dev/shm, which training with several GPUs needs."""
    node_selector: dict[str, str] = Field(default_factory=dict)
    tolerations: list[dict[str, JsonValue]] = Field(default_factory=list)
    """As in a pod's specification."""
    affinity: dict[str, JsonValue] = Field(default_factory=dict)
    """As in a pod's specification."""
    volumes: list[Volume] = Field(default_factory=list)
    environment: dict[str, str] = Field(default_factory=dict)
    """Variables of the container. Not for secrets: they are readable in the manifest."""


class Pods(Section):
    """Resources by kind of step."""

    train: Pod = Pod()
    explore: Pod = Pod()
    label: Pod = Pod()
    small: Pod = Pod()
    """Select and merge."""


class Cluster(Section):
    """Where and how Workflows run on Kubernetes. A run on a laptop ignores it."""

    namespace: str = "lamflow"
    service_account: str = "lamflow"
    """Of the pods; the Helm chart makes it with the few rights that Argo's executor needs."""
    artifact_repository: str | None = None
    """Key in the ConfigMap `artifact-repositories` of the namespace; its default repository if absent."""
    prefix: str = "lamflow/"
    """What all keys of the object store begin with."""
    registry: str = "lamflow"
    """What the names of the images begin with."""
    image_pull_policy: str = "IfNotPresent"
    image_pull_secrets: list[str] = Field(default_factory=list)
    """Names of Secrets."""
    priority_class: str | None = None
    keep: Second = 7 * 24 * 3600.0
    """How long a finished Workflow stays; its data stay in the object store."""
    user_id: int = Field(1000, ge=1)
    """Unix user that the containers run as."""
