"""What the loop asks of a place where rounds are carried out."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol

from lamflow.config.schema import DataStudy
from lamflow.data.graph import Graph
from lamflow.driver.listener import Listener
from lamflow.superops.capacity import Capacity

Span = tuple[float, float]
"""Start and end, in s of any one clock."""


class Executor(Protocol):
    """Carries out graphs, here or on a cluster. The run's folder is the driver's view of the store."""

    @property
    def capacity(self) -> Capacity:
        """How many jobs there is room for."""
        ...

    @property
    def is_store(self) -> bool:
        """The run's folder is the store itself, with all that it holds."""
        ...

    @property
    def comes_back(self) -> bool:
        """Another driver goes on by itself when this one is ended."""
        ...

    def locked(self) -> AbstractContextManager[None]:
        """While this lasts the folder shows what the store holds, and no other driver on this machine may use it.

        Raises StateError when one does.
        """
        ...

    def bring_all(self) -> None:
        """Have everything that the run still needs in its folder, data and models too."""
        ...

    def check_requirements(self, study: DataStudy) -> None:
        """Raise InputError or ClusterError for what a new run would lack here."""
        ...

    def persist(self, files: Iterable[Path]) -> None:
        """Make files of the run's folder last."""
        ...

    def discard(self, file: Path) -> None:
        """Delete a file of the run for good."""
        ...

    def has_started(self, study: DataStudy, graph: Graph) -> bool:
        """Something of the round has been carried out."""
        ...

    def run(self, study: DataStudy, graph: Graph, listener: Listener) -> float:
        """Carry a round out to its end and return its wall time in s; its records are in the folder then.

        Goes on with what an earlier try left. Raises EngineError, NodeError or ClusterError when it fails.
        """
        ...

    def spans(self) -> dict[str, Span]:
        """When the jobs of each step ran, of the round that `run` ended with."""
        ...

    def reset(self, study: DataStudy, graph: Graph) -> None:
        """Throw away what the steps of an unfinished round wrote, and its Workflow."""
        ...

    def clean_up(self, study: DataStudy, graph: Graph) -> None:
        """Throw away what nobody reads after a round has finished."""
        ...

    def publish(self) -> None:
        """Show how the run stands where people look."""
        ...
