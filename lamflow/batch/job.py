"""The process of one job: `python -m lamflow.batch.job FOLDER JOB` runs the operation of a step."""

from __future__ import annotations

import sys
from pathlib import Path

from lamflow.batch.documents import JOBS, STEP, StepPlan
from lamflow.ops.job import main as run

if __name__ == "__main__":
    folder, job = Path(sys.argv[1]), int(sys.argv[2])
    plan = StepPlan.read(folder / STEP)
    run(
        plan.op, step=plan.name, root=str(folder / JOBS / f"{job}"), timeout=plan.timeout, gpus=plan.gpus,
        parameters={**plan.parameters, "job": job, "jobs": plan.jobs},
    )  # fmt: skip
