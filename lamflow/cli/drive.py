"""Commands that drive a run, here or on a cluster."""

from __future__ import annotations

import os
import shlex
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lamflow.cli.runs import Located, located
from lamflow.data.results import Run
from lamflow.driver.rundir import RunDirectory
from lamflow.errors import InputError, StateError

INTERRUPTED = 130
STOPPING = 30.0
"""s; a driver that has not ended by then is killed."""


def run_file(file: Path, folder: Path | None, redo: bool) -> None:
    """Run a file on this machine."""
    from lamflow.cli.terminal import terminal
    from lamflow.driver import loop
    from lamflow.driver.study import load

    study = load(file)
    path = folder or study.folder
    if located(str(path)).remote is not None:
        raise StateError(f"{path} belongs to a run on a cluster; give another folder with --dir")
    with interruptible(path), terminal(study.config) as listener:
        record = loop.run(study.config, path, listener, redo=redo)
    _finish(path, record)


def train_file(file: Path, folder: Path | None, redo: bool) -> None:
    """Train once with what a file says, and leave its stages out."""
    from lamflow.cli.terminal import terminal
    from lamflow.driver import loop
    from lamflow.driver.study import as_training, load

    study = load(file)
    config = as_training(study.config)
    path = folder or study.folder.with_name(f"{study.folder.name}-train")
    with interruptible(path), terminal(config) as listener:
        record = loop.run(config, path, listener, redo=redo)
    _finish(path, record)


def submit(file: Path, folder: Path | None, redo: bool, drive_here: bool) -> None:
    """Start a run on the cluster."""
    from lamflow.driver import cluster_runs
    from lamflow.driver.run_location import RunLocation
    from lamflow.driver.study import load

    study = load(file)
    path = folder or study.folder
    study.check()
    if drive_here:
        _drive_here(Located(path, RunLocation.of(study.config)), redo=redo, file=file)
        return
    made = cluster_runs.submit(study.config, path, redo=redo)
    word = shlex.quote(str(path))
    print(f"{study.config.name} runs in namespace {study.config.cluster.namespace}; its data are in {made.url}")
    print(f"look  lamflow watch {word}\nstop  lamflow stop {word}")


def resume(run: str, drive_here: bool) -> None:
    """Go on with a run."""
    from lamflow.cli.terminal import terminal
    from lamflow.driver import loop

    found = located(run)
    if found.remote is not None and drive_here:
        _drive_here(found)
        return
    if found.remote is not None:
        from lamflow.driver import cluster_runs

        cluster_runs.resume(found.path, found.remote)
        print(f"goes on; lamflow watch {shlex.quote(run)}")
        return
    if drive_here:
        raise InputError(f"{run} is a run of this machine; --drive-here is for runs on a cluster")
    directory = RunDirectory(found.path)
    directory.run()
    with interruptible(found.path), terminal(directory.config()) as listener:
        record = loop.resume(found.path, listener)
    _finish(found.path, record)


def watch(run: str) -> None:
    """Show how a run on a cluster goes until it ends."""
    from lamflow.cli.terminal import terminal
    from lamflow.driver.cluster_runs import follow

    found = located(run)
    path, place = found.on_a_cluster()
    found.mirrored()
    with interruptible(path, "looks no longer; the run goes on"), terminal(RunDirectory(path).config()) as listener:
        record = follow(path, place, listener)
    _finish(path, record)
    if record.state in ("failed", "stopped"):
        raise StateError(f"the run {record.state}: {record.message}")
    if record.state == "running":
        raise StateError(f"the run has no driver any more; go on with `lamflow resume {shlex.quote(run)}`")


def logs(run: str, iteration: int | None, follow: bool) -> None:
    """Print what the pods of a run printed."""
    from lamflow.driver import cluster_runs

    path, place = located(run).on_a_cluster()
    for line in cluster_runs.logs(path, place, iteration, follow=follow):
        print(line, flush=True)


def stop(run: str) -> None:
    """End the driver of a run and wait until it is gone."""
    found = located(run)
    here = RunDirectory(found.path).driver() is not None
    if here or found.remote is None:
        _stop_here(found.path)
    if found.remote is not None:
        from lamflow.driver import cluster_runs

        try:
            cluster_runs.stop(found.path, found.remote)
        except StateError:
            if not here:  # the driver was a terminal of this machine, and no iteration ran
                raise
    print(f"stopped; `lamflow resume {shlex.quote(run)}` goes on from here")


def _stop_here(path: Path) -> None:
    directory = RunDirectory(path)
    directory.run()
    pid = directory.driver()
    if pid is None:
        raise StateError(f"{path}: nothing drives this run")
    os.kill(pid, signal.SIGTERM)
    deadline = time.monotonic() + STOPPING
    while directory.driver() is not None:
        if time.monotonic() > deadline and directory.driver() == pid:
            os.kill(pid, signal.SIGKILL)
        time.sleep(0.1)


def _drive_here(found: Located, *, redo: bool = False, file: Path | None = None) -> None:
    """Drive a run on a cluster from this terminal."""
    from lamflow.cli.terminal import terminal
    from lamflow.config import load
    from lamflow.config.schema import DataStudy
    from lamflow.driver import loop
    from lamflow.driver.argo_executor import ArgoExecutor
    from lamflow.driver.cluster_runs import driver_that_rests
    from lamflow.driver.run_location import mirror

    path, place = found.on_a_cluster()
    directory = RunDirectory(path)
    executor = ArgoExecutor(directory, place)
    if file is not None:
        config = load(file, DataStudy)
    else:
        mirror(directory, executor.store)
        config = directory.config()
    driver_that_rests(executor.workflows, config)
    with interruptible(path), terminal(config) as listener:
        if file is not None:
            record = loop.run(config, path, listener, executor, redo=redo)
        else:
            record = loop.resume(path, listener, executor)
    _finish(path, record)


@contextmanager
def interruptible(path: Path, words: str = "stopped") -> Iterator[None]:
    """Leave with a word about how to go on when a person or `lamflow stop` ends the run."""
    try:
        yield
    except KeyboardInterrupt:
        hint = f"`lamflow resume {shlex.quote(str(path))}` goes on from here"
        print(f"lamflow: {words}" + (f"; {hint}" if words == "stopped" else ""), file=sys.stderr)
        sys.exit(INTERRUPTED)


def _finish(path: Path, record: Run) -> None:
    from lamflow.driver.study import RunResult

    page = RunResult(path).report()
    print(record.message)
    print(f"report  {page}\nmodels  lamflow fetch {shlex.quote(str(path))} models")
