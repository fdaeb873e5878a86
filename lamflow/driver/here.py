"""Iterations on this machine: a process of its own for each, with dflow's debug mode inside."""

from __future__ import annotations

import json
import shutil
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from lamflow.config.schema import Config
from lamflow.data.cache import default_folder
from lamflow.data.results import Shape
from lamflow.data.store import HELDOUT, INDEX, TRAIN
from lamflow.driver.executor import Span
from lamflow.driver.listener import Listener
from lamflow.driver.prepare import require_engines
from lamflow.driver.rundir import OWNER, RunDirectory, full_disk
from lamflow.driver.shape import KINDS, Machine, Room
from lamflow.engines import process
from lamflow.errors import BY_NAME, EngineError, LamflowError, NodeError


class Here:
    """Executor on this machine; the run's folder is the store itself."""

    def __init__(self, directory: RunDirectory) -> None:
        self.directory = directory
        self.machine = Machine.here()
        self.workflow = directory.workflow("")

    @property
    def comes_back(self) -> bool:
        """See Executor."""
        return False

    @property
    def room(self) -> Room:
        """See Executor."""
        return self.machine

    @contextmanager
    def driving(self) -> Iterator[None]:
        """See Executor."""
        with self.directory.lock():
            yield

    def require(self, config: Config) -> None:
        """See Executor."""
        require_engines(config)

    def keep(self, files: Iterable[Path]) -> None:
        """See Executor. They last as they are."""

    def begun(self, config: Config, number: int) -> bool:
        """See Executor."""
        return self._workflow(config, number).is_dir()

    def run(self, config: Config, shape: Shape, listener: Listener) -> float:
        """See Executor. A pod that the machine failed is tried again with what the finished ones have left."""
        pods = config.pods
        retries = max(pod.retries for pod in (pods.train, pods.explore, pods.label, pods.small))
        started = time.monotonic()
        for attempt in range(retries + 1):
            try:
                self._run_once(config, shape, listener)
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

    def forget(self, config: Config, number: int) -> None:
        """See Executor."""
        shutil.rmtree(self._workflow(config, number), ignore_errors=True)
        for path in list(self.directory.iteration(number).glob("*")) if number else []:
            if path.is_file():
                path.unlink()
            elif path.name != "queued":  # that came from elsewhere
                shutil.rmtree(path)
        for folder in (self.directory.path / "work" / "scratch" / f"{number:03d}").glob("train-*"):
            shutil.rmtree(folder, ignore_errors=True)  # outputs of labels stay: they may be asked for again
        for key in (TRAIN, HELDOUT, INDEX):
            shutil.rmtree(self.directory.path / key / f"{number:03d}", ignore_errors=True)

    def tidy(self, config: Config, number: int) -> None:
        """See Executor. Raw outputs of labels stay."""
        shutil.rmtree(self._workflow(config, number), ignore_errors=True)
        for folder in (self.directory.path / "work" / "scratch" / f"{number:03d}").glob("*"):
            if not folder.name.startswith("label"):
                shutil.rmtree(folder, ignore_errors=True)

    def publish(self) -> None:
        """See Executor. People look into the folder and ask for the report."""

    def _workflow(self, config: Config, number: int) -> Path:
        return self.directory.workflow(Shape(number=number).workflow(config.name))

    def _run_once(self, config: Config, shape: Shape, listener: Listener) -> None:
        path = self.directory.path
        errors, progress = path / "work" / "errors", path / "work" / "progress"
        for folder in (errors, progress):
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)
        log = path / "work" / f"{shape.number:03d}.log"
        log.unlink(missing_ok=True)
        self.workflow = workflow = self._workflow(config, shape.number)
        environment = {
            OWNER: str(path),
            "LAMFLOW_SCRATCH": str(path / "work" / "scratch" / f"{shape.number:03d}"),
            "LAMFLOW_ERRORS": str(errors),
            "LAMFLOW_PROGRESS": str(progress),
            "LAMFLOW_DEVICES": ",".join(self.machine.devices),
            "LAMFLOW_LABELS": str(default_folder()),
            "OMP_NUM_THREADS": "1",
        }
        kinds = [kind for kind in KINDS if isinstance(getattr(config.pods, kind).tasks_per_pod, int)]
        workers = min(
            (self.machine.slots(kind, getattr(config.pods, kind)) for kind in kinds), default=self.machine.cores
        )
        argv = [sys.executable, "-m", "lamflow.driver.local", str(path), str(shape.number), str(workers)]
        try:
            process.run(
                argv, cwd=path, log=log, environment=environment,
                watch=lambda: listener.progress(steps_done(workflow, progress)),
            )  # fmt: skip
        except (EngineError, NodeError) as error:
            raise _explanation(errors, shape, log) from error


def steps_done(workflow: Path, progress: Path) -> dict[str, float]:
    """Share of each step's pods' work that is done, for the steps that have begun."""
    shares: dict[str, list[float]] = {}
    for pod in sorted(workflow.glob("*/phase")):
        name = pod.parent.name
        step, number = name.split("-")[0], name.split("-")[1] if "-" in name else "0"
        share = 1.0 if _text(pod) == "Succeeded" else share_done(_text(progress / f"{step}-{number}"))
        shares.setdefault(step, []).append(share)
    return {step: sum(values) / len(values) for step, values in shares.items()}


def share_done(text: str) -> float:
    """The share that a pod's progress, like 30/100, says."""
    done, _, total = text.partition("/")
    return int(done) / int(total) if done.isdigit() and total.isdigit() and int(total) else 0.0


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""


def _explanation(errors: Path, shape: Shape, log: Path) -> LamflowError:
    """The first error that a pod left, or that the machine must have killed a pod."""
    for file in sorted(errors.glob("*.json"), key=lambda path: path.stat().st_mtime):
        found = json.loads(file.read_text())
        return BY_NAME.get(found["kind"], EngineError)(f"iteration {shape.number}, {file.stem}: {found['message']}")
    if "No space left on device" in process.tail(log, 400):
        return NodeError(full_disk(log.parent.parent))
    return NodeError(
        f"iteration {shape.number}: a process was killed from outside or the machine failed; {log} has the details, "
        "and `lamflow resume` goes on from here"
    )
