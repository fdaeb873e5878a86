"""`lamflow doctor --cluster`: what a run needs of a cluster, looked at, and tried."""

from __future__ import annotations

import uuid
from collections.abc import Iterator

from lamflow.cluster.check import Check
from lamflow.cluster.checks import examine
from lamflow.cluster.status import pods
from lamflow.cluster.store import Store
from lamflow.cluster.waiting import reason, waiting
from lamflow.cluster.workflows import Workflows
from lamflow.config.pods import Cluster, Pods
from lamflow.config.schema import DataStudy
from lamflow.driver.plan import planned_graphs
from lamflow.errors import LamflowError
from lamflow.superops.capacity import ClusterCapacity

PROBE_SECONDS = 300.0
"""s; an image of many GB may take longer the first time."""


def doctor(config: DataStudy | None, seconds: float = PROBE_SECONDS) -> Iterator[Check]:
    """Every check, as it is done; with a configuration also a pod of each of its kinds, for up to `seconds` s."""
    cluster = config.cluster if config else Cluster()
    try:
        workflows = Workflows.of(cluster)
    except LamflowError as error:
        yield Check("cluster", "bad", str(error), "see KUBECONFIG, cluster.context and cluster.argo_server")
        return

    def store() -> Store:
        return Store.of(cluster, cluster.prefix)

    worst = "good"
    for check in examine(workflows.api, workflows.argo, cluster, store, config.pods if config else Pods()):
        yield check
        worst = "bad" if check.state == "bad" else worst
    if config is not None and worst != "bad":
        yield from _pods(config, workflows, store(), seconds)


def _pods(config: DataStudy, workflows: Workflows, store: Store, seconds: float) -> Iterator[Check]:
    """Start a pod of each kind, and clean up."""
    from lamflow.flow.manifest import image_of
    from lamflow.flow.probe import probe_manifest, probed

    steps = probed(config, planned_graphs(config, ClusterCapacity()))
    resources: dict[str, str] = {step.name: step.resources for step in steps}
    name = f"lamflow-doctor-{uuid.uuid4().hex[:6]}"
    try:
        workflows.create_or_get(probe_manifest(config, name, steps))
    except LamflowError as error:
        yield Check("pods", "bad", str(error), "see above")
        return
    try:
        last = workflows.wait_until_finished(name, seconds) or {}
    finally:
        workflows.delete(name)
        store.delete(f"{name}/")
    found = {pod.step: pod for pod in pods(last)}
    stuck = {pod.step: pod for pod in waiting(last)}
    for step in steps:
        what, pod = f"{step.name} pod", found.get(step.name)
        image = image_of(config, step)
        if step.name in stuck:
            yield Check(what, "bad", reason(stuck[step.name], resources), f"it was given {seconds:.0f} s")
        elif pod is None:
            yield Check(
                what, "bad", f"not begun after {seconds:.0f} s", "no Argo controller looks after this namespace"
            )
        elif pod.phase == "Succeeded":
            yield Check(what, "good", f"{image} started and stored an artifact after {pod.end - pod.start:.0f} s")
        else:
            yield Check(what, "bad", f"{image}: {pod.phase}: {pod.message}", "the message is Argo's")
