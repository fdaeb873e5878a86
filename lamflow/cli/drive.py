"""Commands that drive a run."""

from __future__ import annotations

import os
import shlex
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lamflow.data.results import Run
from lamflow.driver.rundir import RunDirectory
from lamflow.errors import StateError

INTERRUPTED = 130
STOPPING = 30.0
"""s; a driver that has not ended by then is killed."""


def run_file(file: Path, folder: Path | None, redo: bool) -> None:
    """Run a file."""
    from lamflow.cli.terminal import terminal
    from lamflow.driver import loop
    from lamflow.driver.study import load

    study = load(file)
    path = folder or study.folder
    with _interruptible(path), terminal(study.config) as listener:
        record = loop.run(study.config, path, listener, redo=redo)
    _finish(path, record)


def resume(path: Path) -> None:
    """Go on with a run."""
    from lamflow.cli.terminal import terminal
    from lamflow.driver import loop

    directory = RunDirectory(path)
    directory.run()
    with _interruptible(path), terminal(directory.config()) as listener:
        record = loop.resume(path, listener)
    _finish(path, record)


def stop(path: Path) -> None:
    """End the driver of a run and wait until it is gone."""
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
    print(f"stopped; `lamflow resume {shlex.quote(str(path))}` goes on from here")


@contextmanager
def _interruptible(path: Path) -> Iterator[None]:
    """Leave with a word about how to go on when a person or `lamflow stop` ends the run."""
    try:
        yield
    except KeyboardInterrupt:
        print(f"lamflow: stopped; `lamflow resume {shlex.quote(str(path))}` goes on from here", file=sys.stderr)
        sys.exit(INTERRUPTED)


def _finish(path: Path, record: Run) -> None:
    from lamflow.driver.study import RunResult

    page = RunResult(path).report()
    print(record.message)
    print(f"report  {page}\nmodels  lamflow fetch {shlex.quote(str(path))} models")
