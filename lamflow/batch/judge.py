"""Whether another try of a job is worth it, from how its tries ended."""

from __future__ import annotations

import re
from collections.abc import Mapping

from lamflow.batch.documents import LATE, STOPPED, SUCCEEDED, Try
from lamflow.config.pods import Pod
from lamflow.errors import BY_NAME, ClusterError, EngineError, KilledError, LamflowError, NodeError

MEMORY = re.compile(r"OUT_OF_MEMORY|TERM_MEMLIMIT|or h_vmem limit")
"""Words of Slurm, LSF and Grid Engine for an allocation that took too much."""


def how_it_ended(its: Try, why_over: str | None) -> str:
    """`lost`, `stopped`, `killed`, or the kind of the try; empty while it goes on.

    why_over  why its element has left the queue, None while it is there
    """
    if its.kind in (SUCCEEDED, LATE) or its.kind in BY_NAME:
        kind = BY_NAME.get(its.kind)
        return "killed" if kind is KilledError else its.kind
    if why_over is None:
        return ""
    if why_over == STOPPED:
        return "stopped"
    return "killed" if MEMORY.search(why_over) else "lost"


def is_killed(its: Mapping[int, Try], over: Mapping[int, str | None]) -> bool:
    """A try of the job took too much memory."""
    return any(how_it_ended(each, over[array]) == "killed" for array, each in its.items())


def verdict(name: str, its: Mapping[int, Try], over: Mapping[int, str | None], pod: Pod) -> LamflowError | None:
    """Why no other try of a job can help; None if one can, or if it goes on.

    its   tries by array, oldest first
    over  why the element of each array has left the queue, None while it is there
    """
    ends = [(how_it_ended(each, over[array]), each, over[array]) for array, each in its.items()]
    ends = [end for end in ends if end[0] not in ("", "stopped")]
    if not ends or ends[-1][0] == SUCCEEDED:
        return None
    end, last, why = ends[-1]
    where = f"{name} ({last.element} on {last.host})"
    if end == "killed":
        return _killed(where, [each for each in ends if each[0] == "killed"], pod)
    if end == LATE:
        return _late(where, [each for kind, each, _ in ends if kind == LATE])
    if end == "lost":
        return _lost(where, [(kind, each) for kind, each, _ in ends], why or "", pod)
    kind, tries = BY_NAME[end], [BY_NAME.get(each[0], EngineError) for each in ends]
    if issubclass(kind, NodeError) and sum(issubclass(each, NodeError) for each in tries) <= pod.retries:
        return None
    return kind(f"{where}: {last.message}")


def _killed(where: str, kills: list[tuple[str, Try, str | None]], pod: Pod) -> LamflowError | None:
    if len(kills) < 2:
        return None
    if pod.memory_max is not None:
        return EngineError(
            f"{where}: killed, most likely for memory, with {pod.memory} (memory) and again with {pod.memory_max} "
            "(memory_max); raise memory_max under `pods:`, or make its work smaller"
        )
    return EngineError(
        f"{where}: killed twice, most likely for memory: it asked for {pod.memory}; raise memory under `pods:`, or set "
        f"memory_max, with which a job that was killed is tried again. {kills[-1][1].message}".rstrip(". ")
    )


def _late(where: str, lates: list[Try]) -> LamflowError | None:
    """A try that ran out of wall time, and had all of it, must have kept something newer."""
    last = lates[-1]
    before = lates[-2].kept if len(lates) > 1 else ""
    if not last.first or (last.kept and last.kept != before):
        return None
    return EngineError(
        f"{where}: {last.end - last.begin:.0f} s of wall time were not enough, and it keeps no checkpoint that another "
        "try could go on from; raise `wall_time` under `batch:`, or give each job less to do (`work_per_job` under "
        "`pods:`)"
    )


def _lost(where: str, ends: list[tuple[str, Try]], why: str, pod: Pod) -> LamflowError | None:
    fruitless, kept = 0, ""
    for kind, each in ends:
        if kind == "lost":
            fruitless = 1 if each.kept and each.kept != kept else fruitless + 1
            kept = each.kept or kept
    if fruitless <= pod.losses:
        return None
    return ClusterError(
        f"{where} was lost {fruitless} times without a newer checkpoint in between, last with {why!r}; `losses` under "
        f"`pods:` allows {pod.losses}. See why its nodes go away; `lamflow resume` goes on"
    )
