"""`pods:` how work is dealt out to jobs, and what pods need. The same keys on a laptop and on a cluster.

A laptop heeds `parallel`, `work_per_job`, `gpus`, `threads`, `timeout` and `retries`. A batch system heeds
`losses`, `cpu`, `memory`, `memory_max`, `environment`, `batch` and `site` beside these; the others are for Kubernetes.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field, JsonValue, StringConstraints, field_validator, model_validator

from lamflow.config.batch import Allocation
from lamflow.config.section import Name, Section, VariableName
from lamflow.units import Count, Second

Quantity = Annotated[str, StringConstraints(pattern=r"^[0-9]+(\.[0-9]+)?(m|k|Ki|M|Mi|G|Gi|T|Ti)?$")]
"""An amount as Kubernetes writes it: `4`, `500m`, `16Gi`."""


Label = Annotated[
    str, StringConstraints(pattern=r"^([a-z0-9][-a-z0-9.]*/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$")
]
"""The key of a label or an annotation: `team`, `kueue.x-k8s.io/queue-name`."""
OWN = ("lamflow/", "app.kubernetes.io/", "workflows.argoproj.io/workflow")
"""What the keys of labels begin with that say which run a pod belongs to."""


def _not_ours(labels: dict[str, str]) -> dict[str, str]:
    for key in labels:
        if key.startswith(OWN):
            raise ValueError(f"{key} says which run a pod belongs to and is lamflow's own; give the label another key")
    return labels


LabelValue = Annotated[str, StringConstraints(pattern=r"^([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?$")]
Labels = Annotated[dict[Label, LabelValue], AfterValidator(_not_ours)]
Annotations = Annotated[dict[Label, str], AfterValidator(_not_ours)]

CLUSTER_PODS = {"train": 4, "explore": 20, "label": 12}
"""Pods of a step on a cluster unless `parallel` says otherwise: an iteration stays below forty."""


class Volume(Section):
    """A persistent volume claim that exists, for example a cache of models."""

    claim: str
    """Name of the PersistentVolumeClaim."""
    path: Annotated[str, StringConstraints(pattern=r"^/")]
    """Where the pod sees it."""
    read_only: bool = True


class Spread(Section):
    """Spreads the pods of a step over the nodes of a cluster."""

    over: Label = "kubernetes.io/hostname"
    """Label of nodes whose values are the sites: machines, or `topology.kubernetes.io/zone`."""
    skew: int = Field(1, ge=1, le=10_000)
    """By how many pods sites may differ."""
    strict: bool = False
    """A pod waits rather than go where there are too many; otherwise it is only preferred."""


class Pod(Section):
    """What one kind of step needs."""

    parallel: int | None = Field(None, ge=1, le=10_000)
    """How many run at once. The default on a laptop is the number of cores, or of GPUs for a step that asks for one; on
    a cluster 4 to train, 20 to explore and 12 to label."""
    work_per_job: Count | Literal["auto"] | None = None
    """How many trainings, simulations or labels one job does, one after the other; a job is a pod on a cluster. The
    default spreads them evenly over `parallel` jobs; `auto` takes fewer jobs for short ones, so that each works for
    about ten minutes by the times of the iteration before."""
    gpus: int = Field(0, ge=0, le=64)
    """GPUs of each pod. On a laptop the pods take turns on the devices that there are."""
    threads: int = Field(1, ge=1, le=4096)
    """Threads of each program that a pod starts."""
    timeout: Second = 24 * 3600.0
    """A pod that works longer is stopped and counts as failed. Waiting for a node or an image is no work."""
    retries: int = Field(1, ge=0, le=20)
    """How often a pod is tried again after the machine failed. An error of a code is never tried again."""
    losses: int = Field(10, ge=0, le=10_000)
    """How often in a row a pod may be lost without progress: deleted, evicted, preempted, gone with its node. A newer
    checkpoint of its own, or a job of the same Workflow that finishes, is progress; as long as there is some, it is
    tried again however often it is lost."""
    elsewhere: bool = False
    """A pod that was lost or failed is tried again on another node only. Where no other node fits, it would wait for
    one."""
    image: str | None = None
    """Container image; the engine's own from `cluster.registry` if absent."""
    cpu: Quantity | None = None
    """CPUs that are asked for; as many as `threads` if absent."""
    memory: Quantity = "4Gi"
    """Memory that is asked for, and the limit."""
    disk: Quantity | None = None
    """Ephemeral storage that is asked for, such as `20Gi`: all work is done in a folder on the node. Pods that explore
    ask for the size of their trajectories by estimate if absent. No limit."""
    memory_max: Quantity | None = None
    """A pod that was killed because it took more than `memory` is tried again with this much."""
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
    environment: dict[VariableName, str] = Field(default_factory=dict)
    """Variables of the container or the job. Not for secrets: they are readable in the manifest."""
    labels: Labels = Field(default_factory=dict)
    """Labels of the pods, for example the name of a queue."""
    annotations: Annotations = Field(default_factory=dict)
    priority_class: str | None = None
    """Name of a PriorityClass; that of `cluster` if absent."""
    scheduler: str | None = None
    """Name of the scheduler; the cluster's own if absent."""
    runtime_class: str | None = None
    """Name of a RuntimeClass, for example `nvidia`."""
    spread: Spread | None = None
    batch: Allocation | None = None
    """On a batch system, what this kind of step asks for instead of what `batch:` says."""
    site: Name | None = None
    """Where the jobs run if not with the rest of the run: `here`, beside the driver, or a name of `sites:`."""
    pod_spec_patch: dict[str, JsonValue] = Field(default_factory=dict)
    """Laid over the pod's specification by Kubernetes' rules of strategic merge, for what no key here says."""

    @field_validator("memory", mode="before")
    @classmethod
    def _needs_memory(cls, value: object) -> object:
        if value is None:
            raise ValueError(
                f"null: a pod or job has a limit of memory ({cls.model_fields['memory'].default} if absent), such as "
                "16Gi; for a Grid Engine that takes no word of it say `batch: {sge: {memory: null}}`"
            )
        return value

    @model_validator(mode="after")
    def _one_patch_of_the_container(self) -> Pod:
        if self.memory_max is not None and "containers" in self.pod_spec_patch:
            raise ValueError("memory_max and pod_spec_patch.containers both patch the pod's container; leave one out")
        return self


class TrainPod(Pod):
    """What training needs."""

    checkpoint: Second = 600.0
    """How often a training's checkpoints go to the object store, from where a pod that lost its node goes on. A new one
    goes there after a tenth of this."""


class DriverPod(Pod):
    """What the driver needs: it waits for others nearly all the time."""

    cpu: Quantity | None = "100m"
    memory: Quantity = "1Gi"


HERE, BATCH = "here", "batch"
"""Names of sites that every study has: processes beside the driver, and what `batch:` says."""
S3_MOUNT, SSH_MOUNT = "/etc/lamflow/s3", "/etc/lamflow/ssh"
"""Where pods see Secrets: `access_key`, `secret_key` and, for a server of your own authority, `ca.crt` of the object
store; `identity`, a private key, and `known_hosts` of ssh."""


class Pods(Section):
    """Resources by kind of step."""

    train: TrainPod = TrainPod()
    explore: Pod = Pod()
    label: Pod = Pod()
    small: Pod = Pod()
    """Select, merge and report."""
    driver: DriverPod = DriverPod()
    """The one pod of a whole run, on a cluster."""

    def site_of(self, kind: str) -> str | None:
        """Name of the site where the jobs of a kind of step run, if the study names one."""
        pod: Pod = getattr(self, kind)
        return pod.site

    def batch_site(self, kind: str) -> str:
        """That of a run on a batch system, where small jobs run beside the driver if nothing else is said."""
        return self.site_of(kind) or (HERE if kind == "small" else BATCH)


class ObjectStore(Section):
    """The S3 bucket that holds the run. Credentials are never written here: see `secret`.

    The environment wins over what stands here, under the names that AWS's own tools read: AWS_ENDPOINT_URL, AWS_REGION,
    AWS_CA_BUNDLE; AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_SESSION_TOKEN are the only place for credentials
    outside the cluster.
    """

    endpoint: Annotated[str, StringConstraints(pattern=r"^https?://[^/@]+/?$")] = "http://lamflow-s3:8333"
    """URL of the S3 server as the pods reach it; the default is the one that the Helm chart can install."""
    bucket: Annotated[str, StringConstraints(pattern=r"^[a-z0-9][-a-z0-9.]{1,61}[a-z0-9]$")] = "lamflow"
    region: str = "us-east-1"
    secret: str = "lamflow-s3"  # noqa: S105  a name
    """Secret with the keys `access_key` and `secret_key`; mounted where lamflow talks to the store itself."""
    label_secret: str = "lamflow-s3-labels"  # noqa: S105  a name
    """The same for pods that label, whose programs write to the label cache and nothing else: the chart makes it with
    keys that may not do more. Name `secret` again where your store has one pair of keys for all."""
    verify_tls: bool = True


class Cluster(Section):
    """Where and how Workflows run on Kubernetes. A run on a laptop ignores it."""

    namespace: str = "lamflow"
    context: str | None = None
    """Context of the kubeconfig; the current one if absent."""
    argo_server: Annotated[str, StringConstraints(pattern=r"^https?://")] | None = None
    """URL of Argo's server, to go through it instead of Kubernetes' API; its token is read from ARGO_TOKEN."""
    verify_tls: bool = True
    """Check the certificates of the cluster's servers."""
    service_account: str = "lamflow"
    """Of the pods of an iteration; the Helm chart makes it without any right."""
    driver_service_account: str = "lamflow-driver"
    """Of the driver's pod, which makes one Workflow an iteration."""
    executor_service_account: str | None = "lamflow-executor"
    """Account whose token Argo's own containers have, in pods whose main container then has none. It needs a Secret
    with a token, which the Helm chart makes. null gives every container the token of `service_account`."""
    s3: ObjectStore = ObjectStore()
    ssh_secret: str | None = None
    """Secret with `identity`, a private key without a passphrase, and `known_hosts`: the driver's pod reaches `sites`
    with them over ssh. No other pod sees it."""
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
    """Name of a PriorityClass for all pods."""
    labels: Labels = Field(default_factory=dict)
    """Labels of Workflows and of all pods, for example `workflows.argoproj.io/controller-instanceid`."""
    annotations: Annotations = Field(default_factory=dict)
    """Of Workflows and of all pods."""
    host_aliases: dict[str, list[str]] = Field(default_factory=dict)
    """Names of hosts by their address, `10.0.0.7: [s3.lab]`, where pods have no name service that knows them."""
    host_network: bool = False
    """Pods use their node's network, for clusters without one of their own."""
    pending: Second = 3600.0
    """A pod that waits longer than this for a node stops the run with the reason; ten minutes for an image."""
    autoscaling: bool = False
    """Nodes are made when pods ask for them, so that labels which no node has now are no error."""
    display_names: bool = False
    """Give every pod a name of its own in Argo's UI, like `iteration-3-train-2-of-4`; needs Argo 3.7."""
    deadline: Second | None = None
    """An iteration's Workflow that takes longer is ended; without limit if absent."""
    keep: Second = 7 * 24 * 3600.0
    """How long a finished Workflow stays; its data stay in the object store."""
    user_id: int = Field(1000, ge=1, lt=2**31)
    """Unix user that the containers run as."""
