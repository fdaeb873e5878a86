"""Units: stated once, here, in the type of each number.

lamflow computes in eV, Å, K, ps and eV/Å³ throughout. A number in a configuration carries its unit in its type,
so that messages, the JSON schema and the manual page all read it from the same place.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from pydantic import Field


@dataclass(frozen=True, slots=True)
class Unit:
    """The unit of an annotated number."""

    symbol: str


EvPerAtom = Annotated[float, Field(ge=0, le=1e3), Unit("eV/atom")]
EvPerAngstrom = Annotated[float, Field(ge=0, le=1e4), Unit("eV/Å")]
EvPerMagneton = Annotated[float, Field(ge=0, le=1e4), Unit("eV/μB")]
Angstrom = Annotated[float, Field(ge=0, le=1e3), Unit("Å")]
Length = Annotated[float, Field(gt=0, le=1e3), Unit("Å")]
Kelvin = Annotated[float, Field(ge=0, le=1e6), Unit("K")]
ElectronKelvin = Annotated[float, Field(gt=0, le=1e7), Unit("K")]
Bar = Annotated[float, Field(ge=-1e6, le=1e9), Unit("bar")]
Picosecond = Annotated[float, Field(gt=0, le=1e4), Unit("ps")]
Timestep = Annotated[float, Field(gt=0, le=0.05), Unit("ps")]
Second = Annotated[float, Field(gt=0, le=1e8), Unit("s")]
Hours = Annotated[float, Field(gt=0, le=1e9), Unit("h")]
Degree = Annotated[float, Field(ge=0, le=180), Unit("°")]
Fraction = Annotated[float, Field(ge=0, le=1)]
Rydberg = Annotated[float, Field(gt=0, le=1e4), Unit("Ry")]
Electronvolt = Annotated[float, Field(gt=0, le=1e5), Unit("eV")]
PerAngstrom = Annotated[float, Field(gt=0, le=10), Unit("Å⁻¹")]
PerBar = Annotated[float, Field(gt=0, le=1), Unit("bar⁻¹")]
BohrMagneton = Annotated[float, Field(ge=-20, le=20), Unit("μB")]
Steps = Annotated[int, Field(ge=1, le=1_000_000_000)]
Count = Annotated[int, Field(ge=1, le=1_000_000)]
Positive = Annotated[float, Field(gt=0, le=1e6)]
"""A plain number of which no more is known than that it is positive and no accident."""

BOLTZMANN = 8.617333262e-5
"""eV/K (CODATA 2018)."""
RYDBERG, HARTREE, BOHR = 13.605693123, 27.211386246, 0.529177210903
"""eV, eV and Å (CODATA 2018)."""
BAR_IN_EV_PER_A3 = 6.241509074e-7
"""1 bar in eV/Å³ (CODATA 2018)."""
BAR_IN_KBAR, BAR_IN_GPA = 1e-3, 1e-4
"""1 bar in kbar and GPa (exact)."""
EV_PER_A3_IN_GPA = 160.2176634
"""1 eV/Å³ in GPa (exact, SI 2019)."""
