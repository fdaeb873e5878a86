"""Pods that wait: for a node that does not exist, an image that is not there, a quota that is used up."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping

from lamflow.cluster.pod_reasons import STARTING
from lamflow.cluster.status import Manifest, Pod, message, phase, pods

IMAGE = re.compile(r"ImagePull|ErrImage|InvalidImageName|RegistryUnavailable|ImageInspect", re.IGNORECASE)
IMAGE_SECONDS = 600.0
"""Images are tried again for so long: a registry may be slow."""
UNSEEN = 60.0
"""s that a Workflow may be without a status before it is said."""
FIXES = (
    (re.compile(r"argoexec"), "the image of Argo's executor is not to be had: see `executor` in the ConfigMap of "
            "Argo's controller, or the chart's argo-workflows.version and registry"),
    (IMAGE, "no such image, or no right to fetch it: see `pods.{resources}.image`, cluster.registry and "
            "cluster.image_pull_secrets, and images/README.md for building it"),
    (re.compile(r"exceeded quota"), "ask for less under `pods.{resources}`, or have the ResourceQuota raised"),
    (re.compile(r"gpu", re.IGNORECASE), "no node has so many free GPUs: see `pods.{resources}.gpus`, gpu_resource, "
            "node_selector and tolerations, and `lamflow doctor --cluster` for what the nodes have"),
    (re.compile(r"Insufficient|node\(s\)|nodes are available|Unschedulable", re.IGNORECASE),
     "no node fits: see cpu, memory, node_selector, tolerations and affinity under `pods.{resources}`"),
    (re.compile(r"secret|configmap|persistentvolumeclaim|MountVolume", re.IGNORECASE),
     "something that the pod mounts is missing in the namespace: see cluster.s3.secret and `pods.{resources}.volumes`"),
)  # fmt: skip
"""What to do about what Kubernetes says of a pod that waits; the first that fits."""


def waiting(workflow: Manifest) -> list[Pod]:
    """Pods that Kubernetes has given a reason to wait, beside being about to start."""
    return [pod for pod in pods(workflow) if pod.phase == "Pending" and pod.message not in ("", *STARTING)]


def reason(pod: Pod, resources: Mapping[str, str]) -> str:
    """Why a pod waits and what to do; `resources` says which section of `pods:` each step has."""
    fix = next((text for pattern, text in FIXES if pattern.search(pod.message)), "see `lamflow doctor --cluster`")
    return f"{pod.step} {pod.number} waits: {pod.message}; {fix.format(resources=resources.get(pod.step, 'small'))}"


class PendingPods:
    """What a Workflow waits for, and for how long.

    pending  s that a pod may wait for its node; for its image it is ten minutes at most
    """

    def __init__(self, pending: float, resources: Mapping[str, str]) -> None:
        self.pending, self.resources = pending, resources
        self.since: dict[str, float] = {}

    def reasons(self, workflow: Manifest, now: float | None = None) -> list[str]:
        """Everything that waits, with what to do; the same words as long as the same things wait."""
        return [said for said, _, _ in self._look(workflow, time.time() if now is None else now)]

    def timed_out(self, workflow: Manifest, now: float | None = None) -> str | None:
        """What has waited too long; None if nothing has."""
        now = time.time() if now is None else now
        for said, since, limit in self._look(workflow, now):
            if now - since > limit:
                return said
        return None

    def _look(self, workflow: Manifest, now: float) -> list[tuple[str, float, float]]:
        """Words, since when, and how long it may last."""
        found = []
        if phase(workflow) in ("", "Pending"):
            name = workflow["metadata"]["name"]
            since = self.since.setdefault(f"{name} {phase(workflow)}", now)
            if message(workflow):
                said = f"Argo holds Workflow {name} back: {message(workflow)}; see `parallelism` and `synchronization`"
                found.append((said, since, self.pending))
            elif not phase(workflow) and now - since > UNSEEN:
                said = f"no controller has looked at Workflow {name} yet; see `lamflow doctor --cluster`"
                found.append((said, since, self.pending))
        lively = max((now if pod.phase == "Running" else pod.end for pod in pods(workflow)), default=0.0)
        for pod in waiting(workflow):
            image = IMAGE.search(pod.message) is not None
            # an image is waited for since its message was first seen: the pod may have waited for a node before; a node
            # since the last other pod of the Workflow worked: they may wait for one another
            since = self.since.setdefault(f"{pod.step} {pod.number}", now) if image else max(pod.start, lively)
            if since:
                limit = min(self.pending, IMAGE_SECONDS) if image else self.pending
                found.append((reason(pod, self.resources), since, limit))
        return found
