"""A run on a cluster as people see it: submit it, follow it, read its logs, stop it, go on with it."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from lamflow.cluster.losses import Tries, has_ended
from lamflow.cluster.outcome import explanation, steps_done, succeeded
from lamflow.cluster.preflight import refuse_unfit
from lamflow.cluster.retry_policy import RetryPolicy, silent
from lamflow.cluster.status import Manifest, finished, phase
from lamflow.cluster.store import Store
from lamflow.cluster.waiting import PendingPods
from lamflow.cluster.workflows import ITERATION_LABEL, Workflows
from lamflow.config.pods import BATCH, HERE
from lamflow.config.schema import DataStudy
from lamflow.data.graph import Graph
from lamflow.data.run import Reference, Run
from lamflow.driver.argo_executor import ENDING, ArgoExecutor
from lamflow.driver.listener import Listener
from lamflow.driver.loop import begin
from lamflow.driver.render import render_rounds, render_run
from lamflow.driver.run_location import RunLocation, clear, mirror, refuse_others
from lamflow.driver.rundir import RunDirectory
from lamflow.errors import ClusterError, InputError, LamflowError, StateError
from lamflow.flow.manifest import DRIVER

LOGS = "lamflow-logs"
"""Where the chart has Argo archive what pods print: LOGS/WORKFLOW/POD/main.log."""


def submit(config: DataStudy, path: Path, *, redo: bool = False, references: Sequence[Reference] = ()) -> RunLocation:
    """Start the driver of `config` on the cluster, for a new run or for one that goes on.

    A new run that cannot be started leaves nothing behind. Raises StateError when a driver works on it already, and
    what `loop.run` and the cluster raise.
    """
    location = RunLocation.of(config)
    refuse_what_cannot_start(config)
    executor = ArgoExecutor(RunDirectory(path), location)
    refuse_others(executor.directory, location.url)
    executor.store.check_writable()
    manifest = render_run(config)
    render_rounds(config)  # whatever is wrong with a round's manifest is said here, not by the driver's pod
    there = driver_that_rests(executor.workflows, config)
    if there is None:
        executor.workflows.create(manifest, rehearse=True)
    prepared = False
    try:
        with executor.locked():
            prepared = not executor.directory.exists()
            if prepared:
                _forget_namesakes(executor.workflows, config.name)
            begin(config, executor.directory, executor, redo=redo, references=references)
        if there is not None:
            executor.workflows.delete(config.name)
        executor.workflows.create_or_get(manifest)
    except LamflowError:
        if prepared:
            executor.store.delete()
            clear(executor.directory)
        raise
    return location


def refuse_what_cannot_start(config: DataStudy, *, drive_here: bool = False) -> None:
    """Raise ClusterError for what keeps the pods of `config` from ever starting. Argo's server cannot say it.

    Raises InputError for steps whose sites the driver cannot reach. drive_here: it is a terminal, not a pod
    """
    for kind in type(config.pods).model_fields:
        site = config.pods.site_of(kind)
        problem = _unreachable(config, site, drive_here=drive_here) if site is not None else None
        if problem is not None:
            raise InputError(f"pods.{kind}.site: {site}: {problem}")
    workflows = Workflows.of(config.cluster)
    if not workflows.argo:
        refuse_unfit(workflows.api, config.cluster, config.pods)


def _unreachable(config: DataStudy, site: str, *, drive_here: bool) -> str | None:
    """Why the driver of a run on Kubernetes cannot send steps to a site."""
    if site == BATCH:
        return "a run on Kubernetes has no `batch:`; give that batch system a name under `sites:`, and name it here"
    if drive_here:
        return None
    if site == HERE:
        return "the driver's pod has no room for jobs; leave it out, or drive the run from here with --drive-here"
    host, reached = config.sites[site].host, "the driver's pod reaches batch systems over ssh"
    if host is None or "@" not in host:
        return f"{reached}, so sites.{site}.host must be USER@HOST; or drive the run from here with --drive-here"
    if config.cluster.ssh_secret is None:
        return f"{reached} with the key of a Secret: name it in cluster.ssh_secret, or drive the run with --drive-here"
    return None


def resume(path: Path, location: RunLocation) -> None:
    """Start the driver of a run again with the settings that it has. Raises StateError when there is one."""
    executor = ArgoExecutor(RunDirectory(path), location)
    with executor.locked():
        executor.directory.run()
        config = executor.directory.config()
    if driver_that_rests(executor.workflows, config) is not None:
        executor.workflows.delete(config.name)
    executor.workflows.create_or_get(render_run(config))


def stop(path: Path, location: RunLocation, say: Callable[[str], None] = silent) -> None:
    """Stop the driver of a run and the iteration that it waits for. Raises StateError when nothing runs.

    say  is told what is waited for
    """
    executor = ArgoExecutor(RunDirectory(path), location)
    workflows = executor.workflows
    with executor.locked():
        name = executor.directory.run().name
        stopped = []
        for iterations in (False, True):  # the driver first, so that it makes no other iteration
            for workflow in workflows.of_run(name):
                mine = (ITERATION_LABEL in workflow["metadata"]["labels"]) is iterations
                if mine and not finished(workflow):
                    stopped.append(workflow["metadata"]["name"])
                    workflows.stop(stopped[-1])
                    say(f"waits for Workflow {stopped[-1]}: its pods keep what they have, {ENDING:.0f} s at most")
            for each in stopped:
                workflows.wait_until_finished(each, ENDING)
        if not stopped:
            raise StateError(f"{location.url}: nothing drives this run")
    with executor.locked():
        executor.site_steps(executor.directory.config()).cancel(say)
        record = executor.directory.run()
        if record.state not in ("converged", "ended"):
            said = {"state": "stopped", "message": "stopped; go on with `lamflow resume`"}
            Run.model_validate({**record.model_dump(), **said}).save(executor.directory.record)
            executor.persist([executor.directory.record])


def logs(path: Path, location: RunLocation, iteration: int | None, *, follow: bool = False) -> Iterator[str]:
    """Lines that the pods of the driver, or of an iteration, printed: those that are gone first."""
    directory = RunDirectory(path.resolve())
    mirror(directory, location.store())
    names = [directory.run().name]
    if iteration is not None:
        if not directory.has_graph(iteration):
            raise StateError(f"{location.url}: there is no iteration {iteration} yet")
        names = directory.graph(iteration).workflows(names[0])
    workflows = Workflows.of(location.cluster)
    for name in names:
        yield from _logs(workflows, location, name, follow=follow and name == names[-1])


def _logs(workflows: Workflows, location: RunLocation, name: str, *, follow: bool) -> Iterator[str]:
    """Lines of one Workflow, if it is there."""
    archive, gone = Store.of(location.cluster, f"{LOGS}/{name}/"), set[str]()
    with tempfile.TemporaryDirectory() as folder:
        for item in archive.objects():
            pod, _, file_name = item.key.partition("/")
            if file_name == "main.log":
                gone.add(pod)
                archive.get(item.key, Path(folder) / pod)
                for line in (Path(folder) / pod).read_text(errors="replace", encoding="utf-8").splitlines():
                    yield f"{pod}: {line}"
    if workflows.find(name) is None:
        return
    for line in workflows.logs(name, follow=follow):
        if line.split(":", maxsplit=1)[0] not in gone:
            yield line


def follow(path: Path, location: RunLocation, listener: Listener, pause: float = 2.0) -> Run:
    """Tell `listener` how a run goes until its driver ends, and return the record.

    Raises ClusterError when the driver's own pod waits in vain, for nobody else looks after it, and what ended a driver
    that could not say so in the record.
    """
    directory = RunDirectory(path.resolve())
    executor = ArgoExecutor(directory, location, RetryPolicy(seconds=1800.0, say=listener.says))
    mirror(directory, executor.store)
    listener.resumes(directory.iterations())
    view = _View(executor, listener, directory.config(), len(directory.iterations()))
    while not view.look():
        time.sleep(pause)
    record = directory.run()
    driver = executor.workflows.find(record.name)
    if record.state == "running" and driver is not None and has_ended(driver) and phase(driver) != "Succeeded":
        raise explanation(driver)
    return record


class _View:
    """What has been told of a run.

    told_ones  how many iterations are known to have finished
    """

    def __init__(self, executor: ArgoExecutor, listener: Listener, config: DataStudy, told_ones: int) -> None:
        self.executor, self.listener, self.config, self.told_ones = executor, listener, config, told_ones
        self.graph: Graph | None = None
        self.current: Manifest | None = None
        self.begun, self.told = -1, set[str]()
        self.resources: dict[str, str] = {DRIVER.name: DRIVER.resources}
        self.waits = PendingPods(config.cluster.pending, self.resources)
        self.tries = Tries({}, lambda _: None)

    def look(self) -> bool:
        """Tell what has changed; true when the run has no driver any more."""
        workflows, name = self.executor.workflows, self.config.name
        driver = workflows.find(name)
        ended = driver is None or has_ended(driver)
        if ended or self.current is None or finished(self.current) or self._is_left():
            self._read()
        if driver is None or has_ended(driver):
            return True
        driver = workflows.explained(driver)
        self._tell(driver)
        lost = self.waits.timed_out(driver)
        if lost is not None:
            raise ClusterError(f"the run does not begin: {lost}; end it with `lamflow stop`, then `lamflow resume`")
        self.current = workflows.find(self.graph.workflow(name)) if self.graph is not None else None
        if self.graph is None or self.current is None:
            return False
        if self.begun != self.graph.round:
            self.begun = self.graph.round
            self.resources.update({step.name: step.resources for step in self.graph.steps})
            self.listener.begins(self.graph)
        self.current = workflows.explained(self.current)
        self.listener.progress(steps_done(self.current, self.graph))
        self._tell(self.current)
        return False

    def _is_left(self) -> bool:
        """Jobs of the Workflow that is looked at may run on while the round is somewhere else."""
        done = succeeded(self.current) if self.current is not None else {}
        return self.graph is not None and self.graph.may_leave(done) is not None

    def _read(self) -> None:
        """What the store knows: iterations that have finished, and the graph of the one that comes."""
        directory = self.executor.directory
        mirror(directory, self.executor.store)
        iterations = directory.iterations()
        for iteration in iterations[self.told_ones :]:
            self.listener.finished(iteration)
        self.told_ones = len(iterations)
        self.graph = directory.graph(self.told_ones) if directory.has_graph(self.told_ones) else None

    def _tell(self, state: Manifest) -> None:
        for words in [*self.tries.news(state), *self.waits.reasons(state)]:
            if words not in self.told:
                self.told.add(words)
                self.listener.says(words)


def driver_that_rests(workflows: Workflows, config: DataStudy) -> Manifest | None:
    """The finished Workflow of the run, or None.

    Raises StateError when it has not finished, ClusterError when it is of another run.
    """
    there = workflows.find(config.name)
    if there is None:
        return None
    workflows.verify_owner(there, render_run(config))
    if (there.get("spec") or {}).get("shutdown") or has_ended(there):
        there = workflows.wait_until_finished(config.name, ENDING) or there
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
