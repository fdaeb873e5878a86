"""End the driver of a run on this machine."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

from lamflow.driver.rundir import RunDirectory
from lamflow.errors import StateError

STOPPING = 30.0
"""s; a driver that has not ended by then is killed."""


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
