"""The batch systems of a study by name, and the steps that go to them."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

from lamflow.batch.carry import Carried, cancel
from lamflow.batch.documents import ARRAYS, STATUS, STEP, StepPlan
from lamflow.batch.host import Host, LocalHost, Ssh
from lamflow.batch.queue import Queue
from lamflow.batch.step_state import StepState
from lamflow.batch.systems import SYSTEMS
from lamflow.config.batch import BatchSystem
from lamflow.config.pods import HERE
from lamflow.config.schema import DataStudy
from lamflow.data import layout
from lamflow.data.cache import default_folder
from lamflow.data.graph import Graph, Step
from lamflow.driver.rundir import RunDirectory
from lamflow.superops.capacity import LocalCapacity


class Sites:
    """Where steps of a run go that its folder `store` has at hand.

    run  folder of the run, whose record says what its folder is called on machines that are reached over ssh
    """

    def __init__(self, store: Path, systems: Mapping[str, BatchSystem], run: RunDirectory) -> None:
        self.store, self.run = store, run
        self.systems = {HERE: BatchSystem(system="shell", poll=2.0), **systems}
        self.machines: dict[str, Host] = {}

    def queue(self, site: str, say: Callable[[str], None] = lambda _: None) -> Queue:
        """The batch system of a site. say: is told what it waits for"""
        settings = self.systems[site]
        if site not in self.machines:
            self.machines[site] = (
                LocalHost(self.store) if settings.host is None else Ssh(self.store, settings, self._name)
            )
        return Queue(settings, SYSTEMS[settings.system], self.machines[site], say)

    def _name(self) -> str:
        """Of the run's folder over ssh: another run of the same name, later or elsewhere, has another one."""
        if not self.run.exists():
            return self.run.path.name
        record = self.run.run()
        return f"{record.name}-{hashlib.sha256(record.created.encode()).hexdigest()[:6]}"

    @property
    def steps(self) -> Path:
        """Folder of what batch systems do for the run, by round and step."""
        return self.store / layout.WORK / layout.BATCH_STEPS

    def round(self, number: int) -> Path:
        """That of a round."""
        return self.steps / layout.round_name(number)

    def scratch(self, number: int) -> Path:
        """Folder of the scratch folders of a round's jobs."""
        return self.store / layout.WORK / layout.SCRATCH / layout.round_name(number)

    def carried(
        self,
        study: DataStudy,
        graph: Graph,
        step: Step,
        site: str,
        tell: tuple[Callable[[str], None], Callable[[float], None]],
    ) -> Carried:
        """A step on its way to a site. tell: what is told what a person should know, and which share is done"""
        pod = getattr(study.pods, step.resources)
        queue = self.queue(site, tell[0])
        seen, is_shell = queue.machine.seen, queue.settings.system == "shell"
        assert isinstance(step.jobs, int)  # noqa: S101  callers have looked
        plan = StepPlan(
            name=step.name, op=step.op, store=seen(self.store), reads=step.reads, parameters=step.parameters,
            writes=step.writes, jobs=step.jobs, timeout=pod.timeout, threads=pod.threads, gpus=pod.gpus,
            scratch=seen(self.scratch(graph.round)), labels=str(default_folder()) if queue.machine.is_local else None,
            engines=[use.name for use in step.engines],
            devices=",".join(LocalCapacity.of_this_machine().devices) if is_shell else None,
        )  # fmt: skip
        at_once = step.at_once
        if is_shell:
            slots = LocalCapacity.of_this_machine().slots(step.resources, pod)
            at_once = min(slots, at_once or slots)
        return Carried(self.store, self.round(graph.round) / step.name, plan, site, pod, queue, at_once, *tell)

    def look(self, site: str, graph: Graph) -> None:
        """Have here what the driver of a round, wherever it was, has submitted there; does not wait for an answer."""
        key = self.round(graph.round).relative_to(self.store).as_posix()
        names = (ARRAYS, STATUS, STEP)
        self.queue(site).machine.bring(f"{key}/{step.name}/{name}" for step in graph.steps for name in names)

    def cancel_all(self, say: Callable[[str], None]) -> list[str]:
        """End everything of the run that is in a queue, and return the ids."""
        ended = []
        for folder in sorted(self.steps.glob("[0-9]*/*")):
            now = StepState.read(folder, 0)
            for site in dict.fromkeys(array.site for array in now.open_arrays):
                ended += cancel(now, site, self.queue(site, say))
        return ended

    def forget(self, graph: Graph) -> None:
        """Remove what batch systems did and wrote of a round, wherever it lies. Raw outputs of labels stay."""
        folder = self.round(graph.round)
        places = {array.site for step in folder.glob("*") for array in StepState.read(step, 0).arrays}
        keys = [folder.relative_to(self.store).as_posix(), *graph.written]
        for site in places & set(self.systems):
            self.queue(site).remove(keys)
        shutil.rmtree(folder, ignore_errors=True)
