"""The loop: plain Python over iterations. Kill it anywhere and start it again; what finished is not done twice."""

from __future__ import annotations

import contextlib
import errno
import json
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lamflow.config.schema import Config
from lamflow.data.packed import PackedFrames
from lamflow.data.results import History, Iteration, Run, Shape
from lamflow.data.store import INPUT, QUEUE, STRUCTURES, write_whole
from lamflow.driver.collect import collect
from lamflow.driver.executor import Executor
from lamflow.driver.here import Here
from lamflow.driver.listener import Listener
from lamflow.driver.prepare import SETTINGS, fingerprint, frozen, prepare
from lamflow.driver.pretrained import fetched
from lamflow.driver.rundir import RunDirectory, full_disk
from lamflow.driver.shape import iteration_shape
from lamflow.errors import LamflowError, NodeError, StateError

STEPS = ("train", "explore", "select", "label", "merge")
AGAIN = 10
"""s until an interrupt that had no effect is raised again."""
FREE = {"pods", "cluster"}
"""Sections that may change in the middle of an iteration."""


def resume(path: Path, listener: Listener | None = None, executor: Executor | None = None) -> Run:
    """Go on with the run in folder `path` with the settings that it has. See `run`."""
    directory = RunDirectory(path.resolve())
    return _drive(directory, None, listener or Listener(), executor or Here(directory), redo=False)


def run(
    config: Config,
    path: Path,
    listener: Listener | None = None,
    executor: Executor | None = None,
    *,
    redo: bool = False,
) -> Run:
    """Drive the run of `config` in folder `path` until it converges or its budget ends, and return its record.

    Continues what is there. Iterations run on this machine unless `executor` runs them elsewhere. Raises StateError
    when another driver lives in `path` or the settings do not fit what is there, InputError for data that cannot be
    used, EngineError, NodeError and ClusterError for what stopped an iteration. `redo` throws away an unfinished
    iteration whose settings have changed.
    """
    directory = RunDirectory(path.resolve())
    return _drive(directory, config, listener or Listener(), executor or Here(directory), redo=redo)


def _drive(
    directory: RunDirectory, config: Config | None, listener: Listener, executor: Executor, *, redo: bool
) -> Run:
    with _terminable(), _room(directory.path), executor.driving():
        config = begin(config, directory, executor, redo=redo)
        _record(directory, executor, "running", "")
        try:
            last = _iterate(config, directory, executor, listener)
        except KeyboardInterrupt:
            if not executor.comes_back:
                _record(directory, executor, "stopped", "stopped; go on with `lamflow resume`")
            raise
        except Exception as error:  # whatever it is, the record says that the run has failed
            with contextlib.suppress(OSError, LamflowError):
                _record(directory, executor, "failed", str(error))
            raise
        converged = last.selected is not None and last.selected.converged
        record = _record(directory, executor, "converged" if converged else "ended", last.ended or "")
        executor.publish()
        return record


def begin(config: Config | None, directory: RunDirectory, executor: Executor, *, redo: bool = False) -> Config:
    """The settings that the run goes on with: those of `config` for a new run, or where the run can take them over.

    Without `config`, those that it has. Raises StateError and InputError; see `run`.
    """
    if config is None:
        directory.run()
        return directory.config()
    config = fetched(config)
    if directory.exists():
        _accept(config, directory, executor, redo)
        return config
    executor.require(config)
    prepare(config, directory, executor.room.slots("label", config.pods.label))
    executor.keep(file for file in directory.store_files() if file != directory.record)
    executor.keep([directory.record])
    return config


def _iterate(config: Config, directory: RunDirectory, executor: Executor, listener: Listener) -> Iteration:
    """Iterations until one decides to stop."""
    listener.resumes(directory.iterations())
    while True:
        done = directory.iterations()
        if _has_ended(done) and not directory.iteration(len(done)).is_dir():
            return done[-1]
        shape = _shape(config, directory, executor, done)
        listener.begins(shape.number, config.stage_name(shape.number, shape.stage))
        seconds = executor.run(config, shape, listener)
        record = collect(directory, config, shape, executor.spans(), seconds)
        file = directory.iteration(shape.number) / "result.json"
        record.save(file)
        executor.keep([file])
        executor.tidy(config, shape.number)
        executor.publish()
        listener.finished(record)


def _shape(config: Config, directory: RunDirectory, executor: Executor, done: list[Iteration]) -> Shape:
    """The next iteration's graph: as it was begun, or new."""
    number = len(done)
    file = directory.iteration(number) / "shape.json"
    history = _write_history(directory, done)
    if file.is_file():
        return Shape.read(file)
    if number == 0:
        batches = list((directory.iteration(0) / "selected" / "batches").glob("*"))
        shape = Shape(number=0, label=len(batches), given=(directory.iteration(0) / "given").is_dir())
    else:
        sizes = {p.stem: len(PackedFrames.load(p)) for p in (directory.path / STRUCTURES).glob("*.npz")}
        shape = iteration_shape(config, number, next_stage(config, done), sizes, executor.room, done)
        queued = _take_queue(directory, number)
        executor.keep(queued)
        shape = shape.model_copy(update={"queued": bool(queued)})
    shape.save(file)
    executor.keep([history, file])
    return shape


def _take_queue(directory: RunDirectory, number: int) -> list[Path]:
    """Move what waits to be labeled into the iteration that will look at it, and return its files."""
    folder = directory.iteration(number) / "queued"
    for waiting in sorted((directory.path / QUEUE).glob("[0-9]*")):
        folder.mkdir(parents=True, exist_ok=True)
        waiting.rename(folder / waiting.name)
    return sorted(path for path in folder.rglob("*") if path.is_file())


def _write_history(directory: RunDirectory, done: list[Iteration]) -> Path:
    """What the next iteration's decision looks at."""
    file = directory.iteration(len(done)) / "history" / "history.json"
    History(iterations=done).save(file)
    return file


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


def _same_files(directory: RunDirectory, now: list[Any], begun: list[Any]) -> None:
    """Raise StateError when licensed files that are only known by their hashes are others under the same name."""
    for new, old in zip(now, begun, strict=False):
        ours, theirs = new.get("label") or {}, old.get("label") or {}
        if ours.get("potcars") != theirs.get("potcars") or ours.get("potcar_names") != theirs.get("potcar_names"):
            continue
        known = theirs.get("potcar_sha256") or {}
        for element, digest in (ours.get("potcar_sha256") or {}).items():
            if known.get(element, digest) != digest:
                raise StateError(
                    f"{directory.path}: the POTCAR of {element} is not the one that the run began with: "
                    f"its SHA-256 was {known[element][:12]}…, now it is {digest[:12]}…"
                )


def _accept(config: Config, directory: RunDirectory, executor: Executor, redo: bool) -> None:
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
    _same_files(directory, [now, *now["tasks"]], [begun, *begun["tasks"]])
    number = len(done)
    if set(changed) - FREE and not redo and executor.begun(config, number):
        raise StateError(
            f"{directory.path}: {', '.join(changed)} changed in the middle of iteration {number}; finish it with "
            "the old settings, or throw away its steps with --redo"
        )
    if redo:
        executor.forget(config, number)
    if set(changed) - FREE and number > 1 and not config.stages:
        executor.forget(config, 1)  # models that are trained once are trained again with the settings of today
    elif set(changed) - FREE and _has_ended(done) and number <= config.budget.iterations:
        executor.keep([_write_history(directory, done)])  # its folder says that the run goes on
    if changed:
        write_whole(file, text)
        executor.keep(path for path in (directory.path / INPUT / "files").rglob("*") if path.is_file())
        executor.keep([file])


def _has_ended(done: list[Iteration]) -> bool:
    return bool(done) and done[-1].ended is not None


def _record(directory: RunDirectory, executor: Executor, state: str, message: str) -> Run:
    record = Run.model_validate({**directory.run().model_dump(), "state": state, "message": message})
    record.save(directory.record)
    executor.keep([directory.record])
    return record


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
    """Treat SIGTERM like an interrupt, so that children end and the state is written.

    It is raised again after a while: code of others may swallow an exception that comes out of nowhere.
    """

    def interrupt(*_: object) -> None:
        signal.alarm(AGAIN)
        raise KeyboardInterrupt

    before = {number: signal.signal(number, interrupt) for number in (signal.SIGTERM, signal.SIGALRM)}
    try:
        yield
    finally:
        signal.alarm(0)
        for number, handler in before.items():
            signal.signal(number, handler)
