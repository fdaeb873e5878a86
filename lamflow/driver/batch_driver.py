"""The driver as a job of a batch system: `python -m lamflow.driver.batch_driver RUN SECONDS`.

Before its wall time is over it lets go of the run and submits its successor; the jobs of the round go on meanwhile.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from pathlib import Path

from lamflow.driver.batch_executor import BatchExecutor
from lamflow.driver.batch_runs import executor_of, submit_driver
from lamflow.driver.listener import Lines
from lamflow.driver.loop import resume
from lamflow.driver.rundir import RunDirectory
from lamflow.errors import LamflowError
from lamflow.ops.job import EXIT_FATAL, EXIT_TERMINATED


def margin(seconds: float) -> float:
    """s before the end of its wall time at which a driver lets go."""
    return min(300.0, max(15.0, 0.1 * seconds))


def main(path: Path, seconds: float) -> int:
    """Drive the run in a folder for as long as its allocation lasts; the exit status."""
    over = threading.Event()

    def let_go() -> None:
        over.set()
        os.kill(os.getpid(), signal.SIGTERM)

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, interrupt)
    began = float(os.environ.get("LAMFLOW_BEGAN", time.time()))  # of the allocation, which its script says
    timer = threading.Timer(max(1.0, began + seconds - margin(seconds) - time.time()), let_go)
    timer.daemon = True
    directory = RunDirectory(path)
    executor = executor_of(directory, comes_back=True)
    assert isinstance(executor, BatchExecutor)  # noqa: S101  it was submitted to one
    try:
        timer.start()
        resume(path, Lines(), executor)
    except KeyboardInterrupt:
        if not over.is_set():
            return EXIT_TERMINATED
        print(f"wall time ends; job {submit_driver(directory, executor)} goes on", flush=True)
    except LamflowError as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr, flush=True)
        return EXIT_FATAL
    finally:
        timer.cancel()
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), float(sys.argv[2])))
