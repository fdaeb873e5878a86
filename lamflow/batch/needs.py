"""What the allocations of a step need, from `pods:` and `batch:`."""

from __future__ import annotations

import math
import re

from lamflow.batch.system import Request
from lamflow.config.batch import Allocation, BatchSystem
from lamflow.config.pods import Pod

SPARE = 300.0
"""s of wall time beyond what jobs may work."""
UNITS = {"": 1, "m": 1e-3, "k": 1e3, "Ki": 2**10, "M": 1e6, "Mi": 2**20, "G": 1e9, "Gi": 2**30, "T": 1e12, "Ti": 2**40}


def amount(quantity: str) -> float:
    """A quantity of Kubernetes as a number: `16Gi`, `500m`."""
    number, unit = re.fullmatch(r"([0-9.]+)([A-Za-z]*)", quantity).groups()  # type: ignore[union-attr]
    return float(number) * UNITS[unit]


def allocation(batch: BatchSystem, pod: Pod) -> Allocation:
    """What a kind of step asks for beside CPUs, memory and GPUs."""
    return batch.overridden(pod.batch)


def wall_time(batch: BatchSystem, pod: Pod, in_turn: int) -> int:
    """Wall time in s of an allocation in which `in_turn` jobs run one after the other."""
    ask = allocation(batch, pod)
    return math.ceil(ask.wall_time if ask.wall_time is not None else in_turn * pod.timeout + SPARE)


def request(
    batch: BatchSystem, pod: Pod, name: str, sizes: tuple[int, int, int | None], memory: str, *, output: str
) -> Request:
    """What an array asks for.

    sizes   elements, jobs in turn in each, and how many elements may run at once
    memory  of each job
    output  see Request
    """
    ask = allocation(batch, pod)
    elements, in_turn, at_once = sizes
    together = ask.together or 1
    cores = max(pod.threads, math.ceil(amount(pod.cpu))) if pod.cpu else pod.threads
    return Request(
        name=name, elements=elements, at_once=at_once, output=output, allocation=ask,
        processes=together * max(1, cores // pod.threads), threads=pod.threads,
        memory=math.ceil(together * amount(memory) / 2**20), gpus=pod.gpus,
        seconds=wall_time(batch, pod, in_turn), environment=pod.environment,
    )  # fmt: skip
