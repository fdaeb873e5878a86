"""Properties of atoms that move by molecular dynamics: lattices, elastic constants and melting at temperatures."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from lamflow.config.section import Section
from lamflow.units import Bar, Length, Picosecond, Timestep, Unit

Warm = Annotated[float, Field(gt=0, le=20_000), Unit("K")]
"""A temperature at which atoms move."""
Repeats = Annotated[int, Field(ge=1, le=1000)]


class DynamicProperty(Section):
    """What properties say whose atoms move by molecular dynamics."""

    timestep: Timestep = 0.002
    size: Length = 10.0
    """Least distance between opposite faces of the supercell."""
    pressure: Bar = 0.0
    repeats: Repeats = 1
    """Independent runs."""

    @property
    def runs(self) -> int:
        """Simulations of each structure; under strains there are more."""
        return self.repeats * len(getattr(self, "temperatures", [None]))

    def needs_stress(self) -> bool:
        """It cannot be had of a potential without virial."""
        return True


class TimedProperty(DynamicProperty):
    """What those say whose runs take a given time."""

    time: Picosecond = 5.0

    @model_validator(mode="after")
    def _fits(self) -> Self:
        _check_length(self.time, self.timestep)
        return self


class Dynamics(TimedProperty):
    """Atoms that move: is the potential stable at a temperature, does it conserve energy, how large is the crystal?

    `nve` says how the total energy drifts, `npt` the mean volume and lattice constants (all axes are scaled alike).
    """

    property: Literal["dynamics"]
    ensemble: Literal["nve", "nvt", "langevin", "npt"] = "npt"
    temperatures: list[Warm] = Field([300.0], min_length=1)
    pressure: Bar = 0.0
    """Of `npt`."""
    equilibration: Annotated[float, Field(ge=0, le=0.9)] = 0.2
    """Fraction of each run that is left out of its means."""
    repeats: Repeats = 1
    """Independent runs at each temperature."""

    def needs_stress(self) -> bool:
        """See DynamicProperty."""
        return self.ensemble == "npt"


class ThermalElastic(TimedProperty):
    """Isothermal elastic constants at temperatures, from mean stresses of supercells that move under small strains.

    Each supercell first moves for as long at its temperature and pressure (all axes are scaled alike); then it moves at
    the mean volume under positive and negative strains, all with the same random forces.
    """

    property: Literal["thermal-elastic"]
    temperatures: list[Warm] = Field([300.0], min_length=1)
    strain: Annotated[float, Field(gt=0, le=0.05)] = 0.005
    """Largest strain in each direction that symmetry asks for, as a fraction."""
    time: Picosecond = 5.0
    """Of each run under a strain, and of the one before."""
    equilibration: Annotated[float, Field(ge=0, le=0.9)] = 0.2
    """Fraction of each run under strain that is left out of its means."""
    repeats: Repeats = 2
    """Independent sets of runs at each temperature."""


class Melting(DynamicProperty):
    """Where a crystal melts as it is heated, and freezes as it is cooled again.

    A crystal without a surface melts too late and a melt without a nucleus freezes too late, the more so the faster it
    goes. `T_m` is estimated from both, and its error is half of what lies between them.
    """

    property: Literal["melting"]
    coldest: Warm = 300.0
    """Where heating begins and cooling ends."""
    hottest: Warm = 3000.0
    """Well above the melting point, and below where the melt boils away."""
    rate: Annotated[float, Field(gt=0, le=1e5), Unit("K/ps")] = 50.0
    """Of heating and cooling."""
    repeats: Repeats = 2
    """Independent runs."""

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.hottest <= self.coldest:
            raise ValueError(f"hottest: {self.hottest:g} K must be above coldest, {self.coldest:g} K")
        _check_length(2 * (self.hottest - self.coldest) / self.rate, self.timestep)
        return self


class MeltingPoint(TimedProperty):
    """The melting point by coexistence: half of a long supercell is molten at a guess, and both halves are left to
    themselves at constant energy, where freezing heats and melting cools until neither goes on.

    Where one half alone is left, the guess was too far off, and there is no value.
    """

    property: Literal["melting-point"]
    guess: Warm
    """Within some hundred K of the melting point; `melting` brackets it."""
    time: Picosecond = 20.0
    """At constant energy; the second half counts. Before, it is warmed, molten and settled for as long."""
    size: Length = 12.0
    """Least width of the supercell, which is twice as long."""
    repeats: Repeats = 2
    """Independent runs."""


class Viscosity(TimedProperty):
    """The shear viscosity of a liquid by Green and Kubo, from how its stress correlates with itself.

    A supercell of a structure that is liquid, or becomes so at once, finds its volume at temperature and pressure, and
    then moves at this volume. What is solid gives a reason and no number.
    """

    property: Literal["viscosity"]
    temperatures: list[Warm] = Field(min_length=1)
    time: Picosecond = 50.0
    """Of each run, hundreds of times as long as the stress remembers itself."""
    fixed_volume: bool = False
    """The structures keep their volume, whatever the pressure is, as where a density is known."""
    equilibration: Annotated[float, Field(ge=0, le=0.9)] = 0.2
    """Fraction of each run that is left out; the run that finds the volume is as long."""
    repeats: Repeats = 4
    """Independent runs at each temperature."""


def refuse_thermal_conductivity(value: Any) -> Any:
    """Raise ValueError for a property that no engine gives what it needs."""
    if isinstance(value, dict) and value.get("property") == "thermal-conductivity":
        raise ValueError(
            "property: thermal-conductivity needs the heat flux, that is energies and virials of single atoms, and no "
            "engine gives them; viscosity needs the stress alone"
        )
    return value


def _check_length(time: float, timestep: float) -> None:
    """Raise ValueError for a run of fewer than a hundred steps, both in ps."""
    if timestep > time / 100:
        raise ValueError(f"time: {time:g} ps are fewer than a hundred steps of {timestep:g} ps")
