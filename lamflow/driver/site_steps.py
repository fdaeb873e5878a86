"""Steps of a run on a cluster that go to batch systems: what they read and write passes through the driver."""

from __future__ import annotations

import shutil
from collections.abc import Callable

from lamflow.batch.step_state import StepState
from lamflow.cluster import packs
from lamflow.cluster.store import Store
from lamflow.config.schema import DataStudy
from lamflow.data.graph import Graph, Step
from lamflow.data.layout import AT_SITES, WORK, iteration_key
from lamflow.driver.listener import Listener
from lamflow.driver.run_location import pull_all
from lamflow.driver.rundir import RunDirectory
from lamflow.driver.sites import Sites
from lamflow.errors import ClusterError, OutageError


class SiteSteps:
    """The steps of a study that have a site, with a folder for what they read and write there.

    The mirror of the run has only what its store holds, which is less than what such a step has left so far.
    """

    def __init__(self, study: DataStudy, directory: RunDirectory, store: Store) -> None:
        self.study, self.directory, self.store = study, directory, store
        self.sites = Sites(directory.path / WORK / AT_SITES, study.sites, directory)

    def sites_of(self, graph: Graph) -> list[str]:
        """Names of the sites that steps of a round go to."""
        found = (self.study.pods.site_of(step.resources) for step in graph.steps)
        return list(dict.fromkeys(site for site in found if site is not None))

    def next_step(self, graph: Graph) -> Step | None:
        """The step that comes next, if it has a site."""
        step = next(iter(graph.remaining()), None)
        return None if step is None or self.study.pods.site_of(step.resources) is None else step

    def has_begun(self, graph: Graph) -> bool:
        """Something of the round was submitted to a site, by a driver of this machine."""
        return self.sites.round(graph.round).is_dir()

    def carry(self, graph: Graph, step: Step, listener: Listener) -> StepState:
        """Carry out a step that comes next until it may be left; what it has written is in the store then.

        Raises what `Carried.run` and the store raise.
        """
        site = self.study.pods.site_of(step.resources)
        assert site is not None  # noqa: S101  the step comes next
        for key in step.reads.values():
            pull_all(RunDirectory(self.sites.store), self.store, lambda _: True, f"{key.key}/")

        def shows(share: float) -> None:
            if graph.late is None:
                listener.progress({step.name: share})

        carried = self.sites.carried(self.study, graph, step, site, (listener.says, shows))
        carried.run(step.enough if graph.late is None else 1.0)
        state = StepState.of_step(carried.folder)  # before files are listed: what ends later has none among them
        places = (self.sites.store / key for key in step.writes.values())
        packs.push(
            self.store, self.sites.store, [file for place in places for file in place.rglob("*") if file.is_file()]
        )
        return state

    def cancel(self, say: Callable[[str], None]) -> None:
        """End what the last rounds have in queues, whichever driver submitted it, or say why it may still be there."""
        for number in self.directory.graph_numbers()[-2:]:
            graph = self.directory.graph(number)
            for site in self.sites_of(graph):
                try:
                    self.sites.look(site, graph)
                    ended = self.sites.cancel_all(say)
                except (OutageError, ClusterError) as error:
                    say(f"jobs may still be in the queue of {site}: {error}")
                else:
                    if ended:
                        say(f"ended at {site}: {', '.join(ended)}")

    def forget(self, graph: Graph) -> None:
        """End and remove what batch systems did of a round."""
        self.sites.cancel_all(lambda _: None)
        self.sites.forget(graph)
        self.clean_up(graph)

    def clean_up(self, graph: Graph) -> None:
        """Remove here what is in the store of a round and the one before, unless late jobs need it."""
        for number in (graph.round - 1, graph.round):
            if self.directory.has_graph(number) and not self.directory.graph(number).left:
                shutil.rmtree(self.sites.store / iteration_key(number), ignore_errors=True)
