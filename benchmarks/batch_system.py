"""What a step on a batch system costs beside the same array submitted by hand, and how many elements a step takes.

    python benchmarks/batch_system.py --system slurm     asks the Slurm whose commands are here
    python benchmarks/batch_system.py --small            processes of this machine, by xargs

By hand means an array whose elements do nothing; the step's jobs do nothing either, but read and write a store. Each
job is an element of its own in the first two rows, and twenty elements share the jobs in the third. The last row counts
the elements of a round that explores with `--simulations` simulations.
"""

from __future__ import annotations

import os
import tempfile
import time
from pathlib import Path

from _batch_work import work
from _bench import Cell, parse_arguments, parser, publish, timed

from lamflow.batch.carry import Carried
from lamflow.batch.documents import StepPlan
from lamflow.batch.host import LocalHost
from lamflow.batch.needs import request
from lamflow.batch.queue import Queue
from lamflow.batch.systems import SYSTEMS
from lamflow.config.batch import BatchSystem
from lamflow.config.pods import Pod
from lamflow.config.read import load
from lamflow.config.schema import DataStudy
from lamflow.driver.plan import planned_graph
from lamflow.superops.capacity import ClusterCapacity

POD = Pod(memory="100Mi", timeout=600)
STUDY = """\
name: many
elements: [Cu]
structures:
  - {{name: cells, crystal: {{formula: Cu, lattice: fcc, a: 3.6}}, copies: {count}, rattle: 0.05}}
start: {{label: [cells]}}
heldout: {{fraction: 0.1}}
train: {{engine: pair, models: 2, functions: 6}}
stages:
  - name: warm
    explore: [{{engine: ase, structures: [cells], method: langevin, temperatures: [300], steps: 10, starts: {count}}}]
label: {{engine: emt}}
"""


def by_hand(queue: Queue, folder: Path, jobs: int) -> float:
    """Seconds until every element of an array that does nothing has left its file."""
    asked = request(queue.settings, POD, "by-hand", (jobs, 1, None), POD.memory, output=f"{folder}/INDEX.txt")
    system, file = queue.system, folder / "by-hand.sh"
    lines = ["#!/bin/bash", *system.header(asked), f"touch {folder}/{system.index}.done"]
    file.write_text("\n".join(lines) + "\n", encoding="utf-8")
    with timed() as clock:
        queue.submit(str(file), asked)
        while len(list(folder.glob("*.done"))) < jobs:
            time.sleep(0.1)
    return clock.seconds


def by_step(queue: Queue, store: Path, jobs: int) -> tuple[float, int]:
    """Seconds of a step whose jobs do nothing, and how many elements it took."""
    folder = store / "work" / "batch" / "000" / "work"
    plan = StepPlan(
        name="work", op=work.reference, store=str(store), reads={}, parameters={}, writes={"nothing": "nothing"},
        jobs=jobs, timeout=600.0, threads=1, gpus=0, scratch=str(store / "work" / "scratch"),
    )  # fmt: skip
    cores = len(os.sched_getaffinity(0)) if queue.settings.system == "shell" else None
    step = Carried(store, folder, plan, "batch", POD, queue, cores, print, lambda _: None)
    with timed() as clock:
        step.run()
    return clock.seconds, len(list((folder / "seen").glob("*.json")))


def elements_of_a_round(folder: Path, simulations: int) -> int:
    """Elements of the explore step of a round with so many simulations."""
    file = folder / "many.yaml"
    file.write_text(STUDY.format(count=simulations), encoding="utf-8")
    jobs = planned_graph(load(file, DataStudy), 1, ClusterCapacity()).step("explore").jobs
    assert isinstance(jobs, int)
    return jobs


def main() -> None:
    """Measure."""
    options = parser(__doc__)
    options.add_argument("--system", default="slurm", choices=list(SYSTEMS))
    options.add_argument("--jobs", type=int, default=40)
    options.add_argument("--simulations", type=int, default=1000)
    settings = parse_arguments(options, system="shell", jobs=3, simulations=100)
    os.environ["PYTHONPATH"] = os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")])
    rows: list[dict[str, Cell]] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name).resolve()
        for row, most in (("an element each", 1000), ("packed", 20)):
            asked = BatchSystem(system=settings.system, poll=1.0, array_size=most)
            store = folder / row.replace(" ", "-")
            store.mkdir()
            queue = Queue(asked, SYSTEMS[asked.system], LocalHost(store))
            if row == "an element each":
                seconds = by_hand(queue, folder, settings.jobs)
                rows.append({"what": "by hand", "jobs": settings.jobs, "elements": settings.jobs, "wall (s)": seconds})
            seconds, elements = by_step(queue, store, settings.jobs)
            rows.append({"what": row, "jobs": settings.jobs, "elements": elements, "wall (s)": seconds})
        count = elements_of_a_round(folder, settings.simulations)
        rows.append({"what": "explore", "jobs": settings.simulations, "elements": count, "wall (s)": None})
    publish(settings, "batch_system", "A step on a batch system", rows)


if __name__ == "__main__":
    main()
