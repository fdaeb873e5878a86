"""A step that is carried out with `tests.batch.operation`."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from lamflow.batch.carry import Carried
from lamflow.batch.documents import StepPlan
from lamflow.batch.host import Host, LocalHost, Ssh
from lamflow.batch.queue import Queue
from lamflow.batch.step_state import StepState
from lamflow.batch.systems import SYSTEMS
from lamflow.config.batch import BatchSystem
from lamflow.config.pods import Pod
from lamflow.data.graph import Key
from tests.conftest import ROOT

Background = Callable[[Callable[[], object]], "Future[object]"]


@dataclass
class Trial:
    """A step of a run in a folder. orders: what each job is to do; said: what a person was told"""

    store: Path
    said: list[str] = field(default_factory=list)
    shown: list[float] = field(default_factory=list)

    @property
    def folder(self) -> Path:
        return self.store / "work" / "batch" / "001" / "work"

    @property
    def standing(self) -> StepState:
        return StepState.of_step(self.folder)

    @property
    def results(self) -> dict[str, str]:
        return {file.stem: file.read_text() for file in sorted((self.store / "results").glob("*"))}

    def times(self, job: int) -> int:
        """How often a job has run."""
        return int((self.store / "work" / "scratch" / f"work-{job}" / "ran.txt").read_text())

    def order(self, **orders: str) -> None:
        """Say what jobs are to do: `_3="sleep 5"`."""
        for name, words in orders.items():
            file = self.store / "orders" / name.strip("_")
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(words)

    def carried(self, jobs: int, pod: dict[str, Any] | None = None, **batch: Any) -> Carried:
        """The step, with so many jobs."""
        settings = BatchSystem.model_validate({"poll": 1.0, "system": "slurm", **batch})
        host: Host = LocalHost(self.store) if settings.host is None else Ssh(self.store, settings, lambda: "run")
        plan = StepPlan(
            name="work", op="tests.batch.operation:work", store=host.seen(self.store), reads={"orders": Key(key="orders")},
            parameters={}, writes={"result": "results"}, jobs=jobs, timeout=600.0, threads=1, gpus=0,
            scratch=host.seen(self.store / "work" / "scratch"),
        )  # fmt: skip
        queue = Queue(settings, SYSTEMS[settings.system], host, self.said.append)
        settled = Pod.model_validate({"memory": "100Mi", **(pod or {})})
        return Carried(
            self.store, self.folder, plan, "batch", settled, queue, None, self.said.append, self.shown.append
        )


@pytest.fixture
def trial(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Trial:
    """A step whose jobs can be told to fail."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    return Trial(tmp_path / "run")


@pytest.fixture
def in_background() -> Background:
    """Start something in a thread; its result, or error, is in the future that is returned."""
    return ThreadPoolExecutor(1).submit
