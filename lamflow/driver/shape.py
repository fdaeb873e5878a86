"""How many pods each step of an iteration has, on a machine or on a cluster."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from lamflow.config.engines import SearcherSettings
from lamflow.config.pods import CLUSTER_PODS, Pod
from lamflow.config.schema import Config
from lamflow.data.results import Iteration, Shape
from lamflow.science.tasks import plan_tasks, pods_needed, task_seconds

KINDS = ("train", "explore", "label")


class Room(Protocol):
    """How much room there is for pods."""

    def slots(self, kind: str, pod: Pod) -> int:
        """How many pods of a kind run at once."""
        ...


@dataclass(frozen=True)
class Machine:
    """What this machine offers. cores: usable CPU cores; devices: numbers of its GPUs."""

    cores: int
    devices: tuple[str, ...] = ()

    @classmethod
    def here(cls) -> Machine:
        """This machine; CUDA_VISIBLE_DEVICES, or the driver's devices, say which GPUs there are."""
        visible = os.environ.get("CUDA_VISIBLE_DEVICES")
        if visible is None:
            visible = ",".join(str(n) for n in range(len(list(Path("/dev").glob("nvidia[0-9]*")))))
        devices = tuple(device for device in visible.split(",") if device not in ("", "-1"))
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        return cls(cores, devices)

    def slots(self, kind: str, pod: Pod) -> int:
        """See Room. No more than there are cores, or GPUs for pods that want one."""
        del kind
        room = max(1, self.cores // pod.threads)
        if pod.gpus and self.devices:
            room = min(room, max(1, len(self.devices) // pod.gpus))
        return room if pod.parallel is None else min(pod.parallel, room)


@dataclass(frozen=True)
class Elsewhere:
    """A Kubernetes cluster; how much room it has is its scheduler's affair."""

    def slots(self, kind: str, pod: Pod) -> int:
        """See Room."""
        return pod.parallel or CLUSTER_PODS[kind]


def iteration_shape(
    config: Config, number: int, stage: int, sizes: Mapping[str, int], room: Room, done: Sequence[Iteration] = ()
) -> Shape:
    """The graph of an iteration that explores; `sizes` says how many structures each set has."""
    # Any rung of a ladder has as many tasks.
    planned = plan_tasks(config.stages[stage], sizes, number, config.seed) if config.stages else []
    tasks, split = sum(not task.split for task in planned), [task.settings for task in planned if task.split]
    searches = [settings for settings in split if isinstance(settings, SearcherSettings)]
    slots = {kind: room.slots(kind, getattr(config.pods, kind)) for kind in KINDS}
    counts, seconds, pods = {"train": config.train.total, "explore": tasks}, task_seconds(done), config.pods
    return Shape(
        number=number,
        stage=stage,
        **{
            kind: pods_needed(count, slots[kind], getattr(pods, kind).tasks_per_pod, seconds.get(kind)) if count else 0
            for kind, count in counts.items()
        },
        pods_at_once=slots["label"],
        relax=max(1, min(slots["explore"], sum(settings.population for settings in searches))),
        generations=max((settings.generations for settings in searches), default=0),
    )
