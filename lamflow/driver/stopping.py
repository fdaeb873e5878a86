"""End the driver of a run, wherever it is."""

from __future__ import annotations

from collections.abc import Callable

from lamflow.driver import batch_runs
from lamflow.driver.ending import stop_here
from lamflow.driver.located import Located
from lamflow.driver.rundir import RunDirectory
from lamflow.errors import StateError


def stop(run: Located, say: Callable[[str], None] = lambda _: None) -> None:
    """End the driver of a run and wait until it is gone. Raises StateError when nothing drives the run.

    say  is told what is waited for
    """
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
