"""Iterations on a cluster: a Workflow each, the store in S3; the run's folder mirrors what the driver reads."""

from __future__ import annotations

import contextlib
import re
import shutil
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from lamflow.cluster.patience import Patience
from lamflow.cluster.store import Store
from lamflow.cluster.waiting import hopeless, reason, waiting
from lamflow.cluster.workflows import Manifest, Workflows, finished, message, phase, pods
from lamflow.config import stored
from lamflow.config.pods import Cluster, ObjectStore
from lamflow.config.schema import Config
from lamflow.data.results import Result, Run, Selected, Shape
from lamflow.data.store import HELDOUT, INDEX, INPUT, TRAIN, iteration_key
from lamflow.driver.executor import Span
from lamflow.driver.here import share_done
from lamflow.driver.listener import Listener
from lamflow.driver.rundir import RunDirectory
from lamflow.driver.shape import Elsewhere, Room
from lamflow.errors import BY_NAME, ClusterError, EngineError, InputError, LamflowError, NodeError, StateError

REMOTE = "remote.json"
SELECT = "select"
READ = re.compile(
    r"run\.json|input/.*|structures/[^/]+|data/index/[^/]+/[^/]*manifest\.json|"
    r"iterations/\d+/((result|shape)\.json|history/.*|given/.*manifest\.json|models/[^/]+/(model\.json|heldout\.npz)|"
    r"explored/[^/]+/explored\.json|selected/.*|labeled/[^/]+/labeled\.json|merged/.*)"
)
"""Keys of what drivers and reports read; models, trajectories and labels stay where they are."""
ERROR = re.compile(rf"\b({'|'.join(BY_NAME)}): (.*)", re.DOTALL)
"""How a pod's last word begins; Argo puts the exit status before it."""


class Remote(Result):
    """remote.json: where a run lives that was submitted from this folder. No credential is in it."""

    url: str
    cluster: Cluster

    @property
    def prefix(self) -> str:
        """What the run's keys begin with."""
        return self.url.removeprefix(f"s3://{self.cluster.s3.bucket}/") + "/"

    @classmethod
    def of(cls, config: Config) -> Remote:
        """Where the run of `config` lives."""
        cluster = config.cluster
        return cls(url=f"s3://{cluster.s3.bucket}/{cluster.prefix}{config.name}", cluster=cluster)

    @classmethod
    def at(cls, url: str, folder: Path, patience: Patience | None = None) -> Remote:
        """The run at `url`; its settings come into `folder`. Raises InputError, StateError, ClusterError."""
        match = re.fullmatch(r"s3://([^/]+)/(.+?)/?", url)
        if match is None:
            raise InputError(f"{url}: a run on a cluster is named like s3://BUCKET/PREFIX/NAME")
        _refuse_local_run(RunDirectory(folder))
        store = Store.of(Cluster(s3=ObjectStore(bucket=match[1])), f"{match[2]}/", patience)
        store.pull(folder, lambda _: True, f"{INPUT}/")
        if not (folder / INPUT / "config.json").is_file():
            raise StateError(f"{store.url}: there is no run here; start one with `lamflow submit FILE`")
        found = cls(url=store.url, cluster=stored(folder / INPUT).cluster)
        found.save(folder / REMOTE)
        return found

    def store(self, patience: Patience | None = None) -> Store:
        """Its objects."""
        return Store.of(self.cluster, self.prefix, patience)


def mirror(directory: RunDirectory, store: Store, key: str = "", *, whole: bool = False) -> None:
    """Bring the folder up to date with the store: what drivers and reports read, or the `whole` of what lies below
    `key`."""
    store.pull(directory.path, lambda found: whole or READ.fullmatch(found) is not None, key, exact=not whole)


def _refuse_local_run(directory: RunDirectory) -> None:
    if directory.exists() and not (directory.path / REMOTE).is_file():
        raise StateError(
            f"{directory.path} holds a run of this machine; give another folder with --dir to submit it as a new one"
        )


class OnCluster:
    """Executor on a cluster."""

    def __init__(self, directory: RunDirectory, remote: Remote, patience: Patience | None = None) -> None:
        self.directory, self.remote = RunDirectory(directory.path.resolve()), remote
        self.room: Room = Elsewhere()
        self.store = remote.store(patience)
        self.workflows = Workflows.of(remote.cluster, patience)
        self.last: Manifest = {}

    @contextmanager
    def driving(self) -> Iterator[None]:
        """See Executor."""
        _refuse_local_run(self.directory)
        self.store.check()
        with self.directory.lock():
            self.remote.save(self.directory.path / REMOTE)
            mirror(self.directory, self.store)
            yield

    def require(self, config: Config) -> None:
        """See Executor. What is missing on the cluster its pods will say."""

    def keep(self, files: Iterable[Path]) -> None:
        """See Executor."""
        self.store.push(self.directory.path, files)

    def begun(self, config: Config, number: int) -> bool:
        """See Executor."""
        file = self.directory.iteration(number) / "shape.json"
        return file.is_file() and self.workflows.find(Shape.read(file).workflow(config.name)) is not None

    def run(self, config: Config, shape: Shape, listener: Listener) -> float:
        """See Executor."""
        name = self._submitted(config, shape)
        told: set[str] = set()
        for state in self.workflows.watch(name):
            self.last = state
            listener.progress(steps_done(state))
            for pod in waiting(state):
                said = reason(pod, _kinds())
                if said not in told:
                    told.add(said)
                    listener.says(said)
            lost = hopeless(state, config.cluster.pending)
            if lost is not None:
                self.workflows.stop(name)
                raise ClusterError(
                    f"Workflow {name} was stopped: {reason(lost, _kinds())}; `lamflow resume` goes on after that"
                )
        if phase(self.last) != "Succeeded":
            raise _explanation(self.last)
        for key in (_folder(shape.number), f"{INDEX}/{shape.number:03d}/"):
            mirror(self.directory, self.store, key)
        spans = self.spans().values()
        return max((end for _, end in spans), default=0.0) - min((start for start, _ in spans), default=0.0)

    def spans(self) -> dict[str, Span]:
        """See Executor."""
        spans: dict[str, Span] = {}
        for pod in pods(self.last):
            if pod.start and pod.end:
                before = spans.get(pod.step, (pod.start, pod.end))
                spans[pod.step] = min(before[0], pod.start), max(before[1], pod.end)
        return spans

    def forget(self, config: Config, number: int) -> None:
        """See Executor."""
        for workflow in self.workflows.of_run(config.name):
            if workflow["metadata"]["labels"].get("lamflow/iteration") == str(number):
                self.workflows.delete(workflow["metadata"]["name"])
        here = [_folder(number)]
        if number == 0:  # what was prepared stays
            here = [f"{_folder(0)}{name}" for name in ("labeled/", "merged/", "shape.json")]
        for key in [*here, *(f"{key}/{number:03d}/" for key in (TRAIN, HELDOUT, INDEX))]:
            self.store.delete(key)
            mirror(self.directory, self.store, key)

    def tidy(self, config: Config, number: int) -> None:
        """See Executor."""
        del config
        self.store.delete(f"{_folder(number)}checkpoints/")

    def publish(self) -> None:
        """See Executor. The report goes to the store, the table of iterations to Argo's list of Workflows."""
        from lamflow.reports.html import write_pages
        from lamflow.reports.source import read_source
        from lamflow.reports.tables import iteration_table

        source = read_source(self.directory.path)
        folder = self.directory.path / "report"
        write_pages(source, folder)
        self.keep(file for file in folder.rglob("*") if file.is_file())
        with contextlib.suppress(LamflowError):  # a driver in a terminal has no Workflow of the run
            self.workflows.describe(source.config.name, iteration_table(source.iterations))

    def _submitted(self, config: Config, shape: Shape) -> str:
        """Name of the iteration's Workflow, made if it is not there; after one that failed comes another attempt."""
        from lamflow.flow.iteration import manifest

        found = self.workflows.find(shape.workflow(config.name))
        if found is not None and finished(found) and phase(found) != "Succeeded":
            shape = self._another(shape, found)
            file = self.directory.iteration(shape.number) / "shape.json"
            shape.save(file)
            self.keep([file])
            found = None
        if found is None:
            self.workflows.ensure(manifest(config, shape))
        return shape.workflow(config.name)

    def _another(self, shape: Shape, failed: Manifest) -> Shape:
        """The shape of another attempt: without the pods that have succeeded."""
        done = {step: set(numbers) for step, numbers in shape.done.items()}
        for pod in pods(failed):
            if pod.phase == "Succeeded":
                done.setdefault(pod.step, set()).add(pod.number)
        update: dict[str, object] = {"attempt": shape.attempt + 1}
        if SELECT in done:
            self.store.pull(self.directory.path, lambda _: True, f"{_folder(shape.number)}selected/")
            selected = Selected.read(self.directory.iteration(shape.number) / "selected" / "selected.json")
            if selected.decision == "label":
                update["label"] = selected.batches
            else:
                del done[SELECT]
        return shape.model_copy(update={**update, "done": {step: sorted(done[step]) for step in sorted(done)}})


def steps_done(workflow: Manifest) -> dict[str, float]:
    """Share of each step's pods' work that is done, for the steps that have begun."""
    shares: dict[str, list[float]] = {}
    for pod in pods(workflow):
        shares.setdefault(pod.step, []).append(1.0 if pod.phase == "Succeeded" else min(0.99, share_done(pod.progress)))
    return {step: sum(values) / len(values) for step, values in shares.items()}


def submit(config: Config, path: Path, *, redo: bool = False) -> Remote:
    """Start the driver of `config` on the cluster, for a new run or for one that goes on.

    Nothing is left behind when it fails. Raises StateError when a driver works on it already, and what `loop.run` and
    the cluster raise.
    """
    from lamflow.driver.loop import begin
    from lamflow.flow.run import run_manifest

    remote = Remote.of(config)
    executor = OnCluster(RunDirectory(path.resolve()), remote)
    _refuse_local_run(executor.directory)
    executor.store.check()
    manifest = run_manifest(config, remote.url, remote.prefix)
    there = driver_that_rests(executor.workflows, config.name)
    if there is None:
        executor.workflows.create(manifest, rehearse=True)
    new = not executor.store.exists("run.json")
    try:
        with executor.driving():
            begin(config, executor.directory, executor, redo=redo)
        if there is not None:
            executor.workflows.delete(config.name)
        executor.workflows.ensure(manifest)
    except LamflowError:
        if new:
            executor.store.delete()
            shutil.rmtree(path, ignore_errors=True)
        raise
    return remote


def resume(path: Path, remote: Remote) -> None:
    """Start the driver of a run again with the settings that it has. Raises StateError when there is one."""
    executor = OnCluster(RunDirectory(path.resolve()), remote)
    with executor.driving():
        config = executor.directory.config()
    from lamflow.flow.run import run_manifest

    if driver_that_rests(executor.workflows, config.name) is not None:
        executor.workflows.delete(config.name)
    executor.workflows.ensure(run_manifest(config, remote.url, remote.prefix))


def stop(path: Path, remote: Remote) -> None:
    """Stop the driver of a run and the iteration that it waits for. Raises StateError when nothing runs."""
    executor = OnCluster(RunDirectory(path.resolve()), remote)
    with executor.driving():
        record = executor.directory.run()
        running = [item for item in executor.workflows.of_run(record.name) if not finished(item)]
        if not running:
            raise StateError(f"{remote.url}: nothing drives this run")
        for workflow in sorted(running, key=lambda item: "lamflow/iteration" in item["metadata"]["labels"]):
            executor.workflows.stop(workflow["metadata"]["name"])
        said = {"state": "stopped", "message": "stopped; go on with `lamflow resume`"}
        Run.model_validate({**record.model_dump(), **said}).save(executor.directory.record)
        executor.keep([executor.directory.record])


def logs(path: Path, remote: Remote, iteration: int | None, *, follow: bool = False) -> Iterator[str]:
    """Lines that the pods of the driver, or of an iteration, printed."""
    directory = RunDirectory(path.resolve())
    mirror(directory, remote.store())
    name = directory.run().name
    if iteration is not None:
        file = directory.iteration(iteration) / "shape.json"
        if not file.is_file():
            raise StateError(f"{remote.url}: there is no iteration {iteration} yet")
        name = Shape.read(file).workflow(name)
    yield from Workflows.of(remote.cluster).logs(name, follow=follow)


def follow(path: Path, remote: Remote, listener: Listener, pause: float = 2.0) -> Run:
    """Tell `listener` how a run goes until its driver ends, and return the record. See Executor.run for the errors."""
    directory = RunDirectory(path.resolve())
    executor = OnCluster(directory, remote, Patience(seconds=1800.0, say=listener.says))
    mirror(directory, executor.store)
    config, told, begun = directory.config(), 0, -1
    listener.resumes(directory.iterations())
    told = len(directory.iterations())
    while True:
        driver = executor.workflows.find(config.name)
        mirror(directory, executor.store)
        iterations = directory.iterations()
        for iteration in iterations[told:]:
            listener.finished(iteration)
        told = len(iterations)
        if driver is None or finished(driver):
            return directory.run()
        file = directory.iteration(told) / "shape.json"
        shape = Shape.read(file) if file.is_file() else None
        if shape is not None and executor.workflows.find(shape.workflow(config.name)) is not None:
            if begun != told:
                listener.begins(told, config.stages[shape.stage].name if told else "start")
                begun = told
            for state in executor.workflows.watch(shape.workflow(config.name)):
                listener.progress(steps_done(state))
        time.sleep(pause)


def driver_that_rests(workflows: Workflows, name: str) -> Manifest | None:
    """The finished Workflow of the run, or None. Raises StateError when it has not finished."""
    there = workflows.find(name)
    if there is not None and not finished(there):
        raise StateError(
            f"Workflow {name} in namespace {workflows.namespace} is driving this run; look with `lamflow watch`, or "
            "stop it with `lamflow stop`"
        )
    return there


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


def _kinds() -> dict[str, str]:
    from lamflow.flow.manifest import KINDS

    return KINDS


def _folder(number: int) -> str:
    return f"{iteration_key(number)}/"
