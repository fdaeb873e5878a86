"""A run's folder: its store, its record, and its lock."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil

from lamflow.config import stored
from lamflow.config.kinds import kind_named
from lamflow.config.schema import DataStudy
from lamflow.data.graph import Graph
from lamflow.data.layout import GRAPH, INDEX, INPUT, LOCK, RECORD, ROUNDS, RUN, STORED, WORK, iteration_key
from lamflow.data.results import Iteration
from lamflow.data.run import Run
from lamflow.driver.locks import driven, holder, is_locked, kept_out
from lamflow.errors import REPAIR, StateError

OWNER = "LAMFLOW_RUN"
"""Every process of a run carries the run's folder in this variable."""


@dataclass(frozen=True)
class RunDirectory:
    """Paths of a run."""

    path: Path

    @property
    def record(self) -> Path:
        """Its record."""
        return self.path / RUN

    def exists(self) -> bool:
        """The run has been prepared."""
        return self.record.is_file()

    def run(self) -> Run:
        """What the run is. Raises StateError when there is none here."""
        if not self.exists() and self.graph_numbers():
            raise StateError(f"{self.record}: this file of the run is missing; {REPAIR}")
        if not self.exists():
            raise StateError(f"{self.path}: there is no run here; start one with `lamflow run FILE`")
        return Run.read(self.record)

    def config(self) -> DataStudy:
        """The configuration that the run uses."""
        return stored(self.path / INPUT, DataStudy)

    def round(self, number: int) -> Path:
        """Folder of a round."""
        return self.path / iteration_key(number)

    def graph(self, number: int) -> Graph:
        """The graph of a round that has begun. Raises StateError when it is missing or of another version."""
        return Graph.read(self.round(number) / GRAPH)

    def has_graph(self, number: int) -> bool:
        """The round has begun."""
        return (self.round(number) / GRAPH).is_file()

    def graph_numbers(self) -> list[int]:
        """Numbers of the rounds that have begun."""
        return sorted(int(file.parent.name) for file in self.path.glob(f"{ROUNDS}/*/{GRAPH}"))

    def iterations(self) -> list[Iteration]:
        """Records of the finished iterations, oldest first. Raises StateError where one is missing or damaged."""
        self.require_rounds()
        count = self.finished_rounds()
        record: type[Iteration] = kind_named(self.run().workflow).record if count else Iteration
        return [record.read(self.round(number) / RECORD) for number in range(count)]

    def finished_rounds(self) -> int:
        """How many rounds have finished, whether or not their records are still there.

        A round has finished when it has a record or a later one has begun, and so has the last of a run that has ended.
        """
        begun = self.graph_numbers()
        recorded = [int(file.parent.name) for file in self.path.glob(f"{ROUNDS}/*/{RECORD}")]
        last = max(begun, default=0)
        if begun and self.run().state in ("converged", "ended"):
            last += 1
        return max(last, *(number + 1 for number in recorded), 0)

    def require_rounds(self) -> None:
        """Raise StateError for a run that has ended, or has data, and of whose rounds nothing is there."""
        if self.graph_numbers() or self.finished_rounds() or not self.exists():
            return
        if self.run().state in ("converged", "ended") or any((self.path / INDEX).glob("*")):
            raise StateError(f"{self.path / ROUNDS}: the rounds of the run are missing; {REPAIR}")

    def store_files(self) -> list[Path]:
        """Every file of the store."""
        folders = [self.path / name for name in STORED]
        return [self.record, *(file for folder in folders for file in sorted(folder.rglob("*")) if file.is_file())]

    def workflow(self, name: str) -> Path:
        """Where dflow keeps the steps of a workflow."""
        return self.path / WORK / name

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        """Keep every other driver out, and end what a driver that died here left running.

        Raises StateError when another driver lives.
        """
        with contextlib.ExitStack() as held:
            held.enter_context(kept_out(self.path))
            try:
                self.path.mkdir(parents=True, exist_ok=True)
            except (FileExistsError, NotADirectoryError) as error:
                raise StateError(f"{error.filename}: a file stands where the run's folder should be") from error
            stream = held.enter_context((self.path / LOCK).open("a+", encoding="utf-8"))
            if not is_locked(stream):
                raise driven(self.path, holder(stream))
            end_leftovers(self.path)
            stream.truncate(0)
            stream.write(str(os.getpid()))
            stream.flush()
            try:
                yield
            finally:
                stream.truncate(0)

    def driver(self) -> int | None:
        """Process id of the driver that lives, or None."""
        lock = self.path / LOCK
        if not lock.is_file():
            return None
        with lock.open(encoding="utf-8") as stream:
            try:
                fcntl.flock(stream, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return holder(stream)
            except OSError:  # no locks are kept here
                pid = holder(stream)
                return pid if pid is not None and psutil.pid_exists(pid) else None
        return None


def end_leftovers(path: Path) -> None:
    """Kill processes of this run whose driver is gone."""
    mine = str(path.resolve())
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if process.pid != os.getpid() and process.environ().get(OWNER) == mine:
                process.send_signal(signal.SIGKILL)


def prune(folder: Path) -> None:
    """Remove a folder in which no file is left."""
    if folder.is_dir() and not any(path.is_file() for path in folder.rglob("*")):
        shutil.rmtree(folder)


def full_disk(path: Path) -> str:
    """What is said when the disk of a run is full."""
    free = shutil.disk_usage(path).free / 1e6
    return f"{path}: the disk is full ({free:.0f} MB free); make room, then `lamflow resume {path}` goes on"
