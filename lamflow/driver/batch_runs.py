"""A run on a batch system as people see it: begin it, submit its driver, follow it, read its logs, stop it."""

from __future__ import annotations

import shlex
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from lamflow.batch.documents import JOBS, LOG, OUTPUT
from lamflow.batch.needs import request
from lamflow.batch.script import python, script
from lamflow.config.batch import BatchSystem, SystemName
from lamflow.config.pods import BATCH, HERE, Pod
from lamflow.config.schema import DataStudy
from lamflow.data import layout
from lamflow.data.files import write_whole
from lamflow.data.graph import Graph
from lamflow.data.results import Iteration
from lamflow.data.run import Reference, Run
from lamflow.driver.batch_executor import BatchExecutor, BatchRun
from lamflow.driver.ending import stop_here
from lamflow.driver.listener import Listener
from lamflow.driver.local_executor import LocalExecutor
from lamflow.driver.loop import begin
from lamflow.driver.rundir import RunDirectory
from lamflow.errors import ClusterError, InputError, OutageError, StateError

DRIVER_FOLDER = "driver"
"""Beside the rounds in `work/batch`: scripts of the driver and what it printed."""
DRIVER_ASKS = Pod(memory="2Gi")


def placed(study: DataStudy, on: str) -> DataStudy:
    """The study with its jobs on a batch system of this kind. Raises InputError when it names another one."""
    names = SystemName.__args__  # type: ignore[attr-defined]
    if on not in names:
        raise InputError(f"--on {on}: there is no such batch system; there are {', '.join(names)}, and `here`")
    if study.batch is not None and study.batch.system != on:
        raise InputError(f"--on {on}: the study says batch.system: {study.batch.system}; leave one of them out")
    system = study.batch or BatchSystem.model_validate({"system": on})
    return study.model_copy(update={"batch": system})


def is_placed(path: Path) -> bool:
    """The run in a folder is on a batch system."""
    return (path / layout.BATCH_RUN).is_file()


def executor_of(directory: RunDirectory, study: DataStudy | None = None, *, comes_back: bool = False) -> LocalExecutor:
    """What carries out the rounds of a run in a folder: the batch system that it is on, or this machine."""
    if study is None and not is_placed(directory.path):
        return LocalExecutor(directory)
    study = study or directory.config()
    if study.batch is None:
        raise StateError(f"{directory.path}: the run is on a batch system, and its settings name none")
    return BatchExecutor(directory, study.batch, study.sites, comes_back=comes_back)


def chosen(study: DataStudy, directory: RunDirectory, on: str | None) -> tuple[DataStudy, LocalExecutor]:
    """The study, and what carries its rounds out: what `on` says, or where its run in a folder is.

    A run that was on a batch system comes `here` with nothing of it left in a queue. Raises InputError and StateError.
    """
    if on == HERE and is_placed(directory.path):
        refuse_driven(directory, _placed_executor(directory))
        _refuse_late(directory)
        return study, BroughtHere(directory)
    if on == HERE:
        return study, LocalExecutor(directory)
    if on is None and not is_placed(directory.path):
        return study, LocalExecutor(directory)
    if on is None and study.batch is None:
        on = directory.config().batch.system if directory.config().batch else ""  # type: ignore[union-attr]
    study = placed(study, on) if on else study
    executor = BatchExecutor(directory, study.batch, study.sites)  # type: ignore[arg-type]
    refuse_driven(directory, executor)
    return study, executor


class BroughtHere(LocalExecutor):
    """This machine for a run that is on a batch system: it leaves that when the run goes on, not when it is refused."""

    def reset(self, study: DataStudy, graph: Graph) -> None:
        """See Executor."""
        self._leave()
        super().reset(study, graph)

    def run(self, study: DataStudy, graph: Graph, listener: Listener) -> float:
        """See Executor."""
        for line in self._leave():
            listener.says(line)
        return super().run(study, graph, listener)

    def _leave(self) -> list[str]:
        """End what is in the queue, and what is to be said of it."""
        if not is_placed(self.directory.path):
            return []
        ended = _placed_executor(self.directory).cancel_all(lambda _: None)
        (self.directory.path / layout.BATCH_RUN).unlink()
        return [f"ended in the queue: {', '.join(ended)}"] if ended else []


def _refuse_late(directory: RunDirectory) -> None:
    """Raise StateError while labels of the last round are to come from the queue, which would be lost here."""
    last = next(reversed(directory.iterations()), None)
    if isinstance(last, Iteration) and last.late and last.ended is None:
        raise StateError(
            f"{directory.path}: labels of iteration {last.number} are late ({last.late} of them), and only the batch "
            f"system can bring them; go on there until iteration {last.number + 1} has finished (`lamflow resume "
            f"{shlex.quote(str(directory.path))}`), then come here"
        )


def submit(config: DataStudy, path: Path, *, redo: bool = False, references: Sequence[Reference] = ()) -> str:
    """Begin a run, or take over its settings of today, and submit its driver; return the id of its job.

    Raises StateError when a driver works on it, InputError for a system that is reached over ssh.
    """
    directory = RunDirectory(path.resolve())
    executor = _own(directory, config)
    refuse_driven(directory, executor)
    with executor.locked():
        begin(config, directory, executor, redo=redo, references=references)
    return submit_driver(directory, executor)


def _own(directory: RunDirectory, config: DataStudy) -> BatchExecutor:
    assert config.batch is not None  # noqa: S101  callers have looked
    if config.batch.host is not None:
        raise InputError(
            f"batch.host: {config.batch.host} is reached over ssh, so the driver stays on this machine: `lamflow run "
            f"FILE --on {config.batch.system}`. For a driver in the queue submit on the login node, without host"
        )
    return BatchExecutor(directory, config.batch, config.sites)


def _placed_executor(directory: RunDirectory) -> BatchExecutor:
    """The executor of a run that is on a batch system."""
    executor = executor_of(directory)
    assert isinstance(executor, BatchExecutor)  # noqa: S101  callers have looked
    return executor


def refuse_driven(directory: RunDirectory, executor: BatchExecutor) -> None:
    """Raise StateError when a job in the queue drives the run."""
    identity = driver_job(directory, executor)
    if identity:
        raise StateError(
            f"{directory.path}: job {identity} is driving this run; look with `lamflow watch`, or stop it with "
            "`lamflow stop`"
        )


def driver_job(directory: RunDirectory, executor: BatchExecutor) -> str:
    """Id of the job that drives the run, or waits to; empty if there is none."""
    if not is_placed(directory.path):
        return ""
    site = BatchRun.read(directory.path / layout.BATCH_RUN)
    if not site.name:
        return ""
    queue = executor.queue(BATCH)
    identity = site.driver or next(iter(queue.find_patiently(site.name)), "")
    seen = queue.states([identity]) if identity else {}
    return identity if any(each.state != "over" for each in seen.values()) else ""


def submit_driver(directory: RunDirectory, executor: BatchExecutor) -> str:
    """Submit the job that drives the run, and return its id."""
    folder = directory.path / layout.WORK / layout.BATCH_STEPS / DRIVER_FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    queue = executor.queue(BATCH)
    name = queue.new_name("driver", directory.path.name)
    asks = DRIVER_ASKS.model_copy(update={"batch": executor.system.driver})
    wanted = request(executor.system, asks, name, (1, 1, None), asks.memory, output=f"{folder}/{name}.txt")
    words = [python(wanted.allocation), "-m", "lamflow.driver.batch_driver", str(directory.path), str(wanted.seconds)]
    file = folder / f"{name}.sh"
    write_whole(file, script(queue.system, wanted, str(folder), 0, str(directory.path), words))
    BatchRun(name=name).save(directory.path / layout.BATCH_RUN)
    identity = queue.submit(str(file), wanted)
    BatchRun(name=name, driver=identity).save(directory.path / layout.BATCH_RUN)
    return identity


def stop(directory: RunDirectory, say: Callable[[str], None]) -> None:
    """End the driver of a run wherever it is, and everything of it that is in a queue.

    Raises StateError when there is neither.
    """
    if not _end_all(directory, say):
        raise StateError(f"{directory.path}: nothing drives this run")


def _end_all(directory: RunDirectory, say: Callable[[str], None]) -> bool:
    """End what there is, and say whether there was anything."""
    executor = _placed_executor(directory)
    job = driver_job(directory, executor)
    if job:
        executor.queue(BATCH).cancel([job])
        say(f"ended the driver, job {job}")
    elif directory.driver() is not None:
        stop_here(directory.path)
    with executor.locked():
        ended = executor.cancel_all(say)
        if ended:
            say(f"ended in the queue: {', '.join(ended)}")
        record = directory.run()
        found = bool(job or ended or record.state == "running")
        if record.state not in ("converged", "ended"):
            said = {"state": "stopped", "message": "stopped; go on with `lamflow resume`"}
            Run.model_validate({**record.model_dump(), **said}).save(directory.record)
    return found


def logs(directory: RunDirectory, iteration: int | None) -> Iterator[str]:
    """Lines that the driver's jobs, or the jobs of an iteration, printed, each after the name of who did."""
    steps = directory.path / layout.WORK / layout.BATCH_STEPS
    if iteration is None:
        printed = sorted((steps / DRIVER_FOLDER).glob("*.txt"), key=lambda file: file.stat().st_mtime)
        files = {file.stem: file for file in printed}
    else:
        files = dict(_files_of(steps / layout.round_name(iteration)))
    if not files:
        what = "driver in the queue" if iteration is None else f"job of iteration {iteration}"
        raise StateError(f"{directory.path}: no {what} has printed anything; `--iteration` asks for jobs of another")
    for name, file in files.items():
        for line in file.read_text(errors="replace", encoding="utf-8").splitlines():
            yield f"{name}: {line}"


def _files_of(folder: Path) -> Iterator[tuple[str, Path]]:
    for step in sorted(path for path in folder.glob("*") if path.is_dir()):
        for file in sorted((step / JOBS).glob(f"*/{LOG}"), key=lambda path: int(path.parent.name)):
            yield f"{step.name} {file.parent.name}", file
        for file in sorted((step / OUTPUT).glob("*.txt")):
            if file.stat().st_size:
                yield f"{step.name} element {file.stem}", file


def standing(directory: RunDirectory, number: int) -> Mapping[str, dict[str, int]]:
    """How many jobs of each step of a round wait, run, and are done."""
    from lamflow.batch.step_state import StepState

    folder = directory.path / layout.WORK / layout.BATCH_STEPS / layout.round_name(number)
    found = {}
    for step in directory.graph(number).steps if directory.has_graph(number) else ():
        if (folder / step.name).is_dir():
            now = StepState.of_step(folder / step.name)
            done, running = len(now.done), len(now.running)
            found[step.name] = {"done": done, "running": running, "waiting": now.jobs - done - running}
    return found


def follow(directory: RunDirectory, listener: Listener, pause: float = 2.0) -> Run:
    """Tell `listener` how a run goes until its driver ends, and return the record."""
    executor = _placed_executor(directory)
    told = len(directory.iterations())
    listener.resumes(directory.iterations())
    begun, asked, alive = -1, 0.0, True
    while True:
        done = directory.iterations()
        for iteration in done[told:]:
            listener.finished(iteration)
        told = len(done)
        if not alive:
            return directory.run()
        if directory.has_graph(told) and directory.run().state == "running":
            if begun != told:
                begun = told
                listener.begins(directory.graph(told))
            counts = standing(directory, told)
            listener.progress({step: its["done"] / max(1, sum(its.values())) for step, its in counts.items()})
        if time.monotonic() - asked > executor.system.poll:
            asked, alive = time.monotonic(), is_driven(directory)
        if alive:
            time.sleep(pause)


def is_driven(directory: RunDirectory) -> bool:
    """A terminal or a job drives the run; a queue that does not answer leaves that as it was said last."""
    if directory.driver() is not None:
        return True
    executor = _placed_executor(directory)
    try:
        return bool(driver_job(directory, executor))
    except (OutageError, ClusterError):
        return directory.run().state == "running"
