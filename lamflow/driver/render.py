"""The manifest of an iteration, as `lamflow render` prints it."""

from __future__ import annotations

import json
from typing import Any

from lamflow.config.schema import Config
from lamflow.data.results import Shape
from lamflow.driver.prepare import frames_of
from lamflow.driver.remote import Remote
from lamflow.driver.shape import Elsewhere, iteration_shape
from lamflow.errors import InputError
from lamflow.science.tasks import pods_needed, share_of


def cluster_pods(config: Config, stage: int) -> dict[str, int]:
    """Pods of each step of an iteration of a stage, at most, counted in the graph that goes to Argo."""
    from lamflow.flow.iteration import manifest
    from lamflow.flow.manifest import KINDS, steps_of

    sizes = {settings.name: len(frames_of(settings, config)) for settings in config.structures}
    shape = iteration_shape(config, 1, stage, sizes, Elsewhere())
    templates = manifest(config, shape)["spec"]["templates"]
    label, pods = config.pods.label, {}
    for step in steps_of(templates):
        if step["template"] in KINDS:
            items = step.get("withParam", "[0]")
            known = items.startswith("[")
            most = pods_needed(config.select.limit, shape.pods_at_once, label.tasks_per_pod)
            pods[step["template"]] = len(json.loads(items)) if known else most
    return pods


def render_run(config: Config) -> dict[str, Any]:
    """The Argo Workflow of the run, whose pod is the driver."""
    from lamflow.flow.run import run_manifest

    remote = Remote.of(config)
    return run_manifest(config, remote.url, remote.prefix)


def render(config: Config, number: int) -> dict[str, Any]:
    """The Argo Workflow of iteration `number`, as if the first stage went on so long; 0 is the start.

    Asks neither a cluster nor an object store. Raises InputError for an iteration beyond the budget.
    """
    from lamflow.flow.iteration import manifest

    if number > config.budget.iterations:
        raise InputError(f"iteration {number} is beyond the budget of {config.budget.iterations}")
    sizes = {settings.name: len(frames_of(settings, config)) for settings in config.structures}
    if number:
        return manifest(config, iteration_shape(config, number, 0, sizes, Elsewhere()))
    pod, pods = config.pods.label, 0
    counts = [sum(sizes[name] for name in names) for names in config.labeled_first.values()]
    for count in counts:
        room = share_of(Elsewhere().slots("label", pod), count, sum(counts))
        pods += pods_needed(count, room, pod.tasks_per_pod)
    given = any(part.start.data or part.heldout.data for part in config.parts)
    return manifest(config, Shape(number=0, label=pods, given=given))
