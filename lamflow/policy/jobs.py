"""How the work of a step is dealt out to jobs, and how what several jobs leave is put together again."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Literal

from lamflow.data.results import Iteration, SimulationResult

LEAST_JOB_SECONDS = 600.0
"""What a job should work for at least, so that its start of half a minute or so does not matter."""


def indices_of_job(count: int, jobs: int, job: int) -> range:
    """The units of work, of `count`, that job number `job` of `jobs` does: every `jobs`-th, so that costs even out."""
    return range(job, count, jobs)


def jobs_needed(
    count: int, parallel: int, units_per_job: int | Literal["auto"] | None, seconds: float | None = None
) -> int:
    """How many jobs share `count` units of work: no more than `parallel` unless `units_per_job` is a number.

    seconds  that one unit takes, if it has been measured; `auto` needs it, and spreads evenly without
    """
    if isinstance(units_per_job, int):
        return max(1, -(-count // units_per_job))
    if units_per_job == "auto" and seconds:
        parallel = min(parallel, math.ceil(count * seconds / LEAST_JOB_SECONDS))
    return max(1, min(count, parallel))


def proportional_jobs(jobs: int, count: int, total: int) -> int:
    """How many of `jobs` jobs `count` units of work of `total` get, in proportion, at least one."""
    return max(1, round(jobs * count / total)) if total else 1


def merge_partial(partial: Iterable[SimulationResult]) -> list[SimulationResult]:
    """Results in the order of their numbers; what several jobs say of one simulation or search is added up."""
    merged: dict[int, SimulationResult] = {}
    for result in sorted(partial, key=lambda result: result.number):
        earlier = merged.get(result.number)
        merged[result.number] = result if earlier is None else _added(earlier, result)
    return list(merged.values())


def _added(first: SimulationResult, second: SimulationResult) -> SimulationResult:
    return second.model_copy(
        update={
            "frames": first.frames + second.frames,
            "beyond": first.beyond + second.beyond,
            "dropped": dict(Counter(first.dropped) + Counter(second.dropped)),
            "failed": first.failed or second.failed,
            "log": first.log or second.log,
            "seconds": first.seconds + second.seconds,
        }
    )


def seconds_per_unit(past: Sequence[Iteration]) -> dict[str, float]:
    """Mean time of one unit of work of each kind, in s, in the newest iteration that has any."""
    seconds: dict[str, float] = {}
    for iteration in past:
        trained = [model.seconds for model in iteration.models if not model.reused]
        explored = [result.seconds for result in iteration.simulations]
        if trained:
            seconds["train"] = sum(trained) / len(trained)
        if explored:
            seconds["explore"] = sum(explored) / len(explored)
        if iteration.merged and (labels := iteration.merged.added + len(iteration.merged.failed)):
            seconds["label"] = iteration.merged.seconds / labels
    return seconds
