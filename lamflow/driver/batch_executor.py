"""Rounds on a batch system: an array for each step, the store in a folder that the driver has at hand."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType

from lamflow.batch.carry import Carried, cancel
from lamflow.batch.documents import StepPlan
from lamflow.batch.host import Host, LocalHost, Ssh
from lamflow.batch.queue import Queue
from lamflow.batch.step_state import StepState
from lamflow.batch.systems import SYSTEMS
from lamflow.config.batch import BatchSystem
from lamflow.config.pods import Pod
from lamflow.config.schema import DataStudy
from lamflow.data import layout
from lamflow.data.cache import default_folder
from lamflow.data.document import Result
from lamflow.data.graph import Graph, Output, Resources, Step
from lamflow.driver.executor import Span
from lamflow.driver.listener import Listener
from lamflow.driver.local_executor import LocalExecutor
from lamflow.driver.prepare import require_engines
from lamflow.driver.rundir import RunDirectory
from lamflow.errors import InputError, StateError
from lamflow.superops.capacity import Capacity, ClusterCapacity, LocalCapacity

HERE, BATCH = "here", "batch"
"""Names of sites that every study has: processes beside the driver, and what `batch:` says."""


class BatchRun(Result):
    """batch.json: the run is on the batch system that its settings name.

    driver  id of the job that drives it; empty where a terminal does
    name    of that job
    """

    driver: str = ""
    name: str = ""


def site_of(study: DataStudy, resources: Resources) -> str:
    """Name of the site where the jobs of a kind of step run. Small ones run beside the driver."""
    pod: Pod = getattr(study.pods, resources)
    return pod.site or (HERE if resources == "small" else BATCH)


class BatchExecutor(LocalExecutor):
    """Executor on a batch system; the run's folder is the store itself, as it is for a run on this machine.

    What this driver has submitted goes on when it is ended; the next one finds it.
    """

    capacity: Capacity  # type: ignore[assignment]

    def __init__(
        self, directory: RunDirectory, system: BatchSystem, sites: Mapping[str, BatchSystem] = MappingProxyType({}),
        *, comes_back: bool = False,
    ) -> None:  # fmt: skip
        super().__init__(directory)
        here = BatchSystem(system="shell", poll=2.0)
        self.system, self.sites = system, {HERE: here, BATCH: system, **sites}
        self.capacity, self._comes_back = ClusterCapacity(), comes_back
        self.machines: dict[str, Host] = {}

    @property
    def comes_back(self) -> bool:
        """See Executor."""
        return self._comes_back

    @contextmanager
    def locked(self) -> Iterator[None]:
        """See Executor. A run that has begun is known to be on a batch system."""
        mark = self.directory.path / layout.BATCH_RUN
        with super().locked():
            if not mark.is_file():
                BatchRun().save(mark)
            try:
                yield
            finally:
                if not self.directory.exists():
                    mark.unlink(missing_ok=True)

    def check_requirements(self, study: DataStudy) -> None:
        """See Executor. Engines are asked for here where the nodes have the same Python."""
        ask = self.system
        if re.search(r"\s", str(self.directory.path)):
            raise InputError(
                f"{self.directory.path}: has a space in its name, which the lines of batch scripts do not take; give "
                "another folder with --dir"
            )
        if not (ask.host or ask.python or ask.container or ask.modules or ask.source):
            require_engines(study)
        self.queue(BATCH).require()

    def run(self, study: DataStudy, graph: Graph, listener: Listener) -> float:
        """See Executor. Steps follow each other; what an earlier driver has submitted is found again."""
        self.workflow, shares = self._workflow(study, graph), dict[str, float]()
        for name in (step.name for step in graph.steps):
            step = next((step for step in graph.settled(self.directory.path) if step.name == name), None)
            if step is None:
                continue
            if step.when is not None or isinstance(step.jobs, Output):
                raise StateError(f"{graph.title}, {name}: what decides about it was left out")

            def shows(share: float, name: str = name) -> None:
                shares[name] = share
                listener.progress(dict(shares))

            for before, late in self._left_running(graph, step):
                self._carried(study, before, late, listener.says, lambda _: None).run()
            self._carried(study, graph, step, listener.says, shows).run(step.enough)
        spans = self.spans().values()
        return max((end for _, end in spans), default=0.0) - min((start for start, _ in spans), default=0.0)

    def _left_running(self, graph: Graph, step: Step) -> Iterator[tuple[Graph, Step]]:
        """Steps of the round before, with its graph, that a step reads and that were left while jobs ran."""
        if step.name != layout.LATE:
            return
        before, read = self.directory.graph(graph.round - 1), {key.key for key in step.reads.values()}
        for each in before.settled(self.directory.path):
            if each.enough < 1 and read & set(each.writes.values()):
                yield before, each

    def spans(self) -> dict[str, Span]:
        """See Executor."""
        found = {folder.name: StepState.read(folder, 0).span for folder in sorted(self.workflow.iterdir())}
        return {name: span for name, span in found.items() if span is not None}

    def reset(self, study: DataStudy, graph: Graph) -> None:
        """See Executor. What is in the queue is ended first."""
        self.cancel_all(lambda _: None)
        super().reset(study, graph)

    def clean_up(self, study: DataStudy, graph: Graph) -> None:
        """See Executor. What jobs printed stays, and raw outputs of labels."""
        del study
        self._delete_scratch(graph)

    def cancel_all(self, say: Callable[[str], None]) -> list[str]:
        """End everything of the run that is in a queue, and return the ids."""
        ended = []
        for folder in sorted((self.directory.path / layout.WORK / layout.BATCH_STEPS).glob("*/*")):
            now = StepState.read(folder, 0)
            for site in dict.fromkeys(array.site for array in now.open_arrays):
                ended += cancel(now, site, self.queue(site, say))
        return ended

    def _workflow(self, study: DataStudy, graph: Graph) -> Path:
        del study
        return self.directory.path / layout.WORK / layout.BATCH_STEPS / layout.round_name(graph.round)

    def queue(self, site: str, say: Callable[[str], None] = lambda _: None) -> Queue:
        """The batch system of a site. say: is told what it waits for"""
        settings = self.sites[site]
        if site not in self.machines:
            store = self.directory.path
            self.machines[site] = LocalHost(store) if settings.host is None else Ssh(store, settings, store.name)
        return Queue(settings, SYSTEMS[settings.system], self.machines[site], say)

    def _carried(
        self, study: DataStudy, graph: Graph, step: Step, says: Callable[[str], None], shows: Callable[[float], None]
    ) -> Carried:
        pod = getattr(study.pods, step.resources)
        site = site_of(study, step.resources)
        queue = self.queue(site, says)
        seen = queue.machine.seen
        assert isinstance(step.jobs, int)  # noqa: S101  run has looked
        plan = StepPlan(
            name=step.name, op=step.op, store=seen(self.directory.path), reads=step.reads, parameters=step.parameters,
            writes=step.writes, jobs=step.jobs, timeout=pod.timeout, threads=pod.threads, gpus=pod.gpus,
            scratch=seen(self._scratch(graph)), labels=str(default_folder()) if queue.machine.is_local else None,
            devices=",".join(LocalCapacity.of_this_machine().devices) if queue.settings.system == "shell" else None,
        )  # fmt: skip
        at_once = step.at_once
        if queue.settings.system == "shell":
            slots = LocalCapacity.of_this_machine().slots(step.resources, pod)
            at_once = min(slots, at_once or slots)
        return Carried(
            self.directory.path, self._workflow(study, graph) / step.name, plan, site, pod, queue, at_once, says, shows
        )
