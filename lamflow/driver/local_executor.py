"""Rounds on this machine: a process of its own for each, with dflow's debug mode inside."""

from __future__ import annotations

import json
import shutil
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from lamflow.config.schema import DataStudy
from lamflow.data import layout
from lamflow.data.cache import default_folder
from lamflow.data.graph import Graph
from lamflow.data.layout import GRAPH, HISTORY, RECORD
from lamflow.driver.executor import Span
from lamflow.driver.inspection import labelers
from lamflow.driver.listener import Listener
from lamflow.driver.prepare import require_engines
from lamflow.driver.rundir import OWNER, RunDirectory, full_disk, prune
from lamflow.engines import process
from lamflow.errors import BY_NAME, EngineError, LamflowError, NodeError
from lamflow.ops.fork_server import STARTER, ForkServer
from lamflow.ops.operation import fraction_done
from lamflow.superops.capacity import LocalCapacity

SERVER_LOG = "fork-server.log"


class LocalExecutor:
    """Executor on this machine; the run's folder is the store itself."""

    def __init__(self, directory: RunDirectory) -> None:
        self.directory = directory
        self.capacity = LocalCapacity.of_this_machine()
        self.workflow = directory.workflow("")
        self.server: ForkServer | None = None

    @property
    def is_store(self) -> bool:
        """See Executor."""
        return True

    @property
    def comes_back(self) -> bool:
        """See Executor."""
        return False

    @contextmanager
    def locked(self) -> Iterator[None]:
        """See Executor."""
        with self.directory.lock():
            try:
                yield
            finally:
                if self.server is not None:
                    self.server.end()
                (self.directory.path / SERVER_LOG).unlink(missing_ok=True)

    def bring_all(self) -> None:
        """See Executor. It is there."""

    def check_requirements(self, study: DataStudy) -> None:
        """See Executor. What jobs import is imported while the store is filled."""
        require_engines(study)
        self._start_server(study)

    def persist(self, files: Iterable[Path]) -> None:
        """See Executor. They last as they are."""

    def discard(self, file: Path) -> None:
        """See Executor."""
        file.unlink(missing_ok=True)

    def has_started(self, study: DataStudy, graph: Graph) -> bool:
        """See Executor."""
        return self._workflow(study, graph).is_dir()

    def run(self, study: DataStudy, graph: Graph, listener: Listener) -> float:
        """See Executor. A job that the machine failed is tried again with what the finished ones have left."""
        retries = max(getattr(study.pods, step.resources).retries for step in graph.steps)
        started = time.monotonic()
        for attempt in range(retries + 1):
            try:
                self._run_once(study, graph, listener)
                break
            except NodeError:
                if attempt == retries:
                    raise
        return time.monotonic() - started

    def spans(self) -> dict[str, Span]:
        """See Executor. dflow writes files at the start and the end of each pod."""
        spans: dict[str, Span] = {}
        for pod in self.workflow.iterdir():
            if (pod / "script").is_file():
                start, end = (pod / "type").stat().st_mtime, (pod / "phase").stat().st_mtime
                name = pod.name.split("-")[0]
                before = spans.get(name, (start, end))
                spans[name] = min(before[0], start), max(before[1], end)
        return spans

    def reset(self, study: DataStudy, graph: Graph) -> None:
        """See Executor. Raw outputs of labels stay: they may be asked for again."""
        path, folder = self.directory.path, self.directory.round(graph.round)
        shutil.rmtree(self._workflow(study, graph), ignore_errors=True)
        for written in (*(path / key for key in graph.written), folder / HISTORY):
            shutil.rmtree(written, ignore_errors=True)
        for name in (GRAPH, RECORD):
            (folder / name).unlink(missing_ok=True)
        prune(folder)
        self._delete_scratch(graph)

    def clean_up(self, study: DataStudy, graph: Graph) -> None:
        """See Executor. Raw outputs of labels stay."""
        shutil.rmtree(self._workflow(study, graph), ignore_errors=True)
        self._delete_scratch(graph)

    def publish(self) -> None:
        """See Executor. People look into the folder and ask for the report."""

    def _workflow(self, study: DataStudy, graph: Graph) -> Path:
        return self.directory.workflow(graph.workflow(study.name))

    def _scratch(self, graph: Graph) -> Path:
        return self.directory.path / layout.WORK / layout.SCRATCH / layout.round_name(graph.round)

    def _delete_scratch(self, graph: Graph) -> None:
        for step in graph.steps:
            if step.resources != "label":
                for folder in self._scratch(graph).glob(f"{step.name}-*"):
                    shutil.rmtree(folder, ignore_errors=True)

    def _start_server(self, study: DataStudy) -> None:
        """Have jobs forked, those with as many threads as most of the study's. See ops/fork_server.py."""
        if self.server is None and not self.capacity.devices:
            engines = {section.engine for section in (*labelers(study), *study.engines)}
            log, variables = self.directory.path / SERVER_LOG, {OWNER: str(self.directory.path)}
            pod = study.pods.train if study.trains and not study.explored_heads else study.pods.explore
            self.server = ForkServer.start(engines, pod.threads, log, variables, ["lamflow.flow.workflow"])

    def _run_once(self, study: DataStudy, graph: Graph, listener: Listener) -> None:
        path = self.directory.path
        work = path / layout.WORK
        errors, progress = work / layout.ERRORS, work / layout.PROGRESS
        for folder in (errors, progress):
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)
        log = work / f"{layout.round_name(graph.round)}.log"
        log.unlink(missing_ok=True)
        self.workflow = workflow = self._workflow(study, graph)
        environment = {
            OWNER: str(path),
            "LAMFLOW_SCRATCH": str(self._scratch(graph)),
            "LAMFLOW_ERRORS": str(errors),
            "LAMFLOW_PROGRESS": str(progress),
            "LAMFLOW_DEVICES": ",".join(self.capacity.devices),
            "LAMFLOW_LABELS": str(default_folder()),
            "OMP_NUM_THREADS": "1",
        }
        self._start_server(study)
        if (path / SERVER_LOG).is_file():  # of one that was started when there was no folder for it yet
            (path / SERVER_LOG).rename(work / SERVER_LOG)
        python: tuple[str, ...] = (sys.executable,)
        if self.server is not None:
            environment |= self.server.environment
            python = STARTER
        limits = [step.at_once for step in graph.steps if step.at_once is not None]
        workers = min(limits, default=self.capacity.cores)
        argv = [*python, "-m", "lamflow.driver.local_round", str(path), str(graph.round), str(workers)]

        def tell() -> None:
            listener.progress(steps_done(workflow, progress))

        try:
            process.run(argv, cwd=path, log=log, environment=environment, watch=tell)
            tell()  # of what has ended since it last looked
        except (EngineError, NodeError) as error:
            raise _explanation(errors, graph, log) from error


def steps_done(workflow: Path, progress: Path) -> dict[str, float]:
    """Share of each step's pods' work that is done, for the steps that have begun."""
    shares: dict[str, list[float]] = {}
    for pod in sorted(workflow.glob("*/phase")):
        name = pod.parent.name
        step, number = name.split("-")[0], name.split("-")[1] if "-" in name else "0"
        share = 1.0 if _text(pod) == "Succeeded" else fraction_done(_text(progress / f"{step}-{number}"))
        shares.setdefault(step, []).append(share)
    return {step: sum(values) / len(values) for step, values in shares.items()}


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError:
        return ""


def _explanation(errors: Path, graph: Graph, log: Path) -> LamflowError:
    """The first error that a pod left, or that the machine must have killed a pod."""
    is_cut_off = False
    for file in sorted(errors.glob("*.json"), key=lambda path: path.stat().st_mtime):
        try:
            found = json.loads(file.read_text(encoding="utf-8"))
        except ValueError:
            is_cut_off = True
            continue
        return BY_NAME.get(found["kind"], EngineError)(f"{graph.title}, {file.stem}: {found['message']}")
    if is_cut_off or "No space left on device" in process.tail(log, 400):
        return NodeError(full_disk(log.parent.parent))
    return NodeError(
        f"{graph.title}: a process was killed from outside or the machine failed; {log} has the details, "
        "and `lamflow resume` goes on from here"
    )
