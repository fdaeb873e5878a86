"""`lamflow doctor --cluster`: what a run needs of a cluster, looked at, and tried."""

from __future__ import annotations

import uuid
from collections.abc import Iterator

from lamflow.cluster.checks import Check, examine
from lamflow.cluster.status import pods
from lamflow.cluster.store import Store
from lamflow.cluster.waiting import reason, waiting
from lamflow.cluster.workflows import Workflows
from lamflow.config.pods import Cluster, Pods
from lamflow.config.schema import Config
from lamflow.errors import LamflowError

PATIENCE = 300.0
"""s; an image of many GB may take longer the first time."""


def doctor(config: Config | None, patience: float = PATIENCE) -> Iterator[Check]:
    """Every check, as it is done; with a configuration also a pod of each of its kinds, for up to `patience` s."""
    cluster = config.cluster if config else Cluster()
    try:
        workflows = Workflows.of(cluster)
        store = Store.of(cluster, cluster.prefix)
    except LamflowError as error:
        yield Check("cluster", "bad", str(error), "see KUBECONFIG, cluster.context and cluster.argo_server")
        return
    worst = "good"
    for check in examine(workflows.api, workflows.argo, cluster, store, config.pods if config else Pods()):
        yield check
        worst = "bad" if check.state == "bad" else worst
    if config is not None and worst != "bad":
        yield from _pods(config, workflows, store, patience)


def _pods(config: Config, workflows: Workflows, store: Store, patience: float) -> Iterator[Check]:
    """Start a pod of each kind, and clean up."""
    from lamflow.flow.manifest import KINDS, image_of
    from lamflow.flow.probe import STEPS, probe_manifest

    name = f"lamflow-doctor-{uuid.uuid4().hex[:6]}"
    try:
        workflows.ensure(probe_manifest(config, name))
    except LamflowError as error:
        yield Check("pods", "bad", str(error), "see above")
        return
    try:
        last = workflows.settle(name, patience) or {}
    finally:
        workflows.delete(name)
        store.delete(f"{name}/")
    found = {pod.step: pod for pod in pods(last)}
    stuck = {pod.step: pod for pod in waiting(last)}
    for step in STEPS:
        what, pod = f"{step} pod", found.get(step)
        image = image_of(config, step)
        if step in stuck:
            yield Check(what, "bad", reason(stuck[step], KINDS), f"it was given {patience:.0f} s")
        elif pod is None:
            yield Check(
                what, "bad", f"not begun after {patience:.0f} s", "no Argo controller looks after this namespace"
            )
        elif pod.phase == "Succeeded":
            yield Check(what, "good", f"{image} started and stored an artifact after {pod.end - pod.start:.0f} s")
        else:
            yield Check(what, "bad", f"{image}: {pod.phase}: {pod.message}", "the message is Argo's")
