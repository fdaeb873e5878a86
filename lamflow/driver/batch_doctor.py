"""`lamflow doctor --batch`: what a run needs of a batch system, looked at, and tried with a job of each kind."""

from __future__ import annotations

import re
import shlex
import shutil
import time
import uuid
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from lamflow.batch.documents import ARRAYS, OUTPUT, SEEN
from lamflow.batch.needs import allocation, request
from lamflow.batch.probe import PROBE, Answer, Probe, answer_file
from lamflow.batch.queue import FullError, Queue
from lamflow.batch.script import python, script
from lamflow.batch.system import Request
from lamflow.cluster.check import Check
from lamflow.config.batch import BatchSystem
from lamflow.config.pods import BATCH, Pod
from lamflow.config.schema import DataStudy
from lamflow.data.graph import Resources
from lamflow.driver.batch_executor import BatchExecutor
from lamflow.driver.plan import planned_graphs
from lamflow.driver.rundir import RunDirectory
from lamflow.engines import process
from lamflow.errors import LamflowError, OutageError
from lamflow.superops.capacity import ClusterCapacity

PROBE_SECONDS = 300.0
"""s that a probe waits for its allocation and its answer."""
PATIENCE = 10.0
"""s that a batch system which does not answer is asked again."""
SKEW = 60.0
"""s between the clocks of nodes and of this machine beyond which times in records confuse."""


def doctor(study: DataStudy, seconds: float = PROBE_SECONDS) -> Iterator[Check]:
    """Every check of every site, as it is done: commands, queues, and a job of each kind, for up to `seconds` s."""
    folder = Path("runs").resolve() / f"doctor-{uuid.uuid4().hex[:6]}"
    executor = BatchExecutor(RunDirectory(folder), study.batch or BatchSystem(), study.sites)
    for site in dict.fromkeys([*([BATCH] if study.batch or not study.sites else []), *study.sites]):
        queue, kinds = executor.queue(site), _kinds(study, site)
        queue.settings = queue.settings.model_copy(update={"outage": PATIENCE})
        where = "" if site == BATCH else f"{site}: "
        try:
            queue.require()
        except LamflowError as error:
            yield Check(f"{where}commands", "bad", str(error), "see `batch:` and `sites:`")
            continue
        yield Check(f"{where}commands", "good", f"{queue.system.name}: {', '.join(queue.system.programs)}")
        checks = [_queues(queue.settings, queue, {kind: pod for kind, (pod, _) in kinds.items()}),
                  _probes(queue.settings, queue, folder, kinds, seconds)]  # fmt: skip
        try:
            for check in (check for some in checks for check in some):
                yield replace(check, name=f"{where}{check.name}")
        except OutageError as error:
            yield Check(f"{where}answers", "bad", str(error), "ask its operators whether it is down, and try again")
        finally:
            shutil.rmtree(folder, ignore_errors=True)
            if not queue.machine.is_local:
                queue.machine.shell(f"rm -rf {shlex.quote(queue.machine.seen(folder))}")


def _kinds(study: DataStudy, site: str) -> dict[Resources, tuple[Pod, list[str]]]:
    """What each kind of step that goes to a site asks for, and its engines."""
    found: dict[Resources, tuple[Pod, list[str]]] = {}
    for step in (step for graph in planned_graphs(study, ClusterCapacity()) for step in graph.steps):
        if study.pods.batch_site(step.resources) == site:
            pod, engines = found.get(step.resources, (getattr(study.pods, step.resources), []))
            found[step.resources] = pod, sorted({*engines, *(use.name for use in step.engines)})
    return found


def _queues(system: BatchSystem, queue: Queue, pods: dict[Resources, Pod]) -> Iterator[Check]:
    there = queue.queues()
    wanted = {kind: allocation(system, pod).queue for kind, pod in pods.items()}
    for name in dict.fromkeys(name for name in wanted.values() if name):
        kinds = ", ".join(kind for kind, its in wanted.items() if its == name)
        found = name in there
        says = f"for {kinds}" if found else f"for {kinds}: there is none; there are {', '.join(there) or 'none'}"
        yield Check(f"queue {name}", "good" if found else "bad", says, "name one of those as `queue`")


def _probes(
    system: BatchSystem, queue: Queue, folder: Path, kinds: dict[Resources, tuple[Pod, list[str]]], seconds: float
) -> Iterator[Check]:
    """Submit a job of each kind, and say what each answers."""
    for name in (SEEN, ARRAYS, OUTPUT):
        (folder / name).mkdir(parents=True)
    Probe(engines={number: engines for number, (_, engines) in enumerate(kinds.values())}).save(folder / PROBE)
    queue.machine.send([""])
    waiting: dict[Resources, tuple[int, str]] = {}
    for number, (kind, (pod, _)) in enumerate(kinds.items()):
        try:
            queue.rehearse(_script(system, queue, folder, number, pod)[0])
            waiting[kind] = number, _submit(system, queue, folder, number, pod)
        except FullError as error:
            yield Check(f"{kind} job", "unknown", str(error), "ask again when fewer of your jobs are in the queue")
        except OutageError:
            raise
        except LamflowError as error:
            yield Check(f"{kind} job", "bad", str(error), "the message is the batch system's")
    end, begun = time.monotonic() + seconds, time.time()
    while waiting:
        queue.bring([SEEN, OUTPUT])
        seen = queue.states([identity for _, identity in waiting.values()])
        for kind, (number, identity) in list(waiting.items()):
            state = seen.get((identity, 0))
            over = state is None or state.state == "over"
            check = _verdict(queue, folder, kind, number, over=over)
            late = time.monotonic() > end
            if check is None and state is not None and re.search(queue.system.never_begins, state.reason):
                queue.cancel([identity])
                says = f"it would wait for ever: {state.reason}{queue.advice(state.reason)}"
                check = Check(f"{kind} job", "bad", says, "the reason is the batch system's")
            elif check is None and late:
                queue.cancel([identity])
                says = f"it waited for {time.time() - begun:.0f} s: {state.reason if state else 'not listed'}"
                check = Check(f"{kind} job", "unknown", says, "ask again when the queue is shorter")
            if check is not None:
                del waiting[kind]
                yield check
        if waiting:
            time.sleep(1.0 if queue.machine.is_local else system.poll)


def _submit(system: BatchSystem, queue: Queue, folder: Path, number: int, pod: Pod) -> str:
    """Submit a probe with what a kind of step asks for, but for a few minutes only unless a wall time is given."""
    file, asked = _script(system, queue, folder, number, pod.model_copy(update={"timeout": 300.0}))
    return queue.submit(file, asked, wait_while_full=False)


def _script(system: BatchSystem, queue: Queue, folder: Path, number: int, pod: Pod) -> tuple[str, Request]:
    """The script of a probe with what a kind of step asks for, and that."""
    name, there = queue.new_name("doctor", folder.name), queue.machine.seen(folder)
    asked = request(system, pod, name, (1, 1, None), pod.memory, output=f"{there}/{OUTPUT}/{number}-INDEX.txt")
    file = folder / ARRAYS / f"{name}.sh"
    words = [python(asked.allocation), "-m", "lamflow.batch.probe", there, str(number)]
    file.write_text(script(queue.system, asked, there, number, there, words), encoding="utf-8")
    queue.machine.send([ARRAYS])
    return queue.machine.seen(file), asked


def _verdict(queue: Queue, folder: Path, kind: Resources, number: int, *, over: bool) -> Check | None:
    """What a probe has said; None while it may still say something."""
    what, file = f"{kind} job", answer_file(folder, number)
    refused = folder / SEEN / f"{number}-0.refused"
    if refused.is_file():
        return Check(what, "bad", refused.read_text(encoding="utf-8").strip(), "see `batch:`")
    if file.is_file():
        return _judged(what, Answer.read(file))
    if not over:
        return None
    time.sleep(2.0)  # a shared file system may be late
    if file.is_file():
        return _judged(what, Answer.read(file))
    printed = process.tail(folder / OUTPUT / f"{number}-{queue.system.called(0)}.txt", 5).strip()
    blind = f"it left no trace: its node most likely does not see {queue.machine.seen(folder)}"
    return Check(what, "bad", printed or blind, "the run's folder must lie on a file system that all nodes share, and "
                 "`python` under `batch:` must have lamflow there")  # fmt: skip


def _judged(what: str, said: Answer) -> Check:
    skew = abs(time.time() - said.clock)
    gpus = f", GPUs {said.gpus}" if said.gpus else ""
    says = f"{said.host}, lamflow {said.lamflow}, {said.free / 1e9:.0f} GB free{gpus}"
    if said.problems:
        lacking = "; ".join(f"{name}: {problem}" for name, problem in said.problems.items())
        return Check(what, "bad", f"{says}; {lacking}", "install it there, or load it with `modules` or `source`")
    if skew > SKEW + 60.0:
        return Check(what, "bad", f"{says}; its clock differs by {skew:.0f} s", "have its clock set by NTP")
    return Check(what, "good", says)
