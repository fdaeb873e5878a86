"""The driver's pod: the loop of any run, with its iterations as Workflows beside it."""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
import traceback
from pathlib import Path
from typing import NoReturn

from lamflow.cluster.retry_policy import DRIVER
from lamflow.data.layout import REPORT
from lamflow.data.results import Iteration
from lamflow.driver.argo_executor import ArgoExecutor
from lamflow.driver.listener import Lines
from lamflow.driver.loop import resume
from lamflow.driver.run_location import RunLocation
from lamflow.driver.rundir import RunDirectory
from lamflow.errors import LamflowError, OutageError
from lamflow.flow.kinds import kind_of
from lamflow.ops.job import EXIT_FATAL, EXIT_NODE, EXIT_TERMINATED, write_termination_message


class Progress(Lines):
    """Prints what happens, and tells Argo which share of the budget's iterations is done."""

    def __init__(self, most: int) -> None:
        super().__init__()
        self.most = most + 1

    def resumes(self, done: list[Iteration]) -> None:
        """See Listener."""
        self._tell(len(done))

    def finished(self, iteration: Iteration) -> None:
        """See Listener."""
        super().finished(iteration)
        self._tell(iteration.number + 1)

    def _tell(self, done: int) -> None:
        if "ARGO_PROGRESS_FILE" in os.environ:
            Path(os.environ["ARGO_PROGRESS_FILE"]).write_text(f"{min(done, self.most)}/{self.most}", encoding="utf-8")


def main(url: str, folder: str, outputs: str) -> NoReturn:
    """Drive the run at `url` to its end and exit: 0 if it converged or used up its budget, 2 if it cannot go on.

    After any other exit status another pod goes on. What Argo shows of the run is written to `outputs`.
    """
    directory, status = RunDirectory(Path(folder)), 0
    try:
        remote = RunLocation.at(url, directory.path, DRIVER)
        study = directory.config()
        listener = Progress(kind_of(study).most_rounds(study))
        resume(directory.path, listener, ArgoExecutor(directory, remote, DRIVER, comes_back=True))
    except KeyboardInterrupt:
        status = EXIT_TERMINATED
    except Exception as error:  # noqa: BLE001  an error that comes again must not bring pod after pod
        foreseen = isinstance(error, LamflowError)
        text = f"{type(error).__name__}: {error}"
        print(text if foreseen else traceback.format_exc(), file=sys.stderr, flush=True)
        write_termination_message(text)
        status = EXIT_NODE if isinstance(error, OutageError) else EXIT_FATAL
    with contextlib.suppress(LamflowError, OSError):
        write_outputs(directory, Path(outputs))
    sys.exit(status)


def write_outputs(directory: RunDirectory, outputs: Path) -> None:
    """Key figures, a file each, and the report."""
    outputs.mkdir(parents=True, exist_ok=True)
    (outputs / "state").write_text(directory.run().state, encoding="utf-8")
    iterations = directory.iterations()
    if iterations:
        last = iterations[-1]
        (outputs / "labels").write_text(str(last.labels), encoding="utf-8")
        (outputs / "force_rmse").write_text(
            "" if last.force_rmse is None else f"{last.force_rmse:.4f}", encoding="utf-8"
        )
        (outputs / "accurate_fraction").write_text(
            "" if last.selected is None else f"{last.selected.accurate_fraction:.4f}", encoding="utf-8"
        )
    if (directory.path / REPORT).is_dir():
        shutil.copytree(directory.path / REPORT, outputs / REPORT, dirs_exist_ok=True)
