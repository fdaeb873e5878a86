"""Iterations on a cluster: a Workflow each, the store in S3."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from lamflow.cluster.patience import Patience
from lamflow.cluster.status import Manifest, finished, message, phase, pods
from lamflow.cluster.waiting import Waits
from lamflow.cluster.workflows import ITERATION_LABEL, Workflows
from lamflow.config.schema import Config
from lamflow.data.results import Selected, Shape
from lamflow.data.store import HELDOUT, INDEX, TRAIN, iteration_key
from lamflow.driver.executor import Span
from lamflow.driver.here import share_done
from lamflow.driver.listener import Listener
from lamflow.driver.remote import READ, REMOTE, Remote, refuse_others
from lamflow.driver.rundir import FOLDERS, RunDirectory
from lamflow.driver.shape import Elsewhere, Room
from lamflow.errors import BY_NAME, ClusterError, EngineError, LamflowError, NodeError, StateError

ATTEMPTS = 3
"""Workflows of an iteration, one after the other, when machines fail again and again."""
ENDING = 90.0
"""s that a Workflow has to end after it was told to: thirty of them are its pods'."""
ERROR = re.compile(rf"\b({'|'.join(BY_NAME)}): (.*)", re.DOTALL)
"""How a pod's last word begins; Argo puts the exit status before it."""


class OnCluster:
    """Executor on a cluster.

    comes_back  another driver goes on by itself when this one is ended: it is a pod
    """

    def __init__(
        self, directory: RunDirectory, remote: Remote, patience: Patience | None = None, *, comes_back: bool = False
    ) -> None:
        self.directory, self.remote = RunDirectory(directory.path.resolve()), remote
        self.room: Room = Elsewhere()
        self.comes_back = comes_back
        self.store = remote.store(patience)
        self.workflows = Workflows.of(remote.cluster, patience)
        self.last: Manifest = {}

    @contextmanager
    def driving(self) -> Iterator[None]:
        """See Executor."""
        refuse_others(self.directory, self.remote.url)
        self.store.check()
        with self.directory.lock():
            self.remote.save(self.directory.path / REMOTE)
            self._read()
            if not self.directory.exists():  # what a preparation that was cut off has left
                for name in FOLDERS:
                    shutil.rmtree(self.directory.path / name, ignore_errors=True)
            yield

    def require(self, config: Config) -> None:
        """See Executor. What is missing on the cluster its pods will say."""

    def keep(self, files: Iterable[Path]) -> None:
        """See Executor."""
        self.store.push(self.directory.path, files)

    def begun(self, config: Config, number: int) -> bool:
        """See Executor."""
        file = self.directory.iteration(number) / "shape.json"
        if not file.is_file():
            return False
        shape = Shape.read(file)
        return shape.attempt > 1 or self.workflows.find(shape.workflow(config.name)) is not None

    def run(self, config: Config, shape: Shape, listener: Listener) -> float:
        """See Executor. Where machines failed, what has not succeeded is tried in another Workflow."""
        while True:
            shape = self._submitted(config, shape)
            if not self.last:
                self._wait(config, shape, listener)
            self._read(_folder(shape.number))
            self._read(f"{INDEX}/{shape.number:03d}/")
            if phase(self.last) == "Succeeded":
                break
            error = _explanation(self.last)
            if not isinstance(error, NodeError) or shape.attempt >= ATTEMPTS:
                raise error
            listener.says(f"{error}; trying again what has not succeeded")
        spans = self.spans().values()
        return max((end for _, end in spans), default=0.0) - min((start for start, _ in spans), default=0.0)

    def spans(self) -> dict[str, Span]:
        """See Executor. Of the last attempt."""
        spans: dict[str, Span] = {}
        for pod in pods(self.last):
            if pod.start and pod.end:
                before = spans.get(pod.step, (pod.start, pod.end))
                spans[pod.step] = min(before[0], pod.start), max(before[1], pod.end)
        return spans

    def forget(self, config: Config, number: int) -> None:
        """See Executor."""
        for workflow in self.workflows.of_run(config.name):
            if workflow["metadata"]["labels"].get(ITERATION_LABEL) == str(number):
                self.workflows.delete(workflow["metadata"]["name"])
        self._throw_away(number, "shape.json", "history/")

    def tidy(self, config: Config, number: int) -> None:
        """See Executor."""
        del config
        self.store.delete(f"{_folder(number)}checkpoints/")

    def publish(self) -> None:
        """See Executor. The report goes to the store, the table of iterations to Argo's list of Workflows."""
        from lamflow.reports.html import write_pages
        from lamflow.reports.source import read_source
        from lamflow.reports.tables import iteration_table

        try:
            source = read_source(self.directory.path)
            folder = self.directory.path / "report"
            write_pages(source, folder)
            self.keep(file for file in folder.rglob("*") if file.is_file())
            self.workflows.describe(source.config.name, iteration_table(source.iterations))
        except Exception as error:  # noqa: BLE001  a report is not worth a run, and a terminal's driver has no Workflow
            self.workflows.api.patience.say(f"the report was not published: {error}")

    def _read(self, key: str = "") -> None:
        """Make the folder, below `key`, what the store holds of it. For the driver only, which has the lock."""
        self.store.pull(self.directory.path, lambda found: READ.fullmatch(found) is not None, key, exact=True)

    def _wait(self, config: Config, shape: Shape, listener: Listener) -> None:
        """Watch the Workflow to its end. Raises ClusterError when a pod waits in vain."""
        from lamflow.flow.manifest import KINDS

        name = shape.workflow(config.name)
        waits, told = Waits(config.cluster.pending, KINDS), set[str]()
        for state in self.workflows.watch(name):
            self.last = state
            listener.progress(steps_done(state))
            for said in waits.reasons(state):
                if said not in told:
                    told.add(said)
                    listener.says(said)
            lost = waits.hopeless(state)
            if lost is not None:
                self.workflows.stop(name)
                raise ClusterError(f"Workflow {name} was stopped: {lost}; `lamflow resume` goes on after that")

    def _submitted(self, config: Config, shape: Shape) -> Shape:
        """The shape of the Workflow that carries the iteration on; it exists then, or `last` says that all is done.

        After one that failed comes another attempt. One that has vanished is begun again from nothing, unless its
        results are all there.
        """
        from lamflow.flow.iteration import manifest

        self.last = {}
        name = shape.workflow(config.name)
        found = self.workflows.find(name)
        if found is not None:
            self.workflows.own(found, manifest(config, shape))
            if (found.get("spec") or {}).get("shutdown"):
                found = self.workflows.settle(name, ENDING) or found
            if not finished(found) or phase(found) == "Succeeded":
                return shape
            return self._begin(config, self._another(shape, found))
        if self._has_results(config, shape):
            self.last = {"metadata": {"name": name}, "status": {"phase": "Succeeded"}}
            return shape
        if shape.attempt > 1 or self._left(shape.number):
            self._throw_away(shape.number)
            shape = shape.model_copy(update={"attempt": shape.attempt + 1, "done": {}})
        return self._begin(config, shape)

    def _begin(self, config: Config, shape: Shape) -> Shape:
        from lamflow.flow.iteration import manifest

        file = self.directory.iteration(shape.number) / "shape.json"
        shape.save(file)
        self.keep([file])
        self.workflows.ensure(manifest(config, shape))
        return shape

    def _another(self, shape: Shape, failed: Manifest) -> Shape:
        """The shape of another attempt: without the pods that have succeeded."""
        done = {step: set(numbers) for step, numbers in shape.done.items()}
        for pod in pods(failed):
            if pod.phase == "Succeeded":
                done.setdefault(pod.step, set()).add(pod.number)
        update: dict[str, object] = {"attempt": shape.attempt + 1}
        if "select" in done:
            self._read(f"{_folder(shape.number)}selected/")
            selected = Selected.read(self.directory.iteration(shape.number) / "selected" / "selected.json")
            if selected.decision == "label":
                update["label"] = selected.batches
            else:
                del done["select"]
        return shape.model_copy(update={**update, "done": {step: sorted(done[step]) for step in sorted(done)}})

    def _has_results(self, config: Config, shape: Shape) -> bool:
        """All that the iteration's Workflow writes is there."""
        number = shape.number
        self._read(_folder(number))
        folder = self.directory.iteration(number)
        if (folder / "merged" / "merged.json").is_file():
            return True
        if number and not shape.explores:
            return len(list(folder.glob("models/*/model.json"))) == config.train.total
        file = folder / "selected" / "selected.json"
        return number > 0 and file.is_file() and Selected.read(file).decision != "label"

    def _left(self, number: int) -> bool:
        """A Workflow that is gone has left something of this iteration."""
        prepared = ("shape.json", "history/", "queued/", *(("selected/", "given/") if number == 0 else ()))
        keys = [item.key.removeprefix(_folder(number)) for item in self.store.objects(_folder(number))]
        return any(not key.startswith(prepared) for key in keys)

    def _throw_away(self, number: int, *more: str) -> None:
        """Delete what the iteration's steps wrote, and `more` of its folder; what was prepared for it stays."""
        names = (
            "models/",
            "explored/",
            "searches/",
            "labeled/",
            "merged/",
            "checkpoints/",
            *(("selected/",) if number else ()),
            *more,
        )
        for key in [f"{_folder(number)}{name}" for name in names] + [
            f"{part}/{number:03d}/" for part in (TRAIN, HELDOUT, INDEX)
        ]:
            self.store.delete(key)
            self._read(key)
        folder = self.directory.iteration(number)
        if more and folder.is_dir() and not any(path.is_file() for path in folder.rglob("*")):
            for path in sorted(folder.rglob("*"), reverse=True):
                path.rmdir()
            folder.rmdir()


def steps_done(workflow: Manifest) -> dict[str, float]:
    """Share of each step's pods' work that is done, for the steps that have begun."""
    shares: dict[str, list[float]] = {}
    for pod in pods(workflow):
        shares.setdefault(pod.step, []).append(1.0 if pod.phase == "Succeeded" else min(0.99, share_done(pod.progress)))
    return {step: sum(values) / len(values) for step, values in shares.items()}


def _explanation(failed: Manifest) -> LamflowError:
    """Why a Workflow failed: what its first failed pod said last."""
    name = failed["metadata"]["name"]
    lost = sorted((pod for pod in pods(failed) if pod.phase in ("Failed", "Error")), key=lambda pod: pod.end)
    if (failed.get("spec") or {}).get("shutdown"):
        return StateError(f"Workflow {name} was stopped; `lamflow resume` goes on")
    if not lost:
        return NodeError(f"Workflow {name} failed: {message(failed) or phase(failed)}")
    first = lost[0]
    where = f"Workflow {name}, {first.step} {first.number}"
    said = ERROR.search(first.message)
    if said is not None:
        return BY_NAME[said[1]](f"{where}: {said[2]}")
    kind = EngineError if first.exit_code == 2 else NodeError
    return kind(f"{where}: {first.message or first.phase}; `lamflow logs` has all that it printed")


def _folder(number: int) -> str:
    return f"{iteration_key(number)}/"
