"""Turns a typed function into a dflow OP, and runs it inside the pod.

The function's keyword arguments are its inputs: `Path` is an artifact, `Path | None` one that may be missing, `int` a
parameter. It returns a NamedTuple: its `Path` fields are artifacts (folders below `context.out`), its `int`, `float`
and `str` fields are parameters that Argo's UI shows. Values travel as files and JSON; nothing is pickled.
"""

from __future__ import annotations

import contextlib
import importlib
import inspect
import json
import os
import shutil
import signal
import sys
import traceback
import types
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, Union, get_args, get_origin, get_type_hints

from lamflow.data.cache import Folder, LabelCache
from lamflow.engines.process import die_with_parent
from lamflow.errors import EngineError, LamflowError, NodeError

if TYPE_CHECKING:
    from dflow import PythonScriptOPTemplate

EXIT_NODE, EXIT_FATAL, EXIT_TERMINATED = 1, 2, 143
"""Exit statuses of a pod: try again, do not, ended by a signal. Argo's retry expression reads them."""
SCRIPT = """\
import os
os.environ.update(OMP_NUM_THREADS="{threads}", DP_INTRA_OP_PARALLELISM_THREADS="{threads}",
                  DP_INTER_OP_PARALLELISM_THREADS="1")
from {entry} import main
main("{module}", "{name}", root="/tmp", timeout={timeout}, gpus={gpus}, parameters={parameters}{more})
"""
KEEPING = "lamflow.cluster.pod"
"""Has the `main` that a pod begins with which talks to the object store: for checkpoints, for the label cache."""
TERMINATION = Path(os.environ.get("LAMFLOW_TERMINATION_LOG", "/dev/termination-log"))
"""What a container writes here Kubernetes shows as the reason of its end; at most 4 kB."""


@dataclass(frozen=True)
class Context:
    """What a pod works with, instead of the current directory.

    pod, pods  the number of this pod among those that share the step's tasks
    name       of the pod, as in its key
    work       an empty folder for files that nobody keeps
    scratch    a folder that outlives a failed try, on one machine and where a step keeps checkpoints
    out        where outputs are written
    threads    of each program
    gpus       that programs may use; none where the machine has none
    labels     the label cache; None where none is shared
    """

    pod: int
    pods: int
    name: str
    work: Path
    scratch: Path
    out: Path
    threads: int = 1
    gpus: int = 0
    timeout: float = 86400.0
    labels: LabelCache | None = None

    def progress(self, done: float) -> None:
        """Say which share of the work is done, 0 to 1."""
        percent = round(100 * min(1.0, max(0.0, done)))
        if "ARGO_PROGRESS_FILE" in os.environ:
            Path(os.environ["ARGO_PROGRESS_FILE"]).write_text(f"{percent}/100")
        elif "LAMFLOW_PROGRESS" in os.environ:
            (Path(os.environ["LAMFLOW_PROGRESS"]) / self.name).write_text(f"{percent}/100")


@dataclass(frozen=True, eq=False)
class Operation:
    """A typed function as a dflow OP."""

    function: Callable[..., Any]

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call the function itself."""
        return self.function(*args, **kwargs)

    @property
    def name(self) -> str:
        """The function's name."""
        return self.function.__name__

    @cached_property
    def inputs(self) -> dict[str, tuple[type, bool]]:
        """Type of each input, and whether it may be missing."""
        hints = get_type_hints(self.function)
        names = [p.name for p in inspect.signature(self.function).parameters.values() if p.kind is p.KEYWORD_ONLY]
        return {name: _optional(hints[name]) for name in names}

    @cached_property
    def outputs(self) -> dict[str, type]:
        """Type of each output."""
        return get_type_hints(get_type_hints(self.function)["return"])

    def template(
        self,
        *,
        name: str,
        keys: dict[str, str],
        threads: int,
        timeout: float,
        gpus: int,
        checkpoints: tuple[str, float] | None = None,
        labels: str | None = None,
    ) -> PythonScriptOPTemplate:
        """The dflow OP template, called like its step; `keys` says where in the store each output artifact goes.

        checkpoints  key below which the scratch folder is kept in the object store, and how often, in s
        labels       key of the label cache there
        """
        from dflow import (  # fmt: skip
            InputArtifact,
            InputParameter,
            Inputs,
            OutputArtifact,
            OutputParameter,
            Outputs,
            PythonScriptOPTemplate,
            S3Artifact,
        )

        numbers = ["pod", "pods", *(name for name, (kind, _) in self.inputs.items() if kind is not Path)]
        parameters = "{" + ", ".join(f'"{name}": {{{{inputs.parameters.{name}}}}}' for name in numbers) + "}"
        script = SCRIPT.format(
            module=self.function.__module__, name=self.name, threads=threads, timeout=timeout, gpus=gpus,
            parameters=parameters, entry=__name__ if checkpoints is None and labels is None else KEEPING,
            more=("" if checkpoints is None else f', checkpoints=("{checkpoints[0]}/", {checkpoints[1]:g})')
            + ("" if labels is None else f', labels="{labels}/"'),
        )  # fmt: skip
        return PythonScriptOPTemplate(
            name=name,
            inputs=Inputs(
                parameters={name: InputParameter() for name in [*numbers, "dflow_key"]},
                artifacts={
                    name: InputArtifact(path=f"/tmp/inputs/{name}", optional=optional)  # noqa: S108  a pod's own /tmp
                    for name, (kind, optional) in self.inputs.items()
                    if kind is Path
                },
            ),
            outputs=Outputs(
                parameters={
                    name: OutputParameter(value_from_path=f"/tmp/outputs/{name}", type=kind, default=kind())  # noqa: S108
                    for name, kind in self.outputs.items()
                    if kind is not Path
                },
                artifacts={
                    name: OutputArtifact(path=f"/tmp/outputs/{name}", archive=None, save=[S3Artifact(key=keys[name])])  # noqa: S108
                    for name, kind in self.outputs.items()
                    if kind is Path
                },
            ),
            image="lamflow",  # flow/manifest.py puts the right one in
            command=[sys.executable if _is_local() else "python3"],
            script=script,
        )


def op(function: Callable[..., Any]) -> Operation:
    """Decorate a typed function: its first argument is the Context, the others are keywords."""
    return Operation(function)


def main(
    module: str, name: str, *, root: str, timeout: float, gpus: int, parameters: dict[str, int],
    labels: LabelCache | None = None,
) -> NoReturn:  # fmt: skip
    """Run an operation inside its pod and exit with the status that says whether to try again."""
    die_with_parent()
    pod, pods = parameters.pop("pod"), parameters.pop("pods")
    signal.signal(signal.SIGALRM, _out_of_time)
    signal.setitimer(signal.ITIMER_REAL, timeout)
    try:
        gpus = _choose_devices(pod, gpus)
        operation: Operation = getattr(importlib.import_module(module), name)
        folder, threads = Path(root), int(os.environ.get("OMP_NUM_THREADS", "1"))
        scratch = Path(os.environ.get("LAMFLOW_SCRATCH", folder / "scratch")) / f"{name}-{pod}"
        context = Context(
            pod, pods, f"{name}-{pod}", folder / "work", scratch, folder / "outputs",
            threads=threads, gpus=gpus, timeout=timeout, labels=labels or _labels_here(),
        )  # fmt: skip
        _execute(operation, context, folder / "inputs", parameters)
    except BaseException as error:  # noqa: BLE001  the pod's last word is its exit status
        leave(last_word(error, f"{name}-{pod}", timeout))
    leave(0)


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
    given: dict[str, Any] = dict(parameters)
    for name, (kind, optional) in operation.inputs.items():
        if kind is Path:
            path = inputs / name
            given[name] = None if optional and _is_absent(path) else path
    result = operation(context, **given)
    for name, kind in operation.outputs.items():
        if kind is not Path:
            value = getattr(result, name)
            (context.out / name).write_text(value if kind is str else json.dumps(value))


def _is_absent(path: Path) -> bool:
    """Argo leaves an empty folder in the place of an artifact that does not exist."""
    return not path.exists() or (path.is_dir() and not any(path.iterdir()))


def leave(status: int) -> NoReturn:
    """End the process at once: everything is on disk, and torch takes seconds to clean up after itself."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


class _OutOfTimeError(BaseException):
    """The pod's time is over. Not an Exception, so that nothing takes it for the failure of one task."""


def _out_of_time(*_: object) -> None:
    raise _OutOfTimeError


def last_word(error: BaseException, name: str, timeout: float) -> int:
    """Leave the error where the driver finds it and return the exit status."""
    if isinstance(error, _OutOfTimeError):
        error = EngineError(f"{name} took longer than its timeout of {timeout:g} s; see `pods:` in the configuration")
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
            (Path(folder) / f"{name}.json").write_text(json.dumps({"kind": kind, "message": message}))
    print(message, file=sys.stderr)
    tell_kubernetes(f"{kind}: {message}")
    return EXIT_NODE if isinstance(error, NodeError) else EXIT_FATAL


def tell_kubernetes(text: str) -> None:
    """Have Kubernetes and Argo show `text` as the reason why this container ended; elsewhere a no-op."""
    if TERMINATION.exists():
        with contextlib.suppress(OSError):
            TERMINATION.write_text(text[:4000])


def _choose_devices(pod: int, gpus: int) -> int:
    """How many GPUs the pod has; on one machine pods take turns on those that the driver named."""
    if "LAMFLOW_DEVICES" not in os.environ:
        return gpus
    devices = [device for device in os.environ.get("LAMFLOW_DEVICES", "").split(",") if device]
    if devices and gpus:
        wanted = min(gpus, len(devices))
        chosen = [devices[(pod * wanted + offset) % len(devices)] for offset in range(wanted)]
        os.environ["CUDA_VISIBLE_DEVICES"] = ",".join(chosen)
        return wanted
    return 0


def _optional(hint: Any) -> tuple[type, bool]:
    """The type without None, and whether None was allowed."""
    if get_origin(hint) in (Union, types.UnionType):
        return next(part for part in get_args(hint) if part is not type(None)), True
    return hint, False


def _is_local() -> bool:
    from dflow import config

    return bool(config["mode"] == "debug")
