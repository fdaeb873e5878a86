"""DeePMD-kit without what costs a process of lamflow time and brings it nothing.

* Processes that load data: they are forked anew in each epoch, and the order of batches depends on their number, which
  is that of the machine's cores. `NUM_WORKERS` in the environment has the last word.
* Reading frames again: DeePMD-kit opens a pool of threads for every frame of every batch.
* The database of elements, which takes 1.3 s to import and 0.3 s an element: a training wants their numbers alone.
* The compiler of torch, which takes 1.4 s to import: without a GPU it is imported when something is to be compiled.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import os
import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any

import numpy as np
from ase.data import atomic_numbers, chemical_symbols

from lamflow.data.spent import Kind, spending

MEMORY = 1 << 30
"""Bytes of frames that a training keeps; what is more it reads again."""


def prepare() -> None:
    """To be called before anything of DeePMD-kit is imported; again it does nothing."""
    os.environ.setdefault("NUM_WORKERS", "0")
    if "mendeleev" not in sys.modules:
        sys.modules["mendeleev"] = _Elements("mendeleev")
        _leave_compiler()


def prepare_training() -> None:
    """Have the trainings of this process keep frames in memory and say what they are doing."""
    _keep_frames()
    _count_seconds()


class _Elements(ModuleType):
    """The database of elements, imported when it is asked for more than a number."""

    @staticmethod
    @functools.cache
    def element(symbol: str) -> Any:
        """An element; what the database says of a symbol that is none."""
        return _Element(symbol) if symbol in chemical_symbols[1:] else _database().element(symbol)


class _Element:
    """An element by its symbol."""

    def __init__(self, symbol: str) -> None:
        self.symbol = symbol
        self.atomic_number = int(atomic_numbers[symbol])

    def __getattr__(self, name: str) -> Any:
        return getattr(_database().element(self.symbol), name)


@functools.cache
def _database() -> ModuleType:
    """The database itself, imported beside what stands in its place."""
    stand_in = sys.modules.pop("mendeleev")
    try:
        return importlib.import_module("mendeleev")
    finally:
        sys.modules["mendeleev"] = stand_in


def _leave_compiler() -> None:
    """Keep DeePMD-kit from importing the compiler of torch together with its models, where there is no GPU.

    It patches the compiler's indices of arrays on GPUs, and tells torch.compile, which then imports the compiler, of a
    function that builds neighbour lists.
    """
    import torch

    if torch.cuda.is_available():
        return
    compile_now = torch.compile

    def compile_when_called(function: Callable[..., Any], **options: Any) -> Callable[..., Any]:
        compiled = functools.cache(lambda: compile_now(function, **options))

        @functools.wraps(function)
        def compile_and_call(*values: Any, **named: Any) -> Any:
            return compiled()(*values, **named)

        return compile_and_call

    with contextlib.suppress(ImportError):  # other versions have no such modules
        compatibility: Any = importlib.import_module("deepmd.pt.utils.compile_compat")
        compatibility.patch_inductor_force_int64_indexing = lambda: None
        torch.compile = compile_when_called
        try:
            importlib.import_module("deepmd.pt.utils.nv_nlist")
        finally:
            torch.compile = compile_now


def _keep_frames() -> None:
    from deepmd.utils.data import DeepmdData

    read = DeepmdData.get_single_frame
    if hasattr(read, "__wrapped__"):
        return
    used = 0

    @functools.wraps(read)
    def kept(self: Any, index: int, num_worker: int) -> dict[str, Any]:
        nonlocal used
        wanted = index, *((name, *map(str, about.values())) for name, about in self.data_dict.items())
        frames = vars(self).setdefault("_frames_of_lamflow", {})
        if wanted not in frames:
            frame = read(self, index, num_worker)
            size = sum(value.nbytes for value in frame.values() if isinstance(value, np.ndarray))
            if used + size > MEMORY:
                return dict(frame)
            used, frames[wanted] = used + size, frame
        return dict(frames[wanted])

    DeepmdData.get_single_frame = kept


def _count_seconds() -> None:
    """Have a training say what it is doing: all but its steps is something else than physics."""
    from deepmd.pt.train.training import Trainer

    parts: dict[str, Kind] = {"_run": "physics", "get_data": "data", "save_model": "data"}
    for name, kind in parts.items():
        method = getattr(Trainer, name)
        if not hasattr(method, "__wrapped__"):
            setattr(Trainer, name, spending(kind)(method))
