"""Rounds on a cluster: an Argo Workflow each, the store in S3."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from lamflow.cluster import packs
from lamflow.cluster.losses import Tries
from lamflow.cluster.outcome import explanation, steps_done, succeeded
from lamflow.cluster.retry_policy import RetryPolicy
from lamflow.cluster.status import Job, Manifest, finished, phase, pods
from lamflow.cluster.waiting import PendingPods
from lamflow.cluster.workflows import ITERATION_LABEL, Workflows
from lamflow.config.pods import Pod
from lamflow.config.schema import DataStudy
from lamflow.data.checkpoints import is_checkpoint
from lamflow.data.graph import Graph, Step
from lamflow.data.layout import (
    CHECKPOINTS,
    EXPLORED,
    GRAPH,
    HISTORY,
    LATE,
    PACKED,
    RECORD,
    REMOTE,
    REPORT,
    REPORT_PAGE,
    RUN,
    STORED,
    is_packed,
    iteration_key,
    object_key,
)
from lamflow.driver.executor import Span
from lamflow.driver.late import left_before
from lamflow.driver.listener import Listener
from lamflow.driver.run_location import RunLocation, pull_all, pull_records, refuse_others
from lamflow.driver.rundir import RunDirectory, prune
from lamflow.driver.site_steps import SiteSteps
from lamflow.errors import ClusterError, LamflowError, NodeError
from lamflow.flow.kinds import kind_of
from lamflow.superops.capacity import Capacity, ClusterCapacity

ATTEMPTS = 3
"""Workflows of a round, one after the other, when machines fail again and again."""
LOOK = 5.0
"""s between two looks at pods that wait; Argo does not say all that Kubernetes knows of them."""
ENDING = 90.0
"""s that a Workflow has to end after it was told to: thirty of them are its pods'."""


class ArgoExecutor:
    """Executor on a cluster.

    comes_back  another driver goes on by itself when this one is ended: it is a pod
    """

    def __init__(
        self,
        directory: RunDirectory,
        location: RunLocation,
        retry: RetryPolicy | None = None,
        *,
        comes_back: bool = False,
    ) -> None:
        self.directory, self.location = RunDirectory(directory.path.resolve()), location
        self.capacity: Capacity = ClusterCapacity()
        self.comes_back = comes_back
        self.store = location.store(retry)
        self.workflows = Workflows.of(location.cluster, retry)
        self.last: Manifest = {}
        self._site_steps: SiteSteps | None = None
        self._spans: dict[str, Span] = {}

    @property
    def is_store(self) -> bool:
        """See Executor. Here are only the records."""
        return False

    @contextmanager
    def locked(self) -> Iterator[None]:
        """See Executor."""
        refuse_others(self.directory, self.location.url)
        self.store.check()
        with self.directory.lock():
            self.location.save(self.directory.path / REMOTE)
            self._read()
            if not self.directory.exists():  # what a preparation that was cut off has left
                for name in STORED:
                    shutil.rmtree(self.directory.path / name, ignore_errors=True)
            yield

    def bring_all(self) -> None:
        """See Executor. Trajectories and checkpoints stay where they are."""
        large = rf"\d+/({EXPLORED}|{CHECKPOINTS})/.*(?<!\.json)$"
        needed = re.compile(rf"{re.escape(RUN)}|({'|'.join(STORED)})/(?!{large}).*")
        pull_all(self.directory, self.store, lambda key: needed.fullmatch(key) is not None, strict=False)

    def check_requirements(self, study: DataStudy) -> None:
        """See Executor. What is missing on the cluster its pods will say."""

    def persist(self, files: Iterable[Path]) -> None:
        """See Executor."""
        packs.push(self.store, self.directory.path, files)

    def discard(self, file: Path) -> None:
        """See Executor."""
        file.unlink(missing_ok=True)
        self.store.delete(file.relative_to(self.directory.path).as_posix())

    def has_started(self, study: DataStudy, graph: Graph) -> bool:
        """See Executor."""
        if not self.directory.has_graph(graph.round):
            return False
        begun = self.directory.graph(graph.round)
        started = begun.attempt > 1 or bool(begun.completed) or self.site_steps(study).has_begun(graph)
        return started or self.workflows.find(begun.workflow(study.name)) is not None

    def run(self, study: DataStudy, graph: Graph, listener: Listener) -> float:
        """See Executor."""
        self._spans = {}
        for name in graph.workflows(study.name)[:-1] if graph.in_pieces else ():  # pieces that another driver has seen
            self._note_spans(self.workflows.find(name) or {})
        self._carry_out(study, graph, listener)
        spans = self.spans().values()
        return max((end for _, end in spans), default=0.0) - min((start for start, _ in spans), default=0.0)

    def _carry_out(self, study: DataStudy, graph: Graph, listener: Listener) -> None:
        """Carry out what remains of a round. Where machines failed, that is tried in another Workflow.

        Steps that have a site run there, with what they read and write going through this driver; the others of the
        round are a Workflow for each piece between them (`next_piece`). Jobs of a step that is left run on in theirs,
        which a step of the next round that reads what they write has carried out to its end.
        """
        failures = 0
        while remaining := graph.remaining():
            for before, late in left_before(self.directory, graph, remaining[0]):
                self._carry_out(study, before.bringing(late, self.directory.path), listener)
            step = self.site_steps(study).next_step(graph)
            if step is not None:
                graph = self._carry(study, graph, step, listener)
                continue
            graph, final = self._submitted(study, graph, listener), None
            if not self.last:
                final = self._wait(study, graph, listener)
            self._read_records(graph)
            left = graph.may_leave(succeeded(self.last)) if phase(self.last) != "Succeeded" else None
            if left is not None or phase(self.last) == "Succeeded":
                if graph.late is None:  # late jobs ran beside the steps of another round
                    self._note_spans(self.last)
                if not self.site_steps(study).sites_of(graph) and not graph.in_pieces:
                    break
                passed = graph if left is None else graph.leaving(left)
                graph = self._kept(passed.again(succeeded(self.last), self.directory.path))
                continue
            failures += 1
            error = final or explanation(self.last)
            if not isinstance(error, NodeError) or failures >= ATTEMPTS:
                raise error
            listener.says(f"{error}; trying again what has not succeeded")

    def spans(self) -> dict[str, Span]:
        """See Executor. Of the last attempt, or of all pieces of a round with steps elsewhere."""
        return self._spans

    def _note_spans(self, workflow: Manifest) -> None:
        spans: dict[str, Span] = {}
        for pod in pods(workflow):
            if pod.start and pod.end:
                before = spans.get(pod.step, (pod.start, pod.end))
                spans[pod.step] = min(before[0], pod.start), max(before[1], pod.end)
        self._spans |= spans

    def site_steps(self, study: DataStudy) -> SiteSteps:
        """Where the steps of the study run that have a site."""
        if self._site_steps is None:
            self._site_steps = SiteSteps(study, self.directory, self.store)
        return self._site_steps

    def _carry(self, study: DataStudy, graph: Graph, step: Step, listener: Listener) -> Graph:
        """The graph when a step has been carried out at its site, or was left there."""
        state = self.site_steps(study).carry(graph, step, listener)
        self._spans |= {step.name: state.span} if state.span is not None and graph.late is None else {}
        self._read_records(graph)
        passed = graph if len(state.done) == state.jobs else graph.leaving(step)
        return self._kept(passed.without({step.name: sorted(state.done)}, self.directory.path))

    def _kept(self, graph: Graph) -> Graph:
        """The graph, as the next driver finds it."""
        file = self.directory.round(graph.round) / GRAPH
        graph.save(file)
        self.persist([file])
        return graph

    def reset(self, study: DataStudy, graph: Graph) -> None:
        """See Executor."""
        for workflow in self.workflows.of_run(study.name):
            if workflow["metadata"]["labels"].get(ITERATION_LABEL) == str(graph.round):
                self.workflows.delete(workflow["metadata"]["name"])
        self.site_steps(study).forget(graph)
        self._delete_outputs(graph, GRAPH, RECORD, f"{HISTORY}/")

    def clean_up(self, study: DataStudy, graph: Graph) -> None:
        """See Executor. What steps elsewhere read and wrote is in the store."""
        for step in graph.steps:
            if step.checkpoints is not None:
                self.store.delete(f"{step.checkpoints}/")
        self.site_steps(study).clean_up(graph)

    def publish(self) -> None:
        """See Executor. The report goes to the store, a sentence to Argo's list of Workflows."""
        for what, publish in (("report", self._publish_report), ("description", self._describe)):
            try:
                publish()
            except Exception as error:  # noqa: BLE001  not worth a run; and a terminal's driver has no Workflow
                self.workflows.api.retry.say(f"the {what} was not published: {error}")

    def _publish_report(self) -> None:
        folder = self.directory.path / REPORT
        if kind_of(self.directory.config()).report(self.directory.path, folder, False) is not None:
            self.persist(file for file in folder.rglob("*") if file.is_file())

    def _describe(self) -> None:
        from lamflow.reports.tables import run_sentence

        record, said = self.directory.run(), run_sentence(self.directory.iterations())
        if record.state == "failed":
            said = f"Failed: {record.message.splitlines()[0]}"
        self.workflows.describe(record.name, said, self._report_path(record.name))

    def _report_path(self, name: str) -> str | None:
        """Where Argo's server shows the report when the driver has ended, whose artifact it is; None outside a pod."""
        node = os.environ.get("ARGO_NODE_ID")
        parts = [self.workflows.namespace, "workflows", name, node or "", "outputs", REPORT, REPORT_PAGE]
        return "/".join(["artifact-files", *parts]) if node else None

    def _read(self, key: str = "") -> None:
        """Make the folder, below `key`, what the store holds of it. For the driver only, which has the lock."""
        pull_records(self.directory, self.store, key, exact=True)

    def _read_records(self, graph: Graph) -> None:
        """Bring what the steps of a round have left for drivers and reports."""
        self._read(_folder(graph.round))
        for key in graph.written:
            if not key.startswith(_folder(graph.round)):
                self._read(object_key(key))

    def _wait(self, study: DataStudy, graph: Graph, listener: Listener) -> LamflowError | None:
        """Watch the Workflow to its end, until it may be left, or until nothing in it can succeed; then return why.

        Raises ClusterError when a pod waits in vain.
        """
        name, told, final = graph.workflow(study.name), set[str](), dict[Job, LamflowError]()
        resources: dict[str, str] = {step.name: step.resources for step in graph.steps}
        pending = PendingPods(study.cluster.pending, resources)
        tries = Tries(pods_of(study, graph), self._checkpoints(graph), graph.completed)
        for state in map(self.workflows.explained, self.workflows.watch(name, LOOK)):
            self.last = state
            if graph.late is None:
                listener.progress(steps_done(state, graph))
            if graph.may_leave(succeeded(state)) is not None:
                return None
            final = tries.final(state)
            for words in [*tries.news(state), *pending.reasons(state)]:
                if words not in told:
                    told.add(words)
                    listener.says(words)
            lost = pending.timed_out(state)
            if lost is not None:
                self.workflows.stop(name)
                raise ClusterError(f"Workflow {name} was stopped: {lost}; `lamflow resume` goes on after that")
            if not finished(state) and tries.is_over(state, final):
                self.workflows.stop(name)  # Argo would wait before it looks at an exit status
                self.last = self.workflows.wait_until_finished(name, ENDING) or state
                break
        return next(iter(final.values()), None)

    def _checkpoints(self, graph: Graph) -> Callable[[Job], object]:
        """What a job has kept in the store, beside its notes."""
        keys = {step.name: step.checkpoints for step in graph.steps}

        def kept(job: Job) -> object:
            key = keys.get(job[0])
            stored = self.store.objects(f"{key}/{job[0]}-{job[1]}/") if key is not None else []
            return {(item.key, item.etag) for item in stored if is_checkpoint(item.key)}

        return kept

    def _submitted(self, study: DataStudy, graph: Graph, listener: Listener) -> Graph:
        """The graph whose Workflow carries the round on; it exists then, or `last` says that all is done.

        After a Workflow that failed comes another attempt. One that has vanished is begun again from nothing, unless
        its results are all there.
        """
        from lamflow.flow.workflow import manifest

        self.last = {}
        name = graph.workflow(study.name)
        workflow = self.workflows.find(name)
        if workflow is not None:
            self.workflows.verify_owner(workflow, manifest(study, graph))
            if (workflow.get("spec") or {}).get("shutdown"):
                workflow = self.workflows.wait_until_finished(name, ENDING) or workflow
            if not finished(workflow) or phase(workflow) == "Succeeded":
                return graph
            if graph.late is not None:
                listener.says(f"{explanation(workflow)}; trying again what has not succeeded")
            self._read_records(graph)
            graph = graph.again(succeeded(workflow), self.directory.path)
            if not self._is_next_here(study, graph):
                self.last = workflow | {"status": {**workflow["status"], "phase": "Succeeded"}}
                return graph
            return self._begin(study, graph)
        self._read_records(graph)
        graph = graph.recorded(self.directory.path)
        if not graph.remaining():
            self.last = {"metadata": {"name": name}, "status": {"phase": "Succeeded"}}
            return graph
        if not graph.completed and (graph.attempt > 1 or self._has_outputs(graph)):
            self._delete_outputs(graph)
            graph = graph.afresh()
        return self._begin(study, graph)

    def _is_next_here(self, study: DataStudy, graph: Graph) -> bool:
        """A Workflow may carry out what comes next of a round: it is not elsewhere, and waits for nothing late."""
        step = next(iter(graph.remaining()), None)
        return step is not None and step.name != LATE and self.site_steps(study).next_step(graph) is None

    def _begin(self, study: DataStudy, graph: Graph) -> Graph:
        from lamflow.flow.workflow import manifest

        if graph.attempt == 1:
            for key in PACKED:
                packs.compact(self.store, self.directory.path, key)
        self.workflows.create_or_get(manifest(study, self._kept(graph)))
        return graph

    def _has_outputs(self, graph: Graph) -> bool:
        """A Workflow that is gone has left something of this round."""
        return any(self.store.objects(object_key(key)) for key in graph.written)

    def _delete_outputs(self, graph: Graph, *more: str) -> None:
        """Delete what the steps of a round wrote, and `more` of its folder; what was prepared for it stays."""
        for key in filter(is_packed, graph.written):
            packs.remove(self.store, self.directory.path, key)
            shutil.rmtree(self.directory.path / key, ignore_errors=True)
        loose = [f"{key}/" for key in graph.written if not is_packed(key)]
        for key in [*loose, *(f"{_folder(graph.round)}{name}" for name in more)]:
            self.store.delete(key)
            self._read(key)
        if more:
            prune(self.directory.round(graph.round))


def pods_of(study: DataStudy, graph: Graph) -> dict[str, Pod]:
    """What the pods of each step are given."""
    return {step.name: getattr(study.pods, step.resources) for step in graph.steps}


def _folder(number: int) -> str:
    return f"{iteration_key(number)}/"
