"""The loop: plain Python over iterations. Kill it anywhere and start it again; what finished is not done twice."""

from __future__ import annotations

import contextlib
import errno
import json
import shutil
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lamflow.config.schema import Config
from lamflow.data.packed import PackedFrames
from lamflow.data.results import History, Iteration, Run, Shape
from lamflow.data.store import HELDOUT, INPUT, STRUCTURES, TRAIN, write_whole
from lamflow.data.store import INDEX as KNOWN
from lamflow.driver.collect import collect
from lamflow.driver.prepare import SETTINGS, fingerprint, frozen, prepare, require_engines
from lamflow.driver.rundir import OWNER, RunDirectory
from lamflow.driver.shape import KINDS, Machine, iteration_shape
from lamflow.engines import process
from lamflow.errors import BY_NAME, EngineError, LamflowError, NodeError, StateError

STEPS = ("train", "explore", "select", "label", "merge")
FREE = {"pods", "cluster"}
"""Sections that may change in the middle of an iteration."""


class Listener:
    """Is told what happens. The methods do nothing; a terminal overrides them."""

    def resumes(self, done: list[Iteration]) -> None:
        """These iterations have finished before."""

    def begins(self, number: int, stage: str) -> None:
        """Iteration `number` begins; 0 is the start."""

    def progress(self, done: dict[str, float]) -> None:
        """Share of each step of the running iteration that is done."""

    def finished(self, iteration: Iteration) -> None:
        """An iteration has finished."""


def resume(path: Path, listener: Listener | None = None) -> Run:
    """Go on with the run in folder `path` with the settings that it has. See `run`."""
    return _drive(RunDirectory(path.resolve()), None, listener or Listener(), redo=False)


def run(config: Config, path: Path, listener: Listener | None = None, *, redo: bool = False) -> Run:
    """Drive the run of `config` in folder `path` until it converges or its budget ends, and return its record.

    Continues what is there. Raises StateError when another driver lives in `path` or the settings do not fit what is
    there, InputError for data that cannot be used, EngineError and NodeError for what stopped an iteration.
    `redo` throws away an unfinished iteration whose settings have changed.
    """
    return _drive(RunDirectory(path.resolve()), config, listener or Listener(), redo=redo)


def _drive(directory: RunDirectory, config: Config | None, listener: Listener, *, redo: bool) -> Run:
    machine = Machine.here()
    if config is None:
        directory.run()
    with directory.lock(), _terminable(), _room(directory.path):
        if config is None:
            config = directory.config()
        elif directory.exists():
            _accept(config, directory, redo)
        else:
            require_engines(config)
            prepare(config, directory, machine.slots("label", config.pods.label))
        _record(directory, "running", "")
        try:
            last = _iterate(config, directory, machine, listener)
        except KeyboardInterrupt:
            _record(directory, "stopped", "stopped; go on with `lamflow resume`")
            raise
        except LamflowError as error:
            with contextlib.suppress(OSError):
                _record(directory, "failed", str(error))
            raise
        assert last.selected is not None  # noqa: S101  only an iteration that explored ends a run
        return _record(directory, "converged" if last.selected.converged else "ended", last.selected.reason)


def _iterate(config: Config, directory: RunDirectory, machine: Machine, listener: Listener) -> Iteration:
    """Iterations until one decides to stop."""
    listener.resumes(directory.iterations())
    while True:
        done = directory.iterations()
        if _has_ended(done) and not directory.iteration(len(done)).is_dir():
            return done[-1]
        shape = _shape(config, directory, machine, done)
        stage = config.stages[shape.stage].name if shape.number else "start"
        listener.begins(shape.number, stage)
        History(iterations=done).save(directory.iteration(shape.number) / "history" / "history.json")
        seconds = _run_workflow(config, directory, machine, shape, listener)
        record = collect(directory, config, shape, seconds)
        record.save(directory.iteration(shape.number) / "result.json")
        _tidy(directory, f"{config.name}-{shape.number:03d}", shape.number)
        listener.finished(record)


def _shape(config: Config, directory: RunDirectory, machine: Machine, done: list[Iteration]) -> Shape:
    """The next iteration's graph: as it was begun, or new."""
    number = len(done)
    file = directory.iteration(number) / "shape.json"
    if file.is_file():
        return Shape.read(file)
    if number == 0:
        batches = list((directory.iteration(0) / "selected" / "batches").glob("*"))
        shape = Shape(number=0, label=len(batches), given=(directory.iteration(0) / "given").is_dir())
    else:
        sizes = {p.stem: len(PackedFrames.load(p)) for p in (directory.path / STRUCTURES).glob("*.npz")}
        shape = iteration_shape(config, number, next_stage(config, done), sizes, machine)
    shape.save(file)
    return shape


def next_stage(config: Config, done: list[Iteration]) -> int:
    """Place of the stage that comes next: the same until it has converged or had its iterations."""
    last = done[-1]
    if last.selected is None:
        return 0
    place = [stage.name for stage in config.stages].index(last.stage)
    limit = config.stages[place].max_iterations
    had = sum(iteration.selected is not None and iteration.stage == last.stage for iteration in done)
    through = limit is not None and had >= limit
    return min(place + (through or last.selected.decision == "advance"), len(config.stages) - 1)


def _run_workflow(config: Config, directory: RunDirectory, machine: Machine, shape: Shape, listener: Listener) -> float:
    """Run an iteration's workflow, again if the machine failed, and return its wall time in s."""
    pods = config.pods
    retries = max(pod.retries for pod in (pods.train, pods.explore, pods.label, pods.small))
    started = time.monotonic()
    for attempt in range(retries + 1):
        try:
            _run_once(config, directory, machine, shape, listener)
            break
        except NodeError:
            if attempt == retries:
                raise
    return time.monotonic() - started


def _run_once(config: Config, directory: RunDirectory, machine: Machine, shape: Shape, listener: Listener) -> None:
    scratch = directory.path / "work" / "scratch" / f"{shape.number:03d}"
    errors, progress = directory.path / "work" / "errors", directory.path / "work" / "progress"
    for folder in (errors, progress):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
    log = directory.path / "work" / f"{shape.number:03d}.log"
    log.unlink(missing_ok=True)
    workflow = directory.workflow(f"{config.name}-{shape.number:03d}")
    environment = {
        OWNER: str(directory.path),
        "LAMFLOW_SCRATCH": str(scratch),
        "LAMFLOW_ERRORS": str(errors),
        "LAMFLOW_PROGRESS": str(progress),
        "LAMFLOW_DEVICES": ",".join(machine.devices),
        "OMP_NUM_THREADS": "1",
    }
    kinds = [kind for kind in KINDS if getattr(config.pods, kind).tasks_per_pod is not None]
    workers = min((machine.slots(kind, getattr(config.pods, kind)) for kind in kinds), default=machine.cores)
    argv = [sys.executable, "-m", "lamflow.driver.local", str(directory.path), str(shape.number), str(workers)]
    try:
        process.run(
            argv, cwd=directory.path, log=log, environment=environment,
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
        share = 1.0 if _text(pod) == "Succeeded" else _share(_text(progress / f"{step}-{number}"))
        shares.setdefault(step, []).append(share)
    return {step: sum(values) / len(values) for step, values in shares.items()}


def _share(text: str) -> float:
    done, _, total = text.partition("/")
    return int(done) / int(total) if done.isdigit() and total.isdigit() else 0.0


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


def _accept(config: Config, directory: RunDirectory, redo: bool) -> None:
    """Take over the settings of today for a run that exists.

    Raises StateError when the run cannot go on with them. A run that had ended goes on with an iteration more when
    they have changed. With `redo` the steps of an unfinished iteration are thrown away, whatever has changed.
    """
    if directory.run().fingerprint != fingerprint(config):
        raise StateError(
            f"{directory.path} holds a run with other elements, seed, structures or start data; "
            "use another folder (--dir) or the configuration that it was begun with"
        )
    done, file = directory.iterations(), directory.path / INPUT / SETTINGS
    gone = {item.stage for item in done if item.selected} - {stage.name for stage in config.stages}
    if gone:
        raise StateError(
            f"{directory.path}: the run has been through stage {sorted(gone)[0]!r}, which is not in the file"
        )
    text, old = frozen(config, directory), file.read_text()
    now, begun = json.loads(text), json.loads(old)
    changed = [key for key in now if now[key] != begun.get(key)]
    number = len(done)
    workflow = directory.workflow(f"{config.name}-{number:03d}")
    if workflow.is_dir() and set(changed) - FREE and not redo:
        raise StateError(
            f"{directory.path}: {', '.join(changed)} changed in the middle of iteration {number}; finish it with "
            "the old settings, or throw away its steps with --redo"
        )
    if redo:
        _forget(directory, workflow, number)
    if set(changed) - FREE and _has_ended(done) and number <= config.budget.iterations:
        directory.iteration(number).mkdir(parents=True, exist_ok=True)  # says that the run goes on
    if changed:
        write_whole(file, text)


def _forget(directory: RunDirectory, workflow: Path, number: int) -> None:
    """Throw away the steps of an unfinished iteration and what they wrote."""
    shutil.rmtree(workflow, ignore_errors=True)
    if number:
        shutil.rmtree(directory.iteration(number), ignore_errors=True)
    for key in (TRAIN, HELDOUT, KNOWN):
        shutil.rmtree(directory.path / key / f"{number:03d}", ignore_errors=True)


def _has_ended(done: list[Iteration]) -> bool:
    return bool(done) and done[-1].selected is not None and done[-1].selected.decision == "stop"


def _record(directory: RunDirectory, state: str, message: str) -> Run:
    record = Run.model_validate({**directory.run().model_dump(), "state": state, "message": message})
    record.save(directory.record)
    return record


def _tidy(directory: RunDirectory, workflow: str, number: int) -> None:
    """Throw away what nobody reads again; raw outputs of labels stay."""
    shutil.rmtree(directory.workflow(workflow), ignore_errors=True)
    for folder in (directory.path / "work" / "scratch" / f"{number:03d}").glob("*"):
        if not folder.name.startswith("label"):
            shutil.rmtree(folder, ignore_errors=True)


def full_disk(path: Path) -> str:
    """What is said when the disk of a run is full."""
    free = shutil.disk_usage(path).free / 1e6
    return f"{path}: the disk is full ({free:.0f} MB free); make room, then `lamflow resume {path}` goes on"


@contextmanager
def _room(path: Path) -> Iterator[None]:
    """Say in one message that the disk is full."""
    try:
        yield
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        raise NodeError(full_disk(path)) from error


@contextmanager
def _terminable() -> Iterator[None]:
    """Treat SIGTERM like an interrupt, so that children end and the state is written."""

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
