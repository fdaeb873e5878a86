"""The runtime of a job: gives an operation its inputs, and turns what comes of it into files and an exit status."""

from __future__ import annotations

import contextlib
import gc
import json
import os
import resource
import shutil
import signal
import sys
import time
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

import psutil

from lamflow.data.cache import Folder, LabelCache
from lamflow.data.layout import JOB_INPUTS, JOB_OUTPUTS, SCRATCH, WORK
from lamflow.data.packs import pack, unpack_all
from lamflow.data.spent import begin
from lamflow.engines.process import die_with_parent
from lamflow.errors import EngineError, KilledError, LamflowError, NodeError
from lamflow.ops.operation import Context, Operation, load_operation

EXIT_NODE, EXIT_FATAL, EXIT_TERMINATED = 1, 2, 143
"""Exit statuses of a job: try again, do not, ended by a signal. Argo's retry expression reads them."""
ROUND = "LAMFLOW_ROUND"
"""Variable with the id of the process that carries out a round on this machine."""
TERMINATION = Path(os.environ.get("LAMFLOW_TERMINATION_LOG", "/dev/termination-log"))
"""What a container writes here Kubernetes shows as the reason of its end."""
TERMINATION_BYTES = 4000
"""Kubernetes keeps 4096 bytes."""
OBJECTS_TO_COLLECT = 100_000
"""New objects after which Python looks for garbage: by its own 700, imports of torch take a tenth longer."""
RAISE_AGAIN_SECONDS = 10.0
"""Code of others, hooks of a fork among it, may swallow an exception that comes out of nowhere."""


def main(
    reference: str, *, step: str, root: str, timeout: float, gpus: int, parameters: dict[str, int],
    labels: LabelCache | None = None, packs: tuple[Sequence[str], Mapping[str, str]] = ((), {}),
) -> NoReturn:  # fmt: skip
    """Run the operation MODULE:FUNCTION as one job of a step and exit with the status that says whether to try again.

    root   folder of inputs/, outputs/, work/ and scratch/
    packs  input ports in whose folders packed ones lie, and what those that are left at output ports are called when
           they are packed; see data/packs.py
    """
    die_with_parent()
    gc.set_threshold(OBJECTS_TO_COLLECT)
    if _is_orphan():
        exit_now(EXIT_TERMINATED)
    job, jobs = parameters.pop("job"), parameters.pop("jobs")
    name = f"{step}-{job}"
    signal.signal(signal.SIGALRM, _out_of_time)
    signal.setitimer(signal.ITIMER_REAL, timeout, RAISE_AGAIN_SECONDS)
    try:
        gpus = _choose_devices(job, gpus)
        operation = load_operation(reference)
        folder, threads = Path(root).absolute(), int(os.environ.get("OMP_NUM_THREADS", "1"))
        begin(threads)
        scratch = Path(os.environ.get("LAMFLOW_SCRATCH", folder / SCRATCH)) / name
        context = Context(
            job, jobs, name, folder / WORK, scratch, folder / JOB_OUTPUTS,
            threads=threads, gpus=gpus, timeout=timeout, labels=labels or _labels_here(), log=os.dup(1),
        )  # fmt: skip
        for port in packs[0]:
            unpack_all(folder / JOB_INPUTS / port)
        _execute(operation, context, folder / JOB_INPUTS, parameters)
        for port, part in packs[1].items():
            pack(context.out / port, part)
    except BaseException as error:  # noqa: BLE001  whatever happened, the exit status says it
        signal.setitimer(signal.ITIMER_REAL, 0)
        exit_now(report_failure(error, name, timeout))
    exit_now(0)


def _is_orphan() -> bool:
    """The process that carries out the round on this machine died before this one could ask to die with it."""
    return ROUND in os.environ and not psutil.pid_exists(int(os.environ[ROUND]))


def _labels_here() -> LabelCache | None:
    """The label cache of this machine, where a driver has named it."""
    folder = os.environ.get("LAMFLOW_LABELS")
    return LabelCache(Folder(Path(folder))) if folder else None


def _execute(operation: Operation, context: Context, inputs: Path, parameters: dict[str, int]) -> None:
    """Give an operation its inputs, and write its output parameters where Argo reads them."""
    for folder in (context.work, context.out):
        shutil.rmtree(folder, ignore_errors=True)
    for folder in (context.work, context.scratch, context.out):
        folder.mkdir(parents=True, exist_ok=True)
    arguments: dict[str, Any] = dict(parameters)
    for name, (kind, optional) in operation.inputs.items():
        if kind is Path:
            path = inputs / name
            arguments[name] = None if optional and _is_absent(path) else path
    given = [f"{name} {_size(path)}" for name, path in arguments.items() if isinstance(path, Path)]
    context.say(f"job {context.job + 1} of {context.jobs} begins; inputs: {', '.join(given) or 'none'}")
    started = time.monotonic()
    result = operation(context, **arguments)
    for name, kind in operation.outputs.items():
        if kind is not Path:
            value = getattr(result, name)
            text = value if kind is str else json.dumps(value)
            (context.out / name).write_text(text, encoding="utf-8")
    made = [
        f"{name} {_size(getattr(result, name)) if kind is Path else getattr(result, name)}"
        for name, kind in operation.outputs.items()
    ]
    context.say(f"done in {time.monotonic() - started:.1f} s with {_memory():.2f} GB at most; {', '.join(made)}")


def _size(path: Path) -> str:
    """How much an artifact is, in words."""
    files = [file for file in (path.rglob("*") if path.is_dir() else [path]) if file.is_file()]
    return f"{len(files)} file{'s' * (len(files) != 1)}, {sum(file.stat().st_size for file in files) / 1e6:.2f} MB"


def _memory() -> float:
    """The most memory that this process or one that it started had at any time, in GB."""
    kinds = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    return max(resource.getrusage(kind).ru_maxrss for kind in kinds) / (1e9 if sys.platform == "darwin" else 1e6)


def _is_absent(path: Path) -> bool:
    """Argo leaves an empty folder in the place of an artifact that does not exist."""
    return not path.exists() or (path.is_dir() and not any(path.iterdir()))


def exit_now(status: int) -> NoReturn:
    """End the process at once: everything is on disk, and torch takes seconds to clean up after itself."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


class _OutOfTimeError(BaseException):
    """The job's time is over. Not an Exception, so that nothing takes it for the failure of one label."""


def _out_of_time(*_: object) -> None:
    raise _OutOfTimeError


def report_failure(error: BaseException, name: str, timeout: float = 0.0) -> int:
    """Leave the error where the driver finds it and return the exit status."""
    if isinstance(error, _OutOfTimeError):
        error = EngineError(f"{name} took longer than its timeout of {timeout:g} s; see `pods:` in the configuration")
    elif isinstance(error, MemoryError):
        error = KilledError(f"{name}: it was given no more memory{f': {error}' if str(error) else ''}")
    elif isinstance(error, OSError):
        error = NodeError(f"{name}: {error}")
    if isinstance(error, LamflowError):
        kind, message = type(error).__name__, str(error)
    else:
        kind = "EngineError"
        message = f"an error that lamflow did not foresee\n{''.join(traceback.format_exception(error)[-6:])}"
    folder = os.environ.get("LAMFLOW_ERRORS")
    if folder:
        with contextlib.suppress(OSError):
            Path(folder).mkdir(parents=True, exist_ok=True)
            (Path(folder) / f"{name}.json").write_text(json.dumps({"kind": kind, "message": message}), encoding="utf-8")
    print(message, file=sys.stderr)
    write_termination_message(f"{kind}: {message}")
    return EXIT_NODE if isinstance(error, NodeError) else EXIT_FATAL


def write_termination_message(text: str) -> None:
    """Have Kubernetes and Argo show `text` as the reason why this container ended; elsewhere a no-op."""
    if TERMINATION.exists():
        with contextlib.suppress(OSError):
            TERMINATION.write_text(text.encode()[:TERMINATION_BYTES].decode(errors="ignore"), encoding="utf-8")


def _choose_devices(job: int, gpus: int) -> int:
    """How many GPUs the job has; on one machine jobs take turns on those that the driver named."""
    if "LAMFLOW_DEVICES" not in os.environ:
        return gpus
    devices = [device for device in os.environ.get("LAMFLOW_DEVICES", "").split(",") if device]
    if devices and gpus:
        wanted = min(gpus, len(devices))
        chosen = [devices[(job * wanted + offset) % len(devices)] for offset in range(wanted)]
        os.environ["CUDA_VISIBLE_DEVICES"] = ",".join(chosen)
        return wanted
    return 0
