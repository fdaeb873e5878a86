"""Commands that drive a run, here or on a cluster."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lamflow.api import Run, Study
from lamflow.config.read import with_lines
from lamflow.data.layout import BATCH_RUN
from lamflow.driver import batch_runs
from lamflow.driver.batch_executor import BatchRun
from lamflow.driver.batch_runs import is_placed
from lamflow.driver.located import Located, located
from lamflow.driver.rundir import RunDirectory
from lamflow.errors import EngineError, InputError, StateError, printable

INTERRUPTED = 130


def run_file(file: Path, folder: Path | None, redo: bool, on: str | None = None) -> None:
    """Run a file on this machine, or from here on a batch system."""
    study = Study.load(file)
    path = folder or study.folder
    if study.config.batch is not None and on is None and not is_placed(path):
        print("lamflow: batch is not used: all jobs run on this machine, which --on SYSTEM changes", file=sys.stderr)
    with with_lines(file):
        _run_here(study, path, redo, on)


def train_file(file: Path, folder: Path | None, redo: bool) -> None:
    """Train once with what a file says, and leave its stages out."""
    study = Study.load(file).as_training()
    with with_lines(file):
        _run_here(study, folder or study.folder.with_name(f"{study.folder.name}-train"), redo)


def _run_here(study: Study, path: Path, redo: bool, on: str | None = None) -> None:
    from lamflow.cli.terminal import terminal

    with interruptible(path), terminal(study.config) as listener:
        run = study.run(path, listener, redo=redo, on=on)
    _finish(run)


def submit(file: Path, folder: Path | None, redo: bool, drive_here: bool) -> None:
    """Start a run on the cluster."""
    from lamflow.driver.run_location import RunLocation

    study = Study.load(file)
    path = folder or study.folder
    if study.config.batch is not None:
        with with_lines(file):
            _submit_to_batch(study, path, redo, drive_here)
        return
    location = RunLocation.of(study.config)
    if drive_here:
        study.check()
        _drive_here(Located(path, location), redo=redo, file=file)
        return
    study.submit(path, redo=redo)
    word = shlex.quote(str(path))
    print(f"{study.config.name} runs in namespace {study.config.cluster.namespace}; its data are in {location.url}")
    print(f"look  lamflow watch {word}\nstop  lamflow stop {word}")


def _submit_to_batch(study: Study, path: Path, redo: bool, drive_here: bool) -> None:
    """Start a run on a batch system, its driver in the queue too unless that stays here."""
    assert study.config.batch is not None  # noqa: S101  submit has looked
    if drive_here:
        _run_here(study, path, redo, study.config.batch.system)
        return
    study.submit(path, redo=redo)
    word = shlex.quote(str(path))
    print(f"{study.config.name} is in the queue: its driver is job {BatchRun.read(path / BATCH_RUN).driver}")
    print(f"look  lamflow watch {word}\nstop  lamflow stop {word}")


def resume(run: str, drive_here: bool) -> None:
    """Go on with a run."""
    from lamflow.cli.terminal import terminal

    found = located(run)
    if found.remote is not None and drive_here:
        _drive_here(found)
        return
    if found.remote is not None:
        Run(found).resume()
        print(f"goes on; lamflow watch {shlex.quote(run)}")
        return
    directory = RunDirectory(found.path)
    if drive_here and not is_placed(directory.path):
        raise InputError(f"{run} is a run of this machine; --drive-here is for runs on a cluster")
    directory.run()
    with interruptible(found.path), terminal(directory.config()) as listener:
        resumed = Run(found).resume(listener)
    _finish(resumed)


def watch(run: str) -> None:
    """Show how a run on a cluster goes until it ends."""
    from lamflow.cli.terminal import terminal
    from lamflow.driver.cluster_runs import follow

    found = located(run)
    if is_placed(found.path):
        _watch_batch(Run(found), run)
        return
    path, place = found.on_a_cluster()
    found.mirrored()
    with interruptible(path, "looks no longer; the run goes on"), terminal(RunDirectory(path).config()) as listener:
        record = follow(path, place, listener)
    if record.state in ("failed", "stopped"):
        raise StateError(f"the run {record.state}: {record.message}")
    if record.state != "running":
        _finish(Run(found))
    else:
        raise StateError(f"the run has no driver any more; go on with `lamflow resume {shlex.quote(run)}`")


def _watch_batch(run: Run, word: str) -> None:
    from lamflow.cli.terminal import terminal

    directory = RunDirectory(run.path.resolve())
    with interruptible(run.path, "looks no longer; the run goes on"), terminal(directory.config()) as listener:
        record = batch_runs.follow(directory, listener)
    if record.state in ("failed", "stopped"):
        raise StateError(f"the run {record.state}: {record.message}")
    if record.state == "running":
        raise StateError(f"the run has no driver any more; go on with `lamflow resume {shlex.quote(word)}`")
    _finish(run)


def logs(run: str, iteration: int | None, follow: bool) -> None:
    """Print what the pods of a run printed."""
    from lamflow.driver import cluster_runs

    found = located(run)
    if is_placed(found.path):
        for line in batch_runs.logs(RunDirectory(found.path.resolve()), iteration):
            print(printable(line), flush=True)
        return
    path, place = found.on_a_cluster()
    for line in cluster_runs.logs(path, place, iteration, follow=follow):
        print(printable(line), flush=True)


def repair(run: str, file: Path | None, redo: bool) -> None:
    """Mend what can be mended, and say what was."""
    study = Study.load(file) if file is not None else None
    made = Run(located(run)).repair(study, redo=redo)
    print("\n".join(made) if made else "nothing is missing or damaged")
    print(f"`lamflow resume {shlex.quote(run)}` goes on")


def stop(run: str) -> None:
    """End the driver of a run and wait until it is gone."""
    from lamflow.driver import stopping

    stopping.stop(located(run), print)
    print(f"stopped; `lamflow resume {shlex.quote(run)}` goes on from here")


def _drive_here(found: Located, *, redo: bool = False, file: Path | None = None) -> None:
    """Drive a run on a cluster from this terminal."""
    from lamflow.cli.terminal import terminal
    from lamflow.config import load
    from lamflow.config.schema import DataStudy
    from lamflow.driver import loop
    from lamflow.driver.argo_executor import ArgoExecutor
    from lamflow.driver.cluster_runs import driver_that_rests, refuse_what_cannot_start
    from lamflow.driver.run_location import mirror

    path, place = found.on_a_cluster()
    directory = RunDirectory(path)
    if file is not None:
        config = load(file, DataStudy)
        refuse_what_cannot_start(config, drive_here=True)
    executor = ArgoExecutor(directory, place)
    if file is None:
        mirror(directory, executor.store)
        config = directory.config()
    driver_that_rests(executor.workflows, config)
    with interruptible(path), terminal(config) as listener:
        if file is not None:
            loop.run(config, path, listener, executor, redo=redo)
        else:
            loop.resume(path, listener, executor)
    _finish(Run(found))


@contextmanager
def interruptible(path: Path, words: str = "stopped") -> Iterator[None]:
    """Leave with a word about how to go on when a person or `lamflow stop` ends the run."""
    try:
        yield
    except KeyboardInterrupt:
        hint = f"`lamflow resume {shlex.quote(str(path))}` goes on from here"
        print(f"lamflow: {words}" + (f"; {hint}" if words == "stopped" else ""), file=sys.stderr)
        sys.exit(INTERRUPTED)


def _finish(run: Run) -> None:
    """Say why the run has ended and where its results are. Raises EngineError where a model is missing."""
    page = run.report()
    print(printable(run.status.message))
    print(f"report  {printable(str(page))}")
    if run.model_folders:
        print(f"models  lamflow fetch {shlex.quote(str(run.path))} models")
    if run.failures:
        raise EngineError("\n  ".join(["not every model is trained:", *run.failures]))
