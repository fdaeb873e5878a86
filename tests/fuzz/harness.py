"""Carries out cases: each through the commands that a person would type, in a process that may hang or die."""

from __future__ import annotations

import contextlib
import io
import multiprocessing
import random
import resource
import shutil
import sys
import traceback
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Literal, Protocol

import psutil

LIMIT = 20.0
"""Seconds of a core that a case may take; the measure of a hang."""
WAITS = 6
"""So many times the limit may pass while a case waits for its turn on a busy machine."""
MEMORY = 8 << 30
"""Bytes of address space of the process that carries out cases."""
Expected = Literal["good", "refused", "said", "any"]
"""What must come of a case: status 0, status 2, a warning at least, or anything that is no fault."""
FAULTS = ("traceback", "status", "control", "silent", "unjust", "plan", "render", "hang", "died")


@dataclass(frozen=True)
class Case:
    """A study that was spoilt: how, and what must come of it."""

    kind: str
    study: Path
    expected: Expected = "any"


class Fuzzer(Protocol):
    """Makes cases."""

    name: str

    def prepare(self, folder: Path) -> None:
        """Put what all cases share into an empty folder."""

    def write(self, rng: random.Random, folder: Path) -> Case:
        """Write one case below the folder."""

    def inputs(self, case: Case) -> list[Path]:
        """Files and folders of a case that are kept when it fails."""


@dataclass(frozen=True)
class Outcome:
    """What came of a case: `good`, `refused`, or one of FAULTS; and what was said."""

    kind: str
    result: str
    said: str


def command(words: Sequence[str]) -> tuple[int, str]:
    """Exit status of `lamflow words`, and all that it prints; status 1 and a traceback for an exception that escapes."""
    from lamflow.cli import main

    said = io.StringIO()
    before, status = sys.argv, 0
    sys.argv = ["lamflow", *words]
    try:
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
            main()
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:  # noqa: BLE001  whatever escapes is what is looked for
        status = 1
        said.write(traceback.format_exc())
    finally:
        sys.argv = before
    return status, said.getvalue()


def carry_out(case: Case) -> Outcome:
    """`check`, and what passes it `plan` and `render`."""
    status, said = command(["check", str(case.study)])
    if result := _fault(status, said):
        return Outcome(case.kind, result, said)
    if status:
        return Outcome(case.kind, "unjust" if case.expected == "good" else "refused", said)
    silent = "warning: " not in said
    if case.expected == "refused" or (case.expected == "said" and silent):
        return Outcome(case.kind, "silent", said)
    for word in ("plan", "render"):
        status, said = command([word, str(case.study)])
        if status or _fault(status, said):
            return Outcome(case.kind, word, said)
    return Outcome(case.kind, "good", said)


def _fault(status: int, said: str) -> str:
    if "Traceback (most recent call last)" in said:
        return "traceback"
    if status not in (0, 2):
        return "status"
    return "control" if any(not (c.isprintable() or c in "\n\t") for c in said) else ""


class Worker:
    """A forked process that carries out cases one after the other; a new one takes over when it hangs or dies."""

    def __init__(self, fuzzer: Fuzzer, seed: int, folder: Path) -> None:
        self.fuzzer, self.seed, self.folder = fuzzer, seed, folder
        self.context = multiprocessing.get_context("fork")
        self._start()

    def _start(self) -> None:
        self.pipe, theirs = self.context.Pipe()
        self.process = self.context.Process(target=self._serve, args=(theirs,), daemon=True)
        self.process.start()
        theirs.close()

    def _serve(self, pipe: Connection) -> None:
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
        while True:
            pipe.send(carry_out(self.write(pipe.recv())))

    def write(self, number: int) -> Case:
        """Case `number`, written."""
        return self.fuzzer.write(random.Random(f"{self.fuzzer.name}/{self.seed}/{number}"), self.folder)

    def run(self, number: int) -> Outcome:
        """What comes of case `number`."""
        self.pipe.send(number)
        result = "hang"
        if self._answers():
            with contextlib.suppress(EOFError):
                return self.pipe.recv()  # type: ignore[no-any-return]
            result = "died"
        self.close()
        self._start()
        return Outcome(self.write(number).kind, result, "")

    def _answers(self) -> bool:
        """Whether an answer comes before the limit is over."""
        before = self._spent()
        for _ in range(WAITS):
            if self.pipe.poll(LIMIT):
                return True
            if self._spent() - before > LIMIT:
                return False
        return False

    def _spent(self) -> float:
        """Seconds of a core that the process has used."""
        times = psutil.Process(self.process.pid).cpu_times()
        return float(times.user + times.system)

    def close(self) -> None:
        """End the process."""
        self.process.kill()
        self.process.join()
        self.pipe.close()


def fuzz(fuzzer: Fuzzer, cases: Sequence[int], seed: int, folder: Path, keep: Path | None = None) -> list[Outcome]:
    """What comes of the cases with these numbers. Inputs of those that fail are copied below `keep`."""
    folder.mkdir(parents=True, exist_ok=True)
    fuzzer.prepare(folder)
    worker = Worker(fuzzer, seed, folder)
    outcomes = []
    try:
        for number in cases:
            outcome = worker.run(number)
            outcomes.append(outcome)
            if outcome.result in FAULTS and keep is not None:
                _keep(fuzzer, worker.write(number), outcome, keep / f"{fuzzer.name}-{seed}-{number}")
    finally:
        worker.close()
    return outcomes


def _keep(fuzzer: Fuzzer, case: Case, outcome: Outcome, folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    (folder / "said.txt").write_text(f"{outcome.kind}: {outcome.result}\n{outcome.said}", encoding="utf-8")
    for path in fuzzer.inputs(case):
        if path.is_dir():
            shutil.copytree(path, folder / path.name)
        elif path.is_file():
            shutil.copyfile(path, folder / path.name)


def table(outcomes: Sequence[Outcome]) -> str:
    """A row for each kind of case, a column for each result."""
    counts = Counter((outcome.kind, outcome.result) for outcome in outcomes)
    results = [name for name in ("good", "refused", *FAULTS) if any(result == name for _, result in counts)]
    kinds = sorted({kind for kind, _ in counts})
    rows = [["kind", *results], *([kind, *(str(counts[kind, result] or "") for result in results)] for kind in kinds)]
    rows.append(["all", *(str(sum(counts[kind, result] for kind in kinds)) for result in results)])
    return "\n".join(f"{row[0]:32}" + "".join(f"{cell:>10}" for cell in row[1:]) for row in rows)
