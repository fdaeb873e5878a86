"""What driver and nodes tell each other through files, in a folder for each step of a round.

step.json               what the step's jobs do
arrays/0.json, NAME.sh  what was submitted: an array of elements, and its script
seen/0-3.json           element 3 of array 0 has begun; 0-3.refused says why it could not
status/5-0.json         how the try of job 5 in array 0 stands
over/0.json             elements of array 0 that have left the queue, and why
output/0-3.txt          what an element itself printed
jobs/5/log.txt          what the tries of job 5 printed
"""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from lamflow.data.document import Result
from lamflow.data.graph import Key

STEP, ARRAYS, SEEN, STATUS, OVER, OUTPUT, JOBS, PROGRESS = (
    "step.json", "arrays", "seen", "status", "over", "output", "jobs", "progress",
)  # fmt: skip
LOG = "log.txt"
BEGAN, SUCCEEDED, ENDED, LATE = "began", "succeeded", "ended", "late"
"""How a try stands, beside the names of errors: ended by a signal, out of wall time."""
STOPPED = "stopped"
"""Why an element is over that `lamflow stop` has ended; that is no loss."""


class StepPlan(Result):
    """What the jobs of a step do.

    store     folder of the run as the nodes see it
    jobs      how many share the work
    shared    the step may have several jobs, so that `each` of its inputs is a folder by number
    scratch   folder of scratch folders, which outlive a try
    labels    folder of the label cache
    engines   names of those that the jobs run
    devices   GPUs that jobs take turns on where no batch system gives them out
    """

    name: str
    op: str
    store: str
    reads: dict[str, Key]
    parameters: dict[str, int]
    writes: dict[str, str]
    jobs: int
    timeout: float
    threads: int
    gpus: int
    scratch: str
    engines: list[str] = Field(default_factory=list)
    labels: str | None = None
    devices: str | None = None


class Array(Result):
    """What was submitted.

    name      by which the queue finds it if the driver died before it knew the id
    id        empty until it is known; `none` where the queue does not know the name either
    elements  jobs of each
    together  jobs of an element at the same time
    memory    of each job, as `pods:` says it
    seconds   wall time
    """

    number: int
    site: str
    name: str
    id: str = ""
    elements: list[list[int]]
    together: int = 1
    memory: str = ""
    seconds: float

    @property
    def jobs(self) -> list[int]:
        """All jobs."""
        return [job for element in self.elements for job in element]


class Seen(Result):
    """An element has begun. begin: s since 1970."""

    host: str
    id: str
    begin: float


class Try(Result):
    """How a try of a job stands.

    kind    BEGAN, SUCCEEDED, ENDED, LATE, or the name of an error
    kept    changes when the job has kept a newer checkpoint; empty without any
    first   it had the whole time of its allocation
    """

    kind: str
    message: str = ""
    host: str = ""
    element: str = ""
    begin: float
    end: float = 0.0
    kept: str = ""
    first: bool = True


class Over(Result):
    """Elements of an array that have left the queue, and why."""

    elements: dict[int, str] = Field(default_factory=dict)


def status_file(folder: Path, job: int, array: int) -> Path:
    """Where the try of a job in an array says how it stands."""
    return folder / STATUS / f"{job}-{array}.json"
