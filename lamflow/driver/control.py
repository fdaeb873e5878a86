"""A run on a cluster as people see it: submit it, follow it, read its logs, stop it, go on with it."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from lamflow.cluster.patience import Patience
from lamflow.cluster.status import Manifest, finished, phase
from lamflow.cluster.store import Store
from lamflow.cluster.waiting import Waits
from lamflow.cluster.workflows import ITERATION_LABEL, Workflows
from lamflow.config.schema import Config
from lamflow.data.results import Run, Shape
from lamflow.driver.listener import Listener
from lamflow.driver.loop import begin
from lamflow.driver.on_cluster import ENDING, OnCluster, steps_done
from lamflow.driver.remote import Remote, clear, mirror, refuse_others
from lamflow.driver.render import render, render_run
from lamflow.driver.rundir import RunDirectory
from lamflow.errors import LamflowError, StateError

LOGS = "lamflow-logs"
"""Where the chart has Argo archive what pods print: LOGS/WORKFLOW/POD/main.log."""


def submit(config: Config, path: Path, *, redo: bool = False) -> Remote:
    """Start the driver of `config` on the cluster, for a new run or for one that goes on.

    A new run that cannot be started leaves nothing behind. Raises StateError when a driver works on it already, and
    what `loop.run` and the cluster raise.
    """
    remote = Remote.of(config)
    executor = OnCluster(RunDirectory(path), remote)
    refuse_others(executor.directory, remote.url)
    executor.store.check()
    manifest = render_run(config)
    render(config, 1)  # whatever is wrong with an iteration's manifest is said here, not by the driver's pod
    there = driver_that_rests(executor.workflows, config)
    if there is None:
        executor.workflows.create(manifest, rehearse=True)
    prepared = False
    try:
        with executor.driving():
            prepared = not executor.directory.exists()
            if prepared:
                _forget_namesakes(executor.workflows, config.name)
            begin(config, executor.directory, executor, redo=redo)
        if there is not None:
            executor.workflows.delete(config.name)
        executor.workflows.ensure(manifest)
    except LamflowError:
        if prepared:
            executor.store.delete()
            clear(executor.directory)
        raise
    return remote


def resume(path: Path, remote: Remote) -> None:
    """Start the driver of a run again with the settings that it has. Raises StateError when there is one."""
    executor = OnCluster(RunDirectory(path), remote)
    with executor.driving():
        executor.directory.run()
        config = executor.directory.config()
    if driver_that_rests(executor.workflows, config) is not None:
        executor.workflows.delete(config.name)
    executor.workflows.ensure(render_run(config))


def stop(path: Path, remote: Remote) -> None:
    """Stop the driver of a run and the iteration that it waits for. Raises StateError when nothing runs."""
    executor = OnCluster(RunDirectory(path), remote)
    workflows = executor.workflows
    with executor.driving():
        name = executor.directory.run().name
        stopped = []
        for iterations in (False, True):  # the driver first, so that it makes no other iteration
            for workflow in workflows.of_run(name):
                mine = (ITERATION_LABEL in workflow["metadata"]["labels"]) is iterations
                if mine and not finished(workflow):
                    stopped.append(workflow["metadata"]["name"])
                    workflows.stop(stopped[-1])
            for each in stopped:
                workflows.settle(each, ENDING)
        if not stopped:
            raise StateError(f"{remote.url}: nothing drives this run")
    with executor.driving():
        record = executor.directory.run()
        if record.state not in ("converged", "ended"):
            said = {"state": "stopped", "message": "stopped; go on with `lamflow resume`"}
            Run.model_validate({**record.model_dump(), **said}).save(executor.directory.record)
            executor.keep([executor.directory.record])


def logs(path: Path, remote: Remote, iteration: int | None, *, follow: bool = False) -> Iterator[str]:
    """Lines that the pods of the driver, or of an iteration, printed: those that are gone first."""
    directory = RunDirectory(path.resolve())
    mirror(directory, remote.store())
    name = directory.run().name
    if iteration is not None:
        file = directory.iteration(iteration) / "shape.json"
        if not file.is_file():
            raise StateError(f"{remote.url}: there is no iteration {iteration} yet")
        name = Shape.read(file).workflow(name)
    archive, gone = Store.of(remote.cluster, f"{LOGS}/{name}/"), set[str]()
    with tempfile.TemporaryDirectory() as folder:
        for item in archive.objects():
            pod, _, file_name = item.key.partition("/")
            if file_name == "main.log":
                gone.add(pod)
                archive.get(item.key, Path(folder) / pod)
                for line in (Path(folder) / pod).read_text(errors="replace").splitlines():
                    yield f"{pod}: {line}"
    for line in Workflows.of(remote.cluster).logs(name, follow=follow):
        if line.split(":", maxsplit=1)[0] not in gone:
            yield line


def follow(path: Path, remote: Remote, listener: Listener, pause: float = 2.0) -> Run:
    """Tell `listener` how a run goes until its driver ends, and return the record."""
    from lamflow.flow.manifest import KINDS

    directory = RunDirectory(path.resolve())
    executor = OnCluster(directory, remote, Patience(seconds=1800.0, say=listener.says))
    mirror(directory, executor.store)
    config = directory.config()
    listener.resumes(directory.iterations())
    finished_ones, begun, said = len(directory.iterations()), -1, set[str]()
    waits = Waits(config.cluster.pending, KINDS)
    while True:
        driver = executor.workflows.find(config.name)
        mirror(directory, executor.store)
        iterations = directory.iterations()
        for iteration in iterations[finished_ones:]:
            listener.finished(iteration)
        finished_ones = len(iterations)
        if driver is None or finished(driver):
            return directory.run()
        file = directory.iteration(finished_ones) / "shape.json"
        shape = Shape.read(file) if file.is_file() else None
        current = executor.workflows.find(shape.workflow(config.name)) if shape else None
        if shape is not None and begun != shape.number and current is not None:
            begun = shape.number
            listener.begins(begun, config.stage_name(begun, shape.stage))
        for state in (driver, *_states(executor.workflows, current)):
            if state is not driver:
                listener.progress(steps_done(state))
            for words in waits.reasons(state):
                if words not in said:
                    said.add(words)
                    listener.says(words)
        time.sleep(pause)


def _states(workflows: Workflows, current: Manifest | None) -> Iterator[Manifest]:
    if current is not None and phase(current) != "Succeeded":
        yield from workflows.watch(current["metadata"]["name"])


def driver_that_rests(workflows: Workflows, config: Config) -> Manifest | None:
    """The finished Workflow of the run, or None.

    Raises StateError when it has not finished, ClusterError when it is of another run.
    """
    there = workflows.find(config.name)
    if there is None:
        return None
    workflows.own(there, render_run(config))
    if (there.get("spec") or {}).get("shutdown"):
        there = workflows.settle(config.name, ENDING) or there
    if not finished(there):
        raise StateError(
            f"Workflow {config.name} in namespace {workflows.namespace} is driving this run; look with `lamflow "
            "watch`, or stop it with `lamflow stop`"
        )
    return there


def _forget_namesakes(workflows: Workflows, name: str) -> None:
    """Delete finished iterations of an earlier run of the same name: their results are gone."""
    for workflow in workflows.of_run(name):
        if ITERATION_LABEL in workflow["metadata"]["labels"]:
            found = workflow["metadata"]["name"]
            if not finished(workflow):
                raise StateError(f"Workflow {found} of an earlier run {name} still runs; stop and delete it first")
            workflows.delete(found)
