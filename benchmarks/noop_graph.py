"""A thousand tasks that do nothing through the graph on one machine: what the graph itself costs.

    python benchmarks/noop_graph.py [--tasks 1000]

lamflow deals the tasks out to as many pods as there are cores. dflow's own slices do the same work for comparison,
with the grouping (100 a group) that makes them fastest; ungrouped they take minutes.
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

from _bench import Cell, cores, parse_arguments, parser, publish, timed
from loop_efficiency import TINY

from lamflow.config import parse
from lamflow.ops.operation import Context, op
from lamflow.policy.jobs import indices_of_job


class Done(NamedTuple):
    """One small file a task."""

    tasks: Path


@op
def noop(context: Context, *, count: int) -> Done:
    """Do nothing, `count` times over all jobs, and say so."""
    folder = context.out / "tasks"
    folder.mkdir()
    for number in indices_of_job(count, context.jobs, context.job):
        (folder / f"{number:06d}").write_text("done", encoding="utf-8")
    return Done(folder)


def by_lamflow(count: int, folder: Path) -> float:
    """Seconds of a graph of one step."""
    import dflow

    from lamflow.data.graph import Graph
    from lamflow.flow.workflow import StoreLocation, workflow
    from lamflow.superops.steps import add

    dflow.config.update(
        mode="debug", debug_workdir=str(folder), debug_artifact_dir=str(folder), debug_pool_workers=cores(),
        debug_save_copy_method="link",
    )  # fmt: skip
    study = parse(TINY)
    with timed() as clock:
        step = add("noop", noop, writes={"tasks": "tasks"}, jobs=cores(), count=count)
        graph = Graph(kind=study.workflow, round=0, name="noop", stage="noop", steps=[step])
        built = workflow(study, graph, StoreLocation(folder))
        built.submit()
    assert built.query_status() == "Succeeded"
    assert len(list((folder / "tasks").iterdir())) == count
    return clock.seconds


def by_dflow(count: int, folder: Path) -> float:
    """Seconds of dflow's slices in groups of 100."""
    import dflow
    from _noop_dflow import Noop
    from dflow import Step, Workflow, argo_range
    from dflow.python import PythonOPTemplate, Slices

    dflow.config.update(mode="debug", debug_workdir=str(folder), debug_pool_workers=cores())
    with timed() as clock:
        workflow = Workflow(name="slices", id="slices")
        slices = Slices("{{item}}", input_parameter=["number"], output_artifact=["file"], group_size=100, pool_size=1)
        template = PythonOPTemplate(Noop, image="none", slices=slices)
        workflow.add(
            Step(
                "noop",
                template,
                parameters={"number": list(range(count))},
                with_param=argo_range(count),
                key="n-{{item}}",
            )
        )
        workflow.submit()
    assert workflow.query_status() == "Succeeded"
    return clock.seconds


def main() -> None:
    """Measure both."""
    options = parser(__doc__)
    options.add_argument("--tasks", type=int, default=1000)
    settings = parse_arguments(options, tasks=20)
    count = settings.tasks
    here = str(Path(__file__).parent)
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [here, os.environ.get("PYTHONPATH")]))
    sys.modules["noop_graph"] = sys.modules[__name__]
    noop.function.__module__ = "noop_graph"
    rows: list[dict[str, Cell]] = []
    for name, run in (("lamflow", by_lamflow), ("dflow slices, groups of 100", by_dflow)):
        with tempfile.TemporaryDirectory() as folder:
            seconds = run(count, Path(folder))
        rows.append({"graph": name, "tasks": count, "seconds": seconds, "ms a task": 1000 * seconds / count})
    publish(settings, "noop_graph", f"{count} tasks that do nothing", rows)


if __name__ == "__main__":
    main()
