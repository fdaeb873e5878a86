"""One element of an array: runs its jobs one after the other, and leaves how each ended.

`python -m lamflow.batch.element FOLDER ARRAY INDEX LANE ID`; of several lanes at the same time each takes its share.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import signal
import socket
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from lamflow.batch.documents import (
    ARRAYS,
    BEGAN,
    ENDED,
    JOBS,
    LATE,
    LOG,
    OUTPUT,
    PROGRESS,
    SEEN,
    STATUS,
    STEP,
    SUCCEEDED,
    Array,
    Seen,
    StepPlan,
    Try,
    status_file,
)
from lamflow.data.checkpoints import checkpoints
from lamflow.data.layout import ERRORS, JOB_INPUTS, JOB_OUTPUTS, WORK
from lamflow.engines import process
from lamflow.errors import EngineError, LateError, NodeError
from lamflow.ops.fork_server import STARTER, ForkServer
from lamflow.ops.job import EXIT_TERMINATED

MARGIN = 20.0
"""s before the end of the wall time at which a job is ended, so that this can be said."""
WHOLE = 60.0
"""s; a job that begins no later than this after its allocation has had all of its time."""


def main(folder: Path, number: int, index: int, lane: int, identity: str) -> int:
    """Run the jobs of an element; 0 when all have succeeded. A job that has succeeded before is not run again."""
    signal.signal(signal.SIGTERM, _end)
    plan, array = StepPlan.read(folder / STEP), Array.read(folder / ARRAYS / f"{number}.json")
    begin = float(os.environ.get("LAMFLOW_BEGAN", time.time()))  # of the allocation, which its script says
    Seen(host=socket.gethostname(), id=identity, begin=begin).save(folder / SEEN / f"{number}-{index}.json")
    jobs, good = array.elements[index][lane :: array.together], True
    with _server(plan, len(jobs), folder / OUTPUT / f"{number}-{index}-{lane}-server.txt") as server:
        for job in jobs:
            left = begin + array.seconds - MARGIN - time.time()
            if left <= 0:
                return 1
            if not _has_succeeded(folder, job):
                good = _Job(folder, plan, job, number, identity).run(begin, left, server) and good
    return 0 if good else 1


@contextlib.contextmanager
def _server(plan: StepPlan, jobs: int, log: Path) -> Iterator[ForkServer | None]:
    """What imports once for all jobs of an element, where they are several and touch no GPU."""
    if jobs < 2 or plan.gpus or plan.devices:
        yield None
        return
    server = ForkServer.start(plan.engines, plan.threads, log)
    try:
        yield server
    finally:
        if server is not None:
            server.end()


def _end(*_: object) -> None:
    raise KeyboardInterrupt


def _has_succeeded(folder: Path, job: int) -> bool:
    return any(Try.read(file).kind == SUCCEEDED for file in (folder / STATUS).glob(f"{job}-*.json"))


class _Job:
    """One try of a job."""

    def __init__(self, folder: Path, plan: StepPlan, job: int, array: int, identity: str) -> None:
        self.plan, self.job, self.step, self.element = plan, job, folder, identity
        self.folder, self.status = folder / JOBS / f"{job}", status_file(folder, job, array)
        self.scratch = Path(plan.scratch) / f"{plan.name}-{job}"
        self.begin, self.first = time.time(), True

    def run(self, allocated: float, left: float, server: ForkServer | None) -> bool:
        """Run it to its end, or until `left` s have passed; true when it has succeeded."""
        self.first = self.begin - allocated < WHOLE
        self._leave(BEGAN)
        try:
            self._link()
            self._start(left, server)
            self._deliver()
        except LateError:
            self._leave(LATE)
        except KeyboardInterrupt:
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            self._leave(ENDED)
            sys.exit(EXIT_TERMINATED)
        except (EngineError, NodeError) as error:
            self._leave(*self._said(error))
        except OSError as error:
            self._leave("NodeError", f"{error}")
        else:
            self._leave(SUCCEEDED)
            return True
        return False

    def _link(self) -> None:
        """Inputs as links into the store."""
        inputs = self.folder / JOB_INPUTS
        for folder in (inputs, self.folder / ERRORS):
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)
        for port, key in self.plan.reads.items():
            source = Path(self.plan.store) / key.key / (f"{self.job}" if key.per_job else "")
            if source.exists():
                (inputs / port).symlink_to(source)

    def _start(self, left: float, server: ForkServer | None) -> None:
        environment = {
            "LAMFLOW_SCRATCH": self.plan.scratch, "LAMFLOW_ERRORS": str(self.folder / ERRORS),
            "LAMFLOW_PROGRESS": str(self.step / PROGRESS),
        }  # fmt: skip
        if self.plan.labels is not None:
            environment["LAMFLOW_LABELS"] = self.plan.labels
        if self.plan.devices is not None:
            environment["LAMFLOW_DEVICES"] = self.plan.devices
        (self.step / PROGRESS).mkdir(exist_ok=True)
        log = self.folder / LOG
        with log.open("a", encoding="utf-8") as stream:
            stream.write(f"--- {time.strftime('%Y-%m-%d %H:%M:%S')}  {self.element} on {socket.gethostname()}\n")
        python: tuple[str, ...] = (sys.executable,)
        if server is not None:
            python, environment = STARTER, environment | server.environment
        argv = [*python, "-m", "lamflow.batch.job", str(self.step), str(self.job)]
        process.run(argv, cwd=self.folder, log=log, environment=environment, timeout=left)

    def _deliver(self) -> None:
        """Move what the job has written into the store."""
        for port, key in self.plan.writes.items():
            source, target = self.folder / JOB_OUTPUTS / port, Path(self.plan.store) / key
            for file in sorted(path for path in source.rglob("*") if path.is_file()):
                place = target / file.relative_to(source)
                place.parent.mkdir(parents=True, exist_ok=True)
                shutil.move(file, place)
        for name in (JOB_INPUTS, JOB_OUTPUTS, WORK):
            shutil.rmtree(self.folder / name, ignore_errors=True)

    def _said(self, error: EngineError | NodeError) -> tuple[str, str]:
        """Kind and message of what the job itself said, or of how it ended."""
        for file in (self.folder / ERRORS).glob("*.json"):
            with contextlib.suppress(OSError, ValueError):
                said = json.loads(file.read_text(encoding="utf-8"))
                return said["kind"], said["message"]
        return type(error).__name__, str(error)

    def _leave(self, kind: str, message: str = "") -> None:
        """Say how the try stands."""
        there = checkpoints(self.scratch) if kind not in (BEGAN, SUCCEEDED) and self.scratch.is_dir() else set()
        kept = hashlib.sha256(repr(sorted(there)).encode()).hexdigest()[:16] if there else ""
        Try(
            kind=kind, message=message, host=socket.gethostname(), element=self.element, begin=self.begin,
            end=0.0 if kind == BEGAN else time.time(), kept=kept, first=self.first,
        ).save(self.status)  # fmt: skip


if __name__ == "__main__":
    words = sys.argv
    try:
        status = main(Path(words[1]), int(words[2]), int(words[3]), int(words[4]), words[5])
    except KeyboardInterrupt:
        status = EXIT_TERMINATED
    os._exit(status)
