"""Rounds on a batch system: an array for each step, the store in a folder that the driver has at hand."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType

from lamflow.batch.carry import Carried
from lamflow.batch.queue import Queue
from lamflow.batch.step_state import StepState
from lamflow.config.batch import BatchSystem
from lamflow.config.pods import BATCH
from lamflow.config.schema import DataStudy
from lamflow.data import layout
from lamflow.data.document import Result
from lamflow.data.graph import Graph, Output, Step
from lamflow.driver.executor import Span
from lamflow.driver.late import left_before
from lamflow.driver.listener import Listener
from lamflow.driver.local_executor import LocalExecutor
from lamflow.driver.prepare import require_engines
from lamflow.driver.rundir import RunDirectory
from lamflow.driver.sites import Sites
from lamflow.errors import InputError, StateError
from lamflow.superops.capacity import Capacity, ClusterCapacity


class BatchRun(Result):
    """batch.json: the run is on the batch system that its settings name.

    driver  id of the job that drives it; empty where a terminal does
    name    of that job
    """

    driver: str = ""
    name: str = ""


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
        self.system, self.sites = system, Sites(directory.path, {BATCH: system, **sites}, directory)
        self.capacity, self._comes_back = ClusterCapacity.of(system), comes_back

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

            for before, late in left_before(self.directory, graph, step):
                self._carried(study, before, late, listener.says, lambda _: None).run()
            self._carried(study, graph, step, listener.says, shows).run(step.enough)
        spans = self.spans().values()
        return max((end for _, end in spans), default=0.0) - min((start for start, _ in spans), default=0.0)

    def spans(self) -> dict[str, Span]:
        """See Executor."""
        found = {folder.name: StepState.read(folder, 0).span for folder in sorted(self.workflow.iterdir())}
        return {name: span for name, span in found.items() if span is not None}

    def reset(self, study: DataStudy, graph: Graph) -> None:
        """See Executor. What is in the queue is ended first."""
        self.cancel_all(lambda _: None)
        self.sites.forget(graph)
        super().reset(study, graph)

    def clean_up(self, study: DataStudy, graph: Graph) -> None:
        """See Executor. What jobs printed stays, and raw outputs of labels."""
        del study
        self._delete_scratch(graph)

    def cancel_all(self, say: Callable[[str], None]) -> list[str]:
        """See Sites."""
        return self.sites.cancel_all(say)

    def _workflow(self, study: DataStudy, graph: Graph) -> Path:
        del study
        return self.sites.round(graph.round)

    def queue(self, site: str, say: Callable[[str], None] = lambda _: None) -> Queue:
        """See Sites."""
        return self.sites.queue(site, say)

    def _carried(
        self, study: DataStudy, graph: Graph, step: Step, says: Callable[[str], None], shows: Callable[[float], None]
    ) -> Carried:
        return self.sites.carried(study, graph, step, study.pods.batch_site(step.resources), (says, shows))
