"""Carries out one round on this machine, in dflow's debug mode, in a process of its own.

dflow changes the current directory and prints; neither may happen to the driver. Whatever this process starts dies
with it.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from pathlib import Path

from lamflow.config import stored
from lamflow.config.schema import DataStudy
from lamflow.data.layout import INPUT, WORK
from lamflow.driver.rundir import RunDirectory
from lamflow.engines.process import die_with_parent
from lamflow.ops.fork_server import starters
from lamflow.ops.job import ROUND, report_failure

UNUSED_PROCESS_ID = 2**22 + 1
"""A process id that no process can have; dflow takes a live id as a reason to do nothing."""


def main(run: Path, number: int, workers: int) -> int:
    """Carry out round `number` of the run in folder `run`; exit status 0 when all steps succeeded.

    What goes wrong while the round is built is reported as jobs report their errors.
    """
    os.register_at_fork(after_in_child=die_with_parent)
    os.environ[ROUND] = str(os.getpid())
    import dflow

    dflow.config.update(
        mode="debug",
        debug_workdir=str(run / WORK),
        debug_artifact_dir=str(run),
        debug_pool_workers=workers,
        debug_save_copy_method="link" if can_link(run) else "copy",
        debug_failfast=True,
    )
    try:
        from lamflow.flow.workflow import StoreLocation, workflow

        built = workflow(
            stored(run / INPUT, DataStudy),
            RunDirectory(run).graph(number),
            StoreLocation(folder=run, starters=starters()),
        )
        forget_unfinished(run / WORK / built.id)
    except Exception as error:  # noqa: BLE001  its type says whether another try can help
        return report_failure(error, "driver")
    built.submit()
    return 0 if built.query_status() == "Succeeded" else 1


def can_link(folder: Path) -> bool:
    """Hard links work in this folder; on some file systems they do not, and dflow would lose outputs in silence."""
    source, target = folder / WORK / ".link", folder / ".link"
    target.unlink(missing_ok=True)
    source.parent.mkdir(exist_ok=True)
    source.touch()
    try:
        os.link(source, target)
    except OSError:
        return False
    target.unlink()
    return True


def forget_unfinished(workflow: Path) -> None:
    """Remove every step that did not succeed, so that it starts from nothing with its inputs of today."""
    if not workflow.is_dir():
        return
    (workflow / "pid").write_text(str(UNUSED_PROCESS_ID), encoding="utf-8")
    if not (workflow / "status").is_file():
        (workflow / "status").write_text("Failed", encoding="utf-8")
    for step in workflow.iterdir():
        phase = step / "phase"
        if step.is_dir() and not (phase.is_file() and phase.read_text(encoding="utf-8") == "Succeeded"):
            shutil.rmtree(step)
    for record in workflow.rglob("children"):  # dflow's index of steps, which a kill may have cut off; keys do as well
        try:
            json.loads(record.read_text(encoding="utf-8"))
        except ValueError:
            record.unlink()


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])))
