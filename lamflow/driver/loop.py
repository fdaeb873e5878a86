"""The loop: plain Python over rounds. Kill it anywhere and start it again; what finished is not done twice."""

from __future__ import annotations

import contextlib
import errno
import json
import shutil
import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lamflow.config.engines import LabelerSettings
from lamflow.config.installed import engine_named
from lamflow.config.kinds import Kind
from lamflow.config.read import SETTINGS
from lamflow.config.schema import DataStudy
from lamflow.data.files import write_whole
from lamflow.data.graph import Graph
from lamflow.data.layout import (
    BATCHES,
    FILES,
    GIVEN,
    GRAPH,
    HISTORY,
    HISTORY_RECORD,
    INPUT,
    QUEUE,
    QUEUED,
    RECORD,
    SELECTED,
    SOURCE_LIST,
    SOURCES,
    STRUCTURES,
)
from lamflow.data.packed import PackedFrames
from lamflow.data.properties import PropertiesRound
from lamflow.data.results import History, Iteration
from lamflow.data.run import Reference, Run
from lamflow.driver.executor import Executor
from lamflow.driver.listener import Listener
from lamflow.driver.local_executor import LocalExecutor
from lamflow.driver.prepare import fingerprint, prepare, snapshot
from lamflow.driver.pretrained import fetched
from lamflow.driver.references import resolved
from lamflow.driver.rundir import RunDirectory, full_disk
from lamflow.driver.survey import refuse_damage
from lamflow.errors import EngineError, LamflowError, NodeError, StateError
from lamflow.flow.kinds import kind_of
from lamflow.superops.gather import Timing
from lamflow.superops.state import RunState

RAISE_AGAIN_SECONDS = 10
"""s until an interrupt that had no effect is raised again."""
FREE_SECTIONS = {"pods", "cluster", "batch", "sites"}
"""Sections that may change in the middle of a round."""


def resume(path: Path, listener: Listener | None = None, executor: Executor | None = None) -> Run:
    """Go on with the run in folder `path` with the settings that it has. See `run`."""
    directory = RunDirectory(path.resolve())
    return _drive(directory, None, listener or Listener(), executor or LocalExecutor(directory))


def run(
    study: DataStudy,
    path: Path,
    listener: Listener | None = None,
    executor: Executor | None = None,
    *,
    redo: bool = False,
    references: Sequence[Reference] = (),
) -> Run:
    """Drive the run of `study` in folder `path` until it converges or its budget ends, and return its record.

    Continues what is there. Rounds run on this machine unless `executor` runs them elsewhere. Raises StateError
    when another driver lives in `path` or the settings do not fit what is there, InputError for data that cannot be
    used, EngineError, NodeError and ClusterError for what stopped a round. `redo` throws away an unfinished
    round whose settings have changed. references: what was taken from other runs for `study` already.
    """
    directory = RunDirectory(path.resolve())
    executor = executor or LocalExecutor(directory)
    return _drive(directory, study, listener or Listener(), executor, redo=redo, references=references)


def _drive(
    directory: RunDirectory, study: DataStudy | None, listener: Listener, executor: Executor, **options: Any
) -> Run:
    with _terminable(), _disk_checked(directory.path), executor.locked():
        study = begin(study, directory, executor, **options)
        _record(directory, executor, "running", "")
        try:
            last = _rounds(study, directory, executor, listener)
            _require_results(last)
        except KeyboardInterrupt:
            if not executor.comes_back:
                _record(directory, executor, "stopped", "stopped; go on with `lamflow resume`")
            raise
        except Exception as error:  # whatever it is, the record says that the run has failed
            with contextlib.suppress(OSError, LamflowError):
                _record(directory, executor, "failed", str(error))
                executor.publish()
            raise
        record = _record(directory, executor, "converged" if last.converged else "ended", last.ended or "")
        executor.publish()
        return record


def begin(
    study: DataStudy | None,
    directory: RunDirectory,
    executor: Executor,
    *,
    redo: bool = False,
    references: Sequence[Reference] = (),
) -> DataStudy:
    """The settings that the run goes on with: those of `study` for a new run, or where the run can take them over.

    Without `study`, those that it has. Raises StateError and InputError; see `run`.
    """
    directory.require_rounds()
    if study is None:
        directory.run()
        return directory.config()
    begun = directory if directory.exists() else None
    study, found = resolved(fetched(study), begun)
    references = [*references, *found]
    if begun is not None:
        _accept(study, references, directory, executor, redo)
        return study
    executor.check_requirements(study)
    prepare(study, directory, executor.capacity.slots("label", study.pods.label), references)
    executor.persist(file for file in directory.store_files() if file != directory.record)
    executor.persist([directory.record])
    return study


def _rounds(study: DataStudy, directory: RunDirectory, executor: Executor, listener: Listener) -> Iteration:
    """Rounds until the kind of workflow has no other one."""
    kind = kind_of(study)
    if executor.is_store:
        refuse_damage(directory)
    listener.resumes(directory.iterations())
    while True:
        finished = directory.iterations()
        graph = _next_graph(kind, study, directory, executor, finished)
        if graph is None:
            return finished[-1]
        listener.begins(graph)
        seconds = executor.run(study, graph, listener)
        timing = Timing(executor.spans(), seconds, executor.capacity.cores)
        record = kind.gather(study, graph, directory.path, finished, timing)
        file = directory.round(graph.round) / RECORD
        record.save(file)
        executor.persist([file])
        executor.clean_up(study, graph)
        executor.publish()
        listener.finished(record)


def _require_results(last: Iteration) -> None:
    """Raise EngineError when a round has trained models or measured properties and every one of them failed."""
    if last.models and len(last.failed_models) == len(last.models):
        raise EngineError("\n  ".join(["no model is trained:", *last.failed_models]))
    reasons = last.failed_properties() if isinstance(last, PropertiesRound) else []
    if reasons:
        raise EngineError("\n  ".join(["no property has a value (`lamflow report` has the rest):", *reasons]))


def _next_graph(
    kind: Kind, study: DataStudy, directory: RunDirectory, executor: Executor, finished: list[Iteration]
) -> Graph | None:
    """The next round's graph: as it was begun, or new; None when the run has ended."""
    number = len(finished)
    if directory.has_graph(number):
        _write_history(directory, finished)
        return directory.graph(number)
    graph: Graph | None = kind.next_graph(study, run_state(directory, executor, finished))
    if graph is None:
        return None
    if number and _take_queue(directory, executor, number):
        graph = kind.next_graph(study, run_state(directory, executor, finished))
        assert graph is not None  # noqa: S101  it was there before the queue was taken
    history, file = _write_history(directory, finished), directory.round(number) / GRAPH
    graph.save(file)
    executor.persist([history, file])
    return graph


def run_state(directory: RunDirectory, executor: Executor, finished: list[Iteration]) -> RunState:
    """What the next round depends on, read from the run's folder."""
    start, coming = directory.round(0), directory.round(len(finished))
    sets = {file.stem: PackedFrames.load(file) for file in (directory.path / STRUCTURES).glob("*.npz")}
    return RunState(
        capacity=executor.capacity,
        finished=finished,
        structures={name: len(frames) for name, frames in sets.items()},
        natoms={name: int(frames.natoms.max()) for name, frames in sets.items() if len(frames)},
        batches=len(list((start / SELECTED / BATCHES).glob("*"))),
        labeled_data=(start / GIVEN).is_dir(),
        sources=len(list((start / SOURCES).glob(f"*/{SOURCE_LIST}"))),
        frames=sum(item.training_frames + item.heldout_frames for item in finished[-1:]),
        queued=(coming / QUEUED).is_dir(),
        extended=(coming / HISTORY).is_dir(),
    )


def _take_queue(directory: RunDirectory, executor: Executor, number: int) -> bool:
    """Move what waits to be labeled into the round that will look at it, and say whether there is anything.

    It leaves the queue when it is stored, so that a driver that is killed in between loses nothing.
    """
    folder, waiting = directory.round(number) / QUEUED, sorted((directory.path / QUEUE).glob("[0-9]*"))
    for item in waiting:
        if not (folder / item.name).exists():
            partial = item.with_name(f".{item.name}.taken")
            shutil.rmtree(partial, ignore_errors=True)
            shutil.copytree(item, partial)
            folder.mkdir(parents=True, exist_ok=True)
            partial.rename(folder / item.name)
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    executor.persist(files)
    for item in waiting:
        shutil.rmtree(item)
    return bool(files)


def _write_history(directory: RunDirectory, finished: list[Iteration]) -> Path:
    """What the next round's decision looks at."""
    file = directory.round(len(finished)) / HISTORY / HISTORY_RECORD
    History(iterations=finished, written=time.time()).save(file)
    return file


def _accept(
    study: DataStudy, references: Sequence[Reference], directory: RunDirectory, executor: Executor, redo: bool
) -> None:
    """Take over the settings of today for a run that exists.

    Raises StateError when the run cannot go on with them. A run that had ended goes on when they have changed: with
    another round, or, where its kind has no other, with those done again that read what has changed. With `redo` the
    steps of an unfinished round are thrown away, whatever has changed. The graph of a round of which nothing has
    started is made anew.
    """
    if directory.run().fingerprint != fingerprint(study, references):
        raise StateError(
            f"{directory.path} holds a run with other elements, seed, structures or start data, or a file that they "
            "name has changed; use another folder (--dir) or the configuration that it was begun with"
        )
    directory.config()  # raises StateError for settings that are lost or of another version
    finished, file, kind = directory.iterations(), directory.path / INPUT / SETTINGS, kind_of(study)
    text, old = snapshot(study, directory), file.read_text(encoding="utf-8")
    now, begun = json.loads(text), json.loads(old)
    if now["workflow"] != begun.get("workflow"):
        raise StateError(f"{directory.path} holds a run of workflow {begun.get('workflow')}, not {now['workflow']}")
    try:
        kind.check_resumable(study, finished)
    except StateError as error:
        raise StateError(f"{directory.path}: {error}") from error
    changed = {key for key in now if now[key] != begun.get(key)}
    number = len(finished)
    paid = max((record.labels for record in finished if isinstance(record, Iteration)), default=0)
    _same_labels(directory, _labeled_parts(now), _labeled_parts(begun), paid)
    unfinished = directory.graph(number) if directory.has_graph(number) else None
    started = unfinished is not None and executor.has_started(study, unfinished)
    redo = redo or bool(kind.begins_again and changed - FREE_SECTIONS)
    if changed - FREE_SECTIONS and not redo and unfinished and started:
        raise StateError(
            f"{directory.path}: {', '.join(sorted(changed))} changed in the middle of {unfinished.title}; finish it "
            "with the old settings, or throw away its steps with --redo"
        )
    anew = unfinished if redo or (changed and not started) else None
    if changed - FREE_SECTIONS:
        executor.check_requirements(study)
    if anew is not None:
        executor.reset(study, anew)
    goes_on = bool((anew or changed - FREE_SECTIONS) and finished and finished[-1].ended is not None)
    if goes_on and kind.open_ended and number <= kind.most_rounds(study):
        executor.persist([_write_history(directory, finished)])  # its folder says that the run goes on
    if not kind.open_ended:
        first = finished[-1].number if goes_on else number
        if changed - FREE_SECTIONS:
            first = min(first, kind.redone_from(study, changed - FREE_SECTIONS))
        for done in reversed(finished):
            if done.number >= first:
                executor.reset(study, directory.graph(done.number))
    if changed:
        write_whole(file, text)
        executor.persist(path for path in (directory.path / INPUT / FILES).rglob("*") if path.is_file())
        executor.persist([file])
        directory.run().model_copy(update={"references": list(references)}).save(directory.record)
        executor.persist([directory.record])


def _labeled_parts(study: dict[str, Any]) -> list[Any]:
    """What has a label engine: the study itself, and its heads by their names."""
    return [{**study, "name": ""}, *study.get("heads", [])]


def _same_labels(directory: RunDirectory, now: list[Any], begun: list[Any], paid: int) -> None:
    """Raise StateError when labels from now on would be others than those that a run has.

    Settings and files count that change a label: licensed files by their hashes always, the others once labels are
    paid for.
    """
    before = {part.get("name", ""): part for part in begun}
    for part in now:
        ours, theirs = part.get("label") or {}, before.get(part.get("name", ""), {}).get("label") or {}
        if not ours or not theirs:
            continue
        labels = engine_named(ours["engine"]).roles["label"].settings
        assert issubclass(labels, LabelerSettings)  # noqa: S101  of role label
        problem = labels.replaced_file(theirs, ours) if ours["engine"] == theirs["engine"] else None
        if problem:
            raise StateError(f"{directory.path}: {problem}")
        keys = sorted((ours.keys() | theirs.keys()) - labels.nonphysical_keys)
        changed = [key for key in keys if ours.get(key) != theirs.get(key)]
        if paid and changed:
            shown = ", ".join(f"{key} {theirs.get(key)!r} -> {ours.get(key)!r}"[:80] for key in changed[:3])
            raise StateError(
                f"{directory.path}: label changed ({shown}), and the {paid} labels of this run are made the other way; "
                "a data set is of one level of theory. Go on with the settings that it was begun with, or begin "
                "another run (--dir)"
            )


def _record(directory: RunDirectory, executor: Executor, state: str, message: str) -> Run:
    record = Run.model_validate({**directory.run().model_dump(), "state": state, "message": message})
    record.save(directory.record)
    executor.persist([directory.record])
    return record


@contextmanager
def _disk_checked(path: Path) -> Iterator[None]:
    """Say in one message that the disk is full."""
    try:
        yield
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        raise NodeError(full_disk(path)) from error


@contextmanager
def _terminable() -> Iterator[None]:
    """Treat SIGTERM, and SIGHUP of a lost terminal, like an interrupt: children end and the state is written.

    It is raised again after a while: code of others may swallow an exception that comes out of nowhere.
    """

    def interrupt(*_: object) -> None:
        signal.alarm(RAISE_AGAIN_SECONDS)
        raise KeyboardInterrupt

    handled = [signal.SIGTERM, signal.SIGALRM]
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # nohup wants the run to outlive its terminal
        handled.append(signal.SIGHUP)
    before = {number: signal.signal(number, interrupt) for number in handled}
    try:
        yield
    finally:
        signal.alarm(0)
        for number, handler in before.items():
            signal.signal(number, handler)
