"""How many jobs run at once, on this machine or on a cluster."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from lamflow.config.batch import BatchSystem
from lamflow.config.pods import CLUSTER_PODS, Pod
from lamflow.data.graph import Resources


class Capacity(Protocol):
    """How many jobs there is room for."""

    @property
    def cores(self) -> int | None:
        """That wait where no job runs; None where others use them."""
        ...

    def slots(self, resources: Resources, pod: Pod) -> int:
        """How many jobs of a kind of resources, which `pod` describes, run at once."""
        ...


@dataclass(frozen=True)
class LocalCapacity:
    """What this machine offers. cores: usable CPU cores; devices: numbers of its GPUs."""

    cores: int
    devices: tuple[str, ...] = ()

    @classmethod
    def of_this_machine(cls) -> LocalCapacity:
        """CUDA_VISIBLE_DEVICES, or the driver's devices, say which GPUs there are."""
        visible = os.environ.get("CUDA_VISIBLE_DEVICES")
        if visible is None:
            visible = ",".join(str(n) for n in range(len(list(Path("/dev").glob("nvidia[0-9]*")))))
        devices = tuple(device for device in visible.split(",") if device not in ("", "-1"))
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        return cls(cores, devices)

    def slots(self, resources: Resources, pod: Pod) -> int:
        """See Capacity. No more than there are cores, or GPUs for jobs that want one."""
        del resources
        slots = max(1, self.cores // pod.threads)
        if pod.gpus and self.devices:
            slots = min(slots, max(1, len(self.devices) // pod.gpus))
        return slots if pod.parallel is None else min(pod.parallel, slots)


@dataclass(frozen=True)
class ClusterCapacity:
    """A Kubernetes cluster or a batch system; how many jobs fit is its scheduler's affair.

    machine  that starts the jobs as processes where there is no scheduler
    """

    machine: LocalCapacity | None = None

    @classmethod
    def of(cls, system: BatchSystem) -> ClusterCapacity:
        """That of a batch system; `shell` without a host starts processes of this machine."""
        here = system.system == "shell" and system.host is None
        return cls(LocalCapacity.of_this_machine() if here else None)

    @property
    def cores(self) -> int | None:
        """See Capacity."""
        return None

    def slots(self, resources: Resources, pod: Pod) -> int:
        """See Capacity."""
        if pod.parallel is None and self.machine is not None:
            return self.machine.slots(resources, pod)
        return pod.parallel or CLUSTER_PODS.get(resources, 1)
