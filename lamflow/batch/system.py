"""What a batch system is to lamflow: lines of a script, and commands whose answers are read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

from lamflow.config.batch import Allocation

Element = tuple[str, int]
"""Id of an array, and the number of one of its elements, from 0."""
State = Literal["waiting", "running", "over", "held"]
"""`held`: it is in the queue and will not begin again by itself."""


@dataclass(frozen=True)
class Request:
    """What an array of allocations asks for.

    elements    how many allocations
    at_once     most of them at the same time
    output      file for what an element itself prints, INDEX in the place of its number
    processes   processes of each allocation and node; `threads` CPUs each
    memory      MB of each node
    gpus        of each node
    seconds     wall time
    environment variables of the jobs
    """

    name: str
    elements: int
    at_once: int | None
    output: str
    allocation: Allocation
    processes: int
    threads: int
    memory: int
    gpus: int
    seconds: int
    environment: Mapping[str, str] = field(default_factory=dict)

    @property
    def nodes(self) -> int:
        """Nodes of each allocation."""
        return self.allocation.nodes or 1

    @property
    def clock(self) -> str:
        """The wall time as hours:minutes:seconds."""
        return f"{self.seconds // 3600:02d}:{self.seconds // 60 % 60:02d}:{self.seconds % 60:02d}"


@dataclass(frozen=True)
class Seen:
    """What the system says of an element: its state, and the system's own words."""

    state: State
    reason: str = ""


class System(Protocol):
    """A batch system. An element that it does not list is over.

    name        as people say it
    programs    that must be there
    index, job  what a shell in a job reads as the number of its element, from 0, and as the id of its array
    full        pattern of a refusal that passes: too many jobs are in the queue
    outage      pattern of what is said when the system does not answer
    gone        pattern of what is said of ids that it does not know any more
    advice      what to do, by a pattern of what the system says when it refuses
    usual       pattern of why a job waits that needs no word
    never_begins    pattern of why a job waits that will never begin
    longest     characters that a job's name may have
    """

    name: str
    programs: Sequence[str]
    index: str
    job: str
    full: str
    outage: str
    gone: str
    advice: Mapping[str, str]
    usual: str
    never_begins: str
    longest: int

    def header(self, request: Request) -> list[str]:
        """First lines of a script."""
        ...

    def submit(self, script: str, request: Request) -> str:
        """Shell command that submits a file."""
        ...

    def rehearse(self, script: str) -> str:
        """Shell command that says whether a file would be refused, and submits nothing; empty where there is none."""
        del script
        return ""

    def submitted(self, answer: str) -> str:
        """Id of the array in the answer; empty if there is none."""
        ...

    def ask(self, arrays: Sequence[str]) -> str:
        """Shell command that lists the elements of arrays."""
        ...

    def seen(self, answer: str, arrays: Sequence[str]) -> dict[Element, Seen]:
        """Elements of `arrays` that are in the answer."""
        ...

    def explain(self, array: str) -> str:
        """Shell command that says why elements of an array are held or have ended; empty where `ask` says it."""
        del array
        return ""

    def explained(self, answer: str) -> dict[int, str]:
        """Reasons in that answer, by the number of the element."""
        del answer
        return {}

    def called(self, index: int) -> str:
        """What an element is called in the name of its output file."""
        return f"{index}"

    def cancel(self, arrays: Sequence[str]) -> str:
        """Shell command that ends arrays. Of a system that holds elements it also takes an ARRAY_INDEX."""
        ...

    def find(self, name: str) -> str:
        """Shell command that lists the ids of arrays called `name`."""
        ...

    def named(self, answer: str) -> list[str]:
        """The ids in that answer."""
        ...

    def queues(self) -> str:
        """Shell command that names the queues, one a line."""
        ...


def optional(pattern: str, value: object) -> list[str]:
    """A line with a value, or none where there is no value."""
    return [] if value is None or value == 0 else [pattern.format(value)]
