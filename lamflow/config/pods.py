"""`pods:` how work is cut into tasks, by kind of step. The same keys on a laptop and on a cluster."""

from __future__ import annotations

from pydantic import Field

from lamflow.config.section import Section
from lamflow.units import Second


class Pod(Section):
    """What one kind of step needs."""

    parallel: int | None = Field(None, ge=1)
    """How many run at once. On a laptop the default is the number of cores, or of GPUs for a step that asks for one."""
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


class Pods(Section):
    """Resources by kind of step."""

    train: Pod = Pod()
    explore: Pod = Pod()
    label: Pod = Pod()
    small: Pod = Pod()
    """Select and merge."""
