"""End the driver of a run, wherever it is."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

from lamflow.driver.located import Located
from lamflow.driver.rundir import RunDirectory
from lamflow.errors import StateError

STOPPING = 30.0
"""s; a driver that has not ended by then is killed."""


def stop(run: Located, say: Callable[[str], None] = lambda _: None) -> None:
    """End the driver of a run and wait until it is gone. Raises StateError when nothing drives the run.

    say  is told what is waited for
    """
    from lamflow.driver import batch_runs

    if batch_runs.is_placed(run.path):
        batch_runs.stop(RunDirectory(run.path.resolve()), say)
        return
    is_driven_here = RunDirectory(run.path).driver() is not None
    if is_driven_here or run.remote is None:
        stop_here(run.path)
    if run.remote is not None:
        from lamflow.driver import cluster_runs

        try:
            cluster_runs.stop(run.path, run.remote, say)
        except StateError:
            if not is_driven_here:  # the driver was a terminal of this machine, and no iteration ran
                raise


def stop_here(path: Path) -> None:
    """End the driver of a run on this machine and wait until it is gone. Raises StateError when there is none."""
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
