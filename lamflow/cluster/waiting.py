"""Pods that wait: for a node that does not exist, an image that is not there, a quota that is used up."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping

from lamflow.cluster.workflows import Manifest, Pod, pods

IMAGE = re.compile(r"ImagePull|ErrImage|InvalidImageName|RegistryUnavailable|ImageInspect", re.IGNORECASE)
IMAGE_SECONDS = 600.0
"""Images are tried again for so long: a registry may be slow."""
FIXES = (
    (IMAGE, "no such image, or no right to fetch it: see `pods.{kind}.image`, cluster.registry and "
            "cluster.image_pull_secrets, and images/README.md for building it"),
    (re.compile(r"exceeded quota"), "ask for less under `pods.{kind}`, or have the namespace's ResourceQuota raised"),
    (re.compile(r"gpu", re.IGNORECASE), "no node has so many free GPUs: see `pods.{kind}.gpus`, gpu_resource, "
            "node_selector and tolerations, and `lamflow doctor --cluster` for what the nodes have"),
    (re.compile(r"Insufficient|node\(s\)|nodes are available|Unschedulable", re.IGNORECASE),
     "no node fits: see cpu, memory, node_selector, tolerations and affinity under `pods.{kind}`"),
    (re.compile(r"secret|configmap|persistentvolumeclaim|MountVolume", re.IGNORECASE),
     "something that the pod mounts is missing in the namespace: see cluster.s3.secret and `pods.{kind}.volumes`"),
)  # fmt: skip
"""What to do about what Kubernetes says of a pod that waits; the first that fits."""


def waiting(workflow: Manifest) -> list[Pod]:
    """Pods that Kubernetes has given a reason to wait."""
    return [pod for pod in pods(workflow) if pod.phase == "Pending" and pod.message]


def reason(pod: Pod, kinds: Mapping[str, str]) -> str:
    """Why a pod waits and what to do; `kinds` says which section of `pods:` each step has."""
    fix = next((text for pattern, text in FIXES if pattern.search(pod.message)), "see `lamflow doctor --cluster`")
    return f"{pod.step} {pod.number} waits: {pod.message}; {fix.format(kind=kinds.get(pod.step, 'small'))}"


def hopeless(workflow: Manifest, patience: float, now: float | None = None) -> Pod | None:
    """A pod that has waited longer than `patience` s, or ten minutes for its image; None if there is none."""
    now = time.time() if now is None else now
    for pod in waiting(workflow):
        limit = min(patience, IMAGE_SECONDS) if IMAGE.search(pod.message) else patience
        if pod.start and now - pod.start > limit:
            return pod
    return None
