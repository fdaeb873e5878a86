"""`lamflow doctor --cluster`: what a run needs of a cluster, looked at, and tried."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator, Sequence

from lamflow.cluster.check import Check
from lamflow.cluster.checks import examine
from lamflow.cluster.pod_reasons import explained
from lamflow.cluster.status import FINISHED, Pod, finished, pods
from lamflow.cluster.store import Store
from lamflow.cluster.waiting import reason, waiting
from lamflow.cluster.workflows import Workflows
from lamflow.config.pods import Cluster, Pods
from lamflow.config.schema import DataStudy
from lamflow.data.graph import Step
from lamflow.driver.plan import planned_graphs
from lamflow.errors import LamflowError
from lamflow.superops.capacity import ClusterCapacity

PROBE_SECONDS = 300.0
"""s; an image of many GB may take longer the first time."""
PULLS = 3
"""A registry that has refused an image so often refuses it."""


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
    from lamflow.flow.probe import probe_manifest, probed

    steps = probed(config, planned_graphs(config, ClusterCapacity()))
    name = f"lamflow-doctor-{uuid.uuid4().hex[:6]}"
    try:
        workflows.create_or_get(probe_manifest(config, name, steps))
    except LamflowError as error:
        yield Check("pods", "bad", str(error), "see above")
        return
    try:
        yield from _verdicts(config, workflows, name, steps, seconds)
    finally:
        workflows.delete(name)
        store.delete(f"{name}/")


def _verdicts(
    config: DataStudy, workflows: Workflows, name: str, steps: Sequence[Step], seconds: float
) -> Iterator[Check]:
    """What is found of each pod of the probe, as soon as it is known."""
    waiting_for, end = {step.name: step for step in steps}, time.monotonic() + seconds
    while waiting_for:
        state = workflows.find(name) or {}
        late = time.monotonic() > end or finished(state)
        reasons = workflows.pod_reasons(state) if state else {}
        stuck = {pod.step: pod for pod in waiting(explained(state, reasons))}
        found = {pod.step: pod for pod in pods(state)}
        for step in list(waiting_for.values()):
            pod = found.get(step.name)
            no_image = pod is not None and pod.node in reasons and reasons[pod.node].refused >= PULLS
            if late or no_image or (pod is not None and pod.phase in FINISHED):
                del waiting_for[step.name]
                yield _verdict(config, step, pod, stuck.get(step.name), seconds)
        if waiting_for:
            time.sleep(1.0)


def _verdict(config: DataStudy, step: Step, pod: Pod | None, stuck: Pod | None, seconds: float) -> Check:
    from lamflow.flow.manifest import image_of

    what, image = f"{step.name} pod", image_of(config, step)
    if stuck is not None:
        return Check(what, "bad", reason(stuck, {step.name: step.resources}), f"it was given {seconds:.0f} s at most")
    if pod is None:
        return Check(what, "bad", f"not begun after {seconds:.0f} s", "no Argo controller looks after this namespace")
    if pod.phase == "Succeeded":
        return Check(what, "good", f"{image} started and stored an artifact after {pod.end - pod.start:.0f} s")
    return Check(what, "bad", f"{image}: {pod.phase}: {pod.message}", "the message is Argo's")
