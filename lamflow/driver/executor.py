"""What the loop asks of a place where iterations run."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol

from lamflow.config.schema import Config
from lamflow.data.results import Shape
from lamflow.driver.listener import Listener
from lamflow.driver.shape import Room

Span = tuple[float, float]
"""Start and end, in s of any one clock."""


class Executor(Protocol):
    """Runs the Workflow of an iteration, here or on a cluster. The run's folder is the driver's view of the store."""

    @property
    def room(self) -> Room:
        """How much room there is for pods."""
        ...

    @property
    def comes_back(self) -> bool:
        """Another driver goes on by itself when this one is ended."""
        ...

    def driving(self) -> AbstractContextManager[None]:
        """While this lasts the folder shows what the store holds, and no other driver on this machine may use it.

        Raises StateError when one does.
        """
        ...

    def require(self, config: Config) -> None:
        """Raise InputError or ClusterError for what a new run would lack here."""
        ...

    def keep(self, files: Iterable[Path]) -> None:
        """Make files of the run's folder last."""
        ...

    def begun(self, config: Config, number: int) -> bool:
        """The Workflow of iteration `number` exists."""
        ...

    def run(self, config: Config, shape: Shape, listener: Listener) -> float:
        """Run an iteration to its end and return its wall time in s; results are in the folder then.

        Goes on with what an earlier try left. Raises EngineError, NodeError or ClusterError when it fails.
        """
        ...

    def spans(self) -> dict[str, Span]:
        """When the pods of each step of the iteration ran that `run` ended with."""
        ...

    def forget(self, config: Config, number: int) -> None:
        """Throw away the Workflow of an unfinished iteration and what its steps wrote."""
        ...

    def tidy(self, config: Config, number: int) -> None:
        """Throw away what nobody reads after iteration `number` has finished."""
        ...

    def publish(self) -> None:
        """Show the run's standing where people look."""
        ...
