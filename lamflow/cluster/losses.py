"""Tries of jobs that did not succeed: which were lost with their machine, which failed, and when to try no more.

A lost try (its pod was deleted, evicted or preempted, its node is gone) says nothing about the job, so it is made again
as long as there is progress. A failure is made again as often as `retries` allows, and what a code refuses never.
"""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Literal

from lamflow.cluster.status import FINISHED, Job, Manifest, Pod, finished, tries
from lamflow.config.pods import Pod as PodSettings
from lamflow.errors import BY_NAME, ClusterError, EngineError, LamflowError, NodeError

End = Literal["lost", "killed", "failed", "refused"]
"""How a try ended: with its machine, for its memory, by a failure that another try may not meet, for good."""
ERROR = re.compile(rf"\b({'|'.join(BY_NAME)}): (.*)", re.DOTALL)
"""How a pod's last word begins; Argo puts the exit status before it."""
TERMINATED = (None, -1, 137, 143)
"""Exit statuses of what was ended from outside; an evicted pod and one that is gone have none or -1."""
AGAIN = (*TERMINATED, 1, 64)
"""Exit statuses after which Argo tries again; 1 is a failure of the machine, 64 one of Argo's executor."""
MOMENT = 15.0
"""s in which Argo's controller starts a job that has queued."""
OUT_OF_MEMORY = "OOMKilled"
LATE = "longer than the specified deadline"


def end_of(pod: Pod) -> End:
    """How a try ended that did not succeed."""
    if OUT_OF_MEMORY in pod.message:
        return "killed"
    if pod.exit_code not in AGAIN:
        return "refused"
    outside = pod.exit_code in TERMINATED and "exit code 64" not in pod.message and LATE not in pod.message
    return "lost" if outside else "failed"


def has_ended(workflow: Manifest) -> bool:
    """A Workflow with one job has finished, or will when Argo looks at the exit status: after a pause or two."""
    return finished(workflow) or any(
        its[-1].phase == "Failed" and end_of(its[-1]) == "refused" for its in tries(workflow).values()
    )


def error_of(workflow: str, pod: Pod) -> LamflowError:
    """What a try that did not succeed said last, as the error that it was where the job ran."""
    where = f"Workflow {workflow}, {pod.step} {pod.number}"
    said = ERROR.search(pod.message)
    if said is not None:
        return BY_NAME[said[1]](f"{where}: {said[2]}")
    kind = EngineError if pod.exit_code == 2 else NodeError
    return kind(f"{where}: {pod.message or pod.phase}; `lamflow logs` has all that it printed")


class Tries:
    """What the jobs of one Workflow have gone through.

    settings     of the pods of each step
    checkpoints  what a job has kept in the object store so far, in any form that changes with a newer checkpoint
    completed    jobs of each step that earlier Workflows of the round have finished
    """

    def __init__(
        self,
        settings: Mapping[str, PodSettings],
        checkpoints: Callable[[Job], object],
        completed: Mapping[str, Sequence[int]] = MappingProxyType({}),
    ) -> None:
        self.settings, self.checkpoints, self.completed = settings, checkpoints, completed
        self.finished, self.idle = 0, time.monotonic()
        self.told: set[str] = set()
        self.lost: dict[Job, int] = {}
        self.kept: dict[Job, object] = {}
        self.forgiven: dict[Job, int] = {}
        """Losses of each job before its last progress."""

    def news(self, workflow: Manifest) -> list[str]:
        """What happened since the last question: a line for each try that ended badly, unless it was told to."""
        lines: list[str] = []
        if (workflow.get("spec") or {}).get("shutdown"):
            return lines
        for pod in (pod for its in tries(workflow).values() for pod in its):
            if pod.phase in ("Failed", "Error") and pod.node not in self.told:
                self.told.add(pod.node)
                lines.append(f"{pod.step} {pod.number} {_ending(pod)}")
        return lines

    def final(self, workflow: Manifest) -> dict[Job, LamflowError]:
        """The jobs that are not worth another try, and why."""
        jobs = tries(workflow)
        finished = sum(its[-1].phase == "Succeeded" for its in jobs.values())
        if finished > self.finished:
            self.finished, self.forgiven = finished, {job: _losses(its) for job, its in jobs.items()}
        found = {job: self._error(workflow, job, its) for job, its in jobs.items() if its[-1].phase != "Succeeded"}
        return {job: error for job, error in found.items() if error is not None}

    def is_over(self, workflow: Manifest, final: Mapping[Job, LamflowError], now: float | None = None) -> bool:
        """Nothing else in the Workflow works, so that it is not worth waiting for; jobs that queue get a moment."""
        now, jobs = time.monotonic() if now is None else now, tries(workflow)
        works = any(its[-1].phase != "Succeeded" and job not in final for job, its in jobs.items())
        if not final or works:
            self.idle = now
            return False
        return not _unseen(jobs, self.completed) or now - self.idle > MOMENT

    def _error(self, workflow: Manifest, job: Job, its: list[Pod]) -> LamflowError | None:
        name = workflow["metadata"]["name"]
        where, settings = f"Workflow {name}, {job[0]} {job[1]}", self.settings[job[0]]
        ended = [pod for pod in its if pod.phase in ("Failed", "Error")]
        ends = [end_of(pod) for pod in ended]
        if ends and ends[-1] == "refused":
            return error_of(name, ended[-1])
        if ends[-2:] == ["killed", "killed"]:
            return EngineError(f"{where}: {_out_of_memory(settings)}")
        if ends.count("failed") > settings.retries:
            return error_of(name, [pod for pod, end in zip(ended, ends, strict=True) if end == "failed"][-1])
        self._look_for_a_checkpoint(job, _losses(its))
        fruitless = self.lost.get(job, 0) - self.forgiven.get(job, 0)
        if fruitless <= settings.losses:
            return None
        last = next(pod for pod, end in zip(ended[::-1], ends[::-1], strict=True) if end in ("lost", "killed"))
        return ClusterError(
            f"{where} was lost {fruitless} times without a newer checkpoint or a finished job in between, last with "
            f"{last.message or 'no reason given'!r}; `losses` under `pods:` allows {settings.losses}. See why its "
            "nodes go away; `lamflow resume` goes on"
        )

    def _look_for_a_checkpoint(self, job: Job, losses: int) -> None:
        """Forgive the losses of a job that has kept something newer since the last of them."""
        if losses > self.lost.get(job, 0):
            kept = self.checkpoints(job)
            if job in self.kept and kept != self.kept[job]:
                self.forgiven[job] = losses - 1
            self.lost[job], self.kept[job] = losses, kept


def _unseen(jobs: Mapping[Job, list[Pod]], completed: Mapping[str, Sequence[int]]) -> bool:
    """Some job of a step that has begun has not begun: Argo lets only so many run."""
    steps = {its[-1].step: its[-1].of for its in jobs.values()}
    begun = Counter(step for step, _ in jobs)
    return any(begun[step] + len(completed.get(step, ())) < of for step, of in steps.items())


def _losses(its: list[Pod]) -> int:
    ended = [pod for pod in its if pod.phase in FINISHED and pod.phase != "Succeeded"]
    return sum(end_of(pod) in ("lost", "killed") for pod in ended)


def _ending(pod: Pod) -> str:
    """How a try ended, in words."""
    said = pod.message or "no reason given"
    return {
        "lost": f"was lost and is tried again: {said}",
        "killed": f"was killed because it took more memory than it has: {said}",
        "failed": f"failed: {said}",
        "refused": f"cannot succeed: {said}",
    }[end_of(pod)]


def _out_of_memory(settings: PodSettings) -> str:
    if settings.memory_max is not None:
        return (
            f"killed for memory with {settings.memory} (memory) and again with {settings.memory_max} (memory_max), all "
            "of which it used; raise memory_max under `pods:`, or make its work smaller"
        )
    return (
        f"killed for memory twice: it asked for {settings.memory} and used all of it; raise memory under `pods:`, or "
        "set memory_max, with which a pod that was killed is tried again"
    )
