"""Carries out one step on a batch system: submits its jobs, watches them, and submits again what was lost."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from lamflow.batch.documents import (
    ARRAYS,
    JOBS,
    LOG,
    OUTPUT,
    OVER,
    PROGRESS,
    SEEN,
    STATUS,
    STEP,
    STOPPED,
    SUCCEEDED,
    Array,
    StepPlan,
    Try,
)
from lamflow.batch.judge import how_it_ended, is_killed, verdict
from lamflow.batch.needs import allocation, request, wall_time
from lamflow.batch.queue import FIRST_PAUSE, LONGEST_PAUSE, FullError, Queue
from lamflow.batch.script import python, script
from lamflow.batch.step_state import NOBODY, StepState
from lamflow.batch.system import Element, Request, Seen
from lamflow.config.pods import Pod
from lamflow.data.files import write_whole
from lamflow.data.graph import sufficient
from lamflow.engines import process
from lamflow.errors import ClusterError, LamflowError, OutageError
from lamflow.ops.operation import fraction_done

GONE = "it is not in the queue any more"
LOOK = 0.5
"""s between two looks at files that jobs leave; where they come over ssh, `poll` is."""
GRACE = 30.0
"""s, at most, that a shared file system may take to show what a job wrote before its element left the queue."""
WORDS = {"lost": "was lost", "late": "used up its wall time", "killed": "was killed"}


@dataclass
class Carried:
    """A step on its way.

    folder   of the step, see `documents`; `store` is that of the run
    site    name of the batch system in the study
    at_once  how many jobs may run at the same time
    says     is told what a person should know
    shows    is told which share of the work is done
    """

    store: Path
    folder: Path
    plan: StepPlan
    site: str
    pod: Pod
    queue: Queue
    at_once: int | None
    says: Callable[[str], None]
    shows: Callable[[float], None]
    _missing: dict[tuple[int, int], float] = field(default_factory=dict)
    _watched: set[int] = field(default_factory=set)
    _first: int = 0
    _waits: set[tuple[str, str]] = field(default_factory=set)
    _told: set[tuple[int, int]] = field(default_factory=set)
    _ended: dict[str, Try] = field(default_factory=dict)
    _asked: float = -1e9
    _pause: float = 0.0
    _next_submission: float = -1e9

    def run(self, enough: float = 1.0) -> None:
        """Carry the step out until this fraction of its jobs has ended.

        Raises what they say, ClusterError and OutageError. The others run on, until the same step is carried out again.

        Jobs of a driver that was killed go on, and are found again: by name where it died before it knew their id.
        """
        self._begin()
        while True:
            now = self._look()
            if len(now.done) >= sufficient(enough, self.plan.jobs):
                break
            try:
                self._judge(now)
            except LamflowError:
                self._end_all(now)
                raise
            self._submit(now)
            self.shows(self._share(now))
            time.sleep(LOOK if self.queue.machine.is_local else self.queue.settings.poll)
        logs = self._key(*(f"{JOBS}/{job}/{LOG}" for job in range(self.plan.jobs)))
        self.queue.bring([*self.plan.writes.values(), *logs])
        self.shows(1.0)

    def _key(self, *names: str) -> list[str]:
        """Keys of what the step's folder has under these names."""
        return [f"{self.folder.relative_to(self.store).as_posix()}/{name}" for name in names]

    def _begin(self) -> None:
        if not (self.folder / ARRAYS).is_dir():  # an earlier driver may have been on another machine
            self.queue.bring(self._key(ARRAYS))
        self.queue.make(self._key(ARRAYS, SEEN, STATUS, OVER, OUTPUT, PROGRESS))
        self.plan.save(self.folder / STEP)
        self.queue.send([*self._key(STEP), *(key.key for key in self.plan.reads.values())])
        before = self._standing()
        self._watched = {array.number for array in before.open_arrays}
        self._first = len(before.arrays)
        for array in before.arrays:
            if not array.id:
                known = self.queue.find_patiently(array.name)
                self._keep(array.model_copy(update={"id": known[0] if known else NOBODY}))

    def _standing(self) -> StepState:
        return StepState.read(self.folder, self.plan.jobs, self._ended)

    def _look(self) -> StepState:
        """How it stands; which elements have left the queue is written down every `poll` s."""
        self.queue.bring(self._key(SEEN, STATUS, OUTPUT, PROGRESS))
        now = self._standing()
        if time.monotonic() - self._asked < self.queue.settings.poll or not now.open_arrays:
            return now
        self._asked = time.monotonic()
        listed = self.queue.states([array.id for array in now.open_arrays if array.id != NOBODY])
        self._tell_waiting(listed)
        for array in now.open_arrays:
            self._note(now, array, {index: seen for (identity, index), seen in listed.items() if identity == array.id})
        return self._standing()

    def _note(self, now: StepState, array: Array, listed: Mapping[int, Seen]) -> None:
        """Write down which elements of an array have left the queue without a word."""
        over: dict[int, str] = {}
        held: list[str] = []
        for index, _ in now.in_queue(array):
            seen = listed.get(index, Seen("over", GONE))
            if seen.state == "held":
                over[index] = seen.reason
                held.append(f"{array.id}_{index}")
                continue
            if seen.state != "over":
                self._missing.pop((array.number, index), None)
                continue
            since = self._missing.setdefault((array.number, index), time.monotonic())
            grace = 0.0 if array.id == NOBODY else min(GRACE, 2 * self.queue.settings.poll)
            if time.monotonic() - since >= grace:
                over[index] = seen.reason
        if over:
            now.write_over(array, over if array.id == NOBODY else self.queue.explained(array.id, over))
            self.queue.cancel(held)

    def _tell_waiting(self, listed: Mapping[Element, Seen]) -> None:
        """Tell why elements wait, and raise ClusterError where they would wait for ever."""
        system = self.queue.system
        for (array, _), seen in listed.items():
            if seen.state != "waiting":
                continue
            if re.search(system.never_begins, seen.reason):
                self._end_all(self._standing())
                raise ClusterError(
                    f"{self.plan.name}: job {array} was ended, for it would wait for ever: {system.name} says "
                    f"{seen.reason}{self.queue.advice(seen.reason)}"
                )
            if not re.search(system.usual, seen.reason) and (array, seen.reason) not in self._waits:
                self._waits.add((array, seen.reason))
                self.says(f"{self.plan.name}: job {array} waits: {seen.reason}{self.queue.advice(seen.reason)}")

    def _judge(self, now: StepState) -> None:
        """Raise why the step cannot be carried out, and tell what is tried again."""
        for array in now.open_arrays:
            for index, _ in now.in_queue(array):
                file = self.folder / SEEN / f"{array.number}-{index}.refused"
                if file.is_file():
                    said = file.read_text(encoding="utf-8").strip()
                    raise ClusterError(f"{self.plan.name} on {self.queue.system.name}: {said} (see `batch:`)")
        for job, all_of_them in now.tries.items():
            reasons, tried = now.reasons(job), self._of_this_driver(all_of_them)
            error = verdict(f"{self.plan.name} {job}", tried, reasons, self.pod)
            if error is not None:
                raise error
            for number, each in tried.items():
                end = how_it_ended(each, reasons[number])
                if end not in ("", SUCCEEDED, STOPPED) and (number, job) not in self._told:
                    self._told.add((number, job))
                    said = reasons[number] or each.message or "no reason given"
                    self.says(f"{self.plan.name} {job} {WORDS.get(end, 'failed')} and is tried again: {said}")
        self._judge_unseen([element for element in now.unseen() if self._counts(*element)])

    def _of_this_driver(self, tried: Mapping[int, Try]) -> dict[int, Try]:
        """Tries that it has watched: who resumes a run that has failed wants those before to be forgotten."""
        return {number: each for number, each in tried.items() if number >= self._first or number in self._watched}

    def _counts(self, array: Array, index: int, why: str) -> bool:
        del index
        return why != STOPPED and (array.number >= self._first or array.number in self._watched)

    def _judge_unseen(self, lost: list[tuple[Array, int, str]]) -> None:
        """Elements that left the queue before they could say anything: lost with their nodes, or never able to."""
        for array, index, why in lost:
            if (array.number, -1 - index) not in self._told:
                self._told.add((array.number, -1 - index))
                self.says(f"{self.plan.name}: element {array.id}_{index} did not begin and is submitted again: {why}")
        if lost and (len(lost) > self.pod.losses or "FAILED" in lost[-1][2]):
            array, index, why = lost[-1]
            called = self.queue.system.called(index)
            printed = process.tail(self.folder / OUTPUT / f"{array.number}-{called}.txt", 5).strip()
            blind = (
                f"its node most likely does not see {self.queue.machine.seen(self.folder)}: the run's folder (`--dir`) "
                "must lie on a file system that all nodes share; `lamflow doctor --batch` looks"
            )
            blind += (
                "; or a line of `before` has ended the job" if allocation(self.queue.settings, self.pod).before else ""
            )
            said = f"it printed last:\n{printed}" if printed else blind
            raise ClusterError(f"{self.plan.name}: element {array.id}_{index} ended without a trace ({why}); {said}")

    def _end_all(self, now: StepState) -> None:
        """End what is still in the queue of a step that cannot be carried out."""
        try:
            cancel(now, self.site, self.queue)
        except (OutageError, ClusterError) as error:
            self.says(f"jobs of {self.plan.name} may still be in the queue: {error}")

    def _submit(self, now: StepState) -> None:
        """Submit the jobs that wait as one array, as far as the queue has room for them."""
        settings = self.queue.settings
        limit = settings.array_size
        if settings.queued is not None:
            limit = min(limit, settings.queued - now.elements)
        if not now.waiting or limit <= 0 or time.monotonic() < self._next_submission:
            return
        jobs, memory = self._next_jobs(now)
        together = allocation(settings, self.pod).together or 1
        count = min(limit, -(-len(jobs) // together))
        elements = [jobs[first::count] for first in range(count)]
        array = Array(
            number=len(now.arrays), site=self.site, name="", elements=elements, together=together, memory=memory,
            seconds=wall_time(settings, self.pod, -(-len(elements[0]) // together)),
        )  # fmt: skip
        self._send_what_fits(array, alone=now.elements == 0)

    def _send_what_fits(self, array: Array, *, alone: bool) -> None:
        """Submit an array, or the first half of its elements, or the first quarter, … where the queue takes no more.

        Jobs of those that are left out wait, and are submitted later.

        alone  nothing of the step is in the queue, so that one element is waited for
        """
        count = len(array.elements)
        while count > 0:
            less = array.model_copy(update={
                "elements": array.elements[:count], "name": self.queue.new_name(self.plan.name, self.store.name)
            })  # fmt: skip
            try:
                self._send(less, wait=alone and count == 1)
                break
            except FullError as error:
                if not self._pause and count == len(array.elements):
                    self.says(f"{self.plan.name}: {error}; what it takes is submitted, and more later")
                count //= 2
        full = count < len(array.elements)
        self._pause = min(max(2 * self._pause, FIRST_PAUSE), LONGEST_PAUSE) if full else 0.0
        self._next_submission = time.monotonic() + self._pause

    def _next_jobs(self, now: StepState) -> tuple[list[int], str]:
        """Jobs to submit, and the memory of each: those that were killed for it get more, and an array of their own."""
        more = self.pod.memory_max
        killed = [job for job in now.waiting if job in now.tries and is_killed(now.tries[job], now.reasons(job))]
        return (killed, more) if more and killed else (now.waiting, self.pod.memory)

    def _request(self, array: Array) -> Request:
        """What an array asks for."""
        in_turn = -(-len(array.elements[0]) // array.together)
        at_once = None if self.at_once is None else max(1, self.at_once // array.together)
        output = f"{self.queue.machine.seen(self.folder)}/{OUTPUT}/{array.number}-INDEX.txt"
        sizes = len(array.elements), in_turn, at_once
        return request(self.queue.settings, self.pod, array.name, sizes, array.memory, output=output)

    def _send(self, array: Array, *, wait: bool) -> None:
        """Write an array down, submit it, and write its id down. Raises FullError unless it may wait."""
        machine, file, asked = self.queue.machine, self.folder / ARRAYS / f"{array.name}.sh", self._request(array)
        there = machine.seen(self.folder)
        words = [python(asked.allocation), "-m", "lamflow.batch.element", there, str(array.number)]
        write_whole(file, script(self.queue.system, asked, there, array.number, machine.seen(self.store), words))
        self._keep(array)
        self.queue.send(self._key(ARRAYS))
        try:
            identity = self.queue.submit(machine.seen(file), asked, wait_while_full=wait)
        except (ClusterError, FullError):  # refused, so that nothing of it can ever run
            (self.folder / ARRAYS / f"{array.number}.json").unlink()
            raise
        self._keep(array.model_copy(update={"id": identity}))
        self.queue.send(self._key(ARRAYS))
        self._asked = time.monotonic()

    def _keep(self, array: Array) -> None:
        array.save(self.folder / ARRAYS / f"{array.number}.json")

    def _share(self, now: StepState) -> float:
        """Share of the work that is done."""
        shares = [
            fraction_done(_text(self.folder / PROGRESS / f"{self.plan.name}-{job}"))
            for array in now.arrays
            for job in now.in_flight(array)
        ]
        return min(0.99, (len(now.done) + sum(shares)) / self.plan.jobs)


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except OSError:
        return ""


def cancel(now: StepState, site: str, queue: Queue) -> list[str]:
    """End the arrays of a step that are at a site, and return their ids. What they began does not count as lost."""
    ended = []
    for array in now.open_arrays:
        if array.site == site:
            identity = array.id or next(iter(queue.find_patiently(array.name)), NOBODY)
            if identity != NOBODY:
                queue.cancel([identity])
                ended.append(identity)
            now.write_over(array, {index: STOPPED for index, _ in now.in_queue(array)})
    return ended
