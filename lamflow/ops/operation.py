"""An operation: a typed function that one job of a step calls.

The function's keyword arguments are its input ports: `Path` is an artifact, `Path | None` one that may be missing,
`int` a parameter. It returns a NamedTuple: its `Path` fields are artifacts (folders below `context.out`), its `int`,
`float` and `str` fields are output parameters. Values travel as files and JSON; nothing is pickled.
"""

from __future__ import annotations

import contextlib
import importlib
import inspect
import os
import time
import types
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Union, get_args, get_origin, get_type_hints

from lamflow.data.cache import LabelCache
from lamflow.errors import StateError


@dataclass(frozen=True)
class Context:
    """What a job works with, instead of the current directory.

    job, jobs  the number of this job among those that share the step's work
    name       of the job
    work       an empty folder for files that nobody keeps
    scratch    a folder that outlives a failed try, on one machine and where a step keeps checkpoints
    out        where outputs are written
    threads    of each program
    gpus       that programs may use; none where the machine has none
    labels     the label cache; None where none is shared
    log        file descriptor of the job's own log, wherever a program that it runs has its output
    """

    job: int
    jobs: int
    name: str
    work: Path
    scratch: Path
    out: Path
    threads: int = 1
    gpus: int = 0
    timeout: float = 86400.0
    labels: LabelCache | None = None
    log: int = 2

    def say(self, text: str) -> None:
        """Write a line into the job's own log."""
        with contextlib.suppress(OSError):  # nobody reads any more
            os.write(self.log, f"{time.strftime('%H:%M:%S')}  {self.name}  {text}\n".encode())

    def progress(self, fraction: float) -> None:
        """Say which fraction of the work is done, 0 to 1."""
        percent = round(100 * min(1.0, max(0.0, fraction)))
        if "ARGO_PROGRESS_FILE" in os.environ:
            Path(os.environ["ARGO_PROGRESS_FILE"]).write_text(f"{percent}/100", encoding="utf-8")
        elif "LAMFLOW_PROGRESS" in os.environ:
            file = Path(os.environ["LAMFLOW_PROGRESS"]) / self.name
            file.write_text(f"{percent}/100", encoding="utf-8")


def fraction_done(text: str) -> float:
    """The share that a job's progress, like 30/100, says."""
    done, _, total = text.partition("/")
    return int(done) / int(total) if done.isdigit() and total.isdigit() and int(total) else 0.0


@dataclass(frozen=True, eq=False)
class Operation:
    """A typed function with its ports."""

    function: Callable[..., Any]

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call the function itself."""
        return self.function(*args, **kwargs)

    @property
    def reference(self) -> str:
        """MODULE:FUNCTION, by which a graph names it."""
        return f"{self.function.__module__}:{self.function.__name__}"

    @cached_property
    def inputs(self) -> dict[str, tuple[type, bool]]:
        """Type of each input port, and whether it may be missing."""
        hints = get_type_hints(self.function)
        names = [p.name for p in inspect.signature(self.function).parameters.values() if p.kind is p.KEYWORD_ONLY]
        return {name: _optional(hints[name]) for name in names}

    @cached_property
    def outputs(self) -> dict[str, type]:
        """Type of each output port."""
        return get_type_hints(get_type_hints(self.function)["return"])

    @property
    def artifacts(self) -> list[str]:
        """Output ports that are artifacts."""
        return [name for name, kind in self.outputs.items() if kind is Path]


def op(function: Callable[..., Any]) -> Operation:
    """Decorate a typed function: its first argument is the Context, the others are keywords."""
    return Operation(function)


def load_operation(reference: str) -> Operation:
    """The operation called MODULE:FUNCTION. Raises StateError when this version of lamflow has none."""
    module, _, name = reference.partition(":")
    try:
        operation = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise StateError(f"operation {reference}: this version of lamflow has none; the graph is of another") from error
    if not isinstance(operation, Operation):
        raise StateError(f"{reference} is no operation of lamflow")
    return operation


def _optional(hint: Any) -> tuple[type, bool]:
    """The type without None, and whether None was allowed."""
    if get_origin(hint) in (Union, types.UnionType):
        return next(part for part in get_args(hint) if part is not type(None)), True
    return hint, False
