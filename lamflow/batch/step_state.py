"""How the jobs of a step stand, from the files in its folder."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from lamflow.batch.documents import ARRAYS, BEGAN, ENDED, OVER, STATUS, STEP, SUCCEEDED, Array, Over, StepPlan, Try

NOBODY = "none"
"""Id of an array that was never submitted."""


@dataclass(frozen=True)
class StepState:
    """One look at a step.

    arrays  what was submitted, oldest first; their numbers are their places
    tries   every try of every job, by job and array
    over    of each array the elements that have left the queue, and why
    """

    folder: Path
    jobs: int
    arrays: list[Array]
    tries: dict[int, dict[int, Try]]
    over: dict[int, dict[int, str]] = field(default_factory=dict)

    @classmethod
    def read(cls, folder: Path, jobs: int, ended: dict[str, Try] | None = None) -> StepState:
        """What the files say now. ended: tries that are known to have ended, by the names of their files"""
        found = sorted((Array.read(file) for file in (folder / ARRAYS).glob("[0-9]*.json")), key=lambda it: it.number)
        over = {array.number: _over(folder, array.number) for array in found}
        return cls(folder, jobs, found, read_tries(folder, {} if ended is None else ended), over)

    @classmethod
    def of_step(cls, folder: Path) -> StepState:
        """What the files say of a step that has begun."""
        return cls.read(folder, StepPlan.read(folder / STEP).jobs)

    @cached_property
    def done(self) -> set[int]:
        """Jobs that have succeeded."""
        return {job for job, its in self.tries.items() if any(each.kind == SUCCEEDED for each in its.values())}

    @property
    def running(self) -> set[int]:
        """Jobs whose newest try has begun and not ended."""
        return {job for job, its in self.tries.items() if job not in self.done and list(its.values())[-1].kind == BEGAN}

    @cached_property
    def waiting(self) -> list[int]:
        """Jobs that are neither done nor in the queue."""
        queued = {job for array in self.arrays for job in self.in_flight(array)}
        return sorted(set(range(self.jobs)) - self.done - queued)

    def has_ended(self, job: int, array: int) -> bool:
        """The job will do nothing any more in that array, as far as files say."""
        its = self.tries.get(job, {})
        return job in self.done or (array in its and its[array].kind not in (BEGAN, ENDED))

    def in_queue(self, array: Array) -> Iterator[tuple[int, list[int]]]:
        """Number and unfinished jobs of each element that has not left the queue, as far as is known."""
        for index, jobs in enumerate(array.elements):
            left = [job for job in jobs if not self.has_ended(job, array.number)]
            if left and index not in self.over[array.number]:
                yield index, left

    def in_flight(self, array: Array) -> list[int]:
        """Jobs that wait or run in an array."""
        return [job for _, jobs in self.in_queue(array) for job in jobs]

    @property
    def open_arrays(self) -> list[Array]:
        """Arrays with jobs in the queue."""
        return [array for array in self.arrays if self.in_flight(array)]

    @property
    def elements(self) -> int:
        """Elements in the queue."""
        return sum(len(list(self.in_queue(array))) for array in self.arrays)

    def reasons(self, job: int) -> dict[int, str | None]:
        """Of each try of a job why its element has left the queue; None while it is there."""
        return {number: self._reason(self.arrays[number], job) for number in self.tries.get(job, {})}

    def _reason(self, array: Array, job: int) -> str | None:
        element = next(index for index, jobs in enumerate(array.elements) if job in jobs)
        return self.over[array.number].get(element)

    def unseen(self) -> list[tuple[Array, int, str]]:
        """Elements that have left the queue before any of their jobs said anything, and why."""
        return [
            (array, index, why)
            for array in self.arrays if array.id != NOBODY
            for index, why in self.over[array.number].items()
            if not any(array.number in self.tries.get(job, {}) for job in array.elements[index])
        ]  # fmt: skip

    def write_over(self, array: Array, more: dict[int, str]) -> None:
        """Write down that more elements have left the queue, and why."""
        Over(elements=self.over[array.number] | more).save(self.folder / OVER / f"{array.number}.json")

    @property
    def span(self) -> tuple[float, float] | None:
        """When its jobs ran, from the first to the last, in s since 1970; None if none has ended."""
        ended = [each for its in self.tries.values() for each in its.values() if each.end]
        return (min(each.begin for each in ended), max(each.end for each in ended)) if ended else None


def read_tries(folder: Path, ended: dict[str, Try]) -> dict[int, dict[int, Try]]:
    """Every try of every job in the folder of a step, by job and array, oldest first; adds to `ended`."""
    found: dict[int, dict[int, Try]] = {}
    for file in (folder / STATUS).glob("[0-9]*.json"):
        job, array = map(int, file.stem.split("-"))
        its = ended.get(file.name) or Try.read(file)
        if its.kind not in (BEGAN, ENDED):
            ended[file.name] = its
        found.setdefault(job, {})[array] = its
    return {job: dict(sorted(its.items())) for job, its in found.items()}


def _over(folder: Path, number: int) -> dict[int, str]:
    file = folder / OVER / f"{number}.json"
    return dict(Over.read(file).elements) if file.is_file() else {}
