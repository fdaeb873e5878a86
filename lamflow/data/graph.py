"""The graph of one round as a value: steps with ports, jobs and resources. It is kept with the run as graph.json.

Every list that a graph implies (what a step reads, writes and leaves for reports, which jobs are still to be done, who
talks to the object store) is asked of it and written down nowhere else.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Literal

from pydantic import Field

from lamflow.data.document import Entry, Result
from lamflow.data.layout import LATE
from lamflow.errors import StateError

Resources = Literal["train", "explore", "label", "small", "driver"]
"""Sections of `pods:`: what the jobs of a step need."""


class Key(Entry):
    """An artifact by its key in the run's store.

    per_job  job n gets the folder below the key that is called n
    """

    key: str
    per_job: bool = False


class Output(Entry):
    """An output parameter of an earlier step: a field of the JSON document that the step leaves as its record."""

    step: str
    name: str


class Condition(Entry):
    """What an output must be for a step to run."""

    output: Output
    equals: str


class EngineUse(Entry):
    """An engine that the jobs of a step run, and the role that it plays there."""

    role: str
    name: str


class Step(Entry):
    """One operation of a round, carried out by one job or by several that share its work.

    op            MODULE:FUNCTION of the operation
    reads         artifacts by input port
    parameters    numbers by input port
    writes        keys of the output artifacts by output port
    records       keys of the JSON documents that it leaves for drivers and reports, `*` in the place of a job's number;
                  the fields of the first are the step's output parameters
    details       keys of other files that drivers and reports read where they are there; `*` may be any text
    jobs          how many share the work, or the output that says so; then `most_jobs` is their largest number
    enough        share of the jobs with which the round goes on where jobs do not end with it; the others run on, and
                  a step of the next round that reads what they write waits for them
    at_once       how many jobs may run at the same time where the work has jobs of a fixed size; None without a limit
    work          how many units of work (simulations, models, labels) the jobs share, at most
    resources     section of `pods:` that the jobs go by
    disk          bytes that a job writes, by estimate; None where nobody has one
    engines       codes that the jobs run
    image         name of the image that has what the operation itself needs on a cluster; engines have their own
    when          the step is left out unless this holds
    checkpoints   key below which a cluster keeps the scratch folders of the jobs
    label_cache   key of the label cache in a cluster's object store
    """

    name: str
    op: str
    reads: dict[str, Key] = Field(default_factory=dict)
    parameters: dict[str, int] = Field(default_factory=dict)
    writes: dict[str, str]
    records: list[str] = Field(default_factory=list)
    details: list[str] = Field(default_factory=list)
    jobs: int | Output = 1
    most_jobs: int = 1
    enough: float = 1.0
    at_once: int | None = None
    work: int = 1
    disk: int | None = None
    resources: Resources = "small"
    engines: list[EngineUse] = Field(default_factory=list)
    image: str = "base"
    when: Condition | None = None
    checkpoints: str | None = None
    label_cache: str | None = None

    @property
    def talks_to_store(self) -> bool:
        """On a cluster its jobs open the object store themselves."""
        return self.checkpoints is not None or self.label_cache is not None

    @property
    def is_shared(self) -> bool:
        """Several jobs may share the work."""
        return isinstance(self.jobs, Output) or self.jobs > 1


class Graph(Result):
    """One round of a run: an iteration of learning, or the only round of another kind of workflow.

    kind       of workflow
    round      number, from 0
    name       of the round in names of steps: `iteration-3`, `start`
    stage      what people call it: the name of the stage, or of what the round does
    attempt    number of the Workflow that carries it on, on a cluster
    attempts   the largest number so far
    completed  jobs of each step that an earlier attempt finished
    outputs    output parameters of finished steps that later steps ask for, as text
    left       attempts by the steps that were left while jobs of theirs ran, see `Step.enough`
    late       the step that was left and is carried out to its end now; nothing else of the round remains
    """

    kind: str
    round: int
    name: str
    stage: str
    steps: list[Step]
    attempt: int = 1
    attempts: int = 1
    completed: dict[str, list[int]] = Field(default_factory=dict)
    outputs: dict[str, dict[str, str]] = Field(default_factory=dict)
    left: dict[str, int] = Field(default_factory=dict)
    late: str | None = None

    @property
    def title(self) -> str:
        """The round in words."""
        return self.name.replace("-", " ")

    def step(self, name: str) -> Step:
        """The step called `name`; KeyError if there is none."""
        return {step.name: step for step in self.steps}[name]

    def workflow(self, run: str) -> str:
        """Name of the Workflow that carries the round out."""
        return f"{run}-{self.round:03d}" + (f"-{self.attempt}" if self.attempt > 1 else "")

    def workflows(self, run: str) -> list[str]:
        """Names of all Workflows that have carried it out so far."""
        numbers = range(1, max(self.attempt, self.attempts) + 1)
        return [self.model_copy(update={"attempt": number}).workflow(run) for number in numbers]

    @property
    def written(self) -> list[str]:
        """Keys of everything that its steps write, checkpoints included."""
        keys = [key for step in self.steps for key in step.writes.values()]
        return list(dict.fromkeys([*keys, *(step.checkpoints for step in self.steps if step.checkpoints)]))

    @property
    def records(self) -> list[str]:
        """Patterns of the keys that drivers and reports read, for `fnmatch`."""
        return list(dict.fromkeys(record for step in self.steps for record in (*step.records, *step.details)))

    def remaining_jobs(self, step: Step) -> list[int] | None:
        """Jobs of a step that are still to be done; None for all of a number that is not known yet."""
        if isinstance(step.jobs, Output):
            return None
        return [job for job in range(step.jobs) if job not in self.completed.get(step.name, ())]

    def remaining(self) -> list[Step]:
        """The steps that are still to be done, in their order, with what finished ones have decided written in."""
        steps = _decided(self.steps, lambda output: self.outputs.get(output.step, {}).get(output.name))
        wanted = [
            step for step in steps if (step.name not in self.left if self.late is None else step.name == self.late)
        ]
        return [step for step in wanted if self.remaining_jobs(step) != []]

    @property
    def in_pieces(self) -> bool:
        """On a cluster it may take several Workflows, one after the other."""
        return any(step.enough < 1 or step.name == LATE for step in self.steps)

    def may_leave(self, completed: Mapping[str, Sequence[int]]) -> Step | None:
        """The step that comes next if enough of its jobs are done, with those in `completed` by step."""
        step = next(iter(self.remaining()), None)
        if step is None or step.enough == 1 or self.late is not None or not isinstance(step.jobs, int):
            return None
        done = {*self.completed.get(step.name, ()), *completed.get(step.name, ())}
        return step if len(done) >= sufficient(step.enough, step.jobs) else None

    def leaving(self, step: Step) -> Graph:
        """The graph when a step is left whose jobs run on in the Workflow of this attempt."""
        return self.model_copy(update={"left": {**self.left, step.name: self.attempt}})

    def bringing(self, step: Step, folder: Path) -> Graph:
        """The graph of a finished round, in the run's `folder`, of which what remains are late jobs of a step."""
        if self.late is not None:
            return self
        done = {name: jobs for name, jobs in self._all_jobs(folder).items() if name != step.name}
        update = {"attempt": self.left.get(step.name, 1), "left": {}, "late": step.name}
        return self.without(done, folder).model_copy(update=update)

    def again(self, completed: Mapping[str, Sequence[int]], folder: Path) -> Graph:
        """The next attempt of the round, after one that finished the jobs in `completed` by step. See `without`."""
        graph = self.without(completed, folder)
        return graph._next_attempt() if graph.remaining() else graph

    def without(self, completed: Mapping[str, Sequence[int]], folder: Path) -> Graph:
        """The graph when the jobs in `completed` by step are done, too.

        What finished steps have decided is read from their records in the run's `folder`.
        """
        together = {**self.completed}
        for name, jobs in completed.items():
            together[name] = sorted({*self.completed.get(name, ()), *jobs})
        graph = self.model_copy(update={"completed": together})
        outputs = {step: dict(values) for step, values in self.outputs.items()}
        for output in self._asked_for():
            if graph.remaining_jobs(self.step(output.step)) == [] and (value := self.value(output, folder)) is not None:
                outputs.setdefault(output.step, {})[output.name] = value
        return graph.model_copy(update={"outputs": outputs})

    def afresh(self) -> Graph:
        """The next attempt of the round, after one that has left nothing."""
        return self.model_copy(update={"completed": {}, "outputs": {}, "left": {}})._next_attempt()

    def _next_attempt(self) -> Graph:
        number = max(self.attempt, self.attempts) + 1
        return self.model_copy(update={"attempt": number, "attempts": number})

    def recorded(self, folder: Path) -> Graph:
        """The graph when all is done of which the records are in the run's `folder`: the whole round, or late jobs."""
        known = self._all_jobs(folder)
        if self.late is None:
            done = {name: jobs for name, jobs in known.items() if name not in self.left}
            return self.without(done, folder) if self.is_complete(folder) else self
        keys = self.step(self.late).records
        there = [
            job for job in known[self.late] if all((folder / key.replace("*", f"{job}")).is_file() for key in keys)
        ]
        return self.without({self.late: there}, folder)

    def _all_jobs(self, folder: Path) -> dict[str, list[int]]:
        """The jobs of every step that ran in a round of which the records are in the run's `folder`."""
        return {step.name: [*range(step.jobs)] for step in self.settled(folder) if isinstance(step.jobs, int)}

    def _asked_for(self) -> list[Output]:
        """Outputs that later steps depend on."""
        conditions = [step.when.output for step in self.steps if step.when is not None]
        return [*conditions, *(step.jobs for step in self.steps if isinstance(step.jobs, Output))]

    def value(self, output: Output, folder: Path) -> str | None:
        """An output as text, from the record that its step has left in the run's `folder`; None if there is none.

        Raises StateError for a record that is cut off or does not have it.
        """
        record = folder / self.step(output.step).records[0]
        if not record.is_file():
            return None
        try:
            return str(json.loads(record.read_bytes())[output.name])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise StateError(
                f"{record}: this record of step {output.step} is cut off, or has no {output.name!r}; the study "
                f"with --redo begins {self.title} again"
            ) from error

    def settled(self, folder: Path) -> list[Step]:
        """The steps that may still run, with what the records in the run's `folder` have decided written in."""
        return _decided(self.steps, lambda output: self.value(output, folder))

    def is_complete(self, folder: Path) -> bool:
        """Everything that the round leaves for drivers and reports is in the run's `folder`."""
        return all(step.when is None and _has_records(step, folder) for step in self.settled(folder))


def sufficient(fraction: float, jobs: int) -> int:
    """How many of `jobs` are at least this fraction of them."""
    return math.ceil(fraction * jobs - 1e-9)


def _decided(steps: Sequence[Step], value: Callable[[Output], str | None]) -> list[Step]:
    """The steps that may still run, given what is known of the outputs; None for what is not."""
    kept = []
    for step in steps:
        known = value(step.when.output) if step.when is not None else None
        if step.when is not None and known is not None and known != step.when.equals:
            continue
        update: dict[str, object] = {} if known is None else {"when": None}
        jobs = value(step.jobs) if isinstance(step.jobs, Output) else None
        if jobs is not None:
            update["jobs"] = int(jobs)
            if int(jobs) == 1:  # one job alone has no number that its executor could fill in
                update["reads"] = {
                    port: Key(key=f"{key.key}/0") if key.per_job else key for port, key in step.reads.items()
                }
        kept.append(step.model_copy(update=update))
    return kept


def _has_records(step: Step, folder: Path) -> bool:
    """Every document that the step must leave is there, at least one where their number is open."""
    return all(any(folder.glob(record)) for record in step.records)
