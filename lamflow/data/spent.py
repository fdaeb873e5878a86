"""Where the seconds of jobs go: the one definition that records, the report and benchmarks share.

A job's process has one clock. Code says with `spending` what it is about to do; what is done inside belongs to the
innermost name, so that nothing counts twice. A record takes what has gone by since the one before.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Literal, TypeVar, cast

import psutil

from lamflow.data.document import Entry

T = TypeVar("T")
Kind = Literal["physics", "judging", "startup", "data", "lamflow"]


class Spent(Entry):
    """Core-seconds: s of wall time × threads that the job has, summed over jobs.

    An external program of a label code counts as physics from its start to its end. What torch compiles in the first
    steps of a model is part of these steps.
    """

    physics: float = 0.0
    """Inside training steps, dynamics steps and label evaluations."""
    judging: float = 0.0
    """Inside evaluations of models on held-out and on explored frames."""
    startup: float = 0.0
    """Starting the job and its programs, importing codes, loading models, setting trainings up."""
    data: float = 0.0
    """Reading, checking, copying and writing frames and models; fetching the batches of a training."""
    lamflow: float = 0.0
    """All else that jobs do; of a whole round, also the time between its steps, on all cores."""
    waiting: float = 0.0
    """Of a whole round on one machine: cores that had no job while a step ran."""

    @property
    def total(self) -> float:
        """All of it."""
        return float(sum(self.model_dump().values()))

    @property
    def efficiency(self) -> float:
        """The share of physics."""
        return self.physics / self.total if self.total else 0.0

    def __add__(self, other: Spent) -> Spent:
        mine, others = self.model_dump(), other.model_dump()
        return Spent(**{name: mine[name] + others[name] for name in mine})


class StepTime(Entry):
    """How long a step of a round took, in s, and where the time of its jobs went."""

    name: str
    wall: float
    spent: Spent = Spent()


class _Clock:
    """What this process has spent since it was last asked. One thread moves it."""

    def __init__(self) -> None:
        self.begin(1)

    def begin(self, threads: int) -> None:
        """Forget what was before."""
        self.threads = threads
        self.doing: list[Kind] = ["lamflow"]
        self.then = time.monotonic()
        self.seconds: dict[Kind, float] = {}

    def charge(self) -> None:
        """Book the time until now."""
        now, kind = time.monotonic(), self.doing[-1]
        self.seconds[kind] = self.seconds.get(kind, 0.0) + now - self.then
        self.then = now


_CLOCK = _Clock()


def begin(threads: int) -> None:
    """The job begins: what its process has done until now was to start."""
    _CLOCK.begin(threads)
    _CLOCK.seconds["startup"] = max(0.0, _age())


def _age() -> float:
    """s since this process began.

    Linux counts them from its own start, of which psutil knows the whole second only: it would be wrong by up to 1 s.
    """
    if sys.platform != "linux":
        return time.time() - psutil.Process(os.getpid()).create_time()
    ticks = int(Path("/proc/self/stat").read_text(encoding="utf-8").rsplit(")", 1)[1].split()[19])  # proc(5), starttime
    return time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK")


@contextlib.contextmanager
def spending(kind: Kind) -> Iterator[None]:
    """What happens inside is of this kind, but for what says itself that it is of another. Also a decorator."""
    _CLOCK.charge()
    _CLOCK.doing.append(kind)
    try:
        yield
    finally:
        _CLOCK.charge()
        _CLOCK.doing.pop()


def making(kind: Kind, items: Iterable[T]) -> Iterator[T]:
    """The items; making them is of this kind, what is done between them is not."""
    iterator, end = iter(items), object()
    while True:
        with spending(kind):
            item = next(iterator, end)
        if item is end:
            return
        yield cast(T, item)


def move(seconds: float, source: Kind, target: Kind) -> None:
    """Book some of what is booked to one kind to another: only a program's own log knows what it did."""
    _CLOCK.charge()
    seconds = min(seconds, _CLOCK.seconds.get(source, 0.0))
    _CLOCK.seconds[source] = _CLOCK.seconds.get(source, 0.0) - seconds
    _CLOCK.seconds[target] = _CLOCK.seconds.get(target, 0.0) + seconds


def take() -> Spent:
    """What this job has spent since it was last asked, or since it began."""
    _CLOCK.charge()
    spent = Spent(**{kind: _CLOCK.threads * seconds for kind, seconds in _CLOCK.seconds.items()})
    _CLOCK.seconds = {}
    return spent


def spent_on(record: Path) -> Spent:
    """What a record says of itself, of whatever class it is; nothing where it says nothing."""
    said = json.loads(record.read_bytes()).get("spent")
    return Spent() if said is None else Spent.model_validate(said)


def of_round(jobs: Spent, spans: Iterable[tuple[float, float]], seconds: float, cores: int | None) -> Spent:
    """What a whole round has spent: its jobs, and on one machine the cores that had none.

    spans    start and end of each step, in s of one clock
    seconds  wall time of the round
    cores    that were there for it; None where others use those that it leaves
    """
    if cores is None:
        return jobs
    during, end = 0.0, 0.0
    for start, stop in sorted(spans):
        during += max(0.0, stop - max(start, end))
        end = max(end, stop)
    between = cores * max(0.0, seconds - during)
    return jobs + Spent(lamflow=between, waiting=max(0.0, cores * during - jobs.total))
